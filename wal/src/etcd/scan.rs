//! Reads the segments of an [`EtcdLog`](super::EtcdLog).
//!
//! A crash can lose any sector of an unacknowledged group, so complete records can follow a torn one. The
//! state at the head of each group states how far the log was durable when the group was written. An invalid
//! place below that is corruption, not a torn tail.

use std::ffi::OsStr;

use super::EtcdError;
use super::frame::{self, RawRecord, SEGMENT_BYTES_MAX, kind};
use super::names::SegmentName;
use super::proto::{Entry, EntryKind, HardState};
use super::salvage;
use crate::scan::{Follows, Invalid, Item, Later, Scan, SegmentFormat, Stop, Verdict, used_len};
use crate::{Error, ErrorKind, Position, RecordKind};

/// Marks the log as ours: the entries of a member of etcd would have no meaning here.
pub(super) const METADATA: &[u8] = b"tsmith-log";
/// Upper limit of indexes: a record's position, and the cut after it, must be valid numbers too.
pub(super) const INDEX_MAX: u64 = u64::MAX / 2;

const HEADLESS: &str = "a segment without its first records";
const BEYOND: &str = "a state that commits entries after the last one";

/// The segments of an [`EtcdLog`](super::EtcdLog).
#[derive(Debug)]
pub(crate) struct EtcdSegments;

/// What a segment passes on to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EtcdCarry {
    /// The running checksum. Zero accepts any.
    pub(crate) crc: u32,
    /// The index of the next record.
    pub(crate) next: u64,
    /// How far the log was durable, according to the last state.
    pub(crate) durable: u64,
}

impl SegmentFormat for EtcdSegments {
    type Name = SegmentName;
    type Carry = EtcdCarry;
    type Scan<'s> = EtcdScan<'s>;

    const NUMBERED: bool = true;
    const RECYCLED: bool = false;
    const GUARDED: bool = false;
    const SEGMENT_BYTES_MAX: u64 = SEGMENT_BYTES_MAX;

    fn file_name(name: SegmentName) -> String {
        name.file_name()
    }

    fn parse_name(name: &OsStr) -> Option<SegmentName> {
        SegmentName::parse(name)
    }

    fn number(name: SegmentName) -> u64 {
        name.seq
    }

    fn unpack(bytes: &[u8], item: Item, from: usize, out: &mut Vec<u8>) -> Result<(RecordKind, usize), Stop> {
        let record = RawRecord::at(bytes, item.offset).ok().flatten();
        let entry = record.and_then(|record| entry_of(record.data.unwrap_or_default()));
        let invalid =
            Stop::Invalid(Invalid { offset: item.offset, found: "an entry that contains no record" });
        let (_, kind, payload) = entry.ok_or(invalid)?;
        out.truncate(from);
        out.extend_from_slice(payload);
        Ok((kind, payload.len()))
    }
}

/// Index, kind and payload of the record in an entry.
fn entry_of(data: &[u8]) -> Option<(u64, RecordKind, &[u8])> {
    let [kind, _, index, content] = Entry::fields(data).ok()?;
    let (&tag, payload) = content.bytes()?.split_first()?;
    let record = RecordKind::from_tag(tag).filter(|_| kind.or_zero() as i32 == EntryKind::NORMAL.0)?;
    Some((index.or_zero(), record, payload))
}

/// Reads the records of one segment.
#[derive(Clone, Debug)]
pub(crate) struct EtcdScan<'s> {
    name: SegmentName,
    bytes: &'s [u8],
    frames: frame::Scan<'s>,
    /// The index of the next record.
    next: u64,
    durable: u64,
    /// Number of records of any kind read so far in the segment.
    records: u64,
    /// Whether the head was read, or the scan resumed after it.
    headed: bool,
}

