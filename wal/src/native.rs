//! Our own segments, for logs that no other program reads.
//!
//! ```text
//! segment ┌────────────┬────────────────┬─────────────┬────────────┬────────────┬──────────┐
//! head    │ magic <8B> │ signature <8B> │ number <4B> │ first <8B> │ front <8B> │ crc <4B> │   40 bytes, of all before
//!         └────────────┴────────────────┴─────────────┴────────────┴────────────┴──────────┘
//! record  ┌──────────┬──────────┬──────────────┬──────────────┬───────────┬────────────┐
//!         │ len <4B> │ crc <4B> │ durable <4B> │ sequence <4B>│ kind <1B> │ body <len> │   17 bytes, then the body
//!         └──────────┴──────────┴──────────────┴──────────────┴───────────┴────────────┘
//! segment   head │ record │ record │ ... │ an end, or what the file held before
//! ```
//!
//! Integers are little-endian, checksums CRC-32C. The low half of `kind` is 1 write, 2 delete, 3 delete range, 4 end. The
//! high half is 0 for a body as it was given, 1 for `plain len <4B>` and a zstd frame, 2 for the same and an LZ4 block.
//! Writes are [columns](crate::entry::columns).
//!
//! - The length comes first, so a scan finds the bounds of records without reading their bodies.
//! - `crc` covers the signature, the other fields and the checksum of the body. The appending thread computes the checksum
//!   of the body outside the lock; the leader does the rest, because only it knows the other fields.
//! - `signature` is a random number for each life of a file, and part of every checksum. So a file can be recycled: what its
//!   earlier life left behind the end is noise. Its space is allocated and written already, and its syncs are overwrites.
//! - `sequence` counts the records of a segment from 0, so none is missing or there twice.
//! - `first` is the number of the segment's first record. The log counts its records from 0 through all segments. `front`
//!   is the number of the first record that was not truncated when the segment was begun.
//! - `durable`: all below this offset was synced before the record was written.
//!
//! A segment gets its name when its head is durable. So an invalid head is corrupt, unless the file is shorter than a head;
//! records with its signature are salvaged. After the last sync of a segment the log writes an `end` with `durable` at its
//! own offset and the number of the next record. A repair writes one with a higher number, for records that are lost.
//!
//! # Missing segments
//!
//! If a segment ends with record `n`, the next one begins with `n + 1`. So recovery detects a segment that is gone, empty or
//! cut back to its head when it reads a later one, and reports the records that it held. A torn tail leaves no gap:
//! recovery cuts it off before it begins the next segment, and its numbers are used again. Only a missing newest segment
//! is not detected, because nothing else says where a log ends.
//!
//! All records below the `front` of any segment may be gone. Truncation renames a segment to `<number of the next record,
//! 20 digits>-<of the segment, 8 digits>.free`, and syncs the directory before it truncates the next one or the space is
//! used again. So the name says where the log begins until a head does, and after a crash the segment or its name is there. A
//! new file is `000...0-00000000.free` until it has its head.
//!
//! # Torn or corrupt
//!
//! If no valid record is at a place `B` and only zeros follow, it is the end. If a later segment holds something, or a valid
//! record behind `B` says that `B` was durable, it is corrupt. Else the write at `B` was never complete: it is torn, and so
//! is what a recycled file held before.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

mod scan;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::{fmt, mem};

use lz4_flex::block::{self, CompressTable};
use tsmith_codecs::Batch;

use crate::crc32c;
use crate::encoder::FrameEncoder;
use crate::entry::Layout;
use crate::kind::{Format, Link};
use crate::{Compression, ENTRY_BYTES_MAX, Error, Record, RecordKind, Result};

pub use scan::NativeScan;

/// The beginning of a segment.
pub const HEAD_BYTES: usize = 40;
/// A record without its body.
pub const RECORD_BYTES: usize = 17;
const END: u8 = 4;
const ZSTD: u8 = 0x10;
const LZ4: u8 = 0x20;
/// Level 1: a log is written once and read almost never.
const ZSTD_LEVEL: i32 = 1;
/// Shorter payloads are not worth it.
const PACKED_BYTES_MIN: usize = 512;
/// A byte of an LZ4 block yields at most this many: longer claims are refused before memory is taken for them.
const LZ4_RATIO_MAX: usize = 255;

