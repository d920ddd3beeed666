//! Opens a directory of segments: first replays, then changes files.

mod parallel;
mod records;
mod report;
mod sequence;
mod walk;

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::directory::{self, Recycled};
use crate::error::AtPath;
use crate::fs::{Fs, FsFile, publish_new};
use crate::scan::{Scan, SegmentFormat};
use crate::{Error, ErrorKind, RecoveryMode, Result};

pub use records::Replay;
pub use report::{Gap, GapKind, NotReplayed, Progress, Recovery, Unverified};
pub(crate) use walk::{Found, Segment, Walk};

/// Where a log continues in a new segment.
#[derive(Debug)]
pub(crate) struct Start {
    /// The number of its next segment.
    pub(crate) segment: u32,
    /// The number of its last segment with records. 0 if there is none.
    pub(crate) held: u32,
    /// The number of its next record.
    pub(crate) record: u64,
    /// What was truncated, and the files that the next segments reuse.
    pub(crate) recycled: Recycled,
}

/// Replays the segments of a locked directory and prepares it for appends.
pub(crate) fn recover<T: SegmentFormat<Name = u32>, F: Fs>(
    fs: &F,
    dir: &Path,
    mode: RecoveryMode,
    replay: impl FnOnce(Walk<'_, T, F>) -> Result<Found<T>>,
) -> Result<(Recovery, Start)> {
    let mut found = replay(Walk::new(fs, dir, mode.into())?)?;
    // Nothing was changed up to here.
    if !T::RECYCLED {
        for path in found.recycled.paths.drain(..) {
            fs.remove(&path).at("remove truncated segment", &path)?;
        }
    }
    settle(fs, dir, &found)?;
    let segment = match found.segments.last() {
        Some(last) if last.end == 0 && T::GUARDED => last.name,
        last => {
            let last = last.map_or(0, |last| last.name).max(found.recycled.segment);
            last.checked_add(1).ok_or_else(|| Error::new(ErrorKind::NumbersEnd).at_path(dir))?
        }
    };
    let held = found.segments.iter().rfind(|segment| segment.records > 0).map_or(0, |segment| segment.name);
    Ok((found.recovery, Start { segment, held, record: found.next, recycled: found.recycled }))
}

/// Prepares a replayed directory for appends: makes the replayed records durable and removes the torn tail
/// for good.
pub(crate) fn settle<T: SegmentFormat, F: Fs>(fs: &F, dir: &Path, found: &Found<T>) -> Result<()> {
    let segments = &found.segments;
    let last = |of: fn(&Segment<T::Name>) -> bool| {
        segments.iter().rev().find(|segment| segment.end > 0 && of(segment)).map(|segment| segment.name)
    };
    // A process may have died between a write and its sync, so what was just replayed may not be durable yet.
    // Older segments were synced before the next one was begun. The exception is a segment of ours before one
    // of InfluxDB's.
    let unsynced = [last(|_| true), last(|segment| segment.follows.is_some())];
    for segment in segments {
        let path = dir.join(T::file_name(segment.name));
        if segment.end == 0 && !segment.is_corrupt {
            remove_empty(fs, &path, segment.len)?;
            if T::GUARDED && segments.last().is_some_and(|last| last.name == segment.name) {
                // Recreate the file. If the sync of its directory entry failed before, no later sync makes
                // that entry durable.
                fs.create_new(&path).at("create", &path)?;
            }
        } else if let Some(from) = segment.accepted {
            seal::<T, F>(fs, &path, segment.name, from..segment.end)?;
        } else if unsynced.contains(&Some(segment.name)) {
            rewrite(fs, &path, segment.end).at("cut or sync segment", &path)?;
        }
    }
    // A process may have died before it synced the directory after recycling or truncating segments.
    if !segments.is_empty() || found.recycled.front > 0 {
        fs.sync_dir(dir).at("sync directory", dir)?;
    }
    Ok(())
}

/// Rewrites records that InfluxDB accepted in a segment of ours with checksums, in one step. A crash leaves
/// either the old segment with the evidence that InfluxDB appended to it, or the sealed one. Once a later
/// segment is ours, that evidence is gone.
pub(crate) fn seal<T: SegmentFormat, F: Fs>(
    fs: &F,
    path: &Path,
    name: T::Name,
    accepted: Range<u64>,
) -> Result<()> {
    let bytes = directory::read_segment::<T, F>(fs, path)?;
    let too_large = || Error::too_large("a segment", bytes.len() as u64, T::SEGMENT_BYTES_MAX).at_path(path);
    let sealed = T::Scan::new(name, &bytes, T::Carry::default()).sealed(accepted.start, accepted.end);
    publish_new(fs, path, &sealed.ok_or_else(too_large)?).at("rewrite segment", path)
}

/// Empties the file before removing it, because a power cut can bring it back.
fn remove_empty<F: Fs>(fs: &F, path: &Path, len: u64) -> Result<()> {
    if len > 0 {
        let emptied = fs.open(path).and_then(|file| file.set_len(0).and_then(|()| file.sync_all()));
        emptied.at("cut segment", path)?;
    }
    fs.remove(path).at("remove empty segment", path)
}

/// Cuts a segment to `len` bytes and rewrites those bytes, so that they become durable even if an earlier
/// sync of them failed. After a failed sync the kernel marks the pages as clean, and a later sync does not
/// write them.
fn rewrite<F: Fs>(fs: &F, path: &Path, len: u64) -> io::Result<()> {
    let file = fs.open(path)?;
    file.set_len(len)?;
    file.write_all_at(&fs.read(path)?, 0)?;
    file.sync_all()
}
