//! How a thread leads: waits for followers, writes and syncs the group, and accounts for it.

use std::time::{Duration, Instant};
use std::{io, mem};

use super::halves::Framer;
use super::state::{Group, Stage, State};
use super::waiters::Waiters;
use super::{GROUP_BYTES, Shared};
use crate::sync::MutexGuard;
use crate::{Durability, Error, Result};

/// Larger records take a while to make. A leader that waited for them would have them made while the disk is idle, and the
/// disk would be busy while nobody makes any: let groups take turns.
const GATHERED_BYTES_MAX: u64 = 4 << 10;

/// A leader waits no longer for followers, however long a sync takes.
const GATHER_MAX: Duration = Duration::from_micros(200);

impl<F: Framer> Shared<F> {
    /// Leads: writes what waits, and syncs if asked to. If somebody leads already, waits for the end of that.
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

    /// Does `work`. If it panics, the log stops, so that nobody waits for it for ever or uses what it left. `work` has to own
    /// the guard of the lock, if it takes it.
    pub(super) fn guarded<R>(&self, work: impl FnOnce() -> R) -> R {
        let abandoned = Abandoned(self);
        let done = work();
        mem::forget(abandoned);
        done
    }

    /// Waits a moment for the followers of the last group; whether this thread still leads then. Most come back at once,
    /// and would otherwise wait for a sync of their own: groups of half the writers would take turns. The last of them
    /// leads: to wake another one for that would take a while. A thread that was alone waits for nobody.
    fn gather(&self, state: &mut MutexGuard<'_, State<F>>) -> bool {
        let Group { records, bytes, sync } = state.last_group;
        let few_or_large = records < 2 || bytes > records * GATHERED_BYTES_MAX;
        if few_or_large || self.durability != Durability::Group || state.stage != Stage::Open {
            return true;
        }
        state.wanted_records = state.records + records - 1;
        let this = state.gatherings;
        let deadline = Instant::now() + (sync / 2).min(GATHER_MAX);
        // Asleep: a thread that yields or spins on a busy machine gets the processor back when others have had their
        // turns, some milliseconds later; one that sleeps is preferred.
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

/// Poisons the log when a thread panics with a half of the format in its hands.
struct Abandoned<'a, F: Framer>(&'a Shared<F>);

impl<F: Framer> Drop for Abandoned<'_, F> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        let panicked = io::Error::other("a thread panicked while it wrote the log");
        state.poison.set(&Error::io("write", panicked).at_path(&self.0.dir));
        drop(self.0.wake(state, Waiters::all));
    }
}
