//! How segments of a format are written. [`segment`](crate::segment) implements InfluxDB 1.x's bytes and
//! [`native`](crate::native) our own.

use crate::Position;
use crate::encoder::FrameEncoder;
use crate::entry::Layout;
use crate::scan::SegmentFormat;

/// Builds the bytes of one segment.
pub(crate) trait Format: SegmentFormat<Name = u32> + Send {
    /// Preferred layout of writes.
    const LAYOUT: Layout;
    /// Whether InfluxDB 1.x writes such segments.
    const INFLUX: bool;
    /// Offset of the first group in a segment.
    const HEAD_BYTES: u32;
    /// Bytes before the payload in a frame.
    const FRAME_HEADER_BYTES: u32;
    /// Bytes reserved at the beginning of a group for [`Format::seal`].
    const GROUP_BYTES: u32;
    /// Largest result of [`Format::end`].
    const END_BYTES: u32;

    /// The record encoder.
    type Encoder: FrameEncoder;

    /// Begins segment `number`.
    fn begin(number: u32, link: Link) -> Self;

    /// The bytes before the first group. They are durable before any group is written.
    fn head(&self) -> Vec<u8>;

    /// Completes the frames of a group that will be written at offset `at`. Everything below `durable` is
    /// synced.
    fn seal(&mut self, at: u32, durable: u32, group: &mut [u8]);

    /// If records are numbered, makes `next` the number of the first record after this segment. Then recovery
    /// does not report the numbers in between as missing.
    fn skip_to(&mut self, next: u64) {
        let _ = next;
    }

    /// The bytes to write at `at` when the segment ends. All earlier bytes are synced.
    fn end(&mut self, at: u32) -> Vec<u8>;
}

/// What a segment says about the log before it. Records are numbered from 0, the log's first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// The number of the segment's first record.
    pub(crate) first: u64,
    /// Records below this number had been truncated when the segment was begun.
    pub(crate) front: u64,
    /// The number of the last earlier segment with records. 0 if there was none, or if records are numbered.
    pub(crate) before: u32,
}

/// Segment and offset of a position.
pub(crate) fn parts(at: Position) -> (u32, u32) {
    ((at.0 >> 32) as u32, at.0 as u32)
}
