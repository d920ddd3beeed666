//! Which open comparisons get the rest of the time.

/// What it takes to decide one comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) group: usize,
    /// `None` if very many blocks do not decide it.
    pub(crate) blocks: Option<usize>,
    /// Of one run of the cell.
    pub(crate) seconds: f64,
    /// Of the two runs of the reference, which all cells of the group share.
    pub(crate) reference_seconds: f64,
}

impl Need {
    /// The time that decides this comparison alone.
    pub(crate) fn seconds_alone(&self) -> Option<f64> {
        Some(self.blocks? as f64 * (self.seconds + self.reference_seconds))
    }
}

/// What runs until the next look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Which comparisons run.
    pub(crate) chosen: Vec<bool>,
    pub(crate) blocks: u32,
}

impl Share {
    /// Chooses the comparisons whose need fits into the time, the smallest need first. Forecasts from few blocks are rough, so
    /// time that would be left over goes to further comparisons in the same order.
    pub(crate) fn of(needs: &[Need], seconds: f64, looks: usize) -> Self {
        let mut order: Vec<usize> = (0..needs.len()).collect();
        let alone = |at: usize| needs[at].seconds_alone().unwrap_or(f64::INFINITY);
        order.sort_by(|&a, &b| alone(a).total_cmp(&alone(b)));
        let groups = needs.iter().map(|need| need.group + 1).max().unwrap_or(0);
        let until_look = seconds / looks.max(1) as f64;
        // Blocks that each group runs in all, and the cost of the next block.
        let (mut left, mut blocks_of, mut block) = (seconds, vec![0; groups], 0.0);
        let mut chosen = vec![false; needs.len()];
        for at in order {
            let need = needs[at];
            let blocks = need.blocks.unwrap_or(usize::MAX);
            let of_group = blocks_of[need.group];
            let shared = if of_group == 0 { need.reference_seconds } else { 0.0 };
            let more_blocks = blocks.saturating_sub(of_group) as f64;
            let cost = blocks as f64 * need.seconds + more_blocks * need.reference_seconds;
            if cost <= left {
                left -= cost;
                blocks_of[need.group] = blocks.max(of_group);
            } else if block + need.seconds + shared <= until_look || block == 0.0 {
                blocks_of[need.group] = of_group.max(1);
            } else {
                continue;
            }
            chosen[at] = true;
            block += need.seconds + shared;
        }
        let blocks = if block > 0.0 { (until_look / block) as u32 } else { 0 };
        Self { chosen, blocks: blocks.max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(group: usize, blocks: usize) -> Need {
        Need { group, blocks: Some(blocks), seconds: 1.0, reference_seconds: 2.0 }
    }

    fn chosen(needs: &[Need], seconds: f64) -> Vec<bool> {
        // With many looks, a comparison runs only if its need fits.
        Share::of(needs, seconds, 100).chosen
    }

    #[test]
    fn the_smallest_needs_come_first() {
        assert_eq!(chosen(&[need(0, 9), need(1, 2), need(2, 3)], 16.0), [false, true, true]);
    }

    #[test]
    fn cells_of_a_group_share_the_reference() {
        // The first takes 2 * 3 seconds, the second 2 more.
        assert_eq!(chosen(&[need(0, 2), need(0, 2)], 8.0), [true, true]);
        assert_eq!(chosen(&[need(0, 2), need(1, 2)], 8.0), [true, false]);
    }

    #[test]
    fn one_comparison_always_continues() {
        assert_eq!(chosen(&[need(0, 90), need(1, 80)], 5.0), [false, true]);
        assert!(chosen(&[], 5.0).is_empty());
    }

    #[test]
    fn no_time_is_left_over() {
        let hopeless = Need { blocks: None, ..need(0, 0) };
        assert_eq!(
            Share::of(&[hopeless, need(1, 80)], 12.0, 2),
            Share { chosen: vec![true, true], blocks: 1 }
        );
        assert_eq!(Share::of(&[hopeless], 30.0, 2).blocks, 5);
    }
}
