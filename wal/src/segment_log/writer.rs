//! The writing half of a segment log: the active segment, and how the log rolls to the next.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::active::{Active, SegmentFile, SegmentGroup};
use super::recycler::Recycler;
use crate::commit::{Failure, Writer};
use crate::directory;
use crate::error::{AtPath, is_full};
use crate::fs::Fs;
use crate::kind::{Format, Link, parts};
use crate::metrics::Counts;
use crate::{Error, LogOptions, Result};

#[derive(Debug)]
pub(crate) struct SegmentWriter<S: SegmentFile, T: Format> {
    recycler: Arc<Recycler<S::Fs, T>>,
    segment_bytes: u32,
    preallocate: bool,
    pub(super) active: Option<Active<S, T>>,
    /// The number of the next segment, if none is active. No file has this or a later number.
    next: u32,
    /// The last segment with records.
    held: u32,
    /// The number of the next record.
    pub(super) next_record: u64,
    counts: Counts,
}

impl<S: SegmentFile, T: Format> SegmentWriter<S, T> {
    /// Starts with record `next_record` in segment `next`. `held` is the last earlier segment with records.
    pub(super) fn new(
        recycler: Arc<Recycler<S::Fs, T>>,
        options: &LogOptions,
        (next, held, next_record): (u32, u32, u64),
    ) -> Self {
        Self {
            recycler,
            segment_bytes: options.segment_bytes,
            preallocate: options.preallocate,
            active: None,
            next,
            held,
            next_record,
            counts: Counts::default(),
        }
    }

    /// Segments from this number on must not be removed.
    pub(super) fn open_from(&self) -> u32 {
        self.active.as_ref().map_or(self.next, |active| active.number)
    }

    /// Ends the active segment, if there is one. It is durable before the next one may be begun.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        self.sync()?;
        let Some(mut active) = self.active.take() else { return Ok(()) };
        self.next = active.number.saturating_add(1);
        active.finish().and_then(|()| active.close()).map_err(Failure::Broken)
    }

    /// Begins segment `number` in place of the active one. It must have space for a group and the segment end
    /// up to `needed`.
    pub(super) fn begin(&mut self, number: u32, needed: u32) -> Result<(), Failure> {
        self.end()?;
        self.active = Some(self.try_begin(number, needed).map_err(Failure::of)?);
        self.counts.segments += 1;
        Ok(())
    }

    fn try_begin(&self, number: u32, needed: u32) -> Result<Active<S, T>> {
        directory::refuse_occupied(&self.recycler.fs, &self.recycler.path(number))?;
        let (path, front) = self.create(number)?;
        let link = Link { first: self.next_record, front, before: self.held };
        let format = T::begin(number, link);
        let begun = self.allocate(&path, format, number, needed).and_then(|active| {
            self.publish(&path, number)?;
            Ok(active)
        });
        begun.inspect_err(|_| {
            if T::RECYCLED {
                self.recycler.give_back(path);
            } else {
                // Nothing was acknowledged in it. If it remained, it would be an empty segment.
                drop(self.recycler.fs.remove(&path));
            }
        })
    }

    /// A file for segment `number`: under its own name, or a recycled file under its recycled name. Also the
    /// first retained record.
    fn create(&self, number: u32) -> Result<(PathBuf, u64)> {
        if T::RECYCLED {
            return self.recycler.take();
        }
        let path = self.recycler.create(self.recycler.path(number))?;
        if let (true, Some(next)) = (T::GUARDED, number.checked_add(1)) {
            // The empty next segment, durable before this one holds any record: see `segment`.
            self.recycler.create(self.recycler.path(next))?;
        }
        self.recycler.sync_dir()?;
        Ok((path, 0))
    }

    /// Renames a recycled file to its segment name. Its own head is durable by now.
    fn publish(&self, path: &Path, number: u32) -> Result<()> {
        if !T::RECYCLED {
            return Ok(());
        }
        let Recycler { fs, .. } = &*self.recycler;
        let name = self.recycler.path(number);
        fs.rename(path, &name).at("rename", path)?;
        self.recycler.sync_dir().inspect_err(|_| {
            // Otherwise the next attempt would find the name taken and refuse it.
            drop(fs.rename(&name, path));
            self.recycler.doubt_name();
        })
    }

    fn allocate(&self, path: &Path, format: T, number: u32, needed: u32) -> Result<Active<S, T>> {
        let (head, capacity) = (format.head(), self.segment_bytes.max(needed));
        loop {
            let file = self.recycler.fs.open(path).at("open", path)?;
            match S::begin(file, capacity, self.preallocate, &head) {
                Ok(file) => return Ok(Active::new(file, format, number, self.recycler.path(number))),
                Err(error) if is_full(&error) && self.recycler.release_space() => {}
                Err(error) => return Err(Error::io("allocate", error).at_path(path)),
            }
        }
    }

    /// After a failed write, ends the segment durably after its last complete group. If that fails too, the
    /// log is broken.
    fn take_back(&mut self, error: Error) -> Failure {
        let Some(active) = self.active.take().filter(|_| error.is_full()) else {
            return Failure::Broken(error);
        };
        self.next = active.number.saturating_add(1);
        match active.close() {
            Ok(()) => Failure::Passing(error),
            Err(error) => Failure::Broken(error),
        }
    }
}

impl<S: SegmentFile, T: Format> Writer<SegmentGroup> for SegmentWriter<S, T> {
    fn write(&mut self, group: &mut SegmentGroup, records: u64) -> Result<u64, Failure> {
        let (number, at) = parts(group.start);
        let len = group.bytes.len();
        if self.active.as_ref().is_none_or(|active| active.number != number) {
            self.begin(number, at + len as u32 + T::END_BYTES)?;
        }
        if let Some(active) = &mut self.active
            && let Err(error) = active.write(group, at)
        {
            return Err(self.take_back(error));
        }
        self.held = number;
        self.next_record = self.next_record.saturating_add(records);
        Ok(len as u64)
    }

    fn sync(&mut self) -> Result<(), Failure> {
        let Some(active) = self.active.as_mut().filter(|active| !active.is_durable()) else { return Ok(()) };
        let begun = Instant::now();
        let synced = active.sync();
        self.counts.synced(begun);
        synced.map_err(Failure::Broken)
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }
}
