//! Blocks found by their times, in the order in which they stand.
//!
//! A block of long ago may last as long as all others of its key, so that a walk from it over those that overlap it, once for
//! each stretch that is read, takes time with the square of their number. Here a tree over the places knows of each half,
//! quarter and so on when its blocks begin and end, and a search passes over those in which none can fit.

use tsmith_codecs::TimeRange;

/// What is known of the blocks below a node; of a leaf, the times of its block.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// When the first of them begins.
    pub(super) begin: i64,
    /// When the first of them ends.
    pub(super) first_end: i64,
    /// When the last of them ends.
    pub(super) last_end: i64,
}

/// That of no block.
const NONE: Span = Span { begin: i64::MAX, first_end: i64::MAX, last_end: i64::MIN };

/// The tree. Those below node `n` are `2n` and `2n + 1`; the root is 1, and the second half are the leaves.
#[derive(Default)]
pub(super) struct Spans {
    nodes: Vec<Span>,
    /// The place of the first leaf's block, and of the one behind the last.
    from: usize,
    to: usize,
}

impl Spans {
    /// Makes it that of the blocks with these ranges, the first of which is at place `from`.
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

    /// The first place from `from` on whose block fits. What `fits` says of a block it must also say of all spans that it
    /// is in.
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
            // To the one on the right, which may be that of a parent.
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
        fn what_is_found_is_the_first_that_fits(
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

    /// Each window of a merge walked over all blocks that a wide one overlaps: 60,000 blocks took minutes.
    #[test]
    fn a_search_passes_over_most_of_the_blocks() {
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
