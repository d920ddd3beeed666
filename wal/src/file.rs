//! `FileLog`: the segments of InfluxDB 1.x, written with one call and synced with one fdatasync a group.

use std::io;
use std::path::Path;

use crate::fs::{Fs, FsFile, OsFs};
use crate::group::{Groups, Sink};
use crate::{Durable, Log, LogOptions, Position, Record, Recovery, Result};

/// A log in segments that InfluxDB 1.x reads and that hold what InfluxDB 1.x wrote; see [`segment`](crate::segment).
///
/// A segment is allocated whole before it is used: a sync then need not commit a new file length, which is most of
/// its cost. What was not used is cut off when the segment ends.
#[derive(Debug)]
pub struct FileLog<F: Fs = OsFs> {
    groups: Groups<FileSink<F>>,
}

impl<F: Fs> Log for FileLog<F> {
    type Fs = F;

    fn open(
        fs: F,
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

/// The open segment.
#[derive(Debug)]
pub(crate) struct FileSink<F: Fs> {
    file: F::File,
}

impl<F: Fs> Sink for FileSink<F> {
    type Fs = F;

    fn begin(file: F::File, capacity: u32, head: &[u8]) -> io::Result<Self> {
        file.allocate(capacity.into())?;
        file.write_all_at(head, 0)?;
        file.sync_all()?;
        Ok(Self { file })
    }

    fn write(&mut self, bytes: &[u8], at: u32) -> io::Result<()> {
        self.file.write_all_at(bytes, at.into())
    }

    fn sync(&mut self, _: u32, _: u32) -> io::Result<()> {
        self.file.sync_data()
    }

    fn end(self, len: u32) -> io::Result<F::File> {
        self.file.set_len(len.into())?;
        Ok(self.file)
    }
}
