//! `cargo xtask tidy`: checks rules of this repository that neither the compiler nor clippy knows.

mod crates;
mod imports;
mod prose;
mod text;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

pub(crate) use crates::{packages, published, rust_version, version};

use crate::source::sources;

const HELP: &str = "\
Checks rules of this repository that neither the compiler nor clippy knows.

usage: cargo xtask tidy

- Crates depend only along codecs <- cache, wal, tsm <- engine <- cli, bench. xtask depends on none of them.
- Only listed files contain `unsafe`. Only wal::fs renames and syncs files.
- Each format.rs opens with a picture of the bytes, and the constants in the picture exist.
- Each library crate has an example that uses only the crate and its dependencies.
- There is no import cycle between files. Re-exports do not count. A parent and a module below it may use each other,
  and lib.rs and main.rs may use any file of their crate.
- There is no unfinished code, path of a machine or trailing blank. Files above 1000 lines are errors, above 500 notes.
- Prose contains none of the phrases in xtask/src/tidy/prose.rs. Comments are at most 128 characters wide.
- README.md, ARCHITECTURE.md and CHANGELOG.md exist.";

/// A violation of a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// 0 for the whole file.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.into(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

pub(crate) fn main(root: &Path, args: &[String]) -> ExitCode {
    if crate::asks_help(args) {
        return crate::help(HELP);
    }
    if !args.is_empty() {
        return crate::usage("tidy takes no arguments");
    }
    match check(root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask tidy: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Prints violations and notes. Returns an error if there is a violation.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let sources = sources(root);
    let mut wrong = crates::findings(root, &sources)?;
    imports::findings(&packages(root)?, &sources, &mut wrong);
    let mut long = Vec::new();
    for source in &sources {
        text::findings(source, &mut wrong, &mut long);
        prose::findings(source, &mut wrong);
    }
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        if !root.join(name).is_file() {
            wrong.push(Finding::new(name, 0, "is missing"));
        }
    }
    for finding in long {
        eprintln!("note: {finding}");
    }
    for finding in &wrong {
        eprintln!("{finding}");
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{} violations", wrong.len())) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn repository_is_tidy() {
        super::check(crate::root()).expect("the findings are printed above");
    }
}