const _: () = assert!(Native::MAGIC.len() + 8 + 4 + 8 + 8 + 4 == HEAD_BYTES);
const _: () = assert!(4 + 4 + 4 + 4 + 1 == RECORD_BYTES);

/// Segments of our own.
#[derive(Debug)]
pub struct Native {
    segment: u32,
    signature: u64,
    link: Link,
    sequence: u32,
}

impl Native {
    /// The first bytes of every segment.
    pub(crate) const MAGIC: [u8; 8] = *b"TSmithN2";
}

/// Encodes records. Holds the tables of the compressors.
#[derive(Default)]
pub struct NativeEncoder {
    compression: Compression,
    frame: Vec<u8>,
    /// The frame with its body compressed; it takes the place of the other if it is shorter.
    packed: Vec<u8>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    lz4: Option<CompressTable>,
}

impl FrameEncoder for NativeEncoder {
    fn new(compression: Compression) -> Self {
        Self { compression, ..Self::default() }
    }

    fn encode(&mut self, record: Record<'_>) -> Result<&[u8]> {
        let len = record.payload.len();
        if len > ENTRY_BYTES_MAX {
            return Err(Error::too_large("a record", len as u64, ENTRY_BYTES_MAX as u64));
        }
        self.begin().extend_from_slice(record.payload);
        Ok(self.finish(record.kind))
    }

    fn encode_write(&mut self, batch: &Batch<'_>) -> Result<&[u8]> {
        Native::LAYOUT.encode_write(batch, self.begin())?;
        Ok(self.finish(RecordKind::Write))
    }

    fn buffer_bytes(&self) -> usize {
        self.frame.capacity() + self.packed.capacity()
    }
}

impl NativeEncoder {
    /// The frame with room for its header, for the payload to be appended.
    fn begin(&mut self) -> &mut Vec<u8> {
        self.frame.clear();
        self.frame.resize(RECORD_BYTES, 0);
        &mut self.frame
    }

    /// Compresses the body if that makes it shorter, and fills the header in as far as it is known outside the lock.
    fn finish(&mut self, kind: RecordKind) -> &[u8] {
        let packing = self.pack();
        if packing.is_some() {
            mem::swap(&mut self.frame, &mut self.packed);
        }
        if let Some((header, body)) = self.frame.split_first_chunk_mut() {
            let kind = kind.tag() | packing.unwrap_or(0);
            let begun = Header { len: body.len() as u32, durable: 0, sequence: 0, kind };
            *header = begun.encode(crc32c::hash(body));
        }
        &self.frame
    }

    /// Compresses the body into `packed`. Gives how, or `None` if it stays as it is.
    fn pack(&mut self) -> Option<u8> {
        const HEAD_BYTES: usize = RECORD_BYTES + 4;
        let payload = self.frame.get(RECORD_BYTES..).filter(|payload| payload.len() >= PACKED_BYTES_MIN)?;
        let room = match self.compression {
            Compression::Stored => return None,
            Compression::Lz4 => block::get_maximum_output_size(payload.len()),
            // For what is shorter only: with less room the compressor gives up.
            Compression::Zstd => payload.len() - 4,
        };
        self.packed.resize(HEAD_BYTES + room, 0);
        self.packed.get_mut(RECORD_BYTES..HEAD_BYTES)?.copy_from_slice(&(payload.len() as u32).to_le_bytes());
        let body = self.packed.get_mut(HEAD_BYTES..)?;
        let (packing, len) = if self.compression == Compression::Lz4 {
            let table = self.lz4.get_or_insert_with(CompressTable::large);
            (LZ4, block::compress_into_with_table(payload, body, table).ok()?)
        } else {
            if self.zstd.is_none() {
                self.zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
            }
            (ZSTD, self.zstd.as_mut()?.compress_to_buffer(payload, body).ok()?)
        };
        self.packed.truncate(HEAD_BYTES + len);
        (len + 4 < payload.len()).then_some(packing)
    }
}

