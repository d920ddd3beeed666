//! How segments follow one another, and which of them are missed.

use std::ops::Range;

use crate::RecoveryMode;

/// How segments follow one another, in a log that numbers its records.
#[derive(Debug)]
pub(super) struct Chain {
    /// The number of the record that comes next; not known before the first segment.
    pub(super) due: Option<u64>,
    /// The first segment that says what it begins with, and with which record.
    pub(super) begin: Option<(usize, u64)>,
    /// Records below this number were forgotten.
    pub(super) front: u64,
    /// Records that were read before any segment said what it begins with.
    pub(super) unplaced: u64,
}

impl Chain {
    pub(super) fn new(front: u64) -> Self {
        Self { due: None, begin: None, front, unplaced: 0 }
    }
}

/// How segments follow one another where each names the one before it.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// The segments so far that hold something.
    pub(super) held: Vec<u32>,
    /// The ones that are named.
    pub(super) named: Vec<u32>,
    /// Those of them of which there is nothing, or nothing will be left.
    pub(super) lost: Vec<u32>,
}

impl Row {
    /// The lost ones, ascending, each with the last before it that is kept. Another mode refuses, or leaves what it finds.
    pub(super) fn lost(&mut self, mode: RecoveryMode) -> Vec<(u32, u32)> {
        if mode != RecoveryMode::InfluxDb {
            return Vec::new();
        }
        self.lost.sort_unstable();
        self.lost.dedup();
        let kept = |number: &&u32| !self.lost.contains(number);
        let before = |lost: u32| self.held.iter().filter(kept).copied().filter(|&held| held < lost).max();
        self.lost.iter().map(|&lost| (lost, before(lost).unwrap_or(0))).collect()
    }
}

/// The numbers that are missing when `first` comes and `due` should.
pub(super) fn missing(due: u64, first: u64) -> Option<Range<u64>> {
    (due < first).then_some(due..first)
}
