//! How a run ends: 0 fine, 1 problems found, 2 usage, 74 input or output failed.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use tsmith_engine::{Error, ErrorKind};

const PROBLEMS: u8 = 1;
const USAGE: u8 = 2;
/// `EX_IOERR` of sysexits.
const IO: u8 = 74;

/// What a verb that did its work found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Outcome {
    /// Nothing wrong.
    Fine,
    /// Rejected lines, damage, values that could not be written. They were reported.
    Problems,
}

impl Outcome {
    /// Problems if there are any.
    pub(crate) fn of(problems: bool) -> Self {
        if problems { Self::Problems } else { Self::Fine }
    }

    /// Problems if either has them.
    pub(crate) fn and(self, other: Self) -> Self {
        Self::of(self == Self::Problems || other == Self::Problems)
    }
}

/// Why a verb could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for what cannot be.
    Usage(String),
    /// What was given is damaged or something else.
    Problem(String),
    /// The operating system refused.
    Io(String),
    /// Who reads the output has gone. Not an error.
    ClosedPipe,
}

/// Result of a part of a verb.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// An answer of the operating system about `path`.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io(format!("{}: {error}", path.display()))
    }

    /// The text of the failure.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Usage(text) | Self::Problem(text) | Self::Io(text) => text,
            Self::ClosedPipe => "output closed",
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Problem(_) => PROBLEMS,
            Self::Io(_) => IO,
            Self::ClosedPipe => 0,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error.kind() {
            _ if error.is_io() => Self::Io(text),
            ErrorKind::OtherParts { .. }
            | ErrorKind::OtherLogDirectory { .. }
            | ErrorKind::NotInflux { .. }
            | ErrorKind::UnknownPart { .. } => Self::Usage(text),
            _ => Self::Problem(text),
        }
    }
}

/// Reports the end of a run.
pub(crate) fn code(done: Result<Outcome>) -> ExitCode {
    match done {
        Ok(Outcome::Fine) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Ok(Outcome::Problems) => ExitCode::from(PROBLEMS),
        Err(failure) => {
            complain(failure.text());
            ExitCode::from(failure.code())
        }
    }
}

/// Says what is wrong, on stderr. When nobody reads that either, there is nobody to tell.
pub(crate) fn complain(text: &str) {
    use io::Write;
    let _ = writeln!(io::stderr(), "tsmith: {text}");
}
