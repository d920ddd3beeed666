//! `MappedFile`: a segment is stored through a file map.

#[expect(unsafe_code, reason = "the only unsafe of this crate: stores into a file map")]
mod map;

use std::fmt::Debug;
use std::io;

use crate::fs::{Fs, FsFile, FsMap, OsFs};
use crate::segment::Influx;
use crate::segment_log::{SegmentFile, SegmentLog};

pub(crate) use map::SegmentMap;

/// A log whose writes are stores into memory; `msync` makes them durable. Without syncs it costs no system call for a
/// record; with one for each group it is no faster than [`FileLog`](crate::FileLog).
///
/// The bytes on disk are the same: either log opens what the other wrote. The space of a segment is allocated and
/// synced before it is mapped, so that a full disk is an error and not a signal.
/// That takes a file system that writes in place: on one that copies on write, as btrfs does, allocated space can run out
/// all the same, and a store into the map then ends the process.
pub type MmapLog<F = OsFs> = SegmentLog<MappedFile<F>, Influx>;

/// The open segment and its map.
#[derive(Debug)]
pub struct MappedFile<F: Fs> {
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
        // A page that is mapped beyond the end of its file raises a signal when it is touched.
        drop(self.map);
        self.file.set_len(len.into())?;
        Ok(self.file)
    }
}
