//! What goes wrong on a simulated disk.

use std::io;

/// What goes wrong at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error. A write does nothing. A sync drops the changes that it should have made durable.
    Io,
    /// No space. A write gets half done.
    Full,
    /// No file handle is free: an operation that opens a file, or a directory to sync it, does nothing.
    NoHandle,
    /// A write gets half done and succeeds. The rest is a second operation, as for a caller of `write`.
    Short,
    /// A signal interrupts the operation before anything was done. The operation is repeated.
    Interrupted,
    /// A sync succeeds and does nothing: to prove that tests detect a missing sync.
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
