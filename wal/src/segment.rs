//! InfluxDB 1.x's segment format, with our group marks.
//!
//! ```text
//! frame   ┌───────────┬──────────────┬──────────────────────────┐
//!         │ kind <1B> │ len <4B, BE> │ payload <len, snappy>    │   InfluxDB 1.x writes nothing else
//!         └───────────┴──────────────┴──────────────────────────┘
//! mark    ┌────┬─────────────┬──────┬─────────────┬─────────────────┬─────────────┬─────────────┐
//!         │ 03 │ 00 00 00 12 │ 10 3c│ magic <4B>  │ durable <4B, BE>│ len <4B, BE>│ crc <4B, BE>│   23 bytes
//!         └────┴─────────────┴──────┴─────────────┴─────────────────┴─────────────┴─────────────┘
//! segment   mark of length 0 │ mark, its frames │ mark, its frames │ ... │ zeros, or a last mark of length 0
//! ```
//!
//! # Marks
//!
//! A frame has no checksum. If a power cut loses a sector of a long literal, the rest is still valid snappy,
//! and the record comes back with wrong values. The sectors of a group reach the disk in any order, so intact
//! frames can follow a torn one.
//!
//! Therefore our logs write a mark before each group. Within a group, they write another mark before the next
//! frame after every 4 KiB. If one frame under a mark is lost, all frames under that mark are. InfluxDB reads
//! a mark as a deletion of a time range without keys, which does nothing. A mark's sixteen bytes contain:
//! - `len` and `crc`: the length and CRC-32 of the frames under the mark. The CRC also covers the segment
//!   number, the mark's offset, `durable` and `len`, so a mark is valid at one place only.
//! - `durable`: everything below this offset of the segment was synced before the group was written. In the
//!   first mark it is 1 plus the number of the last earlier segment with records, or 1 if there is none.
//!
//! At the end of a segment the log first syncs it. Then it writes a mark of length 0 whose `durable` is the
//! end of the last group. This mark distinguishes corruption of that group from a torn write.
//!
//! The first marks let recovery detect a segment in the middle that is missing, empty or zero. Segment
//! numbers cannot show this: InfluxDB skips a number when it removes an empty segment, and our logs skip one
//! after a full disk. Segments written by InfluxDB name no predecessor, so a missing segment before one of
//! them is not detected. If a later segment names a segment as the one before it,
//! repair keeps that segment with at least its first mark. One loss
//! is not detected: a segment before the last one that was cut, or zeroed, from exactly the end of a group
//! on. Recovery and a full disk also leave such segments without a last mark.
//!
//! # Torn or corrupt
//!
//! When reading stops at an invalid place `B`, the first rule that applies decides:
//! 1. Only zeros follow: the end of a preallocated segment.
//! 2. A valid mark follows whose `durable` is beyond `B`: corruption, because `B` was synced. Other marks
//!    prove nothing: without a sync per group, several groups can be incomplete.
//! 3. An incomplete group of ours begins at `B`, and InfluxDB has opened the directory since: accepted, see
//!    below.
//! 4. A later segment holds data: corruption, because both programs sync a segment before they begin the
//!    next.
//! 5. The segment begins with our mark, the frame right before `B`, if any, belongs to a
//!    group of ours, and InfluxDB has not opened
//!    the directory since: a torn tail, because no mark states that the group at `B` was durable. The first
//!    mark is synced before any group.
//! 6. `B` is among frames of InfluxDB, or where InfluxDB would append: corruption if a valid frame follows
//!    anywhere, otherwise a torn tail.
//!
//! Random bytes after `B` can trigger rule 2 only if they contain the magic and a valid CRC, and rule 6 only
//! if they form a complete entry. The log then refuses to open, but no record is lost. A mark with a corrupt
//! magic is not an entry, because a bare deletion without keys is invalid.
//!
//! # When InfluxDB takes over
//!
//! While a segment of ours is active, an empty next segment exists. When InfluxDB starts after a crash of
//! ours, it removes the empty segment. It cuts our segment at the first frame that it cannot read, possibly
//! within an incomplete group, and begins its own segment. At its second start it appends to our segment. In
//! both cases it acknowledges what it writes, and serves the records of our group that it kept. So we must
//! read the same records.
//!
//! InfluxDB has opened the directory since our crash if one of these holds:
//! - No later segment is ours, and the next segment is missing or used. Our log makes the empty segment
//!   durable before it writes the first group. It keeps that segment until the last group is synced, or until
//!   recovery has durably cut it off.
//! - The frames from `B` on extend beyond the group that begins at `B`, and no mark is there.
//!
//! Then every frame from `B` on that InfluxDB can read is a record, and marks with incomplete groups are
//! ignored. No checksum covers these records, so they are reported as unverified. Opening for writing
//! rewrites the segment in one step with marks for them, because our later segments will hide that InfluxDB
//! was here. If the empty segment was lost in another way, for example by an incomplete copy, unacknowledged
//! records of the last group are read in the same way.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

