//! The settings of a replica, and the metadata of its log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tsmith_wal::etcd::{Snapshot, WalOptions};

use super::{Error, Result};

/// The first bytes of a replica log's metadata.
const METADATA_TAG: [u8; 4] = *b"TSR2";

/// The settings of a replica.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its id; not 0.
    pub id: u64,
    /// All members of the group, including itself. They must be the same at every start: the members cannot
    /// change.
    pub voters: Vec<u64>,
    /// A number for the group, for example a random one, the same for all members and at every start.
    /// Replicas refuse messages and directories of another group, even one with the same voters.
    pub group: u64,
    /// Take a snapshot after this many applied entries.
    pub snapshot_entries: u64,
    /// Entries kept in memory before a snapshot, for followers that are slightly behind.
    pub catch_up_entries: u64,
    /// Length of a chunk of a snapshot file. One frame of the transport must hold a chunk.
    pub chunk_bytes: u32,
    /// Directories of other replicas on the same file system, by id. Snapshot files are linked from there, so
    /// they share disk blocks.
    pub neighbours: BTreeMap<u64, PathBuf>,
    /// Options of raft's log.
    pub wal: WalOptions,
    /// Whether threads of the engine write and merge its files. If false, that happens synchronously in
    /// `run`, which makes a simulation deterministic.
    pub background: bool,
}

impl Settings {
    /// The member `id` of these voters, with etcd's defaults.
    pub fn new(id: u64, voters: &[u64]) -> Self {
        Self {
            id,
            voters: voters.to_vec(),
            group: 0,
            snapshot_entries: 10_000,
            catch_up_entries: 5_000,
            chunk_bytes: 1 << 20,
            neighbours: BTreeMap::new(),
            wal: WalOptions::default(),
            background: true,
        }
    }

    /// The same settings with sorted, unique voters.
    pub(super) fn checked(mut self) -> Result<Self> {
        self.voters = ordered(&self.voters);
        if !self.voters.contains(&self.id) || self.voters.contains(&0) {
            return Err(Error::NoVoter { id: self.id, voters: self.voters });
        }
        Ok(self)
    }

    /// Maximum bytes of lines in one proposal.
    pub(super) fn lines_bytes_max(&self) -> u64 {
        self.wal.record_bytes_max.saturating_sub(1024)
    }

    /// The metadata of the log: [`METADATA_TAG`], then group, id and voters, 8 bytes each, little-endian.
    pub(super) fn metadata(&self) -> Vec<u8> {
        let all = [&[self.group, self.id], &self.voters[..]].concat();
        let numbers = all.into_iter().flat_map(u64::to_le_bytes);
        METADATA_TAG.into_iter().chain(numbers).collect()
    }

    /// Checks that the log in `dir`, with this metadata and snapshot, belongs to the replica of these
    /// settings. Logs without the tag have no group number and count as group 0. If the metadata has no
    /// voters, the snapshot's voters are checked.
    pub(super) fn check(&self, dir: &Path, metadata: Option<&[u8]>, snapshot: &Snapshot) -> Result<()> {
        let metadata = metadata.unwrap_or_default();
        let tagged = metadata.strip_prefix(&METADATA_TAG);
        let (numbers, rest) = tagged.unwrap_or(metadata).as_chunks();
        let mut numbers: Vec<u64> = numbers.iter().copied().map(u64::from_le_bytes).collect();
        if tagged.is_none() {
            numbers.insert(0, 0);
        }
        let ([group, id, voters @ ..], []) = (&numbers[..], rest) else {
            return Err(Error::Corrupt("the metadata of a replica's log"));
        };
        if *group != self.group {
            let (found, group) = (*group, self.group);
            return Err(Error::OtherGroupsDirectory { dir: dir.to_path_buf(), found, group });
        }
        if *id != self.id {
            return Err(Error::OtherReplica { dir: dir.to_path_buf(), found: *id, id: self.id });
        }
        let of_snapshot = (snapshot.index > 0).then_some(&snapshot.conf_state.voters);
        for voters in [Some(voters).filter(|voters| !voters.is_empty()), of_snapshot.map(|list| &list[..])] {
            let was = ordered(voters.unwrap_or(&self.voters));
            if was != self.voters {
                return Err(Error::OtherVoters { was, now: self.voters.clone() });
            }
        }
        Ok(())
    }
}

fn ordered(voters: &[u64]) -> Vec<u64> {
    let mut voters = voters.to_vec();
    voters.sort_unstable();
    voters.dedup();
    voters
}
