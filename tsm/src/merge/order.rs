//! The order in which the blocks of a key are merged.
//!
//! A block precedes another if it ends before the other begins. Blocks that overlap have no order, and this is no
//! valid order for a sort: `a` may precede `b` while both overlap `c`. So the result depends on the algorithm. To
//! equal InfluxDB's files it must be that of Go's library: insertion sort of runs of twenty, which are then merged in
//! place (Kim and Kutzner, "Stable minimum storage merging by symmetric comparisons", 2004).

use tsmith_codecs::TimeRange;

/// The length of the runs that are sorted by insertion.
const RUN: usize = 20;

/// Sorts by `range` like Go's `sort.Stable`. A block that ends before another begins comes first.
pub(super) fn sort<T>(blocks: &mut [T], range: impl Fn(&T) -> TimeRange + Copy) {
    let before = |a: &T, b: &T| range(a).max < range(b).min;
    for run in blocks.chunks_mut(RUN) {
        for i in 1..run.len() {
            let mut at = i;
            while at > 0 && before(&run[at], &run[at - 1]) {
                run.swap(at, at - 1);
                at -= 1;
            }
        }
    }
    let mut run = RUN;
    while run < blocks.len() {
        for pair in blocks.chunks_mut(2 * run) {
            if pair.len() > run {
                merge(pair, run, &before);
            }
        }
        run *= 2;
    }
}

/// Merges `blocks[..middle]` and `blocks[middle..]`, which are both sorted.
fn merge<T>(blocks: &mut [T], middle: usize, before: &impl Fn(&T, &T) -> bool) {
    let len = blocks.len();
    if middle == 0 || middle == len {
        return;
    }
    if middle == 1 {
        let at = partition(1, len, |i| before(&blocks[i], &blocks[0]));
        blocks[..at].rotate_left(1);
        return;
    }
    if len - middle == 1 {
        let at = partition(0, middle, |i| !before(&blocks[middle], &blocks[i]));
        blocks[at..].rotate_right(1);
        return;
    }
    let half = len / 2;
    let sum = half + middle;
    let (from, to) = if middle > half { (sum - len, half) } else { (0, middle) };
    let start = partition(from, to, |i| !before(&blocks[sum - 1 - i], &blocks[i]));
    let end = sum - start;
    if start < middle && middle < end {
        blocks[start..end].rotate_left(middle - start);
    }
    let (left, right) = blocks.split_at_mut(half);
    merge(left, start, before);
    merge(right, end - half, before);
}

/// The first index in `from..to` where `holds` is false, found by binary search.
fn partition(mut from: usize, mut to: usize, holds: impl Fn(usize) -> bool) -> usize {
    while from < to {
        let middle = usize::midpoint(from, to);
        if holds(middle) { from = middle + 1 } else { to = middle }
    }
    from
}

/// Whether no block ends before an earlier one begins. Sorting then changes nothing, even after blocks are removed
/// from the front.
pub(super) fn is_sorted<T>(blocks: &[T], range: impl Fn(&T) -> TimeRange) -> bool {
    let mut earliest_end = i64::MAX;
    blocks.iter().rev().all(|block| {
        let range = range(block);
        let fits = range.min <= earliest_end;
        earliest_end = earliest_end.min(range.max);
        fits
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Blocks that do not overlap.
    fn apart(order: Vec<usize>) -> Vec<(usize, TimeRange)> {
        order.into_iter().map(|i| (i, TimeRange::new(10 * i as i64, 10 * i as i64 + 9))).collect()
    }

    proptest! {
        #[test]
        fn blocks_apart_are_sorted(order in Just((0..90).collect::<Vec<usize>>()).prop_shuffle()) {
            let mut blocks = apart(order);
            sort(&mut blocks, |b| b.1);
            prop_assert!(blocks.iter().enumerate().all(|(i, block)| block.0 == i));
            prop_assert!(is_sorted(&blocks, |b| b.1));
        }

        #[test]
        fn a_sorted_list_stays(ranges in prop::collection::vec((0_i64..400, 0_i64..12), 0..50)) {
            let mut blocks: Vec<_> =
                ranges.into_iter().enumerate().map(|(i, (min, len))| (i, TimeRange::new(min, min + len))).collect();
            sort(&mut blocks, |b| b.1);
            if !is_sorted(&blocks, |b| b.1) {
                return Ok(());
            }
            let before = blocks.clone();
            for from in 0..blocks.len() {
                sort(&mut blocks[from..], |b| b.1);
                prop_assert_eq!(&blocks, &before);
            }
        }
    }

    #[test]
    fn overlapping_blocks_keep_their_order() {
        let mut blocks =
            vec![(0, TimeRange::new(5, 6)), (1, TimeRange::new(1, 10)), (2, TimeRange::new(2, 3))];
        sort(&mut blocks, |b| b.1);
        assert_eq!(
            blocks.iter().map(|b| b.0).collect::<Vec<_>>(),
            [0, 1, 2],
            "the last block cannot move before the second"
        );
        assert!(!is_sorted(&blocks, |b| b.1));
    }
}
