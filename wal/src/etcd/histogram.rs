//! Latencies, in the buckets and under the names that etcd's dashboards know.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets with an upper bound; one more takes the rest.
const BUCKETS: usize = 14;

/// Durations in buckets of 1 ms, 2 ms, 4 ms and so on to 8.192 s, as etcd has them.
#[derive(Debug)]
pub struct Histogram {
    name: &'static str,
    help: &'static str,
    counts: [AtomicU64; BUCKETS + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    pub(super) fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, counts: Default::default(), sum_ns: AtomicU64::new(0) }
    }

    /// The syncs of a log.
    pub(super) fn wal_fsync() -> Self {
        Self::new("etcd_disk_wal_fsync_duration_seconds", "The latency distributions of fsync called by WAL.")
    }

    /// The syncs of snapshot files.
    pub(super) fn snap_fsync() -> Self {
        Self::new("etcd_snap_fsync_duration_seconds", "The latency distributions of fsync called by snap.")
    }

    /// The syncs of received databases.
    pub(super) fn snap_db_fsync() -> Self {
        Self::new(
            "etcd_snap_db_fsync_duration_seconds",
            "The latency distributions of fsyncing .snap.db file",
        )
    }

    pub(super) fn observe(&self, took: Duration) {
        let within = |bound: f64| took.as_secs_f64() <= bound;
        let bucket = (0..BUCKETS).position(|at| within(bound(at))).unwrap_or(BUCKETS);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Its name in etcd's metrics.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many were observed.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed))
    }

    /// Upper bounds in seconds, and how many were not above each.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut below = 0;
        self.counts.iter().take(BUCKETS).enumerate().map(move |(at, count)| {
            below += count.load(Ordering::Relaxed);
            (bound(at), below)
        })
    }
}

fn bound(at: usize) -> f64 {
    0.001 * f64::from(1u32 << at)
}

/// The text that a Prometheus server scrapes.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        writeln!(f, "# HELP {name} {}\n# TYPE {name} histogram", self.help)?;
        for (bound, count) in self.buckets() {
            writeln!(f, "{name}_bucket{{le=\"{bound}\"}} {count}")?;
        }
        let (sum, count) = (self.sum().as_secs_f64(), self.count());
        writeln!(f, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What etcd 3.4 shows at `/metrics`: dashboards ask for these names and bounds.
    #[test]
    fn names_and_buckets_are_those_of_etcd() {
        let histogram = Histogram::wal_fsync();
        for ms in [0, 1, 2, 3, 5000, 9000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let bounds = [
            "0.001", "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128", "0.256", "0.512",
            "1.024", "2.048", "4.096", "8.192", "+Inf",
        ];
        let counts = [2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 6];
        let name = "etcd_disk_wal_fsync_duration_seconds";
        let bucket = |(bound, count)| format!("{name}_bucket{{le=\"{bound}\"}} {count}\n");
        let buckets: String = bounds.iter().zip(counts).map(bucket).collect();
        let expected = format!(
            "# HELP {name} The latency distributions of fsync called by WAL.\n# TYPE {name} histogram\n\
             {buckets}{name}_sum 14.006\n{name}_count 6\n"
        );
        assert_eq!(histogram.to_string(), expected);
        assert_eq!(Histogram::snap_fsync().name(), "etcd_snap_fsync_duration_seconds");
        assert_eq!(Histogram::snap_db_fsync().name(), "etcd_snap_db_fsync_duration_seconds");
    }
}
