//! What went wrong, in which operation, where, and what to do about it.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tsmith_codecs::FieldType;
use tsmith_wal::Advice;
use tsmith_wal::fs::TooLong;

use crate::files::name::FileName;

/// Result of an operation of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine. Its text reads like an address: operation, file, and then what the layer below says.
#[derive(Clone, Debug)]
pub struct Error {
    operation: &'static str,
    path: Option<PathBuf>,
    kind: Box<ErrorKind>,
}

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A call to the operating system failed.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// The log refused or failed.
    #[error("{0}")]
    Log(tsmith_wal::Error),
    /// The cache refused.
    #[error("{0}")]
    Cache(tsmith_cache::Error),
    /// A TSM file contradicts its format.
    #[error("{0}{after}", after = advice_to_repair(.0, "`tsmith repair` the directory"))]
    Tsm(tsmith_tsm::Error),
    /// A TSM file without any entry of an index that can be read, so that it cannot be repaired.
    #[error(
        "{0}: no entry of the index can be read, and the keys are nowhere else in a TSM file: restore it from a copy; or move \
         it away, and the directory opens without its points"
    )]
    NoIndex(tsmith_tsm::Error),
    /// A record of the log that passes its checks and that no engine can replay. It is left out.
    #[error("offset {offset}: the record cannot be replayed and is left out: {reason}")]
    NotReplayed {
        /// Where it begins in its segment.
        offset: u64,
        /// Why, and what of it.
        reason: String,
    },
    /// A column could not be encoded.
    #[error("{key}: {error}")]
    Encode {
        /// The composite key.
        key: String,
        /// What the encoder says.
        error: tsmith_codecs::Error,
    },
    /// A field has one type for all series of its measurement.
    #[error("{key}: the value is of type {incoming}, but the field is of type {existing} in this shard")]
    TypeConflict {
        /// The composite key.
        key: String,
        /// The type of the field.
        existing: FieldType,
        /// The type of the value.
        incoming: FieldType,
    },
    /// A key has two types in what the directory holds.
    #[error(
        "{key}: the field is of type {incoming} here, of type {existing} in the older {}: its points cannot be read \
         together; `tsmith repair` the directory, which keeps those of the older type",
        older.display()
    )]
    TwoTypes {
        /// The composite key.
        key: String,
        /// The type in the older file.
        existing: FieldType,
        /// The type in the newer file, or in the log.
        incoming: FieldType,
        /// The older file.
        older: PathBuf,
    },
    /// The series cannot be told from its fields in a file.
    #[error("{series}: the series key holds `#!~#`, which separates series and field in files: rename it")]
    SeparatorInKey {
        /// The series.
        series: String,
    },
    /// The directory was written with other parts.
    #[error(
        "the directory was made with {part} `{made_with}`, not `{asked}`: open it with --{part} {made_with}"
    )]
    OtherParts {
        /// Which part: `storer`, `log` or `encoder`.
        part: &'static str,
        /// The one the manifest names.
        made_with: String,
        /// The one that was asked for.
        asked: String,
    },
    /// The log of this directory is elsewhere.
    #[error("the log of this directory is in {}: pass it with --wal", made_with.display())]
    OtherLogDirectory {
        /// Where the manifest says it is.
        made_with: PathBuf,
    },
    /// The log belongs to another engine directory.
    #[error("the log {} belongs to the engine in {}: pass another directory with --wal", wal.display(), owner.display())]
    LogOfAnother {
        /// The log.
        wal: PathBuf,
        /// The directory whose manifest names the log.
        owner: PathBuf,
    },
    /// The manifest came from elsewhere, with a copy or a move.
    #[error(
        "the manifest was made for {}, with the log in {}: this directory was copied or moved, and the log there may be \
         another's; name its own with --wal, an empty directory only if it has none, and the manifest will lead there",
        made_for(.end.as_deref()), wal.display()
    )]
    LogElsewhere {
        /// The log's directory, as written.
        wal: PathBuf,
        /// How the path of the directory ended.
        end: Option<PathBuf>,
    },
    /// The manifest could not say where the log is.
    #[error(
        "the log's path {path:?} cannot be written to a manifest: choose one in UTF-8 without control characters"
    )]
    UnwritableLogPath {
        /// The path.
        path: PathBuf,
    },
    /// The manifest cannot be read.
    #[error(
        "line {line}: expected {expected}: the manifest is corrupt; restore it from a copy, or `tsmith repair` the directory, \
         which rewrites it from what the directory holds"
    )]
    Manifest {
        /// The line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// There is no manifest, and the log is one that only a manifest leads to.
    #[error(
        "there is no manifest, and the log's segments are not InfluxDB's: restore it from a copy, or `tsmith repair` the \
         directory, which rewrites it from what the directory holds"
    )]
    NoManifest,
    /// A corrupt manifest can be rewritten only by who knows where the log is.
    #[error(
        "the manifest is corrupt, and its line of the log's directory, which says {said}, cannot be believed: name the \
         directory with --wal, and the manifest is rewritten"
    )]
    ManifestLog {
        /// What the line says.
        said: String,
    },
    /// The directory is one that InfluxDB wrote, and the parts asked for would make it unreadable to it.
    #[error(
        "the directory is InfluxDB's, and {part} `{asked}` would write what it cannot read: use `{instead}`, or import into a new directory"
    )]
    NotInflux {
        /// Which part.
        part: &'static str,
        /// The one asked for.
        asked: String,
        /// The one that fits.
        instead: &'static str,
    },
    /// There is no such implementation.
    #[error("there is no {part} `{asked}`: choose one of {}", known.join(", "))]
    UnknownPart {
        /// Which part.
        part: &'static str,
        /// The name asked for.
        asked: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// The manifest names a log that this program does not have.
    #[error(
        "the directory was made with the log `{log}`, which this program does not have, so the log's values are not read: \
         use the program that has it"
    )]
    UnreadableLog {
        /// The name in the manifest.
        log: String,
    },
    /// A file that is longer than any of its kind.
    #[error(transparent)]
    TooLong(TooLong),
    /// Another engine has the directory open.
    #[error("the directory is in use by another process or engine: close that one first")]
    InUse,
    /// The log's directory does not exist.
    #[error(
        "no such directory, and the log would be there: bring it back, or name it with --wal; to go on without its values, \
         create an empty directory there"
    )]
    NoLogDirectory,
    /// The directory does not exist.
    #[error("no such directory: check the path")]
    NoDirectory,
    /// Neither TSM files, nor a log, nor a manifest.
    #[error("holds no TSM file, no log and no manifest: not an engine or shard directory")]
    NotAnEngine,
    /// A TSM file whose name InfluxDB reads: its own have nine digits, too, and ages are told by the order of names.
    #[error(
        "InfluxDB reads a file of this name, and this engine does not: rename it such that generation and sequence have nine \
         digits each, as in 000000001-000000001.tsm, or move it away"
    )]
    MisnamedTsm,
    /// What could be kept of a quarantined file was written before.
    #[error("the file exists: move it away, then repair again")]
    RescuedExists,
    /// Not the name of a TSM file.
    #[error("expected a name like 000000001-000000001.tsm: generation and sequence, nine digits each")]
    NotATsmName,
    /// Tombstones that are corrupt: with fewer of them deleted points would be back.
    #[error("{0}: restore the file, or `tsmith repair` the directory, which keeps what else it deletes")]
    Tombstones(tsmith_tsm::Error),
    /// Tombstones that end in the middle of a batch, without a delete that was cut short there.
    #[error(
        "offset {offset}: the last {bytes} bytes are not whole, and the log knows of no delete that was cut short there: restore \
         the file, or `tsmith repair` the directory"
    )]
    TornTombstones {
        /// Where they begin.
        offset: u64,
        /// How many bytes at the end.
        bytes: u64,
    },
    /// A file cannot be numbered.
    #[error(
        "{what} {number} does not fit into a file name: `tsmith export` the shard, and `tsmith import` that into a new directory"
    )]
    NumberTooHigh {
        /// Generation or sequence.
        what: &'static str,
        /// The number it would have.
        number: u64,
    },
    /// A delete that the log has, and not all files.
    #[error("{0}; the log has the delete, and the next opening of the directory finishes it")]
    DeleteUnfinished(Box<Error>),
    /// A delete was carried out in part and cannot be finished now either: files stay as they are until it is.
    #[error("{0}; a delete has to be finished there first, and files stay as they are until it is")]
    DeleteWaits(Box<Error>),
    /// The cache is full, and the snapshots that would free memory fail.
    #[error(
        "the cache is full, and the snapshots that would empty it fail: {0}; remove the cause, and write again"
    )]
    SnapshotsFail(Box<Error>),
    /// The engine was closed.
    #[error("the engine was closed")]
    Closed,
    /// A background thread died, or what is on disk is not known; the engine only reads until it is opened again.
    #[error(
        "only reads are served until the engine is opened again: a background thread panicked, or after a failure it is not known what is on disk"
    )]
    ReadOnly,
}

