//! One batch of deletes as a gzip member, for appending to a tombstone file of version 4.
//!
//! ```text
//! ┌────────────────────────┬─────────┬──────────┬─────────────┬────────────────┬─────────┬──────────┐
//! │ 1f 8b 08 04 .. TS <16B> │ len <4B> │ check <4B> │ deflate ... │ crc32, LE <4B> │ len, LE <4B> │
//! └────────────────────────┴─────────┴──────────┴─────────────┴────────────────┴─────────┴──────────┘
//! ```
//!
//! The extra field of the gzip header holds the length of the member; other readers skip it. With the length, the
//! reader can distinguish an interrupted append from a complete member that is corrupt.
//!
//! If a member ends inside a record, InfluxDB treats it as corruption: it renames the TSM file and does not open the
//! shard. If a member ends inside its header, InfluxDB ignores it. So a member is appended *open*: all of it is a
//! header, and it holds no records. After it is durable, one byte closes it: the high byte of the length of the extra
//! field.
//!
//! ```text
//! open    │ header, extra field: ................................................... │ empty deflate, crc32, len │
//! closed  │ header, extra field │ deflate ... │ crc32 │ len │ header, extra field: 255 ... │ empty deflate, crc32, len │
//! ```
//!
//! The open form is one intact gzip member, and the closed form is two. In both forms, readers find what is appended
//! after it.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)
)]

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use tsmith_codecs::TimeRange;

/// A gzip header without time and name. Then the length of the extra field, and the name and length of its only part.
const HEADER: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, /* extra */ 12, 0, b'T', b'S', 8, 0];
/// The length of the header, including the length of the member and its check.
const HEADER_BYTES: usize = HEADER.len() + 4 + 4;
/// The high byte of the length of the extra field. Writing it closes an appended member.
pub const MEMBER_OPEN_AT: usize = 11;
/// The length of an open member without the part of its extra field that the byte above counts.
const OPEN_BYTES: usize = HEADER.len() - 4 + 12 + EMPTY_END.len();
/// An empty deflate stream with its checksum and length.
const EMPTY_END: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The header of an empty member, before the length of its extra field.
const EMPTY_BEGIN: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
/// The longest member that is appended.
const APPENDED_BYTES_MAX: usize = OPEN_BYTES + 255 * 256;
/// The unit that a power cut writes completely or not at all.
const SECTOR_BYTES: usize = 512;

/// Appends the member of these records to `out`.
pub(super) fn write_member<'t>(records: impl IntoIterator<Item = (&'t [u8], TimeRange)>, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&HEADER);
    out.extend_from_slice(&[0; HEADER_BYTES - HEADER.len()]); // filled in at the end
    let (mut crc, mut bytes) = (crc32fast::Hasher::new(), 0_u32);
    let mut deflate = DeflateEncoder::new(&mut *out, Compression::fast());
    let mut record = Vec::new();
    for (key, range) in records {
        record.clear();
        record.extend_from_slice(&(key.len() as u32).to_be_bytes());
        record.extend_from_slice(key);
        record.extend_from_slice(&range.min.to_be_bytes());
        record.extend_from_slice(&range.max.to_be_bytes());
        crc.update(&record);
        bytes = bytes.wrapping_add(record.len() as u32); // modulo 2^32, as in gzip
        deflate.write_all(&record).expect("writing to a vector never fails");
    }
    deflate.finish().expect("writing to a vector never fails");
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    out.extend_from_slice(&bytes.to_le_bytes());
    // A length above 32 bits is not checked. The gzip member itself has no limit.
    let len = u32::try_from(out.len().saturating_sub(begin)).unwrap_or(0).to_be_bytes();
    let at = begin.saturating_add(HEADER.len());
    let place = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>());
    place.expect("written above").copy_from_slice(&frame(len));
}

/// An empty member with an empty extra field.
const EMPTY_BYTES: usize = EMPTY_BEGIN.len() + 2 + EMPTY_END.len();

