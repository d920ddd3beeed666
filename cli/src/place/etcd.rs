//! A member of etcd: the directories of its log and of its snapshots.
//!
//! ```text
//! name.etcd/ ── member/ ─┬─ wal/    *.wal, *.wal.broken
//!                        └─ snap/   *.snap, *.snap.broken, *.snap.db, db
//! ```

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tsmith_engine::manifest::MANIFEST_NAME;
use tsmith_wal::etcd::{DATABASE_HEAD_BYTES, Database, Flaw, is_member, snap};
use tsmith_wal::fs::OsFs;

use super::tree::{Skipped, not_read};
use super::{Member, holds_files, is_etcd_segment, leftover, list, regular};
use crate::exit::{Failure, Result};

/// Whether `dir`, which has these names in it, is one of snapshots: by their names, or as the neighbour of a log, for
/// there is none before the first.
pub(super) fn holds_snapshots(dir: &Path, names: &[(OsString, bool)]) -> bool {
    let is_snapshots = |name: &OsStr| {
        let whole = Path::new(name).file_stem().filter(|_| name.to_string_lossy().ends_with(".broken"));
        snap::is_snapshot(whole.unwrap_or(name)) || is_received(name)
    };
    let is_beside_log = || {
        // By its full path: `.` has neither name nor parent.
        let dir = dir.canonicalize().unwrap_or_default();
        dir.file_name() == Some(OsStr::new("snap")) && has_log(&dir.with_file_name("wal"))
    };
    names.iter().any(|(name, _)| is_snapshots(name)) || is_beside_log()
}

/// Who alone writes to a directory, or to the one that a file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A member of etcd.
    Member,
    /// A replica, by whose log all of its group hold the same.
    Replica,
}

impl Owner {
    /// That of `path`, which need not be there yet, or of the directory above.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        let path = path.ancestors().find_map(|path| path.canonicalize().ok())?;
        path.ancestors().filter(|path| path.is_dir()).take(2).find_map(Self::of_directory)
    }

    fn of_directory(dir: &Path) -> Option<Self> {
        let in_replica = dir.file_name().is_some_and(is_of_replica) && is_logged(&dir.with_file_name("wal"));
        if in_replica || engine_of_replica(dir).is_some() {
            return Some(Self::Replica);
        }
        let holds_engine = || dir.join(MANIFEST_NAME).exists() || holds_files(dir);
        let is_snapshot = |(name, _): &(OsString, bool)| snap::is_numbered(name);
        let has_snapshots = || list(dir).is_ok_and(|names| names.iter().any(is_snapshot));
        let is_member = is_logged(dir) || !holds_engine() && (is_logged(&dir.join("wal")) || has_snapshots());
        is_member.then_some(Self::Member)
    }

    /// Why `verb` does not write there.
    pub(crate) fn refuse(self, verb: &str, path: &Path) -> Failure {
        let path = path.display();
        Failure::Usage(match self {
            Self::Member => format!(
                "{path}: of a member of etcd, not a shard: `tsmith {verb}` would put its files among those of the member; name \
                 a directory of its own"
            ),
            Self::Replica => format!(
                "{path}: of a replica, not a shard: what `tsmith {verb}` changes here the others of its group do not have. \
                 Write through the replica; one that is damaged is removed whole, and made anew from the others"
            ),
        })
    }
}

/// Whether a log of etcd's is in a directory that is not that of one of our engines.
fn is_logged(dir: &Path) -> bool {
    has_log(dir) && !tsmith_wal::etcd::is_log(&OsFs, dir)
}

/// The engine of the replica in this directory, the newest if one came with a snapshot.
pub(super) fn engine_of_replica(dir: &Path) -> Option<PathBuf> {
    let is_engine = |(name, is_dir): &(OsString, bool)| *is_dir && is_numbered(name, "engine-");
    let (newest, _) = list(dir).ok()?.into_iter().rfind(is_engine)?;
    is_logged(&dir.join("wal")).then(|| dir.join(newest))
}

/// An engine, or the files of a snapshot.
pub(super) fn is_of_replica(name: &OsStr) -> bool {
    is_numbered(name, "engine-") || is_numbered(name, "files-")
}

