//! What is wrong with a log of etcd's: the same to every verb.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tsmith_wal::etcd::{self, Checked, SegmentName, Tail};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{RecoveryMode, replay_only};

use crate::output::count;
use crate::place::has_etcd_log;
use crate::problem::Problem;

/// Checks the log in a directory, with the snapshots beside it if it is a member's; or one segment.
pub(crate) fn check(path: &Path) -> Result<Checked, Problem> {
    let checked = if path.is_file() {
        if path.file_name().and_then(SegmentName::parse).is_none() {
            return Err(Problem::new(
                "a segment of etcd's log under a name that is none: give the copy its own again, <number>-<index>.wal",
            ));
        }
        etcd::check_segment(&OsFs, path)
    } else if has_etcd_log(path) {
        etcd::check(&OsFs, path, snapshots_of(path).as_deref())
    } else {
        return Err(Problem::new(
            "no log is here, and there are snapshots of one: it was lost, or is elsewhere, where --wal finds it",
        ));
    };
    checked.map_err(|error| {
        // What it means for a log that is no member's, its own opening says best.
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

/// The directory of the snapshots of the member whose log this is; it need not be there.
pub(crate) fn snapshots_of(wal: &Path) -> Option<PathBuf> {
    // As it is written, for a link may lead to another disk; and where it is, for `.` has no parent.
    let written = std::path::absolute(wal).ok();
    [written, wal.canonicalize().ok()].into_iter().flatten().find_map(|wal| {
        let member = wal.parent().filter(|_| wal.file_name() == Some(OsStr::new("wal")))?;
        let snap = member.join("snap");
        (snap.is_dir() || member.file_name() == Some(OsStr::new("member"))).then_some(snap)
    })
}

/// What it means that whole records stand behind the end of a log.
pub(crate) enum Behind {
    /// Of the write that a crash has cut, as far as can be known: records, or parts of some.
    OfLastWrite(Problem),
    /// Of writes that were acknowledged.
    Lost(Problem),
}

/// Judges what stands behind the end.
pub(crate) fn behind(found: &Checked) -> Option<Behind> {
    let Tail { path, offset, is_torn, bytes, records, acknowledged, .. } = found.tail.as_ref()?;
    let at = |reason: &dyn std::fmt::Display| Problem::at(*offset, reason).in_segment(path);
    if *acknowledged {
        return Some(Behind::Lost(at(&etcd::EtcdError::AcknowledgedLost { records: *records })));
    }
    // Where the log is torn, that is said anyway.
    if *records == 0 && *is_torn {
        return None;
    }
    let reason = match records {
        0 => format!(
            "the log ends here, and {} behind it are not zero, which opening wipes",
            count(*bytes, "byte")
        ),
        _ => format!(
            "{} behind it, which opening drops: none that is known to have been acknowledged",
            count(*records, "whole record")
        ),
    };
    Some(Behind::OfLastWrite(at(&reason)))
}
