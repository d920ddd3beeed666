//! Looking for whole records behind a place where the log cannot be read on.
//!
//! Frames stand at multiples of 8. Two in a row prove each other: the second's checksum is the first's, continued
//! over its own data. So records can be recognized without knowing what was before them.

use super::frame::{Frame, RawRecord, kind};
use super::{Entry, RawRecords, SnapshotRecord};
use crate::crc32c;

/// The checksums are of at most so many times the bytes there are: bytes that were made up cost no more.
const WORK_FACTOR: u64 = 4;

/// Whole records behind a place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Behind {
    /// How many; those of which no neighbour is whole are not counted.
    pub(super) records: u64,
    /// Whether a member's log was durable beyond the place: a later write shows that the one before it had returned. What was
    /// committed shows nothing: a follower saves an entry together with the news that others have it.
    pub(super) acknowledged: bool,
}

/// What stands behind `offset` of a member's segment, which begins with the entry `first`.
pub(super) fn behind(bytes: &[u8], offset: u64, first: u64) -> Behind {
    let (mut behind, mut write) = (Behind::default(), Write::Unknown);
    let mut take = |record: &RawRecord<'_>| {
        behind.records += 1;
        // A state stands behind the entries of its write: an entry is of a later one then. Where entries are missing between,
        // a write that had to be durable held them.
        let after_state = matches!(write, Write::State) && record.kind == kind::ENTRY;
        behind.acknowledged |= write.goes_on_with(record.kind)
            || after_state && index_of(record).is_some_and(|index| index > next_index(bytes, offset, first));
    };
    pairs_behind(bytes, offset, |first, second, follows| {
        if !follows {
            take(first);
        }
        take(second);
        true
    });
    behind
}

/// The index of the entry that comes next at `offset`.
fn next_index(bytes: &[u8], offset: u64, first: u64) -> u64 {
    let mut next = first;
    for record in RawRecords::new(bytes).map_while(Result::ok).take_while(|record| record.offset < offset) {
        match record.kind {
            kind::ENTRY => next = index_of(&record).map_or(next, |index| index.saturating_add(1)),
            kind::SNAPSHOT => {
                let snapshot = record.data.and_then(|data| SnapshotRecord::decode(data).ok());
                next = next.max(snapshot.map_or(0, |snapshot| snapshot.index.saturating_add(1)));
            }
            _ => {}
        }
    }
    next
}

fn index_of(record: &RawRecord<'_>) -> Option<u64> {
    Entry::decode(record.data?).ok().map(|entry| entry.index)
}

/// What is known of the write that a record belongs to. One is a state, or entries with a state behind them or without, or a
/// snapshot's record; only a state alone need not be durable before the next.
#[derive(Clone, Copy, Debug)]
enum Write {
    /// Its front is what cannot be read.
    Unknown,
    /// Likewise, or there is none: it may have been this state alone.
    State,
    Entries,
    /// Whatever comes is of a later one.
    Whole,
}

impl Write {
    /// Takes the kind of the next record. Whether a write that had to be durable came before the one it is of.
    fn goes_on_with(&mut self, kind: i64) -> bool {
        let (next, is_later) = match (*self, kind) {
            (write, kind::METADATA | kind::CRC) => (write, false),
            (Self::Unknown | Self::State, kind::STATE) => (Self::State, false),
            (Self::Unknown | Self::State | Self::Entries, kind::ENTRY) => (Self::Entries, false),
            (Self::Unknown | Self::State, _) | (Self::Entries, kind::STATE) => (Self::Whole, false),
            (Self::Entries | Self::Whole, _) => (Self::Whole, true),
        };
        *self = next;
        is_later
    }
}

/// The first record behind `offset` that the one before it proves: the checksum before it, and its place.
pub(super) fn resume(bytes: &[u8], offset: u64) -> Option<(u32, u64)> {
    let mut place = None;
    pairs_behind(bytes, offset, |first, second, _| {
        place = Some((first.crc, second.offset));
        false
    });
    place
}

/// Gives every two records in a row behind `offset` of which the second proves the first, and whether the first was
/// the second of the pair before; as long as `found` wants more.
pub(super) fn pairs_behind(
    bytes: &[u8],
    offset: u64,
    mut found: impl FnMut(&RawRecord<'_>, &RawRecord<'_>, bool) -> bool,
) {
    let mut work = WORK_FACTOR * bytes.len() as u64;
    let mut at = offset.next_multiple_of(8);
    let mut follows = false;
    while at + 8 <= bytes.len() as u64 {
        let pair = plausible(bytes, at).and_then(|first| Some((first, plausible(bytes, first.end())?)));
        match pair {
            Some((first, second)) if proves(&first, &second, &mut work) => {
                if !found(&first, &second, follows) {
                    return;
                }
                (at, follows) = (first.end(), true);
            }
            // The second of a pair begins no other one: go on behind it.
            Some((first, _)) if follows => (at, follows) = (first.end(), false),
            _ => (at, follows) = (at + 8, false),
        }
        if work == 0 {
            return;
        }
    }
}

/// A record that a writer could have made.
fn plausible(bytes: &[u8], at: u64) -> Option<RawRecord<'_>> {
    let record = Frame::at(bytes, at).ok()??.record().ok()?;
    let known = (kind::METADATA..=kind::SNAPSHOT).contains(&record.kind);
    (known && record.canonical).then_some(record)
}

fn proves(first: &RawRecord<'_>, second: &RawRecord<'_>, work: &mut u64) -> bool {
    let data = second.data.unwrap_or_default();
    *work = work.saturating_sub(data.len() as u64 + 1);
    // Records without data, as a chain of zeros would have them, prove nothing.
    !data.is_empty() && crc32c::append(first.crc, data) == second.crc
}
