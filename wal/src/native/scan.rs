//! Reads a segment and classifies invalid places.

use std::ffi::OsStr;

use lz4_flex::block;

use super::{END, HEAD_BYTES, Header, LZ4, LZ4_RATIO_MAX, Native, RECORD_BYTES, ZSTD};
use crate::crc32c;
use crate::scan::{
    Follows, Invalid, Item, Later, Scan, SegmentFormat, Stop, Verdict, Work, parse_number, position,
};
use crate::{ENTRY_BYTES_MAX, Error, RecordKind};

/// The cost of examining one candidate place, and how many bytes of its body are hashed for one more.
const CANDIDATE_WORK: usize = 32;
const HASHED_PER_WORK: usize = 8;

impl SegmentFormat for Native {
    type Name = u32;
    /// The number of the next record.
    type Carry = Option<u64>;
    type Scan<'s> = NativeScan<'s>;

    const NUMBERED: bool = true;
    const RECYCLED: bool = true;
    const GUARDED: bool = false;
    const SEGMENT_BYTES_MAX: u64 = crate::SEGMENT_FILE_BYTES_MAX;

    fn file_name(number: u32) -> String {
        format!("{number:08}.tlog")
    }

    fn parse_name(name: &OsStr) -> Option<u32> {
        parse_number(name, Self::file_name)
    }

    fn number(name: u32) -> u64 {
        name.into()
    }

    fn unpack(bytes: &[u8], item: Item, from: usize, out: &mut Vec<u8>) -> Result<(RecordKind, usize), Stop> {
        let invalid = |found| Stop::Invalid(Invalid { offset: item.offset, found });
        let record = bytes.get(item.offset as usize..item.end as usize).unwrap_or_default();
        let Some((header, body)) = record.split_first_chunk() else {
            return Err(invalid("an incomplete record"));
        };
        let (header, _) = Header::decode(header);
        let kind =
            RecordKind::from_tag(header.kind & 0x0f).ok_or_else(|| invalid("an unknown kind of record"))?;
        let packing = header.kind & 0xf0;
        let corrupt = "a record body that does not decompress";
        let (len, body) = match body.split_first_chunk() {
            _ if packing == 0 => (body.len(), body),
            Some((len, packed)) => (u32::from_le_bytes(*len) as usize, packed),
            None => return Err(invalid(corrupt)),
        };
        if len > ENTRY_BYTES_MAX {
            let error = Error::too_large("a record", len as u64, ENTRY_BYTES_MAX as u64);
            return Err(Stop::Refused(error.at_offset(item.offset)));
        }
        out.truncate(from);
        match packing {
            0 => out.extend_from_slice(body),
            ZSTD => {
                let plain = zstd::bulk::decompress(body, len).ok().filter(|plain| plain.len() == len);
                out.extend_from_slice(&plain.ok_or_else(|| invalid(corrupt))?);
            }
            LZ4 if len <= body.len().saturating_mul(LZ4_RATIO_MAX) => {
                out.resize(from + len, 0);
                let plain = block::decompress_into(body, out.get_mut(from..).unwrap_or_default());
                plain.ok().filter(|plain| *plain == len).ok_or_else(|| invalid(corrupt))?;
            }
            _ => return Err(invalid(corrupt)),
        }
        Ok((kind, len))
    }
}

/// Reads the records of one segment.
#[derive(Clone, Debug)]
pub(crate) struct NativeScan<'s> {
    segment: u32,
    bytes: &'s [u8],
    /// The signature in the head, which can be corrupt. A record that matches its checksum with this
    /// signature proves it.
    signature: Option<u64>,
    /// `None` if the head is invalid.
    follows: Option<Follows>,
    /// The number of the first record, from the head or from the end of the segment before it.
    first: Option<u64>,
    sequence: u32,
    at: usize,
}

