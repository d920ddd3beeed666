//! `cargo xtask dist`: the files that are handed to users.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::tidy;

const HELP: &str = "\
Builds what users install: a stripped `tsmith`, man pages, shell completions and a Debian package.

usage: cargo xtask dist [--out DIR]
example: cargo xtask dist --out target/dist

  --out DIR   where the files go; target/dist without it

xtask/dist/Dockerfile builds an image with the Debian package.";

/// Largest stripped program, in bytes.
const PROGRAM_BYTES_MAX: u64 = 9_000_000;

/// Where each shell looks for completions, and which name the file has there.
const COMPLETIONS: [(&str, &str); 3] = [
    ("tsmith.bash", "usr/share/bash-completion/completions/tsmith"),
    ("tsmith.fish", "usr/share/fish/vendor_completions.d/tsmith.fish"),
    ("_tsmith", "usr/share/zsh/vendor-completions/_tsmith"),
];

pub(crate) fn main(root: &Path, args: &[String]) -> ExitCode {
    if crate::asks_help(args) {
        return crate::help(HELP);
    }
    let out = match args {
        [] => target(root).join("dist"),
        [flag, dir] if flag == "--out" => PathBuf::from(dir),
        _ => return crate::usage("dist takes only --out DIR"),
    };
    match build(root, &out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask dist: {why}");
            ExitCode::FAILURE
        }
    }
}

fn build(root: &Path, out: &Path) -> Result<(), String> {
    fs::create_dir_all(out).map_err(at(out))?;
    cargo(root, &["build", "--release", "--package", "tsmith", "--config", "profile.release.strip=true"])?;
    let name = format!("tsmith{}", std::env::consts::EXE_SUFFIX);
    let program = out.join(&name);
    fs::copy(target(root).join("release").join(&name), &program).map_err(at(&program))?;
    let bytes = fs::metadata(&program).map_err(at(&program))?.len();
    if bytes > PROGRAM_BYTES_MAX {
        return Err(format!("{}: {bytes} bytes, above the limit of {PROGRAM_BYTES_MAX}", program.display()));
    }
    println!("{}: {bytes} bytes", program.display());

    let manual = out.to_string_lossy();
    cargo(
        root,
        &["run", "--release", "--quiet", "--package", "tsmith", "--example", "manual", "--", &manual],
    )?;
    println!("{}, {}", out.join("man").display(), out.join("completions").display());

    match architecture() {
        Some(architecture) => {
            let package = debian(root, out, &architecture)?;
            println!("{}", package.display());
        }
        None => eprintln!("skipped the Debian package: this system has no dpkg"),
    }
    Ok(())
}

/// The name that Debian has for this machine.
fn architecture() -> Option<String> {
    let output = Command::new("dpkg").arg("--print-architecture").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Makes the Debian package from the files in `out`.
fn debian(root: &Path, out: &Path, architecture: &str) -> Result<PathBuf, String> {
    let version = tidy::version(root)?;
    let tree = out.join("debian");
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(at(&tree))?;
    }
    install(&out.join("tsmith"), &tree.join("usr/bin/tsmith"), 0o755)?;
    for (name, place) in COMPLETIONS {
        install(&out.join("completions").join(name), &tree.join(place), 0o644)?;
    }
    let pages = fs::read_dir(out.join("man")).map_err(at(out))?;
    for page in pages.flatten() {
        let to = tree.join("usr/share/man/man1").join(page.file_name());
        install(&page.path(), &to, 0o644)?;
        run(Command::new("gzip").args(["-9", "-n"]).arg(&to))?;
    }
    // The help texts name these pages.
    for page in fs::read_dir(root.join("docs")).map_err(at(root))?.flatten() {
        install(&page.path(), &tree.join("usr/share/doc/tsmith/docs").join(page.file_name()), 0o644)?;
    }
    let copyright = tree.join("usr/share/doc/tsmith/copyright");
    install(&root.join("LICENSE-MIT"), &copyright, 0o644)?;
    let apache = fs::read(root.join("LICENSE-APACHE")).map_err(at(root))?;
    let both = fs::OpenOptions::new().append(true).open(&copyright);
    both.and_then(|mut file| {
        file.write_all(b"\nAlternatively, at your option:\n\n")?;
        file.write_all(&apache)
    })
    .map_err(at(&copyright))?;

    let control = tree.join("DEBIAN/control");
    fs::create_dir_all(tree.join("DEBIAN")).map_err(at(&control))?;
    fs::write(&control, control_file(&version, architecture, kib(&tree), libc().as_deref()))
        .map_err(at(&control))?;
    let package = out.join(format!("tsmith_{version}_{architecture}.deb"));
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&package))?;
    fs::remove_dir_all(&tree).map_err(at(&tree))?;
    Ok(package)
}

/// The control file of the package. `libc` is the version that the program was linked with.
fn control_file(version: &str, architecture: &str, kib: u64, libc: Option<&str>) -> String {
    let libc = libc.map_or_else(|| "libc6".to_owned(), |version| format!("libc6 (>= {version})"));
    format!(
        "Package: tsmith\nVersion: {version}\nArchitecture: {architecture}\nInstalled-Size: {kib}\n\
         Depends: {libc}, libgcc-s1\nSection: database\nPriority: optional\n\
         Maintainer: The Tsmith developers <https://github.com/tsmith-db/tsmith/issues>\n\
         Homepage: https://github.com/tsmith-db/tsmith\n\
         Description: tool for InfluxDB 1.x and Tsmith time-series directories\n \
         Imports, exports, queries, inspects, verifies, repairs and compacts shards.\n"
    )
}

/// Upstream version of this system's C library, such as `2.41`.
fn libc() -> Option<String> {
    let output =
        Command::new("dpkg-query").args(["--show", "--showformat=${Version}", "libc6"]).output().ok()?;
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    let upstream = version.split('-').next().filter(|text| output.status.success() && !text.is_empty());
    upstream.map(str::to_owned)
}

/// Total length of the files below `dir`.
fn kib(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => kib(&entry.path()),
        Ok(found) => found.len().div_ceil(1024),
        Err(_) => 0,
    });
    sizes.sum()
}

fn install(from: &Path, to: &Path, mode: u32) -> Result<(), String> {
    fs::create_dir_all(to.parent().unwrap_or(to)).map_err(at(to))?;
    fs::copy(from, to).map_err(at(from))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(at(to))?;
    }
    #[cfg(not(unix))]
    let _ = mode;
    Ok(())
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

fn cargo(root: &Path, args: &[&str]) -> Result<(), String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    run(Command::new(program).current_dir(root).args(args))
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name}: {status}")),
        Err(error) => Err(format!("cannot run {name}: {error}")),
    }
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_file_has_its_fields() {
        let text = control_file("0.1.0", "amd64", 9000, Some("2.41"));
        for line in ["Version: 0.1.0", "Architecture: amd64", "Depends: libc6 (>= 2.41), libgcc-s1"] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let description = text.split_once("Description:").map(|(_, rest)| rest);
        assert!(description.is_some_and(|rest| rest.lines().skip(1).all(|line| line.starts_with(' '))));
    }
}
