//! What went wrong in a log, where, and what to do next.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::is_out_of_handles;

/// The result of a log operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its address: `_00003.wal: offset 4096: ...`. Cheap to clone, because one failed sync reaches
/// every thread of the group.
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
    /// An operation of the operating system failed.
    #[error("{operation}: {source}")]
    Io {
        /// The operation.
        operation: &'static str,
        /// The error of the operating system.
        source: Arc<io::Error>,
    },
    /// No space left, or quota exceeded. The records of the group are not in the log. The log itself is
    /// intact.
    #[error("the disk is full: {0}. No acknowledged record was lost. Free space, then write again")]
    Full(Arc<io::Error>),
    /// The disk was full, so an earlier record is not in the log, and no thread waited for that record. The
    /// caller's own record is unaffected: sync it again.
    #[error("an earlier record is not in the log: {0}")]
    Earlier(Arc<Error>),
    /// Another log, in this process or another, has the directory open.
    #[error("the directory is locked by another log. Close that log or stop its process, then try again")]
    InUse,
    /// A payload violates its format.
    #[error("expected {expected}")]
    Corrupt {
        /// What the format requires at this byte.
        expected: &'static str,
    },
    /// A segment is corrupt before the end of the log.
    #[error(
        "{found}, but valid records follow, so this is corruption and not a torn write. Nothing was changed. Restore the \
         file from a copy, or open with `RecoveryMode::Salvage`, which skips corrupt records and reports them"
    )]
    CorruptSegment {
        /// What was found at the offset.
        found: &'static str,
    },
    /// Records are missing between two segments, or before the first one.
    #[error(
        "{} missing before this segment: a segment file was lost or emptied. Nothing was changed. Restore it from a \
         copy, or open with `RecoveryMode::Salvage`, which skips missing records and reports them",
        records_are(*first, *last)
    )]
    Missing {
        /// The number of the first missing record.
        first: u64,
        /// The number of the last missing record.
        last: u64,
    },
    /// A segment with records is missing or empty. The log does not number its records, so it cannot say which ones.
    #[error(
        "a segment with records is missing before this one. Nothing was changed. Restore it from a copy, or open with \
         `RecoveryMode::Salvage`, which continues with the next segment and reports the gap"
    )]
    MissingSegment,
    /// A payload, key or segment exceeds its limit.
    #[error("{what} of {bytes} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file is longer than any valid file of its kind.
    #[error(transparent)]
    TooLong(crate::fs::TooLong),
    /// An earlier write or sync failed. The log acknowledges nothing more.
    #[error("the log stopped after an earlier failure: {0}. Reopen the log")]
    Poisoned(Arc<Error>),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The directory holds segments of another kind of log.
    #[error(
        "the directory holds segments of another kind of log. Open it with that log, or use another directory"
    )]
    OtherLog,
    /// The file name is not that of a segment.
    #[error("expected a segment name like _00001.wal or 00000001.tlog")]
    NotASegment,
    /// The numbers of segments or records are exhausted.
    #[error("the segment or record numbers are exhausted. Take a snapshot, then start an empty directory")]
    NumbersEnd,
    /// An error in etcd's files.
    #[error(transparent)]
    Etcd(crate::etcd::EtcdError),
    /// The replay callback refused a record.
    #[error("record refused: {0}")]
    Refused(Arc<dyn StdError + Send + Sync>),
}

fn records_are(first: u64, last: u64) -> String {
    if first == last { format!("record {first} is") } else { format!("records {first} to {last} are") }
}

/// After a failed write or sync, the state on disk is unknown. The log acknowledges nothing until it is
/// reopened.
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

    /// Stops the log, unless an earlier error already did.
    pub(crate) fn set(&mut self, error: &Error) {
        tracing::error!(%error, "log stopped");
        self.0.get_or_insert_with(|| error.clone());
    }

    /// Marks the log as closed: every later call fails.
    pub(crate) fn close(&mut self) {
        self.0.get_or_insert(Error::new(ErrorKind::Closed));
    }
}

