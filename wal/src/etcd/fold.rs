//! What readers derive from the records of a member's log.

use std::path::PathBuf;

use super::frame::{RawRecord, kind};
use super::salvage::index_of;
use super::scan::METADATA;
use super::{Entry, EtcdError, HardState, SegmentName, SnapshotRecord, Strictness};
use crate::Error;

/// The content of a log after the snapshot at which it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The metadata given to [`Wal::create`](super::Wal::create).
    pub metadata: Option<Vec<u8>>,
    /// The last hard state.
    pub state: HardState,
    /// The entries after the snapshot. A later entry with the same index replaces the earlier one and
    /// everything after it.
    pub entries: Vec<Entry>,
    /// The bytes after the end of the log. Opening for writing wiped them.
    pub tail: Option<Tail>,
}

/// The bytes after the end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The segment.
    pub path: PathBuf,
    /// The end of its last complete record.
    pub offset: u64,
    /// Whether an incomplete record begins there. Then the log opens only after a
    /// [`repair`](super::repair()).
    pub is_torn: bool,
    /// The number of bytes, up to the last non-zero one.
    pub bytes: u64,
    /// The minimum number of complete records among them. A power cut during a write of several records can
    /// leave some. Corruption can too, and then acknowledged records are lost.
    pub records: u64,
    /// Whether they prove that more was durable than can be read. Then this is certainly corruption.
    pub acknowledged: bool,
    /// The copy of the segment from before a repair.
    pub copy: Option<PathBuf>,
}

impl Tail {
    /// Why a log with this tail does not open.
    pub(super) fn refused(&self, strictness: Strictness) -> Option<Error> {
        let is_lost = self.acknowledged && strictness == Strictness::Acknowledged;
        let lost = EtcdError::AcknowledgedLost { records: self.records };
        is_lost.then(|| Error::from(lost).at_path(&self.path).at_offset(self.offset))
    }
}

/// How entries are handled.
#[derive(Clone, Copy)]
pub(super) enum Entries<'a> {
    /// They are skipped, like other records except states and snapshots.
    Ignore,
    /// They are decoded, and checked for numbers that must not decrease.
    Check,
    /// The entries after this snapshot are kept, and must follow it.
    Keep(&'a SnapshotRecord),
}

/// The state after the records so far.
pub(super) struct Fold<'a> {
    mode: Entries<'a>,
    pub(super) contents: Contents,
    /// All snapshots that the log has a record of.
    pub(super) snapshots: Vec<SnapshotRecord>,
    /// The number of entries, including overwritten ones.
    pub(super) entries: u64,
    /// The last saved entry, if known.
    last_index: Option<u64>,
    /// The index of the next entry.
    pub(super) next: u64,
    /// The last term and vote, if known: segments begun after a reopen may not contain them.
    pub(super) vote: Option<(u64, u64)>,
    last_term: u64,
    /// The segment with the last hard state.
    pub(super) state_seq: Option<u64>,
    /// The last entry before which indexes are missing: its place and the error.
    gap: Option<(SegmentName, u64, EtcdError)>,
}

impl<'a> Fold<'a> {
    /// For a log that begins with the segment `first`. No entry precedes the very first segment.
    pub(super) fn new(mode: Entries<'a>, first: SegmentName) -> Self {
        Self {
            mode,
            contents: Contents::default(),
            snapshots: Vec::new(),
            entries: 0,
            last_index: (first.seq == 0).then_some(0),
            next: first.index.max(1),
            vote: (first.seq == 0).then_some((0, 0)),
            last_term: 0,
            state_seq: None,
            gap: None,
        }
    }

