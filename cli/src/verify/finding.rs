//! The result of checking one file.

use std::io::Write;

use serde::Serialize;
use tsmith_codecs::name::printable;

use crate::exit::Result;
use crate::output::Out;
use crate::problem::Problem;

/// The result of checking one file.
#[derive(Default, Serialize)]
pub(super) struct Finding {
    pub(super) path: String,
    pub(super) ok: bool,
    pub(super) summary: String,
    pub(super) problems: Vec<Problem>,
    /// What needs a build with other parts. This is no corruption.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unknown: Vec<Problem>,
    pub(super) notes: Vec<Problem>,
    /// The file is a log that a repair cannot rewrite.
    #[serde(skip)]
    pub(super) needs_salvage: bool,
}

impl Finding {
    /// With `brief`, a file without problems is not printed.
    pub(super) fn print(&self, brief: bool, out: &mut Out) -> Result<()> {
        let text = out.text();
        let path = printable(&self.path);
        let mut written = Ok(());
        if self.ok && !brief {
            written = writeln!(text, "ok {path}: {}", self.summary);
        }
        for problem in &self.problems {
            let word = if problem.is_unread { "unreadable" } else { "corrupt" };
            written = written.and_then(|()| writeln!(text, "{word} {path}: {problem}"));
        }
        for unknown in &self.unknown {
            written = written.and_then(|()| writeln!(text, "unknown {path}: {unknown}"));
        }
        for note in &self.notes {
            written = written.and_then(|()| writeln!(text, "note {path}: {note}"));
        }
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.flush()
    }
}
