//! Builds the frames of etcd's log: each record has the checksum of all records so far, and each segment
//! begins with a head.

use std::iter;

use bytes::Bytes;

use super::frame::{LENGTH_BYTES, kind};
use super::names::SegmentName;
use super::proto::Head;
use super::write_buffer::{SHARED_BYTES, WriteBuffer};
use super::{Entry, HardState, SnapshotRecord};
use crate::crc32c;

#[derive(Debug, Default)]
pub(super) struct WalFramer {
    /// The running checksum.
    pub(super) crc: u32,
    /// Frames not written to the file yet.
    pub(super) waiting: WriteBuffer,
    pub(super) watermark: Watermark,
    metadata: Option<Vec<u8>>,
    /// The last saved state. Each new segment begins with it.
    pub(super) state: HardState,
    /// The index of the last saved entry or snapshot.
    pub(super) last_index: u64,
}

impl WalFramer {
    /// Continues at `offset` of the active segment with the running checksum `crc`.
    pub(super) fn new(offset: u64, crc: u32, metadata: Option<&[u8]>, last_index: u64) -> Self {
        let (watermark, metadata) = (Watermark::new(offset), metadata.map(<[u8]>::to_vec));
        Self { crc, watermark, metadata, last_index, ..Self::default() }
    }

    /// All frames, to be written for a sync.
    pub(super) fn flush(&mut self) -> &mut WriteBuffer {
        self.watermark.flush();
        &mut self.waiting
    }

    /// Builds the head of a segment. No frame may be pending.
    pub(super) fn head(&mut self, name: SegmentName) {
        self.watermark = Watermark::new(0);
        self.record(kind::CRC, None);
        let metadata = self.metadata.take();
        self.record(kind::METADATA, metadata.as_deref());
        self.metadata = metadata;
        if name.seq == 0 {
            self.record(kind::SNAPSHOT, Some(&SnapshotRecord::default().encode()));
        }
        if !self.state.is_empty() {
            self.state(self.state);
        }
    }

    /// Removes the head again. Before it the running checksum was `crc`.
    pub(super) fn take_back(&mut self, crc: u32) {
        (self.crc, self.watermark) = (crc, Watermark::default());
        self.waiting.clear();
    }

    /// Adds a record with this data, or without data.
    pub(super) fn record(&mut self, kind: i64, data: Option<&[u8]>) {
        if let Some(data) = data {
            self.frame(kind, Head([]), [data]);
        } else {
            let (_, padding) = self.begin(kind, None);
            self.waiting.own.extend_from_slice(padding);
        }
    }

    #[inline]
    pub(super) fn entry(&mut self, entry: &Entry) {
        self.last_index = entry.index;
        match &entry.data {
            Some(data) if data.len() >= SHARED_BYTES => self.shared(entry, data),
            Some(data) => {
                self.frame(kind::ENTRY, entry.head().before(data.len()), [data]);
            }
            None => {
                self.frame(kind::ENTRY, entry.head(), []);
            }
        }
    }

    /// Adds an entry whose content is shared, not copied.
    #[cold]
    fn shared(&mut self, entry: &Entry, data: &Bytes) {
        let head = entry.head().before(data.len()).encode();
        self.crc = crc32c::append_all(self.crc, [&*head, data]);
        let (_, padding) = self.begin(kind::ENTRY, Some(head.len() + data.len()));
        self.waiting.own.extend_from_slice(&head);
        self.waiting.share(data.clone());
        self.waiting.own.extend_from_slice(padding);
    }

    pub(super) fn state(&mut self, state: HardState) {
        self.frame(kind::STATE, state.head(), []);
        self.state = state;
    }

    /// Adds a record whose data is `head` followed by `pieces`. Returns its length.
    #[inline]
    pub(super) fn frame<const FIELDS: usize, const PIECES: usize>(
        &mut self,
        kind: i64,
        head: Head<FIELDS>,
        pieces: [&[u8]; PIECES],
    ) -> usize {
        let head = head.encode();
        self.crc = crc32c::append_all(self.crc, iter::once(&*head).chain(pieces));
        let data = head.len() + pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let (len, padding) = self.begin(kind, Some(data));
        let own = &mut self.waiting.own;
        for piece in iter::once(&*head).chain(pieces).chain([padding]) {
            own.extend_from_slice(piece);
        }
        len
    }

    /// Begins a record with this many bytes of data, which `crc` already covers. Returns the length of the
    /// frame, and its padding.
    #[inline]
    fn begin(&mut self, kind: i64, data: Option<usize>) -> (usize, &'static [u8]) {
        let (kind, crc) = ((0x08, kind as u64), (0x10, self.crc.into()));
        let fields = match data {
            Some(len) => Head([kind, crc, (0x1a, len as u64)]).encode(),
            None => Head([kind, crc]).encode(),
        };
        let record = fields.len() + data.unwrap_or(0);
        let padding = record.wrapping_neg() % 8;
        let tag = if padding == 0 { 0 } else { (0x80 | padding as u64) << 56 };
        let own = &mut self.waiting.own;
        own.reserve(LENGTH_BYTES + record + padding);
        own.extend_from_slice(&(record as u64 | tag).to_le_bytes());
        own.extend_from_slice(&fields);
        let len = LENGTH_BYTES + record + padding;
        self.watermark.frame(len);
        (len, &[0; 8][..padding])
    }
}

/// How far etcd's page writer would have written to the file.
///
/// etcd cuts a segment by the bytes that reached the file, excluding those in its buffer of 128 KiB. To cut
/// at the same places, we compute how far etcd would be. etcd writes early only in complete pages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watermark {
    /// The position in the file.
    pub(super) flushed: u64,
    buffered: u64,
}

const BUFFER_BYTES: u64 = 128 << 10;
const PAGE_BYTES: u64 = 4096;

impl Watermark {
    pub(super) fn new(offset: u64) -> Self {
        Self { flushed: offset, buffered: 0 }
    }

    /// Counts an encoded frame: its length and its body are two writes.
    pub(super) fn frame(&mut self, bytes: usize) {
        self.write(LENGTH_BYTES as u64);
        self.write((bytes - LENGTH_BYTES) as u64);
    }

    fn write(&mut self, mut bytes: u64) {
        if self.buffered + bytes > BUFFER_BYTES {
            let slack = PAGE_BYTES - (self.flushed + self.buffered) % PAGE_BYTES;
            if slack != PAGE_BYTES {
                let filled = slack.min(bytes);
                self.buffered += filled;
                bytes -= filled;
                if filled < slack {
                    return;
                }
            }
            self.flush();
            if bytes > PAGE_BYTES {
                self.flushed += bytes / PAGE_BYTES * PAGE_BYTES;
                bytes %= PAGE_BYTES;
            }
        }
        self.buffered += bytes;
    }

    /// The end of the file once all is flushed.
    pub(super) fn end(&self) -> u64 {
        self.flushed + self.buffered
    }

    pub(super) fn flush(&mut self) {
        self.flushed += self.buffered;
        self.buffered = 0;
    }
}

#[cfg(test)]
mod tests;
