//! A file of a directory, by its name.

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
    /// A log of another crate, which reads it as a whole: its directory, and its name.
    Log(PathBuf, &'static str),
    /// A log in etcd's segments: its directory, or one of them.
    EtcdLog(PathBuf),
    /// A snapshot file of etcd.
    EtcdSnapshot(PathBuf),
    /// What a crash left, or a repair quarantined: no engine reads it.
    Leftover(Skipped),
    /// What is there, and nobody reads for its points.
    Skipped(Skipped),
    /// What has the name of one of these, or should be there, and no engine can open; and why.
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

/// The member at `path`, if that is a regular file. Others are not opened: a FIFO would never end.
pub(super) fn regular(path: PathBuf, member: fn(PathBuf) -> Member) -> Member {
    let why = match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => "a directory, not a file",
        Ok(found) if found.is_symlink() => "a link, which an engine does not follow",
        Ok(found) if !found.is_file() => "not a regular file",
        // Reading it says what is wrong.
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
    let is_begun = path.extension() == Some(OsStr::new("tmp"));
    let reason = if is_begun { "begun, and left by a crash" } else { "quarantined as corrupt" };
    Member::Leftover(Skipped { path, reason })
}

/// What is in the directory of a log besides segments. Segments to come, and locks, say nothing to a user.
pub(super) fn beside_segments(wal: &Path, name: &OsStr, registry: &Registry) -> Option<Member> {
    let path = wal.join(name);
    if is_quarantined_segment(name, registry) {
        return Some(leftover(path));
    }
    if registry.is_segment(name) || path.extension() == Some(OsStr::new("free")) {
        return None;
    }
    let reason = match not_read(wal, name)? {
        NO_ENGINE_READS => "not a segment of a log that this program has",
        reason => reason,
    };
    Some(Member::Skipped(Skipped { path, reason }))
}

/// What is in `data` besides its members.
pub(super) fn skipped(data: &Path, name: &OsStr, wal: Option<&Path>, registry: &Registry) -> Option<Member> {
    let in_log = wal == Some(data) && (registry.is_segment(name) || is_etcd_segment(name));
    if in_log || wal == Some(&data.join(name)) || member(data, name).is_some() {
        return None;
    }
    let reason = not_read(data, name)?;
    Some(Member::Skipped(Skipped { path: data.join(name), reason }))
}
