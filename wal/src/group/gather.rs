//! A leader waits for others, or does not.

use std::time::{Duration, Instant};

use super::state::{Group, State};
use super::{GROUP_BYTES, Shared, Sink, Stage};
use crate::Durability;
use crate::kind::Format;
use crate::sync::MutexGuard;

/// Larger records take a while to make. Who waited for them would have them made while the disk is idle, and the disk would
/// be busy while nobody makes any: let groups take turns.
const GATHERED_BYTES_MAX: u64 = 4 << 10;

/// A leader waits no longer for others, however long a sync takes.
const GATHER_MAX: Duration = Duration::from_micros(200);

impl<S: Sink, T: Format> Shared<S, T> {
    /// Waits a moment for those whom the last group has just let go; whether this thread still leads then. Most come back
    /// at once, and would else have to wait for a sync of their own: groups of half the writers would take turns. The
    /// last of them leads: to wake another one for that would take a while. Who was alone waits for nobody.
    pub(super) fn gather(&self, state: &mut MutexGuard<'_, State<S, T>>) -> bool {
        let Group { records, bytes, sync } = state.last_group;
        let few_or_large = records < 2 || bytes > records * GATHERED_BYTES_MAX;
        if few_or_large || self.durability != Durability::Group || state.stage != Stage::Open {
            return true;
        }
        state.wanted_records = state.pending_records + records - 1;
        let this = state.gatherings;
        let deadline = Instant::now() + (sync / 2).min(GATHER_MAX);
        // Asleep: who yields or spins on a busy machine gets the processor back when others have had their turns, some
        // milliseconds later; who sleeps is preferred.
        while !state.is_gathered()
            && state.pending.len() < GROUP_BYTES
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
