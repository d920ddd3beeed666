//! Where the log of a directory is, and what to say when it is not there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tsmith_engine::Manifest;
use tsmith_engine::manifest::{MANIFEST_NAME, replaced};
use tsmith_wal::fs::OsFs;
use tsmith_wal::is_segment;

use super::etcd::is_of_replica;
use super::{holds_files, is_etcd_segment, list};
use crate::exit::{Failure, Result};

/// Directories below one that `--wal` names, at most, in which a log is looked for: database, retention policy, shard.
const DEPTH_MAX: usize = 4;

/// Where a log is, as far as that can be found out.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Its directory. It exists unless `no_log` says otherwise.
    pub(super) wal: Option<PathBuf>,
    /// Why the manifest does not tell where it is.
    pub(super) unsure: Option<String>,
    pub(super) no_log: Option<NoLog>,
}

/// A shard that is read without its log.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NoLog {
    path: String,
    pub(crate) reason: String,
    /// It is there, and the operating system refuses it.
    #[serde(skip)]
    is_unread: bool,
}

impl NoLog {
    fn missing(data: &Path, why: Option<&str>) -> Self {
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let path = data.display().to_string();
        let reason = format!(
            "no log directory for {path}{why}: values written after the last snapshot are not included; pass --wal"
        );
        Self { path, reason, is_unread: false }
    }

    fn unread(data: &Path, why: &Failure) -> Self {
        let (path, why) = (data.display().to_string(), why.text());
        let reason = format!(
            "the log of {path} cannot be read: {why}: its values are not included; check the permissions, pass --wal"
        );
        Self { path, reason, is_unread: true }
    }

    pub(super) fn is_unread(&self) -> bool {
        self.is_unread
    }

    /// The same as a failure, where the log is needed.
    pub(super) fn failure(&self) -> Failure {
        let reason = self.reason.clone();
        if self.is_unread { Failure::Io(reason) } else { Failure::Problem(reason) }
    }
}

/// Finds the log of `data`: where the manifest says, else inside, else where InfluxDB has it.
pub(super) fn find(data: &Path) -> Result<Found> {
    let read = Manifest::read(&OsFs, data);
    let unsure = match read.and_then(|found| found.map(|it| it.wal_directory(&OsFs, data)).transpose()) {
        Ok(Some(wal)) => return Ok(named_by_manifest(data, wal)),
        Ok(None) => None,
        Err(error) if error.is_io() => {
            let no_log = Some(NoLog::unread(data, &error.into()));
            return Ok(Found { no_log, ..Found::default() });
        }
        Err(error) => Some(Failure::from(error).text().to_owned()),
    };
    let expected = [Some(data.join("wal")), beside(&absolute(data)?)];
    for wal in expected.into_iter().flatten() {
        match exists(&wal) {
            Ok(true) => return Ok(Found { wal: Some(wal), unsure, no_log: None }),
            Ok(false) => {}
            Err(error) => return Ok(Found { wal: None, unsure, no_log: Some(NoLog::unread(data, &error)) }),
        }
    }
    // A snapshot between replicas is files alone.
    let is_snapshot = data.file_name().is_some_and(is_of_replica);
    let needs_log = holds_files(data) && !is_snapshot || unsure.is_some();
    Ok(Found { wal: None, unsure, no_log: needs_log.then(|| NoLog::missing(data, None)) })
}

fn named_by_manifest(data: &Path, wal: PathBuf) -> Found {
    let no_log = match exists(&wal) {
        Ok(true) => None,
        Ok(false) => {
            let why = format!("{} has it in {}", MANIFEST_NAME, wal.display());
            Some(NoLog::missing(data, Some(&why)))
        }
        Err(error) => Some(NoLog::unread(data, &error)),
    };
    Found { wal: Some(wal), unsure: None, no_log }
}

/// The log of `data` for a verb that writes to it; it may begin one where there is none. `None` is inside the data.
pub(super) fn find_for_writing(data: &Path) -> Result<Option<PathBuf>> {
    let Found { wal, unsure, no_log } = find(data)?;
    if let Some(no_log) = no_log.filter(NoLog::is_unread) {
        return Err(no_log.failure());
    }
    match (wal, unsure) {
        (None, Some(why)) => Err(Failure::Problem(why)),
        (Some(wal), Some(why)) => Err(Failure::Problem(format!("{why}; it may be {}", wal.display()))),
        // Files without a manifest are InfluxDB's, which has no log inside.
        (None, None) if holds_files(data) => Ok(beside(&absolute(data)?)),
        (wal, None) => Ok(wal),
    }
}

/// The log of `data` in the directory `wal`, which the user names.
pub(super) fn named(data: &Path, wal: &Path) -> Result<Found> {
    if !exists(wal)? {
        return Err(Failure::missing(wal));
    }
    Ok(match above_logs(wal) {
        None => Found { wal: Some(wal.to_owned()), ..Found::default() },
        Some(why) => Found { no_log: Some(NoLog::missing(data, Some(&why))), ..Found::default() },
    })
}

/// Why `wal` is not a log but a directory above logs.
pub(super) fn above_logs(wal: &Path) -> Option<String> {
    if list(wal).ok()?.iter().any(|(name, _)| is_segment(name) || is_etcd_segment(name)) {
        return None;
    }
    let below = log_below(wal, DEPTH_MAX)?;
    let (wal, below) = (wal.display(), below.display());
    Some(format!("{wal} holds no segments itself, but directories with segments, such as {below}"))
}

/// A directory below `dir` that holds segments.
fn log_below(dir: &Path, depth: usize) -> Option<PathBuf> {
    let below = list(dir).ok()?.into_iter().filter(|(_, is_dir)| *is_dir);
    below.map(|(name, _)| dir.join(name)).find_map(|below| {
        let is_log = has_segments(&below).is_ok_and(|found| found);
        if is_log { Some(below) } else { log_below(&below, depth.checked_sub(1)?) }
    })
}

/// What was done about a log of which the manifest tells nothing.
pub(super) fn looked_for(wal: &Path) -> String {
    format!("its log is taken to be in {}; --wal names another", wal.display())
}

/// Where InfluxDB has the log of this directory, or the logs of those below it.
pub(super) fn beside(data: &Path) -> Option<PathBuf> {
    replaced(data, "data", "wal")
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Failure::io(path, &error))
}

/// Whether a directory of segments holds any; false where there is no directory.
pub(super) fn has_segments(dir: &Path) -> Result<bool> {
    Ok(exists(dir)? && list(dir)?.iter().any(|(name, _)| is_segment(name)))
}

/// Whether there is such a directory. One that cannot be reached is an error, not a missing one.
pub(super) fn exists(dir: &Path) -> Result<bool> {
    match fs::metadata(dir) {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(Failure::io(dir, &error)),
    }
}
