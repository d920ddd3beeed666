//! Frames of etcd's log: a length, a record, zeros up to a multiple of 8.
//!
//! ```text
//! ┌─────────────────┬──────────────────────────────────────────────────────────┬────────────┐
//! │ length <8B, LE> │ 08 kind │ 10 crc <1..5B> │ 1a len <1..10B> │ data <len>     │ zeros <pad> │
//! └─────────────────┴──────────────────────────────────────────────────────────┴────────────┘
//!   low 56 bits: bytes of the record; top byte: 0, or 0x80 | pad when there is padding
//! ```
//!
//! The checksum is CRC-32C over the data of all records so far, through all segments; a record without data repeats it.
//! Kind, lengths and padding are not covered. A segment begins with a record of kind 4, whose checksum field is
//! the running value at the end of the segment before. A length of zero is space that was never written: the end.

use std::iter;

use bytes::Bytes;

use super::proto::{BYTES, Head, NUMBER, message, varint_len};
use super::write_buffer::{SHARED_BYTES, WriteBuffer};
use super::{Entry, EtcdError, HardState};
use crate::crc32c;

/// Bytes of the length before a record.
pub(crate) const LENGTH_BYTES: usize = 8;
/// What a disk writes whole, as etcd assumes it when it tells torn from damaged.
const SECTOR_BYTES: u64 = 512;
/// etcd 3.4 does not read records of this size and above, though it writes them.
pub(crate) const RECORD_BYTES_MAX: u64 = 10 << 20;
/// The longest segment: one ends behind the size that was chosen, which has 32 bits here, where a record does; and a record
/// is a protobuf message, of less than 2 GiB.
pub const SEGMENT_BYTES_MAX: u64 = (1 << 32) + (1 << 31);

/// Kinds of records.
pub(crate) mod kind {
    pub(crate) const METADATA: i64 = 1;
    pub(crate) const ENTRY: i64 = 2;
    pub(crate) const STATE: i64 = 3;
    pub(crate) const CRC: i64 = 4;
    pub(crate) const SNAPSHOT: i64 = 5;
}

/// Makes frames, each with the checksum of all so far.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    pub(crate) crc: u32,
    /// What is not written to the file yet.
    pub(crate) waiting: WriteBuffer,
    pub(crate) watermark: Watermark,
}

impl Encoder {
    /// The frame of a record whose data is this, or that has none. Gives its length.
    pub(crate) fn record(&mut self, kind: i64, data: Option<&[u8]>) -> usize {
        if let Some(data) = data {
            return self.frame(kind, Head([]), [data]);
        }
        let (len, padding) = self.begin(kind, None);
        self.waiting.own.extend_from_slice(padding);
        len
    }

    #[inline]
    pub(crate) fn entry(&mut self, entry: &Entry) -> usize {
        match &entry.data {
            Some(data) if data.len() >= SHARED_BYTES => self.shared(entry, data),
            Some(data) => self.frame(kind::ENTRY, entry.head().before(data.len()), [data]),
            None => self.frame(kind::ENTRY, entry.head(), []),
        }
    }

    /// The frame of an entry whose content is not copied.
    #[cold]
    fn shared(&mut self, entry: &Entry, data: &Bytes) -> usize {
        let head = entry.head().before(data.len()).encode();
        self.crc = crc32c::append_all(self.crc, [&*head, data]);
        let (len, padding) = self.begin(kind::ENTRY, Some(head.len() + data.len()));
        self.waiting.own.extend_from_slice(&head);
        self.waiting.share(data.clone());
        self.waiting.own.extend_from_slice(padding);
        len
    }

    pub(crate) fn state(&mut self, state: &HardState) -> usize {
        self.frame(kind::STATE, state.head(), [])
    }

    /// The frame of a record whose data is `head`, then these pieces.
    #[inline]
    pub(crate) fn frame<const FIELDS: usize, const PIECES: usize>(
        &mut self,
        kind: i64,
        head: Head<FIELDS>,
        pieces: [&[u8]; PIECES],
    ) -> usize {
        let head = head.encode();
        self.crc = crc32c::append_all(self.crc, iter::once(&*head).chain(pieces));
        let data = head.len() + pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let (len, padding) = self.begin(kind, Some(data));
        let own = &mut self.waiting.own;
        for piece in iter::once(&*head).chain(pieces).chain([padding]) {
            own.extend_from_slice(piece);
        }
        len
    }

