//! The comparisons of a run, and what their samples say.

use std::collections::HashMap;

use super::sample::Sample;
use super::spec::Group;
use crate::stats::{Comparison, Finding, Judge, Need, looks_paid, noise};
use crate::workload::Workload;

/// The verdicts of a run. They follow from its samples: the looks that the run made are repeated.
#[derive(Debug)]
pub(crate) struct Verdicts {
    /// Group and cell of each comparison.
    compared: Vec<(usize, usize)>,
    findings: Vec<Finding>,
    /// Noise of each group, and of the run: the standard deviation of `ln R1 - ln R2`.
    noises: Vec<f64>,
    noise: f64,
}

impl Verdicts {
    pub(crate) fn of(groups: &[Group], samples: &[Sample]) -> Self {
        let cells = |(group, of): (usize, &Group)| {
            let count = if of.workload.is_compared() { of.cells.len() } else { 1 };
            (1..count).map(move |cell| (group, cell)).collect::<Vec<_>>()
        };
        let compared: Vec<(usize, usize)> = groups.iter().enumerate().flat_map(cells).collect();
        let mut judge = Judge::new(compared.len());
        let looks_before = samples.iter().map(|sample| sample.looks).max().unwrap_or(0);
        for look in 0..=looks_before {
            let times = Times::new(groups, samples.iter().filter(|sample| sample.looks <= look));
            let comparisons: Vec<Comparison> =
                compared.iter().map(|&(group, cell)| times.comparison(groups, group, cell)).collect();
            judge.look(&comparisons, looks_paid(noise(&times.all_pairs()), look as usize + 1));
        }
        let times = Times::new(groups, samples.iter());
        Self {
            compared,
            findings: judge.findings().to_vec(),
            noises: (0..groups.len()).map(|group| noise(&times.pairs(group))).collect(),
            noise: noise(&times.all_pairs()),
        }
    }

    /// `None` for the reference.
    pub(crate) fn finding(&self, group: usize, cell: usize) -> Option<&Finding> {
        let at = self.compared.iter().position(|&at| at == (group, cell))?;
        Some(&self.findings[at])
    }

    /// Noise of a group.
    pub(crate) fn noise_of(&self, group: usize) -> f64 {
        self.noises[group]
    }

    /// Noise of the run.
    pub(crate) fn noise(&self) -> f64 {
        self.noise
    }

    /// Group, cell and need of each comparison that is still open. A cell that failed needs nothing.
    pub(crate) fn needs(&self, samples: &[Sample]) -> Vec<((usize, usize), Need)> {
        let failed: Vec<(usize, usize)> = samples
            .iter()
            .filter(|sample| sample.error.is_some())
            .map(|sample| (sample.group, sample.cell))
            .collect();
        let open = self.compared.iter().zip(&self.findings).filter(|(at, finding)| {
            !finding.verdict.is_decided() && !failed.contains(at) && !failed.contains(&(at.0, 0))
        });
        let need = |(&(group, cell), finding): (&(usize, usize), &Finding)| {
            let seconds = |cell| mean_process_seconds(samples, group, cell);
            let reference_seconds = 2.0 * seconds(0);
            let blocks = finding.blocks_missing;
            ((group, cell), Need { group, blocks, seconds: seconds(cell), reference_seconds })
        };
        open.map(need).collect()
    }
}

/// How long one run of a cell takes on average. 0 if it never ran.
pub(super) fn mean_process_seconds(samples: &[Sample], group: usize, cell: usize) -> f64 {
    let here = samples.iter().filter(|sample| (sample.group, sample.cell) == (group, cell));
    let (count, seconds) =
        here.fold((0, 0.0), |(count, sum), sample| (count + 1, sum + sample.process_seconds));
    seconds / f64::from(count.max(1))
}

/// Natural logarithms of seconds.
pub(super) struct Times {
    /// By group, cell and block; two for the reference.
    all: HashMap<(usize, usize, u32), Vec<f64>>,
    blocks: u32,
}

impl Times {
    pub(super) fn new<'a>(groups: &[Group], samples: impl Iterator<Item = &'a Sample>) -> Self {
        let mut times = Self { all: HashMap::new(), blocks: 0 };
        for sample in samples {
            times.blocks = times.blocks.max(sample.block + 1);
            let Some(outcome) = &sample.outcome else { continue };
            let time = outcome.seconds(groups[sample.group].figure()).ln();
            if time.is_finite() {
                times.all.entry((sample.group, sample.cell, sample.block)).or_default().push(time);
            }
        }
        times
    }

    fn comparison(&self, groups: &[Group], group: usize, cell: usize) -> Comparison {
        let mean = |times: &Vec<f64>| times.iter().sum::<f64>() / times.len() as f64;
        let ratio = |block| {
            let (reference, time) = (self.all.get(&(group, 0, block))?, self.all.get(&(group, cell, block))?);
            Some(mean(reference) - mean(time))
        };
        let pool = Workload::ALL.iter().position(|&workload| workload == groups[group].workload).unwrap_or(0);
        Comparison { pool, ln_ratios: (0..self.blocks).filter_map(ratio).collect() }
    }

    /// The differences between the two runs of the reference.
    pub(super) fn pairs(&self, group: usize) -> Vec<f64> {
        let pairs = (0..self.blocks).filter_map(|block| match self.all.get(&(group, 0, block))?.as_slice() {
            [first, second] => Some(first - second),
            _ => None,
        });
        pairs.collect()
    }

    fn all_pairs(&self) -> Vec<f64> {
        let groups = self.all.keys().map(|key| key.0 + 1).max().unwrap_or(0);
        (0..groups).flat_map(|group| self.pairs(group)).collect()
    }
}
