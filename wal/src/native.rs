//! Our own segment format, for logs that no other program reads.
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
//! Integers are little-endian; checksums are CRC-32C. The low half of `kind` is 1 write, 2 delete, 3 delete
//! range, 4 end. The high half is 0 for an uncompressed body, 1 for `plain len <4B>` and a zstd frame, 2 for
//! `plain len <4B>` and an LZ4 block. Writes are [columns](crate::entry::columns).
//!
//! - The length comes first, so that a scan finds the bounds of records without reading their bodies.
//! - `crc` covers the signature, the other header fields and the checksum of the body. The appending thread
//!   computes the body's checksum outside the lock. The leader computes the rest, because only it knows the
//!   other fields.
//! - `signature` is a random number for each use of a file, and part of every checksum. This allows files to
//!   be recycled: records of an earlier use fail their checksums. A recycled file's space is already
//!   allocated and written, so its syncs are overwrites.
//! - `sequence` counts the records of a segment from 0. It detects missing and repeated records.
//! - `first` is the number of the segment's first record. The log numbers its records from 0 across all
//!   segments. `front` is the number of the first record that was not truncated when the segment was begun.
//! - `durable`: everything below this offset was synced before the record was written.
//!
//! A segment gets its name once its head is durable. So an invalid head means corruption, unless the file is
//! shorter than a head. Salvage still keeps the records with its signature. After the last sync of a segment
//! the log writes an `end` record. Its `durable` is its own offset, and it holds the number of the next
//! record. Repair writes an `end` with a higher number to skip lost records.
//!
//! # Missing segments
//!
//! If a segment ends with record `n`, the next one begins with `n + 1`. So when recovery reads a later
//! segment, it detects that a segment is missing, empty or cut back to its head, and reports the missing
//! record numbers. A torn tail leaves no gap: recovery cuts it off before it begins the next segment, and its
//! record numbers are used again. The loss of the newest segment cannot be detected, because nothing else
//! states where a log ends.
//!
//! Records below the highest `front` of any segment may already be truncated, so they are no gap.
//! Truncation renames a segment to `<number of the next record, 20 digits>-<segment number, 8
//! digits>.free`. It syncs the directory before it truncates the next segment and before the space is
//! reused. The file name states where the log begins until a segment head does. After a crash, either the
//! segment or its renamed file exists. A new file is named `000...0-00000000.free` until it has its head.
//!
//! # Torn or corrupt
//!
//! An invalid place `B` is:
//! - the end, if only zeros follow;
//! - corruption, if a later segment holds data, or a valid record after `B` states that `B` was durable;
//! - otherwise a torn tail: the write at `B` was never completed. The remains of a recycled file's earlier
//!   use are treated in the same way.

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

/// Bytes of a segment's head.
pub(crate) const HEAD_BYTES: usize = 40;
/// Bytes of a record's header.
pub(crate) const RECORD_BYTES: usize = 17;
const END: u8 = 4;
const ZSTD: u8 = 0x10;
const LZ4: u8 = 0x20;
/// Level 1, because a log is written once and almost never read.
const ZSTD_LEVEL: i32 = 1;
/// Shorter payloads are not compressed.
const PACKED_BYTES_MIN: usize = 512;
/// One byte of an LZ4 block yields at most this many bytes. Longer claims are refused before memory is
/// allocated.
const LZ4_RATIO_MAX: usize = 255;

const _: () = assert!(Native::MAGIC.len() + 8 + 4 + 8 + 8 + 4 == HEAD_BYTES);
const _: () = assert!(4 + 4 + 4 + 4 + 1 == RECORD_BYTES);

/// Our own segments.
#[derive(Debug)]
pub(crate) struct Native {
    segment: u32,
    signature: u64,
    link: Link,
    sequence: u32,
}

impl Native {
    /// The first bytes of every segment.
    pub(crate) const MAGIC: [u8; 8] = *b"TSmithN2";
}

/// Encodes records. Holds the compressors' tables.
#[derive(Default)]
pub(crate) struct NativeEncoder {
    compression: Compression,
    frame: Vec<u8>,
    /// The frame with a compressed body. It is used if it is shorter.
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
    /// Starts a frame with space for its header; the caller appends the payload.
    fn begin(&mut self) -> &mut Vec<u8> {
        self.frame.clear();
        self.frame.resize(RECORD_BYTES, 0);
        &mut self.frame
    }

    /// Compresses the body if that makes it shorter, and fills in the header fields known outside the lock.
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

    /// Compresses the body into `packed` and returns the packing. `None` if the body stays uncompressed.
    fn pack(&mut self) -> Option<u8> {
        const HEAD_BYTES: usize = RECORD_BYTES + 4;
        let payload = self.frame.get(RECORD_BYTES..).filter(|payload| payload.len() >= PACKED_BYTES_MIN)?;
        let room = match self.compression {
            Compression::Stored => return None,
            Compression::Lz4 => block::get_maximum_output_size(payload.len()),
            // The compressor stops once its output would not be shorter.
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
        // The standard library's hash keys are the nearest source of random numbers. If two uses of a file
        // shared a signature, only the sequence could tell their records apart.
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

/// The header of a record, without the checksum.
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

/// A segment with one record and valid checksums, whatever the record holds. For tests of what passes the
/// checksums.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn sealed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut native = Native::begin(1, Link::default());
    let header = Header { len: body.len() as u32, durable: 0, sequence: 0, kind };
    let mut record = [&header.encode(crc32c::hash(body))[..], body].concat();
    native.seal(Native::HEAD_BYTES, 0, &mut record);
    [native.head(), record].concat()
}
