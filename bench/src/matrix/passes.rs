//! How many passes the processes of each group make.

use super::sample::Sample;
use super::spec::Group;
use super::verdicts::Times;
use crate::stats::{PASSES_MAX, PASSES_MIN, PassCosts, passes_per_process};
use crate::workload::Outcome;

/// The share of the time of a process that should be timed work.
const TIMED_SHARE_MIN: f64 = 0.7;

/// Estimates the passes from all samples, so that a block of all cells takes at most so many seconds. Where time is left for
/// them, processes make more passes until enough of their time is timed work; where it is not, they make fewer. Reference and
/// cells of a group make the same number. An open loop has one pass.
pub(super) fn passes_of_groups(groups: &[Group], samples: &[Sample], block_seconds_max: f64) -> Vec<usize> {
    let times = Times::new(groups, samples.iter());
    let of_group = |at: usize, group: &Group| {
        let costs: Vec<PassCosts> = mine(samples, at).filter_map(costs).collect();
        let logs = |outcome: &Outcome| outcome.passes.iter().map(|pass| pass.seconds.ln()).collect();
        // One group says little about its noise, so similar groups count as well.
        let alike = |&other: &usize| {
            groups[other].workload == group.workload && groups[other].durable == group.durable
        };
        let alike: Vec<usize> = (0..groups.len()).filter(alike).collect();
        let of_alike = alike.iter().flat_map(|&other| mine(samples, other));
        let processes: Vec<Vec<f64>> =
            of_alike.filter_map(|sample| sample.outcome.as_ref()).map(logs).collect();
        let pairs: Vec<f64> = alike.iter().flat_map(|&other| times.pairs(other)).collect();
        passes_per_process(&costs, &processes, &pairs)
    };
    let repeats = |at: usize| groups[at].workload.is_compared();
    let choose = |(at, group): (usize, &Group)| if repeats(at) { of_group(at, group) } else { 1 };
    let mut passes: Vec<u32> = groups.iter().enumerate().map(choose).collect();

    let cells = |at: usize| groups[at].cells.len();
    let groups: Vec<Costs> = (0..groups.len()).map(|at| Costs::of(samples, at, cells(at))).collect();
    let fits = |passes: &[u32]| {
        let block: f64 = groups.iter().zip(passes).map(|(costs, &passes)| costs.seconds(passes)).sum();
        block <= block_seconds_max
    };
    while !fits(&passes) && passes.iter().any(|&passes| passes > PASSES_MIN) {
        for passes in &mut passes {
            *passes = (*passes - 1).max(PASSES_MIN.min(*passes));
        }
    }
    for more in PASSES_MIN..=PASSES_MAX {
        for at in (0..groups.len()).filter(|at| repeats(*at)) {
            let before = passes[at];
            if before < more && groups[at].timed_share(before) < TIMED_SHARE_MIN {
                passes[at] = more;
                if !fits(&passes) {
                    passes[at] = before;
                }
            }
        }
    }
    passes.into_iter().map(|passes| passes as usize).collect()
}

fn mine(samples: &[Sample], group: usize) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(move |sample| sample.group == group)
}

fn costs(sample: &Sample) -> Option<PassCosts> {
    let passes = &sample.outcome.as_ref()?.passes;
    let total: f64 = passes.iter().map(|pass| pass.total_seconds).sum();
    Some(PassCosts { process: sample.process_seconds - total, pass: total / passes.len() as f64 })
}

/// The costs of a group in a block, in seconds: without passes, and of one pass of every process with its timed part.
#[derive(Debug, Default)]
struct Costs {
    processes: f64,
    passes: f64,
    timed: f64,
}

impl Costs {
    /// Of every cell, and of the second run of the reference.
    fn of(samples: &[Sample], group: usize, cells: usize) -> Self {
        let mut all = Self::default();
        for cell in (0..cells).chain([0]) {
            let runs: Vec<(PassCosts, f64)> = mine(samples, group)
                .filter(|sample| sample.cell == cell)
                .filter_map(|sample| Some((costs(sample)?, timed(sample.outcome.as_ref()?))))
                .collect();
            let count = runs.len().max(1) as f64;
            // The first process of a cell may build the engine that all its processes copy.
            let process = runs.iter().map(|(costs, _)| costs.process).min_by(f64::total_cmp);
            all.processes += process.unwrap_or(0.0);
            all.passes += runs.iter().map(|(costs, _)| costs.pass).sum::<f64>() / count;
            all.timed += runs.iter().map(|(_, timed)| timed).sum::<f64>() / count;
        }
        all
    }

    fn seconds(&self, passes: u32) -> f64 {
        self.processes + self.passes * f64::from(passes)
    }

    fn timed_share(&self, passes: u32) -> f64 {
        self.timed * f64::from(passes) / self.seconds(passes)
    }
}

/// Timed seconds of one pass.
fn timed(outcome: &Outcome) -> f64 {
    let all: f64 = outcome.passes.iter().map(|pass| pass.seconds * f64::from(pass.repeats)).sum();
    all / outcome.passes.len() as f64
}
