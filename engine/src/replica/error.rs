//! What goes wrong in a replica.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::APPLIED_MEASUREMENT;

/// Result of an operation of a replica.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log or the snapshot files.
    #[error("replica: {0}")]
    Storage(#[from] tsmith_wal::Error),
    /// The engine.
    #[error("replica: {0}")]
    Engine(#[from] crate::Error),
    /// Raft itself.
    #[error("replica: raft: {0}")]
    Raft(Arc<raft::Error>),
    /// A file of a snapshot.
    #[error("replica: {path}: {error}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        error: Arc<std::io::Error>,
    },
    /// A message or a snapshot that is none.
    #[error("replica: expected {0}")]
    Corrupt(&'static str),
    /// The engine has applied more than its log has: directories of different replicas.
    #[error(
        "replica: {applied} entries are applied, but the log ends at {last}: the directories do not belong together"
    )]
    AheadOfLog {
        /// What the engine says.
        applied: u64,
        /// The last index of the log.
        last: u64,
    },
    /// Nobody leads at the moment; try again.
    #[error("replica: there is no leader now: try again")]
    NoLeader,
    /// The proposal may or may not come to be; it can be made again.
    #[error("replica: no answer: the lines may or may not be written; write them again")]
    Unknown,
    /// The text writes what the replica keeps for itself.
    #[error("replica: the measurement {APPLIED_MEASUREMENT} is the replica's own")]
    Reserved,
    /// More than an entry of the log takes.
    #[error("replica: {bytes} bytes of lines, an entry takes {limit}: write them in parts")]
    TooLarge {
        /// How many there are.
        bytes: u64,
        /// The most there may be.
        limit: u64,
    },
    /// The replica stopped.
    #[error("replica: stopped")]
    Stopped,
}

impl From<raft::Error> for Error {
    fn from(error: raft::Error) -> Self {
        match error {
            raft::Error::ProposalDropped => Self::NoLeader,
            error => Self::Raft(Arc::new(error)),
        }
    }
}

pub(super) fn io(path: &Path, error: std::io::Error) -> Error {
    Error::Io { path: path.to_path_buf(), error: Arc::new(error) }
}
