//! The deletions of a file in memory: ranges of time for each key.

use std::collections::HashMap;

use tsmith_codecs::TimeRange;

use super::Tombstone;
use crate::index::KeyEntry;

/// The most memory for the deletions of one file. A gzip member of one megabyte can claim a gigabyte of keys. The
/// deletions of the most keys that a TSM file can have fit into this limit.
pub const DELETIONS_BYTES_MAX: u64 = 2 << 30;

/// The deleted times of each key of a file.
///
/// The ranges of a key ascend and are disjoint. Ranges that overlap or adjoin are joined. So repeated deletes of the
/// same points need no more memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deletions {
    keys: HashMap<Box<[u8]>, Vec<TimeRange>>,
    /// About how much memory they take, in bytes.
    bytes: u64,
}

/// The approximate memory of a key in addition to its own bytes.
const KEY_COST_BYTES: u64 = 64;

impl Deletions {
    /// No deletions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Deletes the points of `key` inside `range`. A range that ends before it begins deletes nothing.
    pub fn add(&mut self, key: &[u8], range: TimeRange) {
        if range.min > range.max {
            return;
        }
        let cost = |ranges: &[TimeRange]| size_of_val(ranges) as u64;
        if let Some(ranges) = self.keys.get_mut(key) {
            let before = cost(ranges);
            join(ranges, range);
            self.bytes = self.bytes.saturating_sub(before).saturating_add(cost(ranges));
        } else {
            let bytes = KEY_COST_BYTES.saturating_add(key.len() as u64).saturating_add(cost(&[range]));
            self.bytes = self.bytes.saturating_add(bytes);
            self.keys.insert(key.into(), vec![range]);
        }
    }

    /// The approximate memory in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether no points are deleted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The number of keys with deleted points.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The deleted ranges of `key`, disjoint and ascending.
    pub fn ranges(&self, key: &[u8]) -> &[TimeRange] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether all times of `range` are deleted from `key`.
    pub fn covers(&self, key: &[u8], range: TimeRange) -> bool {
        covers(self.ranges(key), range)
    }

    /// Whether the ranges of all index entries of `key` are deleted.
    pub fn covers_key(&self, key: KeyEntry<'_>) -> bool {
        let ranges = self.ranges(key.key());
        !ranges.is_empty() && covers(ranges, key.range())
    }

    /// The keys with deleted points and their ranges, in any order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[TimeRange])> {
        self.keys.iter().map(|(key, ranges)| (&**key, ranges.as_slice()))
    }
}

impl Extend<Tombstone> for Deletions {
    fn extend<I: IntoIterator<Item = Tombstone>>(&mut self, tombstones: I) {
        tombstones.into_iter().for_each(|tombstone| self.add(&tombstone.key, tombstone.range));
    }
}

/// Calls `f` for each part of `range` that is not deleted, in ascending order. The deleted ranges must be disjoint
/// and ascend.
pub(crate) fn for_each_live(deleted: &[TimeRange], range: TimeRange, mut f: impl FnMut(TimeRange)) {
    let mut from = range.min;
    let first = deleted.partition_point(|gone| gone.max < range.min);
    for gone in deleted.iter().skip(first).take_while(|gone| gone.min <= range.max) {
        if from < gone.min {
            f(TimeRange::new(from, gone.min.saturating_sub(1)));
        }
        if gone.max >= range.max {
            return;
        }
        from = gone.max.saturating_add(1);
    }
    f(TimeRange::new(from, range.max));
}

/// Whether one of these disjoint ranges covers `range`.
fn covers(ranges: &[TimeRange], range: TimeRange) -> bool {
    let at = ranges.partition_point(|deleted| deleted.max < range.max);
    ranges.get(at).is_some_and(|deleted| deleted.covers(range))
}

/// Adds a range to disjoint, ascending ranges, and keeps them so.
fn join(ranges: &mut Vec<TimeRange>, range: TimeRange) {
    // Ranges that adjoin are joined: 1..=2 and 3..=4 become 1..=4.
    let from = ranges.partition_point(|r| r.max < range.min.saturating_sub(1));
    let to = ranges.partition_point(|r| r.min <= range.max.saturating_add(1));
    let met = ranges.get(from..to).unwrap_or_default();
    let joined = met.iter().fold(range, |all, r| TimeRange::new(all.min.min(r.min), all.max.max(r.max)));
    ranges.splice(from..to.max(from), [joined]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(min: i64, max: i64) -> TimeRange {
        TimeRange::new(min, max)
    }

    #[test]
    fn adjoining_ranges_are_joined() {
        let mut deletions = Deletions::new();
        for (min, max) in [(10, 20), (31, 40), (5, 4), (22, 29)] {
            deletions.add(b"k", range(min, max));
        }
        assert_eq!(deletions.ranges(b"k"), [range(10, 20), range(22, 29), range(31, 40)]);
        deletions.add(b"k", range(21, 21));
        assert_eq!(deletions.ranges(b"k"), [range(10, 29), range(31, 40)]);
        assert!(deletions.covers(b"k", range(10, 29)) && !deletions.covers(b"k", range(10, 31)));
        deletions.add(b"k", range(i64::MIN, i64::MAX));
        assert_eq!(deletions.ranges(b"k"), [TimeRange::ALL]);
        deletions.add(b"k", range(i64::MAX, i64::MAX));
        deletions.add(b"k", range(i64::MIN, i64::MIN));
        assert_eq!(deletions.ranges(b"k"), [TimeRange::ALL]);
        assert!(deletions.ranges(b"other").is_empty() && !deletions.covers(b"other", range(1, 1)));
    }

    proptest! {
        #[test]
        fn ranges_agree_with_a_set_of_times(
            added in prop::collection::vec((0_i64..60, 0_i64..12), 0..12),
            asked in (0_i64..60, 0_i64..12),
        ) {
            let mut deletions = Deletions::new();
            let mut model = std::collections::BTreeSet::new();
            for (min, len) in added {
                deletions.add(b"k", range(min, min + len - 2));
                model.extend(min..=min + len - 2);
            }
            let ranges = deletions.ranges(b"k");
            let times: Vec<i64> = ranges.iter().flat_map(|r| r.min..=r.max).collect();
            prop_assert_eq!(times, model.iter().copied().collect::<Vec<_>>());
            prop_assert!(ranges.windows(2).all(|pair| pair[0].max + 1 < pair[1].min));
            let asked = range(asked.0, asked.0 + asked.1);
            prop_assert_eq!(deletions.covers(b"k", asked), (asked.min..=asked.max).all(|t| model.contains(&t)));
        }
    }
}
