//! Finds the log of a directory, and reports when it is missing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tsmith_engine::files::holds_influxdb_index;
use tsmith_engine::manifest::{MANIFEST_NAME, is_same_directory, replaced};
use tsmith_engine::{ErrorKind, Manifest, Registry};
use tsmith_wal::fs::OsFs;

use super::names::{
    absolute, as_given, beside, exists, has_segments, holds_files, is_etcd_segment, is_log_leftover,
    is_of_replica, list,
};
use crate::exit::{Failure, Result};

/// How deep to search for a log below the directory that `--wal` names: database, retention policy, shard.
const DEPTH_MAX: usize = 4;

/// Where a log is.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Its directory. It exists unless `no_log` is set.
    pub(super) wal: Option<PathBuf>,
    /// Why the manifest does not name the log.
    pub(super) unsure: Option<String>,
    pub(super) no_log: Option<NoLog>,
}

/// A shard that is read without its log.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NoLog {
    path: String,
    pub(crate) reason: String,
    /// Which directory is missing.
    #[serde(skip)]
    missing: Option<String>,
    /// The error of the operating system, if the log exists but cannot be read.
    #[serde(skip)]
    unread: Option<String>,
}

impl NoLog {
    fn missing(data: &Path, why: Option<&str>) -> Self {
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let path = data.display().to_string();
        let missing = format!("no log directory for {path}{why}");
        let reason =
            format!("{missing}: values written after the last snapshot are not included; pass --wal");
        Self { path, reason, missing: Some(missing), unread: None }
    }

    fn unread(data: &Path, why: &Failure) -> Self {
        let (path, why) = (data.display().to_string(), why.text());
        let reason = format!(
            "the log of {path} cannot be read: {why}: its values are not included; check the permissions, or pass --wal"
        );
        Self { path, reason, missing: None, unread: Some(why.to_owned()) }
    }

    /// The same for a repair, if the log is missing.
    pub(super) fn unrepaired(&self) -> Option<Self> {
        let Self { path, missing: why, .. } = self;
        let reason = format!("{}: the log is not repaired; pass --wal", why.as_ref()?);
        Some(Self { path: path.clone(), reason, missing: None, unread: None })
    }

    pub(super) fn is_unread(&self) -> bool {
        self.unread.is_some()
    }

    /// The failure of a verb that needs the log.
    pub(super) fn failure(&self) -> Failure {
        let reason = self.reason.clone();
        if self.is_unread() { Failure::Io(reason) } else { Failure::Problem(reason) }
    }
}

/// Finds the log of `data`: the one that the manifest names, else `wal` inside, else the directory that InfluxDB uses.
pub(super) fn find(data: &Path) -> Result<Found> {
    let read = Manifest::read(&OsFs, data);
    let unsure = match read.and_then(|found| found.map(|it| it.wal_directory(data)).transpose()) {
        Ok(Some(wal)) => return Ok(named_by_manifest(data, as_given(data, wal))),
        Ok(None) => None,
        Err(error) if error.is_io() => {
            let no_log = Some(NoLog::unread(data, &error.into()));
            return Ok(Found { no_log, ..Found::default() });
        }
        Err(error) => Some(Failure::from(error).text().to_owned()),
    };
    let expected = [Some(data.join("wal")), beside(&absolute(data)?).map(|wal| as_given(data, wal))];
    for wal in expected.into_iter().flatten() {
        match exists(&wal) {
            Ok(true) => return Ok(Found { wal: Some(wal), unsure, no_log: None }),
            Ok(false) => {}
            Err(error) => return Ok(Found { wal: None, unsure, no_log: Some(NoLog::unread(data, &error)) }),
        }
    }
    // A snapshot that replicas exchange has no log.
    let is_snapshot = data.file_name().is_some_and(is_of_replica);
    let needs_log = is_of_influxdb(data) && !is_snapshot || unsure.is_some();
    Ok(Found { wal: None, unsure, no_log: needs_log.then(|| NoLog::missing(data, None)) })
}

fn named_by_manifest(data: &Path, wal: PathBuf) -> Found {
    let no_log = match exists(&wal) {
        Ok(true) => None,
        Ok(false) => {
            let why = format!("{} names {}, which does not exist", MANIFEST_NAME, wal.display());
            Some(NoLog::missing(data, Some(&why)))
        }
        Err(error) => Some(NoLog::unread(data, &error)),
    };
    Found { wal: Some(wal), unsure: None, no_log }
}

/// The log of `data` for a verb that writes to it. `None` means inside `data`, where a new log may be created.
pub(super) fn find_for_writing(data: &Path) -> Result<Option<PathBuf>> {
    let Found { wal, unsure, no_log } = find(data)?;
    if let Some(why) = no_log.as_ref().and_then(|no_log| no_log.unread.as_ref()) {
        let data = data.display();
        return Err(Failure::Io(format!(
            "cannot find the log of {data}: {why}: check the permissions and try again"
        )));
    }
    match (wal, unsure) {
        (None, Some(why)) => Err(Failure::Problem(why)),
        (Some(wal), Some(why)) => Err(Failure::Problem(format!("{why}; the log may be {}", wal.display()))),
        // A new log would hide that the old one is missing.
        (None, None) if no_log.is_some() => {
            let expected = beside(&absolute(data)?).map(|wal| as_given(data, wal));
            Err(missing(&expected.unwrap_or_else(|| data.join("wal"))))
        }
        (wal, None) => Ok(wal),
    }
}

/// Whether `data` is an InfluxDB shard. A shard whose values are all in the log counts too.
fn is_of_influxdb(data: &Path) -> bool {
    holds_files(data) || holds_influxdb_index(&OsFs, data)
}

