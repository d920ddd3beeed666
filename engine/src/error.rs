//! Errors of the engine: what went wrong, in which operation, where, and what to do.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tsmith_codecs::FieldType;
use tsmith_wal::Advice;
use tsmith_wal::fs::TooLong;

use crate::files::name::FileName;

/// The result of an engine operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine. Its text names the operation, the file, and the error of the layer below.
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
    /// A system call failed.
    #[error("{0}")]
    Io(#[source] Arc<io::Error>),
    /// The log refused a call or failed.
    #[error("{0}")]
    Log(#[source] tsmith_wal::Error),
    /// The cache refused a batch.
    #[error("{0}")]
    Cache(#[source] tsmith_cache::Error),
    /// A TSM file is corrupt, cannot be read, or cannot be written.
    #[error("{0}{after}", after = advice_to_repair(.0, "run `tsmith repair` on the directory"))]
    Tsm(#[source] tsmith_tsm::Error),
    /// No entry of a TSM file's index can be read, so the file cannot be repaired.
    #[error(
        "{0}. No index entry can be read, so the keys of its blocks are unknown. Restore the file from a copy, or move it \
         away: the directory then opens without its points"
    )]
    NoIndex(#[source] tsmith_tsm::Error),
    /// A valid log record that cannot be replayed. It is skipped.
    #[error("offset {offset}: the record cannot be replayed and is skipped: {reason}")]
    NotReplayed {
        /// Where it begins in its segment.
        offset: u64,
        /// Why, and which part of it is skipped.
        reason: String,
    },
    /// A column could not be encoded.
    #[error("{key}: {error}")]
    Encode {
        /// The composite key.
        key: String,
        /// The encoder's error.
        #[source]
        error: tsmith_codecs::Error,
    },
    /// A value has another type than its field.
    #[error("{key}: the value has type {incoming}, but the field has type {existing} in this shard")]
    TypeConflict {
        /// The composite key.
        key: String,
        /// The type of the field.
        existing: FieldType,
        /// The type of the value.
        incoming: FieldType,
    },
    /// The stored points of a key have two types.
    #[error(
        "{key}: the field has type {incoming} here, but type {existing} in the older {}. Run `tsmith repair` on the directory: \
         it keeps the points of the older type",
        older.display()
    )]
    TwoTypes {
        /// The composite key.
        key: String,
        /// The type in the older file.
        existing: FieldType,
        /// The type in the newer file or in the log.
        incoming: FieldType,
        /// The older file.
        older: PathBuf,
    },
    /// A series key contains the separator of series and field.
    #[error(
        "{series}: the series key contains `#!~#`, which separates series and field in files: rename the series"
    )]
    SeparatorInKey {
        /// The series.
        series: String,
    },
    /// The directory was created with other parts.
    #[error(
        "the directory was created with {part} `{made_with}`, not `{asked}`: open it with --{part} {made_with}"
    )]
    OtherParts {
        /// The kind of part: `storer`, `log`, `encoder` or `types`.
        part: &'static str,
        /// The name in the manifest.
        made_with: String,
        /// The name the caller passed.
        asked: String,
    },
    /// The manifest names another log directory.
    #[error("the log of this directory is in {}: pass that with --wal", made_with.display())]
    OtherLogDirectory {
        /// The log directory in the manifest.
        made_with: PathBuf,
    },
    /// The log belongs to another engine directory.
    #[error("the log {} belongs to the engine in {}: pass another directory with --wal", wal.display(), owner.display())]
    LogOfAnother {
        /// The log directory.
        wal: PathBuf,
        /// The data directory whose manifest names the log.
        owner: PathBuf,
    },
    /// The manifest was made for another directory, and came here by a copy or a move.
    #[error(
        "the manifest was made for {}, with the log in {}. This directory was copied or moved, so that log may belong to \
         another engine. Pass this directory's own log with --wal, or an empty directory if it has none: the manifest will \
         then name it",
        made_for(.end.as_deref()), wal.display()
    )]
    LogElsewhere {
        /// The log directory, as written in the manifest.
        wal: PathBuf,
        /// The last components of the data directory that the manifest was made for.
        end: Option<PathBuf>,
    },
    /// The path of the log cannot be written to a manifest.
    #[error("the log's path {path:?} cannot be written to a manifest: use UTF-8 without control characters")]
    UnwritableLogPath {
        /// The path.
        path: PathBuf,
    },
    /// The manifest is corrupt.
    #[error(
        "line {line}: expected {expected}. The manifest is corrupt: restore it from a copy, or run `tsmith repair` on the \
         directory"
    )]
    Manifest {
        /// The line, from 1.
        line: usize,
        /// The expected content.
        expected: &'static str,
    },
    /// The manifest is missing, and the log is not InfluxDB's, so there was one.
    #[error(
        "there is no manifest, but the log's segments are not InfluxDB's. Restore the manifest from a copy, or run `tsmith \
         repair` on the directory"
    )]
    NoManifest,
    /// The manifest is corrupt, and its line for the log directory cannot be trusted.
    #[error(
        "the manifest is corrupt, so its line for the log directory may be wrong (it says {said}): pass the log directory \
         with --wal"
    )]
    ManifestLog {
        /// The content of the line.
        said: String,
    },
    /// The directory is InfluxDB's, and InfluxDB could not read it after a write with these parts.
    #[error(
        "the directory is InfluxDB's, which cannot read {part} `{asked}`: use `{instead}`, or import into a new directory"
    )]
    NotInflux {
        /// The kind of part.
        part: &'static str,
        /// The name the caller passed.
        asked: String,
        /// The name that InfluxDB can read.
        instead: &'static str,
    },
    /// No part or option has this name.
    #[error("there is no {part} `{asked}`: choose one of {}", known.join(", "))]
    UnknownPart {
        /// The kind of part.
        part: &'static str,
        /// The name the caller passed.
        asked: String,
        /// The known names.
        known: Vec<&'static str>,
    },
    /// A numeric option is outside its range.
    #[error("the option {option} is {asked}: give a number from {min} to {max}")]
    OptionRange {
        /// The name of the option.
        option: &'static str,
        /// The number the caller passed.
        asked: usize,
        /// The smallest number.
        min: usize,
        /// The largest number.
        max: usize,
    },
    /// A text is not the names of three parts.
    #[error("expected STORER/LOG/ENCODER, for example ring/file/tsm1")]
    PartsSyntax,
    /// The manifest names a log that this program does not have.
    #[error(
        "the directory was created with the log `{log}`, which this program does not have, so its values cannot be read: \
         use a program that has it"
    )]
    UnreadableLog {
        /// The name in the manifest.
        log: String,
    },
    /// A file is longer than any valid file of its kind.
    #[error(transparent)]
    TooLong(TooLong),
    /// Another engine or process has locked the directory.
    #[error("the directory is in use by another process or engine. Stop it, then try again")]
    InUse,
    /// The log's directory does not exist.
    #[error(
        "the log directory does not exist: restore it, or name it with --wal. To continue without its values, create an \
         empty directory there"
    )]
    NoLogDirectory,
    /// The directory does not exist.
    #[error("no such directory: check the path")]
    NoDirectory,
    /// The directory holds neither TSM files, nor a log, nor a manifest.
    #[error("holds no TSM file, no log and no manifest: not an engine or shard directory")]
    NotAnEngine,
    /// InfluxDB would read this file, but its name does not have nine digits per number, so names do not sort
    /// by age.
    #[error(
        "InfluxDB reads a file of this name, but this engine does not: rename it so that generation and sequence have nine \
         digits each, as in 000000001-000000001.tsm, or move it away"
    )]
    MisnamedTsm,
    /// The rescued blocks of a quarantined file were written earlier.
    #[error("the file exists: move it away, then repair again")]
    RescuedExists,
    /// Not the name of a TSM file.
    #[error("expected a name like 000000001-000000001.tsm: generation and sequence, nine digits each")]
    NotATsmName,
    /// A tombstone file is corrupt. Without its tombstones, deleted points would reappear.
    #[error(
        "{0}. Restore the file from a copy, or run `tsmith repair` on the directory, which keeps the other tombstones"
    )]
    Tombstones(#[source] tsmith_tsm::Error),
    /// A tombstone file ends in a torn batch, and the log holds no interrupted delete that explains it.
    #[error(
        "offset {offset}: the last {bytes} bytes are an incomplete delete, and the log does not hold that delete. Restore the file \
         from a copy, or run `tsmith repair` on the directory"
    )]
    TornTombstones {
        /// Where the torn batch begins.
        offset: u64,
        /// Its length.
        bytes: u64,
    },
    /// The generations or sequences of file names are used up.
    #[error(
        "{what} {number} does not fit into a file name: `tsmith export` the shard, and `tsmith import` the result into a new \
         directory"
    )]
    NumberTooHigh {
        /// `generation` or `sequence`.
        what: &'static str,
        /// The next number.
        number: u64,
    },
    /// The log holds a delete that some files do not have yet.
    #[error("{0}. The log holds the delete, and the next opening of the directory completes it")]
    DeleteUnfinished(#[source] Box<Error>),
    /// An unfinished delete cannot be completed now. Its files stay unchanged until it is.
    #[error("{0}. A delete must be completed first; its files stay unchanged until then")]
    DeleteWaits(#[source] Box<Error>),
    /// The cache is full, and the snapshots that would free memory fail.
    #[error("the cache is full, and snapshots fail: {0}. Remove the cause and write again")]
    SnapshotsFail(#[source] Box<Error>),
    /// The engine was closed.
    #[error("the engine was closed")]
    Closed,
    /// The engine only serves reads until it is opened again.
    #[error(
        "the engine is read-only until it is opened again: a background thread panicked, or a failure left the content of \
         the disk unknown"
    )]
    ReadOnly,
}

