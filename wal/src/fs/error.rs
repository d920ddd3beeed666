//! Why a file is not read.

use std::io;

/// A file that is longer than any of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bytes} bytes, and no file of its kind has more than {limit}: nothing of ours or of the original's wrote this; restore \
     it from a copy, or move it away"
)]
pub struct TooLong {
    /// Its length.
    pub bytes: u64,
    /// The most it may have.
    pub limit: u64,
}

impl TooLong {
    /// An error if `bytes` is above `limit`.
    pub fn check(bytes: u64, limit: u64) -> io::Result<()> {
        if bytes <= limit {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, Self { bytes, limit }))
        }
    }

    /// What `error` says of a file that is too long, if it is that.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// What has the name of a file and is a directory, a link, a pipe or another thing that is not opened.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a regular file")]
pub struct NotRegular;

impl NotRegular {
    /// Whether `error` says that of what was to be opened.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().and_then(|found| found.downcast_ref::<Self>()).is_some()
    }
}
