//! Why a run of the matrix fails, and its exit code.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// A failed run. Results that were measured are written nevertheless.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Cells are slower than `--fail-if` allows.
    Slower(Vec<String>),
    /// The command line asks for something that cannot run.
    Usage(String),
    /// Cells failed or read back other values.
    Broken(Vec<String>),
    /// The operating system returned an error.
    Io(String),
    /// Ctrl-C ended the run.
    Interrupted,
}

impl Failure {
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io(format!("{}: {error}", path.display()))
    }

    /// 1 to 3, `EX_IOERR` of sysexits, or what shells return after Ctrl-C.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Slower(_) => 1,
            Self::Usage(_) => 2,
            Self::Broken(_) => 3,
            Self::Io(_) => 74,
            Self::Interrupted => 130,
        }
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slower(cells) => write!(f, "slower than allowed:\n{}", cells.join("\n")),
            Self::Usage(what) | Self::Io(what) => f.write_str(what),
            Self::Broken(cells) => {
                write!(f, "these cells failed or read back other values:\n{}", cells.join("\n"))
            }
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Failure {}
