//! Checks a log of etcd. All verbs share these checks.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tsmith_wal::etcd::{self, Checked, Tail};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{RecoveryMode, replay_only};

use crate::output::count;
use crate::place::has_etcd_log;
use crate::problem::Problem;

/// Checks the log in a directory, or one segment. If the log belongs to an etcd member, its snapshots are checked too.
pub(crate) fn check(path: &Path) -> Result<Checked, Problem> {
    let checked = if path.is_file() {
        if !path.file_name().is_some_and(etcd::is_segment) {
            return Err(Problem::new(
                "a segment of an etcd log with another name: rename it to <number>-<index>.wal",
            ));
        }
        etcd::check_segment(&OsFs, path)
    } else if has_etcd_log(path) {
        etcd::check(&OsFs, path, snapshots_of(path).as_deref())
    } else {
        return Err(Problem::new(
            "the log is missing, although there are snapshots of it: pass --wal if it is in another place, or restore it",
        ));
    };
    checked.map_err(|error| {
        // If the log belongs to an engine, opening it reports the better error.
        let own =
            etcd::is_log(&OsFs, path).then(|| replay_only(&OsFs, path, RecoveryMode::Strict, |_, _| Ok(())));
        let error = own.and_then(Result::err).unwrap_or(error);
        let problem = Problem::from(&error);
        match error.path() {
            Some(segment) if segment != path => problem.in_segment(segment),
            _ => problem,
        }
    })
}

/// The directory of the snapshots of the member that owns this log. It may not exist.
pub(crate) fn snapshots_of(wal: &Path) -> Option<PathBuf> {
    // The path as written is tried because a link may lead to another disk. The resolved path is tried because `.` has no
    // parent.
    let written = std::path::absolute(wal).ok();
    [written, wal.canonicalize().ok()].into_iter().flatten().find_map(|wal| {
        let member = wal.parent().filter(|_| wal.file_name() == Some(OsStr::new("wal")))?;
        let snap = member.join("snap");
        (snap.is_dir() || member.file_name() == Some(OsStr::new("member"))).then_some(snap)
    })
}

/// What bytes after the end of a log mean.
pub(crate) enum AfterEnd {
    /// They belong, as far as can be known, to the write that a crash interrupted.
    OfLastWrite(Problem),
    /// They belong to writes that were acknowledged, so the log is corrupt.
    Lost(Problem),
}

/// Classifies the bytes after the end of the log, if there are any.
pub(crate) fn after_end(found: &Checked) -> Option<AfterEnd> {
    let Tail { path, offset, is_torn, bytes, records, acknowledged, .. } = found.tail.as_ref()?;
    let at = |reason: &dyn std::fmt::Display| Problem::at(*offset, reason).in_segment(path);
    if *acknowledged {
        return Some(AfterEnd::Lost(at(&etcd::EtcdError::AcknowledgedLost { records: *records })));
    }
    // The caller reports a torn tail.
    if *records == 0 && *is_torn {
        return None;
    }
    let reason = match records {
        0 => format!(
            "the log ends here, but the {} after it are not zero; opening the log zeros them",
            count(*bytes, "byte")
        ),
        _ => format!(
            "the log ends here; opening it drops the {} after it; nothing shows that these were acknowledged",
            count(*records, "intact record")
        ),
    };
    Some(AfterEnd::OfLastWrite(at(&reason)))
}
