//! Errors of a replica.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reserved::APPLIED_MEASUREMENT;

/// Result of an operation of a replica.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How to bring back a replica that lost its log.
const WAY_BACK: &str = "Do not start it as it is. While it is stopped, restart the current leader. Wait until all other \
    replicas follow one leader and have applied the same entries. Then remove the directory of this replica and create it \
    again: the leader sends it a snapshot";

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log or a snapshot file cannot be read or written.
    #[error("replica: {0}")]
    Storage(#[from] tsmith_wal::Error),
    /// The log or the snapshot files are corrupt and may lack acknowledged entries. The replica is not
    /// opened.
    #[error("replica: {0}. Restore the files from a copy. Without a copy, the log is lost. {WAY_BACK}")]
    CorruptLog(#[source] tsmith_wal::Error),
    /// There is no replica in the directory.
    #[error(
        "replica: {dir} has no log. To start a new group, call `Replica::create`. If there was a replica here, its log is \
         lost. {WAY_BACK}", dir = dir.display()
    )]
    NotThere {
        /// The directory.
        dir: PathBuf,
    },
    /// `create` was called where a replica is or was.
    #[error(
        "replica: {dir} already contains {found}. If a replica is there, open it. If its log is missing, the log is lost. \
         {WAY_BACK}", dir = dir.display(), found = found.display()
    )]
    NotNew {
        /// The directory.
        dir: PathBuf,
        /// The file or directory that belongs to a replica.
        found: PathBuf,
    },
    /// `create` was called where a replica is running.
    #[error("replica: {dir} is in use by a running replica: do not create another one there", dir = dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// `create` was called in a directory with other files.
    #[error("replica: {dir} is not empty, it contains {found}: choose an empty directory",
        dir = dir.display(), found = found.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// One of the files there.
        found: PathBuf,
    },
    /// The engine failed.
    #[error("replica: {text}", text = text(.0))]
    Engine(#[from] crate::Error),
    /// A file of the engine was quarantined as corrupt, for example by `tsmith repair`. Acknowledged points
    /// may be lost with it, and no other check would notice.
    #[error(
        "replica: {path} was quarantined as corrupt, so acknowledged points may be missing. {WAY_BACK}",
        path = path.display()
    )]
    Quarantined {
        /// The quarantined file.
        path: PathBuf,
    },
    /// Files of another replica's snapshot were received correctly but are corrupt at the sender.
    #[error(
        "replica: {file} of snapshot {index} is corrupt at its sender, replica {from}: {found}. If the other replicas are a \
         majority, stop replica {from}. {WAY_BACK}"
    )]
    CorruptThere {
        /// The sender.
        from: u64,
        /// The index of the snapshot.
        index: u64,
        /// The name of the file.
        file: String,
        /// What is corrupt.
        found: String,
    },
    /// Raft returned an error.
    #[error("replica: raft: {0}")]
    Raft(#[source] Arc<raft::Error>),
    /// A snapshot file cannot be read or written.
    #[error("replica: {path}: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        error: Arc<std::io::Error>,
    },
    /// A message or a snapshot is malformed.
    #[error("replica: expected {0}")]
    Corrupt(&'static str),
    /// The engine has applied more entries than the log holds: the log was lost, or the directories belong to
    /// different replicas.
    #[error(
        "replica: {dir}: {applied} entries are applied, but the log ends at {last}. The log was lost or belongs to \
         another replica. {WAY_BACK}", dir = dir.display()
    )]
    AheadOfLog {
        /// The directory of the replica.
        dir: PathBuf,
        /// Number of entries the engine has applied.
        applied: u64,
        /// The last index of the log.
        last: u64,
    },
    /// Other replicas know entries that this log held and no longer holds. The directory was lost, in whole
    /// or in part, and with it the votes of the replica. Entries that it acknowledged may now be missing on a
    /// majority.
    ///
    /// The replica may start again when nothing depends on its lost promises. That is so once all others,
    /// without it, have elected a leader and committed an entry. Then each of them has every committed entry,
    /// and its term is above all lost votes. The current leader must be restarted first; otherwise it still
    /// counts the lost acknowledgements.
    #[error(
        "replica: this log held entry {known} but now ends at {last}. The log was lost, and with it the votes of this \
         replica. {WAY_BACK}"
    )]
    LostLog {
        /// An entry that this replica acknowledged.
        known: u64,
        /// The last index of the log.
        last: u64,
    },
    /// The settings name other voters than the log. The two groups could commit different entries.
    #[error(
        "replica: the directory belongs to a group of {was:?}, not {now:?}. The members of a group cannot change: use the \
         original ones"
    )]
    OtherVoters {
        /// The voters in the log.
        was: Vec<u64>,
        /// The voters in the settings.
        now: Vec<u64>,
    },
    /// The directory belongs to another replica.
    #[error("replica: {dir} belongs to replica {found}, not to {id}: use the directory of replica {id}",
        dir = dir.display())]
    OtherReplica {
        /// The directory.
        dir: PathBuf,
        /// The replica it belongs to.
        found: u64,
        /// The id in the settings.
        id: u64,
    },
    /// The directory belongs to another group.
    #[error(
        "replica: {dir} belongs to group {found}, not to group {group}: use the directory of this group",
        dir = dir.display()
    )]
    OtherGroupsDirectory {
        /// The directory.
        dir: PathBuf,
        /// The group it belongs to.
        found: u64,
        /// The group in the settings.
        group: u64,
    },
    /// A message of another group.
    #[error(
        "replica: received a message of group {found}, but this is group {group}: check the peer addresses"
    )]
    OtherGroup {
        /// The group in the message.
        found: u64,
        /// The group in the settings.
        group: u64,
    },
    /// The settings do not describe a member of the group.
    #[error("replica: {id} must be one of the voters {voters:?}, and no voter may be 0")]
    NoVoter {
        /// The id in the settings.
        id: u64,
        /// The voters in the settings.
        voters: Vec<u64>,
    },
    /// There is no leader at the moment. Try again.
    #[error("replica: there is no leader now: try again later")]
    NoLeader,
    /// The proposal may or may not be applied later. It is safe to repeat it.
    #[error("replica: no answer: the lines may or may not be written; write them again")]
    Unknown,
    /// The lines write to the measurement reserved for replicas.
    #[error("replica: the measurement {APPLIED_MEASUREMENT} is reserved: use another name")]
    Reserved,
    /// The lines are longer than an entry may be.
    #[error("replica: {bytes} bytes of lines are above the limit of {limit}: write them in parts")]
    TooLarge {
        /// Their length.
        bytes: u64,
        /// The maximum length.
        limit: u64,
    },
    /// The replica has stopped.
    #[error("replica: stopped")]
    Stopped,
}

