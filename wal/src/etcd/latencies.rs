//! Sync latencies, in etcd's buckets and under etcd's metric names.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::metrics::Histogram;
use crate::{Error, Result};

/// Buckets with an upper bound. One more bucket counts the rest.
const BUCKETS: usize = 14;

/// A sync that takes longer is logged.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// Durations in buckets of 1 ms, 2 ms, 4 ms and so on to 8.192 s, as in etcd.
#[derive(Debug)]
pub struct SyncLatencies {
    name: &'static str,
    help: &'static str,
    /// Milliseconds, rounded up (which changes no bucket), and their sum.
    seen: Mutex<(Histogram, Duration)>,
}

impl SyncLatencies {
    fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, seen: Mutex::default() }
    }

    /// The syncs of a log.
    pub(super) fn of_wal() -> Self {
        Self::new("etcd_disk_wal_fsync_duration_seconds", "The latency distributions of fsync called by WAL.")
    }

    /// The syncs of snapshot files.
    pub(super) fn of_snapshots() -> Self {
        Self::new("etcd_snap_fsync_duration_seconds", "The latency distributions of fsync called by snap.")
    }

    /// The syncs of received databases.
    pub(super) fn of_databases() -> Self {
        Self::new(
            "etcd_snap_db_fsync_duration_seconds",
            "The latency distributions of fsyncing .snap.db file",
        )
    }

    /// Runs a sync of the file at `path`.
    pub(super) fn observe(
        &self,
        path: impl Fn() -> PathBuf,
        sync: impl FnOnce() -> std::io::Result<()>,
    ) -> Result<()> {
        let begun = Instant::now();
        let done = sync();
        let took = begun.elapsed();
        self.note(took);
        if took > SLOW_SYNC {
            tracing::warn!(path = %path().display(), ?took, expected = ?SLOW_SYNC, "slow fdatasync");
        }
        done.map_err(|error| Error::broken("sync", error).at_path(&path()))
    }

    fn note(&self, took: Duration) {
        let (histogram, sum) = &mut *self.seen.lock();
        histogram.add(u64::try_from(took.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
        *sum = sum.saturating_add(took);
    }

    /// The number of syncs.
    pub fn count(&self) -> u64 {
        self.seen.lock().0.count()
    }
}

/// Prints the text format that a Prometheus server scrapes.
impl fmt::Display for SyncLatencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, (histogram, sum)) = (self.name, &*self.seen.lock());
        writeln!(f, "# HELP {name} {}\n# TYPE {name} histogram", self.help)?;
        let mut below = 0;
        for (at, count) in histogram.buckets.iter().take(BUCKETS).enumerate() {
            below += count;
            writeln!(f, "{name}_bucket{{le=\"{}\"}} {below}", 0.001 * f64::from(1u32 << at))?;
        }
        let (sum, count) = (sum.as_secs_f64(), histogram.count());
        writeln!(f, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as etcd 3.4 at `/metrics`, because dashboards use these names and bounds.
    #[test]
    fn names_and_buckets_are_those_of_etcd() {
        let latencies = SyncLatencies::of_wal();
        for ms in [0, 1, 2, 3, 5000, 9000] {
            latencies.note(Duration::from_millis(ms));
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
        assert_eq!(latencies.to_string(), expected);
        assert_eq!(SyncLatencies::of_snapshots().name, "etcd_snap_fsync_duration_seconds");
        assert_eq!(SyncLatencies::of_databases().name, "etcd_snap_db_fsync_duration_seconds");
    }

    #[test]
    fn a_bound_is_in_its_bucket() {
        let latencies = SyncLatencies::of_wal();
        for ns in [1_000_000, 1_000_001, 4_000_000, 4_000_001] {
            latencies.note(Duration::from_nanos(ns));
        }
        let text = latencies.to_string();
        for (bound, count) in [("0.001", 1), ("0.002", 2), ("0.004", 3), ("0.008", 4)] {
            assert!(text.contains(&format!("{{le=\"{bound}\"}} {count}\n")), "{text}");
        }
    }
}
