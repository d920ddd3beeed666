//! What of a file is deleted, in memory: a few ranges of time for each key.

use std::collections::HashMap;

use tsmith_codecs::TimeRange;

use super::Tombstone;
use crate::index::KeyEntry;

/// Most memory for the deletions of one file: a gzip member of a megabyte can claim a gigabyte of keys. Those of all keys
/// that a TSM file can have take no more.
pub const DELETIONS_BYTES_MAX: u64 = 2 << 30;

/// The deleted times of each key of a file.
///
/// The ranges of a key are kept apart and ascending: those that overlap or adjoin are one. So memory is that of what is
/// deleted, however often it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deletions {
    keys: HashMap<Box<[u8]>, Vec<TimeRange>>,
    /// About how much memory that is.
    bytes: u64,
}

/// What a key costs besides its own bytes, about.
const KEY_COST_BYTES: u64 = 64;

impl Deletions {
    /// Nothing is deleted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Deletes the points of `key` inside `range`; a range that ends before it begins deletes nothing.
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

    /// About how many bytes of memory it takes.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys have deleted points.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The deleted times of `key`: apart from each other, ascending.
    pub fn ranges(&self, key: &[u8]) -> &[TimeRange] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether all times of `range` are deleted from `key`.
    pub fn covers(&self, key: &[u8], range: TimeRange) -> bool {
        covers(self.ranges(key), range)
    }

    /// Whether all blocks of `key` are deleted, by their entries in the index.
    pub fn covers_key(&self, key: KeyEntry<'_>) -> bool {
        let ranges = self.ranges(key.key());
        !ranges.is_empty() && covers(ranges, key.range())
    }

    /// The keys with deleted points and their ranges, in no order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[TimeRange])> {
        self.keys.iter().map(|(key, ranges)| (&**key, ranges.as_slice()))
    }
}

impl Extend<Tombstone> for Deletions {
    fn extend<I: IntoIterator<Item = Tombstone>>(&mut self, tombstones: I) {
        tombstones.into_iter().for_each(|tombstone| self.add(&tombstone.key, tombstone.range));
    }
}

/// Calls `f` for each stretch of `range` of which nothing is deleted, ascending. The deleted ranges are apart and ascend.
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

/// Whether one of these ranges, which are apart, covers `range`.
fn covers(ranges: &[TimeRange], range: TimeRange) -> bool {
    let at = ranges.partition_point(|deleted| deleted.max < range.max);
    ranges.get(at).is_some_and(|deleted| deleted.covers(range))
}

/// Adds a range to ranges that are apart and ascend, which they are again afterwards.
fn join(ranges: &mut Vec<TimeRange>, range: TimeRange) {
    // Adjoining ones become one: 1..=2 and 3..=4 are 1..=4.
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
    fn ranges_that_meet_are_one() {
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
        fn they_are_the_set_of_their_times(
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
