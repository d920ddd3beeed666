//! Repository tasks: `cargo xtask TASK`.
//!
//! The crate uses only the standard library and no crate of the workspace, so it builds fast, even if they do not build.

mod bench;
mod ci;
mod codegen;
mod dist;
mod release;
mod source;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
Repository tasks.

usage: cargo xtask TASK [ARGS]

  ci        runs the checks of continuous integration
  tidy      checks the rules of this repository that no other tool checks
  codegen   writes the table of parts in README.md; --check only compares
  bench     runs the benchmarks; `bench matrix` compares every part
  dist      builds the program, man pages, completions and a Debian package
  release   shows what a release would do; needs --dry-run

example: cargo xtask ci fmt tidy
`cargo xtask TASK --help` describes a task.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((task, rest)) = args.split_first() else { return usage("no task was named") };
    let root = root();
    match task.as_str() {
        "ci" => ci::main(root, rest),
        "tidy" => tidy::main(root, rest),
        "codegen" => codegen::main(root, rest),
        "bench" => bench::main(root, rest),
        "dist" => dist::main(root, rest),
        "release" => release::main(root, rest),
        "-h" | "--help" | "help" => help(HELP),
        other => usage(&format!("there is no task `{other}`")),
    }
}

/// The directory of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a directory of the workspace")
}

/// Whether the arguments ask for help.
fn asks_help(args: &[String]) -> bool {
    args.iter().any(|arg| arg == "-h" || arg == "--help")
}

fn help(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

fn usage(what: &str) -> ExitCode {
    eprintln!("xtask: {what}\n\n{HELP}");
    ExitCode::from(2)
}
