//! Why a file was not read.

use std::io;

/// A file is longer than any valid file of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bytes} bytes is more than a file of this kind can have (at most {limit}). Neither Tsmith nor the original program \
     wrote it. Restore it from a copy, or move it away"
)]
pub struct TooLong {
    /// Its length in bytes.
    pub bytes: u64,
    /// The limit in bytes.
    pub limit: u64,
}

impl TooLong {
    /// Fails if `bytes` exceeds `limit`.
    pub fn check(bytes: u64, limit: u64) -> io::Result<()> {
        if bytes <= limit {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, Self { bytes, limit }))
        }
    }

    /// The `TooLong` inside `error`, if there is one.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// A directory, link, pipe or device has the name of a file. It is not opened.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a regular file; move it away or remove it")]
pub struct NotRegular;

impl NotRegular {
    /// Whether `error` contains this error.
    pub(crate) fn is(error: &io::Error) -> bool {
        error.get_ref().and_then(|found| found.downcast_ref::<Self>()).is_some()
    }
}
