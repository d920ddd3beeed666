//! `PlainFile`: a segment is written with one call and synced with one fdatasync a group.

use std::fmt::Debug;
use std::io;

use crate::fs::{Fs, FsFile, OsFs};
use crate::native::Native;
use crate::segment::Influx;
use crate::segment_log::{SegmentFile, SegmentLog};

/// A log in segments that InfluxDB 1.x reads and that hold what InfluxDB 1.x wrote; see [`segment`](crate::segment).
///
/// A segment is allocated whole before it is used: a sync then need not commit a new file length, which is most of
/// its cost. What was not used is cut off when the segment ends. [`LogOptions::preallocate`](crate::LogOptions) says
/// otherwise.
///
/// [`append_write`](crate::Log::append_write) compresses entries without making them first. For series with several fields
/// that takes about half the time of snappy on the entries, and the frames are a tenth to a half longer.
pub type FileLog<F = OsFs> = SegmentLog<PlainFile<F>, Influx>;

/// A log in segments of our own format; see [`native`](crate::native).
pub type NativeLog<F = OsFs> = SegmentLog<PlainFile<F>, Native>;

/// Space is written with zeros ahead of small groups, so much at a time. Allocated space that was never written costs
/// its first sync a commit of the file system's journal; so one group in many pays for it, and the others are an
/// overwrite.
const AHEAD_BYTES: u32 = 256 << 10;
/// A larger group writes new space itself.
const SMALL_BYTES: usize = 64 << 10;

/// The open segment.
#[derive(Debug)]
pub struct PlainFile<F: Fs> {
    file: F::File,
    capacity: u32,
    /// All below was written once, or is not worth writing ahead.
    ready: u32,
    /// A group and the zeros behind it.
    buffer: Vec<u8>,
}

impl<F: Fs> SegmentFile for PlainFile<F> {
    type Fs = F;

    fn begin(file: F::File, capacity: u32, ahead: bool, head: &[u8]) -> io::Result<Self> {
        let space = 0..u64::from(capacity);
        // More than nothing in a file that was a segment before.
        let written = u32::try_from(file.len()?).unwrap_or(u32::MAX);
        if ahead && written > 0 {
            file.allocate(space.clone())?;
        }
        file.write_all_at(head, 0)?;
        file.sync_all()?;
        if ahead && written == 0 {
            // Synced with the first group.
            file.allocate(space)?;
        }
        let ready = if ahead { written.max(head.len() as u32) } else { u32::MAX };
        Ok(Self { file, capacity, ready, buffer: Vec::new() })
    }

    fn write(&mut self, bytes: &[u8], at: u32) -> io::Result<()> {
        let end = at + bytes.len() as u32;
        if end <= self.ready || bytes.len() > SMALL_BYTES {
            self.ready = self.ready.max(end);
            return self.file.write_all_at(bytes, at.into());
        }
        let ready = end.saturating_add(AHEAD_BYTES).min(self.capacity).max(end);
        self.buffer.clear();
        self.buffer.extend_from_slice(bytes);
        self.buffer.resize((ready - at) as usize, 0);
        self.file.write_all_at(&self.buffer, at.into())?;
        self.ready = ready;
        Ok(())
    }

    fn sync(&mut self, _: u32, _: u32) -> io::Result<()> {
        self.file.sync_data()
    }

    fn end(self, len: u32) -> io::Result<F::File> {
        self.file.set_len(len.into())?;
        Ok(self.file)
    }
}
