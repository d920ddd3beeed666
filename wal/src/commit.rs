//! Group commit: many threads append; one of them writes and syncs for all.
//!
//! ```text
//! append ──► framer, under the lock: pending group ──┐ position drawn
//! append ──► framer, under the lock: pending group ──┤
//! sync:   no leader yet: takes the pending group, writes it, syncs ──► wakes the followers
//! sync:   there is a leader: waits; the next group forms meanwhile, with any number of threads
//! ```
//!
//! A format has two halves, see [`Framer`]. The framer orders records, under the lock. The writer belongs to
//! the leader, which uses it without the lock, so that no append waits for a sync. Rare operations
//! (preparing, cutting or closing a segment) use both halves under the lock while there is no leader.
//!
//! If the previous group had many followers, the new leader waits a moment for them to come back: at most
//! half the duration of a sync, and only if their records are small. The last of them then leads in its
//! place. Threads whose records are durable are woken at once, together with one thread of the next group,
//! which becomes its leader: see `waiters`.
//!
//! A position is drawn when a record is pushed. If a write fails because the disk is full, a format that can
//! do so takes the group back. Its positions fail, later records get later positions, and the next caller
//! that got no other error gets this one. After any other failed write or sync, nothing is acknowledged
//! again.

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

/// The next appending thread writes a group of this size, even if no thread waits for it yet.
const GROUP_BYTES: usize = 4 << 20;

/// The advice precedes the cause, because the error of the operating system is printed last.
const START_THREAD: &str =
    "start the thread that syncs at an interval (raise the thread limit, or open with another durability)";

/// Shorter intervals would keep a thread busy doing nothing.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Longer intervals overflow the clock.
const INTERVAL_MAX: Duration = Duration::from_secs(1 << 32);

/// The group commit of a log, with its interval thread if it has one.
#[derive(Debug)]
pub(crate) struct GroupCommit<F: Framer, L> {
    shared: Arc<Shared<F>>,
    interval: Mutex<Option<JoinHandle<()>>>,
    /// The lock of the directory, until the log is closed.
    lock: Mutex<Option<L>>,
}

/// The state shared with the interval thread.
#[derive(Debug)]
pub(crate) struct Shared<F: Framer> {
    dir: PathBuf,
    durability: Durability,
    state: Mutex<State<F>>,
    /// Wakes threads that want to lead when there is no leader any more, or when the log closes.
    changed: Condvar,
    /// A leader sleeps here with a timeout while followers come back. It is never notified. See
    /// [`Shared::gather`].
    gathered: Condvar,
}

impl<F: Framer, L> GroupCommit<F, L> {
    /// The group commit of the recovered and locked log in `dir`.
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

    /// Makes everything durable and closes the log. Drops the writer and its files.
    pub(crate) fn close(&self) -> Result<()> {
        let shared = &self.shared;
        {
            let mut state = shared.state.lock();
            state.check_stage(Stage::Open, &shared.dir)?;
            state.stage = Stage::Closing;
        }
        shared.changed.notify_all();
        if let Some(thread) = self.interval.lock().take() {
            // If the thread panicked, the log is poisoned and closing reports that.
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

    /// Returns a guard that keeps the directory locked, unless the log is closed.
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
            // Check again after every wait: once a log closes, no file takes records after its last group.
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
        // A position of another log can lie beyond the last record.
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
                // If the log closes, the last group contains the record.
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

    /// Makes all records durable and ends the segment. Returns a position between the records so far and
    /// later ones.
    pub(crate) fn cut(&self) -> Result<Position> {
        self.exclusive(F::end)
    }

    /// Makes all records durable, then passes both halves to `change`. Holds the lock from the last group to
    /// the end, so that no record comes in between.
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
        // Also after a full disk: the log is intact without the group.
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

    /// Passes the framer of an open, intact log to `look`.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&F) -> R) -> Result<R> {
        let state = self.state.lock();
        state.check(Stage::Open, &self.dir)?;
        Ok(look(&state.framer))
    }

    /// Runs `work` on other files of the log, also while a thread leads. If it breaks the log, nothing more
    /// is acknowledged.
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

    /// Whether callers of `sync` wait for the disk.
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
                // The next caller gets a failure. If writers lead all the time, one of them syncs.
                (state, _) = self.step(state, true);
            }
        }
    }

    /// Wakes the threads that a change affects. Releases the lock first, because they need it.
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
