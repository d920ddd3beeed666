//! The verdicts of all comparisons of a run.

use super::evidence::{Evidence, Quantiles};
use super::prior::Prior;
use super::{BLOCKS_MIN, Estimate, Verdict};

/// The share of false verdicts among those called faster or slower.
const FALSE_SHARE_MAX: f64 = 0.05;

/// A workload with fewer cells takes its prior from all cells of the run.
const POOL_CELLS_MIN: usize = 4;

/// The error rate is divided by this number of looks, and by more on a noisy machine.
const LOOKS: f64 = 6.0;
const LOOKS_IF_NOISY: f64 = 8.0;

/// Noise of the reference, as the standard deviation of `ln R1 - ln R2`, that makes a machine noisy.
const NOISE_MAX: f64 = 0.05;

/// The logarithms of a cell's speed ratios, one for each block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    /// Cells of one pool have similar noise. A pool is a workload.
    pub(crate) pool: usize,
    pub(crate) ln_ratios: Vec<f64>,
}

/// What is known of one comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// The ratio of few blocks, with a wide interval. `None` without blocks.
    rough: Option<Estimate>,
    /// `None` with fewer than [`BLOCKS_MIN`] blocks.
    evidence: Option<Evidence>,
    /// 1 without evidence.
    p_value: f64,
    /// How many more blocks decide it, if its figures stay as they are. `None` if it is decided, or if very many do not.
    pub(crate) blocks_missing: Option<usize>,
}

/// Looks at the comparisons of a run while it continues. A decided comparison keeps its verdict and its p-value.
#[derive(Debug)]
pub(crate) struct Judge {
    /// One for each planned comparison, those without results included.
    findings: Vec<Finding>,
}

/// By how many looks the error rate is divided: the planned number, or those that were made if there were more.
pub(crate) fn looks_paid(noise: f64, made: usize) -> f64 {
    let planned = if noise > NOISE_MAX { LOOKS_IF_NOISY } else { LOOKS };
    planned.max(made as f64)
}

impl Judge {
    /// The most looks of a run.
    pub(crate) const LOOKS_MAX: usize = LOOKS as usize;

    pub(crate) fn new(planned: usize) -> Self {
        let open = Finding {
            verdict: Verdict::TooClose,
            rough: None,
            evidence: None,
            p_value: 1.0,
            blocks_missing: Some(BLOCKS_MIN),
        };
        Self { findings: vec![open; planned] }
    }

    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Judges the comparisons that are still open. The error rate is divided by `looks`.
    pub(crate) fn look(&mut self, comparisons: &[Comparison], looks: f64) {
        assert_eq!(comparisons.len(), self.findings.len(), "each planned comparison is there");
        let priors = Priors::fit(comparisons);
        for (finding, comparison) in self.findings.iter_mut().zip(comparisons) {
            if !finding.verdict.is_decided() {
                finding.rough = Estimate::of_logs(&comparison.ln_ratios);
                finding.evidence = Evidence::new(&comparison.ln_ratios, priors.of(comparison.pool));
                finding.p_value = finding.evidence.map_or(1.0, |evidence| evidence.p_value());
            }
        }
        let alpha = FALSE_SHARE_MAX / looks;
        let p_values: Vec<f64> = self.findings.iter().map(|finding| finding.p_value).collect();
        let rejected = benjamini_hochberg(&p_values, alpha);
        let threshold = |rank: usize| alpha * rank as f64 / p_values.len() as f64;
        let mut quantiles = Quantiles::default();
        for (finding, comparison) in self.findings.iter_mut().zip(comparisons) {
            finding.judge(threshold(rejected), looks);
            if !finding.verdict.is_decided() {
                let total = match finding.evidence {
                    Some(evidence) => {
                        evidence.blocks_to_decide(threshold(rejected + 1), looks, &mut quantiles)
                    }
                    None => Some(BLOCKS_MIN),
                };
                finding.blocks_missing = total.map(|total| total.saturating_sub(comparison.ln_ratios.len()));
            }
        }
    }
}

impl Finding {
    /// The logarithm of the speed ratio. Its interval is wide with fewer than [`BLOCKS_MIN`] blocks; `None` without blocks.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        self.evidence.map_or(self.rough, |evidence| Some(evidence.estimate()))
    }

    /// `None` with fewer than [`BLOCKS_MIN`] blocks.
    pub(crate) fn p_value(&self) -> Option<f64> {
        self.evidence.map(|_| self.p_value)
    }

    /// Faster or slower wins over "same", also if "same" came first.
    fn judge(&mut self, p_max: f64, looks: f64) {
        let Some(evidence) = self.evidence else { return };
        let differs = matches!(self.verdict, Verdict::Faster | Verdict::Slower);
        if !differs && self.p_value <= p_max {
            self.verdict = if evidence.is_faster() { Verdict::Faster } else { Verdict::Slower };
        } else if !differs && evidence.is_same(looks) {
            self.verdict = Verdict::Same;
        }
        if self.verdict.is_decided() {
            self.blocks_missing = None;
        }
    }
}

