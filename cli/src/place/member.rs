//! Classifies the files of a directory by name.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tsmith_engine::ErrorKind;
use tsmith_engine::Registry;
use tsmith_engine::files::{FileName, is_misnamed};
use tsmith_engine::manifest::MANIFEST_NAME;
use tsmith_wal::LogEntry;
use tsmith_wal::fs::OsFs;

use super::names::{is_etcd_segment, is_quarantined_segment, list, quarantined_stem};
use super::skipped::{NO_ENGINE_READS, Skipped, not_read};
use crate::exit::{Failure, Result};

/// A file of a directory.
#[derive(Debug)]
pub(crate) enum Member {
    /// The manifest.
    Manifest(PathBuf),
    /// A TSM file.
    Tsm(PathBuf),
    /// Tombstones of a TSM file.
    Tombstone(PathBuf),
    /// A segment of the log.
    Segment(PathBuf),
    /// A log that another crate implements, which is read as one unit: its directory and name.
    Log(PathBuf, &'static str),
    /// A log in etcd segments: its directory, or a single segment.
    EtcdLog(PathBuf),
    /// A snapshot file of etcd.
    EtcdSnapshot(PathBuf),
    /// A file that a crash left or a repair quarantined. No engine reads it.
    Leftover(Skipped),
    /// A file or directory that is not read.
    Skipped(Skipped),
    /// A file that no engine can open, or that is missing, and why.
    Unreadable(PathBuf, Failure),
}

/// The files of the log in `wal`.
pub(super) fn log_members(data: &Path, wal: &Path, registry: &Registry) -> Result<Vec<Member>> {
    let names = list(wal)?;
    let log = registry.log_of(&OsFs, data, wal)?;
    if names.iter().any(|(name, _)| is_etcd_segment(name)) {
        return Ok(vec![Member::EtcdLog(wal.to_owned())]);
    }
    let segments =
        tsmith_wal::segment_names(&OsFs, wal).map_err(|error| Failure::Io(error.to_string()))?.into_iter();
    let mut members: Vec<_> = segments.map(|name| regular(wal.join(name), Member::Segment)).collect();
    let holds = |log: &&LogEntry<OsFs>| names.iter().any(|(name, _)| log.kind().is_segment(name));
    if members.is_empty() {
        members.extend(log.filter(holds).map(|log| Member::Log(wal.to_owned(), log.name())));
    }
    if wal != data {
        members.extend(names.iter().filter_map(|(name, _)| beside_segments(wal, name, registry)));
    }
    Ok(members)
}

/// The member at `path`, if it is a regular file. Other files are not opened, because reading a FIFO would block.
pub(super) fn regular(path: PathBuf, member: fn(PathBuf) -> Member) -> Member {
    let why = match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => "a directory, not a file",
        Ok(found) if found.is_symlink() => "a link, which an engine does not follow",
        Ok(found) if !found.is_file() => "not a regular file",
        // If this failed, reading the file reports the error.
        Ok(_) | Err(_) => return member(path),
    };
    Member::Unreadable(path, Failure::Problem(why.to_owned()))
}

pub(super) fn member(data: &Path, name: &OsStr) -> Option<Member> {
    let path = data.join(name);
    let text = name.to_str()?;
    let is_tsm = |name: &str| FileName::parse(name).is_some();
    let is_tombstone =
        |name: &str| name.strip_suffix(".tombstone").is_some_and(|stem| is_tsm(&format!("{stem}.tsm")));
    if text == MANIFEST_NAME {
        return Some(regular(path, Member::Manifest));
    }
    if is_tsm(text) {
        return Some(regular(path, Member::Tsm));
    }
    if is_tombstone(text) {
        return Some(regular(path, Member::Tombstone));
    }
    if is_misnamed(text) {
        return Some(Member::Unreadable(path, Failure::Problem(ErrorKind::MisnamedTsm.to_string())));
    }
    let stem = quarantined_stem(text)?;
    let is_ours = is_tsm(stem) || is_tombstone(stem) || stem == MANIFEST_NAME;
    is_ours.then(|| leftover(path))
}

pub(super) fn leftover(path: PathBuf) -> Member {
    let is_incomplete = path.extension() == Some(OsStr::new("tmp"));
    let reason = if is_incomplete { "incomplete, left by a crash" } else { "quarantined as corrupt" };
    Member::Leftover(Skipped { path, reason })
}

/// A file in the directory of a log that is no segment. Recycled segments and locks are of no interest to a user.
pub(super) fn beside_segments(wal: &Path, name: &OsStr, registry: &Registry) -> Option<Member> {
    let path = wal.join(name);
    if is_quarantined_segment(name, registry) {
        return Some(leftover(path));
    }
    if registry.is_segment(name) || path.extension() == Some(OsStr::new("free")) {
        return None;
    }
    let reason = match not_read(wal, name)? {
        NO_ENGINE_READS => "not a segment of a log that this build knows",
        reason => reason,
    };
    Some(Member::Skipped(Skipped { path, reason }))
}

/// A file in `data` that is not one of its members.
pub(super) fn skipped(data: &Path, name: &OsStr, wal: Option<&Path>, registry: &Registry) -> Option<Member> {
    let in_log = wal == Some(data) && (registry.is_segment(name) || is_etcd_segment(name));
    if in_log || wal == Some(&data.join(name)) || member(data, name).is_some() {
        return None;
    }
    let reason = not_read(data, name)?;
    Some(Member::Skipped(Skipped { path: data.join(name), reason }))
}
