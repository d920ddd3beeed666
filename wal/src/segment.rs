//! Segments: the bytes of one file of a log.
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
//! A frame has no checksum: if a power cut leaves a sector out of a long literal, the rest is still valid snappy, and the
//! record comes back with other values. And the sectors of a group reach the disk in any order, so a torn frame may have
//! intact ones behind it. So our logs write a mark before each group, and in a group before the next frame after every
//! 4 KiB. All frames under a mark are lost with one of them. InfluxDB reads a mark as a deletion of a range of times from
//! no key, which does nothing. Its sixteen bytes say
//! - `len` and `crc`: the mark stands for these bytes and no others. The CRC-32 covers the number of the segment, the
//!   offset of the mark, `durable`, `len` and the frames, so a mark is valid in one place only;
//! - `durable`: all below this offset of the segment was synced before the group was written. In the first mark it is
//!   1 plus the number of the last segment before it that held records, or 1 if there is none.
//!
//! At the end of a segment the log syncs it, then writes a mark of length 0 whose `durable` is the end of the last group:
//! so corruption of that group is told from a torn write.
//!
//! By the first marks recovery detects a segment in the middle that is gone, empty or zero. Numbers do not tell: InfluxDB
//! leaves one out when it removes an empty segment, and our logs after a full disk. Segments of InfluxDB name nothing: there
//! neither is detected. A segment that a later one names keeps its first mark when a repair leaves nothing else. A segment before the last one that was cut short, or is zero, from exactly the end of a group is not
//! detected: recovery and a full disk also leave one without a last mark.
//!
//! # Torn or corrupt
//!
//! When reading stops at an invalid place `B`, the first rule that applies counts:
//! 1. Only zeros follow: the end of a segment that was allocated ahead.
//! 2. A valid mark follows whose `durable` is beyond `B`: corruption, because `B` was synced. Other marks prove nothing:
//!    without a sync for each group several groups may be incomplete.
//! 3. An incomplete group of ours begins at `B`, and InfluxDB has opened the directory since: accepted, see below.
//! 4. A later segment holds something: corruption, because either program syncs a segment before it begins the next.
//! 5. The segment begins with our mark, no bare frame stands right before `B`, and InfluxDB has not opened the directory
//!    since: torn, because no mark says that the group at `B` was durable. The first mark is synced before any group.
//! 6. `B` is among frames of InfluxDB, or where it would append some: corruption if a valid frame follows anywhere, else
//!    torn.
//!
//! A false find in rule 2 or 6 refuses to open and never loses a record. For rule 2 that takes the magic and a CRC of its
//! place; for rule 6 a whole frame with the grammar of an entry. A mark that lost its magic is no entry: bare deletions
//! without a key are refused.
//!
//! # When InfluxDB takes over
//!
//! While a segment of ours is active an empty next segment exists. When InfluxDB starts after a crash of ours it removes
//! that one, cuts our segment at the first frame that it cannot read, which may be within an incomplete group, and begins
//! a segment of its own. At its second start it appends to ours. Either way it acknowledges what it writes, and answers
//! with the records of our group that it kept. So we read the same records. InfluxDB has opened the directory since our
//! crash if
//! - no later segment is ours, and the next segment is gone or used. Our log makes the empty segment durable before it
//!   writes the first group, and keeps it until the last group is synced or recovery has cut it off durably; or if
//! - the frames from `B` on go beyond the group that begins at `B`, and no mark is there.
//!
//! Then every frame from `B` on that InfluxDB reads is a record, and marks without their groups are none. No checksum covers
//! these records, so they are reported as unverified. Opening for writing replaces the segment in one step by one that
//! has them under marks, because later segments of ours will hide that InfluxDB was here. If the empty segment was lost in
//! another way, by a copy for instance, records of the last group that were never acknowledged are read like that, too.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

mod scan;
mod snappy;

use std::ffi::OsStr;

use tsmith_codecs::Batch;

use crate::entry::{self, Layout, SnappyWrites};
use crate::kind::{Format, Link};
use crate::{Compression, ENTRY_BYTES_MAX, Error, Record, RecordKind, Result};

pub use crate::encoder::FrameEncoder;
use crate::scan::parse_number;
pub use scan::InfluxScan;

/// Kind and length of a frame.
pub const FRAME_HEADER_BYTES: usize = 5;
/// A mark, whole.
pub const MARK_BYTES: usize = 23;
/// What makes a deletion without keys a mark. As kind of a value `T` is unknown to InfluxDB, so that a mark whose
/// kind is corrupt is not a write.
const MARK_MAGIC: [u8; 4] = *b"TSm1";
/// The unchanging beginning of a mark: kind, length, and snappy's header of one literal of 16 bytes.
const MARK_HEAD: [u8; 7] = [3, 0, 0, 0, 0x12, 0x10, 0x3c];
/// A byte of snappy yields at most this many: longer claims are refused before memory is taken for them.
const SNAPPY_RATIO_MAX: usize = 64;

