//! Verdicts from a small number of noisy ratios.
//!
//! A cell is compared with the reference within each block, so a slow phase of the machine cancels out. All figures are
//! logarithms of speed ratios, so twice as fast and half as fast are equally far from 0.
//!
//! - `prior`: with three blocks, one cell says little about its own noise. So all cells of a workload tell each cell how
//!   noisy it probably is (empirical Bayes, Smyth 2004).
//! - `evidence`: the moderated t statistic of one cell, its p-value against a margin of 2 % (the test `TREAT`, 2009),
//!   and the test that it is the same within 10 % (two one-sided tests).
//! - [`Judge`]: the verdicts of all cells, with at most 5 % false ones among those called faster or slower (Benjamini &
//!   Hochberg 1995). It may look several times while a run continues; each look gets its share of the 5 %.
//! - [`passes_per_process`]: how often a process repeats its work (Kalibera & Jones 2013).

mod evidence;
mod judge;
mod passes;
mod prior;
#[cfg(test)]
mod simulation;
mod spend;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use evidence::MARGIN;
pub(crate) use evidence::SAME_MAX;
pub(crate) use judge::{Comparison, Finding, Judge, holm, looks_paid};
pub(crate) use passes::{PASSES_MAX, PASSES_MIN, PassCosts, passes_per_process};
pub(crate) use spend::{Need, Share};

/// With fewer blocks, no verdict is given.
pub(crate) const BLOCKS_MIN: usize = 3;

/// Sizes that differ by less than this are the same, a ratio.
pub(crate) const SIZE_MARGIN: f64 = 1.01;

/// The error rate of [`verdicts`].
const ALPHA: f64 = 0.05;

/// The assumed standard deviation of a logarithm whose spread is unknown, because there are fewer than [`BLOCKS_MIN`] of them.
const SPREAD_UNKNOWN: f64 = 0.25;

/// A figure and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) mid: f64,
    pub(crate) high: f64,
}

/// The mean of logarithms, with its standard error and the degrees of freedom of that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    pub(crate) mean: f64,
    pub(crate) error: f64,
    pub(crate) df: f64,
}

impl Estimate {
    /// Of the logarithms of positive numbers, `None` without numbers.
    pub(crate) fn of(numbers: &[f64]) -> Option<Self> {
        let logs: Vec<f64> = numbers.iter().map(|number| number.ln()).filter(|log| log.is_finite()).collect();
        Self::of_logs(&logs)
    }

    fn of_logs(logs: &[f64]) -> Option<Self> {
        let (mean, variance) = mean_and_variance(logs)?;
        let n = logs.len() as f64;
        let (spread, df) =
            if logs.len() < BLOCKS_MIN { (SPREAD_UNKNOWN, 1.0) } else { (variance.sqrt(), n - 1.0) };
        Some(Self { mean, error: spread / n.sqrt(), df })
    }

    /// The estimate that has this interval.
    pub(crate) fn from_interval(interval: Interval, numbers: usize) -> Self {
        let df = if numbers < BLOCKS_MIN { 1.0 } else { numbers as f64 - 1.0 };
        let reach = (interval.high.ln() - interval.low.ln()) / 2.0;
        Self { mean: interval.mid.ln(), error: reach / t_quantile(0.975, df), df }
    }

    pub(crate) fn interval(&self) -> Interval {
        let reach = t_quantile(0.975, self.df) * self.error;
        let Self { mean, .. } = self;
        Interval { low: (mean - reach).exp(), mid: mean.exp(), high: (mean + reach).exp() }
    }

    /// The logarithm of this number divided by another, with a further error.
    pub(crate) fn over(&self, other: &Self, error: f64) -> Self {
        let squares = self.error.powi(2) + other.error.powi(2) + error.powi(2);
        Self { mean: self.mean - other.mean, error: squares.sqrt(), df: self.df.min(other.df) }
    }

    /// The probability of a mean this low or lower if the true number is `limit`.
    pub(crate) fn p_value_below(&self, limit: f64) -> f64 {
        // An error of 0 is a spread that was not seen.
        t_above((limit.ln() - self.mean) / self.error.max(f64::MIN_POSITIVE), self.df)
    }
}

/// Verdicts about numbers whose true value may be 1, with at most 5 % for any false faster or slower (Holm).
pub(crate) fn verdicts(of: &[Estimate]) -> Vec<Verdict> {
    let inverse = |of: &Estimate| Estimate { mean: -of.mean, ..*of };
    let slower = of.iter().map(|of| of.p_value_below(1.0 / MARGIN));
    let faster = of.iter().map(|of| inverse(of).p_value_below(1.0 / MARGIN));
    let differs = holm(&slower.chain(faster).collect::<Vec<_>>(), ALPHA);
    let (slower, faster) = differs.split_at(of.len());
    let verdict = |(at, of): (usize, &Estimate)| {
        let away = Estimate { mean: of.mean.abs(), ..*of };
        if slower[at] {
            Verdict::Slower
        } else if faster[at] {
            Verdict::Faster
        } else if away.p_value_below(SAME_MAX) < ALPHA {
            Verdict::Same
        } else {
            Verdict::TooClose
        }
    };
    of.iter().enumerate().map(verdict).collect()
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    #[serde(rename = "faster")]
    Faster,
    #[serde(rename = "slower")]
    Slower,
    /// Within 10 %.
    #[serde(rename = "same")]
    Same,
    /// Anything else. More time may decide it.
    #[serde(rename = "too close to call")]
    TooClose,
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Same => "same",
            Self::TooClose => "too close to call",
        }
    }

    /// Whether more time cannot change it.
    pub(crate) fn is_decided(self) -> bool {
        self != Self::TooClose
    }
}

