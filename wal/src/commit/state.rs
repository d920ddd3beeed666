//! The state that appending threads share under one lock: the pending group, and how far the log is written
//! and durable.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::halves::{Failure, Framer, Writer};
use super::waiters::Waiters;
use crate::error::Poison;
use crate::metrics::Metrics;
use crate::{Error, ErrorKind, Position, Result};

#[derive(Debug)]
pub(super) struct State<F: Framer> {
    pub(super) framer: F,
    /// `None` while a leader holds it, and after the log has ended.
    pub(super) writer: Option<F::Writer>,
    /// Number of pending records in the framer.
    pub(super) records: u64,
    /// The number of records that a leader waits for. The thread that brings the last one leads in its place.
    pub(super) wanted_records: u64,
    /// Counts the ends of such waits.
    pub(super) gatherings: u64,
    pub(super) last_group: Group,
    /// Everything up to here is written to the operating system.
    pub(super) written: Position,
    /// Everything up to here is on stable storage.
    pub(super) durable: Position,
    /// The interval is over, so the next leader must sync.
    pub(super) sync_due: bool,
    /// A thread leads: it holds the writer or is about to take it.
    pub(super) leading: bool,
    /// The threads whose records a leader writes.
    pub(super) waiters: Waiters,
    /// Positions in `(.0, .1]` were taken back.
    failed: Vec<(Position, Position, Error)>,
    /// The last position taken back and the error, until a caller gets it.
    unreported: Option<(Position, Error)>,
    pub(super) poison: Poison,
    pub(super) stage: Stage,
    pub(super) metrics: Metrics,
}

/// A group that was written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Duration of its sync.
    pub(super) sync: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// Nothing new is accepted, and only the closing thread leads.
    Closing,
    /// Another log may have the directory by now.
    Ended,
}

/// A group and the writer, while a leader holds them.
pub(super) struct Turn<F: Framer> {
    writer: F::Writer,
    group: Option<F::Group>,
    records: u64,
    bytes: u64,
    end: Position,
    sync: bool,
}

impl<F: Framer> Turn<F> {
    /// The leader's work without the lock.
    pub(super) fn work(&mut self) -> Result<(), Failure> {
        if let Some(group) = &mut self.group {
            self.bytes = self.writer.write(group, self.records)?;
        }
        if self.sync { self.writer.sync() } else { Ok(()) }
    }
}

impl<F: Framer> State<F> {
    pub(super) fn new(framer: F, writer: F::Writer) -> Self {
        let tail = framer.tail();
        Self {
            framer,
            writer: Some(writer),
            records: 0,
            wanted_records: u64::MAX,
            gatherings: 0,
            last_group: Group::default(),
            written: tail,
            durable: tail,
            sync_due: false,
            leading: false,
            waiters: Waiters::default(),
            failed: Vec::new(),
            unreported: None,
            poison: Poison::default(),
            stage: Stage::Open,
            metrics: Metrics::default(),
        }
    }

    pub(super) fn check_stage(&self, stage: Stage, dir: &Path) -> Result<()> {
        if self.stage == stage { Ok(()) } else { Err(Error::new(ErrorKind::Closed).at_path(dir)) }
    }

    /// Checks that the log is at this stage and intact.
    pub(super) fn check(&self, stage: Stage, dir: &Path) -> Result<()> {
        self.check_stage(stage, dir)?;
        self.poison.check()
    }

    /// A thread leads, and no other may.
    pub(super) fn is_led(&self) -> bool {
        self.leading && !self.is_gathered()
    }

    /// All followers that a leader waits for have arrived.
    pub(super) fn is_gathered(&self) -> bool {
        self.records >= self.wanted_records
    }

    pub(super) fn end_gathering(&mut self) {
        self.wanted_records = u64::MAX;
        self.gatherings += 1;
    }

    /// Up to where records are durable, or written if callers wait only for that. After a failure, nothing
    /// written since the last sync counts.
    pub(super) fn done(&self, sync: bool) -> Position {
        if sync || self.poison.is_set() { self.durable } else { self.written }
    }

    pub(super) fn push(&mut self, item: F::Item<'_>) -> Position {
        let bytes = self.framer.push(item, self.durable);
        self.records += 1;
        self.metrics.appends += 1;
        self.metrics.append_bytes += bytes as u64;
        self.framer.tail()
    }

    /// Takes the pending group and the writer.
    pub(super) fn begin_turn(&mut self, sync: bool) -> Turn<F> {
        let end = self.framer.tail();
        self.waiters.begin(end);
        Turn {
            writer: self.writer.take().expect("the log has not ended and no thread leads"),
            group: (self.framer.waiting() > 0).then(|| self.framer.take()),
            records: std::mem::take(&mut self.records),
            bytes: 0,
            end,
            sync: std::mem::take(&mut self.sync_due) || sync,
        }
    }

    /// Accounts for a group and takes the writer back.
    pub(super) fn end_turn(&mut self, turn: Turn<F>, done: Result<(), Failure>) -> Result<()> {
        let Turn { writer, group, records, bytes, end, sync } = turn;
        self.last_group = Group { records, bytes, sync: writer.counts().last_sync };
        self.metrics.group(records, bytes);
        if let Some(group) = group {
            self.framer.give_back(group, &writer);
        }
        self.metrics.writer(writer.counts());
        self.writer = Some(writer);
        if let Err(Failure::Passing(error)) = &done {
            self.take_back(error);
        }
        self.stop_if_broken(done)?;
        self.written = end;
        if sync {
            self.durable = end;
        }
        Ok(())
    }

    /// Passes both halves to `change` while no thread leads.
    pub(super) fn with_halves<R>(
        &mut self,
        change: impl FnOnce(&mut F, &mut F::Writer) -> Result<R, Failure>,
    ) -> Result<R> {
        let writer = self.writer.as_mut().expect("the log has not ended and no thread leads");
        let done = change(&mut self.framer, writer);
        self.metrics.writer(writer.counts());
        self.stop_if_broken(done)
    }

    pub(super) fn stop_if_broken<R>(&mut self, done: Result<R, Failure>) -> Result<R> {
        done.map_err(|failure| match failure {
            Failure::Passing(error) => error,
            Failure::Broken(error) => {
                self.poison.set(&error);
                error
            }
        })
    }

    /// Why the record at `at` is not in the log. Otherwise [`ErrorKind::Earlier`], if an earlier record
    /// failed and no caller got its error yet: the thread that appended it may wait for a later one, or not
    /// at all.
    pub(super) fn failure_of(&mut self, at: Position) -> Option<Error> {
        let failed = self.failed.iter().rev().find(|(from, to, _)| *from < at && at <= *to);
        let failed = failed.map(|(.., error)| error.clone());
        let unreported = self.unreported.take_if(|(last, _)| *last <= at);
        failed.or(unreported.map(|(_, error)| Error::new(ErrorKind::Earlier(Arc::new(error)))))
    }

    /// The group being written, and everything appended since, is not in the log.
    fn take_back(&mut self, error: &Error) {
        let (from, to) = (self.written, self.framer.tail());
        self.records = 0;
        self.unreported = Some((to, error.clone()));
        match self.failed.last_mut() {
            // Consecutive failures form one range, however long the disk stays full.
            Some(last) if last.0 == from => (last.1, last.2) = (to, error.clone()),
            _ => self.failed.push((from, to, error.clone())),
        }
        if let Err(error) = self.framer.take_back() {
            self.poison.set(&error);
        }
    }
}
