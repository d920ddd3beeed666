//! The half of etcd's log that makes frames of records: the running checksum, and what each segment begins with.

use super::frame::{Encoder, Watermark, kind};
use super::names::SegmentName;
use super::proto::Head;
use super::write_buffer::WriteBuffer;
use super::{Entry, HardState, SnapshotRecord};

#[derive(Debug)]
pub(super) struct WalFramer {
    encoder: Encoder,
    watermark: Watermark,
    metadata: Option<Vec<u8>>,
    /// The state that was saved last; each segment begins with it.
    pub(super) state: HardState,
    /// The index of the entry or snapshot that was saved last.
    pub(super) last_index: u64,
}

impl WalFramer {
    /// Goes on at `offset` of the active segment, where the running checksum is `crc`.
    pub(super) fn new(offset: u64, crc: u32, metadata: Option<&[u8]>, last_index: u64) -> Self {
        Self {
            encoder: Encoder { crc, ..Encoder::default() },
            watermark: Watermark::new(offset),
            metadata: metadata.map(<[u8]>::to_vec),
            state: HardState::default(),
            last_index,
        }
    }

    /// The running checksum.
    pub(super) fn crc(&self) -> u32 {
        self.encoder.crc
    }

    /// Where etcd's file would end by now, and so what it decides about cutting by.
    pub(super) fn etcd_offset(&self) -> u64 {
        self.watermark.flushed
    }

    /// Where the next record goes.
    pub(super) fn end(&self) -> u64 {
        self.watermark.end()
    }

    /// Frames that are to be written.
    pub(super) fn waiting(&mut self) -> &mut WriteBuffer {
        &mut self.encoder.waiting
    }

    /// Bytes of them.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.encoder.waiting.len()
    }

    /// All of them are to be written, for a sync.
    pub(super) fn flush(&mut self) -> &mut WriteBuffer {
        self.watermark.flush();
        &mut self.encoder.waiting
    }

    /// The beginning of a segment. Nothing may wait.
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
            let state = self.state;
            self.state(&state);
        }
    }

    /// Takes back the head of a segment that could not be begun; the running checksum was `crc` before it.
    pub(super) fn take_back_head(&mut self, crc: u32) {
        self.encoder = Encoder { crc, ..Encoder::default() };
    }

    pub(super) fn record(&mut self, kind: i64, data: Option<&[u8]>) {
        let len = self.encoder.record(kind, data);
        self.watermark.frame(len);
    }

    pub(super) fn entry(&mut self, entry: &Entry) {
        let len = self.encoder.entry(entry);
        self.watermark.frame(len);
        self.last_index = entry.index;
    }

    /// An entry whose data stands in pieces. Gives the bytes of its frame.
    pub(super) fn entry_of<const PIECES: usize>(
        &mut self,
        index: u64,
        head: Head<4>,
        pieces: [&[u8]; PIECES],
    ) -> usize {
        let len = self.encoder.frame(kind::ENTRY, head, pieces);
        self.watermark.frame(len);
        self.last_index = index;
        len
    }

    pub(super) fn state(&mut self, state: &HardState) {
        self.state = *state;
        let len = self.encoder.state(state);
        self.watermark.frame(len);
    }
}
