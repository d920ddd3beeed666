//! The half of etcd's log that makes frames of records: the running checksum, and what each segment begins with.

use super::frame::{Encoder, Watermark, kind};
use super::names::SegmentName;
use super::write_buffer::WriteBuffer;
use super::{Entry, HardState, SnapshotRecord};

#[derive(Debug)]
pub(super) struct WalFramer {
    pub(super) encoder: Encoder,
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
            encoder: Encoder { crc, watermark: Watermark::new(offset), ..Encoder::default() },
            metadata: metadata.map(<[u8]>::to_vec),
            state: HardState::default(),
            last_index,
        }
    }

    /// Where etcd's file would end by now, and so what it decides about cutting by.
    pub(super) fn etcd_offset(&self) -> u64 {
        self.encoder.watermark.flushed
    }

    /// Where the next record goes.
    pub(super) fn end(&self) -> u64 {
        self.encoder.watermark.end()
    }

    /// All frames, which are to be written for a sync.
    pub(super) fn flush(&mut self) -> &mut WriteBuffer {
        self.encoder.watermark.flush();
        &mut self.encoder.waiting
    }

    /// The beginning of a segment. Nothing may wait.
    pub(super) fn head(&mut self, name: SegmentName) {
        self.encoder.watermark = Watermark::new(0);
        self.encoder.record(kind::CRC, None);
        self.encoder.record(kind::METADATA, self.metadata.as_deref());
        if name.seq == 0 {
            self.encoder.record(kind::SNAPSHOT, Some(&SnapshotRecord::default().encode()));
        }
        if !self.state.is_empty() {
            self.encoder.state(&self.state);
        }
    }

    pub(super) fn entry(&mut self, entry: &Entry) {
        self.encoder.entry(entry);
        self.last_index = entry.index;
    }

    pub(super) fn state(&mut self, state: &HardState) {
        self.encoder.state(state);
        self.state = *state;
    }
}
