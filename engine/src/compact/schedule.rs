//! Which plan comes next, and the threads that carry plans out.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tsmith_cache::Storer;
use tsmith_codecs::BlockEncoder;
use tsmith_wal::{Advice, Log};

use super::pace::{Pace, Throttle};
use super::plan::{self, FileFacts, Plan, PlanKind};
use super::{CompactReport, CompactStatus, Failure};
use crate::files::{FileName, TsmFile};
use crate::worker::ReadOnlyOnPanic;
use crate::{Inner, Options};

/// How often a thread looks for work without being woken.
const TICK: Duration = Duration::from_secs(1);

/// After repeated failures, for example of a full disk, the threads pause for longer and longer, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Tombstones alone justify a merge once the file had no delete for this long. Otherwise a series of deletes
/// would rewrite the same files again and again.
const DELETES_QUIET: Duration = Duration::from_secs(10);

/// Weights of levels 1, 2, 3 and all others, multiplied by the number of waiting plans. As in InfluxDB.
const WEIGHTS: [u32; 4] = [4, 3, 2, 1];

/// The compaction of one engine: running merges, statistics, and the right to start a merge.
#[derive(Debug)]
pub(crate) struct Compactor {
    limit: usize,
    throttle: Option<Throttle>,
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
    /// A caller compacts on its own thread. Background threads start no merge meanwhile.
    taken: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    running: Vec<Plan>,
    corrupt: BTreeSet<FileName>,
    status: CompactStatus,
    /// No merge starts before this time, because the last one failed temporarily.
    not_before: Option<Instant>,
    pause: Duration,
}

impl Compactor {
    pub(crate) fn new(options: &Options) -> Self {
        let cores = thread::available_parallelism().map_or(1, Into::into);
        let limit = match options.compact_threads {
            0 => cores / 2,
            threads => threads.min(cores),
        };
        Self {
            limit: limit.max(1),
            throttle: options.compact_bytes_per_second.map(Throttle::new),
            state: Mutex::default(),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            taken: AtomicBool::new(false),
            threads: Mutex::default(),
        }
    }

    /// Starts the threads. They run until [`Compactor::stop`].
    pub(crate) fn start<S: Storer, L: Log + ?Sized, E: BlockEncoder>(
        self: &Arc<Self>,
        inner: &Weak<Inner<S, L, E>>,
        read_only: &Arc<AtomicBool>,
    ) {
        for number in 0..self.limit {
            let (compactor, inner) = (self.clone(), inner.clone());
            let read_only = ReadOnlyOnPanic::new(read_only);
            let work = move || {
                let _set_on_panic = read_only;
                compactor.work(&inner);
            };
            match thread::Builder::new().name(format!("tsmith-compact-{number}")).spawn(work) {
                Ok(handle) => self.threads.lock().push(handle),
                // Without a thread the engine still works. Compactions then run on demand only.
                Err(error) => {
                    tracing::error!(%error, "cannot start a compaction thread; compactions run on demand only");
                }
            }
        }
    }

    fn work<S: Storer, L: Log + ?Sized, E: BlockEncoder>(&self, inner: &Weak<Inner<S, L, E>>) {
        while !self.stopped() {
            let Some(inner) = inner.upgrade() else { return };
            if let Some(plan) = self.begin(&inner) {
                let goes_on = || !self.stopped() && !self.taken.load(Ordering::Acquire);
                let merged = inner.merge(&plan, &mut Pace::new(self.throttle.as_ref(), &goes_on));
                self.end(&plan, merged);
                continue;
            }
            drop(inner);
            let mut state = self.state.lock();
            if !self.stopped() {
                self.changed.wait_for(&mut state, TICK);
            }
        }
    }