    pub(super) fn take(&mut self, name: SegmentName, record: &RawRecord<'_>) -> Result<(), EtcdError> {
        let data = record.data.unwrap_or_default();
        match record.kind {
            kind::CRC => {}
            kind::ENTRY => {
                self.entries += 1;
                self.next = index_of(record).map_or(self.next, |index| index.saturating_add(1));
                match self.mode {
                    Entries::Ignore => {}
                    Entries::Check => self.check_entry(name, record.offset, &Entry::decode(data)?)?,
                    Entries::Keep(start) => self.keep_entry(start.index, Entry::decode(data)?)?,
                }
            }
            kind::STATE => {
                let (state, before) = (HardState::decode(data)?, self.contents.state);
                // A log of ours that was cut back after corruption can continue below its earlier commit
                // index.
                let is_checked = matches!(self.mode, Entries::Check);
                if is_checked && self.contents.metadata.as_deref() != Some(METADATA) {
                    grows("term", before.term, state.term)?;
                    grows("commit index", before.commit, state.commit)?;
                }
                (self.contents.state, self.state_seq) = (state, Some(name.seq));
                self.vote = Some((state.term, state.vote));
            }
            kind::SNAPSHOT => {
                let snapshot = SnapshotRecord::decode(data)?;
                self.next = self.next.max(snapshot.index.saturating_add(1));
                self.snapshots.push(snapshot);
            }
            _ if matches!(self.mode, Entries::Ignore) => {}
            kind::METADATA if self.contents.metadata.as_deref().is_none_or(|known| known == data) => {
                self.contents.metadata = record.data.map(<[u8]>::to_vec);
            }
            kind::METADATA => return Err(EtcdError::MetadataConflict),
            unknown => return Err(EtcdError::RecordKind(unknown)),
        }
        Ok(())
    }

    fn keep_entry(&mut self, start: u64, entry: Entry) -> Result<(), EtcdError> {
        let index = entry.index;
        if let Some(after) = index.checked_sub(start).and_then(|after| after.checked_sub(1)) {
            let entries = &mut self.contents.entries;
            let have = entries.len() as u64;
            if after > have {
                return Err(EtcdError::Gap { index, last: start.saturating_add(have) });
            }
            entries.truncate(after as usize);
            entries.push(entry);
        }
        self.last_index = Some(index);
        Ok(())
    }

    fn check_entry(&mut self, name: SegmentName, offset: u64, entry: &Entry) -> Result<(), EtcdError> {
        let Entry { index, term, .. } = *entry;
        let before = std::mem::replace(&mut self.last_term, term);
        let Some(last) = self.last_index.replace(index) else { return Ok(()) };
        if index.saturating_sub(1) > last {
            self.gap = Some((name, offset, EtcdError::Gap { index, last }));
        }
        // An entry that overwrites another can have a lower term than the record before it.
        if last.checked_add(1) == Some(index) { grows("term of the entries", before, term) } else { Ok(()) }
    }

    /// The index of the last saved entry, or 0.
    pub(super) fn last_index(&self) -> u64 {
        self.last_index.unwrap_or(0)
    }

    /// The highest index of a snapshot.
    pub(super) fn last_snapshot(&self) -> u64 {
        self.snapshots.iter().map(|snapshot| snapshot.index).max().unwrap_or(0)
    }

    /// The committed snapshots, oldest first.
    pub(super) fn committed(&self) -> Vec<SnapshotRecord> {
        let commit = self.contents.state.commit;
        self.snapshots.iter().filter(|snapshot| snapshot.index <= commit).cloned().collect()
    }

    /// A gap in checked entries that no snapshot of the log covers.
    pub(super) fn gap(&self) -> Option<&(SegmentName, u64, EtcdError)> {
        let snapshot = self.last_snapshot();
        let is_open =
            |error: &EtcdError| matches!(*error, EtcdError::Gap { index, .. } if snapshot < index - 1);
        self.gap.as_ref().filter(|(.., error)| is_open(error))
    }

    /// Why the log cannot be opened at the snapshot `start`, if it cannot.
    pub(super) fn refuses_start(&self, start: &SnapshotRecord) -> Option<EtcdError> {
        let SnapshotRecord { index, term, .. } = *start;
        let mut terms = self.snapshots.iter().filter(|found| found.index == index).map(|found| found.term);
        match terms.find(|&found| found != term) {
            Some(found) => Some(EtcdError::SnapshotMismatch { index, found, expected: term }),
            None if self.snapshots.iter().any(|found| found.index == index) => None,
            None => Some(EtcdError::SnapshotNotFound { index, term }),
        }
    }
}

/// Fails if a number decreases that must not.
fn grows(what: &'static str, before: u64, now: u64) -> Result<(), EtcdError> {
    if now < before { Err(EtcdError::GoesBack { what, before, now }) } else { Ok(()) }
}
