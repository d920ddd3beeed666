//! What the cells of a workload tell about the noise of each.

use statrs::function::gamma::digamma;

/// The most degrees of freedom that a prior counts as.
const DF_MAX: f64 = 50.0;

/// The smallest variance of a logarithm: a standard deviation of 0.2 %. Three blocks may agree by chance.
const VARIANCE_MIN: f64 = 4e-6;

/// A scaled inverse chi-squared distribution of variances (Smyth 2004).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prior {
    /// The prior counts as this many observed differences.
    df: f64,
    variance: f64,
    /// The most degrees of freedom of a moderated variance: all that were observed, as in limma.
    df_pooled: f64,
}

/// The variance of one cell, and its degrees of freedom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) variance: f64,
    pub(crate) df: f64,
}

impl Prior {
    /// Fits the prior by the moments of the log variances.
    pub(crate) fn fit(spreads: &[Spread]) -> Self {
        let cells = spreads.len() as f64;
        let of_logs: Vec<f64> = spreads
            .iter()
            .map(|spread| {
                spread.variance.max(VARIANCE_MIN).ln() - digamma(spread.df / 2.0) + (spread.df / 2.0).ln()
            })
            .collect();
        let mean = of_logs.iter().sum::<f64>() / cells.max(1.0);
        // The spread of the log variances beyond that of chance.
        let by_chance = spreads.iter().map(|spread| trigamma(spread.df / 2.0)).sum::<f64>() / cells.max(1.0);
        let squares: f64 = of_logs.iter().map(|e| (e - mean).powi(2)).sum();
        let beyond = if spreads.len() < 2 { 0.0 } else { squares / (cells - 1.0) - by_chance };
        let df = if beyond > 0.0 { (2.0 * trigamma_inverse(beyond)).min(DF_MAX) } else { DF_MAX };
        let variance = (mean + digamma(df / 2.0) - (df / 2.0).ln()).exp();
        Self { df, variance, df_pooled: spreads.iter().map(|spread| spread.df).sum() }
    }

    /// The posterior variance of a cell, and its degrees of freedom.
    pub(crate) fn moderate(&self, own: Spread) -> Spread {
        let df = self.df + own.df;
        let variance = (self.df * self.variance + own.df * own.variance) / df;
        Spread { variance: variance.max(VARIANCE_MIN), df: df.min(self.df_pooled).max(own.df) }
    }
}

/// The derivative of digamma, for positive numbers: the recurrence up to 6, then the asymptotic series. `statrs` has none.
fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 6.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = 1.0 / 6.0 - inverse * (1.0 / 30.0 - inverse * (1.0 / 42.0 - inverse / 30.0));
    sum + 1.0 / x + inverse / 2.0 + inverse / x * series
}

/// The positive number with this trigamma, by Newton's method on `1 / trigamma`, as in limma.
fn trigamma_inverse(y: f64) -> f64 {
    // Outside of these bounds, the first term of the series is exact enough.
    if y > 1e7 {
        return y.sqrt().recip();
    }
    if y < 1e-6 {
        return y.recip();
    }
    let mut x = 0.5 + 1.0 / y;
    for _ in 0..50 {
        let at = trigamma(x);
        let step = at * (1.0 - at / y) / tetragamma(x);
        x += step;
        if -step / x < 1e-9 {
            break;
        }
    }
    x
}

/// The derivative of trigamma.
fn tetragamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 6.0 {
        sum -= 2.0 / (x * x * x);
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    sum - inverse * (1.0 + 1.0 / x + inverse * (0.5 - inverse * (1.0 / 6.0 - inverse / 6.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigamma_has_its_known_values() {
        let pi_squared = std::f64::consts::PI.powi(2);
        for (x, known) in [
            (0.5, pi_squared / 2.0),
            (1.0, pi_squared / 6.0),
            (2.0, pi_squared / 6.0 - 1.0),
            (10.0, 0.105_166_335_681_685_75),
        ] {
            assert!((trigamma(x) - known).abs() < 1e-8, "{x}: {} is not {known}", trigamma(x));
        }
        // Apéry's constant.
        assert!((tetragamma(1.0) + 2.0 * 1.202_056_903_159_594).abs() < 1e-6, "{}", tetragamma(1.0));
    }

    #[test]
    fn inverse_of_trigamma_undoes_it() {
        for x in [1e-3, 0.5, 1.0, 2.5, 25.0, 1e4] {
            let found = trigamma_inverse(trigamma(x));
            assert!((found / x - 1.0).abs() < 1e-6, "{x}: {found}");
        }
    }

    #[test]
    fn equal_variances_count_for_each_other() {
        let prior = Prior::fit(&[Spread { variance: 1e-3, df: 2.0 }; 20]);
        assert_eq!(prior.df, DF_MAX);
        // A cell that seems quiet gets nearly the noise of the others.
        let quiet = prior.moderate(Spread { variance: 0.0, df: 2.0 });
        assert!(quiet.variance > 5e-4 && quiet.df == 40.0, "{quiet:?}");
    }

    #[test]
    fn different_variances_count_little() {
        let spread = |at: i32| Spread { variance: 10f64.powi(-5 + at % 4), df: 5.0 };
        let spreads: Vec<Spread> = (0..20).map(spread).collect();
        let prior = Prior::fit(&spreads);
        assert!(prior.df < 2.0, "{prior:?}");
    }

    /// Story: one noisy cell alone would otherwise have got 50 degrees of freedom from itself.
    #[test]
    fn a_single_cell_gains_nothing() {
        let alone = Spread { variance: 1e-3, df: 2.0 };
        let found = Prior::fit(&[alone]).moderate(alone);
        assert_eq!(found.df, 2.0);
        assert!(found.variance >= alone.variance, "{found:?}");
    }
}
