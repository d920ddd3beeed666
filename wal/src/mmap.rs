//! `MmapLog`: the same segments, stored through a file map.

#[expect(unsafe_code, reason = "the only unsafe of this crate: stores into a file map")]
mod map;

use std::io;
use std::path::Path;

use crate::fs::{FsFile, OsFile, OsFs};
use crate::group::{Groups, Sink};
use crate::{Durable, Log, LogOptions, Position, Record, Recovery, Result};

use map::SegmentMap;

/// A log whose writes are stores into memory; `msync` makes them durable. Without syncs it costs no system call for a
/// record; with one for each group it is no faster than [`FileLog`](crate::FileLog).
///
/// The bytes on disk are the same: either log opens what the other wrote. The space of a segment is allocated and
/// synced before it is mapped, so that a full disk is an error and not a signal.
#[derive(Debug)]
pub struct MmapLog {
    groups: Groups<MapSink>,
}

impl Log for MmapLog {
    type Fs = OsFs;

    fn open(
        fs: OsFs,
        dir: &Path,
        options: LogOptions,
        replay: impl FnMut(Position, Record<'_>) -> Result<()>,
    ) -> Result<(Self, Recovery)> {
        let (groups, recovery) = Groups::open(fs, dir, options, replay)?;
        Ok((Self { groups }, recovery))
    }

    fn append(&self, record: Record<'_>) -> Result<Position> {
        self.groups.append(record)
    }

    fn sync(&self, at: Position) -> Result<Durable> {
        self.groups.sync(at)
    }

    fn cut(&self) -> Result<Position> {
        self.groups.cut()
    }

    fn truncate_front(&self, before: Position) -> Result<()> {
        self.groups.truncate_front(before)
    }

    fn close(&self) -> Result<()> {
        self.groups.close()
    }
}

/// The open segment and its map.
#[derive(Debug)]
struct MapSink {
    file: OsFile,
    map: SegmentMap,
}

impl Sink for MapSink {
    type Fs = OsFs;

    fn begin(file: OsFile, capacity: u32, head: &[u8]) -> io::Result<Self> {
        file.allocate(capacity.into())?;
        file.write_all_at(head, 0)?;
        file.sync_all()?;
        let map = SegmentMap::new(file.inner())?;
        Ok(Self { file, map })
    }

    fn write(&mut self, bytes: &[u8], at: u32) -> io::Result<()> {
        self.map.store(bytes, at as usize);
        Ok(())
    }

    fn sync(&mut self, from: u32, to: u32) -> io::Result<()> {
        self.map.sync(from as usize..to as usize)
    }

    fn end(self, len: u32) -> io::Result<OsFile> {
        // A page that is mapped beyond the end of its file raises a signal when it is touched.
        drop(self.map);
        self.file.set_len(len.into())?;
        Ok(self.file)
    }
}
