//! `cargo xtask ci`: what continuous integration runs. The cheap steps come first and the tests last.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::{codegen, tidy};

const HELP: &str = "\
Runs what continuous integration runs, and stops at the first step that fails.

usage: cargo xtask ci [STEP...]

  fmt       cargo fmt --all --check
  tidy      cargo xtask tidy
  codegen   cargo xtask codegen --check
  clippy    every target, the replicas among them, warnings are errors
  alone     each crate by itself is checked with its examples, with its default features and with none
  fuzz      the fuzz targets, a workspace of their own, are checked
  doc       documentation, warnings are errors
  test      the test command that README.md gives
  raft      tests of the replicas, a feature of the engine that is off by default
  outside   tests of examples/outside, a crate that adds parts from outside of the workspace

Without STEP all of them, in this order.";

/// The replicas as well. Of the whole workspace, so that the crates below the engine are not built again for it.
const WITH_RAFT: [&str; 3] = ["--workspace", "--features", "tsmith-engine/raft"];

/// The one command README.md gives for the tests.
const TEST: &str = "cargo test --workspace";

type Step = (&'static str, fn(&Path) -> Result<(), String>);

const STEPS: [Step; 10] = [
    ("fmt", |root| cargo(root, &["fmt", "--all", "--check"], &[])),
    ("tidy", tidy::check),
    ("codegen", codegen::check),
    ("clippy", clippy),
    ("alone", alone),
    ("fuzz", fuzz),
    ("doc", |root| cargo(root, &["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])),
    ("test", test),
    ("raft", raft),
    ("outside", outside),
];

pub(crate) fn main(root: &Path, args: &[String]) -> ExitCode {
    if crate::asks_help(args) {
        return crate::help(HELP);
    }
    if let Some(unknown) = args.iter().find(|arg| STEPS.iter().all(|(name, _)| name != arg)) {
        return crate::usage(&format!("ci has no step `{unknown}`"));
    }
    for (name, step) in STEPS.iter().filter(|(name, _)| args.is_empty() || args.iter().any(|arg| arg == name))
    {
        eprintln!("==> {name}");
        let begun = Instant::now();
        if let Err(why) = step(root) {
            eprintln!("xtask ci: {name} failed: {why}");
            return ExitCode::FAILURE;
        }
        eprintln!("==> {name}: fine, {:.1} s", begun.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}

fn alone(root: &Path) -> Result<(), String> {
    for (dir, package) in tidy::packages(root)? {
        if dir != "xtask" {
            // The examples in a run of their own: they turn on what the tests of the crate need.
            for targets in [&[][..], &["--examples"]] {
                let check = [&["check", "--quiet", "--package", package.as_str()], targets].concat();
                cargo(root, &check, &[])?;
                cargo(root, &[&check[..], &["--no-default-features"]].concat(), &[])?;
            }
        }
    }
    Ok(())
}

/// Nothing is linked, so that libFuzzer itself need not be there: it is half a minute of C++.
fn fuzz(root: &Path) -> Result<(), String> {
    let check = ["check", "--quiet", "--locked", "--manifest-path", "fuzz/Cargo.toml"];
    cargo(root, &check, &[("CUSTOM_LIBFUZZER_PATH", "none/libfuzzer.a")])
}

fn test(root: &Path) -> Result<(), String> {
    let readme = fs::read_to_string(root.join("README.md")).map_err(|e| format!("README.md: {e}"))?;
    if !readme.lines().any(|line| line.split('#').next().unwrap_or_default().trim() == TEST) {
        return Err(format!("README.md does not give the test command, a line `{TEST}`"));
    }
    let args: Vec<&str> = TEST.split(' ').skip(1).collect();
    cargo(root, &args, &[])
}

fn clippy(root: &Path) -> Result<(), String> {
    cargo(root, &[&["clippy"], &WITH_RAFT[..], &["--all-targets", "--", "-D", "warnings"]].concat(), &[])
}

fn raft(root: &Path) -> Result<(), String> {
    // One of the suites starts it.
    cargo(root, &[&["build"], &WITH_RAFT[..], &["--example", "replicated"]].concat(), &[])?;
    cargo(root, &[&["test"], &WITH_RAFT[..], &["--lib", "replica"]].concat(), &[])?;
    let suites = ["replicas", "replica_alone", "replica_messages", "replica_tcp", "replicated"];
    let suites: Vec<_> = suites.iter().flat_map(|suite| ["--test", suite]).collect();
    cargo(root, &[&["test"], &WITH_RAFT[..], &suites].concat(), &[])
}

/// With the target directory of the workspace, so that other packages are built once.
fn outside(root: &Path) -> Result<(), String> {
    const MANIFEST: [&str; 2] = ["--manifest-path", "examples/outside/Cargo.toml"];
    let target =
        std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| root.join("target").display().to_string());
    cargo(root, &[&["fmt", "--check"], &MANIFEST[..]].concat(), &[])?;
    cargo(root, &[&["test", "--locked"], &MANIFEST[..]].concat(), &[("CARGO_TARGET_DIR", &target)])
}

fn cargo(root: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let status = command.current_dir(root).args(args).envs(env.iter().copied()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`cargo {}`: {status}", args.join(" "))),
        Err(error) => Err(format!("cannot run cargo: {error}")),
    }
}
