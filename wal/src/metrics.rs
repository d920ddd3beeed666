//! Counters of a log.
//!
//! They are a plain value that the caller reads at any time. There is no global recorder, so two logs in one
//! process stay separate, and a test can check the counters of its own log. All counting happens under the
//! lock that an append holds anyway. To export metrics, copy these numbers into your metrics library.

use std::time::{Duration, Instant};

/// Counters since a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Records appended.
    pub appends: u64,
    /// Bytes of their compressed frames.
    pub append_bytes: u64,
    /// Groups written. Each group is one write call.
    pub groups: u64,
    /// Bytes of those groups.
    pub written_bytes: u64,
    /// Syncs of segments.
    pub syncs: u64,
    /// Duration of syncs, in microseconds.
    pub sync_micros: Histogram,
    /// Records per group.
    pub group_records: Histogram,
    /// Segments begun.
    pub segments: u64,
}

impl Metrics {
    /// Counts a group, unless it is empty.
    pub(crate) fn group(&mut self, records: u64, bytes: u64) {
        if bytes > 0 {
            self.groups += 1;
            self.written_bytes += bytes;
            self.group_records.add(records);
        }
    }

    /// Copies the counters of the writer.
    pub(crate) fn writer(&mut self, counts: &Counts) {
        self.segments = counts.segments;
        self.syncs = counts.sync_micros.count();
        self.sync_micros.clone_from(&counts.sync_micros);
    }
}

/// Counters of a writer since the log was opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) segments: u64,
    pub(crate) sync_micros: Histogram,
    /// Duration of the last sync.
    pub(crate) last_sync: Duration,
}

impl Counts {
    /// Counts a sync that started at `begun`.
    pub(crate) fn synced(&mut self, begun: Instant) {
        self.last_sync = begun.elapsed();
        self.sync_micros.add(u64::try_from(self.last_sync.as_micros()).unwrap_or(u64::MAX));
    }
}

/// Counts values by size, with one bucket per power of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Bucket `n` counts the values up to `2^n` that fit no earlier bucket. The last bucket also counts all
    /// larger values.
    pub buckets: [u64; 32],
    /// Sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// Number of buckets.
    pub(crate) const BUCKETS: usize = 32;

    pub(crate) fn add(&mut self, value: u64) {
        let bucket = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[bucket.min(Self::BUCKETS - 1)] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Mean of the values. 0 if there are none.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.count().max(1) as f64
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; Self::BUCKETS], sum: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 1000, u64::MAX] {
            histogram.add(value);
        }
        assert_eq!(histogram.buckets[..4], [2, 1, 2, 0]);
        assert_eq!((histogram.buckets[10], histogram.buckets[31]), (1, 1));
        assert_eq!((histogram.count(), histogram.sum), (7, u64::MAX));
    }
}