const _: () = assert!(MARK_HEAD.len() + 16 == MARK_BYTES);

/// The file name of segment `number`.
pub fn file_name(number: u32) -> String {
    format!("_{number:05}.wal")
}

/// The number of a segment's file; `None` for a name that is not one of ours, or not written our way.
pub fn parse_name(name: &OsStr) -> Option<u32> {
    parse_number(name, file_name)
}

/// Encodes records as frames. Holds the tables of the compressor.
#[derive(Debug)]
pub struct InfluxEncoder {
    snappy: snap::raw::Encoder,
    writes: SnappyWrites,
    /// What stands behind the frame means nothing: it is not cleared each time.
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
        let compressed = compressed.map_err(|_| Error::corrupt(0, "room for the compressed payload"))?;
        Ok(self.finish(record.kind, FRAME_HEADER_BYTES + compressed))
    }

    /// A payload is made only of a batch that has a key twice.
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
    /// Puts the header before the body of a frame that ends at `end`.
    fn finish(&mut self, kind: RecordKind, end: usize) -> &[u8] {
        let frame = self.frame.get_mut(..end).unwrap_or_default();
        if let Some(head) = frame.first_chunk_mut::<FRAME_HEADER_BYTES>() {
            let [a, b, c, d] = ((end - FRAME_HEADER_BYTES) as u32).to_be_bytes();
            *head = [kind.tag(), a, b, c, d];
        }
        frame
    }
}

/// The beginning of a group. See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Below this offset the segment was synced before the group was written.
    pub durable: u32,
    /// Bytes of the frames after the mark.
    pub len: u32,
}

impl Mark {
    /// The mark of the group `frames`, for offset `at` of this segment.
    pub fn encode(segment: u32, at: u32, durable: u32, frames: &[u8]) -> [u8; MARK_BYTES] {
        let mark = Self { durable, len: frames.len() as u32 };
        let mut out = [0; MARK_BYTES];
        let (head, rest) = out.split_at_mut(MARK_HEAD.len());
        head.copy_from_slice(&MARK_HEAD);
        let words =
            [MARK_MAGIC, durable.to_be_bytes(), mark.len.to_be_bytes(), mark.crc(segment, at, frames)];
        rest.copy_from_slice(words.as_flattened());
        out
    }

    /// The mark that `bytes` begin with. Neither its checksum nor its group is checked.
    pub fn read(bytes: &[u8]) -> Option<Self> {
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

    /// The mark at the beginning of `bytes`, which stand at offset `at`; `None` unless it is there, and its group
    /// whole.
    fn decode(segment: u32, at: u32, bytes: &[u8]) -> Option<Self> {
        let (mark, crc, frames) = Self::claimed(bytes)?;
        (crc == mark.crc(segment, at, frames)).then_some(mark)
    }

    /// What stands there, if it is like a mark and its group could be whole: with the checksum and the group, unchecked.
    fn claimed(bytes: &[u8]) -> Option<(Self, [u8; 4], &[u8])> {
        let (magic, mark, crc) = Self::words(bytes)?;
        let frames = bytes.get(MARK_BYTES..)?.get(..mark.len as usize)?;
        (magic == MARK_MAGIC).then_some((mark, crc, frames))
    }

    /// Magic, mark and checksum of what InfluxDB takes for the deletion that every mark is; nothing is checked.
    fn words(bytes: &[u8]) -> Option<([u8; 4], Self, [u8; 4])> {
        let words = bytes.strip_prefix(&MARK_HEAD)?.get(..MARK_BYTES - MARK_HEAD.len())?;
        let mut words = words.chunks_exact(4).map(|word| <[u8; 4]>::try_from(word).unwrap_or_default());
        let magic = words.next()?;
        let mark =
            Self { durable: u32::from_be_bytes(words.next()?), len: u32::from_be_bytes(words.next()?) };
        Some((magic, mark, words.next()?))
    }
}

/// InfluxDB's segments, with our marks.
#[derive(Debug)]
pub struct Influx {
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
        // Nothing is durable below the head; so the word is free.
        Mark::encode(self.segment, 0, self.before.saturating_add(1), &[]).to_vec()
    }

    fn seal(&mut self, at: u32, durable: u32, group: &mut [u8]) {
        if let Some((mark, frames)) = group.split_at_mut_checked(MARK_BYTES) {
            mark.copy_from_slice(&Mark::encode(self.segment, at, durable, frames));
        }
    }

    /// Without it nothing proves the last group durable, and corruption there would pass for a torn tail.
    fn end(&mut self, at: u32) -> Vec<u8> {
        Mark::encode(self.segment, at, at, &[]).to_vec()
    }
}
