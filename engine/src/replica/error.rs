//! What goes wrong in a replica.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reserved::APPLIED_MEASUREMENT;

/// Result of an operation of a replica.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How a replica that lost its log comes back without harm.
const WAY_BACK: &str = "It must not go on as it is. While it is stopped, restart the replica that leads, and wait until all \
    others follow one leader and have applied the same; then remove the whole directory of this one and recreate it: it is \
    sent a snapshot";

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log or the snapshot files.
    #[error("replica: {0}")]
    Storage(#[from] tsmith_wal::Error),
    /// The log or the snapshot files do not hold what was acknowledged, and the replica is not opened.
    #[error("replica: {0}. Where there is no copy, its log is lost. {WAY_BACK}")]
    CorruptLog(tsmith_wal::Error),
    /// There is no replica in the directory.
    #[error(
        "replica: {dir} holds no log. One of a new group is made by `Replica::create`; of one that was here its log is \
         lost. {WAY_BACK}", dir = dir.display()
    )]
    NotThere {
        /// The directory.
        dir: PathBuf,
    },
    /// A new replica is to be made where one is, or was.
    #[error(
        "replica: {dir} has {found} in it: a replica that is there is opened; of one without its log the log is lost. \
         {WAY_BACK}", dir = dir.display(), found = found.display()
    )]
    NotNew {
        /// The directory.
        dir: PathBuf,
        /// What of a replica is there.
        found: PathBuf,
    },
    /// A new replica is to be made where one is running.
    #[error("replica: {dir} is in use: a replica runs on it, and there is none to make", dir = dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A new replica is to be made among other files.
    #[error("replica: {dir} is not empty: it has {found} in it; make the replica in a directory of its own",
        dir = dir.display(), found = found.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// Something that is there.
        found: PathBuf,
    },
    /// The engine.
    #[error("replica: {told}", told = told(.0))]
    Engine(#[from] crate::Error),
    /// A file of the engine was quarantined, as `tsmith repair` does with corrupt ones: acknowledged points went with it, and
    /// nothing else would notice.
    #[error(
        "replica: {path} was quarantined as corrupt, and acknowledged points may be missing without it. {WAY_BACK}",
        path = path.display()
    )]
    Quarantined {
        /// The file, by the name it has now.
        path: PathBuf,
    },
    /// The files of another's snapshot came as it has them, and they are corrupt.
    #[error(
        "replica: {file} of snapshot {index} is corrupt at replica {from}, where it comes from: {found}. While a majority of \
         the group is well, stop replica {from}. {WAY_BACK}"
    )]
    CorruptThere {
        /// Who sent it.
        from: u64,
        /// Of which of its snapshots.
        index: u64,
        /// The name of the file.
        file: String,
        /// What is wrong with it.
        found: String,
    },
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
    /// The engine has applied more than its log has: the log was lost, or the directories are of different replicas.
    #[error(
        "replica: {dir}: {applied} entries are applied, but the log ends at {last}: it was lost, or is another replica's. \
         {WAY_BACK}", dir = dir.display()
    )]
    AheadOfLog {
        /// The directory of the replica.
        dir: PathBuf,
        /// What the engine says.
        applied: u64,
        /// The last index of the log.
        last: u64,
    },
    /// Others know of entries that were in this log, and are not any more: the directory was lost, in whole or in part,
    /// and with it whom the replica voted for. What it acknowledged may be missing on a majority now.
    ///
    /// It is safe to begin again only when nothing depends on what it promised. That is so when all others, without it,
    /// have elected somebody and agreed since: each has every committed entry then, and a term above all its votes. Who
    /// led before has to be restarted for that, or it goes on counting what was lost.
    #[error(
        "replica: entry {known} was in this log, which ends at {last}: the log was lost, and with it the votes of this \
         replica. {WAY_BACK}"
    )]
    LostLog {
        /// An entry that it acknowledged.
        known: u64,
        /// The last index of the log.
        last: u64,
    },
    /// Other voters than before: the two could agree on different things.
    #[error(
        "replica: the directory is of a group of {was:?}, not {now:?}: the members of a group cannot be changed; start it \
         with those it was made with"
    )]
    OtherVoters {
        /// Those it was made with.
        was: Vec<u64>,
        /// Those of the settings.
        now: Vec<u64>,
    },
    /// The directory is another replica's.
    #[error("replica: {dir} is the directory of replica {found}, not of {id}: start that one there",
        dir = dir.display())]
    OtherReplica {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: u64,
        /// Who was to be started there.
        id: u64,
    },
    /// The directory is another group's.
    #[error(
        "replica: {dir} is of the group {found}, and this is the group {group}: put the directory of this group in its place",
        dir = dir.display()
    )]
    OtherGroupsDirectory {
        /// The directory.
        dir: PathBuf,
        /// The group that it is of.
        found: u64,
        /// What the settings say.
        group: u64,
    },
    /// A message of another group.
    #[error(
        "replica: a message of the group {found}, and this is the group {group}: are the addresses another group's?"
    )]
    OtherGroup {
        /// What the message says.
        found: u64,
        /// What the settings say.
        group: u64,
    },
    /// The settings are of no member.
    #[error("replica: {id} is none of the voters {voters:?}, or one of them is 0")]
    NoVoter {
        /// Who it is to be.
        id: u64,
        /// Who belongs to the group.
        voters: Vec<u64>,
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

impl Error {
    /// Whether a replica that meets it in a message must not go on.
    pub(super) fn stops(&self) -> bool {
        matches!(self, Self::LostLog { .. })
    }
}

/// What the engine says; of corrupt files without its advice, for what a repair of one replica drops the others count on.
fn told(error: &crate::Error) -> String {
    let Some(found) = corruption(error) else { return error.to_string() };
    let path = error.path().map(|path| format!("{}: ", path.display())).unwrap_or_default();
    let operation = error.operation();
    format!(
        "{operation}: {path}{found}. Where there is no copy, acknowledged points are lost here. {WAY_BACK}"
    )
}

/// What is corrupt in the engine's files, if it is that.
pub(super) fn corruption(error: &crate::Error) -> Option<String> {
    use crate::ErrorKind as Kind;
    match error.kind() {
        Kind::Tsm(error) if error.remedy() != tsmith_tsm::Remedy::Rewrite => Some(error.to_string()),
        Kind::NoIndex(error) | Kind::Tombstones(error) => Some(error.to_string()),
        Kind::TornTombstones { offset, bytes } => {
            Some(format!("offset {offset}: the last {bytes} bytes are not whole"))
        }
        Kind::TwoTypes { key, existing, incoming, .. } => {
            Some(format!("{key}: the field is of type {incoming} here, of type {existing} in an older file"))
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
