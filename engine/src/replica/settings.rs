//! What a replica is told when it is opened, and what its log says of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tsmith_wal::etcd::{Snapshot, WalOptions};

use super::{Error, Result};

/// What the metadata of a replica's log begins with.
const METADATA_TAG: [u8; 4] = *b"TSR2";

/// What a replica is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who it is; not 0.
    pub id: u64,
    /// Who belongs to the group, itself included. The same at every start: there is no way yet to agree on others.
    pub voters: Vec<u64>,
    /// The number of the group, drawn when it is made, by chance say: replicas of two groups with the same voters know
    /// each other by it, and refuse each other's messages and directories. The same for all, and at every start.
    pub group: u64,
    /// A snapshot is made when so many entries were applied since the last.
    pub snapshot_entries: u64,
    /// So many entries before it are kept in memory, for followers that are a little behind.
    pub catch_up_entries: u64,
    /// Files of a snapshot travel in chunks of so many bytes; a frame of the transport carries one.
    pub chunk_bytes: u32,
    /// Directories of other replicas, by their id, that are on this one's file system: files of their snapshots are
    /// linked from there, and share their blocks on the disk.
    pub neighbours: BTreeMap<u64, PathBuf>,
    /// How the log is kept.
    pub wal: WalOptions,
    /// Whether threads of the engine write and merge its files; else that is done where the snapshot is made, and takes as
    /// long as it takes. A simulation wants that, to be a function of its seed.
    pub background: bool,
}

impl Settings {
    /// Of these voters the one called `id`, with etcd's settings.
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

    /// The same with the voters in order, each once.
    pub(super) fn checked(mut self) -> Result<Self> {
        self.voters = ordered(&self.voters);
        if !self.voters.contains(&self.id) || self.voters.contains(&0) {
            return Err(Error::NoVoter { id: self.id, voters: self.voters });
        }
        Ok(self)
    }

    /// The most bytes of lines in one proposal.
    pub(super) fn lines_bytes_max(&self) -> u64 {
        self.wal.record_bytes_max.saturating_sub(1024)
    }

    /// What the log says of whose it is: [`METADATA_TAG`], then group, id and voters, 8 bytes each, little-endian.
    pub(super) fn metadata(&self) -> Vec<u8> {
        let all = [&[self.group, self.id], &self.voters[..]].concat();
        let numbers = all.into_iter().flat_map(u64::to_le_bytes);
        METADATA_TAG.into_iter().chain(numbers).collect()
    }

    /// Whether the log in `dir`, with this metadata and this snapshot, is of the replica that these settings mean. Logs of
    /// before say nothing of the group, which has the number 0 then, and those of still before nothing of voters; their
    /// snapshots do.
    pub(super) fn check(&self, dir: &Path, metadata: Option<&[u8]>, snapshot: &Snapshot) -> Result<()> {
        let metadata = metadata.unwrap_or_default();
        let tagged = metadata.strip_prefix(&METADATA_TAG);
        let (numbers, rest) = tagged.unwrap_or(metadata).as_chunks();
        let mut numbers: Vec<u64> = numbers.iter().copied().map(u64::from_le_bytes).collect();
        if tagged.is_none() {
            numbers.insert(0, 0);
        }
        let ([group, id, voters @ ..], []) = (&numbers[..], rest) else {
            return Err(Error::Corrupt("the directory of a replica"));
        };
        if *group != self.group {
            let (found, group) = (*group, self.group);
            return Err(Error::OtherGroupsDirectory { dir: dir.to_path_buf(), found, group });
        }
        if *id != self.id {
            return Err(Error::OtherReplica { dir: dir.to_path_buf(), found: *id, id: self.id });
        }
        let of_snapshot = Some(&snapshot.conf_state.voters).filter(|_| snapshot.index > 0);
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
