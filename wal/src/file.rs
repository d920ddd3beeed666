//! `PlainFile`: writes a segment with ordinary file writes.

use std::fmt::Debug;
use std::io;

use crate::fs::{Fs, FsFile};
use crate::native::Native;
use crate::segment::Influx;
use crate::segment_log::{SegmentFile, segment_log};

segment_log! {
    /// A log whose segments InfluxDB 1.x can read. It also reads segments that InfluxDB 1.x wrote; see
    /// [`segment`](crate::segment).
    ///
    /// A segment's space is allocated before the segment is used. Then a sync need not commit a new file length,
    /// which would be most of its cost. Unused space is released when the segment ends.
    /// [`LogOptions::preallocate`](crate::LogOptions) turns this off.
    ///
    /// [`append_write`](crate::Log::append_write) compresses entries without building them first. For series with
    /// several fields this takes about half as long as running snappy over the entries. The frames are 10 to 50 %
    /// longer.
    FileLog: PlainFile, Influx
}

segment_log! {
    /// A log in our own segment format; see [`native`](crate::native).
    NativeLog: PlainFile, Native
}

/// Ahead of small groups, this many bytes of space are zeroed at once. The first sync of allocated but never
/// written space costs a commit of the file system's journal. With zeroing, only one group in many pays that
/// cost; the others overwrite.
const AHEAD_BYTES: u32 = 256 << 10;
/// Larger groups do not zero ahead.
const SMALL_BYTES: usize = 64 << 10;

/// The active segment.
#[derive(Debug)]
pub(crate) struct PlainFile<F: Fs> {
    file: F::File,
    capacity: u32,
    /// Everything below this offset has been written once, or need not be zeroed.
    ready: u32,
    /// A group, followed by zeros.
    buffer: Vec<u8>,
}

impl<F: Fs> SegmentFile for PlainFile<F> {
    type Fs = F;

    fn begin(file: F::File, capacity: u32, ahead: bool, head: &[u8]) -> io::Result<Self> {
        let space = 0..u64::from(capacity);
        // Greater than zero if the file was a segment before.
        let written = u32::try_from(file.len()?).unwrap_or(u32::MAX);
        if ahead && written > 0 {
            file.allocate(space.clone())?;
        }
        file.write_all_at(head, 0)?;
        file.sync_all()?;
        if ahead && written == 0 {
            // The first group's sync makes the allocation durable.
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
