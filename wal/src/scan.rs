//! How segments of a format are read. One walk ([`recover`](crate::recover)) drives every scan.

use std::ffi::OsStr;
use std::fmt::Debug;

use crate::{Error, Position, RecordKind};

/// A segment format: file names and reading.
pub(crate) trait SegmentFormat: Debug + Sized + 'static {
    /// A parsed file name.
    type Name: Copy + Debug + Ord + Send + Sync;
    /// What one segment passes on to check the next.
    type Carry: Copy + Debug + Default;
    /// Reads a segment.
    type Scan<'s>: Scan<'s, Self>;

    /// Whether a segment states the number of its first record. Otherwise it names the last earlier segment
    /// with records.
    const NUMBERED: bool;
    /// Whether a later segment reuses the file of a truncated one, so that its old records become unreadable.
    const RECYCLED: bool;
    /// Whether an empty next segment exists while a segment is active.
    const GUARDED: bool;
    /// Largest segment file that is read.
    const SEGMENT_BYTES_MAX: u64;

    /// The file name of a segment.
    fn file_name(name: Self::Name) -> String;

    /// Parses a file name. `None` if it is not a segment's, or not in the exact form we write.
    fn parse_name(name: &OsStr) -> Option<Self::Name>;

    /// The number of a segment. The next segment has the next number.
    fn number(name: Self::Name) -> u64;

    /// Unpacks the payload of `item` into `out`, starting at `from`. Returns its kind and length. Bytes of
    /// `out` beyond the payload are undefined. Any thread may call this.
    fn unpack(bytes: &[u8], item: Item, from: usize, out: &mut Vec<u8>) -> Result<(RecordKind, usize), Stop>;
}

/// Reads one segment, record by record.
pub(crate) trait Scan<'s, T: SegmentFormat>: Sized + Clone + Send {
    /// Scans `bytes`, the content of segment `name`. The segment before it passed on `carry`.
    fn new(name: T::Name, bytes: &'s [u8], carry: T::Carry) -> Self;

    /// The next record, or `None` at the end. After a stop, another call returns the same stop.
    fn next_item(&mut self) -> Result<Option<Item>, Stop>;

    /// Moves to the record at `offset`, which is known to be a record of this scan, without passing over it.
    fn seek(&mut self, offset: u64);

    /// Classifies an invalid place, at which the scan has stopped. After [`Verdict::Accepted`] the scan
    /// continues there.
    fn judge(&mut self, invalid: Invalid, later: Later) -> Verdict;

    /// Continues after an invalid place, at the next record that passes its checks, and returns its offset.
    fn resume(&mut self, invalid: Invalid) -> Option<u64>;

    /// What the segment says about the log before it. `None` if it says nothing, or its head is invalid.
    fn follows(&self) -> Option<Follows>;

    /// Where the log ends with the records read so far, as the next segment must state it.
    fn end(&self) -> Option<u64>;

    /// What the next segment receives. `complete` if this segment was read to its end.
    fn carry(&self, complete: bool) -> T::Carry {
        let _ = complete;
        T::Carry::default()
    }

    /// The segment up to `to`, with checksums for the records accepted from `from` on. It replaces the
    /// segment, so that later opens need not judge it again. `None` if it would exceed the largest segment.
    fn sealed(&self, from: u64, to: u64) -> Option<Vec<u8>> {
        let _ = (from, to);
        None
    }
}

/// What a segment says about the log before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Follows {
    /// Where the log ended before the segment: the number of its first record, or of the last earlier segment
    /// with records.
    pub(crate) end: u64,
    /// Everything below this number was truncated when the segment was begun.
    pub(crate) front: u64,
}

/// A record in a segment, with known bounds. Its content is not checked yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// Its position in the log.
    pub(crate) at: Position,
    /// Offset of its first byte.
    pub(crate) offset: u64,
    /// Offset after its last byte.
    pub(crate) end: u64,
    /// Whether a checksum covers it.
    pub(crate) checked: bool,
}

/// Why a scan stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The bytes are no valid record.
    Invalid(Invalid),
    /// A record above the limit, or of another program. It is neither torn nor corrupt, and must not be cut
    /// off.
    Refused(Error),
}

/// A place where a segment cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// The first byte that is not part of a valid record.
    pub(crate) offset: u64,
    /// What is wrong there.
    pub(crate) found: &'static str,
}

/// What the directory holds after a segment. For a copy outside a log, nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Later {
    /// A later segment holds anything other than zeros.
    pub(crate) holds: bool,
    /// InfluxDB has opened the directory since our log wrote the segment: the empty next segment is missing
    /// or used, and no later segment is ours.
    pub(crate) taken_over: bool,
}

/// What an invalid place means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The end: space that was allocated but not used.
    End,
    /// An unfinished last write before a crash.
    TornTail,
    /// An incomplete group of ours that InfluxDB accepted and appended to. The scan continues there, as
    /// InfluxDB did.
    Accepted {
        /// The number of records up to the next invalid place. Our log acknowledged none of them. InfluxDB
        /// acknowledged those that it appended.
        records: u64,
    },
    /// Bytes that were valid once.
    Corruption,
}

/// The number in a file name, if `file_name` gives that name for it.
pub(crate) fn parse_number(name: &OsStr, file_name: fn(u32) -> String) -> Option<u32> {
    let name = name.to_str()?;
    let number = name.trim_matches(|letter: char| !letter.is_ascii_digit()).parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// The position of the record that ends at offset `end` of segment `number`.
pub(crate) fn position(number: u32, end: u32) -> Position {
    Position(u64::from(number) << 32 | u64::from(end))
}

/// Length without trailing zeros.
pub(crate) fn used_len(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1)
}

/// Limits the search after an invalid place, because hostile bytes could make every place a candidate with
/// much to check. If the limit is reached, the place counts as corruption, which changes nothing on disk.
pub(crate) struct Work {
    /// Bytes that may still be examined.
    left: usize,
}

impl Work {
    /// The budget for a segment of `len` bytes.
    pub(crate) fn of(len: usize) -> Self {
        Self { left: len.saturating_mul(16).max(1 << 20) }
    }

    /// Spends `bytes` of the budget. False if it is exhausted.
    pub(crate) fn pay(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_has_a_limit() {
        let mut work = Work { left: 10 };
        assert!(work.pay(4) && work.pay(6) && work.pay(0) && !work.pay(1));
    }
}
