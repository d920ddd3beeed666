//! The active segment, to which groups are written.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;

use crate::error::AtPath;
use crate::fs::{Fs, FsFile};
use crate::kind::Format;
use crate::{Error, Position, Result};

/// How the file of the active segment is written. No write goes beyond its capacity.
pub(crate) trait SegmentFile: Debug + Send + Sized + 'static {
    /// Its file system.
    type Fs: Fs;
    /// Takes an empty file, or one of an earlier segment. Allocates `capacity` if `ahead` is true or the file
    /// type requires it, writes `head` at the beginning, and makes both durable. In an empty file, `head` is
    /// durable before the file grows: after a power cut, an extended region can contain junk, and junk
    /// without a head would look like records.
    fn begin(file: <Self::Fs as Fs>::File, capacity: u32, ahead: bool, head: &[u8]) -> io::Result<Self>;
    /// Writes a group, or the end of the segment, within the capacity.
    fn write(&mut self, bytes: &[u8], at: u32) -> io::Result<()>;
    /// Makes the bytes from `from` to `to` durable.
    fn sync(&mut self, from: u32, to: u32) -> io::Result<()>;
    /// Releases unused space. Not durable by itself.
    fn end(self, len: u32) -> io::Result<<Self::Fs as Fs>::File>;
}

/// Frames to be written to a segment.
#[derive(Debug)]
pub(crate) struct SegmentGroup {
    pub(super) bytes: Vec<u8>,
    pub(super) parts_at: Vec<usize>,
    pub(super) start: Position,
}

#[derive(Debug)]
pub(super) struct Active<S, T> {
    file: S,
    format: T,
    pub(super) number: u32,
    path: PathBuf,
    end: u32,
    durable: u32,
}

impl<S: SegmentFile, T: Format> Active<S, T> {
    pub(super) fn new(file: S, format: T, number: u32, path: PathBuf) -> Self {
        Self { file, format, number, path, end: T::HEAD_BYTES, durable: T::HEAD_BYTES }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.durable == self.end
    }

    /// Seals a group and writes it at `at`.
    pub(super) fn write(&mut self, group: &mut SegmentGroup, at: u32) -> Result<()> {
        let mut unsealed = &mut group.bytes[..];
        for &begin in group.parts_at.iter().rev() {
            let (before, part) = unsealed.split_at_mut(begin);
            self.format.seal(at + begin as u32, self.durable, part);
            unsealed = before;
        }
        self.format.seal(at, self.durable, unsealed);
        self.store(&group.bytes, at)
    }

    /// Writes the end of the segment, whose records are durable.
    pub(super) fn finish(&mut self) -> Result<()> {
        let last = self.format.end(self.end);
        match self.store(&last, self.end) {
            // All records are durable already, so the segment is complete without its end on a full disk.
            Err(error) if !error.is_full() => Err(error),
            _ => Ok(()),
        }
    }

    fn store(&mut self, bytes: &[u8], at: u32) -> Result<()> {
        let stored = self.file.write(bytes, at);
        stored.at("write", &self.path).map_err(|error| error.at_offset(at.into()))?;
        self.end = at + bytes.len() as u32;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        // Not even a full disk can be retried here: the kernel may have dropped the pages it could not write.
        let synced = self.file.sync(self.durable, self.end);
        synced.map_err(|error| {
            Error::broken("sync", error).at_path(&self.path).at_offset(self.durable.into())
        })?;
        self.durable = self.end;
        Ok(())
    }

    /// Cuts the file to its written length, durably.
    pub(super) fn close(self) -> Result<()> {
        let broken = |operation, error| Error::broken(operation, error).at_path(&self.path);
        let file = self.file.end(self.end).map_err(|error| broken("cut", error))?;
        file.sync_all().map_err(|error| broken("sync", error))
    }
}
