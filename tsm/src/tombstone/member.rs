//! One batch of deletes as a gzip member, to be appended to a tombstone file of version 4.
//!
//! ```text
//! ┌────────────────────────┬─────────┬──────────┬─────────────┬────────────────┬─────────┬──────────┐
//! │ 1f 8b 08 04 .. TS <16B> │ len <4B> │ check <4B> │ deflate ... │ crc32, LE <4B> │ len, LE <4B> │
//! └────────────────────────┴─────────┴──────────┴─────────────┴────────────────┴─────────┴──────────┘
//! ```
//!
//! The extra field of the gzip header, which other readers skip, holds the length of the member. So a member that was
//! being appended when the machine stopped can be told from one that was whole and is corrupt now.
//!
//! InfluxDB takes a member that ends in the middle of a record for corruption: it sets the whole TSM file aside, and does not
//! open the shard. One whose header ends early is nothing to it. So a member is appended *open*: as one that is all header,
//! and holds nothing. When it is durable one byte, the high one of the length of the extra field, closes it:
//!
//! ```text
//! open    │ header, extra field: ................................................... │ empty deflate, crc32, len │
//! closed  │ header, extra field │ deflate ... │ crc32 │ len │ header, extra field: 255 ... │ empty deflate, crc32, len │
//! ```
//!
//! Both are whole gzip members, the closed one two of them, and whatever is appended behind is read.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)
)]

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use tsmith_codecs::TimeRange;

/// A gzip header without time or name; of its extra field the length, and of the one part of that the name and length.
const HEADER: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, /* extra */ 12, 0, b'T', b'S', 8, 0];
/// Header, length of the member and check of that length.
const HEADER_BYTES: usize = HEADER.len() + 4 + 4;
/// The high byte of the length of the extra field: where an appended member is closed.
pub const MEMBER_OPEN_AT: usize = 11;
/// An open member without the part of its extra field that the byte above stands for.
const OPEN_BYTES: usize = HEADER.len() - 4 + 12 + EMPTY_END.len();
/// A deflate stream of nothing, its checksum and its length.
const EMPTY_END: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Header of a member of nothing, before the length of its extra field.
const EMPTY_BEGIN: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
/// The longest member that is appended.
const APPENDED_BYTES_MAX: usize = OPEN_BYTES + 255 * 256;
/// What a power cut leaves whole.
const SECTOR_BYTES: usize = 512;

/// Appends the member of these records to `out`.
pub(super) fn write_member<'t>(records: impl IntoIterator<Item = (&'t [u8], TimeRange)>, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&HEADER);
    out.extend_from_slice(&[0; HEADER_BYTES - HEADER.len()]); // known at the end
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
        bytes = bytes.wrapping_add(record.len() as u32); // as gzip counts
        deflate.write_all(&record).expect("a vector takes everything");
    }
    deflate.finish().expect("a vector takes everything");
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    out.extend_from_slice(&bytes.to_le_bytes());
    // A length beyond 32 bits is not checked; the gzip member itself has no limit.
    let len = u32::try_from(out.len().saturating_sub(begin)).unwrap_or(0).to_be_bytes();
    let at = begin.saturating_add(HEADER.len());
    let place = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>());
    place.expect("written above").copy_from_slice(&frame(len));
}

/// A member of nothing, with an extra field of nothing.
const EMPTY_BYTES: usize = EMPTY_BEGIN.len() + 2 + EMPTY_END.len();

/// Makes of a member one that can be appended, closed; `None` when it is too long for that.
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

/// The byte at [`MEMBER_OPEN_AT`] while this member, of those to be appended, is open.
pub fn member_open_mark(member: &[u8]) -> u8 {
    member
        .len()
        .saturating_sub(OPEN_BYTES)
        .checked_div(256)
        .and_then(|high| u8::try_from(high).ok())
        .unwrap_or(0)
}

/// Two bits at least, so that one corrupt bit opens nothing.
fn is_open_mark(high: u8) -> bool {
    high.count_ones() >= 2
}

/// The length with its check.
fn frame(len: [u8; 4]) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (len, crc32fast::hash(&len).to_be_bytes());
    [a, b, c, d, e, f, g, h]
}

/// Whether `tail`, which is no whole member and begins at byte `at` of its file, is what a power cut leaves of an append:
/// it begins as ours do, as far as its sectors were written at all, and is less than it says, or lacks sectors.
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

/// What is there of a header at the beginning of `tail`, without the sectors of zeros; and whether `tail` has such. No
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
