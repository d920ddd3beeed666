//! Standard output and standard error. A closed pipe, as with `| head`, is not an error.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Prints text to standard output. False if the pipe is closed.
pub(crate) fn print(text: impl Display) -> bool {
    let mut out = std::io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => false,
        Err(error) => {
            note(format_args!("standard output: {error}"));
            false
        }
    }
}

/// Prints a line to standard error.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