impl NativeScan<'_> {
    /// Header and end of the record at `at`, if its checksum matches.
    fn checked(&self, at: usize) -> Option<(Header, usize)> {
        let (header, crc) = Header::decode(self.bytes.get(at..)?.first_chunk()?);
        let body = at + RECORD_BYTES;
        let end = body.checked_add(header.len as usize)?;
        let right =
            header.is_known() && header.crc(self.signature?, crc32c::hash(self.bytes.get(body..end)?)) == crc;
        right.then_some((header, end))
    }

    /// The first valid record after `invalid` that `wanted` accepts. `Err` if the search takes too long.
    fn record_after(
        &self,
        invalid: usize,
        wanted: impl Fn(Header, usize) -> bool,
    ) -> Result<Option<usize>, ()> {
        let mut work = Work::of(self.bytes.len());
        for at in invalid + 1..self.bytes.len() {
            let Some(header) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) else { break };
            let (header, _) = Header::decode(header);
            let end = at.saturating_add(RECORD_BYTES).saturating_add(header.len as usize);
            // Only as many records as fit in between can be skipped.
            let sequences =
                self.sequence..=self.sequence.saturating_add(((at - invalid) / RECORD_BYTES) as u32);
            let possible = header.is_known()
                && (sequences.contains(&header.sequence)
                    || header.kind == END && header.sequence >= self.sequence)
                && header.durable as usize <= at
                && end <= self.bytes.len();
            if !possible || !wanted(header, at) {
                continue;
            }
            if !work.pay(CANDIDATE_WORK + header.len as usize / HASHED_PER_WORK) {
                return Err(());
            }
            if self.checked(at).is_some() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

impl<'s> Scan<'s, Native> for NativeScan<'s> {
    fn new(segment: u32, bytes: &'s [u8], carry: Option<u64>) -> Self {
        let read = || {
            let (head, crc) = bytes.get(..HEAD_BYTES)?.split_last_chunk()?;
            let whole = head.starts_with(&Native::MAGIC) && crc32c::hash(head) == u32::from_le_bytes(*crc);
            let (signature, rest) = head.get(Native::MAGIC.len()..)?.split_first_chunk()?;
            let (number, rest) = rest.split_first_chunk()?;
            let (first, front) = rest.split_first_chunk()?;
            let [first, front] = [*first, front.try_into().ok()?].map(u64::from_le_bytes);
            let own = *number == segment.to_le_bytes();
            // Records of another segment are not part of this one.
            let signature = (own || !whole).then_some(u64::from_le_bytes(*signature));
            Some((signature, (own && whole).then_some(Follows { end: first, front })))
        };
        let (signature, follows) = read().unwrap_or_default();
        let first = follows.map(|follows| follows.end).or(carry);
        Self { segment, bytes, signature, follows, first, sequence: 0, at: 0 }
    }

    fn next_item(&mut self) -> Result<Option<Item>, Stop> {
        let invalid = |at: usize, found| Err(Stop::Invalid(Invalid { offset: at as u64, found }));
        if self.at == 0 {
            if self.bytes.is_empty() {
                return Ok(None);
            }
            if self.follows.is_none() {
                return invalid(0, "an invalid segment header");
            }
            self.at = HEAD_BYTES;
        }
        while self.at < self.bytes.len() {
            let at = self.at;
            let follows =
                |h: Header| h.sequence == self.sequence || (h.kind == END && h.sequence > self.sequence);
            let Some((header, end)) = self.checked(at).filter(|(header, _)| follows(*header)) else {
                return invalid(at, "a record that does not match its checksum");
            };
            (self.at, self.sequence) = (end, header.sequence);
            if header.kind != END {
                self.sequence = self.sequence.wrapping_add(1);
                let position = position(self.segment, end as u32);
                return Ok(Some(Item { at: position, offset: at as u64, end: end as u64, checked: true }));
            }
        }
        Ok(None)
    }

    fn seek(&mut self, offset: u64) {
        if offset > 0 {
            self.at = self.at.max(HEAD_BYTES);
        }
        while (self.at as u64) < offset && matches!(self.next_item(), Ok(Some(_))) {}
    }

    fn judge(&mut self, invalid: Invalid, later: Later) -> Verdict {
        let at = invalid.offset as usize;
        let rest = self.bytes.get(at..).unwrap_or_default();
        if rest.iter().all(|&byte| byte == 0) {
            return Verdict::End;
        }
        if self.follows.is_none() {
            // A file shorter than a head holds no records. A complete head was durable before the segment got
            // its name.
            return if self.bytes.len() < HEAD_BYTES && !later.holds {
                Verdict::TornTail
            } else {
                Verdict::Corruption
            };
        }
        let proved = self.record_after(at, |header, _| header.durable as usize > at);
        if later.holds || !matches!(proved, Ok(None)) { Verdict::Corruption } else { Verdict::TornTail }
    }

    fn resume(&mut self, invalid: Invalid) -> Option<u64> {
        let at = self.record_after(invalid.offset as usize, |_, _| true).ok().flatten()?;
        let (header, _) = self.checked(at)?;
        (self.at, self.sequence) = (at, header.sequence);
        Some(at as u64)
    }

    fn follows(&self) -> Option<Follows> {
        self.follows
    }

    fn end(&self) -> Option<u64> {
        Some(self.first?.saturating_add(self.sequence.into()))
    }

    fn carry(&self, _: bool) -> Option<u64> {
        self.end()
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::panic, reason = "a failed test panics")]
mod tests {
    use super::super::{Header, Native, NativeEncoder};
    use super::*;
    use crate::encoder::FrameEncoder;
    use crate::kind::{Format, Link};
    use crate::{Position, Record};

