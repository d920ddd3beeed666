//! What went wrong in a log, where, and what to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::is_out_of_handles;

/// Result of an operation of a log.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its address: `_00003.wal: offset 4096: ...`. Cheap to clone, because one failed sync is told to every
/// waiter of the group.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    path: Option<PathBuf>,
    offset: Option<u64>,
}

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused an operation.
    #[error("{operation}: {source}")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// Its answer.
        source: Arc<io::Error>,
    },
    /// No space, or over quota. The records of the group are not in the log; the log itself is in order.
    #[error("no space left: {0}; free some and write again, nothing acknowledged was lost")]
    Full(Arc<io::Error>),
    /// A record before the one that the caller waits for is not in the log, because the disk was full, and nobody waited for it.
    /// The caller's own record is not concerned: wait for it again.
    #[error("a record before this one is not in the log: {0}")]
    Earlier(Arc<Error>),
    /// Somebody else has the directory open.
    #[error("the directory is in use by another log; close that one, or stop the process that holds it")]
    InUse,
    /// A payload contradicts its format.
    #[error("expected {expected}")]
    Corrupt {
        /// What the format has at this place.
        expected: &'static str,
    },
    /// A segment is corrupt before the end of the log.
    #[error(
        "{found}, with intact records after it: corruption, not a torn write. Nothing was changed. Restore the file from \
         a copy, or open with `RecoveryMode::Salvage`, which leaves out the corrupt records and reports them"
    )]
    CorruptSegment {
        /// What was found.
        found: &'static str,
    },
    /// Records are missing between two segments, or before the first.
    #[error(
        "records {first} to {last} are missing before this segment: a file is gone, or was emptied. Nothing was \
         changed. Restore it from a copy, or open with `RecoveryMode::Salvage`, which goes on without them"
    )]
    Missing {
        /// The number of the first of them.
        first: u64,
        /// The number of the last.
        last: u64,
    },
    /// A payload, key or segment above its limit.
    #[error("{what} of {bytes} bytes is above the limit of {limit}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The most it may be.
        limit: u64,
    },
    /// A file that is longer than any of its kind.
    #[error(transparent)]
    TooLong(crate::fs::TooLong),
    /// An earlier write or sync failed. Nothing more is acknowledged by this log.
    #[error("the log stopped at an earlier failure; reopen it: {0}")]
    Poisoned(Arc<Error>),
    /// The log was closed.
    #[error("the log was closed")]
    Closed,
    /// The directory holds segments of another kind of log.
    #[error(
        "a segment of another kind of log stands in the directory; open it with that log, or use another directory"
    )]
    OtherLog,
    /// Not the name of a segment.
    #[error("expected a name like _00001.wal or 00000001.tlog")]
    NotASegment,
    /// The numbers of segments, or of records, are used up.
    #[error("the numbers of segments or records end here; snapshot, then begin an empty directory")]
    NumbersEnd,
    /// An error in etcd's files.
    #[error(transparent)]
    Etcd(crate::etcd::EtcdError),
    /// The reader of the records refused one.
    #[error("record refused: {0}")]
    Refused(Arc<dyn StdError + Send + Sync>),
}

/// After a failed write or sync nobody knows what is on disk: nothing is acknowledged until the log is opened again.
#[derive(Debug, Default)]
pub(crate) struct Poison(Option<Error>);

impl Poison {
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn check(&self) -> Result<()> {
        match &self.0 {
            Some(error) => Err(Error::new(ErrorKind::Poisoned(Arc::new(error.clone())))),
            None => Ok(()),
        }
    }

    /// Stops the log, unless an earlier error did.
    pub(crate) fn set(&mut self, error: &Error) {
        tracing::error!(%error, "log stopped");
        self.0.get_or_insert_with(|| error.clone());
    }

    /// The log was closed: nothing more is done with it.
    pub(crate) fn close(&mut self) {
        self.0.get_or_insert(Error::new(ErrorKind::Closed));
    }
}

