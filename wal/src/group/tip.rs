//! The segment that is written to, and how one follows the other. All of it is the leader's, without the lock.

use std::io;
use std::sync::Arc;

use super::{Goal, MARK, Shared, parts};
use crate::fs::{Fs, FsFile};
use crate::segment::{MARK_BYTES, Mark, file_name};
use crate::{Error, ErrorKind, Position, Result};

/// The open segment: where groups go. Nothing is written beyond its capacity.
pub(crate) trait Sink: std::fmt::Debug + Send + Sized + 'static {
    /// Where its files live.
    type Fs: Fs;
    /// Takes an empty file: reserves `capacity`, writes `head` at its beginning, and makes both durable.
    fn begin(file: <Self::Fs as Fs>::File, capacity: u32, head: &[u8]) -> io::Result<Self>;
    fn write(&mut self, bytes: &[u8], at: u32) -> io::Result<()>;
    /// Makes what was written from `from` to `to` durable.
    fn sync(&mut self, from: u32, to: u32) -> io::Result<()>;
    /// Gives unused space back. Not durable by itself.
    fn end(self, len: u32) -> io::Result<<Self::Fs as Fs>::File>;
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Tip<S> {
    sink: S,
    pub(super) number: u32,
    /// What was reserved: nothing is written beyond.
    pub(super) capacity: u32,
    end: u32,
    durable: u32,
}

pub(super) enum Failure {
    /// The group was taken back and the log is in order.
    Full(Error),
    /// Nobody knows what is on disk.
    Broken(Error),
}

impl<S: Sink> Shared<S> {
    /// The leader's part, without the lock.
    pub(super) fn work(
        &self,
        tip: &mut Option<Tip<S>>,
        group: &mut [u8],
        start: Position,
        goal: Goal,
    ) -> Result<(), Failure> {
        if !group.is_empty() {
            let (number, at) = parts(start);
            if tip.as_ref().is_none_or(|tip| tip.number != number) {
                self.end(tip.take())?;
                *tip = Some(self.begin(number, at + group.len() as u32 + MARK)?);
            }
            if let Some(open) = tip
                && let Err(error) = open.write(group, at)
            {
                let error = self.address(number, Error::io("write", error).at_offset(at.into()));
                return Err(self.take_back(tip.take(), error));
            }
        }
        match (goal, tip) {
            (Goal::EndSegment, tip) => self.end(tip.take()),
            (Goal::Sync, Some(tip)) => self.sync_tip(tip),
            _ => Ok(()),
        }
    }

    fn sync_tip(&self, tip: &mut Tip<S>) -> Result<(), Failure> {
        if tip.durable < tip.end {
            let done = tip.sink.sync(tip.durable, tip.end);
            // Not even "no space" can be retried here: the kernel may have dropped the pages it could not write.
            done.map_err(|error| {
                Failure::Broken(
                    self.address(tip.number, Error::new(sync_failed(error)).at_offset(tip.durable.into())),
                )
            })?;
            tip.durable = tip.end;
        }
        Ok(())
    }

    /// Ends a segment: durable before the next one may be begun.
    fn end(&self, tip: Option<Tip<S>>) -> Result<(), Failure> {
        let Some(mut tip) = tip else { return Ok(()) };
        self.sync_tip(&mut tip)?;
        let (number, at) = (tip.number, tip.end);
        let fail = |error| Failure::Broken(self.address(number, error));
        // Without it nothing would prove the last group durable, and damage there would pass for a torn tail.
        let mark = Mark::encode(number, at, at, &[]);
        let end = match tip.store(&mark, at) {
            Ok(()) => at + MARK,
            // When the disk is full: all records are durable already, the segment is whole without it.
            Err(error) => {
                let error = Error::io("write", error).at_offset(at.into());
                if !error.is_full() {
                    return Err(fail(error));
                }
                at
            }
        };
        let file = tip.sink.end(end).map_err(|error| fail(Error::io("cut", error)))?;
        file.sync_all().map_err(|error| fail(Error::new(sync_failed(error))))
    }