/// Converts a member into the closed form that can be appended. Returns `None` if it is too long.
pub(super) fn to_append(mut member: Vec<u8>) -> Option<Vec<u8>> {
    let least = member.len().checked_add(EMPTY_BYTES)?;
    let total = |high: u8| OPEN_BYTES.saturating_add(usize::from(high).saturating_mul(256));
    let total = (1..=u8::MAX).filter(|&high| is_open_mark(high)).map(total).find(|&total| total >= least)?;
    let filling = total.saturating_sub(least);
    member.extend_from_slice(&EMPTY_BEGIN);
    member.extend_from_slice(&u16::try_from(filling).ok()?.to_le_bytes());
    member.resize(member.len().saturating_add(filling), 0xff);
    member.extend_from_slice(&EMPTY_END);
    Some(member)
}

/// The byte at [`MEMBER_OPEN_AT`] while this appended member is open.
pub fn member_open_mark(member: &[u8]) -> u8 {
    member
        .len()
        .saturating_sub(OPEN_BYTES)
        .checked_div(256)
        .and_then(|high| u8::try_from(high).ok())
        .unwrap_or(0)
}

/// At least two bits differ, so that one flipped bit does not open a member.
fn is_open_mark(high: u8) -> bool {
    high.count_ones() >= 2
}

/// The length with its check.
fn frame(len: [u8; 4]) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (len, crc32fast::hash(&len).to_be_bytes());
    [a, b, c, d, e, f, g, h]
}

/// Whether `tail` may be an append that a power cut interrupted. `tail` is not a complete member and begins at byte
/// `at` of its file. The sectors that were written must begin like one of our members. The tail must be shorter than
/// its length field says, or lack sectors.
pub(super) fn is_torn(tail: &[u8], at: u64) -> bool {
    let (header, lacks_sectors) = written(tail, at);
    let is_open = header.get(MEMBER_OPEN_AT).is_some_and(|byte| byte.is_some_and(is_open_mark));
    let alike = |(at, (byte, ours)): (usize, (&Option<u8>, &u8))| {
        byte.is_none_or(|byte| byte == *ours) || is_open && at == MEMBER_OPEN_AT
    };
    if tail.len() > APPENDED_BYTES_MAX || !header.iter().zip(&HEADER).enumerate().all(alike) {
        return false;
    }
    let header: Option<Vec<u8>> = header.into_iter().collect();
    let Some(header) = header.filter(|header| header.len() == HEADER_BYTES) else { return true };
    let framed = header.last_chunk::<8>();
    let Some(&len) = framed.and_then(|framed| framed.first_chunk::<4>()) else { return false };
    framed == Some(&frame(len)) && (is_open || lacks_sectors || u32::from_be_bytes(len) as usize > tail.len())
}

/// The part of a header at the start of `tail` without its sectors of zeros, and whether `tail` has such sectors. No
/// member begins with zeros, and none ends with more than eight.
fn written(tail: &[u8], at: u64) -> (Vec<Option<u8>>, bool) {
    let (mut header, mut lacks_sectors) = (Vec::with_capacity(HEADER_BYTES), false);
    let before = at.checked_rem(SECTOR_BYTES as u64).unwrap_or(0);
    let (mut rest, mut until) = (tail, SECTOR_BYTES.saturating_sub(before as usize));
    while !rest.is_empty() {
        let (sector, later) = rest.split_at(until.min(rest.len()));
        let is_empty = sector.iter().all(|&byte| byte == 0);
        lacks_sectors |= is_empty && (sector.len() > 8 || rest.len() == tail.len());
        let room = HEADER_BYTES.saturating_sub(header.len());
        header.extend(sector.iter().take(room).map(|&byte| (!is_empty).then_some(byte)));
        (rest, until) = (later, SECTOR_BYTES);
    }
    (header, lacks_sectors)
}
