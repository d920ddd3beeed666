//! How the segments of a format are written: [`segment`](crate::segment) has the bytes of InfluxDB 1.x, and
//! [`native`](crate::native) our own.

use crate::Position;
use crate::encoder::FrameEncoder;
use crate::entry::Layout;
use crate::scan::SegmentFormat;

/// The bytes of one segment that is being written.
pub trait Format: SegmentFormat<Name = u32> + Send {
    /// How it wants writes as payloads.
    const LAYOUT: Layout;
    /// Whether InfluxDB 1.x writes such segments.
    const INFLUX: bool;
    /// Where the first group of a segment begins.
    const HEAD_BYTES: u32;
    /// What precedes the payload in a frame.
    const FRAME_HEADER_BYTES: u32;
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

/// What a segment says of the log that it is part of. Records are numbered from the log's first one, 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The number of its first record.
    pub first: u64,
    /// Records below this one had been truncated when the segment was begun.
    pub front: u64,
    /// The number of the last segment before it that held records; 0 if there was none, or records are numbered.
    pub before: u32,
}

/// Segment and offset of a position.
pub(crate) fn parts(at: Position) -> (u32, u32) {
    ((at.0 >> 32) as u32, at.0 as u32)
}
