//! Read-only replay of a log. Nothing is changed.

use std::path::Path;

use crate::directory;
use crate::entry::Layout;
use crate::error::AtPath;
use crate::etcd::EtcdSegments;
use crate::fs::{Access, Fs, FsFile, parent};
use crate::kind::Format;
use crate::native::Native;
use crate::options::ReplayMode;
use crate::recover::{Recovery, Walk};
use crate::scan::SegmentFormat;
use crate::segment::Influx;
use crate::{Position, Record, Result};

/// A record of a segment and its location.
#[derive(Clone, Copy, Debug)]
pub struct SegmentRecord<'a> {
    /// Its position in the log.
    pub at: Position,
    /// The record.
    pub record: Record<'a>,
    /// The layout that the log prefers for writes.
    pub layout: Layout,
    /// Offset of its first byte in the segment.
    pub offset: u64,
    /// Offset after its last byte.
    pub end: u64,
    /// Bytes of the stored payload.
    pub stored_bytes: u64,
}

/// Passes the records of a directory to `replay` without changing anything. Reports what an open would cut
/// off. The directory can belong to another process.
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

/// Passes the records of one segment to `replay` without changing anything. Replay ends at the first invalid
/// record; a salvage continues after it. Whether an earlier segment is missing is not checked. A file without
/// a segment name is read as a copy of a segment whose successors are unknown.
pub fn replay_segment<F: Fs>(
    fs: &F,
    path: &Path,
    mode: impl Into<ReplayMode>,
    replay: impl FnMut(SegmentRecord<'_>) -> Result<()>,
) -> Result<Recovery> {
    let name = path.file_name().unwrap_or_default();
    let is_native = match (Native::parse_name(name), Influx::parse_name(name)) {
        (None, None) => begins_like_native(fs, path)?,
        (native, _) => native.is_some(),
    };
    if is_native {
        replay_one::<Native, F>(fs, path, mode.into(), replay)
    } else {
        replay_one::<Influx, F>(fs, path, mode.into(), replay)
    }
}

fn begins_like_native<F: Fs>(fs: &F, path: &Path) -> Result<bool> {
    let mut magic = [0; Native::MAGIC.len()];
    let read = fs.open_as(path, Access::Read).and_then(|file| file.read_full_at(&mut magic, 0));
    read.at("read", path)?;
    Ok(magic == Native::MAGIC)
}

fn replay_one<T: Format, F: Fs>(
    fs: &F,
    path: &Path,
    mode: ReplayMode,
    mut replay: impl FnMut(SegmentRecord<'_>) -> Result<()>,
) -> Result<Recovery> {
    let name = path.file_name().unwrap_or_default();
    let walk = match T::parse_name(name) {
        Some(number) => Walk::<T, F>::one(fs, parent(path), mode, vec![number], 0),
        None => Walk::copy(fs, path, mode, last_number(path)),
    };
    let found = walk.items(&mut |item, record| {
        let (layout, stored_bytes) = (T::LAYOUT, item.end - item.offset - u64::from(T::FRAME_HEADER_BYTES));
        replay(SegmentRecord {
            at: item.at,
            record,
            layout,
            offset: item.offset,
            end: item.end,
            stored_bytes,
        })
    })?;
    Ok(found.recovery)
}

/// The number at the end of a file name's stem. Checksums cover the segment number.
fn last_number(path: &Path) -> u32 {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let digits = stem.rsplit(|letter: char| !letter.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Like [`replay_only`], for segments of the format `T`.
pub(crate) fn replay_of<T: SegmentFormat, F: Fs>(
    fs: &F,
    dir: &Path,
    mode: ReplayMode,
    replay: &mut dyn FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Recovery> {
    Walk::<T, F>::new(fs, dir, mode)?.records(replay).map(|found| found.recovery)
}
