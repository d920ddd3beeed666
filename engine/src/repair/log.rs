//! Logs: corrupt segments, and records that pass their checks but that no engine can replay.
//!
//! A log may contradict itself: a field is written as a float, and later as an integer, which no engine would have taken.
//! Each record is whole, and opening is refused all the same. The older type counts, as it does for a write: what was
//! written later with another one is left out, and the rest of its record stays. So it is with a field of which a file holds
//! points that no delete took.

use std::path::Path;

use tsmith_wal::fs::Fs;
use tsmith_wal::{Record, RecoveryMode, SegmentRepair};

use super::OPERATION;
use super::live::ReadLog;
use crate::error::{Context, Result};
use crate::replay::LogCheck;

/// Repairs the log in `wal`, or only its segment of the name `only`, such that an engine opens it; with `dry_run` changes
/// nothing, and tells what it would. `data` is the directory of the files that belong to it, if there is one.
///
/// # Errors
/// As of [`tsmith_wal::repair`].
pub fn log<F: Fs>(
    fs: &F,
    data: Option<&Path>,
    wal: &Path,
    only: Option<&str>,
    dry_run: bool,
) -> Result<Vec<SegmentRepair>> {
    let read: ReadLog<'_> =
        Box::new(|replay| tsmith_wal::replay_only(fs, wal, RecoveryMode::Salvage, replay).during(OPERATION));
    let mut check = data.map_or_else(LogCheck::default, |data| LogCheck::with_files(fs, data, Some(&read)));
    let replay = |at, record: Record<'_>, layout| check.take(at, record, layout);
    tsmith_wal::repair_for(fs, wal, only, dry_run, replay).during(OPERATION)
}
