//! Verdicts from a small number of noisy ratios.
//!
//! A cell is compared with the reference within each block, so a slow phase of the machine cancels out. The statistic is the
//! median of these ratios, and its interval comes from resampling the blocks. The reference runs twice in every block: how far
//! it differs from itself is the noise floor. A difference below the floor is not reported. One disturbed block changes neither
//! the median nor the floor.

use crate::inputs::Rng;

/// With fewer blocks, no verdict is given, because an interval from them is not reliable.
pub(crate) const BLOCKS_MIN: usize = 5;

/// The smallest noise floor, as a ratio.
pub(crate) const FLOOR_MIN: f64 = 1.02;

/// The widest band around 1 that counts as the same. On a noisier machine, no two cells can be called equal.
pub(crate) const SAME_MAX: f64 = 1.1;

/// For normal noise: the standard deviation divided by the median distance from the middle.
const SIGMA_OF_MEDIAN_DISTANCE: f64 = 1.4826;

/// For normal noise: the standard deviation of a median divided by that of a mean, the square root of half of pi.
const SIGMA_OF_MEDIAN: f64 = 1.2533;

/// Standard deviations to each side that contain 95 %.
const SIGMAS_OF_95: f64 = 1.96;

/// Number of resamples for one interval.
const RESAMPLES: usize = 2000;

/// A median and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) mid: f64,
    pub(crate) high: f64,
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// The whole interval lies above the noise.
    Faster,
    /// The whole interval lies below the noise.
    Slower,
    /// The whole interval lies within the noise, and the noise is small.
    Same,
    /// Anything else. More blocks may decide it.
    Undecided,
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Same => "same",
            Self::Undecided => "undecided",
        }
    }
}

/// The median of some numbers, `None` without numbers. For an even count, the mean of the two in the middle.
pub(crate) fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    median_of_sorted(&sorted)
}

fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(sorted[half - 1], upper)) }
}

/// The median of positive numbers with its interval, `None` without numbers. A percentile bootstrap over their logarithms, so
/// that twice as fast and half as fast are equally far from 1.
pub(crate) fn bootstrap(ratios: &[f64], seed: u64) -> Option<Interval> {
    let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
    let mid = median(&logs)?;
    let mut rng = Rng::new(seed);
    let mut drawn = vec![0.0; logs.len()];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        drawn.fill_with(|| logs[rng.below(logs.len() as u64) as usize]);
        drawn.sort_by(f64::total_cmp);
        medians.extend(median_of_sorted(&drawn));
    }
    medians.sort_by(f64::total_cmp);
    let tail = RESAMPLES / 40;
    Some(Interval { low: medians[tail].exp(), mid: mid.exp(), high: medians[RESAMPLES - 1 - tail].exp() })
}

/// The noise floor, a ratio of at least [`FLOOR_MIN`]. If the reference were compared with itself again, 95 % of the medians
/// would lie within it.
///
/// The median distance of the pairs from 1 estimates the noise of a pair. One disturbed pair cannot move this median; otherwise
/// it could prevent every verdict of its group. Disturbances of a cell itself are in the cell's own interval.
pub(crate) fn floor(same_against_same: &[f64]) -> f64 {
    let distances: Vec<f64> = same_against_same.iter().map(|ratio| ratio.ln().abs()).collect();
    let pair = median(&distances).unwrap_or(0.0) * SIGMA_OF_MEDIAN_DISTANCE;
    let middle = pair * SIGMA_OF_MEDIAN / (distances.len().max(1) as f64).sqrt();
    (middle * SIGMAS_OF_95).exp().max(FLOOR_MIN)
}

