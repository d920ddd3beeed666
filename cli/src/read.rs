//! Reads files into memory, up to the size limit of their kind.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tsmith_wal::fs::{Access, Fs, FsFile, OsFs, TooLong};
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
    let path = &target(path);
    let len = OsFs.open_as(path, Access::Read)?.len()?;
    Ok((OsFs.read_segment(path, limit)?, len))
}

/// Passes the records of the segment at `path`, up to the first invalid one, to `take`.
pub(crate) fn records(
    path: &Path,
    take: impl FnMut(SegmentRecord<'_>) -> tsmith_wal::Result<()>,
) -> tsmith_wal::Result<Recovery> {
    replay_segment(&OsFs, &target(path), ReplayMode::InfluxDb, take)
}

/// The file that `path` leads to. The log does not follow links, but the user may name one.
fn target(path: &Path) -> PathBuf {
    let target = std::fs::canonicalize(path).ok().filter(|_| path.is_symlink());
    target.unwrap_or_else(|| path.to_path_buf())
}
