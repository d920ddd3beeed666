//! Reading a segment, and judging where it cannot be read on.

use std::cell::OnceCell;

use super::{END, HEAD_BYTES, Header, MAGIC, RECORD_BYTES};
use crate::crc32c::{self, Stretches};
use crate::kind::{Link, Place, Scan, Work};
use crate::segment::{Bad, Later, Stop, Verdict};

/// What looking at one place costs that may be a record.
const CANDIDATE_WORK: usize = 256;

/// Reads the records of one segment.
#[derive(Clone, Debug)]
pub struct NativeScan<'s> {
    bytes: &'s [u8],
    /// As it stands in the head, which may be damaged: a record that checks out with it proves it.
    signature: Option<u64>,
    /// `None` when the head does not check out.
    link: Option<Link>,
    sequence: u32,
    at: usize,
}

impl NativeScan<'_> {
    /// The record at `at`, if its checksum is right: its header and its end.
    fn checked(&self, at: usize) -> Option<(Header, usize)> {
        self.checked_by(at, |from, to| self.bytes.get(from..to).map(crc32c::hash))
    }

    /// The same, with the checksum of the body from elsewhere.
    fn checked_by(
        &self,
        at: usize,
        hash: impl FnOnce(usize, usize) -> Option<u32>,
    ) -> Option<(Header, usize)> {
        let (header, crc) = Header::decode(self.bytes.get(at..)?.first_chunk()?);
        let body = at + RECORD_BYTES;
        let end = body.checked_add(header.len as usize)?;
        let right = header.is_known() && header.crc(self.signature?, hash(body, end)?) == crc;
        right.then_some((header, end))
    }

    /// The first record behind `bad` that checks out and that `wanted` accepts. `Err` when that is too much work.
    fn record_after(&self, bad: usize, wanted: impl Fn(Header, usize) -> bool) -> Result<Option<usize>, ()> {
        let mut work = Work::of(self.bytes.len());
        let stretches = OnceCell::new();
        for at in bad + 1..self.bytes.len() {
            let Some(header) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) else { break };
            let (header, _) = Header::decode(header);
            let end = at.saturating_add(RECORD_BYTES).saturating_add(header.len as usize);
            let possible = header.is_known()
                && header.sequence >= self.sequence
                && header.durable as usize <= at
                && end <= self.bytes.len();
            if !possible || !wanted(header, at) {
                continue;
            }
            if !work.pay(CANDIDATE_WORK) {
                return Err(());
            }
            // Of a torn megabyte of small records many places look like a header, and claim the rest of it each.
            let stretches = stretches.get_or_init(|| Stretches::of(self.bytes));
            if self.checked_by(at, |from, to| stretches.hash(from, to)).is_some() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

impl<'s> Scan<'s> for NativeScan<'s> {
    fn new(segment: u32, bytes: &'s [u8]) -> Self {
        let read = || {
            let (head, crc) = bytes.get(..HEAD_BYTES)?.split_last_chunk()?;
            let whole = head.starts_with(&MAGIC) && crc32c::hash(head) == u32::from_le_bytes(*crc);
            let (signature, rest) = head.get(MAGIC.len()..)?.split_first_chunk()?;
            let (number, rest) = rest.split_first_chunk()?;
            let (first, front) = rest.split_first_chunk()?;
            let [first, front] = [*first, front.try_into().ok()?].map(u64::from_le_bytes);
            let own = *number == segment.to_le_bytes();
            // The records of another segment are none of this one.
            let signature = (own || !whole).then_some(u64::from_le_bytes(*signature));
            Some((signature, (own && whole).then_some(Link { first, front, before: 0 })))
        };
        let (signature, link) = read().unwrap_or_default();
        Self { bytes, signature, link, sequence: 0, at: 0 }
    }

    fn place(&mut self) -> Result<Option<Place>, Stop> {
        let bad = |at: usize, found| Err(Stop::Bad(Bad { offset: at as u64, found }));
        if self.at == 0 {
            if self.bytes.is_empty() {
                return Ok(None);
            }
            if self.link.is_none() {
                return bad(0, "a head that does not check out");
            }
            self.at = HEAD_BYTES;
        }
        while self.at < self.bytes.len() {
            let at = self.at;
            let follows =
                |h: Header| h.sequence == self.sequence || (h.kind == END && h.sequence > self.sequence);
            let Some((header, end)) = self.checked(at).filter(|(header, _)| follows(*header)) else {
                return bad(at, "a record that does not check out");
            };
            (self.at, self.sequence) = (end, header.sequence);
            if header.kind != END {
                self.sequence = self.sequence.wrapping_add(1);
                return Ok(Some(Place { offset: at as u64, end: end as u64, checked: true }));
            }
        }
        Ok(None)
    }

    fn go_to(&mut self, offset: u64) {
        if offset > 0 {
            self.at = self.at.max(HEAD_BYTES);
        }
        while (self.at as u64) < offset && matches!(self.place(), Ok(Some(_))) {}
    }

    fn judge(&mut self, bad: Bad, later: Later) -> Verdict {
        let at = bad.offset as usize;
        let rest = self.bytes.get(at..).unwrap_or_default();
        if rest.iter().all(|&byte| byte == 0) {
            return Verdict::End;
        }
        if self.link.is_none() {
            // Nothing can stand in a file that ends within its head. A whole one was durable before it had its name.
            return if self.bytes.len() < HEAD_BYTES && !later.holds {
                Verdict::Torn
            } else {
                Verdict::Damaged
            };
        }
        let proved = self.record_after(at, |header, _| header.durable as usize > at);
        if later.holds || !matches!(proved, Ok(None)) { Verdict::Damaged } else { Verdict::Torn }
    }

    fn resume(&mut self, bad: Bad) -> Option<u64> {
        let at = self.record_after(bad.offset as usize, |_, _| true).ok().flatten()?;
        let (header, _) = self.checked(at)?;
        (self.at, self.sequence) = (at, header.sequence);
        Some(at as u64)
    }

    fn proof(&self, at: u64) -> Vec<u8> {
        let header = Header { len: 0, durable: at as u32, sequence: self.sequence, kind: END };
        let sealed = |signature| header.encode(header.crc(signature, crc32c::hash(&[]))).to_vec();
        self.signature.map(sealed).unwrap_or_default()
    }

    fn link(&self) -> Option<Link> {
        self.link
    }

    fn number(&self) -> Option<u64> {
        Some(self.link()?.first.saturating_add(self.sequence.into()))
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::panic, reason = "a test fails so")]
mod tests {
    use super::super::{Format, FrameEncoder, Header, Native, NativeEncoder};
    use super::*;
    use crate::Record;

