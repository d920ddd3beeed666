//! How a thread leads: it waits for followers, writes and syncs the group, and accounts for it.

use std::time::{Duration, Instant};
use std::{io, mem};

use super::halves::Framer;
use super::state::{Group, Stage, State};
use super::waiters::Waiters;
use super::{GROUP_BYTES, Shared};
use crate::sync::MutexGuard;
use crate::{Durability, Error, Result};

/// Larger records take a while to encode. If a leader waited for them, encoding and disk I/O would alternate
/// instead of overlapping. So groups of larger records take turns.
const GATHERED_BYTES_MAX: u64 = 4 << 10;

/// Maximum wait of a leader for followers, however long a sync takes.
const GATHER_MAX: Duration = Duration::from_micros(200);

impl<F: Framer> Shared<F> {
    /// Leads: writes the pending group, and syncs if asked to. If another thread leads, waits until it has
    /// finished.
    pub(super) fn step<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<F>>,
        sync: bool,
    ) -> (MutexGuard<'a, State<F>>, Result<()>) {
        if state.is_led() || state.leading && !sync {
            self.changed.wait(&mut state);
            return (state, Ok(()));
        }
        state.waiters.led();
        if mem::replace(&mut state.leading, true) {
            state.end_gathering();
        } else if sync && !self.gather(&mut state) {
            return (state, Ok(()));
        }
        let mut turn = state.begin_turn(sync);
        drop(state);
        let done = self.guarded(|| turn.work());
        let mut state = self.state.lock();
        state.leading = false;
        let result = state.end_turn(turn, done);
        let whole = result.is_ok() && !state.poison.is_set();
        let done = state.done(self.syncs());
        let who = |all: &mut Waiters| if whole { all.served(done) } else { all.all() };
        (self.wake(state, who), result)
    }

    /// Runs `work`. If it panics, the log stops, so that no thread waits forever or uses the state it left.
    /// If `work` takes the lock, it must own the guard.
    pub(super) fn guarded<R>(&self, work: impl FnOnce() -> R) -> R {
        let abandoned = Abandoned(self);
        let done = work();
        mem::forget(abandoned);
        done
    }

    /// Waits a moment for the followers of the last group. Returns whether this thread still leads
    /// afterwards. Most followers come back at once. Without this wait they would need a sync of their own,
    /// and two half-size groups would alternate. The last follower leads, because waking another thread takes
    /// longer. A thread that was alone does not wait.
    fn gather(&self, state: &mut MutexGuard<'_, State<F>>) -> bool {
        let Group { records, bytes, sync } = state.last_group;
        let few_or_large = records < 2 || bytes > records * GATHERED_BYTES_MAX;
        if few_or_large || self.durability != Durability::Group || state.stage != Stage::Open {
            return true;
        }
        state.wanted_records = state.records + records - 1;
        let this = state.gatherings;
        let deadline = Instant::now() + (sync / 2).min(GATHER_MAX);
        // Sleep: on a busy machine, a thread that yields or spins gets the CPU back only after other threads
        // had their turns, some milliseconds later. A thread that sleeps is preferred.
        while !state.is_gathered()
            && state.framer.waiting() < GROUP_BYTES
            && !self.gathered.wait_until(state, deadline).timed_out()
            && state.gatherings == this
        {}
        if state.gatherings != this {
            return false;
        }
        state.end_gathering();
        true
    }
}

/// Poisons the log if a thread panics while it holds a half of the format.
struct Abandoned<'a, F: Framer>(&'a Shared<F>);

impl<F: Framer> Drop for Abandoned<'_, F> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        let panicked = io::Error::other("a thread panicked while it wrote the log");
        state.poison.set(&Error::io("write", panicked).at_path(&self.0.dir));
        drop(self.0.wake(state, Waiters::all));
    }
}
