//! Directories that have a writer of their own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tsmith_engine::manifest::MANIFEST_NAME;
use tsmith_wal::etcd::snap;
use tsmith_wal::fs::OsFs;

use super::names::{has_log, holds_files, is_numbered, is_of_replica, list};
use crate::exit::Failure;

/// The only writer of a directory, or of the directory of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A member of etcd.
    Member,
    /// A replica, by whose log all of its group hold the same.
    Replica,
}

impl Owner {
    /// That of `path`, which need not be there yet, or of the directory above.
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
        let is_snapshot = |(name, _): &(OsString, bool)| snap::is_numbered(name);
        let has_snapshots = || list(dir).is_ok_and(|names| names.iter().any(is_snapshot));
        let is_member = is_logged(dir) || !holds_engine() && (is_logged(&dir.join("wal")) || has_snapshots());
        is_member.then_some(Self::Member)
    }

    /// Why `verb` does not write there.
    pub(crate) fn refuse(self, verb: &str, path: &Path) -> Failure {
        let path = path.display();
        Failure::Usage(match self {
            Self::Member => format!(
                "{path}: of a member of etcd, not a shard: `tsmith {verb}` would put its files among those of the member; name \
                 a directory of its own"
            ),
            Self::Replica => format!(
                "{path}: of a replica, not a shard: what `tsmith {verb}` changes here the others of its group do not have. \
                 Write through the replica; if this one is corrupt, remove it whole and recreate it from the others"
            ),
        })
    }
}

/// Whether a log of etcd's is in a directory that is not that of one of our engines.
fn is_logged(dir: &Path) -> bool {
    has_log(dir) && !tsmith_wal::etcd::is_log(&OsFs, dir)
}

/// The engine of the replica in this directory, the newest if one came with a snapshot.
pub(super) fn engine_of_replica(dir: &Path) -> Option<PathBuf> {
    let is_engine = |(name, is_dir): &(OsString, bool)| *is_dir && is_numbered(name, "engine-");
    let (newest, _) = list(dir).ok()?.into_iter().rfind(is_engine)?;
    is_logged(&dir.join("wal")).then(|| dir.join(newest))
}
