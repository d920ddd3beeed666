//! `cargo xtask release`: checks that a release can be made, and shows its steps.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::{ci, tidy};

const HELP: &str = "\
Checks that a release can be made, and shows its steps. It never changes or publishes anything.

usage: cargo xtask release --dry-run [--ci]
example: cargo xtask release --dry-run --ci

  --dry-run   required as long as the file formats may change
  --ci        also runs `cargo xtask ci`, which takes long";

const REFUSED: &str = "no release is made yet: the file formats may still change without migration. \
                       Use --dry-run to see the steps";

pub(crate) fn main(root: &Path, args: &[String]) -> ExitCode {
    if crate::asks_help(args) {
        return crate::help(HELP);
    }
    if let Some(unknown) = args.iter().find(|arg| *arg != "--dry-run" && *arg != "--ci") {
        return crate::usage(&format!("release does not take `{unknown}`"));
    }
    if !args.iter().any(|arg| arg == "--dry-run") {
        eprintln!("xtask release: {REFUSED}");
        return ExitCode::FAILURE;
    }
    match dry_run(root, args.iter().any(|arg| arg == "--ci")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("xtask release: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the checks and the steps. True if every check passed.
fn dry_run(root: &Path, with_ci: bool) -> Result<bool, String> {
    let version = tidy::version(root)?;
    let tag = format!("v{version}");
    let packages = tidy::published(root)?;
    let changelog = read(root, "CHANGELOG.md")?;
    let checks = [
        ("the working tree is clean", git(root, &["status", "--porcelain"])?.is_empty()),
        ("the tag is new", git(root, &["tag", "--list", &tag])?.is_empty()),
        ("every crate has the version of the workspace", one_version(root, &version)?),
        ("CHANGELOG.md has a section for the version", heading(&changelog, &version).is_some()),
        (
            "that section is dated",
            heading(&changelog, &version).is_some_and(|line| !line.contains("unreleased")),
        ),
    ];
    println!("Checks for {version}:");
    let mut good = true;
    for (what, passed) in checks {
        println!("  {} {what}", if passed { "ok    " } else { "FAILED" });
        good &= passed;
    }
    if with_ci {
        let passed = ci::main(root, &[]) == ExitCode::SUCCESS;
        println!("  {} cargo xtask ci", if passed { "ok    " } else { "FAILED" });
        good &= passed;
    } else {
        println!("  not run cargo xtask ci; --ci runs it");
    }
    println!("\nA release would run:");
    for step in steps(&tag, &packages) {
        println!("  {step}");
    }
    println!(
        "\nNothing was changed. {}",
        if good { "All checks that ran passed." } else { "Some checks failed." }
    );
    Ok(good)
}

/// The commands of a release, in order.
fn steps(tag: &str, packages: &[String]) -> Vec<String> {
    let mut steps = vec!["cargo xtask ci".to_owned(), "cargo xtask dist".to_owned()];
    steps.push(format!("git tag --annotate {tag} --message 'Tsmith {}'", tag.trim_start_matches('v')));
    steps.extend(packages.iter().map(|package| format!("cargo publish --package {package}")));
    steps.push(format!("git push origin {tag}"));
    steps
}

/// The heading of a version, such as `## 0.1.0 (2030-01-02)`.
fn heading<'a>(changelog: &'a str, version: &str) -> Option<&'a str> {
    changelog
        .lines()
        .find(|line| line.strip_prefix("## ").and_then(|rest| rest.split(' ').next()) == Some(version))
}

/// Whether every member inherits the version, and the members ask each other for that version.
fn one_version(root: &Path, version: &str) -> Result<bool, String> {
    for (dir, _) in tidy::packages(root)? {
        if !read(root, &format!("{dir}/Cargo.toml"))?.lines().any(|line| line == "version.workspace = true") {
            return Ok(false);
        }
    }
    let asked = format!("version = \"{version}\"");
    let manifest = read(root, "Cargo.toml")?;
    Ok(manifest.lines().filter(|line| line.starts_with("tsmith-")).all(|line| line.contains(&asked)))
}

fn read(root: &Path, path: &str) -> Result<String, String> {
    fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"))
}

fn git(root: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new("git").current_dir(root).args(args).output();
    let output = output.map_err(|error| format!("cannot run git: {error}"))?;
    if !output.status.success() {
        return Err(format!("git {}: {}", args.join(" "), output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_publish_dependencies_first() {
        let packages = tidy::published(crate::root()).expect("reads the manifests");
        assert_eq!(packages.first().map(String::as_str), Some("tsmith-codecs"));
        assert_eq!(packages.last().map(String::as_str), Some("tsmith"));
        let steps = steps("v0.1.0", &packages);
        assert_eq!(steps.last().map(String::as_str), Some("git push origin v0.1.0"));
    }

    #[test]
    fn heading_is_that_of_the_version() {
        let text = "# Changelog\n## 0.1.1 (2030-01-02)\n## 0.1.0 (unreleased)\n";
        assert_eq!(heading(text, "0.1.0"), Some("## 0.1.0 (unreleased)"));
        assert_eq!(heading(text, "0.1"), None);
    }

    #[test]
    fn members_have_one_version() {
        let root = crate::root();
        let version = tidy::version(root).expect("reads the version");
        assert!(one_version(root, &version).expect("reads the manifests"));
        assert!(!one_version(root, "9.9.9").expect("reads the manifests"));
    }
}
