//! Replaying a log that belongs to somebody else. Nothing is changed.

use std::path::Path;

use crate::directory;
use crate::etcd::EtcdSegments;
use crate::fs::{Fs, parent};
use crate::native::Native;
use crate::options::ReplayMode;
use crate::recover::{Recovery, Walk};
use crate::scan::{Later, SegmentFormat};
use crate::segment::Influx;
use crate::{Error, ErrorKind, Position, Record, Result};

/// Gives the records of a directory to `replay`, and changes nothing: for looking at a log that belongs to somebody
/// else. What an opening would cut off is reported.
pub fn replay_only<F: Fs>(
    fs: &F,
    dir: &Path,
    mode: impl Into<ReplayMode>,
    mut replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Recovery> {
    let mode = mode.into();
    if directory::holds(fs, dir, |name| EtcdSegments::parse_name(name).is_some())? {
        replay_of::<EtcdSegments, F>(fs, dir, mode, &mut replay)
    } else if directory::holds(fs, dir, |name| Native::parse_name(name).is_some())? {
        replay_of::<Native, F>(fs, dir, mode, &mut replay)
    } else {
        replay_of::<Influx, F>(fs, dir, mode, &mut replay)
    }
}

/// Gives the records of one segment to `replay`, and changes nothing: those up to the first that is not valid, or in a salvage
/// those behind it, too. What should come before the segment or after it is not asked.
pub fn replay_segment<F: Fs>(
    fs: &F,
    path: &Path,
    mode: impl Into<ReplayMode>,
    mut replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Recovery> {
    let (name, dir, mode) = (path.file_name().unwrap_or_default(), parent(path), mode.into());
    if let Some(number) = Influx::parse_name(name) {
        Walk::<Influx, F>::one(fs, dir, mode, vec![number], 0)
            .records(&mut replay)
            .map(|found| found.recovery)
    } else if let Some(number) = Native::parse_name(name) {
        Walk::<Native, F>::one(fs, dir, mode, vec![number], 0)
            .records(&mut replay)
            .map(|found| found.recovery)
    } else {
        Err(Error::new(ErrorKind::NotASegment).at_path(path))
    }
}

/// What the directory of a segment in InfluxDB's format holds behind it, for [`Scan::judge`](crate::segment::Scan::judge).
/// Nothing is known of what follows a file whose name is not that of a segment.
pub fn following<F: Fs>(fs: &F, path: &Path) -> Result<Later> {
    let number = path.file_name().and_then(Influx::parse_name);
    number.map_or(Ok(Later::default()), |number| directory::later::<Influx, F>(fs, parent(path), number))
}

/// As [`replay_only`], of segments of the format `T`.
pub(crate) fn replay_of<T: SegmentFormat, F: Fs>(
    fs: &F,
    dir: &Path,
    mode: ReplayMode,
    replay: &mut dyn FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Recovery> {
    Walk::<T, F>::read_only(fs, dir, mode)?.records(replay).map(|found| found.recovery)
}
