//! The latencies of one cell over all blocks.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::stats::{BLOCKS_MIN, Estimate, Interval};
use crate::workload::{Latency, Pace};

/// A cell keeps up if it reaches this share of its rate.
const KEEPS_UP_MIN: f64 = 0.95;

/// Half of the width of a 95 % interval in standard deviations of a normal distribution.
const NORMAL_95: f64 = 1.96;

/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

/// Percentiles in microseconds, and what happened meanwhile.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::report) struct LatencySummary {
    /// Acknowledged points a second, over all processes.
    pub(in crate::report) achieved_per_s: f64,
    /// Whether that is the rate that was asked for. If not, latencies grow with the length of the run.
    pub(in crate::report) keeps_up: bool,
    /// Measured calls.
    pub(in crate::report) calls: u64,
    /// Calls among them that never began, because a process fell too far behind.
    pub(in crate::report) unsent: u64,
    pub(in crate::report) p50_us: Option<Interval>,
    pub(in crate::report) p90_us: Option<Interval>,
    pub(in crate::report) p99_us: Option<Interval>,
    pub(in crate::report) p99_9_us: Option<Interval>,
    pub(in crate::report) p99_99_us: Option<Interval>,
    pub(in crate::report) max_us: f64,
    /// Snapshots and compactions that ran during the calls, for each process.
    pub(in crate::report) snapshots: f64,
    pub(in crate::report) compactions: f64,
}

impl LatencySummary {
    /// `None` without processes.
    pub(in crate::report) fn new<'a>(pace: Pace, runs: impl Iterator<Item = &'a Latency>) -> Option<Self> {
        let runs: Vec<&Latency> = runs.collect();
        let histograms: Vec<Histogram<u64>> = runs.iter().map(|run| histogram(run)).collect();
        let mut all = histograms.first()?.clone();
        for histogram in &histograms[1..] {
            all.add(histogram).expect("it grows as it needs");
        }
        let mean =
            |of: &dyn Fn(&Latency) -> f64| runs.iter().map(|run| of(run)).sum::<f64>() / runs.len() as f64;
        let achieved_per_s = mean(&|run| run.achieved_per_s);
        let percentile = |share| percentile(&all, &histograms, share);
        Some(Self {
            achieved_per_s,
            keeps_up: achieved_per_s >= pace.points_per_s as f64 * KEEPS_UP_MIN,
            calls: all.len(),
            unsent: runs.iter().map(|run| run.unsent).sum(),
            p50_us: percentile(0.5),
            p90_us: percentile(0.9),
            p99_us: percentile(0.99),
            p99_9_us: percentile(0.999),
            p99_99_us: percentile(0.9999),
            max_us: microseconds(all.max()),
            snapshots: mean(&|run| run.snapshots.len() as f64),
            compactions: mean(&|run| run.compactions.len() as f64),
        })
    }

    /// The percentiles that are known, each with the share of calls that are not slower.
    pub(in crate::report) fn percentiles(&self) -> impl Iterator<Item = (f64, Interval)> {
        let all = [
            (0.5, self.p50_us),
            (0.9, self.p90_us),
            (0.99, self.p99_us),
            (0.999, self.p99_9_us),
            (0.9999, self.p99_99_us),
        ];
        all.into_iter().filter_map(|(share, interval)| Some((share, interval?)))
    }
}

fn histogram(run: &Latency) -> Histogram<u64> {
    let mut all = Histogram::new(DIGITS).expect("three digits are possible");
    for &(latency, calls) in &run.histogram_ns {
        all.record_n(latency, calls).expect("it grows as it needs");
    }
    all
}

/// The percentile of all calls. Its interval contains two others: that of the order statistics of all calls, which is too short
/// because slow calls come together; and that of the percentiles of the single processes. `None` if there are too few calls
/// for the former.
fn percentile(all: &Histogram<u64>, processes: &[Histogram<u64>], share: f64) -> Option<Interval> {
    let calls = all.len() as f64;
    let reach = NORMAL_95 * (share * (1.0 - share) / calls).sqrt();
    let at = |share: f64| microseconds(all.value_at_quantile(share.max(0.0)));
    if share + reach > 1.0 {
        return None;
    }
    let (mut low, mid, mut high) = (at(share - reach), at(share), at(share + reach));
    if processes.len() >= BLOCKS_MIN {
        let own: Vec<f64> =
            processes.iter().map(|process| microseconds(process.value_at_quantile(share))).collect();
        let between = Estimate::of(&own)?.interval();
        (low, high) = (low.min(between.low), high.max(between.high));
    }
    Some(Interval { low, mid, high })
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { points_per_s: 1000, milliseconds: 1000 };

    /// A process with latencies of 1 to 1000 microseconds, times a factor.
    fn run(factor: u64) -> Latency {
        let histogram_ns = (1..=1000).map(|us| (us * 1000 * factor, 1)).collect();
        Latency { achieved_per_s: 1000.0, histogram_ns, snapshots: vec![(0.0, 0.5)], ..Latency::default() }
    }

    #[test]
    fn percentiles_have_intervals() {
        let found = LatencySummary::new(PACE, [&run(1)].into_iter()).expect("one process");
        let p50 = found.p50_us.expect("enough calls");
        // The ranks are 500 and 500 -+ 1.96 * sqrt(250) = 31.
        for (found, expected) in [(p50.low, 469.0), (p50.mid, 500.0), (p50.high, 531.0)] {
            assert!((found / expected - 1.0).abs() < 0.003, "{p50:?}");
        }
        assert!(found.p99_us.is_some() && found.p99_9_us.is_none(), "one slower call says little");
        assert!((found.max_us / 1000.0 - 1.0).abs() < 0.001);
        assert_eq!((found.calls, found.snapshots, found.compactions), (1000, 1.0, 0.0));
        assert!(found.keeps_up && LatencySummary::new(PACE, [].into_iter()).is_none());
    }

    #[test]
    fn processes_that_differ_widen_the_interval() {
        let runs = [run(1), run(2), run(4)];
        let found = LatencySummary::new(PACE, runs.iter()).expect("three processes").p50_us.expect("enough");
        // The standard error of the logarithms is ln 2 / sqrt(3), and t with two degrees of freedom 4.3.
        assert!(found.low < 200.0 && found.high > 5000.0, "{found:?}");
    }

    #[test]
    fn a_rate_that_is_not_reached_is_said() {
        let slow = Latency { achieved_per_s: 940.0, unsent: 3, ..run(1) };
        let found = LatencySummary::new(PACE, [&slow].into_iter()).expect("one process");
        assert!(!found.keeps_up && found.unsent == 3);
    }
}
