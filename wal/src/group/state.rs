//! What those who append share under one lock: the group that forms, and how far the log has come.

use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::parts;
use super::tip::{Sink, Tip};
use super::waiters::Waiters;
use crate::kind::Format;
use crate::metrics::Metrics;
use crate::recover::position;
use crate::{Error, ErrorKind, Position, Result};

#[derive(Debug)]
pub(super) struct State<S: Sink, T> {
    /// The group that forms: room for its head, then its frames. Empty when there is none.
    pub(super) pending: Vec<u8>,
    /// The other buffer.
    pub(super) spare: Vec<u8>,
    /// Records in `pending`.
    pub(super) pending_records: u64,
    /// Where in `pending` the parts after its first begin, each with room for a mark.
    pub(super) pending_parts: Vec<usize>,
    /// Where its last part begins.
    pub(super) pending_mark: usize,
    /// A leader waits until there are so many; who brings the last of them leads in its place.
    pub(super) wanted_records: u64,
    /// Counts the ends of such waits.
    pub(super) gatherings: u64,
    /// The last group.
    pub(super) last_group: Group,
    /// Where the pending group ends; its beginning is as far before as it is long.
    pub(super) tail: Position,
    /// There was no space for the last group: the next segment is begun before any position in it is drawn.
    pub(super) full: bool,
    /// What the segment of `tail` can take, as far as is known; a nearly full disk has only short segments.
    pub(super) capacity: u32,
    /// All below is with the operating system.
    pub(super) written: Position,
    /// All below is on stable storage.
    pub(super) durable: Position,
    /// Whoever leads next is to sync: the interval is over.
    pub(super) sync_due: bool,
    /// Somebody writes, and has `tip`.
    pub(super) leading: bool,
    pub(super) tip: Option<Tip<S, T>>,
    /// Whose records somebody else writes.
    pub(super) waiters: Waiters,
    /// The number of the next record that is written.
    pub(super) next_record: u64,
    /// No segment from this number on may be removed.
    pub(super) open_from: u32,
    /// Positions after `.0` up to `.1` were taken back.
    pub(super) failed: Vec<(Position, Position, Error)>,
    /// The last of them, and why, until somebody was told.
    pub(super) untold: Option<(Position, Error)>,
    pub(super) poison: Option<Error>,
    pub(super) stage: Stage,
    pub(super) metrics: Metrics,
}

/// A group that was written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// How long its sync took.
    pub(super) sync: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    /// Nothing new is taken, and nobody leads but who closes.
    Closing,
    /// The directory may be another log's by now.
    Ended,
}

/// What a leader is to do besides writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Write,
    Sync,
    /// Begin the segment of the tail, with room for a group that ends there. Nothing may be pending.
    Begin(u32),
    EndSegment,
}

impl<S: Sink, T: Format> State<S, T> {
    pub(super) fn open(&self, dir: &Path) -> Result<()> {
        if self.stage == Stage::Open { Ok(()) } else { Err(Error::new(ErrorKind::Closed).at_path(dir)) }
    }

    /// Somebody leads, and nobody else is to.
    pub(super) fn is_led(&self) -> bool {
        self.leading && !self.is_gathered()
    }

    /// All are there for whom a leader waits.
    pub(super) fn is_gathered(&self) -> bool {
        self.pending_records >= self.wanted_records
    }

    pub(super) fn end_gathering(&mut self) {
        self.wanted_records = u64::MAX;
        self.gatherings += 1;
    }

    /// How far records are as safe as this goal makes them. Of a log that stopped nobody knows what the operating system
    /// still has.
    pub(super) fn done(&self, goal: Goal) -> Position {
        if goal == Goal::Sync || self.poison.is_some() { self.durable } else { self.written }
    }

    pub(super) fn check(&self) -> Result<()> {
        match &self.poison {
            Some(error) => Err(Error::new(ErrorKind::Poisoned(Arc::new(error.clone())))),
            None => Ok(()),
        }
    }

    /// Later records go to the next segment. Nothing may be pending.
    pub(super) fn advance(&mut self, dir: &Path) -> Result<()> {
        let next = parts(self.tail).0.checked_add(1);
        let next = next.ok_or_else(|| Error::new(ErrorKind::NumbersEnd).at_path(dir))?;
        self.tail = position(next, T::HEAD_BYTES);
        self.capacity = u32::MAX;
        Ok(())
    }

    /// What is appended at `begin` begins a part of the pending group.
    pub(super) fn begin_part(&mut self, begin: usize) {
        self.pending_mark = begin;
        if begin > 0 && T::GROUP_BYTES > 0 {
            self.pending_parts.push(begin);
        }
    }

    /// Why the record at `at` is not in the log, or one before it of which nobody was told: that one's appender waits for a
    /// later one, or for none. Who asks is told.
    pub(super) fn failure_of(&mut self, at: Position) -> Option<Error> {
        let failed = self.failed.iter().rev().find(|(from, to, _)| *from < at && at <= *to);
        let failed = failed.map(|(.., error)| error.clone());
        let untold = self.untold.take_if(|(last, _)| *last <= at);
        failed.or(untold.map(|(_, error)| error))
    }

    /// What was being written, and what was appended since, is not in the log. Where nothing was, no position was drawn
    /// either, and the number of the segment is still free.
    pub(super) fn take_back(&mut self, error: &Error, dir: &Path) {
        if mem::replace(&mut self.full, true)
            && self.pending.is_empty()
            && parts(self.tail).1 == T::HEAD_BYTES
        {
            return;
        }
        self.pending.clear();
        self.pending_records = 0;
        self.pending_parts.clear();
        let (from, to) = (self.written, self.tail);
        self.untold = Some((to, error.clone()));
        match self.failed.last_mut() {
            // Failures in a row are one range, however long the disk stays full.
            Some(last) if last.0 == from => (last.1, last.2) = (to, error.clone()),
            _ => self.failed.push((from, to, error.clone())),
        }
        if let Err(error) = self.advance(dir) {
            self.poison.get_or_insert(error);
        }
    }
}