    /// Story: in small records some bytes looked like the header of one that claims megabytes; behind a torn write of
    /// megabytes the checksums of all those were too much work, and it was called damage.
    #[test]
    fn a_torn_write_of_megabytes_of_small_records_is_torn() {
        let mut native = Native::begin(1, Link::default());
        let mut bytes = native.head();
        let mut encoder = NativeEncoder::default();
        let mut group = Vec::new();
        for number in 0..12_000_u32 {
            // Shifted by a byte, zero or two, parts of it are a known kind behind a length and a plausible number.
            let body: Vec<u8> =
                (0..73).flat_map(|word| (word * 0x100 + number % 256).to_le_bytes()).collect();
            group.extend_from_slice(encoder.encode(Record::write(&body)).expect("frames"));
        }
        let at = bytes.len();
        native.seal(at as u32, at as u32, &mut group);
        group[0] ^= 1;
        bytes.extend(&group);
        let mut scan = NativeScan::new(1, &bytes);
        let Err(Stop::Bad(bad)) = scan.place() else { panic!("the first record is damaged") };
        assert_eq!((bad.offset as usize, scan.judge(bad, Later::default())), (at, Verdict::Torn));
        // One that says that the place was durable once makes it damage.
        let header = Header { len: 0, durable: at as u32 + 1, sequence: 12_000, kind: 1 };
        bytes.extend(header.encode(header.crc(native.signature, crc32c::hash(&[]))));
        let mut scan = NativeScan::new(1, &bytes);
        let Err(Stop::Bad(bad)) = scan.place() else { panic!("the first record is damaged") };
        assert_eq!(scan.judge(bad, Later::default()), Verdict::Damaged);
    }
}
