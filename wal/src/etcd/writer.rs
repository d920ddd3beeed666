//! The writing half of etcd's log: the active segment, and how a log rolls to the next one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::SyncLatencies;
use super::allocate::{Allocated, allocate, temporary};
use super::framer::WalFramer;
use super::names::SegmentName;
use super::write_buffer::WriteBuffer;
use crate::directory::lock;
use crate::error::AtPath;
use crate::fs::{Fs, FsFile, parent};
use crate::metrics::Counts;
use crate::{Error, ErrorKind, Result, directory};

/// Pending bytes beyond this size are written before the sync. A smaller limit keeps them in the CPU cache
/// and saves 5 % of its time. But pages of one write reach the disk together, and with more writes the sync
/// takes 10 % longer.
const EARLY_BYTES: usize = 1 << 20;

/// A file that must grow beyond its allocation grows by this much more.
const GROWTH_BYTES: u64 = 256 << 10;

/// A segment whose lock is held. The lock is released with the file.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub(super) name: SegmentName,
    pub(super) file: F,
}

/// Opens and locks segments.
pub(super) fn lock_segments<F: Fs>(
    fs: &F,
    dir: &Path,
    names: &[SegmentName],
) -> Result<Vec<Segment<F::File>>> {
    let open = |&name: &SegmentName| {
        let path = dir.join(name.file_name());
        let file = fs.open(&path).at("open", &path)?;
        lock(&file, &path)?;
        Ok(Segment { name, file })
    };
    names.iter().map(open).collect()
}

/// Writes the segments of a directory.
#[derive(Debug)]
pub(super) struct WalWriter<F: Fs> {
    fs: F,
    pub(super) dir: PathBuf,
    /// Bytes allocated for a segment, and on a full disk.
    segment_bytes: u64,
    segment_bytes_min: u64,
    /// Oldest first; the last one is active.
    pub(super) segments: Vec<Segment<F::File>>,
    /// How far the active segment is written.
    written: u64,
    /// Length of its file, and the length it should get if nothing more is written.
    allocated: u64,
    nominal: u64,
    /// All bytes written to files.
    pub(super) total: u64,
    pub(super) latencies: Arc<SyncLatencies>,
    pub(super) counts: Counts,
}

impl<F: Fs> WalWriter<F> {
    /// A writer of `segments`. The last one is empty, in a file of `len` bytes. Later segments are allocated
    /// with the first size, or on a full disk with the second.
    pub(super) fn new(
        fs: F,
        dir: &Path,
        (segment_bytes, segment_bytes_min): (u64, u64),
        segments: Vec<Segment<F::File>>,
        len: u64,
    ) -> Self {
        Self {
            fs,
            dir: dir.to_path_buf(),
            segment_bytes,
            segment_bytes_min,
            segments,
            written: 0,
            allocated: len,
            nominal: len,
            total: 0,
            latencies: Arc::new(SyncLatencies::of_wal()),
            counts: Counts::default(),
        }
    }

    fn active(&self) -> &Segment<F::File> {
        &self.segments[self.segments.len() - 1]
    }

    fn file(&self) -> &F::File {
        &self.active().file
    }

    /// The name of the active segment.
    pub(super) fn name(&self) -> SegmentName {
        self.active().name
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(self.name().file_name())
    }

    /// Bytes of the active segment for which space is allocated.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Continues in the active segment after `read`, the bytes replayed from it, in a file of at least
    /// `bytes`. Wipes other bytes after it first (`dirty`).
    ///
    /// The wipe is durable before anything is written there. Otherwise stale records could reappear after new
    /// ones.
    ///
    /// The replayed bytes are also made durable before the caller acts on them, because after a process crash
    /// they may only be in the page cache. They are written again for this: after a failed sync the kernel
    /// marks pages as clean that were never written. On a full disk the log can be read, and accepts records
    /// once there is space again.
    pub(super) fn resume(&mut self, read: &[u8], dirty: bool, bytes: u64) -> Result<()> {
        let end = read.len() as u64;
        let file = self.file();
        let wiped = || {
            let bytes = file.len()?.max(bytes).max(end);
            if dirty {
                tracing::warn!(offset = end, "wiped bytes after the end of the log");
                file.set_len(end)?;
            }
            let allocated = match file.allocate(0..bytes) {
                Err(error) if crate::error::is_full(&error) => end,
                done => done.map(|()| bytes)?,
            };
            file.write_all_at(read, 0)?;
            file.sync_all()?;
            Ok((end, allocated, bytes))
        };
        (self.written, self.allocated, self.nominal) = wiped().at("wipe", &self.path())?;
        // The process that created the directory or its last segment may have died before their names were
        // durable.
        for dir in [&*self.dir, parent(&self.dir)] {
            self.fs.sync_dir(dir).at("sync directory", dir)?;
        }
        Ok(())
    }

