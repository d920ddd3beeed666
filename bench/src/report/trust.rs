//! How far the verdicts of a machine can be trusted.

use std::fmt;

use super::summary::{CellSummary, Summary};
use crate::stats::Verdict;

/// A ratio from which a run should decide nearly every comparison.
const LARGE: f64 = 1.3;

/// Figures of several runs.
#[derive(Debug, PartialEq)]
pub(crate) struct Trust {
    /// Comparisons whose ratio is large, in all runs, and how many of them are decided.
    large: usize,
    large_decided: usize,
    compared: usize,
    decided: usize,
    timed_share: f64,
    noise_floor: f64,
    /// Runs of equal cells, and how many of them call any faster or slower.
    equal_runs: usize,
    equal_runs_false: usize,
}

impl Trust {
    /// `equal` are runs in which only aliases are compared.
    pub(crate) fn new(runs: &[Summary], equal: &[Summary]) -> Self {
        let rows = || runs.iter().flat_map(Summary::rows).map(|(_, row)| row);
        let is_decided = |row: &&CellSummary| row.verdict.is_some_and(Verdict::is_decided);
        let is_large = |row: &&CellSummary| row.ratio.is_some_and(|ratio| ratio.mid.ln().abs() >= LARGE.ln());
        let mean = |of: &dyn Fn(&Summary) -> f64| runs.iter().map(of).sum::<f64>() / runs.len().max(1) as f64;
        let differs = |row: &CellSummary| matches!(row.verdict, Some(Verdict::Faster | Verdict::Slower));
        Self {
            large: rows().filter(|row| row.verdict.is_some()).filter(is_large).count(),
            large_decided: rows().filter(is_large).filter(is_decided).count(),
            compared: runs.iter().map(|run| run.compared).sum(),
            decided: runs.iter().map(|run| run.decided).sum(),
            timed_share: mean(&|run| run.timed_share),
            noise_floor: mean(&|run| run.noise_floor),
            equal_runs: equal.len(),
            equal_runs_false: equal.iter().filter(|run| run.rows().any(|(_, row)| differs(row))).count(),
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: usize, all: usize| part as f64 * 100.0 / all.max(1) as f64;
        let Self { large, large_decided, compared, decided, equal_runs, equal_runs_false, .. } = self;
        writeln!(
            f,
            "decided with a ratio of 1.3 or more   {large_decided} of {large} ({:.0} %; 90 % are expected)",
            percent(*large_decided, *large)
        )?;
        writeln!(
            f,
            "decided in all                        {decided} of {compared} ({:.0} %; 80 % are expected)",
            percent(*decided, *compared)
        )?;
        writeln!(
            f,
            "timed work                            {:.0} % of the time (70 % are expected)",
            self.timed_share * 100.0
        )?;
        writeln!(
            f,
            "equal cells called faster or slower   in {equal_runs_false} of {equal_runs} runs (3 of 20 are expected at most)"
        )?;
        write!(f, "noise floor                           {:.1} %", (self.noise_floor - 1.0) * 100.0)
    }
}
