//! Finds complete records after a place where the log cannot be read.
//!
//! Frames start at multiples of 8. Two adjacent records prove each other: the checksum of the second is that
//! of the first, extended by its own data. So records can be recognized without knowing what precedes them.

use std::{iter, mem};

use super::frame::{RawRecord, kind};
use super::{Entry, HardState};
use crate::crc32c;
use crate::scan::used_len;

/// Limits the total bytes checksummed to this multiple of the segment, so that hostile bytes cost no more.
const WORK_FACTOR: u64 = 4;

/// Complete records after a place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Behind {
    /// Their number, excluding records without a complete neighbour.
    pub(super) records: u64,
    /// Whether they prove that a member's log was durable beyond the place. A later write proves that the
    /// write before it had returned. The commit index in one state proves nothing: a follower saves an entry
    /// together with the news that others have it. A commit index in the next state was saved before.
    pub(super) acknowledged: bool,
}

/// Examines the bytes after `offset`, where a member's log ends. The next entry would have index `next`.
/// `vote` is the last term and vote, if known.
pub(super) fn behind(bytes: &[u8], offset: u64, next: u64, vote: Option<(u64, u64)>) -> Behind {
    let mut unsynced = Unsynced { stage: Stage::States, next, index: 0, vote, after_state: false };
    let mut behind = Behind::default();
    for (first, second, follows) in pairs_behind(bytes, offset) {
        if !follows {
            behind.acknowledged |= unsynced.goes_on_with(&first, false);
            // The record at which the log ends is incomplete.
            behind.records += u64::from(first.offset != offset);
        }
        behind.acknowledged |= unsynced.goes_on_with(&second, true);
        behind.records += 1;
    }
    behind
}

pub(super) fn index_of(record: &RawRecord<'_>) -> Option<u64> {
    Entry::fields(record.data?).ok().map(|[_, _, index, _]| index.or_zero())
}

pub(super) fn state_of(record: &RawRecord<'_>) -> Option<HardState> {
    HardState::decode(record.data?).ok()
}

/// The part of a state that must be durable before [`Wal::save`](super::Wal::save) returns.
fn vote_of(record: &RawRecord<'_>) -> Option<(u64, u64)> {
    state_of(record).map(|state| (state.term, state.vote))
}

/// What a crash can leave of a log that is not synced: states with only a new commit index, then one write
/// that had to become durable. That write is entries with or without a state, a state with a new term or
/// vote, or a snapshot record. Any record after it proves that it was durable.
#[derive(Debug)]
struct Unsynced {
    stage: Stage,
    /// The index of the next entry where the log ends.
    next: u64,
    /// The index of the previous entry of the write.
    index: u64,
    /// The current term and vote, if known.
    vote: Option<(u64, u64)>,
    /// Whether a state was seen already.
    after_state: bool,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    States,
    Entries,
    Whole,
}

impl Unsynced {
    /// Takes the next record. `follows` states whether it directly follows the one before. Returns whether an
    /// unsynced log cannot contain it, so that an earlier write was durable.
    fn goes_on_with(&mut self, record: &RawRecord<'_>, follows: bool) -> bool {
        let index = index_of(record).filter(|_| record.kind == kind::ENTRY);
        let (stage, is_later) = match (self.stage, record.kind) {
            (_, kind::METADATA | kind::CRC) => return false,
            (Stage::Whole, _) | (Stage::Entries, kind::SNAPSHOT) => (Stage::Whole, true),
            (Stage::States, kind::STATE) => {
                // A commit index in a lone state was saved before: at the latest in the write of the state
                // right before it.
                let saved = mem::replace(&mut self.after_state, true) && follows;
                let is_later = saved && state_of(record).is_some_and(|state| state.commit >= self.next);
                (if self.has_other_vote(record) { Stage::Whole } else { Stage::States }, is_later)
            }
            (_, kind::STATE | kind::SNAPSHOT) => (Stage::Whole, false),
            (Stage::States, _) => {
                // If entries are missing before this one but not between it and the state before, an earlier
                // write contained them.
                (Stage::Entries, follows && index.unwrap_or(0) > self.next)
            }
            // Indexes within one write ascend.
            (Stage::Entries, _) => (Stage::Entries, index.is_some_and(|index| index <= self.index)),
        };
        (self.stage, self.index) = (stage, index.unwrap_or(self.index));
        is_later
    }

    fn has_other_vote(&mut self, record: &RawRecord<'_>) -> bool {
        let now = vote_of(record);
        mem::replace(&mut self.vote, now).zip(now).is_some_and(|(before, now)| before != now)
    }
}

/// The first record after `offset` whose checksum continues that of the record before it: the checksum before
/// it, and its offset.
pub(super) fn resume(bytes: &[u8], offset: u64) -> Option<(u32, u64)> {
    pairs_behind(bytes, offset).next().map(|(first, second, _)| (first.crc, second.offset))
}

/// All pairs of adjacent records after `offset` whose second record proves the first, and whether the first
/// was also the second of the previous pair.
pub(super) fn pairs_behind(
    bytes: &[u8],
    offset: u64,
) -> impl Iterator<Item = (RawRecord<'_>, RawRecord<'_>, bool)> {
    let len = bytes.len() as u64;
    let (mut at, mut follows, mut work) = (offset.next_multiple_of(8), false, WORK_FACTOR * len);
    iter::from_fn(move || {
        while work > 0 && at + 8 <= len {
            let first = plausible(bytes, at);
            match (first, first.and_then(|first| plausible(bytes, first.end()))) {
                (Some(first), Some(second)) if proves(&first, &second, &mut work) => {
                    at = first.end();
                    return Some((first, second, mem::replace(&mut follows, true)));
                }
                // The second record of a pair starts no other pair; continue after it.
                (Some(first), _) if follows => (at, follows) = (first.end(), false),
                _ => (at, follows) = (at + 8, false),
            }
        }
        None
    })
}

/// The state at the end of a closed log, if it follows `offset`. No record after it proves it, but only zeros
/// follow it.
pub(super) fn closing_state(bytes: &[u8], offset: u64) -> Option<RawRecord<'_>> {
    const STATE_FRAME_BYTES_MAX: u64 = 64;
    let end = used_len(bytes).next_multiple_of(8);
    let from = end.saturating_sub(STATE_FRAME_BYTES_MAX).max(offset.next_multiple_of(8));
    let mut records = (from..end).step_by(8).filter_map(|at| plausible(bytes, at));
    records.find(|record| record.kind == kind::STATE && record.end() == end)
}

/// A record that a writer could have written.
fn plausible(bytes: &[u8], at: u64) -> Option<RawRecord<'_>> {
    let record = RawRecord::at(bytes, at).ok()??;
    let known = (kind::METADATA..=kind::SNAPSHOT).contains(&record.kind);
    (known && record.canonical).then_some(record)
}

fn proves(first: &RawRecord<'_>, second: &RawRecord<'_>, work: &mut u64) -> bool {
    let data = second.data.unwrap_or_default();
    *work = work.saturating_sub(data.len() as u64 + 1);
    // Records without data prove nothing: a run of zeros would form a chain of them.
    !data.is_empty() && crc32c::append(first.crc, data) == second.crc
}