    /// Begins the frame of a record with so many bytes of data, which `crc` covers already. Gives the length of the frame
    /// and its padding.
    #[inline]
    fn begin(&mut self, kind: i64, data: Option<usize>) -> (usize, &'static [u8]) {
        let (kind, crc) = ((0x08, kind as u64), (0x10, self.crc.into()));
        let fields = match data {
            Some(len) => Head([kind, crc, (0x1a, len as u64)]).encode(),
            None => Head([kind, crc]).encode(),
        };
        let record = fields.len() + data.unwrap_or(0);
        let padding = record.wrapping_neg() % 8;
        let tag = if padding == 0 { 0 } else { (0x80 | padding as u64) << 56 };
        let own = &mut self.waiting.own;
        own.reserve(LENGTH_BYTES + record + padding);
        own.extend_from_slice(&(record as u64 | tag).to_le_bytes());
        own.extend_from_slice(&fields);
        let len = LENGTH_BYTES + record + padding;
        self.watermark.frame(len);
        (len, &[0; 8][..padding])
    }
}

/// A record in a segment's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Its kind: 1 metadata, 2 entry, 3 hard state, 4 checksum, 5 snapshot.
    pub kind: i64,
    /// Its checksum field.
    pub crc: u32,
    /// Its data, if it has some.
    pub data: Option<&'a [u8]>,
    /// Where its frame begins in the segment.
    pub offset: u64,
    /// Bytes of the record itself.
    pub record_bytes: u64,
    /// Bytes of padding behind it.
    pub padding: u8,
    /// Whether the frame is as a writer makes it: nothing longer than it must be, the padding zeros.
    pub canonical: bool,
}

impl<'a> RawRecord<'a> {
    /// The record whose frame begins at `offset`, not checked against any checksum; `None` where the file ends or was not
    /// written.
    pub(crate) fn at(bytes: &'a [u8], offset: u64) -> Result<Option<Self>, EtcdError> {
        let Some((length, frame)) = frame_at(bytes, offset)? else { return Ok(None) };
        let (record_bytes, padding) = split_length(length);
        let (record, pad) = frame.split_at(record_bytes as usize);
        let [kind, full_crc, data] = message("a record", [NUMBER, NUMBER, BYTES], record)?;
        let (kind, crc, data) = (kind.or_zero() as i64, full_crc.or_zero() as u32, data.bytes());
        let least = (8 - record_bytes % 8) % 8;
        let top = if least == 0 { 0 } else { 0x80 | least };
        let data_bytes = data.map_or(0, |data| 1 + varint_len(data.len() as u64) + data.len());
        let written = 2 + varint_len(kind as u64) + varint_len(crc.into()) + data_bytes;
        let canonical = length >> 56 == top
            && pad.iter().all(|&byte| byte == 0)
            && written as u64 == record_bytes
            && full_crc.or_zero() == u64::from(crc);
        Ok(Some(Self { kind, crc, data, offset, record_bytes, padding: padding as u8, canonical }))
    }

    /// Where the next frame begins.
    pub fn end(&self) -> u64 {
        self.offset + LENGTH_BYTES as u64 + self.record_bytes + u64::from(self.padding)
    }
}

/// The records of a segment's bytes as they stand there, not checked against a checksum, up to the end of the log
/// or the first that is no record.
#[derive(Debug)]
pub struct RawRecords<'a> {
    bytes: &'a [u8],
    at: u64,
    ended: bool,
}

impl<'a> RawRecords<'a> {
    /// The records of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::starting_at(bytes, 0)
    }

    /// Those from this offset on.
    pub(super) fn starting_at(bytes: &'a [u8], at: u64) -> Self {
        Self { bytes, at, ended: false }
    }

    /// Where the next one would begin.
    pub fn offset(&self) -> u64 {
        self.at
    }
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, EtcdError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let record = RawRecord::at(self.bytes, self.at).transpose()?;
        match &record {
            Ok(record) => self.at = record.end(),
            Err(_) => self.ended = true,
        }
        Some(record)
    }
}

