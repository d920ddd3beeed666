//! From records to one file: frames, the page writer, syncs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame::{Encoder, Watermark, kind};
use super::proto::Head;
use super::{Entry, HardState, Histogram};
use crate::fs::FsFile;
use crate::{Error, ErrorKind, Result};

/// A sync that takes longer than this is worth a word.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// What waits for a sync is written before it when it is more than this. Less would stay in the processor's cache, and
/// costs a twentieth less of it; but the pages of one write go to the disk together, and in pieces the sync takes a tenth
/// longer.
const EARLY_BYTES: u64 = 1 << 20;

/// A file that must grow beyond what was allocated grows by this much more.
const GROWTH_BYTES: u64 = 256 << 10;

/// Appends to one segment.
///
/// What is written before a sync is whole pages, as with etcd's page writer: a torn tail then has no sector that
/// was written twice.
#[derive(Debug)]
pub(super) struct Appender<F> {
    pub(super) file: Arc<F>,
    encoder: Encoder,
    watermark: Watermark,
    /// The place of the encoder's buffer in the file.
    written: u64,
    /// Bytes of the file, and how many there should be unless more is written.
    allocated: u64,
    nominal: u64,
    /// All bytes that went to files.
    total: u64,
}

impl<F: FsFile> Appender<F> {
    /// Goes on at `offset` of a file of `len` bytes, where the running checksum is `crc`. The file is shared with who
    /// holds its lock.
    pub(super) fn new(file: Arc<F>, len: u64, offset: u64, crc: u32) -> Self {
        let encoder = Encoder { crc, ..Encoder::default() };
        let watermark = Watermark::new(offset);
        Self { file, encoder, watermark, written: offset, allocated: len, nominal: len, total: 0 }
    }

    /// Goes on in another file, of `len` bytes, from its first byte. Everything must have been flushed.
    pub(super) fn move_to(&mut self, file: F, len: u64) {
        self.file = Arc::new(file);
        self.watermark = Watermark::new(0);
        self.written = 0;
        (self.allocated, self.nominal) = (len, len);
    }

    pub(super) fn crc(&self) -> u32 {
        self.encoder.crc
    }

    /// Where etcd's file would end by now, and so what it decides about cutting by.
    pub(super) fn etcd_offset(&self) -> u64 {
        self.watermark.flushed
    }

    /// Where the next record goes.
    pub(super) fn end(&self) -> u64 {
        self.written + self.waiting() as u64
    }

    /// Bytes of the file for which there is space.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Makes space for a file of `bytes`, durable when it is synced.
    pub(super) fn grow(&mut self, bytes: u64) -> std::io::Result<()> {
        self.file.allocate(self.allocated..bytes)?;
        self.allocated = bytes;
        Ok(())
    }

    /// Cuts the file at the end of what was written. Nothing may wait.
    pub(super) fn cut(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.written)?;
        self.allocated = self.written;
        Ok(())
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The beginning of every segment.
    pub(super) fn head(&mut self, metadata: Option<&[u8]>) -> std::io::Result<()> {
        let len = self.encoder.record(kind::CRC, None);
        self.watermark.frame(len);
        self.record(kind::METADATA, metadata)
    }

    pub(super) fn record(&mut self, kind: i64, data: Option<&[u8]>) -> std::io::Result<()> {
        let len = self.encoder.record(kind, data);
        self.appended(len)
    }

    /// A record whose data is `head`, then these pieces, and that stays in memory until it is taken.
    pub(super) fn buffer<const FIELDS: usize, const PIECES: usize>(
        &mut self,
        kind: i64,
        head: Head<FIELDS>,
        pieces: [&[u8]; PIECES],
    ) {
        self.encoder.frame(kind, head, pieces);
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.encoder.waiting.len()
    }

    pub(super) fn entry(&mut self, entry: &Entry) -> std::io::Result<()> {
        let len = self.encoder.entry(entry);
        self.appended(len)
    }

