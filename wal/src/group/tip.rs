//! The segment that is written to, and how one follows the other. All of it is the leader's, without the lock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Goal, Shared, parts};
use crate::error::is_passing;
use crate::fs::{Fs, FsFile};
use crate::kind::{Format, Link};
use crate::{Error, ErrorKind, Position, Result, recover};

/// The open segment: where groups go. Nothing is written beyond its capacity.
pub trait Sink: std::fmt::Debug + Send + Sized + 'static {
    /// Where its files live.
    type Fs: Fs;
    /// Takes an empty file, or one of an earlier segment: reserves `capacity` if `ahead` is true or it has to, writes
    /// `head` at its beginning, and makes both durable. The head of an empty file is durable before the file grows: what a
    /// power cut leaves of a growth may be junk, and without a head that could not be told from records.
    fn begin(file: <Self::Fs as Fs>::File, capacity: u32, ahead: bool, head: &[u8]) -> io::Result<Self>;
    /// Stores a group, or what ends the segment, within the capacity.
    fn write(&mut self, bytes: &[u8], at: u32) -> io::Result<()>;
    /// Makes what was written from `from` to `to` durable.
    fn sync(&mut self, from: u32, to: u32) -> io::Result<()>;
    /// Gives unused space back. Not durable by itself.
    fn end(self, len: u32) -> io::Result<<Self::Fs as Fs>::File>;
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Tip<S, T> {
    sink: S,
    format: T,
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

/// What a leader did, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) syncs: Vec<Duration>,
    pub(crate) segments: u64,
}

impl<S: Sink, T: Format> Shared<S, T> {
    /// The leader's part, without the lock. The group's parts after its first begin at `parts_at`. `first` is the number of the group's first record.
    pub(super) fn work(
        &self,
        tip: &mut Option<Tip<S, T>>,
        (group, parts_at): (&mut [u8], &[usize]),
        start: Position,
        first: u64,
        goal: Goal,
        done: &mut Done,
    ) -> Result<(), Failure> {
        let (number, at) = parts(start);
        if let Goal::Begin(needed) = goal {
            self.end(tip.take(), done)?;
            *tip = Some(self.begin(number, first, needed)?);
            done.segments += 1;
            return Ok(());
        }
        if !group.is_empty() {
            if tip.as_ref().is_none_or(|tip| tip.number != number) {
                self.end(tip.take(), done)?;
                *tip = Some(self.begin(number, first, at + group.len() as u32 + T::END_BYTES)?);
                done.segments += 1;
            }
            if let Some(open) = tip
                && let Err(error) = open.write(group, parts_at, at)
            {
                let error = self.address(number, Error::io("write", error).at_offset(at.into()));
                return Err(self.take_back(tip.take(), error));
            }
            self.held.store(number, Ordering::Relaxed);
        }
        match (goal, tip) {
            (Goal::EndSegment, tip) => self.end(tip.take(), done),
            (Goal::Sync, Some(tip)) => self.sync_tip(tip, done),
            _ => Ok(()),
        }
    }

    fn sync_tip(&self, tip: &mut Tip<S, T>, done: &mut Done) -> Result<(), Failure> {
        if tip.durable < tip.end {
            let begun = Instant::now();
            let synced = tip.sink.sync(tip.durable, tip.end);
            done.syncs.push(begun.elapsed());
            // Not even "no space" can be retried here: the kernel may have dropped the pages it could not write.
            synced.map_err(|error| {
                Failure::Broken(
                    self.address(tip.number, Error::new(sync_failed(error)).at_offset(tip.durable.into())),
                )
            })?;
            tip.durable = tip.end;
        }
        Ok(())
    }

