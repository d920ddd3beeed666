//! Faults of a simulated disk.

use std::io;

/// A fault at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error. A write does nothing. A sync drops the changes that it should have made durable.
    Io,
    /// The disk is full. A write stores half of its bytes and fails.
    Full,
    /// No file handle is free. Operations that open a file or directory, including the sync of a directory, fail.
    NoHandle,
    /// A short write: the first half and the second half are two operations.
    Short,
    /// A signal interrupts the operation before it does anything. The operation is repeated.
    Interrupted,
    /// A sync succeeds and does nothing. This proves that a test detects a missing sync.
    IgnoredSync,
}

impl Fault {
    pub(super) fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Full => ENOSPC,
            Self::NoHandle => EMFILE,
            Self::Io | Self::Short | Self::Interrupted | Self::IgnoredSync => EIO,
        })
    }
}

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
