//! An etcd member: the directories of its log and its snapshots.
//!
//! ```text
//! name.etcd/ ── member/ ─┬─ wal/    *.wal, *.wal.broken
//!                        └─ snap/   *.snap, *.snap.broken, *.snap.db, db
//! ```

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tsmith_wal::etcd::{is_member, is_snapshot};
use tsmith_wal::fs::OsFs;

use super::database::{DATABASE_HEAD_BYTES, Database};
use super::member::{Member, leftover, regular};
use super::names::{has_log, is_etcd_segment, is_preallocated_segment, list};
use super::skipped::{Skipped, not_read};
use crate::exit::{Failure, Result};

/// Whether `dir`, which contains `names`, is a directory of snapshots. Before the first snapshot, it is recognized by the log
/// beside it.
pub(super) fn holds_snapshots(dir: &Path, names: &[(OsString, bool)]) -> bool {
    let is_snapshots = |name: &OsStr| {
        let original = Path::new(name).file_stem().filter(|_| name.to_string_lossy().ends_with(".broken"));
        is_snapshot(original.unwrap_or(name)) || is_received(name)
    };
    let is_beside_log = || {
        // The path is resolved because `.` has neither name nor parent.
        let dir = dir.canonicalize().unwrap_or_default();
        dir.file_name() == Some(OsStr::new("snap")) && has_log(&dir.with_file_name("wal"))
    };
    names.iter().any(|(name, _)| is_snapshots(name)) || is_beside_log()
}

/// Whether a file is a segment of an etcd log. If the name is not that of any segment, the first record decides.
pub(super) fn is_segment(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    is_etcd_segment(name) || !tsmith_wal::is_segment(name) && begins_like_one(path).unwrap_or(false)
}

/// Whether the file begins like an etcd segment: a length with its padding bits, then a record of the type checksum.
fn begins_like_one(path: &Path) -> io::Result<bool> {
    let mut head = [0; 11];
    File::open(path)?.read_exact(&mut head)?;
    let [_, 0, 0, 0, 0, 0, 0, padding, record @ ..] = head else { return Ok(false) };
    Ok(padding & 0x78 == 0 && record == [0x08, 0x04, 0x10])
}

/// Whether this is the name of a database that was received with a snapshot.
fn is_received(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.ends_with(".snap.db"))
}

/// Whether a file is an etcd database: one that was received with a snapshot, or the member's own, which is beside the
/// snapshots.
pub(super) fn is_database(path: &Path) -> bool {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_among_snapshots = || list(dir).is_ok_and(|names| holds_snapshots(dir, &names));
    path.file_name().is_some_and(|name| is_received(name) || name == "db" && is_among_snapshots())
}

/// Checks the meta pages of the database of an etcd member. Other databases are not checked.
pub(super) fn database(path: PathBuf) -> Member {
    const VALID: &str = "an etcd database; only its meta pages are checked, and both are valid";
    const ONE_VALID: &str =
        "an etcd database; only its meta pages are checked, and one is valid, which is enough";
    if !log_beside(&path).is_some_and(|wal| is_member(&OsFs, &wal)) {
        return Member::Skipped(Skipped { path, reason: "an etcd database, which Tsmith does not read" });
    }
    match check_head(&path) {
        Ok(Ok(found)) => {
            Member::Skipped(Skipped { path, reason: if found.both_valid { VALID } else { ONE_VALID } })
        }
        Ok(Err(corrupt)) => unusable(path, corrupt),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            unusable(path, "the database of the member is missing")
        }
        Err(error) => {
            let why = Failure::io(&path, &error);
            Member::Unreadable(path, why)
        }
    }
}

fn unusable(path: PathBuf, why: &str) -> Member {
    let why = format!("{why}: restore it from a backup, or remove this member and add it again");
    Member::Unreadable(path, Failure::Problem(why))
}

fn check_head(path: &Path) -> io::Result<Result<Database, &'static str>> {
    // Reading a pipe would block.
    if !path.metadata()?.is_file() {
        return Ok(Err("the database is not a regular file"));
    }
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut head = Vec::new();
    file.take(DATABASE_HEAD_BYTES).read_to_end(&mut head)?;
    Ok(Database::check(&head, len))
}

/// The log of the member that has `file` among its snapshots.
fn log_beside(file: &Path) -> Option<PathBuf> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The path as written and the resolved path are both tried, because a link may lead to another disk.
    let dirs = [std::path::absolute(dir), dir.canonicalize()].into_iter().flatten();
    dirs.map(|dir| dir.with_file_name("wal")).find(|wal| has_log(wal))
}

/// The files in a directory of etcd: snapshots, the oldest first, then the log.
pub(super) fn members(dir: &Path) -> Result<Vec<Member>> {
    let names = list(dir)?;
    let mut members: Vec<_> = names.iter().filter_map(|(name, _)| member(dir, name)).collect();
    let is_missing = |missing: &Member| matches!(missing, Member::Unreadable(..));
    if names.iter().any(|(name, _)| is_etcd_segment(name)) {
        members.extend(without_snapshots(dir).map(|snap| database(snap.join("db"))).filter(is_missing));
        members.push(Member::EtcdLog(dir.to_owned()));
    } else if names.iter().all(|(name, _)| name != "db") {
        // An etcd member has a database before it has a log.
        members.extend(Some(database(dir.join("db"))).filter(is_missing));
    }
    Ok(members)
}

/// The directory that should contain the snapshots and the database of the member with this log, if it is missing. A log that
/// etcd's `--wal-dir` put elsewhere has none beside it.
fn without_snapshots(wal: &Path) -> Option<PathBuf> {
    let wal = wal.canonicalize().ok()?;
    let member = wal.parent().filter(|member| member.file_name() == Some(OsStr::new("member")))?;
    Some(member.join("snap")).filter(|snap| wal.ends_with("wal") && !snap.exists())
}

fn member(dir: &Path, name: &OsStr) -> Option<Member> {
    let path = dir.join(name);
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    match extension {
        "snap" => Some(regular(path, Member::EtcdSnapshot)),
        // A preallocated segment is of no interest to a user.
        "tmp" if is_preallocated_segment(name) => None,
        "broken" | "tmp" => Some(leftover(path)),
        _ if name == "db" || is_received(name) => Some(database(path)),
        _ if is_etcd_segment(name) => None,
        _ => not_read(dir, name).map(|reason| Member::Skipped(Skipped { path, reason })),
    }
}