    /// Begins segment `number`, which is to take a group and the mark after it up to `needed`.
    fn begin(&self, number: u32, needed: u32) -> Result<Tip<S>, Failure> {
        let sorted =
            |error: Error| if error.is_full() { Failure::Full(error) } else { Failure::Broken(error) };
        self.vacant(number).map_err(sorted)?;
        let begun = self.try_begin(number, needed);
        begun.map_err(|error| {
            // Nothing was acknowledged in it; left behind, it would be an empty segment.
            drop(self.fs.remove(&self.dir.join(file_name(number))));
            sorted(error)
        })
    }

    /// Refuses a segment that holds something: no log of ours comes to that, and its records are somebody's.
    fn vacant(&self, number: u32) -> Result<()> {
        let taken = match self.fs.open(&self.dir.join(file_name(number))) {
            Ok(file) => file.is_empty().map(|empty| !empty),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        match taken {
            Ok(false) => Ok(()),
            Ok(true) => {
                let taken = io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "the file holds something already; is the directory written by another log?",
                );
                Err(self.address(number, Error::io("begin", taken)))
            }
            Err(error) => Err(self.address(number, Error::io("open", error))),
        }
    }

    fn try_begin(&self, number: u32, needed: u32) -> Result<Tip<S>> {
        // The empty next segment, durable before this one has any content: see `segment`.
        for number in [Some(number), number.checked_add(1)].into_iter().flatten() {
            match self.fs.create_new(&self.dir.join(file_name(number))) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(self.address(number, Error::io("create", error)));
                }
                _ => {}
            }
        }
        self.sync_dir()?;
        let path = self.dir.join(file_name(number));
        let head = Mark::encode(number, 0, 0, &[]);
        let mut capacity = self.segment_bytes.max(needed);
        loop {
            let file = self.fs.open(&path).map_err(|error| self.address(number, Error::io("open", error)))?;
            match S::begin(file, capacity, &head) {
                Ok(sink) => return Ok(Tip { sink, number, capacity, end: MARK, durable: MARK }),
                Err(error) => {
                    let error = self.address(number, Error::io("allocate", error));
                    if !error.is_full() || capacity == needed {
                        return Err(error);
                    }
                    // On a nearly full disk a shorter segment is better than none.
                    capacity = (capacity / 8).max(needed);
                    let file = self.fs.open(&path).and_then(|file| file.set_len(0));
                    file.map_err(|error| self.address(number, Error::io("cut", error)))?;
                }
            }
        }
    }

    /// After a failed write: the segment ends after its last whole group, durably, or the log is broken.
    fn take_back(&self, tip: Option<Tip<S>>, error: Error) -> Failure {
        let Some(tip) = tip else { return Failure::Broken(error) };
        if !error.is_full() {
            return Failure::Broken(error);
        }
        let (number, end) = (tip.number, tip.end);
        match tip.sink.end(end).and_then(|file| file.sync_all()) {
            Ok(()) => Failure::Full(error),
            Err(error) => Failure::Broken(self.address(number, Error::new(sync_failed(error)))),
        }
    }

    pub(super) fn sync_dir(&self) -> Result<()> {
        let done = self.fs.sync_dir(&self.dir);
        done.map_err(|error| Error::new(sync_failed(error)).at_path(&self.dir))
    }

    fn address(&self, number: u32, error: Error) -> Error {
        error.at_path(&self.dir.join(file_name(number)))
    }
}

/// A failed sync is never "retry later", whatever its code.
fn sync_failed(error: io::Error) -> ErrorKind {
    ErrorKind::Io { operation: "sync", source: Arc::new(error) }
}

impl<S: Sink> Tip<S> {
    pub(super) fn is_durable(&self) -> bool {
        self.durable == self.end
    }

    fn write(&mut self, group: &mut [u8], at: u32) -> io::Result<()> {
        let (mark, frames) = group.split_at_mut(MARK_BYTES);
        mark.copy_from_slice(&Mark::encode(self.number, at, self.durable, frames));
        self.store(group, at)?;
        self.end = at + group.len() as u32;
        Ok(())
    }

    fn store(&mut self, bytes: &[u8], at: u32) -> io::Result<()> {
        // A group may have formed before it was known how short the segment is.
        if u64::from(at) + bytes.len() as u64 > self.capacity.into() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.sink.write(bytes, at)
    }
}