impl fmt::Debug for NativeEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeEncoder").finish_non_exhaustive()
    }
}

impl Format for Native {
    const LAYOUT: Layout = Layout::Columns;
    const INFLUX: bool = false;
    const HEAD_BYTES: u32 = HEAD_BYTES as u32;
    const FRAME_HEADER_BYTES: u32 = RECORD_BYTES as u32;
    const GROUP_BYTES: u32 = 0;
    const END_BYTES: u32 = RECORD_BYTES as u32;

    type Encoder = NativeEncoder;

    fn begin(segment: u32, link: Link) -> Self {
        // The standard library's keys are the nearest source of numbers that do not repeat. Two lives of a file that
        // share one are told apart by nothing but the sequence.
        let mut entropy = RandomState::new().build_hasher();
        entropy.write_u32(segment);
        Self { segment, signature: entropy.finish(), link, sequence: 0 }
    }

    fn head(&self) -> Vec<u8> {
        let mut head = Self::MAGIC.to_vec();
        head.extend(self.signature.to_le_bytes());
        head.extend(self.segment.to_le_bytes());
        head.extend(self.link.first.to_le_bytes());
        head.extend(self.link.front.to_le_bytes());
        head.extend(crc32c::hash(&head).to_le_bytes());
        head
    }

    fn seal(&mut self, _: u32, durable: u32, mut group: &mut [u8]) {
        while let Some((header, rest)) = group.split_first_chunk_mut() {
            let (begun, body_crc) = Header::decode(header);
            let whole = Header { durable, sequence: self.sequence, ..begun };
            *header = whole.encode(whole.crc(self.signature, body_crc));
            self.sequence = self.sequence.wrapping_add(1);
            group = rest.get_mut(begun.len as usize..).unwrap_or_default();
        }
    }

    fn skip_to(&mut self, next: u64) {
        self.sequence = u32::try_from(next.saturating_sub(self.link.first)).unwrap_or(u32::MAX);
    }

    fn end(&mut self, at: u32) -> Vec<u8> {
        let header = Header { len: 0, durable: at, sequence: self.sequence, kind: END };
        header.encode(header.crc(self.signature, crc32c::hash(&[]))).to_vec()
    }
}

/// What precedes a body, without the checksum.
#[derive(Clone, Copy, Debug)]
struct Header {
    len: u32,
    durable: u32,
    sequence: u32,
    kind: u8,
}

impl Header {
    fn encode(self, crc: u32) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        let words = [self.len, crc, self.durable, self.sequence].map(u32::to_le_bytes);
        let (head, kind) = out.split_at_mut(RECORD_BYTES - 1);
        head.copy_from_slice(words.as_flattened());
        kind.copy_from_slice(&[self.kind]);
        out
    }

    fn decode(bytes: &[u8; RECORD_BYTES]) -> (Self, u32) {
        let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, kind] = bytes;
        let [len, crc, durable, sequence] =
            [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_le_bytes);
        (Self { len, durable, sequence, kind }, crc)
    }

    fn crc(self, signature: u64, body_crc: u32) -> u32 {
        let mut covered = [0; 8 + RECORD_BYTES];
        let (of_file, of_record) = covered.split_at_mut(8);
        of_file.copy_from_slice(&signature.to_le_bytes());
        of_record.copy_from_slice(&self.encode(body_crc));
        crc32c::hash(&covered)
    }

    fn is_known(self) -> bool {
        let (kind, packing) = (self.kind & 0x0f, self.kind & 0xf0);
        let record = RecordKind::from_tag(kind).is_some() && [0, ZSTD, LZ4].contains(&packing);
        record || (self.kind == END && self.len == 0)
    }
}

/// A segment of one record whose checksums are right, whatever it holds: for who tries what a checksum lets through.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn sealed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut native = Native::begin(1, Link::default());
    let header = Header { len: body.len() as u32, durable: 0, sequence: 0, kind };
    let mut record = [&header.encode(crc32c::hash(body))[..], body].concat();
    native.seal(Native::HEAD_BYTES, 0, &mut record);
    [native.head(), record].concat()
}