fn made_for(end: Option<&Path>) -> String {
    end.map_or_else(|| "another directory".to_owned(), |end| format!(".../{}", end.display()))
}

/// Advice for corruption that leaves parts of a file readable. `repair` says how to repair it.
fn advice_to_repair(error: &tsmith_tsm::Error, repair: &str) -> String {
    use tsmith_tsm::ErrorKind as Tsm;
    let keeps = match error.kind() {
        Tsm::Checksum { what: "the block", .. }
        | Tsm::Block(_)
        | Tsm::BlockType { .. }
        | Tsm::BlockTimes { .. }
        | Tsm::BlockUnsorted => "all other blocks",
        Tsm::Magic { .. }
        | Tsm::TooShort { .. }
        | Tsm::IndexOffset { .. }
        | Tsm::Checksum { .. }
        | Tsm::Corrupt { .. } => "each block whose index entry can be read",
        _ => return String::new(),
    };
    format!(". Restore the file from a copy, or {repair}, which keeps {keeps}")
}

/// Whether an engine reads a TSM file of this name.
fn is_live(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| FileName::parse(name).is_some())
}

impl Error {
    pub(crate) fn new(operation: &'static str, kind: ErrorKind) -> Self {
        Self { operation, path: None, kind: Box::new(kind) }
    }

