//! Directories of etcd members and replicas. No verb may write to them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tsmith_engine::manifest::MANIFEST_NAME;
use tsmith_wal::etcd::is_numbered_snapshot;
use tsmith_wal::fs::OsFs;

use super::names::{has_log, holds_files, is_numbered, is_of_replica, list};
use crate::exit::Failure;

/// The only program that may write to a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An etcd member.
    Member,
    /// A replica. All replicas of its group apply the same log, so they must not differ.
    Replica,
}

impl Owner {
    /// The owner of `path` or of its parent directory. `path` need not exist.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        let path = path.ancestors().find_map(|path| path.canonicalize().ok())?;
        path.ancestors().filter(|path| path.is_dir()).take(2).find_map(Self::of_directory)
    }

    fn of_directory(dir: &Path) -> Option<Self> {
        let in_replica = dir.file_name().is_some_and(is_of_replica) && is_logged(&dir.with_file_name("wal"));
        if in_replica || engine_of_replica(dir).is_some() {
            return Some(Self::Replica);
        }
        let holds_engine = || dir.join(MANIFEST_NAME).exists() || holds_files(dir);
        let is_snapshot = |(name, _): &(OsString, bool)| is_numbered_snapshot(name);
        let has_snapshots = || list(dir).is_ok_and(|names| names.iter().any(is_snapshot));
        let is_member = is_logged(dir) || !holds_engine() && (is_logged(&dir.join("wal")) || has_snapshots());
        is_member.then_some(Self::Member)
    }

    /// The error that `verb` must not write to `path`.
    pub(crate) fn refuse(self, verb: &str, path: &Path) -> Failure {
        let path = path.display();
        Failure::Usage(match self {
            Self::Member => format!(
                "{path}: belongs to an etcd member: `tsmith {verb}` does not write to it; pass a directory of a shard or engine"
            ),
            Self::Replica => format!(
                "{path}: belongs to a replica: `tsmith {verb}` would make it differ from the other replicas. Write through the \
                 replica; if this one is corrupt, remove it and recreate it from the others"
            ),
        })
    }
}

/// Whether a directory contains an etcd log that does not belong to a Tsmith engine.
fn is_logged(dir: &Path) -> bool {
    has_log(dir) && !tsmith_wal::etcd::is_log(&OsFs, dir)
}

/// The newest engine of the replica in this directory. Each snapshot from another replica brings a new one.
pub(super) fn engine_of_replica(dir: &Path) -> Option<PathBuf> {
    let is_engine = |(name, is_dir): &(OsString, bool)| *is_dir && is_numbered(name, "engine-");
    let (newest, _) = list(dir).ok()?.into_iter().rfind(is_engine)?;
    is_logged(&dir.join("wal")).then(|| dir.join(newest))
}