impl EtcdScan<'_> {
    /// The next entry, if it begins before `limit`. Skips records of other kinds.
    fn next_before(&mut self, limit: u64) -> Result<Option<Item>, Stop> {
        if self.name.index > INDEX_MAX {
            return Err(Stop::Refused(Error::new(ErrorKind::NumbersEnd)));
        }
        while self.frames.at < limit {
            let offset = self.frames.at;
            let invalid = |found| Stop::Invalid(Invalid { offset, found });
            let mut frames = self.frames.clone();
            let Some(record) = frames.next().map_err(|error| invalid(found(&error)))? else {
                return match self.bytes.len() as u64 {
                    // The head was durable before the segment got its name.
                    _ if !self.headed => Err(invalid(HEADLESS)),
                    len if offset < len => Err(invalid("bytes after the end of the log")),
                    _ => Ok(None),
                };
            };
            let item = self.take(&record)?;
            self.frames = frames;
            self.records += 1;
            if item.is_some() {
                return Ok(item);
            }
        }
        Ok(None)
    }

    fn take(&mut self, record: &RawRecord<'_>) -> Result<Option<Item>, Stop> {
        let offset = record.offset;
        let invalid = |found| Stop::Invalid(Invalid { offset, found });
        let data = record.data.unwrap_or_default();
        match record.kind {
            kind::METADATA if data == METADATA => self.headed = true,
            kind::METADATA if !self.headed && self.records == 1 => {
                let error = EtcdError::Parse("the metadata of a Tsmith log, not of an etcd member");
                return Err(Stop::Refused(Error::from(error)));
            }
            kind::STATE => {
                let state = HardState::decode(data).map_err(|error| invalid(found(&error)))?;
                if state.commit >= self.next {
                    return Err(invalid(BEYOND));
                }
                self.durable = state.commit;
            }
            kind::CRC | kind::SNAPSHOT => {}
            kind::ENTRY if !self.headed => return Err(invalid(HEADLESS)),
            kind::ENTRY => {
                let (index, ..) =
                    entry_of(data).ok_or_else(|| invalid("an entry that contains no record"))?;
                if index != self.next || index > INDEX_MAX {
                    return Err(invalid("an entry whose index does not follow the previous one"));
                }
                self.next += 1;
                let at = Position(2 * index);
                return Ok(Some(Item { at, offset, end: record.end(), checked: true }));
            }
            _ => return Err(invalid("a record of unknown kind")),
        }
        Ok(None)
    }

    /// How far a record states that the log was durable, if that is beyond the records read.
    fn beyond(&self, record: &RawRecord<'_>) -> Option<u64> {
        let state = salvage::state_of(record).filter(|_| record.kind == kind::STATE)?;
        Some(state.commit).filter(|&commit| commit >= self.next)
    }

    /// Entries can be missing before the next record. Sets the expected index to that record's.
    fn skip_missing(&mut self) {
        let mut frames = self.frames.clone();
        while let Ok(Some(record)) = frames.next() {
            let entry = record.data.filter(|_| record.kind == kind::ENTRY).and_then(entry_of);
            let state = || Some(self.beyond(&record)?.saturating_add(1).min(INDEX_MAX));
            if let Some(next) = entry.map(|(index, ..)| index).or_else(state) {
                self.next = self.next.max(next);
                return;
            }
        }
    }
}

impl<'s> Scan<'s, EtcdSegments> for EtcdScan<'s> {
    fn new(name: SegmentName, bytes: &'s [u8], carry: EtcdCarry) -> Self {
        // The checksum before this segment is unknown if the end of the previous segment is missing.
        let follows = name.index.max(1) <= carry.next;
        let crc = if follows { carry.crc } else { 0 };
        let next = carry.next.max(name.index).max(1);
        let frames = frame::Scan::new(bytes, crc, false);
        Self { name, bytes, frames, next, durable: carry.durable, records: 0, headed: false }
    }

    fn next_item(&mut self) -> Result<Option<Item>, Stop> {
        self.next_before(u64::MAX)
    }

    fn seek(&mut self, offset: u64) {
        while let Ok(Some(_)) = self.next_before(offset) {}
    }

    fn judge(&mut self, invalid: Invalid, later: Later) -> Verdict {
        if self.headed && used_len(self.bytes) <= invalid.offset {
            return Verdict::End;
        }
        let is_durable = later.holds
            || !self.headed
            || invalid.found == BEYOND
            || salvage::pairs_behind(self.bytes, invalid.offset)
                .any(|(_, second, _)| self.beyond(&second).is_some())
            || salvage::closing_state(self.bytes, invalid.offset)
                .is_some_and(|state| self.beyond(&state).is_some());
        if is_durable { Verdict::Corruption } else { Verdict::TornTail }
    }

    fn resume(&mut self, invalid: Invalid) -> Option<u64> {
        let (crc, at) = salvage::resume(self.bytes, invalid.offset)?;
        (self.frames.crc, self.frames.at, self.headed) = (crc, at, true);
        self.skip_missing();
        Some(at)
    }

    fn follows(&self) -> Option<Follows> {
        // A missing first segment looks the same as a truncated one.
        let index = self.name.index.max(1);
        Some(Follows { end: index, front: index })
    }

    fn end(&self) -> Option<u64> {
        Some(self.next)
    }

    fn carry(&self, whole: bool) -> EtcdCarry {
        EtcdCarry { crc: if whole { self.frames.crc } else { 0 }, next: self.next, durable: self.durable }
    }
}

fn found(error: &EtcdError) -> &'static str {
    match error {
        EtcdError::Torn => "an incomplete record",
        EtcdError::Crc { .. } => "a record that does not match its checksum",
        EtcdError::Chain { .. } => "a segment that does not continue the previous one",
        _ => "bytes that are not a record",
    }
}
