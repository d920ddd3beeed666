//! What a log counts.
//!
//! A plain value, read whenever one likes, and not a facade with a global recorder: two logs of one process stay apart,
//! a test asserts on its own log, and nothing is counted outside the lock that an append holds anyway. Whoever exports
//! metrics copies these numbers into what they use.

use std::time::{Duration, Instant};

/// Counts since a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Records appended.
    pub appends: u64,
    /// Bytes of their frames, compressed.
    pub append_bytes: u64,
    /// Groups written, each with one call.
    pub groups: u64,
    /// Bytes of those groups.
    pub written_bytes: u64,
    /// Syncs of segments.
    pub syncs: u64,
    /// What they took, in microseconds.
    pub sync_micros: Histogram,
    /// Records in each group.
    pub group_records: Histogram,
    /// Segments begun.
    pub segments: u64,
}

impl Metrics {
    /// Counts a group of so many records and bytes, if any were written.
    pub(crate) fn group(&mut self, records: u64, bytes: u64) {
        if bytes > 0 {
            self.groups += 1;
            self.written_bytes += bytes;
            self.group_records.add(records);
        }
    }

    /// Takes over what a writer counted.
    pub(crate) fn writer(&mut self, counts: &Counts) {
        self.segments = counts.segments;
        self.syncs = counts.sync_micros.count();
        self.sync_micros.clone_from(&counts.sync_micros);
    }
}

/// What a writer did since the log was opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) segments: u64,
    pub(crate) sync_micros: Histogram,
    /// What the last sync took.
    pub(crate) last_sync: Duration,
}

impl Counts {
    /// Counts a sync that began then.
    pub(crate) fn synced(&mut self, begun: Instant) {
        self.last_sync = begun.elapsed();
        self.sync_micros.add(u64::try_from(self.last_sync.as_micros()).unwrap_or(u64::MAX));
    }
}

/// How often values of each size occurred; a bucket for each power of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Bucket `n` counts the values up to `2^n` that belong to no bucket before it; the last one takes all the rest.
    pub buckets: [u64; Self::BUCKETS],
    /// Sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// How many buckets.
    pub const BUCKETS: usize = 32;

    pub(crate) fn add(&mut self, value: u64) {
        let bucket = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[bucket.min(Self::BUCKETS - 1)] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their mean; 0 when there is none.
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
    fn values_fall_into_their_powers_of_two() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 1000, u64::MAX] {
            histogram.add(value);
        }
        assert_eq!(histogram.buckets[..4], [2, 1, 2, 0]);
        assert_eq!((histogram.buckets[10], histogram.buckets[31]), (1, 1));
        assert_eq!((histogram.count(), histogram.sum), (7, u64::MAX));
    }
}