impl Error {
    /// Whether a replica must stop after this error in a message.
    pub(super) fn stops(&self) -> bool {
        matches!(self, Self::LostLog { .. })
    }
}

/// The engine's text. If files are corrupt, without the advice to run `repair`: it would drop points that the
/// other replicas count on.
fn text(error: &crate::Error) -> String {
    let Some(found) = corruption(error) else { return error.to_string() };
    let path = error.path().map(|path| format!("{}: ", path.display())).unwrap_or_default();
    let operation = error.operation();
    format!(
        "{operation}: {path}{found}. Restore the file from a copy. Without a copy, acknowledged points are lost. {WAY_BACK}"
    )
}

/// What is corrupt in the engine's files, if the error is corruption.
pub(super) fn corruption(error: &crate::Error) -> Option<String> {
    use crate::ErrorKind as Kind;
    match error.kind() {
        Kind::Tsm(error) if error.remedy() != tsmith_tsm::Remedy::Rewrite => Some(error.to_string()),
        Kind::NoIndex(error) | Kind::Tombstones(error) => Some(error.to_string()),
        Kind::TornTombstones { offset, bytes } => {
            Some(format!("offset {offset}: the last {bytes} bytes are an incomplete delete"))
        }
        Kind::TwoTypes { key, existing, incoming, .. } => {
            Some(format!("{key}: the field has type {incoming} here, but type {existing} in an older file"))
        }
        Kind::Manifest { line, expected } => Some(format!("line {line}: expected {expected}")),
        Kind::NoManifest => Some("there is no manifest".to_owned()),
        Kind::ManifestLog { .. } => Some("the manifest is corrupt".to_owned()),
        Kind::Log(error) => corruption_of_log(error),
        Kind::DeleteUnfinished(error) | Kind::DeleteWaits(error) | Kind::SnapshotsFail(error) => {
            corruption(error)
        }
        _ => None,
    }
}

fn corruption_of_log(error: &tsmith_wal::Error) -> Option<String> {
    use tsmith_wal::ErrorKind as Log;
    let found = match error.kind() {
        Log::CorruptSegment { found } => (*found).to_owned(),
        Log::Missing { first, last } => format!("records {first} to {last} are missing before this segment"),
        Log::MissingSegment => "a segment with records is missing before this one".to_owned(),
        Log::Corrupt { expected } => format!("expected {expected}"),
        Log::Refused(error) => error.to_string(),
        _ => return None,
    };
    let path = error.path().map(|path| format!("{}: ", path.display())).unwrap_or_default();
    let offset = error.offset().map(|offset| format!("offset {offset}: ")).unwrap_or_default();
    Some(format!("{path}{offset}{found}"))
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
