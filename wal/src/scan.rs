//! How the segments of a format are read. One walk ([`recover`](crate::recover)) drives every scan.

use std::ffi::OsStr;
use std::fmt::Debug;

use crate::{Error, Position, RecordKind};

/// The segments of one format: their names, and how they are read.
pub trait SegmentFormat: Debug + Sized + 'static {
    /// What a file name says.
    type Name: Copy + Debug + Ord + Send + Sync;
    /// What one segment hands on to the next, so that the next can be checked.
    type Carry: Copy + Debug + Default;
    /// Reads a segment.
    type Scan<'s>: Scan<'s, Self>;

    /// Whether segments say which record they begin with. Else they name the last segment before them that held records.
    const NUMBERED: bool;
    /// A segment that is truncated becomes the space of a later one: what it held cannot be read there.
    const RECYCLED: bool;
    /// While a segment is active the next one exists and is empty.
    const GUARDED: bool;
    /// The longest segment that is read.
    const SEGMENT_BYTES_MAX: u64;

    /// The file name of a segment.
    fn file_name(name: Self::Name) -> String;

    /// Reads a file name; `None` for one that is not a segment's, or not written this way.
    fn parse_name(name: &OsStr) -> Option<Self::Name>;

    /// The number of a segment: the one begun after it has the next.
    fn number(name: Self::Name) -> u64;

    /// Puts the payload of `item` into `out`, from `from` on; gives its kind and length. What `out` holds beyond it means
    /// nothing. Any thread may do so.
    fn unpack(bytes: &[u8], item: Item, from: usize, out: &mut Vec<u8>) -> Result<(RecordKind, usize), Stop>;
}

/// Reads one segment, record by record.
pub trait Scan<'s, T: SegmentFormat>: Sized + Clone + Send {
    /// A scan of `bytes`, the content of segment `name`, behind a segment that handed on `carry`.
    fn new(name: T::Name, bytes: &'s [u8], carry: T::Carry) -> Self;

    /// The next record; `None` at the end. After a stop, calling again gives the same.
    fn next_item(&mut self) -> Result<Option<Item>, Stop>;

    /// Goes to the record at `offset`, which this scan is known to pass, and not past it.
    fn seek(&mut self, offset: u64);

    /// What an invalid place is. The scan stands there, and goes on from there after [`Verdict::Accepted`].
    fn judge(&mut self, invalid: Invalid, later: Later) -> Verdict;

    /// Goes on behind an invalid place, at the next record that passes its checks, if there is one.
    fn resume(&mut self, invalid: Invalid) -> Option<u64>;

    /// What the segment says of the log before it; `None` where it says nothing, or its head is not valid.
    fn follows(&self) -> Option<Follows>;

    /// Where the log ends with what was read so far, as the next segment has to name it.
    fn end(&self) -> Option<u64>;

    /// What the next segment gets; `whole` if this one was read to its end.
    fn carry(&self, whole: bool) -> T::Carry {
        let _ = whole;
        T::Carry::default()
    }

    /// The segment up to `to`, with what was accepted from `from` on under checksums: it replaces the segment, so that later
    /// openings need not judge it again. `None` if that is longer than a segment can be.
    fn sealed(&self, from: u64, to: u64) -> Option<Vec<u8>> {
        let _ = (from, to);
        None
    }
}

/// What a segment says of the log before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follows {
    /// Where the log ended before it: the number of its first record, or of the last segment before it that held records.
    pub end: u64,
    /// What is below this was truncated when the segment was begun.
    pub front: u64,
}

/// A record of a segment whose bounds are known, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Its position in the log.
    pub at: Position,
    /// Offset of its first byte.
    pub offset: u64,
    /// Offset after its last byte.
    pub end: u64,
    /// A checksum covers it.
    pub checked: bool,
}

/// Why a scan stopped.
#[derive(Debug)]
pub enum Stop {
    /// Something else than a record.
    Invalid(Invalid),
    /// A record above the limit, or of another program: neither torn nor corrupt, and not to be cut off.
    Refused(Error),
}

/// A place where a segment cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The first byte that is no record.
    pub offset: u64,
    /// What is wrong there.
    pub found: &'static str,
}

/// What the directory holds behind a segment; of a copy outside of a log nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Later {
    /// A later segment holds anything but zeros.
    pub holds: bool,
    /// InfluxDB has opened the directory since our log wrote the segment: the empty next segment is gone or used, and no
    /// later segment is ours.
    pub taken_over: bool,
}

/// What an invalid place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The end: space that was allocated and not used.
    End,
    /// The unfinished last write before a crash.
    TornTail,
    /// An incomplete group of ours that InfluxDB accepted and went on behind. The scan reads on from there, as InfluxDB did.
    Accepted {
        /// How many records follow up to the next invalid place. Our log acknowledged none of them; InfluxDB acknowledged
        /// those that it appended.
        records: u64,
    },
    /// Something that was valid once.
    Corruption,
}

/// The number in a file name, if `file_name` makes that name of it.
pub(crate) fn parse_number(name: &OsStr, file_name: fn(u32) -> String) -> Option<u32> {
    let name = name.to_str()?;
    let number = name.trim_matches(|letter: char| !letter.is_ascii_digit()).parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// The position of the record that ends at `end` of segment `number`.
pub(crate) fn position(number: u32, end: u32) -> Position {
    Position(u64::from(number) << 32 | u64::from(end))
}

/// Length without the zeros at the end.
pub(crate) fn used_len(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1)
}

/// Limits the search behind an invalid place: hostile bytes could make every place a candidate with much to check. When the
/// limit is reached the place counts as corruption, which changes nothing on disk.
pub(crate) struct Work {
    /// Bytes that may still be looked at.
    left: usize,
}

impl Work {
    /// For a segment of `len` bytes.
    pub(crate) fn of(len: usize) -> Self {
        Self { left: len.saturating_mul(16).max(1 << 20) }
    }

    /// Whether so much more may be done.
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
    fn work_ends() {
        let mut work = Work { left: 10 };
        assert!(work.pay(4) && work.pay(6) && work.pay(0) && !work.pay(1));
    }
}