mod scan;
mod snappy;

use std::ffi::OsStr;
use std::ops::Range;

use tsmith_codecs::Batch;

use crate::encoder::FrameEncoder;
use crate::entry::{self, Layout, SnappyWrites};
use crate::kind::{Format, Link};
use crate::scan::parse_number;
use crate::{Compression, ENTRY_BYTES_MAX, Error, Record, RecordKind, Result};

/// Bytes of a frame's kind and length.
const FRAME_HEADER_BYTES: usize = 5;
/// Bytes of a mark.
pub(crate) const MARK_BYTES: usize = 23;
/// Makes a deletion without keys a mark. InfluxDB knows no value type `T`, so a mark with a corrupt kind is
/// not a valid write.
const MARK_MAGIC: [u8; 4] = *b"TSm1";
/// The constant beginning of a mark: kind, length, and the snappy header of one 16-byte literal.
const MARK_HEAD: [u8; 7] = [3, 0, 0, 0, 0x12, 0x10, 0x3c];
/// One byte of snappy yields at most this many bytes. Longer claims are refused before memory is allocated.
const SNAPPY_RATIO_MAX: usize = 64;

const _: () = assert!(MARK_HEAD.len() + 16 == MARK_BYTES);

/// The file name of segment `number`.
pub(crate) fn file_name(number: u32) -> String {
    format!("_{number:05}.wal")
}

/// The number of a segment's file. `None` if the name is not in the exact form we write.
pub(crate) fn parse_name(name: &OsStr) -> Option<u32> {
    parse_number(name, file_name)
}

/// Encodes records as frames. Holds the compressor's tables.
#[derive(Debug)]
pub(crate) struct InfluxEncoder {
    snappy: snap::raw::Encoder,
    writes: SnappyWrites,
    /// Bytes after the frame are undefined, so the buffer need not be cleared.
    frame: Vec<u8>,
}

impl Default for InfluxEncoder {
    fn default() -> Self {
        Self { snappy: snap::raw::Encoder::new(), writes: SnappyWrites::default(), frame: Vec::new() }
    }
}

impl FrameEncoder for InfluxEncoder {
    fn new(_: Compression) -> Self {
        Self::default()
    }

    fn encode(&mut self, record: Record<'_>) -> Result<&[u8]> {
        let len = record.payload.len();
        if len > ENTRY_BYTES_MAX {
            return Err(Error::too_large("a record", len as u64, ENTRY_BYTES_MAX as u64));
        }
        let room = FRAME_HEADER_BYTES + snap::raw::max_compress_len(len);
        if self.frame.len() < room {
            self.frame.resize(room, 0);
        }
        let body = self.frame.get_mut(FRAME_HEADER_BYTES..).unwrap_or_default();
        let compressed = self.snappy.compress(record.payload, body);
        let compressed = compressed.map_err(|_| Error::corrupt(0, "space for the compressed payload"))?;
        Ok(self.finish(record.kind, FRAME_HEADER_BYTES + compressed))
    }

    /// Builds a payload only if a key occurs twice in the batch.
    fn encode_write(&mut self, batch: &Batch<'_>) -> Result<&[u8]> {
        if !batch.has_unique_keys() {
            let mut payload = Vec::new();
            entry::encode_write(batch, &mut payload)?;
            return self.encode(Record::write(&payload));
        }
        let end = self.writes.encode(batch, &mut self.frame, FRAME_HEADER_BYTES)?;
        Ok(self.finish(RecordKind::Write, end))
    }

    fn buffer_bytes(&self) -> usize {
        self.frame.capacity()
    }
}

impl InfluxEncoder {
    /// Writes the header of a frame that ends at `end`.
    fn finish(&mut self, kind: RecordKind, end: usize) -> &[u8] {
        let frame = self.frame.get_mut(..end).unwrap_or_default();
        if let Some(head) = frame.first_chunk_mut::<FRAME_HEADER_BYTES>() {
            let [a, b, c, d] = ((end - FRAME_HEADER_BYTES) as u32).to_be_bytes();
            *head = [kind.tag(), a, b, c, d];
        }
        frame
    }
}

/// The beginning of a group; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Everything below this offset of the segment was synced before the group was written.
    durable: u32,
    /// Bytes of the frames after the mark.
    pub(crate) len: u32,
}

impl Mark {
    /// Encodes the mark of the group `frames` at offset `at` of segment `segment`.
    pub(crate) fn encode(segment: u32, at: u32, durable: u32, frames: &[u8]) -> [u8; MARK_BYTES] {
        let mark = Self { durable, len: frames.len() as u32 };
        let mut out = [0; MARK_BYTES];
        let (head, rest) = out.split_at_mut(MARK_HEAD.len());
        head.copy_from_slice(&MARK_HEAD);
        let words =
            [MARK_MAGIC, durable.to_be_bytes(), mark.len.to_be_bytes(), mark.crc(segment, at, frames)];
        rest.copy_from_slice(words.as_flattened());
        out
    }

