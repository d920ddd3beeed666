//! A replica in a thread of its own.

use std::collections::HashMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use tsmith_wal::fs::Fs;

use super::transport::Transport;
use super::warn_limit::WarnLimit;
use super::{Applied, Error, Replica, Result, Ticket};

/// Messages and proposals that wait; more are refused, and a message may get lost.
const INBOX_MAX: usize = 4096;
/// Handled before raft's wishes are looked at: one sync serves all of them.
const BATCH_MAX: usize = 256;
/// A proposal that is not written by then is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same when somebody else leads since: what was on its way to the old leader is most likely lost.
const PATIENCE_AFTER_CHANGE: Duration = Duration::from_secs(1);

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who leads; 0 for nobody.
    pub leader: u64,
    /// The last entry it has applied.
    pub applied: u64,
    /// The index of its last snapshot.
    pub snapshot: u64,
}

enum Input {
    Step(Vec<u8>),
    Propose { lines: Vec<u8>, time: i64, answer: Sender<Result<Applied>> },
    Status(Sender<Status>),
    Export(Sender<Result<String>>),
    Stop,
}

/// A replica that runs. Dropping it stops the thread.
#[derive(Debug)]
pub struct Node {
    inbox: Sender<Input>,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

impl Node {
    /// Runs `replica`; `tick` is a tenth of the shortest time after which it misses a leader.
    pub fn start<F: Fs>(
        replica: Replica<F>,
        transport: impl Transport,
        tick: Duration,
    ) -> std::io::Result<Self> {
        let (inbox, inputs) = bounded(INBOX_MAX);
        let run = move || {
            let answers = HashMap::new();
            let done =
                Running { replica, transport, tick, answers, refusals: WarnLimit::default() }.run(&inputs);
            if let Err(error) = &done {
                tracing::error!(%error, "replica stopped");
            }
            done
        };
        let thread = std::thread::Builder::new().name("replica".into()).spawn(run)?;
        Ok(Self { inbox, thread: Mutex::new(Some(thread)) })
    }

    /// Gives it a message of another. One too many is dropped; raft sends it again.
    pub fn deliver(&self, message: Vec<u8>) {
        drop(self.inbox.try_send(Input::Step(message)));
    }

    /// Proposes lines, those without a time at `time`, and waits until they are committed and written here.
    pub fn write(&self, lines: &[u8], time: i64) -> Result<Applied> {
        self.ask(|answer| Input::Propose { lines: lines.to_vec(), time, answer })?
    }

    /// What it knows now.
    pub fn status(&self) -> Result<Status> {
        self.ask(Input::Status)
    }

    /// See [`Replica::export`].
    pub fn export(&self) -> Result<String> {
        self.ask(Input::Export)?
    }

    /// Whether its thread is running: what went wrong if it has ended by itself, [`stop`](Self::stop) tells.
    pub fn is_running(&self) -> bool {
        self.thread.lock().as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops it, and tells what went wrong if something did.
    pub fn stop(&self) -> Result<()> {
        drop(self.inbox.send(Input::Stop));
        match self.thread.lock().take().map(JoinHandle::join) {
            Some(Ok(done)) => done,
            Some(Err(_)) | None => Err(Error::Stopped),
        }
    }

    fn ask<T>(&self, input: impl FnOnce(Sender<T>) -> Input) -> Result<T> {
        let (answer, answered) = bounded(1);
        self.inbox.send(input(answer)).map_err(|_| Error::Stopped)?;
        answered.recv().map_err(|_| Error::Stopped)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.thread.get_mut().is_some() {
            drop(self.stop());
        }
    }
}

struct Running<F: Fs, T> {
    replica: Replica<F>,
    transport: T,
    tick: Duration,
    answers: HashMap<Ticket, Waiting>,
    /// Warnings about messages.
    refusals: WarnLimit,
}

/// Who waits for a proposal.
struct Waiting {
    since: Instant,
    /// Who led then.
    leader: u64,
    answer: Sender<Result<Applied>>,
}

impl<F: Fs, T: Transport> Running<F, T> {
    fn run(mut self, inputs: &Receiver<Input>) -> Result<()> {
        let mut next = Instant::now() + self.tick;
        loop {
            let wait = if self.replica.is_busy() { Instant::now() } else { next };
            let first = inputs.recv_timeout(wait.saturating_duration_since(Instant::now()));
            let more = inputs.try_iter().take(BATCH_MAX).collect::<Vec<_>>();
            let first = match first {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Input::Stop),
            };
            for input in first.into_iter().chain(more) {
                if matches!(input, Input::Stop) {
                    return self.replica.close();
                }
                self.take(input)?;
            }
            if Instant::now() >= next {
                self.replica.tick();
                self.lose_patience();
                next = Instant::now() + self.tick;
            }
            let transport = &self.transport;
            self.replica.run(&mut |to, message| transport.send(to, message))?;
            for (ticket, applied) in self.replica.take_done() {
                if let Some(waiting) = self.answers.remove(&ticket) {
                    drop(waiting.answer.send(Ok(applied)));
                }
            }
        }
    }

    fn take(&mut self, input: Input) -> Result<()> {
        match input {
            Input::Step(message) => match self.replica.step(&message) {
                Err(error) if error.stops() => return Err(error),
                Err(error) => {
                    if let Some(suppressed) = self.refusals.allow(Instant::now()) {
                        tracing::warn!(%error, suppressed, "message refused");
                    }
                }
                Ok(()) => {}
            },
            Input::Propose { lines, time, answer } => match self.replica.propose(&lines, time) {
                Ok(ticket) => {
                    let waiting = Waiting { since: Instant::now(), leader: self.replica.leader(), answer };
                    self.answers.insert(ticket, waiting);
                }
                Err(error) => drop(answer.send(Err(error))),
            },
            Input::Status(answer) => {
                let (leader, applied) = (self.replica.leader(), self.replica.applied());
                let _ = answer.send(Status { leader, applied, snapshot: self.replica.snapshot_index() });
            }
            Input::Export(answer) => drop(answer.send(self.replica.export())),
            Input::Stop => {}
        }
        Ok(())
    }

    fn lose_patience(&mut self) {
        let leader = self.replica.leader();
        let late = |waiting: &Waiting| {
            let changed = waiting.leader != leader;
            waiting.since.elapsed() > if changed { PATIENCE_AFTER_CHANGE } else { PATIENCE }
        };
        let late = self.answers.iter().filter(|(_, waiting)| late(waiting));
        let tickets: Vec<_> = late.map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            self.replica.cancel(ticket);
            if let Some(waiting) = self.answers.remove(&ticket) {
                drop(waiting.answer.send(Err(Error::Unknown)));
            }
        }
    }
}
