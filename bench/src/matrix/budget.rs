//! Whether the time of a run is enough for its cells. A run that could decide nothing does not start.

use std::path::Path;
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::process;
use crate::failure::Failure;
use crate::report::summary::DatasetLines;
use crate::stats::PASSES_MIN;
use crate::workload::Workload;

/// The least cost of a cell on a small dataset, as a share of its cost on the largest.
const COST_SHARE_MIN: f64 = 0.1;

/// The time that a refused run should have got, compared with the estimate.
const RESERVE: f64 = 1.2;

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

    /// Refuses a run if so many blocks do not fit. Runs the reference of each workload once, which also loads the program and
    /// the datasets into the page cache.
    pub(super) fn check(
        &self,
        blocks: u32,
        plan: &Plan,
        datasets: &[DatasetLines],
        scratch: &Path,
    ) -> Result<(), Failure> {
        let Some(time) = self.time else {
            // Only loads the program and one dataset.
            let _ = process::spawn(&plan.groups[0], &plan.groups[0].cells[0], 1, scratch.into());
            return Ok(());
        };
        let (time, preparation) = (time.as_secs_f64(), self.elapsed().as_secs_f64());
        let block = block_seconds(plan, datasets, scratch);
        let needed = block * f64::from(blocks);
        if preparation + needed <= time {
            return Ok(());
        }
        let wanted = (preparation + needed * RESERVE).ceil();
        Err(Failure::Usage(format!(
            "the preparation takes {preparation:.1} s and each block about {block:.1} s, so the {blocks} blocks that \
             verdicts need do not fit into {time} s. Give --time {wanted}s or more, select less, or give --blocks 1"
        )))
    }
}

/// The estimated time of a block, in which each cell runs once and each reference twice.
fn block_seconds(plan: &Plan, datasets: &[DatasetLines], scratch: &Path) -> f64 {
    let lines = |name: &str| {
        let used =
            datasets.iter().find(|dataset| dataset.name == name).map_or(1, |dataset| dataset.lines_used);
        used.max(1) as f64
    };
    let mut total = 0.0;
    for workload in Workload::ALL {
        let groups = || plan.groups.iter().filter(|group| group.workload == workload);
        let Some(largest) = groups().max_by(|a, b| lines(&a.dataset).total_cmp(&lines(&b.dataset))) else {
            continue;
        };
        let begun = Instant::now();
        let _ = process::spawn(largest, &largest.cells[0], PASSES_MIN as usize, scratch.into());
        let seconds = begun.elapsed().as_secs_f64();
        for group in groups() {
            let share = (lines(&group.dataset) / lines(&largest.dataset)).max(COST_SHARE_MIN);
            total += seconds * share * (group.cells.len() + 1) as f64;
        }
    }
    total
}
