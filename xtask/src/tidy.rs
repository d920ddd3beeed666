//! `cargo xtask tidy`: the rules of the house that neither the compiler nor clippy checks.

mod crates;
mod imports;
mod text;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

pub(crate) use crates::{packages, published, version};

use crate::source::sources;

const HELP: &str = "\
Checks the rules of the house that neither the compiler nor clippy knows.

usage: cargo xtask tidy

- crates depend only along: codecs <- cache, wal, tsm <- engine <- cli, bench; xtask on none of them
- `unsafe` stands only in its fences; files are renamed and synced only in wal::fs
- every constant that the picture of a format.rs names exists, and the picture is there
- each library crate has an example that needs only what the crate itself depends on
- no import cycle between files: a file needs the files that define the names it uses. A re-export does not count, a
  parent and a module below it may need each other, and lib.rs and main.rs may need any file of their crate
- nothing unfinished, no path of some machine, no trailing blanks; very long files fail, long ones are named
- README.md, ARCHITECTURE.md and CHANGELOG.md exist";

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// 0 when the file as a whole is meant.
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
        return crate::usage("tidy takes no argument");
    }
    match check(root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask tidy: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what is wrong and what is only long; an error when anything is wrong.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let sources = sources(root);
    let mut wrong = crates::findings(root, &sources)?;
    imports::findings(&packages(root)?, &sources, &mut wrong);
    let mut long = Vec::new();
    for source in &sources {
        text::findings(source, &mut wrong, &mut long);
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
    if wrong.is_empty() { Ok(()) } else { Err(format!("{} rules are broken", wrong.len())) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        super::check(crate::root()).expect("the findings are printed above");
    }
}
