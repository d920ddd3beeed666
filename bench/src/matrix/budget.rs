//! Whether the time of a run is enough for its cells. A run whose first block may not fit does not start.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::spec::Group;
use super::together;
use crate::failure::Failure;
use crate::inputs::Rng;
use crate::out;
use crate::report::summary::DatasetLines;
use crate::stats::PASSES_MIN;
use crate::workload::{Pace, Workload};

/// The least cost of a cell on a small dataset, as a share of its cost on the largest.
const COST_SHARE_MIN: f64 = 0.1;

/// The time that is proposed for some blocks, compared with the estimate.
const RESERVE: f64 = 1.2;

/// The time that the first block may take, compared with the estimate. It is not cut short.
const FIRST_BLOCK_RESERVE: f64 = 1.5;

/// What a process of the workload `latency` takes before and after its work: reading the points and checking them.
const OPEN_LOOP_SETUP_SECONDS: f64 = 1.0;

/// The time of a run, from its first action to its report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    begun: Instant,
    /// `None` if the number of blocks is given.
    time: Option<Duration>,
}

impl Budget {
    pub(super) fn new(time: Option<Duration>) -> Self {
        Self { begun: Instant::now(), time }
    }

    /// Whether the run ends when its time is over.
    pub(super) fn is_limited(&self) -> bool {
        self.time.is_some()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Without a limit, infinite.
    pub(super) fn seconds_left(&self) -> f64 {
        self.time.map_or(f64::INFINITY, |time| time.saturating_sub(self.elapsed()).as_secs_f64())
    }

    /// Refuses a run whose first block may not fit, and warns if verdicts need more blocks than fit. Runs the reference of each
    /// workload once, which also loads the program and the datasets into the page cache.
    pub(super) fn check(
        &self,
        blocks: u32,
        plan: &Plan,
        datasets: &[DatasetLines],
        scratch: &Path,
    ) -> Result<(), Failure> {
        let open_loops = open_loops_seconds(plan);
        if open_loops > 0.0 {
            out::note(format_args!(
                "The cells of the workload latency take about {open_loops:.0} s in a block."
            ));
        }
        let Some(time) = self.time else {
            if plan.groups[0].pace.is_some() {
                return Ok(());
            }
            // Only loads the program and one dataset.
            let _ = run_alone(&plan.groups[0], 1, scratch);
            return Ok(());
        };
        let preparation = self.elapsed().as_secs_f64();
        let block = block_seconds(plan, datasets, scratch);
        let left = self.seconds_left();
        let wanted = (self.elapsed().as_secs_f64() + block * f64::from(blocks) * RESERVE).ceil();
        let times = format!("the preparation takes {preparation:.1} s and a block about {block:.1} s");
        if block * FIRST_BLOCK_RESERVE > left {
            Err(Failure::Usage(format!(
                "{times}, so no block may fit into {time:?}. Give --time {wanted}s, select less, or give --blocks 1"
            )))
        } else {
            if block * f64::from(blocks) > left {
                out::note(format_args!(
                    "{times}. Verdicts need {blocks} blocks, which do not fit into {time:?}; --time {wanted}s is enough"
                ));
            }
            Ok(())
        }
    }
}

/// Runs the reference of a group.
fn run_alone(group: &Group, passes: usize, scratch: &Path) -> together::Done {
    let (mut rng, never) = (Rng::new(0), AtomicBool::new(false));
    together::run(group, &[&group.cells[0]], passes, scratch, (&mut rng, &never)).remove(0)
}

/// The estimated time of the workload `latency` in a block. Each process of it lasts a known time.
fn open_loops_seconds(plan: &Plan) -> f64 {
    let paced = plan.groups.iter().filter_map(|group| Some((group.pace?, group.cells.len())));
    let seconds = |(pace, cells): (Pace, usize)| (pace.seconds() + OPEN_LOOP_SETUP_SECONDS) * cells as f64;
    paced.map(seconds).sum()
}

/// The estimated time of a block, in which each cell runs once and each reference twice.
fn block_seconds(plan: &Plan, datasets: &[DatasetLines], scratch: &Path) -> f64 {
    let lines = |name: &str| {
        let used =
            datasets.iter().find(|dataset| dataset.name == name).map_or(1, |dataset| dataset.lines_used);
        used.max(1) as f64
    };
    let mut total = open_loops_seconds(plan);
    for workload in Workload::ALL.into_iter().filter(|workload| workload.is_compared()) {
        let groups = || plan.groups.iter().filter(|group| group.workload == workload);
        let Some(largest) = groups().max_by(|a, b| lines(&a.dataset).total_cmp(&lines(&b.dataset))) else {
            continue;
        };
        let (_, seconds) = run_alone(largest, PASSES_MIN as usize, scratch);
        for group in groups() {
            let share = (lines(&group.dataset) / lines(&largest.dataset)).max(COST_SHARE_MIN);
            total += seconds * share * (group.cells.len() + 1) as f64;
        }
    }
    total
}
