//! The bytes of a segment.
//!
//! ```text
//! head    ┌───────────────┬─────────────┬──────────┐
//!         │ PLAINLOG <8B> │ number <8B> │ crc <4B> │      the number of the first record
//!         └───────────────┴─────────────┴──────────┘
//! record  ┌──────────┬──────────┬─────────────┬───────────┬─────────┐
//!         │ crc <4B> │ len <4B> │ number <8B> │ kind <1B> │ payload │
//!         └──────────┴──────────┴─────────────┴───────────┴─────────┘
//! ```
//! Numbers are little-endian. A checksum is a CRC-32 of all other bytes of its head or record.

use std::ffi::OsStr;

use tsmith_wal::{ENTRY_BYTES_MAX, Error, ErrorKind, Record, RecordKind, Result};

const MAGIC: [u8; 8] = *b"PLAINLOG";
pub(super) const HEAD_BYTES: usize = 20;
const RECORD_BYTES: usize = 17;

/// `0000000001.plain`.
pub(super) fn name(number: u64) -> String {
    format!("{number:010}.plain")
}

/// The number in the name of a segment.
pub(super) fn number(name: &OsStr) -> Option<u64> {
    let number = name.to_str()?.strip_suffix(".plain")?.parse().ok()?;
    (*name == *self::name(number)).then_some(number).filter(|number| *number < u32::MAX.into())
}

/// The head of a segment whose first record has this number.
pub(super) fn head(number: u64) -> Vec<u8> {
    let mut head = [&MAGIC[..], &number.to_le_bytes()].concat();
    head.extend(crc32fast::hash(&head).to_le_bytes());
    head
}

/// A record.
pub(super) fn encode(number: u64, record: Record<'_>) -> Result<Vec<u8>> {
    let len = record.payload.len();
    if len > ENTRY_BYTES_MAX {
        let (bytes, limit) = (len as u64, ENTRY_BYTES_MAX as u64);
        return Err(Error::new(ErrorKind::TooLarge { what: "a record", bytes, limit }));
    }
    let mut bytes = vec![0; 4];
    bytes.extend((len as u32).to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes.push(record.kind.tag());
    bytes.extend(record.payload);
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// The content of a segment.
pub(super) struct Segment<'a>(pub(super) &'a [u8]);

/// A record of a segment.
pub(super) struct Found<'a> {
    pub(super) number: u64,
    pub(super) record: Record<'a>,
    /// Where it ends.
    pub(super) end: usize,
}

impl<'a> Segment<'a> {
    /// The number of its first record; `None` if the head is corrupt.
    pub(super) fn first_number(&self) -> Option<u64> {
        let found = self.0.get(..HEAD_BYTES)?;
        let number = u64::from_le_bytes(found[8..16].try_into().ok()?);
        (found == head(number)).then_some(number)
    }

    /// The record at this offset; `None` if none is there that passes its checksum.
    pub(super) fn record(&self, at: usize) -> Option<Found<'a>> {
        let head: &[u8; RECORD_BYTES] = self.0.get(at..)?.first_chunk()?;
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let kind = RecordKind::from_tag(head[16])?;
        let end = (at + RECORD_BYTES).checked_add(u32_at(4) as usize)?;
        let checked = self.0.get(at + 4..end)?;
        if crc32fast::hash(checked) != u32_at(0) {
            return None;
        }
        let number = u64::from_le_bytes(checked[4..12].try_into().ok()?);
        Some(Found { number, record: Record { kind, payload: &checked[RECORD_BYTES - 4..] }, end })
    }

    /// Where the next record begins that has at least this number.
    pub(super) fn search(&self, from: usize, number: u64) -> Option<usize> {
        // The number first, for the checksum of a record is much work.
        let is_possible = |at: &usize| {
            let found = self.0.get(at + 8..at + 16).and_then(|bytes| bytes.try_into().ok());
            found.is_some_and(|found| {
                (number..=number.saturating_add(self.0.len() as u64)).contains(&u64::from_le_bytes(found))
            })
        };
        (from..self.0.len()).filter(is_possible).find(|at| self.record(*at).is_some())
    }

    /// Its length without the zeros at the end.
    pub(super) fn used_len(&self) -> usize {
        self.0.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
    }
}
