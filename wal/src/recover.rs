//! Opening a directory of segments: replay first, change afterwards.

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

/// Where a log goes on in a new segment.
#[derive(Debug)]
pub(crate) struct Start {
    /// The number of its next segment.
    pub(crate) segment: u32,
    /// The number of its last segment with records; 0 if there is none.
    pub(crate) held: u32,
    /// The number of its next record.
    pub(crate) record: u64,
    /// What was truncated, and the files whose space the next segments take.
    pub(crate) recycled: Recycled,
}

/// Replays the segments of a locked directory, and makes it ready for a log that goes on behind them.
pub(crate) fn recover<T: SegmentFormat<Name = u32>, F: Fs>(
    fs: &F,
    dir: &Path,
    mode: RecoveryMode,
    replay: impl FnOnce(Walk<'_, T, F>) -> Result<Found<T>>,
) -> Result<(Recovery, Start)> {
    let mut found = replay(Walk::new(fs, dir, mode.into())?)?;
    // Until here nothing was changed.
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

/// Makes a directory that was replayed ready for a log that goes on behind it: what was replayed is durable, and the torn
/// tail is gone for good.
pub(crate) fn settle<T: SegmentFormat, F: Fs>(fs: &F, dir: &Path, found: &Found<T>) -> Result<()> {
    let segments = &found.segments;
    let last = |of: fn(&Segment<T::Name>) -> bool| {
        segments.iter().rev().find(|segment| segment.end > 0 && of(segment)).map(|segment| segment.name)
    };
    // A process may have died between a write and its sync, and what it wrote was just replayed. Older segments were synced
    // before the next one was begun; but ours not before InfluxDB's.
    let unsynced = [last(|_| true), last(|segment| segment.follows.is_some())];
    for segment in segments {
        let path = dir.join(T::file_name(segment.name));
        if segment.end == 0 && !segment.is_corrupt {
            remove_empty(fs, &path, segment.len)?;
            if T::GUARDED && segments.last().is_some_and(|last| last.name == segment.name) {
                // If the sync failed that was to make its name durable, no later one does what that did not.
                fs.create_new(&path).at("create", &path)?;
            }
        } else if let Some(from) = segment.accepted {
            seal::<T, F>(fs, &path, segment.name, from..segment.end)?;
        } else if unsynced.contains(&Some(segment.name)) {
            rewrite(fs, &path, segment.end).at("cut or sync segment", &path)?;
        }
    }
    // A process may have died before it had made the names durable under which the space is written to, or those of what it
    // truncated.
    if !segments.is_empty() || found.recycled.front > 0 {
        fs.sync_dir(dir).at("sync directory", dir)?;
    }
    Ok(())
}

/// Replaces what InfluxDB accepted in a segment of ours by the same under checksums, in one step: a crash leaves the segment as
/// it was, and what proves that InfluxDB went on behind it, or sealed. Once a later segment is ours, nothing would prove it.
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

/// It may come back after a power cut, and is to be empty then.
fn remove_empty<F: Fs>(fs: &F, path: &Path, len: u64) -> Result<()> {
    if len > 0 {
        let emptied = fs.open(path).and_then(|file| file.set_len(0).and_then(|()| file.sync_all()));
        emptied.at("cut segment", path)?;
    }
    fs.remove(path).at("remove empty segment", path)
}

/// Cuts a segment to `len` bytes and writes those once more, so that they are durable whatever sync of them failed before: the
/// kernel then takes pages for written that are not, and no later sync writes them.
fn rewrite<F: Fs>(fs: &F, path: &Path, len: u64) -> io::Result<()> {
    let file = fs.open(path)?;
    file.set_len(len)?;
    file.write_all_at(&fs.read(path)?, 0)?;
    file.sync_all()
}
