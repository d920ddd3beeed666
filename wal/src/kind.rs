//! What the group commit and the recovery ask of a kind of segments: two of them are [`segment`](crate::segment), the
//! bytes of InfluxDB 1.x, and [`native`](crate::native), our own.

use std::ffi::OsStr;
use std::fmt::Debug;

use parking_lot::Mutex;
use tsmith_codecs::Batch;

use crate::entry::Layout;
use crate::segment::{Bad, Later, Stop, Verdict};
use crate::{Compression, Position, Record, RecordKind, Result};

/// The bytes of one segment that is being written; and, without one, how any of its kind are read.
pub trait Format: Debug + Send + Sized + 'static {
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
    /// While a segment is open the next one exists and is empty; an empty one at the end is used.
    const GUARDED: bool;
    /// A segment that is forgotten becomes the space of a later one: what it held cannot be read there.
    const RECYCLED: bool;

    /// Encodes records.
    type Encoder: FrameEncoder;

    /// Reads a segment.
    type Scan<'s>: Scan<'s>;

    /// The file name of segment `number`.
    fn file_name(number: u32) -> String;

    /// The number of a segment's file; `None` for a name that is not one of ours, or not written our way.
    fn parse_name(name: &OsStr) -> Option<u32>;

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

    /// Puts the payload of the record at `place` of a segment into `out`, from `from` on; gives its kind and length.
    /// What `out` holds beyond it means nothing. Any thread may do so.
    fn unpack(
        bytes: &[u8],
        place: Place,
        from: usize,
        out: &mut Vec<u8>,
    ) -> Result<(RecordKind, usize), Stop>;
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

/// A record of a segment whose bounds are known, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Offset of its first byte.
    pub offset: u64,
    /// Offset after its last byte.
    pub end: u64,
    /// A checksum vouches for it.
    pub checked: bool,
}

/// Goes through one segment, record by record.
pub trait Scan<'s>: Sized + Clone + Send {
    /// A scan of `bytes`, the content of segment number `segment`.
    fn new(segment: u32, bytes: &'s [u8]) -> Self;

    /// The next record; `None` at the end. After an error calling again gives the same.
    fn place(&mut self) -> Result<Option<Place>, Stop>;

    /// Goes to the record at `offset`, of which it is known that this scan comes by, and not past it.
    fn go_to(&mut self, offset: u64);

    /// Whether a bad place is the end, a torn write, damage, or a group that InfluxDB accepted. The scan stands at the bad
    /// place, and goes on from there after [`Verdict::Accepted`].
    fn judge(&mut self, bad: Bad, later: Later) -> Verdict;

    /// Goes on behind a bad place, where the next record begins that checks out, if there is one.
    fn resume(&mut self, bad: Bad) -> Option<u64>;

    /// What says at `at`, where the scan stands, that all before it is durable. What is cut off there may be all that says
    /// so: without it damage before records that were salvaged would pass for a torn write the next time. Nothing where a
    /// record that says it is itself never cut off.
    fn proof(&self, at: u64) -> Vec<u8> {
        let _ = at;
        Vec::new()
    }

    /// The segment up to `to`, with what was accepted from `from` on under checksums: what takes its place, so that later
    /// openings need not judge it again. `None` if that is longer than a segment can be.
    fn sealed(&self, from: u64, to: u64) -> Option<Vec<u8>> {
        let _ = (from, to);
        None
    }

    /// What the segment says of its log; `None` where the format says nothing, or its head does not check out.
    fn link(&self) -> Option<Link> {
        None
    }

    /// The segment before it that held records, as [`Link::before`]; `None` where the segment does not say.
    fn before(&self) -> Option<u32> {
        None
    }

    /// The number of the record that comes next, where records have one.
    fn number(&self) -> Option<u64> {
        None
    }
}

/// The position of the frame that ends at `end` of segment `number`.
pub(crate) fn position(number: u32, end: u32) -> Position {
    Position(u64::from(number) << 32 | u64::from(end))
}

/// Segment and offset of a position.
pub(crate) fn parts(at: Position) -> (u32, u32) {
    ((at.0 >> 32) as u32, at.0 as u32)
}

/// Length without the zeros at the end.
pub(crate) fn used_len(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1)
}

/// Hostile bytes could make every place a candidate with much to check. Past this much work the benefit of the doubt
/// goes to damage, which changes nothing on disk.
pub(crate) struct Work {
    /// Bytes that may still be looked at.
    left: usize,
}

impl Work {
    /// For a segment of `len` bytes.
    pub(crate) fn of(len: usize) -> Self {
        Self { left: len.saturating_mul(16).max(1 << 20) }
    }

    /// Whether so much more may be done.
    pub(crate) fn pay(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ends() {
        let mut work = Work { left: 10 };
        assert!(work.pay(4) && work.pay(6) && work.pay(0) && !work.pay(1));
    }
}