    /// Chooses a plan and records that it runs.
    fn begin<S: Storer, L: Log + ?Sized, E: BlockEncoder>(&self, inner: &Inner<S, L, E>) -> Option<Plan> {
        let mut state = self.state.lock();
        let waits = state.not_before.is_some_and(|at| Instant::now() < at);
        if waits || self.taken.load(Ordering::Acquire) || inner.worker.is_read_only() {
            return None;
        }
        let cold = inner.worker.idle() > inner.options.compact_idle;
        let mut plans = plan::plans(&state.facts(&inner.files.load(), &inner.options, DELETES_QUIET), cold);
        let chosen = choose(&plans, &state.running, self.limit)?;
        let plan = plans.swap_remove(chosen);
        tracing::debug!(kind = ?plan.kind, files = plan.files.len(), "compacting");
        state.running.push(plan.clone());
        Some(plan)
    }

    fn end(&self, plan: &Plan, merged: Result<CompactReport, Failure>) {
        let mut state = self.state.lock();
        state.running.retain(|running| running != plan);
        match merged {
            Ok(report) => state.count(&report),
            Err(failure) if failure.stopped => {}
            Err(failure) => {
                // No caller gets the error, so it is logged.
                let error = failure.error.clone();
                if state.fail(plan, failure) {
                    tracing::error!(%error, "the compaction failed; its files stay unchanged and are skipped until the engine is opened again");
                } else {
                    tracing::warn!(%error, "the compaction failed and will be retried; its files stay unchanged");
                }
            }
        }
        self.changed.notify_all();
    }

    /// Wakes the threads to look for work.
    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Stops the threads. A running merge stops and leaves all files unchanged.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // A thread that read the flag before the store now holds the lock or waits.
        drop(self.state.lock());
        self.changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        for handle in threads.into_iter().filter(|handle| handle.thread().id() != thread::current().id()) {
            if handle.join().is_err() {
                tracing::error!("a compaction thread panicked");
            }
        }
        let mut state = self.state.lock();
        while self.taken.load(Ordering::Acquire) {
            self.changed.wait(&mut state);
        }
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Stops background merges and reserves compaction for the caller. Returns `None` if the engine closes.
    pub(crate) fn take_turn(&self) -> Option<Turn<'_>> {
        let mut state = self.state.lock();
        while !self.stopped() && self.taken.load(Ordering::Acquire) {
            self.changed.wait(&mut state);
        }
        if self.stopped() {
            return None;
        }
        self.taken.store(true, Ordering::Release);
        let turn = Turn { compactor: self };
        while !self.stopped() && !state.running.is_empty() {
            self.changed.wait(&mut state);
        }
        // Dropping a turn takes the lock.
        drop(state);
        (!self.stopped()).then_some(turn)
    }

    pub(crate) fn status(&self) -> CompactStatus {
        let state = self.state.lock();
        CompactStatus { running: state.running.len(), ..state.status.clone() }
    }
}

/// The right to compact on the caller's thread.
#[derive(Debug)]
pub(crate) struct Turn<'c> {
    compactor: &'c Compactor,
}

impl Turn<'_> {
    /// The facts for the planner. Here every tombstone counts, however new.
    pub(crate) fn facts(&self, files: &[Arc<TsmFile>], options: &Options) -> Vec<FileFacts> {
        self.compactor.state.lock().facts(files, options, Duration::ZERO)
    }

    /// Runs a merge without a speed limit. It stops only when the engine closes.
    pub(crate) fn merge<T>(&self, merge: impl FnOnce(&mut Pace<'_>) -> T) -> T {
        let goes_on = || !self.compactor.stopped();
        merge(&mut Pace::new(None, &goes_on))
    }

    pub(crate) fn count(&self, report: &CompactReport) {
        self.compactor.state.lock().count(report);
    }

    /// Records why a plan failed. Returns true if files are now skipped, so that the next plans differ.
    pub(crate) fn fail(&self, plan: &Plan, failure: Failure) -> bool {
        self.compactor.state.lock().fail(plan, failure)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.compactor.taken.store(false, Ordering::Release);
        drop(self.compactor.state.lock());
        self.compactor.changed.notify_all();
    }
}

