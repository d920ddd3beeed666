//! What the blocks of a run tell about one cell.

use super::prior::{Prior, Spread};
use super::{BLOCKS_MIN, Estimate, mean_and_variance, t_above, t_quantile};

/// A difference below this is of no interest, even if it is certain: 2 %.
pub(super) const MARGIN: f64 = 1.02;

/// Cells within this ratio of each other are the same.
pub(crate) const SAME_MAX: f64 = 1.10;

/// The error rate of the test for "same".
const SAME_ALPHA: f64 = 0.05;

/// More blocks than this are not worth a forecast.
const BLOCKS_FORECAST_MAX: f64 = 10_000.0;

/// The moderated t statistic of a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence {
    blocks: usize,
    /// Of the logarithms of the speed ratios: positive is faster.
    mean: f64,
    /// Of one logarithm.
    moderated: Spread,
}

impl Evidence {
    /// The spread of a cell alone, `None` with fewer than [`BLOCKS_MIN`] blocks.
    pub(super) fn spread(ln_ratios: &[f64]) -> Option<Spread> {
        let (_, variance) = mean_and_variance(ln_ratios).filter(|_| ln_ratios.len() >= BLOCKS_MIN)?;
        Some(Spread { variance, df: ln_ratios.len() as f64 - 1.0 })
    }

    pub(super) fn new(ln_ratios: &[f64], prior: &Prior) -> Option<Self> {
        let moderated = prior.moderate(Self::spread(ln_ratios)?);
        let (mean, _) = mean_and_variance(ln_ratios)?;
        Some(Self { blocks: ln_ratios.len(), mean, moderated })
    }

    pub(crate) fn is_faster(&self) -> bool {
        self.mean > 0.0
    }

    pub(crate) fn estimate(&self) -> Estimate {
        Estimate { mean: self.mean, error: self.error(), df: self.moderated.df }
    }

    /// The probability of a mean at least this far from 0 if the true difference is 2 % (TREAT).
    pub(crate) fn p_value(&self) -> f64 {
        let (far, error, df) = (self.mean.abs(), self.error(), self.moderated.df);
        let margin = MARGIN.ln();
        (t_above((far - margin) / error, df) + t_above((far + margin) / error, df)).min(1.0)
    }

    /// Whether both one-sided tests exclude a difference of 10 %. `looks` share the error rate.
    pub(crate) fn is_same(&self, looks: f64) -> bool {
        let reach = SAME_MAX.ln() - self.mean.abs();
        // The same as `|m| + t * se < ln 1.10`, without the inverse of the distribution.
        reach > 0.0 && t_above(reach / self.error(), self.moderated.df) < SAME_ALPHA / looks
    }

    /// The number of blocks in all that decide, if mean and spread stay as they are. The p-value must be at most `p_max`.
    /// `None` if even very many blocks do not decide.
    pub(super) fn blocks_to_decide(
        &self,
        p_max: f64,
        looks: f64,
        quantiles: &mut Quantiles,
    ) -> Option<usize> {
        let blocks = |reach: f64, p: f64, quantiles: &mut Quantiles| {
            // A mean beyond the limit never decides.
            let t = if reach > 0.0 { quantiles.above(p, self.moderated.df) } else { f64::INFINITY };
            (t * t * self.moderated.variance / (reach * reach)).ceil()
        };
        let differs = blocks(self.mean.abs() - MARGIN.ln(), p_max / 2.0, quantiles);
        let same = blocks(SAME_MAX.ln() - self.mean.abs(), SAME_ALPHA / looks, quantiles);
        let total = differs.min(same);
        (total <= BLOCKS_FORECAST_MAX).then_some((total as usize).max(self.blocks + 1))
    }

    /// The standard error of the mean.
    fn error(&self) -> f64 {
        (self.moderated.variance / self.blocks as f64).sqrt()
    }
}

/// Quantiles of the t distribution. Many cells need the same ones, and they are slow to compute.
#[derive(Debug, Default)]
pub(super) struct Quantiles(Vec<(f64, f64, f64)>);

impl Quantiles {
    /// The value that a t variable exceeds with probability `p`.
    fn above(&mut self, p: f64, df: f64) -> f64 {
        if let Some(known) = self.0.iter().find(|known| (known.0, known.1) == (p, df)) {
            return known.2;
        }
        let t = t_quantile(1.0 - p, df);
        self.0.push((p, df, t));
        t
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(blocks: usize, mean: f64, deviation: f64) -> Evidence {
        let moderated = Spread { variance: deviation.powi(2), df: 20.0 };
        Evidence { blocks, mean, moderated }
    }

    #[test]
    fn p_value_counts_from_the_margin() {
        // A difference of exactly 2 % is at the margin: half of the distribution lies above it.
        let at_margin = evidence(4, MARGIN.ln(), 0.002);
        assert!((at_margin.p_value() - 0.5).abs() < 0.01, "{}", at_margin.p_value());
        // 4.851 and 5.643 standard errors. With 20 degrees of freedom, 4.8e-5 and 8e-6 lie above.
        let far = evidence(4, 1.3f64.ln(), 0.1);
        assert!((far.p_value() / 5.64e-5 - 1.0).abs() < 0.01, "{:e}", far.p_value());
        assert_eq!(far.p_value(), evidence(4, -1.3f64.ln(), 0.1).p_value());
        assert!(evidence(4, 0.0, 0.1).p_value() > 0.6);
    }

    #[test]
    fn same_needs_a_small_error() {
        assert!(evidence(4, 0.02, 0.03).is_same(6.0));
        assert!(!evidence(4, 0.02, 0.1).is_same(6.0));
        assert!(!evidence(4, 0.1, 0.001).is_same(6.0), "1.105 is beyond 1.10");
    }

    #[test]
    fn forecast_decides_if_nothing_changes() {
        let quantiles = &mut Quantiles::default();
        for (mean, deviation) in [(0.3, 0.3), (-0.05, 0.2), (0.01, 0.1)] {
            let now = evidence(3, mean, deviation);
            let blocks = now.blocks_to_decide(1e-3, 6.0, quantiles).expect("not very many");
            let decides = |then: Evidence| then.p_value() <= 1e-3 || then.is_same(6.0);
            assert!(decides(Evidence { blocks, ..now }), "{blocks}");
            assert!(!decides(Evidence { blocks: blocks * 3 / 4, ..now }), "{blocks}");
        }
        assert_eq!(evidence(3, SAME_MAX.ln(), 30.0).blocks_to_decide(1e-9, 6.0, quantiles), None);
    }
}
