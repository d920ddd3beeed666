//! Checks a member's log without changing it.

use std::path::{Path, PathBuf};

use super::fold::{Entries, Fold};
use super::read::{is_of_member, read};
use super::snap::Snapshotter;
use super::storage::{check_commit, newest_snapshot};
use super::walk::walk;
use super::{EtcdError, HardState, SegmentName, Snapshot, SnapshotRecord, Strictness, Tail, names};
use crate::fs::{Fs, parent};
use crate::{Error, Result};

/// What [`check`] found in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The number of its segments.
    pub segments: usize,
    /// The number of records, including checksum records.
    pub records: u64,
    /// The number of entries, including overwritten ones.
    pub entries: u64,
    /// The last hard state.
    pub state: HardState,
    /// The bytes after its end.
    pub tail: Option<Tail>,
    /// The snapshot at which an open would begin, if snapshots were checked.
    pub start: Option<SnapshotRecord>,
    /// A snapshot file beyond the end of the log that a crash can leave: the newest, received from another
    /// member, whose record in the log was not written yet.
    pub remnant: Option<PathBuf>,
}

/// Checks every record of every segment: checksums, their chain and messages. Changes nothing. The error is
/// the first corruption.
///
/// With the directory of the snapshots, also checks that the member can be opened: that a snapshot the log
/// names exists, that no entry from it to the commit index is missing, and that no intact snapshot contains
/// entries that the log lost. Without that directory, reports missing entries that no snapshot of the log can
/// replace.
///
/// The loss of the last segment together with its commits cannot be detected.
pub fn check<F: Fs>(fs: &F, dir: &Path, snap_dir: Option<&Path>) -> Result<Checked> {
    let names = names::segments(fs, dir)?;
    let first = names[0];
    if let Some(next) = names.get(names::consecutive(&names)) {
        return Err(Error::from(EtcdError::SegmentMissing { index: next.index }).at_path(dir));
    }
    let (mut found, fold) = check_segments(fs, dir, &names)?;
    if let Some(snap_dir) = snap_dir {
        let (known, snapshotter) = (fold.committed(), Snapshotter::new(fs.clone(), snap_dir));
        let snapshot = newest_snapshot(&snapshotter, first, &known)?;
        let start = snapshot.as_ref().map_or(SnapshotRecord::default(), Snapshot::record);
        let contents = read(fs, dir, &start)?;
        check_commit(&start, &contents).map_err(|error| Error::from(error).at_path(dir))?;
        let last = contents.entries.last().map_or(start.index, |entry| entry.index);
        let has_databases = contents.metadata.is_some_and(|metadata| is_of_member(&metadata));
        found.remnant = remnant(&snapshotter, last.max(fold.last_snapshot()), has_databases)?;
        found.start = Some(start);
    }
    Ok(found)
}

/// The one snapshot file beyond the end of the log, `last`, that a crash can leave. A member's own snapshots
/// contain only entries of its log, so a later snapshot was received, and an etcd member receives its
/// database first. Fails if there are several, or if it cannot be a received one.
fn remnant<F: Fs>(snapshotter: &Snapshotter<F>, last: u64, has_databases: bool) -> Result<Option<PathBuf>> {
    let mut beyond = snapshotter.intact_beyond(last)?;
    let Some((index, path)) = beyond.pop() else { return Ok(None) };
    if beyond.is_empty() && (!has_databases || snapshotter.snap_db(index)?.is_some()) {
        return Ok(Some(path));
    }
    // The snapshot with the lowest index shows best what was lost.
    let (index, path) = beyond.into_iter().next().unwrap_or((index, path));
    Err(Error::from(EtcdError::SnapshotBeyondLog { index, last }).at_path(&path))
}

/// Checks one segment alone. The running checksum before it is taken from its first record.
pub fn check_segment<F: Fs>(fs: &F, path: &Path) -> Result<Checked> {
    let name = path.file_name().and_then(SegmentName::parse);
    let name = name.ok_or_else(|| Error::from(EtcdError::Parse("the name of a segment")).at_path(path))?;
    check_segments(fs, parent(path), &[name]).map(|(found, _)| found)
}

fn check_segments<F: Fs>(fs: &F, dir: &Path, segments: &[SegmentName]) -> Result<(Checked, Fold<'static>)> {
    let mut fold = Fold::new(Entries::Check, segments[0]);
    let walk = walk(fs, dir, segments, &mut fold)?;
    if let Some(error) = walk.corruption(Strictness::default()) {
        return Err(error);
    }
    if let Some((name, offset, error)) = fold.gap().filter(|_| walk.stop.is_none()) {
        return Err(Error::from(error.clone()).at_path(&dir.join(name.file_name())).at_offset(*offset));
    }
    let (records, entries, state, tail) = (walk.records, fold.entries, fold.contents.state, walk.tail());
    Ok((
        Checked { segments: segments.len(), records, entries, state, tail, start: None, remnant: None },
        fold,
    ))
}