fn made_for(end: Option<&Path>) -> String {
    end.map_or_else(|| "another directory".to_owned(), |end| format!(".../{}", end.display()))
}

/// What to do about corruption that leaves the rest of a file readable: `repair`, which names what to repair.
fn advice_to_repair(error: &tsmith_tsm::Error, repair: &str) -> String {
    use tsmith_tsm::ErrorKind as Tsm;
    let keeps = match error.kind() {
        Tsm::Checksum { what: "the block", .. }
        | Tsm::Block(_)
        | Tsm::BlockType { .. }
        | Tsm::BlockTimes { .. }
        | Tsm::BlockUnsorted => "what else the file holds",
        Tsm::Magic { .. }
        | Tsm::TooShort { .. }
        | Tsm::IndexOffset { .. }
        | Tsm::Checksum { .. }
        | Tsm::Corrupt { .. } => "each block whose entry in the index can be read",
        _ => return String::new(),
    };
    format!("; or {repair}: it keeps {keeps}")
}

/// Whether an engine reads a TSM file of this name.
fn is_live(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| FileName::parse(name).is_some())
}

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The same call may succeed later: the disk or the cache is full, or another process holds the directory.
    RetryLater,
    /// Close the engine and open it again: what it was told is safe, what it holds open is not.
    Reopen,
    /// The call is wrong, or a file is corrupt; trying again does not help.
    GiveUp,
}