/// What the caller of a failed operation should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Retry: the same call can succeed later.
    RetryLater,
    /// Reopen: drop the log and open it again. All acknowledged records are on disk.
    Reopen,
    /// Give up: neither helps, because the request or the files are wrong.
    GiveUp,
}

impl Error {
    /// An error without an address.
    pub fn new(kind: ErrorKind) -> Self {
        Self { kind, path: None, offset: None }
    }

    /// For the `replay` callback: refuses the record, so that the log is not opened.
    pub fn refused(source: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(ErrorKind::Refused(Arc::new(source)))
    }

    /// An error of the operating system in `operation`.
    pub fn io(operation: &'static str, source: io::Error) -> Self {
        if let Some(too_long) = crate::fs::TooLong::of(&source) {
            return Self::new(ErrorKind::TooLong(too_long));
        }
        let full = is_full(&source);
        let source = Arc::new(source);
        Self::new(if full { ErrorKind::Full(source) } else { ErrorKind::Io { operation, source } })
    }

    /// Like [`Error::io`], but the state on disk is unknown, so the advice is never to retry.
    pub(crate) fn broken(operation: &'static str, source: io::Error) -> Self {
        Self::new(ErrorKind::Io { operation, source: Arc::new(source) })
    }

    pub(crate) fn corrupt(offset: usize, expected: &'static str) -> Self {
        Self { kind: ErrorKind::Corrupt { expected }, path: None, offset: Some(offset as u64) }
    }

    pub(crate) fn too_large(what: &'static str, bytes: u64, limit: u64) -> Self {
        Self::new(ErrorKind::TooLarge { what, bytes, limit })
    }

    /// Adds the path, unless the error has one.
    #[must_use]
    pub fn at_path(mut self, path: &Path) -> Self {
        self.path.get_or_insert_with(|| path.to_path_buf());
        self
    }

    /// Adds the offset in the file.
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

    /// The offset in the file, or in the payload if there is no file.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// What the caller should do: retry, reopen or give up.
    pub fn advice(&self) -> Advice {
        match &self.kind {
            ErrorKind::Full(_) | ErrorKind::Earlier(_) | ErrorKind::InUse => Advice::RetryLater,
            _ if is_passing(self) => Advice::RetryLater,
            ErrorKind::Io { .. } | ErrorKind::Poisoned(_) => Advice::Reopen,
            _ => Advice::GiveUp,
        }
    }

    /// Whether the file does not exist.
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

/// Adds the operation and path to an error of the operating system.
pub(crate) trait AtPath<T> {
    /// `operation` failed on the file or directory `path`.
    fn at(self, operation: &'static str, path: &Path) -> Result<T>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::io(operation, error).at_path(path))
    }
}

/// Whether the operating system lacks space, handles or memory at the moment.
pub(crate) fn is_passing(error: &Error) -> bool {
    let ErrorKind::Io { operation, source } = &error.kind else { return error.is_full() };
    // A sync runs out of handles only before it begins: when it opens the directory.
    let out_of_memory = source.raw_os_error().is_some() && source.kind() == io::ErrorKind::OutOfMemory;
    is_out_of_handles(source) || out_of_memory && *operation != "sync"
}

/// Whether the operating system reports a full disk or quota.
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
            ErrorKind::Poisoned(source) | ErrorKind::Earlier(source) => Some(&**source),
            ErrorKind::Refused(source) => Some(&**source),
            ErrorKind::TooLong(source) => Some(source),
            ErrorKind::Etcd(source) => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::EtcdError;
    use crate::fs::TooLong;

    #[test]
    fn errors_have_sources() {
        let etcd = Error::from(EtcdError::Torn).at_offset(7);
        let source = etcd.source().and_then(|source| source.downcast_ref());
        assert_eq!(source, Some(&EtcdError::Torn));
        let too_long = TooLong { bytes: 2, limit: 1 };
        let error = Error::io("read", io::Error::new(io::ErrorKind::FileTooLarge, too_long));
        assert_eq!(error.source().and_then(|source| source.downcast_ref()), Some(&too_long));
    }
}