/// What the caller of a failed operation can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The same call may succeed later.
    RetryLater,
    /// Drop the log and open it again; what was acknowledged is on disk.
    Reopen,
    /// Neither helps: the request or the files are wrong.
    GiveUp,
}

impl Error {
    /// An error without an address.
    pub fn new(kind: ErrorKind) -> Self {
        Self { kind, path: None, offset: None }
    }

    /// For `replay`: the record cannot be taken, and the log must not be opened.
    pub fn refused(source: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(ErrorKind::Refused(Arc::new(source)))
    }

    /// An answer of the operating system to `operation`.
    pub fn io(operation: &'static str, source: io::Error) -> Self {
        if let Some(too_long) = crate::fs::TooLong::of(&source) {
            return Self::new(ErrorKind::TooLong(too_long));
        }
        let full = is_full(&source);
        let source = Arc::new(source);
        Self::new(if full { ErrorKind::Full(source) } else { ErrorKind::Io { operation, source } })
    }

    /// The same of an answer after which nobody knows what is on disk: never "retry later", whatever its code.
    pub(crate) fn broken(operation: &'static str, source: io::Error) -> Self {
        Self::new(ErrorKind::Io { operation, source: Arc::new(source) })
    }

    pub(crate) fn corrupt(offset: usize, expected: &'static str) -> Self {
        Self { kind: ErrorKind::Corrupt { expected }, path: None, offset: Some(offset as u64) }
    }

    pub(crate) fn too_large(what: &'static str, bytes: u64, limit: u64) -> Self {
        Self::new(ErrorKind::TooLarge { what, bytes, limit })
    }

    /// The same error, at this file unless it has one already.
    #[must_use]
    pub fn at_path(mut self, path: &Path) -> Self {
        self.path.get_or_insert_with(|| path.to_path_buf());
        self
    }

    /// The same error, at this byte of the file.
    #[must_use]
    pub fn at_offset(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The file or directory.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The byte of the file, or of the payload when there is no file.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// What the caller can do.
    pub fn advice(&self) -> Advice {
        match &self.kind {
            ErrorKind::Full(_) | ErrorKind::Earlier(_) | ErrorKind::InUse => Advice::RetryLater,
            _ if is_passing(self) => Advice::RetryLater,
            ErrorKind::Io { .. } | ErrorKind::Poisoned(_) => Advice::Reopen,
            _ => Advice::GiveUp,
        }
    }

    /// Whether a file is not there.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(&self.kind, ErrorKind::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the disk was full.
    pub fn is_full(&self) -> bool {
        match &self.kind {
            ErrorKind::Full(_) => true,
            ErrorKind::Earlier(error) => error.is_full(),
            _ => false,
        }
    }
}

/// Gives an error of the operating system its address.
pub(crate) trait AtPath<T> {
    /// `operation` failed on the file or directory `path`.
    fn at(self, operation: &'static str, path: &Path) -> Result<T>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::io(operation, error).at_path(path))
    }
}

/// Whether the operating system says that there is too little of something now: space, handles, memory.
pub(crate) fn is_passing(error: &Error) -> bool {
    let ErrorKind::Io { operation, source } = &error.kind else { return error.is_full() };
    // A sync runs out of handles only before it begins: when it opens the directory.
    let out_of_memory = source.raw_os_error().is_some() && source.kind() == io::ErrorKind::OutOfMemory;
    is_out_of_handles(source) || out_of_memory && *operation != "sync"
}

/// Whether the operating system says that there is no space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        if let Some(offset) = self.offset {
            write!(f, "offset {offset}: ")?;
        }
        self.kind.fmt(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.kind {
            ErrorKind::Io { source, .. } | ErrorKind::Full(source) => Some(&**source),
            ErrorKind::Poisoned(source) => Some(&**source),
            ErrorKind::Refused(source) => Some(&**source),
            _ => None,
        }
    }
}