    pub(crate) fn at(operation: &'static str, path: &Path, kind: ErrorKind) -> Self {
        Self { operation, path: Some(path.to_owned()), kind: Box::new(kind) }
    }

    /// The operation that failed.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The file or directory, unless the layer below names it.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The text of [`Self::kind`], without operation and path. For a file that no engine reads, it advises to
    /// repair that file, because the repair of a directory skips it.
    pub fn detail(&self) -> String {
        let is_unread = |path: &&Path| !path.file_name().is_some_and(is_live);
        match (&*self.kind, self.path().filter(is_unread)) {
            (ErrorKind::Tsm(error), Some(path)) => {
                format!(
                    "{error}{}",
                    advice_to_repair(error, &format!("run `tsmith repair {}`", path.display()))
                )
            }
            (kind, _) => kind.to_string(),
        }
    }

    /// Whether to retry, to reopen the engine, or to give up.
    pub fn advice(&self) -> Advice {
        match &*self.kind {
            ErrorKind::Cache(error) if error.is_transient() => Advice::RetryLater,
            ErrorKind::Log(error) => error.advice(),
            ErrorKind::DeleteUnfinished(error)
            | ErrorKind::DeleteWaits(error)
            | ErrorKind::SnapshotsFail(error) => error.advice(),
            ErrorKind::InUse => Advice::RetryLater,
            ErrorKind::Io(error) if error.kind() == io::ErrorKind::StorageFull => Advice::RetryLater,
            // A new file could not be written, and no part of it is left.
            ErrorKind::Tsm(error) if error.remedy() == tsmith_tsm::Remedy::Rewrite => Advice::RetryLater,
            ErrorKind::Io(_) | ErrorKind::ReadOnly => Advice::Reopen,
            _ => Advice::GiveUp,
        }
    }

    /// Whether the cause is a system call, a missing directory or a lock, and not the content of a file or an
    /// argument.
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

impl std::error::Error for Error {
    /// The error of the layer below.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.kind.source()
    }
}

/// Adds operation and path to an error of a layer below.
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
