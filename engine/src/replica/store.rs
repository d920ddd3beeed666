//! Raft's view of its log: in memory, updated after entries are saved.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, StorageError};
use tsmith_wal::etcd;

use super::convert::snapshot_to;

/// The log after some index, and the snapshot for followers that need older entries.
pub(super) struct Store {
    state: HardState,
    conf_state: ConfState,
    /// Index and term of the entry before the first.
    before: (u64, u64),
    entries: VecDeque<Entry>,
    snapshot: etcd::Snapshot,
}

impl Store {
    pub(super) fn new(voters: &[u64], snapshot: &etcd::Snapshot) -> Self {
        let conf_state = ConfState { voters: voters.to_vec(), ..ConfState::default() };
        Self {
            state: HardState::default(),
            conf_state,
            before: (snapshot.index, snapshot.term),
            entries: VecDeque::new(),
            snapshot: snapshot.clone(),
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.before.0 + self.entries.len() as u64
    }

    pub(super) fn term_of(&self, index: u64) -> Option<u64> {
        match index.checked_sub(self.before.0)? {
            0 => Some(self.before.1),
            at => Some(self.entries.get(at as usize - 1)?.term),
        }
    }

    /// Appends entries. They replace existing ones from the first index on.
    pub(super) fn append(&mut self, entries: Vec<Entry>) {
        if let Some(first) = entries.first() {
            let keep = first.index.saturating_sub(self.before.0 + 1);
            self.entries.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            self.entries.extend(entries);
        }
    }

    pub(super) fn set_state(&mut self, term: u64, vote: u64, commit: u64) {
        self.state.term = term;
        self.state.vote = vote;
        self.state.commit = commit;
    }

    pub(super) fn commit(&mut self, index: u64) {
        self.state.commit = index;
    }

    /// Restarts the log after a received snapshot.
    pub(super) fn install(&mut self, snapshot: &etcd::Snapshot) {
        self.entries.clear();
        self.before = (snapshot.index, snapshot.term);
        self.state.commit = self.state.commit.max(snapshot.index);
        self.snapshot = snapshot.clone();
    }

    /// Stores a local snapshot and drops all but `keep` entries before it.
    pub(super) fn compact(&mut self, snapshot: etcd::Snapshot, keep: u64) {
        let to = snapshot.index.saturating_sub(keep);
        if let Some(term) = self.term_of(to).filter(|_| to > self.before.0) {
            self.entries.drain(..(to - self.before.0) as usize);
            self.before = (to, term);
        }
        self.snapshot = snapshot;
    }
}

impl raft::Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let first = self.before.0 + 1;
        if low < first {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let range = (low - first) as usize..(high - first) as usize;
        let mut entries: Vec<Entry> = self.entries.range(range).cloned().collect();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let missing = if index < self.before.0 { StorageError::Compacted } else { StorageError::Unavailable };
        self.term_of(index).ok_or(raft::Error::Store(missing))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.before.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _: u64) -> raft::Result<Snapshot> {
        if self.snapshot.index == 0 || self.snapshot.index < request_index {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        Ok(snapshot_to(&self.snapshot))
    }
}
