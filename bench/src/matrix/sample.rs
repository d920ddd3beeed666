//! The measurements of one run of one cell.

use serde::{Deserialize, Serialize};

use super::spec::{CellSpec, Group};
use crate::workload::{Outcome, Pace, Workload};

/// Group, cell, and whether it is the reference's second run.
pub(crate) type Turn = (usize, usize, bool);

/// One cell of one block, a line of `results.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) block: u32,
    /// Index of the group in the plan, and of the cell in the group.
    pub(crate) group: usize,
    pub(crate) cell: usize,
    /// Whether this is the second run of the reference, which gives the noise floor.
    pub(crate) again: bool,
    /// How many times the run had looked at its verdicts before. A look uses all samples with smaller numbers.
    #[serde(default)]
    pub(crate) looks: u32,
    /// From the start of the process to its end.
    #[serde(default)]
    pub(crate) process_seconds: f64,
    dataset: String,
    workload: Workload,
    threads: usize,
    batch: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pace: Option<Pace>,
    #[serde(flatten)]
    spec: CellSpec,
    #[serde(flatten)]
    pub(crate) outcome: Option<Outcome>,
    /// The error, if there is no outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Sample {
    /// Whether this sample, one of `lines`, can be of a run with these groups.
    pub(super) fn is_of(&self, groups: &[Group], lines: u32) -> bool {
        let Some(group) = groups.get(self.group) else { return false };
        group.cells.get(self.cell) == Some(&self.spec)
            && (group.workload, group.dataset.as_str()) == (self.workload, self.dataset.as_str())
            && (group.threads, group.batch, group.pace) == (self.threads, self.batch, self.pace)
            && self.block < lines
            && self.looks < lines
            // A line with a field of a wrong type has neither.
            && self.outcome.is_some() != self.error.is_some()
    }

    pub(crate) fn new(
        block: u32,
        (group, cell, again): Turn,
        groups: &[Group],
        outcome: Result<Outcome, String>,
    ) -> Self {
        let of = &groups[group];
        let (outcome, error) = match outcome {
            Ok(outcome) => (Some(outcome), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            block,
            group,
            cell,
            again,
            looks: 0,
            process_seconds: 0.0,
            dataset: of.dataset.clone(),
            workload: of.workload,
            threads: of.threads,
            batch: of.batch,
            pace: of.pace,
            spec: of.cells[cell].clone(),
            outcome,
            error,
        }
    }
}