    /// Reads the mark at the beginning of `bytes` without verifying its checksum or group.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (magic, mark, _) = Self::words(bytes)?;
        (magic == MARK_MAGIC).then_some(mark)
    }

    fn crc(self, segment: u32, at: u32, frames: &[u8]) -> [u8; 4] {
        let mut crc = crc32fast::Hasher::new();
        for word in [segment, at, self.durable, self.len] {
            crc.update(&word.to_be_bytes());
        }
        crc.update(frames);
        crc.finalize().to_be_bytes()
    }

    /// The mark at the beginning of `bytes`, which are at offset `at`. `None` unless it is valid and its
    /// group complete.
    fn decode(segment: u32, at: u32, bytes: &[u8]) -> Option<Self> {
        let (mark, crc, frames) = Self::claimed(bytes)?;
        (crc == mark.crc(segment, at, frames)).then_some(mark)
    }

    /// The mark at the beginning of `bytes` if its group can be complete, with the stored checksum and the
    /// group. The checksum is not verified.
    fn claimed(bytes: &[u8]) -> Option<(Self, [u8; 4], &[u8])> {
        let (magic, mark, crc) = Self::words(bytes)?;
        let frames = bytes.get(MARK_BYTES..)?.get(..mark.len as usize)?;
        (magic == MARK_MAGIC).then_some((mark, crc, frames))
    }

    /// Magic, mark and checksum of bytes with the form of a mark. Nothing is verified.
    fn words(bytes: &[u8]) -> Option<([u8; 4], Self, [u8; 4])> {
        let words = bytes.strip_prefix(&MARK_HEAD)?.get(..MARK_BYTES - MARK_HEAD.len())?;
        let mut words = words.as_chunks::<4>().0.iter().copied();
        let magic = words.next()?;
        let mark =
            Self { durable: u32::from_be_bytes(words.next()?), len: u32::from_be_bytes(words.next()?) };
        Some((magic, mark, words.next()?))
    }
}

/// A mark that our logs write into InfluxDB's segments. It begins a group of records that are written
/// together, and holds a checksum for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMark {
    /// Offset of the mark in the segment.
    pub offset: u64,
    /// Everything below this offset of the segment was synced before the group was written. In the first mark
    /// of a segment: 1 plus the number of the last earlier segment with records, or 1 if there is none.
    pub durable: u32,
    /// Bytes of the records under the mark.
    pub len: u32,
}

/// The marks in `range` of a segment of InfluxDB's format, where `range` is between two records. Ends at
/// other bytes. Checksums are not verified.
pub fn group_marks(segment: &[u8], range: Range<u64>) -> impl Iterator<Item = GroupMark> {
    let bytes = segment.get(range.start as usize..range.end as usize).unwrap_or_default();
    bytes.chunks(MARK_BYTES).zip((range.start..).step_by(MARK_BYTES)).map_while(|(bytes, offset)| {
        let Mark { durable, len } = Mark::read(bytes)?;
        Some(GroupMark { offset, durable, len })
    })
}

/// InfluxDB's segments with our marks.
#[derive(Debug)]
pub(crate) struct Influx {
    segment: u32,
    before: u32,
}

impl Format for Influx {
    const LAYOUT: Layout = Layout::Influx;
    const INFLUX: bool = true;
    const HEAD_BYTES: u32 = MARK_BYTES as u32;
    const FRAME_HEADER_BYTES: u32 = FRAME_HEADER_BYTES as u32;
    const GROUP_BYTES: u32 = MARK_BYTES as u32;
    const END_BYTES: u32 = MARK_BYTES as u32;

    type Encoder = InfluxEncoder;

    fn begin(segment: u32, Link { before, .. }: Link) -> Self {
        Self { segment, before }
    }

    fn head(&self) -> Vec<u8> {
        // Nothing below the head is durable yet, so the head's `durable` field is free for the predecessor's
        // number.
        Mark::encode(self.segment, 0, self.before.saturating_add(1), &[]).to_vec()
    }

    fn seal(&mut self, at: u32, durable: u32, group: &mut [u8]) {
        if let Some((mark, frames)) = group.split_at_mut_checked(MARK_BYTES) {
            mark.copy_from_slice(&Mark::encode(self.segment, at, durable, frames));
        }
    }

    /// Without this last mark nothing proves that the last group was durable, and its corruption would look
    /// like a torn tail.
    fn end(&mut self, at: u32) -> Vec<u8> {
        Mark::encode(self.segment, at, at, &[]).to_vec()
    }
}
