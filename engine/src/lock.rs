//! The lock of a data directory: one process owns it at a time.

use std::io;
use std::path::Path;

use tsmith_wal::fs::Fs;

use crate::error::{Error, ErrorKind, Result};

/// Name of the file that is locked while the directory is in use.
pub(crate) const LOCK_NAME: &str = "tsmith.lock";

/// Locks a directory.
pub(crate) fn lock<F: Fs>(fs: &F, path: &Path, operation: &'static str, data: &Path) -> Result<F::File> {
    fs.lock(path).map_err(|error| not_locked(error, path, operation, data))
}

pub(crate) fn not_locked(error: io::Error, path: &Path, operation: &'static str, data: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => Error::at(operation, data, ErrorKind::InUse),
        _ => Error::at(operation, path, error.into()),
    }
}
