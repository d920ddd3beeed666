//! Finds the parts of a corrupt tombstone file that can be trusted.
//!
//! If tombstones are lost, deleted points come back. Wrong tombstones delete other points. So a part with a valid
//! checksum is kept wherever it is, and the rest is reported as lost. Records of a truncated last member have no
//! checksum, and InfluxDB reads them without an error. They are kept separate, and the caller decides whether their
//! keys exist.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)
)]

use std::io;
use std::ops::Range;

use flate2::bufread::GzDecoder;

use super::{
    DELETIONS_BYTES_MAX, Deletions, HEADER_BYTES, Invalid, Tombstone, Tombstones, next_line, read_record,
};
use crate::error::{Error, ErrorKind, Result};

/// The first bytes of a gzip member: magic number and deflate method.
const MEMBER_BEGIN: [u8; 3] = [0x1f, 0x8b, 8];
/// The records that may be decompressed in vain per byte of the file, during the search for members after corruption.
const WORK_FACTOR: u64 = 16;
/// The minimum of that number.
pub(super) const WORK_MIN: u64 = 1 << 20;

/// The parts of a tombstone file that can be trusted, and the lost parts.
#[derive(Clone, Debug)]
pub struct TombstoneSalvage {
    /// The version of the file.
    pub version: u8,
    /// Intact records.
    pub kept_records: u64,
    /// What these records delete.
    pub kept: Deletions,
    /// The lost parts, in order.
    pub lost: Vec<LostTombstones>,
    /// The range of the last member, if it is truncated.
    cut: Option<Range<usize>>,
}

/// A part of a tombstone file that cannot be trusted.
#[derive(Clone, Debug)]
pub struct LostTombstones {
    /// Where it begins.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// What is wrong there.
    pub error: Error,
}

impl TombstoneSalvage {
    /// Reads what is readable.
    ///
    /// # Errors
    /// The version is unknown, or the deletions need too much memory.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let version = Tombstones::new(bytes)?.version();
        let mut salvage =
            Self { version, kept_records: 0, kept: Deletions::new(), lost: Vec::new(), cut: None };
        match version {
            1 => salvage.lines(bytes)?,
            2 => salvage.records(bytes)?,
            _ => salvage.members(bytes)?,
        }
        Ok(salvage)
    }

    /// Whether nothing is lost.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty()
    }

    fn keep(&mut self, record: &Tombstone, at: u64) -> Result<()> {
        self.kept_records = self.kept_records.saturating_add(1);
        self.add(record, at)
    }

    fn add(&mut self, record: &Tombstone, at: u64) -> Result<()> {
        self.kept.add(&record.key, record.range);
        if self.kept.memory_bytes() > DELETIONS_BYTES_MAX {
            return Err(too_large(at));
        }
        Ok(())
    }

    /// Each line is independent.
    fn lines(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = bytes.len().saturating_sub(rest.len()) as u64;
            match next_line(&mut rest, bytes.len()) {
                Ok(Some(record)) => self.keep(&record, at)?,
                Ok(None) => break,
                Err(error) => {
                    let offset = error.offset().unwrap_or(at);
                    let end = bytes.len().saturating_sub(rest.len()) as u64;
                    self.lost.push(LostTombstones { offset, bytes: end.saturating_sub(offset), error });
                }
            }
        }
        Ok(())
    }

    /// After an invalid record, the start of the next one is unknown.
    fn records(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
        loop {
            let at = bytes.len().saturating_sub(rest.len()) as u64;
            let left = rest.len() as u64;
            match read_record(&mut rest) {
                Ok(Some(record)) => self.keep(&record, at)?,
                Ok(None) => return Ok(()),
                Err(invalid) => {
                    self.lost.push(LostTombstones { offset: at, bytes: left, error: invalid.at(at, false) });
                    return Ok(());
                }
            }
        }
    }

    /// The checksum of a member is at its end, and its records may be too many to buffer. So records are added at
    /// once until the first bad member, whose records are removed again. From then on, each member is decompressed
    /// twice.
    fn members(&mut self, bytes: &[u8]) -> Result<()> {
        let mut work = (bytes.len() as u64).saturating_mul(WORK_FACTOR).max(WORK_MIN);
        let (mut at, mut all_is_well) = (HEADER_BYTES, true);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if all_is_well {
                if let Ok(Ok(bytes)) = member(rest, |record| self.keep(&record, at as u64)) {
                    at = at.saturating_add(bytes);
                } else {
                    all_is_well = false;
                    self.keep_members(bytes.get(..at).unwrap_or_default())?;
                }
                continue;
            }
            let invalid = match member(rest, |_| Ok(()))? {
                Ok(bytes) => {
                    let _whole = member(rest, |record| self.keep(&record, at as u64))?;
                    at = at.saturating_add(bytes);
                    continue;
                }
                Err(invalid) => invalid,
            };
            let next = next_member(bytes, at, &mut work)?;
            let end = next.unwrap_or(bytes.len());
            let is_cut = next.is_none()
                && matches!(&invalid, Invalid::Read(error) if error.kind() == io::ErrorKind::UnexpectedEof);
            if is_cut {
                self.cut = Some(at..bytes.len());
            }
            let lost = end.saturating_sub(at) as u64;
            self.lost.push(LostTombstones {
                offset: at as u64,
                bytes: lost,
                error: invalid.at(at as u64, true),
            });
            at = end;
        }
        Ok(())
    }

    /// Keeps the members of these bytes, which are intact, and nothing else.
    fn keep_members(&mut self, bytes: &[u8]) -> Result<()> {
        (self.kept_records, self.kept) = (0, Deletions::new());
        let mut at = HEADER_BYTES;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Ok(bytes) = member(rest, |record| self.keep(&record, at as u64))? else { break };
            at = at.saturating_add(bytes);
        }
        Ok(())
    }

    /// Adds those records of a truncated last member that `is_known` accepts. They have no checksum. Returns their
    /// number. `bytes` is the content of the file.
    ///
    /// # Errors
    /// The deletions need too much memory.
    pub fn keep_known(&mut self, bytes: &[u8], is_known: impl Fn(&Tombstone) -> bool) -> Result<u64> {
        let Some(cut) = self.cut.take() else { return Ok(0) };
        let mut kept = 0_u64;
        let _cut = member(bytes.get(cut.clone()).unwrap_or_default(), |record| {
            if !is_known(&record) {
                return Ok(());
            }
            kept = kept.saturating_add(1);
            self.add(&record, cut.start as u64)
        })?;
        Ok(kept)
    }
}

