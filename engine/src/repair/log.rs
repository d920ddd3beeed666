//! Repair of logs: corrupt segments, and valid records that no engine can replay.
//!
//! A log may contradict itself, for example write a field first as a float and later as an integer. No engine
//! would have accepted that, so opening refuses it although each record is valid. The older type counts, as
//! for a write. Later values with another type are dropped, and the other fields of their records stay. The
//! same holds for a field whose live points in a file have another type.

use std::path::Path;

use tsmith_wal::fs::Fs;
use tsmith_wal::{Record, RecoveryMode, SegmentRepair};

use super::OPERATION;
use super::live::ReadLog;
use crate::error::{Context, Result};
use crate::replay::LogCheck;

/// Repairs the log in `wal`, or only its segment `only`, so that an engine opens it. With `dry_run` nothing
/// is changed and the result says what would happen. `data` is the data directory of the log, if there is
/// one.
///
/// # Errors
/// As for [`tsmith_wal::repair`].
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
