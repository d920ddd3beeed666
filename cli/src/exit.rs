//! Exit codes and failures: 0 success, 1 problems found, 2 wrong usage, 74 input or output failed.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use tsmith_codecs::name::printable;
use tsmith_engine::{Error, ErrorKind};
use tsmith_wal::fs::TooLong;

use crate::advice::log_advice;

const PROBLEMS: u8 = 1;
const USAGE: u8 = 2;
/// `EX_IOERR` of sysexits.
const IO: u8 = 74;

/// The result of a verb that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub(crate) enum Outcome {
    /// No problems.
    Fine,
    /// Rejected lines, corruption, or values that could not be written. They are reported.
    Problems,
    /// The operating system refused to read a file or directory, which is reported.
    Unread,
}

impl Outcome {
    /// [`Self::Problems`] if there are problems.
    pub(crate) fn of(problems: bool) -> Self {
        if problems { Self::Problems } else { Self::Fine }
    }

    /// The worse of both.
    pub(crate) fn and(self, other: Self) -> Self {
        self.max(other)
    }
}

/// Why a verb could not do its work.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// A file is corrupt, or of another kind.
    Problem(String),
    /// The operating system returned an error.
    Io(String),
    /// The reader of the output has closed it. This is not an error.
    ClosedPipe,
}

/// Result of a part of a verb.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// An error of the operating system about `path`.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::missing(path),
            _ if TooLong::of(error).is_some() => Self::Problem(format!("{}: {error}", path.display())),
            _ => Self::Io(format!("{}: {error}", path.display())),
        }
    }

    /// The error that `path` does not exist. All verbs use the same words.
    pub(crate) fn missing(path: &Path) -> Self {
        let absent = || format!("{}: no such file or directory: check the path", path.display());
        Self::dangling(path).unwrap_or_else(|| Self::Io(absent()))
    }

    /// The error for a dangling link in `path`. The errors of the operating system do not name the link.
    pub(crate) fn dangling(path: &Path) -> Option<Self> {
        let leads_nowhere = |path: &&Path| {
            let led = path.metadata();
            path.is_symlink() && led.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        let link = path.ancestors().find(leads_nowhere)?;
        let target = link.read_link().ok()?;
        let (link, target) = (link.display(), target.display());
        Some(Self::Io(format!(
            "{link}: a link to {target}, which does not exist: create the target, or remove the link"
        )))
    }

    /// Adds the consequence, or the next step, to the text.
    pub(crate) fn and(self, consequence: &str) -> Self {
        let with = |text: String| format!("{text}; {consequence}");
        match self {
            Self::Usage(text) => Self::Usage(with(text)),
            Self::Problem(text) => Self::Problem(with(text)),
            Self::Io(text) => Self::Io(with(text)),
            Self::ClosedPipe => self,
        }
    }

    /// The text of the failure.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Usage(text) | Self::Problem(text) | Self::Io(text) => text,
            Self::ClosedPipe => "output closed",
        }
    }

    /// Prints the failure, with `path` first unless the text begins with it or with a file in it.
    pub(crate) fn complain_of(&self, path: &Path) {
        let (text, path) = (self.text(), path.display().to_string());
        let is_named = text.strip_prefix(&path).is_some_and(|rest| rest.starts_with([':', '/']));
        if is_named { complain(text) } else { complain(&format!("{path}: {text}")) }
    }

    /// The outcome of a verb that continues after this failure.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Io(_) => Outcome::Unread,
            Self::Usage(_) | Self::Problem(_) => Outcome::Problems,
            Self::ClosedPipe => Outcome::Fine,
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
        // The name of the engine's operation is left out: the user knows which verb was run.
        let kind = error.kind();
        let text = error.detail();
        let text = error.path().map_or_else(|| text.clone(), |path| format!("{}: {text}", path.display()));
        let advice = if let ErrorKind::Log(log) = kind { log_advice(log) } else { None };
        let text = advice.unwrap_or(text);
        match kind {
            ErrorKind::NoDirectory => error.path().map_or(Self::Io(text), Self::missing),
            ErrorKind::NotAnEngine => Self::Io(text),
            _ if error.is_io() => Self::Io(text),
            ErrorKind::OtherParts { .. }
            | ErrorKind::OtherLogDirectory { .. }
            | ErrorKind::LogOfAnother { .. }
            | ErrorKind::NotInflux { .. }
            | ErrorKind::UnknownPart { .. } => Self::Usage(text),
            _ => Self::Problem(text),
        }
    }
}

impl From<tsmith_wal::Error> for Failure {
    fn from(error: tsmith_wal::Error) -> Self {
        use tsmith_wal::ErrorKind as Log;
        let text = log_advice(&error).unwrap_or(error.to_string());
        match error.kind() {
            Log::Io { .. } | Log::Full(_) | Log::InUse | Log::Poisoned(_) => Self::Io(text),
            _ => Self::Problem(text),
        }
    }
}

/// Reports the failure, if there is one, and returns the exit code.
pub(crate) fn code(done: Result<Outcome>) -> ExitCode {
    match done {
        Ok(Outcome::Fine) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Ok(Outcome::Problems) => ExitCode::from(PROBLEMS),
        Ok(Outcome::Unread) => ExitCode::from(IO),
        Err(failure) => {
            complain(failure.text());
            ExitCode::from(failure.code())
        }
    }
}

/// Prints a message on stderr. An error of stderr itself cannot be reported.
pub(crate) fn complain(text: &str) {
    use io::Write;
    let _ = writeln!(io::stderr(), "tsmith: {}", printable(text));
}
