//! Reads files into memory, up to the size limit of their kind.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tsmith_wal::fs::{OsFs, TooLong, sparse};
use tsmith_wal::{Recovery, ReplayMode, SegmentRecord, replay_segment};

/// Reads the file at `path`. Links are followed.
///
/// # Errors
/// The file has more than `limit` bytes.
pub(crate) fn within(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    TooLong::check(file.metadata()?.len(), limit)?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    TooLong::check(bytes.len() as u64, limit)?;
    Ok(bytes)
}

/// Reads the segment at `path` without most of the zeros at its end, and its length on disk.
pub(crate) fn segment(path: &Path, limit: u64) -> io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok((sparse::read(file, len, limit)?, len))
}

/// Passes the records of the segment at `path`, up to the first invalid one, to `take`.
pub(crate) fn records(
    path: &Path,
    take: impl FnMut(SegmentRecord<'_>) -> tsmith_wal::Result<()>,
) -> tsmith_wal::Result<Recovery> {
    // The log does not follow links, but the user may name one.
    let target = std::fs::canonicalize(path).ok().filter(|_| path.is_symlink());
    replay_segment(&OsFs, target.as_deref().unwrap_or(path), ReplayMode::InfluxDb, take)
}