    pub(super) fn state(&mut self, state: &HardState) -> std::io::Result<()> {
        let len = self.encoder.state(state);
        self.appended(len)
    }

    fn appended(&mut self, len: usize) -> std::io::Result<()> {
        self.watermark.frame(len);
        if self.watermark.flushed > self.written + EARLY_BYTES { self.write_pages() } else { Ok(()) }
    }

    /// Gives to the operating system what etcd would have by now.
    pub(super) fn catch_up(&mut self) -> std::io::Result<()> {
        if self.watermark.flushed > self.written { self.write_pages() } else { Ok(()) }
    }

    /// Writes as far as etcd would have by now: whole pages, unless it is for a sync.
    #[cold]
    fn write_pages(&mut self) -> std::io::Result<()> {
        let len = (self.watermark.flushed - self.written) as usize;
        let end = self.written + len as u64;
        if end > self.allocated {
            // What a crash leaves of a file that grew while it was written is anything; of space that was there it is
            // zeros, which are known for what they are. So it grows first.
            self.grow(end + GROWTH_BYTES)?;
            self.file.sync_all()?;
        }
        if let Err(error) = self.encoder.waiting.write(&*self.file, len, self.written) {
            // Half a record that does not end at a sector would pass for damage. Ended here it is a torn one.
            drop(self.file.set_len(self.written).and_then(|()| self.file.sync_all()));
            return Err(error);
        }
        self.encoder.waiting.advance(len);
        self.written += len as u64;
        self.total += len as u64;
        Ok(())
    }

    /// Gives everything to the operating system.
    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.watermark.flush();
        if self.encoder.waiting.is_empty() { Ok(()) } else { self.write_pages() }
    }

    /// Gives the file the length that etcd's would have, when everything is flushed.
    pub(super) fn trim(&mut self) -> std::io::Result<()> {
        let len = self.nominal.max(self.written);
        if self.allocated > len {
            self.file.set_len(len)?;
            self.allocated = len;
        }
        Ok(())
    }

    /// Takes what is to be written out of here, for a caller who writes it himself.
    pub(super) fn take(&mut self, spare: Vec<u8>) -> Pending<F> {
        self.watermark.flush();
        let bytes = std::mem::replace(&mut self.encoder.waiting.own, spare);
        let offset = self.written;
        self.written += bytes.len() as u64;
        self.total += bytes.len() as u64;
        Pending { file: Arc::clone(&self.file), offset, bytes }
    }
}

/// Bytes on their way to a file.
#[derive(Debug)]
pub(super) struct Pending<F> {
    pub(super) file: Arc<F>,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

/// Runs a sync of the file at `path` and observes it.
pub(super) fn observed(
    histogram: &Histogram,
    path: impl Fn() -> PathBuf,
    sync: impl FnOnce() -> std::io::Result<()>,
) -> Result<()> {
    let start = Instant::now();
    let done = sync();
    note(histogram, start.elapsed(), &path);
    // Never "retry later", whatever its code: the kernel may have dropped the pages it could not write.
    done.map_err(|source| {
        Error::new(ErrorKind::Io { operation: "sync", source: Arc::new(source) }).at_path(&path())
    })
}

/// Counts a sync, with a word when it was slow; whether it was.
fn note(histogram: &Histogram, took: Duration, path: &impl Fn() -> PathBuf) -> bool {
    histogram.observe(took);
    let is_slow = took > SLOW_SYNC;
    if is_slow {
        tracing::warn!(path = %path().display(), ?took, expected = ?SLOW_SYNC, "slow fdatasync");
    }
    is_slow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_above_a_second_is_worth_a_warning() {
        let histogram = Histogram::wal_fsync();
        for (ms, is_slow) in [(20, false), (1000, false), (1001, true), (9000, true)] {
            assert_eq!(
                note(&histogram, Duration::from_millis(ms), &|| PathBuf::from("w")),
                is_slow,
                "{ms} ms"
            );
        }
        assert_eq!(histogram.count(), 4);
    }
}
