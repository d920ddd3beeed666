//! A logarithmic axis: twice and half are equally far from 1.

use super::text::{seconds, short, without_zeros};

/// A range of positive numbers on a logarithmic axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogAxis {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl LogAxis {
    /// The axis from `low` to `high`, extended to contain all `numbers`.
    pub(super) fn containing(low: f64, high: f64, numbers: impl Iterator<Item = f64>) -> Self {
        let usable = numbers.filter(|number| number.is_finite() && *number > 0.0);
        let (low, high) = usable.fold((low, high), |(low, high), number| (low.min(number), high.max(number)));
        Self { low, high }
    }

    /// The axis of `numbers` with some space at both ends. Without numbers, from 1 to 10.
    pub(super) fn around(numbers: impl Iterator<Item = f64>) -> Self {
        let Self { low, high } = Self::containing(f64::INFINITY, 0.0, numbers);
        if low > high {
            return Self { low: 1.0, high: 10.0 };
        }
        let space = (high / low).powf(0.12).max(1.1);
        Self { low: low / space, high: high * space }
    }

    /// The place of a number: 0 at the low end, 1 at the high end. Other numbers are moved to the nearest end.
    pub(super) fn share(&self, number: f64) -> f64 {
        let share = (number / self.low).ln() / (self.high / self.low).ln();
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    pub(super) fn contains(&self, number: f64) -> bool {
        (self.low..=self.high).contains(&number)
    }

    /// The same place in percent, for attributes of SVG.
    pub(super) fn percent(&self, number: f64) -> String {
        format!("{:.2}%", self.share(number) * 100.0)
    }

    /// Round numbers on the axis, at most `count` and as many as possible.
    pub(super) fn ticks(&self, count: usize) -> Vec<f64> {
        const FINEST: &[f64] = &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let leading: [&[f64]; 4] = [FINEST, &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0], &[1.0, 2.0, 5.0], &[1.0]];
        let decades = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
        let of = |leading: &[f64]| -> Vec<f64> {
            let all = decades.clone().flat_map(|decade| leading.iter().map(move |l| l * 10f64.powi(decade)));
            all.filter(|number| self.contains(*number)).collect()
        };
        let sets = leading.map(of);
        sets.iter().find(|ticks| ticks.len() <= count).unwrap_or(&sets[3]).clone()
    }

    /// Powers of two on the axis, at most `count`, always with 1.
    pub(super) fn powers_of_two(&self, count: usize) -> Vec<f64> {
        let (first, last) = (self.low.log2().ceil() as i32, self.high.log2().floor() as i32);
        let step = ((last - first) as usize / count.max(1) + 1) as i32;
        (first..=last).filter(|power| power % step == 0).map(|power| 2f64.powi(power)).collect()
    }
}

/// A number on an axis: at most three digits, no trailing zeros.
pub(super) fn label(number: f64) -> String {
    without_zeros(&short(number)).to_owned()
}

/// A round duration of the axis.
pub(super) fn duration(tick: f64) -> String {
    let text = seconds(tick);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    format!("{} {unit}", without_zeros(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_in_the_middle_of_half_and_twice() {
        let axis = LogAxis::containing(0.5, 2.0, [1.0, f64::NAN, 0.0].into_iter());
        assert!((axis.share(1.0) - 0.5).abs() < 1e-12);
        assert_eq!(axis.percent(2.0), "100.00%");
        assert_eq!((axis.share(0.1), axis.share(9.0)), (0.0, 1.0));
        assert_eq!(axis.powers_of_two(5), [0.5, 1.0, 2.0]);
        let wide = LogAxis::containing(0.5, 2.0, [0.01, 9.0].into_iter());
        assert_eq!(wide.powers_of_two(5).len(), 5);
        assert!(wide.powers_of_two(5).contains(&1.0));
    }

    #[test]
    fn ticks_are_round_and_few() {
        let of = |low, high| LogAxis { low, high }.ticks(6);
        assert_eq!(of(0.9, 110.0), [1.0, 10.0, 100.0]);
        assert_eq!(of(2.9, 9.5), [3.0, 5.0, 7.0]);
        assert_eq!(label(0.25), "0.25");
        assert_eq!(label(100.0), "100");
        assert_eq!(label(2.0), "2");
    }
}
