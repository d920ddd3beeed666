//! Frames of etcd's log: a length, a record, and zeros up to a multiple of 8 bytes.
//!
//! ```text
//! ┌─────────────────┬──────────────────────────────────────────────────────────┬────────────┐
//! │ length <8B, LE> │ 08 kind │ 10 crc <1..5B> │ 1a len <1..10B> │ data <len>     │ zeros <pad> │
//! └─────────────────┴──────────────────────────────────────────────────────────┴────────────┘
//!   low 56 bits: bytes of the record; top byte: 0, or 0x80 | pad if there is padding
//! ```
//!
//! The checksum is CRC-32C over the data of all records so far, across all segments. A record without data
//! repeats the previous checksum. Kind, lengths and padding are not covered. A segment begins with a record
//! of kind 4, whose checksum field is the running value at the end of the segment before. A length of zero is
//! space that was never written: the end of the log.

use super::proto::{BYTES, NUMBER, message, varint_len};
use super::{Entry, EtcdError, HardState, SnapshotRecord};
use crate::crc32c;

/// Bytes of the length before a record.
pub(crate) const LENGTH_BYTES: usize = 8;
/// The unit a disk writes atomically. etcd assumes the same size to distinguish torn from corrupt.
const SECTOR_BYTES: u64 = 512;
/// etcd 3.4 writes records of this size and above, but cannot read them.
pub(crate) const RECORD_BYTES_MAX: u64 = 10 << 20;
/// Largest segment file. A segment ends at the first record end beyond the chosen size, which is below 4 GiB
/// here. A record is a protobuf message of less than 2 GiB.
pub const SEGMENT_BYTES_MAX: u64 = (1 << 32) + (1 << 31);

/// Kinds of records.
pub(crate) mod kind {
    pub(crate) const METADATA: i64 = 1;
    pub(crate) const ENTRY: i64 = 2;
    pub(crate) const STATE: i64 = 3;
    pub(crate) const CRC: i64 = 4;
    pub(crate) const SNAPSHOT: i64 = 5;
}

/// A record in a segment's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Its kind: 1 metadata, 2 entry, 3 hard state, 4 checksum, 5 snapshot.
    pub kind: i64,
    /// Its checksum field.
    pub crc: u32,
    /// Its data, if any.
    pub data: Option<&'a [u8]>,
    /// Offset of its frame in the segment.
    pub offset: u64,
    /// Bytes of the record, without length and padding.
    pub record_bytes: u64,
    /// Bytes of padding after it.
    pub padding: u8,
    /// Whether the frame has the exact form a writer produces: shortest encodings, and zeros as padding.
    pub canonical: bool,
}

/// The decoded data of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The metadata given to [`Wal::create`](super::Wal::create), if any.
    Metadata(Option<&'a [u8]>),
    /// An entry.
    Entry(Entry),
    /// A hard state.
    State(HardState),
    /// The checksum of all earlier segments. It begins a segment.
    Checksum,
    /// A snapshot exists.
    Snapshot(SnapshotRecord),
    /// A kind that etcd does not know.
    Unknown(i64),
}

impl<'a> RawRecord<'a> {
    /// The record whose frame begins at `offset`. Its checksum is not verified. `None` at the end of the file
    /// or in space that was never written.
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

    /// Decodes its data.
    ///
    /// # Errors
    /// The data is not a valid message of this kind.
    pub fn message(&self) -> Result<Message<'a>, EtcdError> {
        let data = self.data.unwrap_or_default();
        Ok(match self.kind {
            kind::METADATA => Message::Metadata(self.data),
            kind::ENTRY => Message::Entry(Entry::decode(data)?),
            kind::STATE => Message::State(HardState::decode(data)?),
            kind::CRC => Message::Checksum,
            kind::SNAPSHOT => Message::Snapshot(SnapshotRecord::decode(data)?),
            other => Message::Unknown(other),
        })
    }

    /// Offset of the next frame.
    pub fn end(&self) -> u64 {
        self.offset + LENGTH_BYTES as u64 + self.record_bytes + u64::from(self.padding)
    }
}

/// The records in a segment's bytes, up to the end of the log or the first invalid record. Checksums are not
/// verified.
pub fn records(segment: &[u8]) -> impl Iterator<Item = Result<RawRecord<'_>, EtcdError>> {
    RawRecords::new(segment)
}

/// Iterates over the records in a segment's bytes; see [`records`].
#[derive(Debug)]
pub(crate) struct RawRecords<'a> {
    bytes: &'a [u8],
    at: u64,
    ended: bool,
}

impl<'a> RawRecords<'a> {
    /// The records in `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self::starting_at(bytes, 0)
    }

    /// The records from offset `at` on.
    pub(super) fn starting_at(bytes: &'a [u8], at: u64) -> Self {
        Self { bytes, at, ended: false }
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

/// Iterates over the records of a segment and verifies the running checksum.
#[derive(Clone, Debug)]
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    /// Offset of the next frame. Everything before it is valid.
    pub(crate) at: u64,
    /// The running checksum. Zero accepts any checksum record.
    pub(crate) crc: u32,
    /// Whether this is the last segment. Only the last one can have a torn tail.
    last: bool,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(bytes: &'a [u8], crc: u32, last: bool) -> Self {
        Self { bytes, at: 0, crc, last }
    }

    /// The next record, or `None` at the end of the file or of the written space.
    pub(crate) fn next(&mut self) -> Result<Option<RawRecord<'a>>, EtcdError> {
        // A complete record above the limit can still be read, as in etcd 3.5.5 and later.
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

    /// The reason why the next frame is invalid: a torn write if a complete sector of it is zero. etcd checks
    /// this only in the last segment.
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

/// The frame at `offset` if all its bytes exist: its length, and the bytes of record and padding. `None` at
/// the end of the file or in unwritten space.
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

/// Splits a length word into the bytes of the record and of its padding.
fn split_length(length: u64) -> (u64, u64) {
    let record = length & ((1 << 56) - 1);
    (record, if length >> 63 == 1 { length >> 56 & 7 } else { 0 })
}
