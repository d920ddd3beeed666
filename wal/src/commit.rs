//! Group commit: many threads append, one of them writes and syncs for all.
//!
//! ```text
//! append ──► framer, under the lock: pending group ──┐ position drawn
//! append ──► framer, under the lock: pending group ──┤
//! sync:   nobody leads: takes the pending group, writes it, syncs ──► wakes the followers
//! sync:   somebody leads: waits; the next group forms meanwhile, however many join it
//! ```
//!
//! A format has two halves, see [`Framer`]. The framer is used under the lock and orders records. The writer belongs to
//! the leader, who uses it without the lock: so no append waits for a sync. What is rare (a segment that is made ready, cut
//! or closed) uses both halves under the lock while nobody leads.
//!
//! A leader whose predecessor had many followers waits a moment for them to come back, half a sync at most, unless their
//! records are large; the last of them leads in its place. Those whose records are safe are woken at once, and with them
//! one of the next group, who leads it: see `waiters`.
//!
//! A position is drawn when a record is pushed. If a write fails because the disk is full, a format that can do so takes
//! the group back: its positions fail, later records get later ones, and the next caller that no other error reached gets
//! this one. After any other failed write or sync nothing is acknowledged again.

mod halves;
mod lead;
mod state;
mod waiters;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::AtPath;
use crate::metrics::Metrics;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::{Durability, Durable, Error, ErrorKind, Position, Result};

pub(crate) use halves::{Failure, Framer, Writer};
use state::{Stage, State};
use waiters::Waiters;

/// A group that has grown to this is written by the next thread that appends, even if nobody waits for it yet.
const GROUP_BYTES: usize = 4 << 20;

/// What to do stands before the cause, as errors of the system end with it.
const START_THREAD: &str = "start the thread that syncs at an interval (raise the limit of threads, or open with another durability)";

/// Shorter intervals would have a thread do nothing but look.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Longer ones never end; and no clock goes on for ever.
const INTERVAL_MAX: Duration = Duration::from_secs(1 << 32);

/// The group commit of a log, with the thread that syncs at an interval if it has one.
#[derive(Debug)]
pub(crate) struct GroupCommit<F: Framer, L> {
    shared: Arc<Shared<F>>,
    interval: Mutex<Option<JoinHandle<()>>>,
    /// The lock of the directory, until the log is closed.
    lock: Mutex<Option<L>>,
}

/// The part that the thread shares.
#[derive(Debug)]
pub(crate) struct Shared<F: Framer> {
    dir: PathBuf,
    durability: Durability,
    state: Mutex<State<F>>,
    /// Somebody stopped leading, or the log closes: for threads that want to lead, whatever their records.
    changed: Condvar,
    /// A leader sleeps here until a time, while followers come back; nobody wakes it. See [`Shared::gather`].
    gathered: Condvar,
}

impl<F: Framer, L> GroupCommit<F, L> {
    /// The group commit of the log in `dir`, which was recovered and is locked.
    pub(crate) fn new(
        dir: &Path,
        durability: Durability,
        framer: F,
        writer: F::Writer,
        lock: L,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            dir: dir.to_path_buf(),
            durability,
            state: Mutex::new(State::new(framer, writer)),
            changed: Condvar::new(),
            gathered: Condvar::new(),
        });
        let thread = match durability {
            Durability::Interval(interval) => {
                let shared = Arc::clone(&shared);
                let thread = std::thread::Builder::new().name("wal-sync".into());
                let thread = thread.spawn(move || shared.sync_at_interval(interval));
                Some(thread.at(START_THREAD, dir)?)
            }
            _ => None,
        };
        Ok(Self { shared, interval: Mutex::new(thread), lock: Mutex::new(Some(lock)) })
    }

    /// Makes everything durable and ends the log. The writer and its files go.
    pub(crate) fn close(&self) -> Result<()> {
        let shared = &self.shared;
        {
            let mut state = shared.state.lock();
            state.check_stage(Stage::Open, &shared.dir)?;
            state.stage = Stage::Closing;
        }
        shared.changed.notify_all();
        if let Some(thread) = self.interval.lock().take() {
            // A panic of the thread has poisoned the log, and the end says so.
            drop(thread.join());
        }
        let ended = shared.guarded(|| shared.change(Stage::Closing, F::end)).map(drop);
        let mut state = shared.state.lock();
        state.stage = Stage::Ended;
        state.writer = None;
        drop(shared.wake(state, Waiters::all));
        self.lock.lock().take();
        ended
    }

    /// Keeps the directory locked while the guard lives, if the log is not closed.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<L>> {
        self.lock.lock()
    }
}

impl<F: Framer, L> Deref for GroupCommit<F, L> {
    type Target = Shared<F>;

    fn deref(&self) -> &Shared<F> {
        &self.shared
    }
}

impl<F: Framer, L> Drop for GroupCommit<F, L> {
    fn drop(&mut self) {
        if self.shared.state.lock().stage == Stage::Open
            && let Err(error) = self.close()
        {
            tracing::warn!(%error, "log dropped without being closed");
        }
    }
}

impl<F: Framer> Shared<F> {
    /// Orders a record.
    pub(crate) fn append(&self, item: F::Item<'_>) -> Result<Position> {
        self.guarded(|| self.try_append(item))
    }

