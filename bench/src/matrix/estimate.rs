//! How long a block takes, before there is one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::plan::Plan;
use super::spec::{CellSpec, Group};
use super::together::{self, Done};
use crate::inputs::Rng;
use crate::report::summary::DatasetLines;
use crate::stats::PASSES_MIN;
use crate::workload::Workload;

/// The least cost of a cell on a small dataset, as a share of its cost on the largest.
const COST_SHARE_MIN: f64 = 0.1;

/// What a process of the workload `latency` takes before and after its work: reading the points and checking them.
const OPEN_LOOP_SETUP_SECONDS: f64 = 1.0;

/// What a process of each workload takes.
#[derive(Debug)]
pub(super) struct Estimate {
    /// Seconds of the reference on the dataset with most lines, and the number of these.
    processes: Vec<(Workload, f64, f64)>,
    /// How much longer a whole store of another project takes than the reference, by workload and name.
    stores: HashMap<(Workload, String), f64>,
    datasets: Vec<DatasetLines>,
}

impl Estimate {
    /// Runs the reference and each store of each workload once. This also loads the program and the datasets into the page
    /// cache.
    pub(super) fn new(plan: &Plan, datasets: &[DatasetLines], scratch: &Path, stop: &AtomicBool) -> Self {
        let mut all = Self { processes: Vec::new(), stores: HashMap::new(), datasets: datasets.to_vec() };
        for workload in Workload::ALL.into_iter().filter(|workload| workload.is_compared()) {
            let groups = plan.groups.iter().filter(|group| group.workload == workload);
            if let Some(largest) = groups.max_by(|a, b| all.lines(a).total_cmp(&all.lines(b))) {
                let (_, seconds) = run_alone(largest, 0, PASSES_MIN as usize, scratch, stop);
                all.processes.push((workload, seconds, all.lines(largest)));
                let of_size = |group: &&Group| group.workload == workload && group.dataset == largest.dataset;
                for group in plan.groups.iter().filter(of_size) {
                    for (at, cell) in group.cells.iter().enumerate() {
                        let Some(store) = &cell.store else { continue };
                        let time = || run_alone(group, at, PASSES_MIN as usize, scratch, stop).1 / seconds;
                        all.stores.entry((workload, store.clone())).or_insert_with(time);
                    }
                }
            }
        }
        all
    }

    /// The time of a block, in which each cell of these groups runs once and each reference twice.
    pub(super) fn block_seconds(&self, groups: &[Group]) -> f64 {
        let of_group = |group: &Group| {
            let known = self.processes.iter().find(|known| known.0 == group.workload);
            let (_, seconds, lines) = known.expect("every workload of the plan ran");
            let share = (self.lines(group) / lines).max(COST_SHARE_MIN);
            let of_cell = |cell: &CellSpec| {
                let store = cell.store.clone().and_then(|store| self.stores.get(&(group.workload, store)));
                store.copied().unwrap_or(1.0)
            };
            seconds * share * (1.0 + group.cells.iter().map(of_cell).sum::<f64>())
        };
        let compared = groups.iter().filter(|group| group.pace.is_none());
        open_loops_seconds(groups) + compared.map(of_group).sum::<f64>()
    }

    fn lines(&self, group: &Group) -> f64 {
        let used = self.datasets.iter().find(|dataset| dataset.name == group.dataset);
        used.map_or(1, |dataset| dataset.lines_used).max(1) as f64
    }
}

/// The time of the workload `latency` in a block. Each process of it lasts a known time.
pub(super) fn open_loops_seconds(groups: &[Group]) -> f64 {
    let paced = groups.iter().filter_map(|group| Some((group.pace?, group.cells.len())));
    paced.map(|(pace, cells)| (pace.seconds() + OPEN_LOOP_SETUP_SECONDS) * cells as f64).sum()
}

/// Runs one cell of a group.
pub(super) fn run_alone(
    group: &Group,
    cell: usize,
    passes: usize,
    scratch: &Path,
    stop: &AtomicBool,
) -> Done {
    together::run(group, &[&group.cells[cell]], passes, scratch, (&mut Rng::new(0), stop)).remove(0)
}
