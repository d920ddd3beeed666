//! `cargo xtask ci`: the checks of continuous integration. Cheap steps come first, tests last.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::{codegen, tidy};

const HELP: &str = "\
Runs the checks of continuous integration. Stops at the first step that fails.

usage: cargo xtask ci [STEP...]
example: cargo xtask ci fmt tidy

  fmt       cargo fmt --all --check
  tidy      cargo xtask tidy
  codegen   cargo xtask codegen --check
  clippy    clippy on all targets with the feature raft; warnings are errors
  alone     checks each crate and its examples alone, with its default features and with none
  targets   checks the workspace for macOS on aarch64 and Windows on x86-64
  msrv      checks the workspace with the oldest Rust that Cargo.toml allows
  fuzz      checks the fuzz targets, which are a workspace of their own
  doc       builds the documentation; warnings are errors
  package   packs the crates that can be published, without building them; warnings are errors
  test      runs the test command of README.md
  raft      tests the engine's feature raft
  outside   tests examples/outside, a crate that adds parts of its own
  peers     clippy and tests of peers, a workspace with the parts of other projects

Without STEP, all of them in this order.";

/// Also builds the engine's feature `raft`. For the whole workspace, so that no crate below the engine is built twice.
const WITH_RAFT: [&str; 3] = ["--workspace", "--features", "tsmith-engine/raft"];

/// The test command of README.md.
const TEST: &str = "cargo test --workspace";

/// Targets that CI checks without building for them.
const TARGETS: [&str; 2] = ["aarch64-apple-darwin", "x86_64-pc-windows-gnu"];

type Step = (&'static str, fn(&Path) -> Result<(), String>);

const STEPS: [Step; 14] = [
    ("fmt", |root| cargo(root, &["fmt", "--all", "--check"], &[])),
    ("tidy", tidy::check),
    ("codegen", codegen::check),
    ("clippy", clippy),
    ("alone", alone),
    ("targets", targets),
    ("msrv", msrv),
    ("fuzz", fuzz),
    ("doc", |root| cargo(root, &["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])),
    ("package", package),
    ("test", test),
    ("raft", raft),
    ("outside", outside),
    ("peers", peers),
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
            // Examples need a run of their own: they turn on the features of the dev-dependencies.
            for targets in [&[][..], &["--examples"]] {
                let check = [&["check", "--quiet", "--package", package.as_str()], targets].concat();
                cargo(root, &check, &[])?;
                cargo(root, &[&check[..], &["--no-default-features"]].concat(), &[])?;
            }
        }
    }
    Ok(())
}

/// Checks other systems. zstd and mimalloc contain C code, which would need a cross compiler. A check links nothing, so the
/// C code is left out: `true` stands in for the compiler.
fn targets(root: &Path) -> Result<(), String> {
    for target in TARGETS {
        let added = Command::new("rustup").args(["target", "add", target]).output();
        if !added.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped {target}: `rustup target add {target}` failed");
            continue;
        }
        eprintln!("checking {target}, without its C code");
        let suffix = target.replace('-', "_");
        let tools = ["CC", "AR", "RANLIB"].map(|tool| format!("{tool}_{suffix}"));
        let tools = tools.each_ref().map(|tool| (tool.as_str(), "true"));
        let check = ["check", "--quiet", "--workspace", "--all-features", "--target", target];
        cargo(root, &check, &[&tools[..], &[("RUSTFLAGS", "-D warnings")]].concat())?;
    }
    Ok(())
}

/// Uses a target directory of its own, so that the next step does not compile everything again.
fn msrv(root: &Path) -> Result<(), String> {
    let version = tidy::rust_version(root)?;
    let add = ["toolchain", "install", &version, "--profile", "minimal", "--no-self-update"];
    if !Command::new("rustup").args(add).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: `rustup {}` failed", add.join(" "));
        return Ok(());
    }
    let target = target(root) + "/msrv";
    let mut command = Command::new("rustup");
    command.args(["run", &version, "cargo", "check", "--quiet", "--workspace", "--target-dir", &target]);
    match command.current_dir(root).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`cargo check` with Rust {version}: {status}")),
        Err(error) => Err(format!("cannot run rustup: {error}")),
    }
}

/// The target directory of the workspace.
fn target(root: &Path) -> String {
    std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| root.join("target").display().to_string())
}

/// Packs every crate that can be published. Cargo's warnings name files and fields that are missing.
fn package(root: &Path) -> Result<(), String> {
    let mut args = vec!["package", "--no-verify", "--allow-dirty"];
    let packages = tidy::published(root)?;
    args.extend(packages.iter().flat_map(|package| ["--package", package.as_str()]));
    let output = Command::new(program()).current_dir(root).args(&args).output();
    let output = output.map_err(|error| format!("cannot run cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    eprint!("{said}");
    if !output.status.success() {
        return Err(format!("`cargo {}`: {}", args.join(" "), output.status));
    }
    if said.lines().any(|line| line.starts_with("warning")) {
        return Err("cargo package printed a warning".into());
    }
    Ok(())
}

/// Checks and links nothing. So the stand-in for libFuzzer need not exist, and half a minute of C++ is not built.
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
    // One of the suites starts this example.
    cargo(root, &[&["build"], &WITH_RAFT[..], &["--example", "replicated"]].concat(), &[])?;
    cargo(root, &[&["test"], &WITH_RAFT[..], &["--lib", "replica"]].concat(), &[])?;
    let suites = ["replicas", "replica_alone", "replica_messages", "replica_tcp", "replicated"];
    let suites: Vec<_> = suites.iter().flat_map(|suite| ["--test", suite]).collect();
    cargo(root, &[&["test"], &WITH_RAFT[..], &suites].concat(), &[])
}

/// Uses the target directory of the workspace, so that dependencies are built once.
fn outside(root: &Path) -> Result<(), String> {
    const MANIFEST: [&str; 2] = ["--manifest-path", "examples/outside/Cargo.toml"];
    cargo(root, &[&["fmt", "--check"], &MANIFEST[..]].concat(), &[])?;
    cargo(root, &[&["test", "--locked"], &MANIFEST[..]].concat(), &[("CARGO_TARGET_DIR", &target(root))])
}

/// Uses the target directory of the workspace for the same reason.
fn peers(root: &Path) -> Result<(), String> {
    const MANIFEST: [&str; 2] = ["--manifest-path", "peers/Cargo.toml"];
    let target = target(root);
    let env = [("CARGO_TARGET_DIR", target.as_str())];
    cargo(root, &[&["fmt", "--check"], &MANIFEST[..]].concat(), &[])?;
    let clippy =
        [&["clippy", "--locked"], &MANIFEST[..], &["--all-targets", "--", "-D", "warnings"]].concat();
    cargo(root, &clippy, &env)?;
    cargo(root, &[&["test", "--locked"], &MANIFEST[..]].concat(), &env)
}

fn cargo(root: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new(program());
    let status = command.current_dir(root).args(args).envs(env.iter().copied()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`cargo {}`: {status}", args.join(" "))),
        Err(error) => Err(format!("cannot run cargo: {error}")),
    }
}

/// The cargo that runs this task.
fn program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