/// Compares the interval of a speed ratio (above 1 is faster), from this many blocks, with a noise floor.
pub(crate) fn verdict(ratio: Interval, blocks: usize, floor: f64) -> Verdict {
    let band = floor.min(SAME_MAX);
    if blocks < BLOCKS_MIN {
        Verdict::Undecided
    } else if ratio.low > floor {
        Verdict::Faster
    } else if ratio.high < 1.0 / floor {
        Verdict::Slower
    } else if ratio.low >= 1.0 / band && ratio.high <= band {
        Verdict::Same
    } else {
        Verdict::Undecided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(low: f64, high: f64) -> Interval {
        Interval { low, mid: (low * high).sqrt(), high }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn equal_ratios_have_an_interval_without_width() {
        let found = bootstrap(&[2.0; 8], 1).expect("not empty");
        for end in [found.low, found.mid, found.high] {
            assert!((end - 2.0).abs() < 1e-12);
        }
        assert_eq!(bootstrap(&[], 1), None);
    }

    /// For the numbers 1 to n, the binomial distribution gives the ends of the interval: for n = 25, about 8 and 18.
    #[test]
    fn interval_of_known_data() {
        let data: Vec<f64> = (1..=25).map(|n| f64::from((n * 7) % 25 + 1)).collect();
        for seed in 0..20 {
            let found = bootstrap(&data, seed).expect("not empty");
            assert!((found.mid - 13.0).abs() < 1e-9);
            assert!((7.0..=9.01).contains(&found.low), "{found:?}");
            assert!((16.99..=19.01).contains(&found.high), "{found:?}");
        }
    }

    #[test]
    fn interval_covers_the_true_ratio() {
        let mut rng = Rng::named("coverage");
        let trials = 1000;
        let covered = (0..trials).filter(|&trial| {
            // A sum of uniform numbers gives symmetric noise around a ratio of 1.2.
            let mut noise = || (0..6).map(|_| rng.unit() - 0.5).sum::<f64>() * 0.05;
            let ratios: Vec<f64> = (0..11).map(|_| 1.2 * noise().exp()).collect();
            let found = bootstrap(&ratios, trial).expect("not empty");
            found.low <= 1.2 && 1.2 <= found.high
        });
        let share = covered.count() as f64 / trials as f64;
        assert!((0.90..=1.0).contains(&share), "{share}");
    }

    #[test]
    fn floor_is_the_spread_of_the_reference() {
        assert_eq!(floor(&[1.0; 9]), FLOOR_MIN);
        assert_eq!(floor(&[]), FLOOR_MIN);
        let wide = [0.8, 1.25, 0.8, 1.25, 0.8, 1.25];
        assert!((1.3..1.5).contains(&floor(&wide)), "{}: it stays wide if every pair is", floor(&wide));
        let calmer = [0.8, 1.25].repeat(12);
        assert!(floor(&calmer) < floor(&wide), "more pairs lower the floor");
    }

    /// Story: with six pairs, one disturbed pair raised the floor. Every cell of the group stayed undecided, even one with half
    /// the speed.
    #[test]
    fn one_bad_pair_of_six_vetoes_nothing() {
        let calm = [1.01, 0.99, 1.015, 0.985, 1.005, 0.995];
        let mut hit = calm;
        hit[3] = 3.0;
        assert!(floor(&hit) < 1.03, "{}", floor(&hit));
        assert_eq!(verdict(interval(1.2, 1.4), 6, floor(&hit)), Verdict::Faster);
        // If most pairs are disturbed, the floor rises.
        assert!(floor(&[1.4, 0.7, 1.4, 0.7, 1.0, 1.0]) > 1.3);
    }

    #[test]
    fn floor_covers_the_median_of_normal_noise() {
        let mut rng = Rng::named("floor");
        let trials = 2000;
        let held = (0..trials).filter(|_| {
            // The sum of twelve uniform numbers is nearly normal, and much wider than the smallest floor.
            let mut pair = || ((0..12).map(|_| rng.unit() - 0.5).sum::<f64>() * 0.3).exp();
            let mut pairs = || (0..15).map(|_| pair()).collect::<Vec<f64>>();
            let (known, next) = (floor(&pairs()), median(&pairs()).expect("not empty"));
            next < known && next > 1.0 / known
        });
        let share = held.count() as f64 / f64::from(trials);
        assert!((0.88..=0.98).contains(&share), "{share}");
    }

    #[test]
    fn verdicts_change_at_their_boundaries() {
        let of = |low, high| verdict(interval(low, high), BLOCKS_MIN, 1.25);
        assert_eq!(of(1.251, 1.5), Verdict::Faster);
        assert_eq!(of(1.25, 1.5), Verdict::Undecided);
        assert_eq!(of(0.5, 0.799), Verdict::Slower);
        assert_eq!(of(0.5, 0.8), Verdict::Undecided);
        assert_eq!(of(0.5, 2.0), Verdict::Undecided);
        assert_eq!(verdict(interval(3.0, 4.0), BLOCKS_MIN - 1, 1.25), Verdict::Undecided);
    }

    #[test]
    fn same_needs_small_noise() {
        let of = |low, high, floor| verdict(interval(low, high), BLOCKS_MIN, floor);
        assert_eq!(of(0.96, 1.04, 1.05), Verdict::Same);
        assert_eq!(of(0.94, 1.04, 1.05), Verdict::Undecided);
        assert_eq!(of(0.96, 1.06, 1.05), Verdict::Undecided);
        assert_eq!(of(0.95, 1.08, 2.0), Verdict::Same);
        assert_eq!(of(0.6, 1.7, 2.0), Verdict::Undecided);
    }
}
