//! A replica in its own thread.

use std::collections::HashMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use tsmith_wal::fs::Fs;

use super::transport::Transport;
use super::warn_limit::WarnLimit;
use super::{Applied, Error, Replica, Result, Ticket};

/// Maximum number of waiting messages and proposals. Further messages are dropped and further proposals wait.
const INBOX_MAX: usize = 4096;
/// Inputs handled before `Replica::run`, so that one sync serves all of them.
const BATCH_MAX: usize = 256;
/// How long a caller waits for its proposal.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same after a change of leader: a proposal sent to the old leader is most likely lost.
const PATIENCE_AFTER_CHANGE: Duration = Duration::from_secs(1);

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The leader's id; 0 if there is none.
    pub leader: u64,
    /// The index of the last applied entry.
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

/// A running replica. Dropping it stops the thread.
#[derive(Debug)]
pub struct Node {
    inbox: Sender<Input>,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

impl Node {
    /// Runs `replica`. `tick` is a tenth of the shortest election timeout.
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

    /// Passes it a message of another replica. If its inbox is full the message is dropped; raft sends it
    /// again.
    pub fn deliver(&self, message: Vec<u8>) {
        drop(self.inbox.try_send(Input::Step(message)));
    }

    /// Proposes lines (those without a time get `time`) and waits until they are committed and applied here.
    pub fn write(&self, lines: &[u8], time: i64) -> Result<Applied> {
        self.ask(|answer| Input::Propose { lines: lines.to_vec(), time, answer })?
    }

    /// Its current state.
    pub fn status(&self) -> Result<Status> {
        self.ask(Input::Status)
    }

    /// See [`Replica::export`].
    pub fn export(&self) -> Result<String> {
        self.ask(Input::Export)?
    }

    /// Whether its thread is running. If it ended by itself, [`stop`](Self::stop) returns the reason.
    pub fn is_running(&self) -> bool {
        self.thread.lock().as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops it. Returns the error if its thread failed.
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
    /// Limits warnings about refused messages.
    refusals: WarnLimit,
}

/// A caller that waits for a proposal.
struct Waiting {
    since: Instant,
    /// The leader at that time.
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
                self.drop_late();
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
                        tracing::warn!(%error, suppressed, "refused a message");
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

    fn drop_late(&mut self) {
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