/// The records of a segment, one after the other, checked against the running checksum.
#[derive(Clone, Debug)]
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    /// Where the next frame begins: all before it is good.
    pub(crate) at: u64,
    /// The running checksum; zero accepts whatever a checksum record says.
    pub(crate) crc: u32,
    /// Only the last segment can be torn.
    last: bool,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(bytes: &'a [u8], crc: u32, last: bool) -> Self {
        Self { bytes, at: 0, crc, last }
    }

    /// The next record; `None` at the end of the file or where it was never written.
    pub(crate) fn next(&mut self) -> Result<Option<RawRecord<'a>>, EtcdError> {
        // A record of the limit's size that is there whole can be read, and etcd 3.5.5 and later does.
        let record = RawRecord::at(self.bytes, self.at).map_err(|error| self.torn_or(error))?;
        let Some(record) = record else { return Ok(None) };
        if record.kind == kind::CRC {
            if self.crc != 0 && self.crc != record.crc {
                return Err(EtcdError::Chain { stored: record.crc, computed: self.crc });
            }
            self.crc = record.crc;
        } else {
            let crc = crc32c::append(self.crc, record.data.unwrap_or_default());
            if crc != record.crc {
                return Err(self.torn_or(EtcdError::Crc { stored: record.crc, computed: crc }));
            }
            self.crc = crc;
        }
        self.at = record.end();
        Ok(Some(record))
    }

    /// What is wrong with the next frame: a sector that was never written is zero, if it is there whole; etcd looks for one in
    /// the last segment only.
    fn torn_or(&self, error: EtcdError) -> EtcdError {
        let Ok(Some((_, mut rest))) = frame_at(self.bytes, self.at) else { return error };
        let mut at = self.at + LENGTH_BYTES as u64;
        while self.last && !rest.is_empty() {
            let len = (SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len() as u64);
            let (piece, after) = rest.split_at(len as usize);
            if piece.iter().all(|&byte| byte == 0) {
                return EtcdError::Torn;
            }
            (rest, at) = (after, at + len);
        }
        error
    }
}

/// The frame at `offset`, if its bytes are all there: its length, and then the record and the padding, of whatever content.
/// `None` where the file ends or was not written.
fn frame_at(bytes: &[u8], offset: u64) -> Result<Option<(u64, &[u8])>, EtcdError> {
    let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    if rest.is_empty() {
        return Ok(None);
    }
    let (length, rest) = rest.split_first_chunk().ok_or(EtcdError::Torn)?;
    let length = u64::from_le_bytes(*length);
    if length == 0 {
        return Ok(None);
    }
    let (record, padding) = split_length(length);
    match usize::try_from(record + padding).ok().and_then(|len| rest.get(..len)) {
        Some(frame) => Ok(Some((length, frame))),
        None if record + padding >= RECORD_BYTES_MAX => Err(EtcdError::Length { bytes: record }),
        None => Err(EtcdError::Torn),
    }
}

/// Bytes of record and padding.
fn split_length(length: u64) -> (u64, u64) {
    let record = length & ((1 << 56) - 1);
    (record, if length >> 63 == 1 { length >> 56 & 7 } else { 0 })
}

/// Where etcd's page writer would have written to the file by now.
///
/// etcd cuts a segment by the bytes that reached the file, not by those in its buffer of 128 KiB. Whoever wants the same
/// segments has to know how far it would be; what is written early is always whole pages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watermark {
    /// The position in the file.
    pub(crate) flushed: u64,
    buffered: u64,
}

const BUFFER_BYTES: u64 = 128 << 10;
const PAGE_BYTES: u64 = 4096;

impl Watermark {
    pub(crate) fn new(offset: u64) -> Self {
        Self { flushed: offset, buffered: 0 }
    }

    /// A frame was encoded: its length and its body are two writes.
    pub(crate) fn frame(&mut self, bytes: usize) {
        self.write(LENGTH_BYTES as u64);
        self.write((bytes - LENGTH_BYTES) as u64);
    }

    fn write(&mut self, mut bytes: u64) {
        if self.buffered + bytes > BUFFER_BYTES {
            let slack = PAGE_BYTES - (self.flushed + self.buffered) % PAGE_BYTES;
            if slack != PAGE_BYTES {
                let filled = slack.min(bytes);
                self.buffered += filled;
                bytes -= filled;
                if filled < slack {
                    return;
                }
            }
            self.flush();
            if bytes > PAGE_BYTES {
                self.flushed += bytes / PAGE_BYTES * PAGE_BYTES;
                bytes %= PAGE_BYTES;
            }
        }
        self.buffered += bytes;
    }

    /// Where the file ends when all is flushed.
    pub(crate) fn end(&self) -> u64 {
        self.flushed + self.buffered
    }

    pub(crate) fn flush(&mut self) {
        self.flushed += self.buffered;
        self.buffered = 0;
    }
}

#[cfg(test)]
mod tests;
