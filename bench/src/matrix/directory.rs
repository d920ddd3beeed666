//! Where a run writes its results.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tsmith_wal::fs::{Fs, OsFs};

use super::args::Args;
use super::run::now;
use crate::failure::Failure;

/// The directory of all runs without `--out`.
const ROOT: &str = "target/matrix";

/// In `ROOT`: a link to the last run. Systems without symbolic links get a file that has its name.
const LATEST: &str = "latest";

/// Files that a run leaves in its directory.
pub(super) const RESULTS: [&str; 5] =
    ["report.html", "summary.json", "summary.csv", "results.jsonl", "run.json"];

/// The directory of a run.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// Whether it has an earlier run, which continues.
    pub(super) resume: bool,
    /// Whether `latest` shall lead to it.
    in_root: bool,
    /// Whether this process created it.
    created: bool,
}

impl Directory {
    /// The directory that the flags ask for. Creates it unless it must exist.
    pub(super) fn choose(args: &Args) -> Result<Self, Failure> {
        if let Some(dir) = &args.resume {
            let path = dir.clone().or_else(|| args.out.clone()).map_or_else(latest, Ok)?;
            if !path.join("run.json").is_file() {
                let path = path.display();
                return Err(Failure::Usage(format!("{path}: has no run to resume: there is no run.json")));
            }
            return Ok(Self { path, resume: true, in_root: false, created: false });
        }
        let (path, in_root, created) = match &args.out {
            Some(path) => (path.clone(), false, given(path)?),
            None => (create_dated(Path::new(ROOT))?, true, true),
        };
        Ok(Self { path, resume: false, in_root, created })
    }

    /// Makes `latest` lead to the directory. A failure is not worth ending the run.
    pub(super) fn mark_latest(&self) {
        if let Some(name) = self.path.file_name().filter(|_| self.in_root) {
            let temporary = Path::new(ROOT).join(format!("{LATEST}.{}", std::process::id()));
            let made = link(Path::new(name), &temporary);
            if made.and_then(|()| OsFs.rename(&temporary, &Path::new(ROOT).join(LATEST))).is_err() {
                let _ = fs::remove_file(&temporary);
            }
        }
    }

    /// Removes a directory that got no results.
    pub(super) fn remove_if_new(&self) {
        if self.created {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Creates the directory of `--out`. Refuses one with results. True if it did not exist.
fn given(path: &Path) -> Result<bool, Failure> {
    if let Some(name) = RESULTS.into_iter().find(|name| path.join(name).exists()) {
        let path = path.display();
        return Err(Failure::Usage(format!(
            "{path}: has results of another run: {name}. Choose another --out, or continue that run with --resume {path}"
        )));
    }
    let created = !path.exists();
    fs::create_dir_all(path).map_err(|error| Failure::io(path, &error))?;
    Ok(created)
}

/// Creates a directory whose name is the time, with a number that tells runs of one second apart.
fn create_dated(root: &Path) -> Result<PathBuf, Failure> {
    fs::create_dir_all(root).map_err(|error| Failure::io(root, &error))?;
    // Colons are not allowed in names on Windows.
    let date = humantime::format_rfc3339_seconds(now()).to_string().replace(':', "-");
    for number in 1.. {
        let path = root.join(format!("{}-{number}", date.trim_end_matches('Z')));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::io(&path, &error)),
        }
    }
    unreachable!("there are always more numbers")
}

/// The last run without `--out`.
fn latest() -> Result<PathBuf, Failure> {
    let link = Path::new(ROOT).join(LATEST);
    let missing =
        || Failure::Usage(format!("{}: there is no run to resume; name its directory", link.display()));
    if link.is_file() {
        let name = fs::read_to_string(&link).map_err(|error| Failure::io(&link, &error))?;
        return Ok(Path::new(ROOT).join(name.trim()));
    }
    link.read_link().map(|name| Path::new(ROOT).join(name)).map_err(|_| missing())
}

#[cfg(unix)]
fn link(name: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(name, link)
}

#[cfg(not(unix))]
fn link(name: &Path, link: &Path) -> io::Result<()> {
    fs::write(link, name.display().to_string())
}

/// Opens a file of a run for appending. A new run creates it, so that of two runs with one `--out` only one begins.
pub(super) fn open(path: &Path, new: bool) -> Result<File, Failure> {
    let mut options = File::options();
    let opened = options.read(true).append(true).create(true).create_new(new).open(path);
    opened.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::Usage(format!("{}: another run has begun here", path.display())),
        _ => Failure::io(path, &error),
    })
}
