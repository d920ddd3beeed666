//! Whether segments follow one another.
//!
//! Each segment says where the log ended before it, and the log ends after it where the next segment has to say. `native`
//! and `etcd` number their records; our segments in InfluxDB's format name the last segment before them that held records.

use std::ops::Range;

use crate::scan::Follows;

/// Where the log ends with the segments so far.
#[derive(Debug)]
pub(super) struct Sequence {
    due: Option<u64>,
    /// What is below was truncated.
    front: u64,
    /// Records that were read before any segment said where it begins.
    unplaced: u64,
    /// The first segment, and where it says that the log ended before it.
    first: Option<(usize, u64)>,
}

/// How a segment does not follow the one before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Discontinuity {
    /// These are missing.
    Missing(Range<u64>),
    /// It begins with what an earlier one has, too.
    Repeated,
}

impl Sequence {
    /// Of a log that was truncated up to `front`.
    pub(super) fn from_front(front: u64) -> Self {
        Self { due: None, front, unplaced: 0, first: None }
    }

    /// The next segment is the one at `at`.
    pub(super) fn begin(&mut self, at: usize, follows: Option<Follows>) -> Option<Discontinuity> {
        let Follows { end, front } = follows?;
        self.front = self.front.max(front);
        match self.due.replace(end) {
            None => {
                // Judged when the front is known.
                self.first = Some((at, end));
                None
            }
            Some(due) if end < due => Some(Discontinuity::Repeated),
            Some(due) => missing_between(due, end).map(Discontinuity::Missing),
        }
    }

    /// The segment has so many records, and the log ends with it here, if anybody can say.
    pub(super) fn end(&mut self, end: Option<u64>, records: u64) {
        self.due = end.or(self.due);
        if self.due.is_none() {
            self.unplaced = self.unplaced.saturating_add(records);
        }
    }

    /// What is missing before the first segment.
    pub(super) fn missing_before(&self) -> Option<(usize, Range<u64>)> {
        let (at, first) = self.first?;
        missing_between(self.front.saturating_add(self.unplaced), first).map(|missing| (at, missing))
    }

    pub(super) fn front(&self) -> u64 {
        self.front
    }

    /// The number of the record that comes next.
    pub(super) fn next(&self) -> u64 {
        self.due.unwrap_or(0).max(self.front)
    }
}

/// The numbers between where the log ended and where it goes on.
pub(super) fn missing_between(due: u64, next: u64) -> Option<Range<u64>> {
    (due < next).then_some(due..next)
}