/// How a size compares with that of the reference. Sizes do not vary between blocks, so one block decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SizeVerdict {
    Smaller,
    Larger,
    /// Within 1 %.
    Same,
}

impl SizeVerdict {
    pub(crate) fn of(size: f64, reference: f64) -> Self {
        if size * SIZE_MARGIN < reference {
            Self::Smaller
        } else if size > reference * SIZE_MARGIN {
            Self::Larger
        } else {
            Self::Same
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Smaller => "smaller",
            Self::Larger => "larger",
            Self::Same => "same",
        }
    }
}

/// The median of some numbers, `None` without numbers. For an even count, the mean of the two in the middle.
pub(crate) fn median(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| quantile(numbers, 0.5))
}

/// The number below which this share of the numbers lies, interpolated between neighbours. Not a number without numbers.
pub(crate) fn quantile(numbers: &[f64], share: f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len().max(1) - 1) as f64;
    let at = |place: f64| sorted.get(place as usize).copied().unwrap_or(f64::NAN);
    let (below, above) = (at(place.floor()), at(place.ceil()));
    below + (above - below) * place.fract()
}

/// The mean and the variance of a sample. The variance of fewer than two numbers is 0.
fn mean_and_variance(numbers: &[f64]) -> Option<(f64, f64)> {
    let n = numbers.len() as f64;
    if numbers.is_empty() {
        return None;
    }
    let mean = numbers.iter().sum::<f64>() / n;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    Some((mean, if numbers.len() < 2 { 0.0 } else { squares / (n - 1.0) }))
}

/// How far the reference differs from itself: the standard deviation of `ln R1 - ln R2`. Its mean is 0, because the two runs
/// have a random order.
pub(crate) fn noise(pairs: &[f64]) -> f64 {
    let squares: f64 = pairs.iter().map(|pair| pair * pair).sum();
    (squares / pairs.len().max(1) as f64).sqrt()
}

/// The probability that a Student t variable is above `t`.
fn t_above(t: f64, df: f64) -> f64 {
    StudentsT::new(0.0, 1.0, df).map_or(f64::NAN, |student| student.sf(t))
}

/// The value that a Student t variable does not exceed with probability `p`.
fn t_quantile(p: f64, df: f64) -> f64 {
    StudentsT::new(0.0, 1.0, df).map_or(f64::NAN, |student| student.inverse_cdf(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(quantile(&[4.0, 1.0, 2.0], 0.25), 1.5);
        assert!(quantile(&[], 0.25).is_nan());
    }

    #[test]
    fn interval_of_known_data() {
        // Logarithms 1 to 5: the mean is 3, the standard error sqrt(0.5), and t with four degrees of freedom 2.776.
        let data: Vec<f64> = (1..=5).map(|n| f64::from(n).exp()).collect();
        let found = Estimate::of(&data).expect("not empty").interval();
        assert!((found.mid.ln() - 3.0).abs() < 1e-9);
        assert!((found.high.ln() - 3.0 - 2.776 * 0.5f64.sqrt()).abs() < 1e-3, "{found:?}");
        assert!((found.high.ln() + found.low.ln() - 6.0).abs() < 1e-9);
    }

    #[test]
    fn an_estimate_is_known_from_its_interval() {
        let known = Estimate::of(&[1.0, 1.1, 1.3, 0.9]).expect("not empty");
        let found = Estimate::from_interval(known.interval(), 4);
        assert!((found.mean - known.mean).abs() < 1e-9 && (found.error - known.error).abs() < 1e-9);
        // The mean is 1 / 0.5 = 2 standard errors below; with three degrees of freedom, 7 % lies further away.
        let low = Estimate { mean: -1.0, error: 0.5, df: 3.0 };
        assert!((low.p_value_below(1.0) - 0.0697).abs() < 1e-3, "{}", low.p_value_below(1.0));
    }

    #[test]
    fn verdicts_about_one() {
        let of = |mean: f64, error| Estimate { mean: mean.ln(), error, df: 10.0 };
        let found = verdicts(&[of(1.5, 0.05), of(0.7, 0.05), of(1.01, 0.03), of(1.2, 0.2), of(1.05, 0.002)]);
        let names = found.into_iter().map(Verdict::name).collect::<Vec<_>>();
        assert_eq!(names, ["faster", "slower", "same", "too close to call", "faster"]);
    }

    #[test]
    fn two_numbers_have_a_wide_interval() {
        let found = Estimate::of(&[2.0, 2.0]).expect("not empty").interval();
        assert!(found.low < 0.3 && found.high > 10.0, "{found:?}");
        assert!(Estimate::of(&[]).is_none());
    }

    #[test]
    fn sizes_are_the_same_within_one_percent() {
        let of = |size| SizeVerdict::of(size, 100.0);
        assert_eq!(
            [of(98.9), of(99.5), of(100.9), of(101.1)].map(SizeVerdict::name),
            ["smaller", "same", "same", "larger"]
        );
    }

    #[test]
    fn noise_is_the_spread_of_equal_runs() {
        assert_eq!(noise(&[]), 0.0);
        assert!((noise(&[0.03, -0.03, 0.03]) - 0.03).abs() < 1e-12);
    }
}