impl State {
    fn facts(&self, files: &[Arc<TsmFile>], options: &Options, quiet: Duration) -> Vec<FileFacts> {
        let busy: BTreeSet<FileName> =
            self.running.iter().flat_map(|plan| plan.files.iter().copied()).collect();
        let mut decoders = options.decoders.clone();
        let facts = |file: &Arc<TsmFile>| FileFacts {
            name: file.name(),
            bytes: file.reader().file_bytes(),
            tombstoned: !file.deletions().is_empty()
                && file.last_deleted().is_none_or(|last| last.elapsed() >= quiet),
            full_blocks: file.has_full_blocks(&mut decoders, options.points_per_block),
            busy: busy.contains(&file.name()),
            corrupt: self.corrupt.contains(&file.name()),
        };
        files.iter().map(facts).collect()
    }

    fn count(&mut self, report: &CompactReport) {
        (self.not_before, self.pause) = (None, Duration::ZERO);
        self.status.completed += 1;
        self.status.files_in += report.files_in;
        self.status.bytes_in += report.bytes_in;
        self.status.bytes_out += report.bytes_out;
    }

    fn fail(&mut self, plan: &Plan, failure: Failure) -> bool {
        let Failure { error, corrupt, .. } = failure;
        if corrupt.is_none() && error.advice() != Advice::GiveUp {
            self.pause = (self.pause * 2).clamp(TICK, PAUSE_MAX);
            self.not_before = Some(Instant::now() + self.pause);
            return false;
        }
        match corrupt {
            Some(name) => self.corrupt.extend([name]),
            // The corrupt file is unknown, so all of them are skipped.
            None => self.corrupt.extend(&plan.files),
        }
        self.status.failures.push(error);
        true
    }
}

/// The plan to carry out next. Merges of level 3 and above take long, so only a few of them run at a time.
fn choose(plans: &[Plan], running: &[Plan], limit: usize) -> Option<usize> {
    if running.len() >= limit {
        return None;
    }
    let class = |plan: &Plan| match plan.kind {
        PlanKind::Level(level @ 1..=3) => usize::from(level) - 1,
        _ => 3,
    };
    let is_long = |class: usize| class >= 2;
    let long = running.iter().filter(|plan| is_long(class(plan))).count();
    let open = |at: usize| !is_long(at) || long <= limit / 5;
    let waiting = |at: usize| plans.iter().filter(|plan| class(plan) == at).count() as u32;
    let best = (0..WEIGHTS.len()).filter(|&at| open(at) && waiting(at) > 0);
    let best = best.max_by_key(|&at| (WEIGHTS[at] * waiting(at), std::cmp::Reverse(at)))?;
    plans.iter().position(|plan| class(plan) == best)
}

#[cfg(test)]
mod tests {
    use tsmith_tsm::MergeMode;

    use super::*;

    fn plans(kinds: &[PlanKind]) -> Vec<Plan> {
        let plan = |&kind| Plan { kind, mode: MergeMode::Full, files: Vec::new() };
        kinds.iter().map(plan).collect()
    }

    #[test]
    fn waiting_plans_outweigh_a_lower_level() {
        use PlanKind::{Full, Level, Tail};
        let next = |kinds: &[PlanKind]| choose(&plans(kinds), &[], 4).map(|at| kinds[at]);
        assert_eq!(next(&[]), None);
        assert_eq!(next(&[Tail, Level(2), Level(1)]), Some(Level(1)));
        assert_eq!(next(&[Level(1), Level(2), Level(2)]), Some(Level(2)));
        assert_eq!(
            next(&[Level(3), Level(3), Level(1)]),
            Some(Level(1)),
            "as many points, and a lower level"
        );
        assert_eq!(next(&[Full]), Some(Full));
    }

    #[test]
    fn long_merges_leave_threads_for_short_ones() {
        use PlanKind::{Level, Tail};
        let waiting = plans(&[Tail, Level(3)]);
        assert_eq!(choose(&waiting, &plans(&[Tail]), 4), None, "one of four may be long");
        assert_eq!(choose(&waiting, &plans(&[Level(1)]), 4), Some(1));
        assert_eq!(choose(&waiting, &plans(&[Tail]), 10), Some(1), "three of ten");
        assert_eq!(choose(&plans(&[Level(1)]), &plans(&[Tail]), 4), Some(0));
        assert_eq!(choose(&plans(&[Level(1)]), &plans(&[Tail]), 1), None);
    }
}