/// The failure that the log of a shard is not in `wal`, where it should be.
fn missing(wal: &Path) -> Failure {
    Failure::Io(format!("{}: {}", wal.display(), ErrorKind::NoLogDirectory))
}

/// The log of `data` in the directory `wal`, which the user named, for a verb that writes to it.
///
/// # Errors
/// `wal` is no log, or it belongs to another shard. Or `data` has a log elsewhere, which would be lost from view.
pub(super) fn named_for_writing(data: &Path, wal: &Path, registry: &Registry) -> Result<PathBuf> {
    if let Some(why) = why_no_log(wal, registry) {
        return Err(Failure::Usage(format!("--wal: {why}: pass the log of this shard")));
    }
    let named = absolute(wal)?;
    let (of_manifest, usual) = (of_manifest(data), usual(data)?);
    let holds = |dir: &&PathBuf| exists(dir).unwrap_or(true) && !has_no_segments(dir, registry);
    let is_named = |dir: &PathBuf| is_same_directory(dir, &named);
    if of_manifest.iter().chain(&usual).any(is_named) {
        // The engine compares the path with the manifest.
        return Ok(named);
    }
    let (shown, data_shown) = (wal.display(), data.display());
    if let Some(own) = of_manifest.iter().chain(&usual).find(holds) {
        return Err(Failure::Usage(format!(
            "--wal: {shown} is not the log of {data_shown}: its log is {}; omit --wal, or move that directory away first",
            own.display()
        )));
    }
    if let Some(owner) = owner(&named).filter(|owner| !is_same_directory(owner, data)) {
        return Err(Failure::Usage(format!(
            "--wal: {shown} is the log of the shard {}, not of {data_shown}: pass the log of {data_shown}, or omit --wal",
            owner.display()
        )));
    }
    // A new log in a wrong directory would hide that the right one is missing.
    if is_of_influxdb(data) && !exists(&named)? {
        return Err(missing(&named));
    }
    Ok(named)
}

/// The log that the manifest of `data` names.
fn of_manifest(data: &Path) -> Option<PathBuf> {
    Manifest::read(&OsFs, data).ok().flatten()?.wal_directory(data).ok()
}

/// The places of a log without a manifest: inside `data`, or the directory that InfluxDB uses. If the path contains links,
/// both paths are tried.
fn usual(data: &Path) -> Result<Vec<PathBuf>> {
    let resolved = data.canonicalize().ok().and_then(|data| beside(&data));
    Ok([Some(data.join("wal")), beside(&absolute(data)?), resolved].into_iter().flatten().collect())
}

/// The shard that owns the log in `wal` in InfluxDB's layout.
fn owner(wal: &Path) -> Option<PathBuf> {
    let resolved = wal.canonicalize().ok();
    let shards = [Some(wal), resolved.as_deref()].into_iter().flatten();
    shards
        .filter_map(|wal| replaced(wal, "wal", "data"))
        .find(|shard| shard.is_dir() && of_manifest(shard).is_none_or(|its| is_same_directory(&its, wal)))
}

/// Whether a directory can be listed and contains no segment of any kind.
fn has_no_segments(dir: &Path, registry: &Registry) -> bool {
    list(dir)
        .is_ok_and(|names| !names.iter().any(|(name, _)| registry.is_segment(name) || is_etcd_segment(name)))
}

/// The log of `data` in the directory `wal`, which the user named.
pub(super) fn named(data: &Path, wal: &Path, registry: &Registry) -> Result<Found> {
    if !exists(wal)? {
        return Err(Failure::missing(wal));
    }
    Ok(match why_no_log(wal, registry) {
        None => Found { wal: Some(wal.to_owned()), ..Found::default() },
        Some(why) => Found { no_log: Some(NoLog::missing(data, Some(&why))), ..Found::default() },
    })
}

/// Why `wal` is no log: it is a directory above logs, or contains other files. An empty directory is an empty log.
fn why_no_log(wal: &Path, registry: &Registry) -> Option<String> {
    if !has_no_segments(wal, registry) {
        return None;
    }
    let shown = wal.display();
    if let Some(below) = log_below(wal, DEPTH_MAX, registry) {
        let below = below.display();
        return Some(format!(
            "{shown} contains no segments, only directories with segments, such as {below}"
        ));
    }
    // Files that a file system or a desktop creates are ignored.
    let is_stray = |name: &OsStr| name == "lost+found" || name.as_encoded_bytes().starts_with(b".");
    let names = list(wal).ok()?.into_iter().map(|(name, _)| name).filter(|name| !is_stray(name));
    let names: Vec<_> = names.collect();
    let first = names.first().filter(|_| !names.iter().any(|name| is_log_leftover(name, registry)))?;
    Some(format!(
        "{shown} is not a log: it contains no segments, but other files, such as {}",
        wal.join(first).display()
    ))
}

/// A directory below `dir` that contains segments.
fn log_below(dir: &Path, depth: usize, registry: &Registry) -> Option<PathBuf> {
    let below = list(dir).ok()?.into_iter().filter(|(_, is_dir)| *is_dir);
    below.map(|(name, _)| dir.join(name)).find_map(|below| {
        let is_log = has_segments(&below, registry).is_ok_and(|found| found);
        if is_log { Some(below) } else { log_below(&below, depth.checked_sub(1)?, registry) }
    })
}

/// Which log is used if the manifest does not name it.
pub(super) fn assumed(wal: &Path) -> String {
    format!("using the log in {}; pass --wal if it is another one", wal.display())
}
