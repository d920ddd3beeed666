//! `cargo xtask bench`: builds tsmith-bench, or tsmith-peers, in release mode and runs it in the root of the repository.

use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, ExitCode};

const HELP: &str = "\
Builds tsmith-bench in release mode and runs it in the root of the repository.

usage: cargo xtask bench SUB [ARGS]
example: cargo xtask bench matrix --encoder tsm1,zstd --workload scan --time 30s

  matrix    compares each part with its alternatives on real data; `bench matrix --help` lists the flags
  peers     the same with parts and whole stores of other projects, from the workspace `peers`; servers run if installed
  codec | parse | cache | wal | replay | engine | read
            times one layer, with the input, flags and JSON fields of a Go driver of InfluxDB
  gen | lines
            writes the inputs of these";

pub(crate) fn main(root: &Path, args: &[String]) -> ExitCode {
    // `--help` after a sub-command goes to that sub-command.
    let Some(first) = args.first() else { return crate::usage("bench needs a sub-command") };
    if first == "-h" || first == "--help" {
        return crate::help(HELP);
    }
    // A workspace of its own, so that the build of Tsmith does not grow.
    let (program, package, args) = if first == "peers" {
        let matrix = [&["matrix".to_owned()], &args[1..]].concat();
        ("tsmith-peers", ["--manifest-path", "peers/Cargo.toml"], matrix)
    } else {
        ("tsmith-bench", ["--package", "tsmith-bench"], args.to_vec())
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["run", "--release"])
        .args(package)
        // Show the progress of cargo only on a terminal.
        .args((!std::io::stderr().is_terminal()).then_some("--quiet"))
        .arg("--")
        .args(args);
    eprintln!("building {program} in release mode; the first build takes some minutes");
    run(&mut cargo)
}

/// Replaces this process, so that after Ctrl-C the shell waits until the benchmark has written its report.
#[cfg(unix)]
fn run(cargo: &mut Command) -> ExitCode {
    let error = std::os::unix::process::CommandExt::exec(cargo);
    eprintln!("xtask bench: cannot run cargo: {error}");
    ExitCode::FAILURE
}

#[cfg(not(unix))]
fn run(cargo: &mut Command) -> ExitCode {
    match cargo.status() {
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("xtask bench: cannot run cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
