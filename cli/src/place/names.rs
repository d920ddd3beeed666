//! Classifies names in a directory.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tsmith_engine::Registry;
use tsmith_engine::files::FileName;
use tsmith_engine::manifest::replaced;
use tsmith_wal::fs::OsFs;

use crate::exit::{Failure, Result};

/// The names in a directory, sorted, and whether each is a directory.
pub(crate) fn list(dir: &Path) -> Result<Vec<(std::ffi::OsString, bool)>> {
    let failed = |error: io::Error| Failure::io(dir, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        names.push((entry.file_name(), entry.file_type().map_err(failed)?.is_dir()));
    }
    names.sort();
    Ok(names)
}

pub(super) fn holds_files(dir: &Path) -> bool {
    list(dir).is_ok_and(|names| names.iter().any(|(name, _)| is_tsm(name)))
}

pub(super) fn is_tsm(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| FileName::parse(name).is_some())
}

/// Whether `wal` is the log of a Tsmith engine, in etcd segments.
pub(super) fn is_etcd_log(wal: &Path) -> bool {
    tsmith_wal::etcd::is_log(&OsFs, wal)
}

pub(super) fn is_etcd_segment(name: &OsStr) -> bool {
    tsmith_wal::etcd::is_segment(name)
}

pub(super) fn is_quarantined_segment(name: &OsStr, registry: &Registry) -> bool {
    name.to_str().and_then(quarantined_stem).is_some_and(|stem| registry.is_segment(OsStr::new(stem)))
}

/// Whether a file of this name, which is no segment, can only come from a log.
pub(super) fn is_log_leftover(name: &OsStr, registry: &Registry) -> bool {
    let is_free = Path::new(name).extension() == Some(OsStr::new("free"));
    name == "wal.lock" || is_free || is_quarantined_segment(name, registry) || is_preallocated_segment(name)
}

/// The original name of a quarantined (`.bad`) or incomplete (`.tmp`) file. The second quarantined file of a name has
/// `.2.bad`.
pub(super) fn quarantined_stem(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".tmp").or_else(|| name.strip_suffix(".bad"))?;
    let numbered = stem.rsplit_once('.').filter(|(_, digits)| digits.parse::<u32>().is_ok());
    Some(numbered.map_or(stem, |(stem, _)| stem))
}

/// Whether this is the name of a preallocated etcd segment: `0.tmp` or `1.tmp`.
pub(super) fn is_preallocated_segment(name: &OsStr) -> bool {
    let stem = name.to_str().and_then(|name| name.strip_suffix(".tmp"));
    stem.is_some_and(|stem| stem.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a directory contains etcd segments.
pub(crate) fn has_log(dir: &Path) -> bool {
    list(dir).is_ok_and(|names| names.iter().any(|(name, _)| is_etcd_segment(name)))
}

/// Whether this is the name of a replica's engine, or of the files of a snapshot.
pub(super) fn is_of_replica(name: &OsStr) -> bool {
    is_numbered(name, "engine-") || is_numbered(name, "files-")
}

/// Whether `name` is the prefix and sixteen hex digits.
pub(super) fn is_numbered(name: &OsStr, prefix: &str) -> bool {
    let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
    number.is_some_and(|number| number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The directory that InfluxDB uses for the log of `data`, or for the logs of the shards below it.
pub(super) fn beside(data: &Path) -> Option<PathBuf> {
    replaced(data, "data", "wal")
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Failure::io(path, &error))
}

/// `found` as the user would write it: relative if the user gave the relative path `given`, and if it is below the current
/// directory.
pub(super) fn as_given(given: &Path, found: PathBuf) -> PathBuf {
    if given.is_absolute() || found.is_relative() {
        return found;
    }
    let current = std::env::current_dir().ok();
    let below = current.and_then(|current| found.strip_prefix(current).ok().map(Path::to_owned));
    below.filter(|below| !below.as_os_str().is_empty()).unwrap_or(found)
}

/// Whether a directory exists and contains segments.
pub(super) fn has_segments(dir: &Path, registry: &Registry) -> Result<bool> {
    Ok(exists(dir)? && list(dir)?.iter().any(|(name, _)| registry.is_segment(name)))
}

/// Whether `dir` is an existing directory.
///
/// # Errors
/// The path cannot be read, so the directory may exist.
pub(super) fn exists(dir: &Path) -> Result<bool> {
    match fs::metadata(dir) {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(Failure::io(dir, &error)),
    }
}