    fn try_append(&self, item: F::Item<'_>) -> Result<Position> {
        let mut state = self.state.lock();
        loop {
            // Asked again after every wait: no file would hold what comes after the last group of a closing log.
            state.check(Stage::Open, &self.dir)?;
            let waiting = state.framer.waiting();
            let is_due = waiting > GROUP_BYTES || waiting > 0 && self.durability == Durability::Each;
            let has_room = state.framer.has_room(item).map_err(|error| error.at_path(&self.dir))?;
            if has_room && !is_due {
                return Ok(state.push(item));
            } else if waiting > 0 {
                (state, _) = self.step(state, self.syncs());
            } else if state.leading {
                self.changed.wait(&mut state);
            } else if let Err(error) = state.with_halves(|framer, writer| framer.make_room(writer, item)) {
                drop(self.wake(state, Waiters::all));
                return Err(error);
            }
        }
    }

    /// As [`Log::sync`](crate::Log::sync).
    pub(crate) fn sync(&self, at: Position) -> Result<Durable> {
        let mut state = self.state.lock();
        // A position from elsewhere cannot be waited for.
        let at = at.min(state.framer.tail());
        loop {
            if let Some(error) = state.failure_of(at) {
                return Err(error);
            }
            if state.done(self.syncs()) >= at {
                return Ok(Durable::promise(at));
            }
            state.poison.check()?;
            if state.stage == Stage::Ended {
                return Err(Error::new(ErrorKind::Closed).at_path(&self.dir));
            } else if state.stage == Stage::Closing || state.is_led() {
                // When the log closes the last group has it.
                let latch = state.waiters.join(at);
                drop(state);
                if latch.wait() {
                    return Ok(Durable::promise(at));
                }
                state = self.state.lock();
            } else {
                (state, _) = self.step(state, self.syncs());
            }
        }
    }

    /// Makes all of it durable and ends the segment. Gives a position between the records so far and later ones.
    pub(crate) fn cut(&self) -> Result<Position> {
        self.exclusive(F::end)
    }

    /// Makes everything durable, then gives both halves to `change`. The lock is kept from the last group to the end of it, so
    /// that no record comes between.
    pub(crate) fn exclusive<R>(
        &self,
        change: impl FnOnce(&mut F, &mut F::Writer) -> Result<R, Failure>,
    ) -> Result<R> {
        self.guarded(|| self.change(Stage::Open, change))
    }

    fn change<R>(
        &self,
        stage: Stage,
        change: impl FnOnce(&mut F, &mut F::Writer) -> Result<R, Failure>,
    ) -> Result<R> {
        let mut state = self.state.lock();
        loop {
            state.check(stage, &self.dir)?;
            if !state.leading {
                break;
            }
            self.changed.wait(&mut state);
        }
        state.waiters.led();
        let mut turn = state.begin_turn(true);
        let done = turn.work();
        let written = state.end_turn(turn, done);
        // Also after a full disk: the log is in order without the group.
        let changed = state.check(stage, &self.dir).and_then(|()| state.with_halves(change));
        let tail = state.framer.tail();
        let failed = state.failure_of(tail);
        if changed.is_ok() {
            (state.written, state.durable) = (tail, tail);
        }
        drop(self.wake(state, Waiters::all));
        written?;
        let changed = changed?;
        failed.map_or(Ok(changed), Err)
    }

    /// What `look` sees of the framer of an open log in order.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&F) -> R) -> Result<R> {
        let state = self.state.lock();
        state.check(Stage::Open, &self.dir)?;
        Ok(look(&state.framer))
    }

    /// Does `work` on other files of the log, whoever leads meanwhile. If it breaks the log, nothing is acknowledged any more.
    pub(crate) fn beside<R>(&self, work: impl FnOnce() -> Result<R, Failure>) -> Result<R> {
        let done = self.guarded(work);
        let mut state = self.state.lock();
        let done = state.stop_if_broken(done);
        if done.is_err() {
            drop(self.wake(state, Waiters::all));
        }
        done
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.state.lock().metrics.clone()
    }

    /// Whether a thread that waits for a record waits for the disk.
    fn syncs(&self) -> bool {
        matches!(self.durability, Durability::Each | Durability::Group)
    }

    /// Syncs at an interval, until the log closes.
    fn sync_at_interval(&self, interval: Duration) {
        let mut state = self.state.lock();
        loop {
            let next = Instant::now() + interval.clamp(INTERVAL_MIN, INTERVAL_MAX);
            while state.stage == Stage::Open && !self.changed.wait_until(&mut state, next).timed_out() {}
            if state.stage != Stage::Open || state.poison.is_set() {
                return;
            }
            state.sync_due = state.durable < state.written;
            while state.sync_due && state.stage == Stage::Open && !state.poison.is_set() {
                // The next caller gets a failure. Where writers lead all the time, one of them syncs.
                (state, _) = self.step(state, true);
            }
        }
    }

    /// Wakes the threads that a change concerns, without the lock, which they will want.
    fn wake<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<F>>,
        who: impl FnOnce(&mut Waiters) -> waiters::Woken,
    ) -> MutexGuard<'a, State<F>> {
        let woken = who(&mut state.waiters);
        self.changed.notify_all();
        MutexGuard::unlocked(&mut state, || woken.wake());
        state
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
