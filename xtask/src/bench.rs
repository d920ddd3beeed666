//! `cargo xtask bench`: builds the benchmark program in release and runs it from the root.

use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, ExitCode};

const HELP: &str = "\
Builds tsmith-bench in release and runs it from the root of the repository.

usage: cargo xtask bench SUB [ARGS]

  matrix    each part against its alternatives on real data, side by side; --full takes every combination, and
            `matrix --help` lists the flags
  codec | parse | cache | wal | replay | engine | read
            one layer alone, with the input, flags and JSON fields of the peer's driver
  gen | lines
            writes the inputs of these

example: cargo xtask bench matrix --encoder tsm1,zstd --workload scan --time 30s";

pub(crate) fn main(root: &Path, args: &[String]) -> ExitCode {
    // Help that follows a sub-command belongs to that sub-command.
    let Some(first) = args.first() else { return crate::usage("bench: no sub-command was given") };
    if first == "-h" || first == "--help" {
        return crate::help(HELP);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["run", "--release", "--package", "tsmith-bench"])
        // Whoever watches sees cargo at work; a log has no use for that.
        .args((!std::io::stderr().is_terminal()).then_some("--quiet"))
        .arg("--")
        .args(args);
    eprintln!("building tsmith-bench in release; the first time takes some minutes");
    match cargo.status() {
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("xtask bench: cannot run cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
