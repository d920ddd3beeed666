//! Finds blocks by their times, in their present order.
//!
//! One early block may cover the times of all other blocks of its key. If each window walked over all blocks that
//! overlap it, the time would grow with the square of their number. So this tree stores for each half, quarter and so
//! on when its blocks begin and end. A search skips the parts that have no match.

use tsmith_codecs::TimeRange;

/// What a node knows of the blocks below it. A leaf has the times of its block.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// When the earliest block begins.
    pub(super) begin: i64,
    /// When the first block ends.
    pub(super) first_end: i64,
    /// When the last block ends.
    pub(super) last_end: i64,
}

/// The span without blocks.
const NONE: Span = Span { begin: i64::MAX, first_end: i64::MAX, last_end: i64::MIN };

/// The tree. The children of node `n` are `2n` and `2n + 1`, and the root is 1. The second half holds the leaves.
#[derive(Default)]
pub(super) struct Spans {
    nodes: Vec<Span>,
    /// The index of the first leaf's block, and the index after the last.
    from: usize,
    to: usize,
}

impl Spans {
    /// Rebuilds the tree for the blocks with these ranges. The first of them has the index `from`.
    pub(super) fn build(&mut self, from: usize, ranges: impl ExactSizeIterator<Item = TimeRange>) {
        (self.from, self.to) = (from, from + ranges.len());
        let leaves = ranges.len().next_power_of_two();
        self.nodes.clear();
        self.nodes.resize(leaves, NONE);
        let leaf = |range: TimeRange| Span { begin: range.min, first_end: range.max, last_end: range.max };
        self.nodes.extend(ranges.map(leaf));
        self.nodes.resize(2 * leaves, NONE);
        for node in (1..leaves).rev() {
            let (left, right) = (self.nodes[2 * node], self.nodes[2 * node + 1]);
            self.nodes[node] = Span {
                begin: left.begin.min(right.begin),
                first_end: left.first_end.min(right.first_end),
                last_end: left.last_end.max(right.last_end),
            };
        }
    }

    pub(super) fn clear(&mut self) {
        (self.from, self.to) = (0, 0);
    }

    /// The first index at or after `from` whose block fits. If `fits` accepts a block, it must also accept every span
    /// that contains it.
    pub(super) fn find(&self, from: usize, fits: impl Fn(&Span) -> bool) -> Option<usize> {
        let from = from.max(self.from);
        if from >= self.to {
            return None;
        }
        let leaves = self.nodes.len() / 2;
        let mut node = leaves + from - self.from;
        loop {
            if fits(&self.nodes[node]) {
                if node >= leaves {
                    let place = self.from + node - leaves;
                    return (place < self.to).then_some(place);
                }
                node *= 2;
                continue;
            }
            // Move to the right sibling, possibly of a parent.
            while node % 2 == 1 {
                node /= 2;
            }
            if node == 0 {
                return None;
            }
            node += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_block_that_fits_is_found(
            ranges in prop::collection::vec((-20_i64..20, 0_i64..9), 0..40),
            base in 0_usize..5, from in 0_usize..45, min in -25_i64..25, len in 0_i64..9,
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(min, len)| TimeRange::new(min, min + len)).collect();
            let mut spans = Spans::default();
            spans.build(0, [TimeRange::ALL; 7].into_iter());
            spans.build(base, ranges.iter().copied());
            let window = TimeRange::new(min, min + len);
            let first = |fits: &dyn Fn(&TimeRange) -> bool| {
                (base..).zip(&ranges).find(|(place, range)| *place >= from && fits(range)).map(|(place, _)| place)
            };
            let meets = |span: &Span| span.begin <= window.max && span.last_end >= window.min;
            prop_assert_eq!(spans.find(from, meets), first(&|range| range.overlaps(window)));
            let ended = |span: &Span| span.first_end < window.max && span.last_end > window.min;
            prop_assert_eq!(spans.find(from, ended), first(&|range| range.max < window.max && range.max > window.min));
            spans.clear();
            prop_assert_eq!(spans.find(from, |_| true), None);
        }
    }

    /// Story: each window of a merge walked over all blocks that a wide block overlaps. 60,000 blocks took minutes.
    #[test]
    fn a_search_skips_most_blocks() {
        let wide = TimeRange::new(0, 60_000);
        let blocks = (0..60_000).map(|time| TimeRange::new(time, time));
        let mut spans = Spans::default();
        spans.build(0, std::iter::once(wide).chain(blocks).collect::<Vec<_>>().into_iter());
        let looked_at = Cell::new(0_u64);
        for done in 0..59_999 {
            let fits = |span: &Span| {
                looked_at.set(looked_at.get() + 1);
                span.begin <= done + 1 && span.last_end > done
            };
            assert_eq!(spans.find(1, fits), Some(done as usize + 2));
        }
        assert!(looked_at.get() < 60_000 * 40, "{}", looked_at.get());
    }
}
