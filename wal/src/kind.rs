//! How the segments of a format are written: [`segment`](crate::segment) has the bytes of InfluxDB 1.x, and
//! [`native`](crate::native) our own.

use std::fmt::Debug;

use parking_lot::Mutex;
use tsmith_codecs::Batch;

use crate::entry::Layout;
use crate::scan::SegmentFormat;
use crate::{Compression, Position, Record, Result};

/// The bytes of one segment that is being written.
pub trait Format: SegmentFormat<Name = u32> + Send {
    /// How it wants writes as payloads.
    const LAYOUT: Layout;
    /// Whether InfluxDB 1.x writes such segments.
    const INFLUX: bool;
    /// Where the first group of a segment begins.
    const HEAD_BYTES: u32;
    /// Room at the beginning of a group, for what [`Format::seal`] puts there.
    const GROUP_BYTES: u32;
    /// Most bytes of what [`Format::end`] gives.
    const END_BYTES: u32;

    /// Encodes records.
    type Encoder: FrameEncoder;

    /// Begins segment `number`.
    fn begin(number: u32, link: Link) -> Self;

    /// What stands before its first group. Durable before any group is written.
    fn head(&self) -> Vec<u8>;

    /// Completes the frames of a group, which is to stand at `at`; all below `durable` is synced.
    fn seal(&mut self, at: u32, durable: u32, group: &mut [u8]);

    /// Makes `next` the number of the record after the segment, where records are numbered: those before it that the
    /// segment lacks are not to be missed.
    fn skip_to(&mut self, next: u64) {
        let _ = next;
    }

    /// What is written at `at` when the segment ends and all of it is synced.
    fn end(&mut self, at: u32) -> Vec<u8>;
}

/// Encodes records as frames, into buffers that it keeps for the next ones.
pub trait FrameEncoder: Debug + Send {
    /// An encoder for a log with this option; InfluxDB's segments have snappy in any case.
    fn new(compression: Compression) -> Self;

    /// The frame of `record`, without the parts that only the leader of its group knows.
    ///
    /// # Errors
    /// The payload is longer than [`ENTRY_BYTES_MAX`](crate::ENTRY_BYTES_MAX).
    fn encode(&mut self, record: Record<'_>) -> Result<&[u8]>;

    /// The frame of the write of `batch`, in the layout of the format.
    ///
    /// # Errors
    /// A key or the batch is larger than the layout can say.
    fn encode_write(&mut self, batch: &Batch<'_>) -> Result<&[u8]>;

    /// How many bytes the buffers take.
    fn buffer_bytes(&self) -> usize;
}

/// The encoders of a log: as many as threads ever appended at the same time. None is made in the steady state.
#[derive(Debug)]
pub(crate) struct Encoders<E> {
    compression: Compression,
    idle: Mutex<Vec<Box<E>>>,
}

impl<E: FrameEncoder> Encoders<E> {
    /// An encoder with larger buffers is not kept.
    const BUFFER_BYTES_MAX: usize = 16 << 20;

    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, idle: Mutex::new(Vec::new()) }
    }

    /// An encoder that nobody else uses.
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "an append should not move the tables of a compressor"
    )]
    pub(crate) fn take(&self) -> Box<E> {
        let idle = self.idle.lock().pop();
        idle.unwrap_or_else(|| Box::new(E::new(self.compression)))
    }

    /// Keeps the encoder for a later append.
    pub(crate) fn put_back(&self, encoder: Box<E>) {
        if encoder.buffer_bytes() <= Self::BUFFER_BYTES_MAX {
            self.idle.lock().push(encoder);
        }
    }
}

/// What a segment says of the log that it is part of. Records are numbered from the log's first one, 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The number of its first record.
    pub first: u64,
    /// Records below this one had been forgotten when the segment was begun.
    pub front: u64,
    /// The number of the last segment before it that held records; 0 if there was none. Where records are numbered
    /// nobody has to know.
    pub before: u32,
}

/// Segment and offset of a position.
pub(crate) fn parts(at: Position) -> (u32, u32) {
    ((at.0 >> 32) as u32, at.0 as u32)
}