/// The prefix and sixteen digits.
fn is_numbered(name: &OsStr, prefix: &str) -> bool {
    let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
    number.is_some_and(|number| number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether there are segments of etcd's log in a directory.
pub(crate) fn has_log(dir: &Path) -> bool {
    list(dir).is_ok_and(|names| names.iter().any(|(name, _)| is_etcd_segment(name)))
}

/// Whether a file is a segment of etcd's log: by its name, or by its first record where that is nobody's.
pub(super) fn is_segment(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    is_etcd_segment(name) || !tsmith_wal::is_segment(name) && begins_like_one(path).unwrap_or(false)
}

/// Length, which says of itself how it was padded, then a record of the type of a checksum.
fn begins_like_one(path: &Path) -> io::Result<bool> {
    let mut head = [0; 11];
    File::open(path)?.read_exact(&mut head)?;
    let [_, 0, 0, 0, 0, 0, 0, padding, record @ ..] = head else { return Ok(false) };
    Ok(padding & 0x78 == 0 && record == [0x08, 0x04, 0x10])
}

/// A database that was received with a snapshot.
fn is_received(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.ends_with(".snap.db"))
}

/// Whether a file is a database of etcd's: one that was received, or among snapshots the one that it runs on.
pub(super) fn is_database(path: &Path) -> bool {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_among_snapshots = || list(dir).is_ok_and(|names| holds_snapshots(dir, &names));
    path.file_name().is_some_and(|name| is_received(name) || name == "db" && is_among_snapshots())
}

/// A database: unreadable if it is that of a member of etcd itself and its meta pages are bad. Others are not checked.
pub(super) fn database(path: PathBuf) -> Member {
    const VALID: &str = "a database of etcd beyond its meta pages, which are valid";
    const ONE_VALID: &str = "a database of etcd beyond its meta pages, of which one is valid; etcd needs one";
    if !log_beside(&path).is_some_and(|wal| is_member(&OsFs, &wal)) {
        return Member::Skipped(Skipped {
            path,
            reason: "a database of etcd, whose format is not read here",
        });
    }
    match check_head(&path) {
        Ok(Ok(found)) => {
            Member::Skipped(Skipped { path, reason: if found.both_valid { VALID } else { ONE_VALID } })
        }
        Ok(Err(flaw)) => Member::Unreadable(path, Failure::Problem(flaw.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let why = Flaw::Database("the database of the member is missing").to_string();
            Member::Unreadable(path, Failure::Problem(why))
        }
        Err(error) => {
            let why = Failure::io(&path, &error);
            Member::Unreadable(path, why)
        }
    }
}

fn check_head(path: &Path) -> io::Result<Result<Database, Flaw>> {
    // A pipe would be waited for.
    if !path.metadata()?.is_file() {
        return Ok(Err(Flaw::Database("the database is not a regular file")));
    }
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut head = Vec::new();
    file.take(DATABASE_HEAD_BYTES).read_to_end(&mut head)?;
    Ok(Database::check(&head, len))
}

/// Where the log of the member is that has a file among its snapshots.
fn log_beside(file: &Path) -> Option<PathBuf> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As it is written, for a link may lead to another disk; and where it is.
    let dirs = [std::path::absolute(dir), dir.canonicalize()].into_iter().flatten();
    dirs.map(|dir| dir.with_file_name("wal")).find(|wal| has_log(wal))
}

/// What is in a directory of etcd's: snapshots, the oldest first, then the log.
pub(super) fn members(dir: &Path) -> Result<Vec<Member>> {
    let names = list(dir)?;
    let mut members: Vec<_> = names.iter().filter_map(|(name, _)| member(dir, name)).collect();
    let is_missed = |missing: &Member| matches!(missing, Member::Unreadable(..));
    if names.iter().any(|(name, _)| is_etcd_segment(name)) {
        members.extend(without_snapshots(dir).map(|snap| database(snap.join("db"))).filter(is_missed));
        members.push(Member::EtcdLog(dir.to_owned()));
    } else if names.iter().all(|(name, _)| name != "db") {
        // A member of etcd has a database before it has a log.
        members.extend(Some(database(dir.join("db"))).filter(is_missed));
    }
    Ok(members)
}

/// Where the snapshots and the database of the member with this log should be, if the directory is missing. A log
/// elsewhere, as etcd's `--wal-dir` has it, has none beside it.
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
        // A segment in waiting says nothing to a user.
        "tmp" if is_segment_to_come(name) => None,
        "broken" | "tmp" => Some(leftover(path)),
        _ if name == "db" || is_received(name) => Some(database(path)),
        _ if is_etcd_segment(name) => None,
        _ => not_read(dir, name).map(|reason| Member::Skipped(Skipped { path, reason })),
    }
}

/// `0.tmp` and `1.tmp`.
pub(super) fn is_segment_to_come(name: &OsStr) -> bool {
    let stem = name.to_str().and_then(|name| name.strip_suffix(".tmp"));
    stem.is_some_and(|stem| stem.bytes().all(|byte| byte.is_ascii_digit()))
}