/// Passes the records of the first member to `take`, and returns the length of the member if it is intact. That is
/// known only after its records were passed.
fn member(
    rest: &[u8],
    mut take: impl FnMut(Tombstone) -> Result<()>,
) -> Result<std::result::Result<usize, Invalid>> {
    let mut decoder = GzDecoder::new(rest);
    loop {
        match read_record(&mut decoder) {
            Ok(Some(record)) => take(record)?,
            Ok(None) => {
                let left: &[u8] = decoder.get_ref();
                return Ok(Ok(rest.len().saturating_sub(left.len()).max(1)));
            }
            Err(invalid) => return Ok(Err(invalid)),
        }
    }
}

fn too_large(at: u64) -> Error {
    Error::new(ErrorKind::TombstonesTooLarge { limit: DELETIONS_BYTES_MAX }).at(at)
}

/// The start of the next intact member with records after `at`.
pub(super) fn next_member(bytes: &[u8], at: usize, work: &mut u64) -> Result<Option<usize>> {
    let mut from = at.saturating_add(1);
    while let Some(rest) = bytes.get(from..) {
        let Some(found) = rest.windows(MEMBER_BEGIN.len()).position(|window| window == MEMBER_BEGIN) else {
            break;
        };
        from = from.saturating_add(found);
        let mut records = 0_u64;
        let end = member(bytes.get(from..).unwrap_or_default(), |_| {
            records = records.saturating_add(1);
            Ok(())
        })?;
        if records > 0 && end.is_ok() {
            return Ok(Some(from));
        }
        let left = work.checked_sub(records.saturating_add(1));
        *work = left.unwrap_or(0);
        if left.is_none() {
            break;
        }
        from = from.saturating_add(1);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tsmith_codecs::TimeRange;

    use super::super::MAGIC;
    use super::super::member::write_member;
    use super::*;

    fn tombstone(member: i64, n: i64) -> Tombstone {
        Tombstone::new(format!("cpu,host={n}#!~#m{member}").as_bytes(), TimeRange::new(n, n + member))
    }

    /// A file of four members, and where each ends.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = ([&MAGIC[..], &[4]].concat(), Vec::new());
        for member in 0..4 {
            let batch: Vec<Tombstone> = (0..20).map(|n| tombstone(member, n)).collect();
            write_member(batch.iter().map(Tombstone::parts), &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn of_members(members: impl IntoIterator<Item = i64>) -> Deletions {
        let mut all = Deletions::new();
        for member in members {
            (0..20).map(|n| tombstone(member, n)).for_each(|t| all.add(&t.key, t.range));
        }
        all
    }

    /// Law: whichever bit is corrupt, the other members are kept, and no tombstone is kept that was never written.
    #[test]
    fn only_the_corrupt_member_is_lost() {
        let (good, ends) = file();
        for bit in 4 * 8..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let salvage = TombstoneSalvage::of(&bytes).expect("a known version");
            let hit = ends.iter().position(|&end| bit / 8 < end).expect("in a member") as i64;
            // A few bits of a gzip header have no meaning.
            let expected = of_members((0..4).filter(|&member| member != hit || salvage.is_whole()));
            assert_eq!(salvage.kept, expected, "bit {bit}");
            let cut = salvage.lost.iter().map(|lost| lost.bytes).sum::<u64>();
            assert!(salvage.is_whole() || cut > 0 && cut < bytes.len() as u64, "bit {bit}");
        }
    }

    #[test]
    fn records_of_a_truncated_member_are_separate() {
        let (good, ends) = file();
        for len in ends[2] + 1..good.len() {
            let mut salvage = TombstoneSalvage::of(&good[..len]).expect("a known version");
            assert_eq!(salvage.kept, of_members(0..3), "{len} bytes");
            assert_eq!((salvage.lost.len(), salvage.lost[0].offset), (1, ends[2] as u64));
            let (known, shown) = (of_members(3..4), Cell::new(0_u64));
            let is_known = |record: &Tombstone| {
                assert!(known.covers(&record.key, record.range), "{len} bytes: {record:?}");
                shown.set(shown.get() + 1);
                record.range.min % 2 == 0
            };
            let kept = salvage.keep_known(&good[..len], is_known).expect("room");
            assert_eq!((kept, salvage.kept.len() as u64), (shown.get().div_ceil(2), 60 + kept));
            assert!(len < good.len() - 1 || shown.get() == 20);
            assert_eq!(salvage.keep_known(&good[..len], |_| true).expect("room"), 0, "once");
        }
    }

    #[test]
    fn earlier_versions_are_salvaged() {
        let salvage = TombstoneSalvage::of(b"a#!~#v\nnot a key\nb#!~#v\n").expect("version 1");
        assert_eq!((salvage.version, salvage.kept_records, salvage.kept.len()), (1, 2, 2));
        assert_eq!((salvage.lost[0].offset, salvage.lost[0].bytes), (7, 10));
        let record = |key: &[u8]| [&(key.len() as u32).to_be_bytes()[..], key, &[0; 16]].concat();
        let good = [&MAGIC[..], &[2], &record(b"a#!~#v"), &record(b"b#!~#v")].concat();
        for len in 4..good.len() {
            let salvage = TombstoneSalvage::of(&good[..len]).expect("version 2");
            let (records, rest) = ((len as u64 - 4) / 26, (len as u64 - 4) % 26);
            assert_eq!((salvage.kept_records, salvage.is_whole()), (records, rest == 0), "{len}");
        }
        TombstoneSalvage::of(&[0, 0, 0x15, 9, 1, 2]).expect_err("an unknown version is an error");
    }

    /// No input makes it run for long or use more memory than it justifies.
    #[test]
    fn hostile_bytes_take_bounded_time() {
        let mut bytes = [&MAGIC[..], &[4]].concat();
        for _ in 0..20_000 {
            bytes.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        }
        let salvage = TombstoneSalvage::of(&bytes).expect("a known version");
        assert_eq!((salvage.kept_records, salvage.lost.len()), (0, 1));
    }
}