impl Error {
    pub(crate) fn new(operation: &'static str, kind: ErrorKind) -> Self {
        Self { operation, path: None, kind: Box::new(kind) }
    }

    pub(crate) fn at(operation: &'static str, path: &Path, kind: ErrorKind) -> Self {
        Self { operation, path: Some(path.to_owned()), kind: Box::new(kind) }
    }

    /// What was being done.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The file or directory, when it is not told by the layer below.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The text of [`Self::kind`]. Of a file that no engine reads it advises to repair that file: the repair of a directory
    /// does not look at it.
    pub fn detail(&self) -> String {
        let is_unread = |path: &&Path| !path.file_name().is_some_and(is_live);
        match (&*self.kind, self.path().filter(is_unread)) {
            (ErrorKind::Tsm(error), Some(path)) => {
                format!("{error}{}", advice_to_repair(error, &format!("`tsmith repair {}`", path.display())))
            }
            (kind, _) => kind.to_string(),
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        match &*self.kind {
            ErrorKind::Cache(error) if error.is_transient() => Remedy::RetryLater,
            ErrorKind::Log(error) => match error.advice() {
                Advice::RetryLater => Remedy::RetryLater,
                Advice::Reopen => Remedy::Reopen,
                Advice::GiveUp => Remedy::GiveUp,
            },
            ErrorKind::DeleteUnfinished(error)
            | ErrorKind::DeleteWaits(error)
            | ErrorKind::SnapshotsFail(error) => error.remedy(),
            ErrorKind::InUse => Remedy::RetryLater,
            ErrorKind::Io(error) if error.kind() == io::ErrorKind::StorageFull => Remedy::RetryLater,
            // A new file could not be written; there is no trace of it.
            ErrorKind::Tsm(error) if error.remedy() == tsmith_tsm::Remedy::Rewrite => Remedy::RetryLater,
            ErrorKind::Io(_) | ErrorKind::ReadOnly => Remedy::Reopen,
            _ => Remedy::GiveUp,
        }
    }

    /// Whether the cause is a call to the operating system and not what a file or a caller holds.
    pub fn is_io(&self) -> bool {
        match &*self.kind {
            ErrorKind::Io(_) | ErrorKind::NoDirectory | ErrorKind::NoLogDirectory | ErrorKind::InUse => true,
            ErrorKind::DeleteUnfinished(error)
            | ErrorKind::DeleteWaits(error)
            | ErrorKind::SnapshotsFail(error) => error.is_io(),
            ErrorKind::Tsm(error) => error.remedy() == tsmith_tsm::Remedy::Rewrite,
            ErrorKind::Log(error) => {
                use tsmith_wal::ErrorKind as Log;
                matches!(error.kind(), Log::Io { .. } | Log::Full(_) | Log::InUse | Log::Poisoned(_))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.operation)?;
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        f.write_str(&self.detail())
    }
}

impl std::error::Error for Error {}

/// Gives an error of a layer below its operation and path.
pub(crate) trait Context<T> {
    fn during(self, operation: &'static str) -> Result<T>;
    fn on(self, operation: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<ErrorKind>> Context<T> for Result<T, E> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|error| Error::new(operation, error.into()))
    }

    fn on(self, operation: &'static str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::at(operation, path, error.into()))
    }
}

impl From<io::Error> for ErrorKind {
    fn from(error: io::Error) -> Self {
        if let Some(too_long) = TooLong::of(&error) {
            return Self::TooLong(too_long);
        }
        Self::Io(Arc::new(error))
    }
}

impl From<tsmith_wal::Error> for ErrorKind {
    fn from(error: tsmith_wal::Error) -> Self {
        Self::Log(error)
    }
}

impl From<tsmith_cache::Error> for ErrorKind {
    fn from(error: tsmith_cache::Error) -> Self {
        Self::Cache(error)
    }
}

impl From<tsmith_tsm::Error> for ErrorKind {
    fn from(error: tsmith_tsm::Error) -> Self {
        Self::Tsm(error)
    }
}