    /// Allocates a file of `bytes`, durably. If a file grew while it was written, a crash leaves arbitrary
    /// bytes. In allocated space it leaves zeros, which are recognizable.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<()> {
        self.file().allocate(self.allocated..bytes).at("allocate", &self.path())?;
        self.allocated = bytes;
        self.file().sync_all().map_err(|error| Error::broken("sync", error).at_path(&self.path()))
    }

    /// Writes the frames of `framer` to the file if there are many.
    #[inline]
    pub(super) fn write_early(&mut self, framer: &mut WalFramer) -> Result<()> {
        let waiting = &mut framer.waiting;
        if waiting.len() > EARLY_BYTES { self.write(waiting) } else { Ok(()) }
    }

    /// Writes all frames of `framer` to the file, before a sync.
    pub(super) fn flush(&mut self, framer: &mut WalFramer) -> Result<()> {
        self.write(framer.flush())
    }

    /// Writes complete frames and empties the buffer.
    pub(super) fn write(&mut self, buffer: &mut WriteBuffer) -> Result<()> {
        let len = buffer.len() as u64;
        if len == 0 {
            return Ok(());
        }
        let end = self.written + len;
        if end > self.allocated {
            self.grow(end + GROWTH_BYTES)?;
        }
        if let Err(error) = buffer.write(self.file(), self.written) {
            // A partial record that does not end at a sector would look corrupt. Cut here, it is a torn
            // write.
            drop(self.file().set_len(self.written).and_then(|()| self.file().sync_all()));
            return Err(Error::io("write", error).at_path(&self.path()));
        }
        buffer.clear();
        self.written = end;
        self.total += len;
        Ok(())
    }

    /// Makes written bytes durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        let begun = Instant::now();
        let synced = self.latencies.observe(|| self.path(), || self.file().sync_data());
        self.counts.synced(begun);
        synced
    }

    /// Ends the active segment: cuts its file to its length, durably.
    pub(super) fn end(&mut self) -> Result<()> {
        self.file().set_len(self.written).at("cut", &self.path())?;
        self.allocated = self.written;
        self.sync()
    }

    /// Begins the segment after the active one, which has ended.
    pub(super) fn begin_next(&mut self, framer: &mut WalFramer) -> Result<()> {
        let next = |number: u64| number.checked_add(1).ok_or_else(|| Error::new(ErrorKind::NumbersEnd));
        let name = SegmentName { seq: next(self.name().seq)?, index: next(framer.last_index)? };
        self.begin(name, framer)
    }

    /// Begins a segment. Its head is durable before it gets its name. After an error the framer is unchanged.
    pub(super) fn begin(&mut self, name: SegmentName, framer: &mut WalFramer) -> Result<()> {
        let allocated = allocate(&self.fs, &self.dir, self.segment_bytes, self.segment_bytes_min)?;
        let Allocated { file, path: temporary, bytes } = allocated;
        let crc = framer.crc;
        framer.head(name);
        let head = framer.flush();
        let (len, path) = (head.len() as u64, self.dir.join(name.file_name()));
        let begun = head.write(&file, 0).at("write", &temporary).and_then(|()| {
            self.latencies.observe(|| temporary.clone(), || file.sync_data())?;
            directory::refuse_occupied(&self.fs, &path)?;
            self.fs.rename(&temporary, &path).at("rename", &temporary)?;
            let named = self.latencies.observe(|| self.dir.clone(), || self.fs.sync_dir(&self.dir));
            // Remove it: the name may not be durable, but the next open would use it.
            named.inspect_err(|_| drop(self.fs.remove(&path)))
        });
        if let Err(error) = begun {
            framer.take_back(crc);
            drop(self.fs.remove(&temporary));
            return Err(error);
        }
        head.clear();
        self.segments.push(Segment { name, file });
        self.total += len;
        self.counts.segments += 1;
        (self.written, self.allocated, self.nominal) = (len, bytes.max(len), self.segment_bytes);
        Ok(())
    }

    /// Gives the active segment the length that etcd's would have after a flush.
    pub(super) fn trim(&mut self) -> Result<()> {
        let len = self.nominal.max(self.written);
        if self.allocated > len {
            self.file().set_len(len).at("cut", &self.path())?;
            self.allocated = len;
        }
        Ok(())
    }

    /// Removes the first `count` segments, durably one by one. If an older segment reappeared without a newer
    /// one, the log would have a gap.
    pub(super) fn remove_front(&mut self, count: usize) -> Result<()> {
        for Segment { name, file } in self.segments.drain(..count) {
            let (path, [_, temporary]) = (self.dir.join(name.file_name()), temporary(&self.dir));
            // If this fails, the next open must see the file.
            let removed = self.fs.rename(&path, &temporary).and_then(|()| {
                self.fs.sync_dir(&self.dir).inspect_err(|_| drop(self.fs.rename(&temporary, &path)))
            });
            drop((file, self.fs.remove(&temporary)));
            removed.map_err(|error| Error::broken("remove", error).at_path(&path))?;
        }
        Ok(())
    }
}