    /// Ends a segment: durable before the next one may be begun.
    fn end(&self, tip: Option<Tip<S, T>>, done: &mut Done) -> Result<(), Failure> {
        let Some(mut tip) = tip else { return Ok(()) };
        self.sync_tip(&mut tip, done)?;
        let (number, at) = (tip.number, tip.end);
        let fail = |error| Failure::Broken(self.address(number, error));
        let last = tip.format.end(at);
        let end = match tip.store(&last, at) {
            Ok(()) => at + last.len() as u32,
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

    /// Begins segment `number` with record `first`; it is to take a group and the end after it up to `needed`.
    fn begin(&self, number: u32, first: u64, needed: u32) -> Result<Tip<S, T>, Failure> {
        // Nothing was written to it yet that anybody waits for.
        let sorted =
            |error: Error| if is_passing(&error) { Failure::Full(error) } else { Failure::Broken(error) };
        recover::vacant(&self.fs, &self.dir.join(T::file_name(number))).map_err(sorted)?;
        let (path, front) = self.place(number).map_err(sorted)?;
        let link = Link { first, front, before: self.held.load(Ordering::Relaxed) };
        let begun = self.try_begin(&path, T::begin(number, link), number, needed).and_then(|tip| {
            self.publish(&path, number)?;
            Ok(tip)
        });
        begun.map_err(|error| {
            if T::RECYCLED {
                self.give_back(path);
            } else {
                // Nothing was acknowledged in it; left behind, it would be an empty segment.
                drop(self.fs.remove(&path));
            }
            sorted(error)
        })
    }

    /// A file for segment `number`, under its name or, when it is recycled, under another; and the first record that was
    /// not forgotten.
    fn place(&self, number: u32) -> Result<(PathBuf, u64)> {
        if T::RECYCLED {
            return self.spare();
        }
        let create = |path: PathBuf| match self.fs.create_new(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io("create", error).at_path(&path))
            }
            _ => Ok(path),
        };
        let path = create(self.dir.join(T::file_name(number)))?;
        if let (true, Some(next)) = (T::GUARDED, number.checked_add(1)) {
            // The empty next segment, durable before this one has any content: see `segment`.
            create(self.dir.join(T::file_name(next)))?;
        }
        self.sync_dir()?;
        Ok((path, 0))
    }

    /// Gives a segment that begins in the space of another its name: only now, with a head of its own.
    fn publish(&self, path: &Path, number: u32) -> Result<()> {
        if !T::RECYCLED {
            return Ok(());
        }
        let name = self.dir.join(T::file_name(number));
        self.fs.rename(path, &name).map_err(|error| Error::io("rename", error).at_path(path))?;
        self.sync_dir().inspect_err(|_| {
            // Under its name it would be somebody else's for who begins the segment once more.
            drop(self.fs.rename(&name, path));
            self.unsettle();
        })
    }

    fn try_begin(&self, path: &Path, format: T, number: u32, needed: u32) -> Result<Tip<S, T>> {
        let head = format.head();
        let mut capacity = self.segment_bytes.max(needed);
        loop {
            let file = self.fs.open(path).map_err(|error| Error::io("open", error).at_path(path))?;
            match S::begin(file, capacity, self.preallocate, &head) {
                Ok(sink) => {
                    let (end, durable) = (T::HEAD_BYTES, T::HEAD_BYTES);
                    return Ok(Tip { sink, format, number, capacity, end, durable });
                }
                Err(error) => {
                    let error = Error::io("allocate", error).at_path(path);
                    if error.is_full() && self.release_spares() {
                        continue;
                    }
                    if !error.is_full() || capacity == needed {
                        return Err(error);
                    }
                    // On a nearly full disk a shorter segment is better than none.
                    capacity = (capacity / 8).max(needed);
                    let file = self.fs.open(path).and_then(|file| file.set_len(0));
                    file.map_err(|error| Error::io("cut", error).at_path(path))?;
                }
            }
        }
    }

    /// After a failed write: the segment ends after its last whole group, durably, or the log is broken.
    fn take_back(&self, tip: Option<Tip<S, T>>, error: Error) -> Failure {
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
        error.at_path(&self.dir.join(T::file_name(number)))
    }
}

/// A failed sync is never "retry later", whatever its code.
fn sync_failed(error: io::Error) -> ErrorKind {
    ErrorKind::Io { operation: "sync", source: Arc::new(error) }
}

impl<S: Sink, T: Format> Tip<S, T> {
    /// No group was written to it.
    pub(super) fn is_empty(&self) -> bool {
        self.end == T::HEAD_BYTES
    }

    pub(super) fn is_durable(&self) -> bool {
        self.durable == self.end
    }

    fn write(&mut self, group: &mut [u8], parts_at: &[usize], at: u32) -> io::Result<()> {
        let mut unsealed = &mut *group;
        for &begin in parts_at.iter().rev() {
            let (before, part) = unsealed.split_at_mut(begin);
            self.format.seal(at + begin as u32, self.durable, part);
            unsealed = before;
        }
        self.format.seal(at, self.durable, unsealed);
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
