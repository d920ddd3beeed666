//! Whole records behind a place where the log cannot be read on.
//!
//! Frames stand at multiples of 8. Two in a row prove each other: the second's checksum is the first's, continued
//! over its own data. So records can be recognized without knowing what was before them.

use std::{iter, mem};

use super::frame::{RawRecord, kind};
use super::{Entry, HardState};
use crate::crc32c;
use crate::scan::used_len;

/// The checksums are of at most so many times the bytes there are: bytes that were made up cost no more.
const WORK_FACTOR: u64 = 4;

/// Whole records behind a place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Behind {
    /// How many; those of which no neighbour is whole are not counted.
    pub(super) records: u64,
    /// Whether a member's log was durable beyond the place: a later write shows that the one before it had returned. What one
    /// state says is committed shows nothing: a follower saves an entry together with the news that others have it. What
    /// the next one says was saved before.
    pub(super) acknowledged: bool,
}

/// What stands behind `offset`, where a member's log ends. The next entry would have the index `next`, and `vote` is the last
/// term and vote, if they are known.
pub(super) fn behind(bytes: &[u8], offset: u64, next: u64, vote: Option<(u64, u64)>) -> Behind {
    let mut unsynced = Unsynced { stage: Stage::States, next, index: 0, vote, after_state: false };
    let mut behind = Behind::default();
    for (first, second, follows) in pairs_behind(bytes, offset) {
        if !follows {
            behind.acknowledged |= unsynced.goes_on_with(&first, false);
            // The one at which the log ends is not whole: else it would not.
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

/// What has to be durable before [`Wal::save`](super::Wal::save) returns, of a state alone.
fn vote_of(record: &RawRecord<'_>) -> Option<(u64, u64)> {
    state_of(record).map(|state| (state.term, state.vote))
}

/// What a crash can leave of a log that is not synced: states that only say how far is committed, then one write that has to
/// be durable. That is entries with a state behind them or without, a state with another term or vote, or a snapshot's
/// record. Whatever comes after it shows that it was durable.
#[derive(Debug)]
struct Unsynced {
    stage: Stage,
    /// The index of the next entry, where the log ends.
    next: u64,
    /// Of the entry before, in the write.
    index: u64,
    /// Term and vote so far, if they are known.
    vote: Option<(u64, u64)>,
    /// Some state was there already.
    after_state: bool,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    States,
    Entries,
    Whole,
}

impl Unsynced {
    /// Takes the next record, which `follows` directly on the one before or after others that are not there. Whether it
    /// cannot be: a write that had to be durable came before the one it is of.
    fn goes_on_with(&mut self, record: &RawRecord<'_>, follows: bool) -> bool {
        let index = index_of(record).filter(|_| record.kind == kind::ENTRY);
        let (stage, is_later) = match (self.stage, record.kind) {
            (_, kind::METADATA | kind::CRC) => return false,
            (Stage::Whole, _) | (Stage::Entries, kind::SNAPSHOT) => (Stage::Whole, true),
            (Stage::States, kind::STATE) => {
                // What a state alone says is committed was saved before: in the write of the state right before it, at the
                // latest.
                let saved = mem::replace(&mut self.after_state, true) && follows;
                let is_later = saved && state_of(record).is_some_and(|state| state.commit >= self.next);
                (if self.has_other_vote(record) { Stage::Whole } else { Stage::States }, is_later)
            }
            (_, kind::STATE | kind::SNAPSHOT) => (Stage::Whole, false),
            (Stage::States, _) => {
                // Where entries are missing before this one, and not between it and the state before, an earlier write
                // held them.
                (Stage::Entries, follows && index.unwrap_or(0) > self.next)
            }
            // Those of one write ascend.
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

/// The first record behind `offset` that the one before it proves: the checksum before it, and its place.
pub(super) fn resume(bytes: &[u8], offset: u64) -> Option<(u32, u64)> {
    pairs_behind(bytes, offset).next().map(|(first, second, _)| (first.crc, second.offset))
}

/// Every two records in a row behind `offset` of which the second proves the first, and whether the first was the second of the
/// pair before.
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
                // The second of a pair begins no other one: go on behind it.
                (Some(first), _) if follows => (at, follows) = (first.end(), false),
                _ => (at, follows) = (at + 8, false),
            }
        }
        None
    })
}

/// The state at which a closed log ends, if it stands behind `offset`: no record behind it proves it, but nothing else than
/// zeros follows.
pub(super) fn closing_state(bytes: &[u8], offset: u64) -> Option<RawRecord<'_>> {
    const STATE_FRAME_BYTES_MAX: u64 = 64;
    let end = used_len(bytes).next_multiple_of(8);
    let from = end.saturating_sub(STATE_FRAME_BYTES_MAX).max(offset.next_multiple_of(8));
    let mut records = (from..end).step_by(8).filter_map(|at| plausible(bytes, at));
    records.find(|record| record.kind == kind::STATE && record.end() == end)
}

/// A record that a writer could have made.
fn plausible(bytes: &[u8], at: u64) -> Option<RawRecord<'_>> {
    let record = RawRecord::at(bytes, at).ok()??;
    let known = (kind::METADATA..=kind::SNAPSHOT).contains(&record.kind);
    (known && record.canonical).then_some(record)
}

fn proves(first: &RawRecord<'_>, second: &RawRecord<'_>, work: &mut u64) -> bool {
    let data = second.data.unwrap_or_default();
    *work = work.saturating_sub(data.len() as u64 + 1);
    // Records without data, as a chain of zeros would have them, prove nothing.
    !data.is_empty() && crc32c::append(first.crc, data) == second.crc
}
