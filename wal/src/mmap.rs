//! `MappedFile`: writes a segment through a memory map.

#[expect(unsafe_code, reason = "the only unsafe of this crate: stores into a file map")]
mod map;

use std::fmt::Debug;
use std::io;

use crate::fs::{Fs, FsFile, FsMap};
use crate::segment::Influx;
use crate::segment_log::{SegmentFile, segment_log};

pub(crate) use map::SegmentMap;

segment_log! {
    /// A log that writes through a memory map; `msync` makes its records durable. Without syncs, a record costs
    /// no system call. With one sync per group, this log is no faster than [`FileLog`](crate::FileLog).
    ///
    /// The bytes on disk are the same, so each of the two logs opens what the other wrote. A segment's space is
    /// allocated and synced before it is mapped, so a full disk is an error and not a signal. This requires a
    /// file system that writes in place. On a copy-on-write file system such as btrfs, allocated space can still
    /// run out, and then a store into the map terminates the process.
    MmapLog: MappedFile, Influx
}

/// The active segment and its map.
#[derive(Debug)]
pub(crate) struct MappedFile<F: Fs> {
    file: F::File,
    map: Box<dyn FsMap>,
}

impl<F: Fs> SegmentFile for MappedFile<F> {
    type Fs = F;

    fn begin(file: F::File, capacity: u32, _: bool, head: &[u8]) -> io::Result<Self> {
        file.write_all_at(head, 0)?;
        file.sync_all()?;
        file.allocate(0..capacity.into())?;
        file.sync_all()?;
        let map = file.map()?;
        Ok(Self { file, map })
    }

    fn write(&mut self, bytes: &[u8], at: u32) -> io::Result<()> {
        self.map.store(bytes, at as usize);
        Ok(())
    }

    fn sync(&mut self, from: u32, to: u32) -> io::Result<()> {
        self.map.sync(from as usize..to as usize)
    }

    fn end(self, len: u32) -> io::Result<F::File> {
        // The map must go first: touching a mapped page beyond the end of its file raises a signal.
        drop(self.map);
        self.file.set_len(len.into())?;
        Ok(self.file)
    }
}
