//! Checks that segments follow one another.
//!
//! Each segment states where the log ended before it. That must equal where the log ends after the segment
//! before. `native` and `etcd` number their records. In InfluxDB's format, our segments name the last earlier
//! segment with records.

use std::ops::Range;

use crate::scan::Follows;

/// Where the log ends after the segments so far.
#[derive(Debug)]
pub(super) struct Sequence {
    due: Option<u64>,
    /// Everything below this was truncated.
    front: u64,
    /// Records read before any segment stated where it begins.
    unplaced: u64,
    /// The index of the first segment, and where it states that the log ended before it.
    first: Option<(usize, u64)>,
}

/// How a segment fails to follow the one before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Discontinuity {
    /// These numbers are missing.
    Missing(Range<u64>),
    /// It begins with records that an earlier segment holds too.
    Repeated,
}

impl Sequence {
    /// The sequence of a log that was truncated up to `front`.
    pub(super) fn from_front(front: u64) -> Self {
        Self { due: None, front, unplaced: 0, first: None }
    }

    /// Checks the segment at index `at`, which comes next.
    pub(super) fn begin(&mut self, at: usize, follows: Option<Follows>) -> Option<Discontinuity> {
        let Follows { end, front } = follows?;
        self.front = self.front.max(front);
        match self.due.replace(end) {
            None => {
                // Checked once the front is known.
                self.first = Some((at, end));
                None
            }
            Some(due) if end < due => Some(Discontinuity::Repeated),
            Some(due) => missing_between(due, end).map(Discontinuity::Missing),
        }
    }

    /// Ends a segment with `records` records. `end` is where the log ends after it, if known.
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

    /// The number of the next record.
    pub(super) fn next(&self) -> u64 {
        self.due.unwrap_or(0).max(self.front)
    }
}

/// The numbers between where the log ended and where it continues.
pub(super) fn missing_between(due: u64, next: u64) -> Option<Range<u64>> {
    (due < next).then_some(due..next)
}
