//! How many passes the processes of each group make.

use super::sample::Sample;
use super::spec::Group;
use super::verdicts::{Times, mean_process_seconds};
use crate::stats::{BLOCKS_MIN, PASSES_MAX, PASSES_MIN, PassCosts, passes_per_process};
use crate::workload::Outcome;

/// Blocks that have to fit into the time after the first: two of all cells, and as much time for those that are open then.
const BLOCKS_AFTER_FIRST: f64 = BLOCKS_MIN as f64;

/// The share of the time of a process that should be timed work.
const TIMED_SHARE_MIN: f64 = 0.7;

/// Estimates the passes from the first block. Where time is left for them, processes make more passes until enough of their
/// time is timed work; where it is not, they make fewer. Reference and cells of a group make the same number. An open loop has
/// one pass.
pub(super) fn passes_of_groups(
    groups: &[Group],
    samples: &[Sample],
    seconds_left: Option<f64>,
) -> Vec<usize> {
    let first: Vec<&Sample> = samples.iter().filter(|sample| sample.block == 0).collect();
    let times = Times::new(groups, first.iter().copied());
    let of_group = |at: usize, group: &Group| {
        let outcomes: Vec<&Outcome> = outcomes(&first, at).collect();
        let costs: Vec<PassCosts> = outcomes.iter().map(|outcome| costs(outcome)).collect();
        let logs = |outcome: &&Outcome| outcome.passes.iter().map(|pass| pass.seconds.ln()).collect();
        let processes: Vec<Vec<f64>> = outcomes.iter().map(logs).collect();
        // One pair says little, so the pairs of similar groups count as well.
        let alike = |other: &Group| other.workload == group.workload && other.durable == group.durable;
        let alike = (0..groups.len()).filter(|&other| alike(&groups[other]));
        let pairs: Vec<f64> = alike.flat_map(|other| times.pairs(other)).collect();
        passes_per_process(&costs, &processes, &pairs)
    };
    let repeats = |at: usize| groups[at].workload.is_compared();
    let choose = |(at, group): (usize, &Group)| if repeats(at) { of_group(at, group) } else { 1 };
    let mut passes: Vec<u32> = groups.iter().enumerate().map(choose).collect();

    let block_seconds = |passes: &[u32]| -> f64 {
        first.iter().map(|sample| process_seconds(sample, samples, passes[sample.group])).sum()
    };
    let fits =
        |passes: &[u32]| seconds_left.is_none_or(|left| block_seconds(passes) * BLOCKS_AFTER_FIRST <= left);
    while !fits(&passes) && passes.iter().any(|&passes| passes > PASSES_MIN) {
        for passes in &mut passes {
            *passes = (*passes - 1).max(PASSES_MIN.min(*passes));
        }
    }
    for more in PASSES_MIN..=PASSES_MAX {
        for at in (0..groups.len()).filter(|at| repeats(*at)) {
            let before = passes[at];
            if before < more && timed_share(outcomes(&first, at), before) < TIMED_SHARE_MIN {
                passes[at] = more;
                if !fits(&passes) {
                    passes[at] = before;
                }
            }
        }
    }
    passes.into_iter().map(|passes| passes as usize).collect()
}

fn outcomes<'a>(samples: &'a [&Sample], group: usize) -> impl Iterator<Item = &'a Outcome> {
    samples.iter().filter(move |sample| sample.group == group).filter_map(|sample| sample.outcome.as_ref())
}

fn costs(outcome: &Outcome) -> PassCosts {
    let total: f64 = outcome.passes.iter().map(|pass| pass.total_seconds).sum();
    PassCosts { process: outcome.setup_seconds, pass: total / outcome.passes.len().max(1) as f64 }
}

/// How long the process of a sample takes with this many passes.
fn process_seconds(sample: &Sample, all: &[Sample], passes: u32) -> f64 {
    let now = mean_process_seconds(all, sample.group, sample.cell);
    let Some(outcome) = &sample.outcome else { return now };
    now + (f64::from(passes) - outcome.passes.len() as f64) * costs(outcome).pass
}

/// The timed share of a group if its processes make this many passes.
fn timed_share<'a>(outcomes: impl Iterator<Item = &'a Outcome>, passes: u32) -> f64 {
    let (mut timed, mut all) = (0.0, 0.0);
    for outcome in outcomes {
        let costs = costs(outcome);
        let of_passes: f64 = outcome.passes.iter().map(|pass| pass.seconds * f64::from(pass.repeats)).sum();
        timed += of_passes / outcome.passes.len().max(1) as f64 * f64::from(passes);
        all += costs.process + costs.pass * f64::from(passes);
    }
    timed / all
}