/// The prior of each pool, and of the run.
struct Priors {
    pools: Vec<Option<Prior>>,
    run: Prior,
}

impl Priors {
    fn fit(comparisons: &[Comparison]) -> Self {
        let pools = comparisons.iter().map(|comparison| comparison.pool + 1).max().unwrap_or(0);
        let spreads = |pool: Option<usize>| -> Vec<_> {
            let here =
                comparisons.iter().filter(|comparison| pool.is_none_or(|pool| pool == comparison.pool));
            here.filter_map(|comparison| Evidence::spread(&comparison.ln_ratios)).collect()
        };
        let of_pool = |pool| {
            let spreads = spreads(Some(pool));
            (spreads.len() >= POOL_CELLS_MIN).then(|| Prior::fit(&spreads))
        };
        Self { pools: (0..pools).map(of_pool).collect(), run: Prior::fit(&spreads(None)) }
    }

    fn of(&self, pool: usize) -> &Prior {
        self.pools[pool].as_ref().unwrap_or(&self.run)
    }
}

/// How many of the smallest p-values are rejected, so that on average at most this share of them is false.
fn benjamini_hochberg(p_values: &[f64], share: f64) -> usize {
    let mut sorted = p_values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = |rank: usize| sorted[rank - 1] <= share * rank as f64 / sorted.len() as f64;
    (1..=sorted.len()).rev().find(|&rank| below(rank)).unwrap_or(0)
}

/// Which p-values are rejected, so that the probability of any false one is at most `alpha` (Holm).
pub(crate) fn holm(p_values: &[f64], alpha: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut rejected = vec![false; p_values.len()];
    for (rank, &at) in order.iter().enumerate() {
        if p_values[at] > alpha / (p_values.len() - rank) as f64 {
            break;
        }
        rejected[at] = true;
    }
    rejected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benjamini_hochberg_steps_up() {
        // The thresholds are 0.0125, 0.025, 0.0375 and 0.05. The third saves the second.
        assert_eq!(benjamini_hochberg(&[0.03, 0.9, 0.001, 0.03], 0.05), 3);
        assert_eq!(benjamini_hochberg(&[0.02, 0.9, 0.8, 0.7], 0.05), 0);
        assert_eq!(benjamini_hochberg(&[], 0.05), 0);
    }

    #[test]
    fn holm_steps_down() {
        assert_eq!(holm(&[0.03, 0.9, 0.001, 0.01], 0.05), [false, false, true, true]);
        assert_eq!(holm(&[0.02, 0.02], 0.05), [true, true]);
        assert_eq!(holm(&[0.03, 0.03], 0.05), [false, false]);
    }

    /// Story: a ratio of 3.50 with an interval from 3.26 to 3.56 was not decided, because it came from four blocks.
    #[test]
    fn a_large_ratio_is_decided_by_three_blocks() {
        let ratios = |all: [f64; 3]| Comparison { pool: 0, ln_ratios: all.map(f64::ln).into() };
        let comparisons =
            [[3.5, 3.26, 3.56], [1.0, 1.02, 0.99], [0.5, 0.52, 0.49], [1.3, 1.0, 0.8]].map(ratios);
        let mut judge = Judge::new(4);
        judge.look(&comparisons, 6.0);
        let verdicts: Vec<Verdict> = judge.findings().iter().map(|finding| finding.verdict).collect();
        assert_eq!(verdicts, [Verdict::Faster, Verdict::Same, Verdict::Slower, Verdict::TooClose]);
    }

    #[test]
    fn a_decided_comparison_keeps_its_verdict() {
        let mut comparisons = vec![Comparison { pool: 0, ln_ratios: vec![1.0, 1.01, 0.99] }; 5];
        let mut judge = Judge::new(5);
        judge.look(&comparisons, 6.0);
        let p_value = judge.findings()[0].p_value;
        comparisons[0].ln_ratios.extend([-3.0, 3.0, -4.0]);
        judge.look(&comparisons, 6.0);
        assert_eq!(judge.findings()[0].verdict, Verdict::Faster);
        assert_eq!(judge.findings()[0].p_value, p_value);
    }

    #[test]
    fn without_blocks_nothing_is_decided() {
        let mut judge = Judge::new(1);
        judge.look(&[Comparison { pool: 0, ln_ratios: vec![1.0; 2] }], 6.0);
        let finding = judge.findings()[0];
        assert_eq!((finding.verdict, finding.blocks_missing), (Verdict::TooClose, Some(1)));
    }

    #[test]
    fn noise_and_more_looks_cost_error_rate() {
        assert_eq!([looks_paid(0.04, 3), looks_paid(0.06, 3), looks_paid(0.04, 9)], [6.0, 8.0, 9.0]);
    }
}