    /// Story: bytes of small records looked like headers of records of several megabytes. After a torn write
    /// of megabytes, verifying all of them exceeded the work limit, and the torn write was reported as
    /// corruption.
    #[test]
    fn a_long_torn_write_of_small_records_is_torn() {
        let mut native = Native::begin(1, Link::default());
        let mut bytes = native.head();
        let mut encoder = NativeEncoder::default();
        let mut group = Vec::new();
        for number in 0..12_000_u32 {
            // Shifted by a byte, zero or two, parts of it look like a known kind after a length and a
            // plausible number.
            let body: Vec<u8> =
                (0..73).flat_map(|word| (word * 0x100 + number % 256).to_le_bytes()).collect();
            group.extend_from_slice(encoder.encode(Record::write(&body)).expect("frames"));
        }
        let at = bytes.len();
        native.seal(at as u32, at as u32, &mut group);
        group[0] ^= 1;
        bytes.extend(&group);
        let mut scan = NativeScan::new(1, &bytes, None);
        let Err(Stop::Invalid(invalid)) = scan.next_item() else { panic!("the first record is corrupt") };
        assert_eq!((invalid.offset as usize, scan.judge(invalid, Later::default())), (at, Verdict::TornTail));
        // A record that states that the place was once durable makes it corruption.
        let header = Header { len: 0, durable: at as u32 + 1, sequence: 12_000, kind: 1 };
        bytes.extend(header.encode(header.crc(native.signature, crc32c::hash(&[]))));
        let mut scan = NativeScan::new(1, &bytes, None);
        let Err(Stop::Invalid(invalid)) = scan.next_item() else { panic!("the first record is corrupt") };
        assert_eq!(scan.judge(invalid, Later::default()), Verdict::Corruption);
    }

    /// A record whose header states this packing. It has no checksum, because `unpack` verifies none.
    fn record(packing: u8, plain: u32, packed: &[u8]) -> Vec<u8> {
        let header = Header { len: 4 + packed.len() as u32, durable: 0, sequence: 0, kind: 1 | packing };
        [&header.encode(0)[..], &plain.to_le_bytes(), packed].concat()
    }

    fn unpack(record: &[u8]) -> (Result<(RecordKind, usize), Stop>, Vec<u8>) {
        let mut out = Vec::new();
        let item = Item { at: Position(0), offset: 0, end: record.len() as u64, checked: true };
        (Native::unpack(record, item, 0, &mut out), out)
    }

    #[test]
    fn hostile_blocks_take_no_unjustified_memory() {
        let payload: Vec<u8> = (0..900u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
        let block = block::compress(&payload);
        let intact = record(LZ4, payload.len() as u32, &block);
        let (done, out) = unpack(&intact);
        assert!(matches!(done, Ok((RecordKind::Write, len)) if len == payload.len()) && out == payload);
        for cut in RECORD_BYTES..intact.len() {
            assert!(matches!(unpack(&intact[..cut]).0, Err(Stop::Invalid(_))), "cut at {cut}");
        }
        for (at, bit) in (RECORD_BYTES..intact.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bytes = intact.clone();
            bytes[at] ^= 1 << bit;
            let (done, out) = unpack(&bytes);
            assert!(done.is_err() || out.len() == payload.len(), "byte {at} bit {bit}");
        }
        let (done, out) = unpack(&record(LZ4, 60 << 20, &block));
        assert!(matches!(done, Err(Stop::Invalid(_))) && out.capacity() < 1 << 20);
        assert!(matches!(unpack(&record(0x30, 5, b"other")).0, Err(Stop::Invalid(_))));
    }
}
