//! Whole files in memory, as far as they can be of their kind.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tsmith_wal::fs::{TooLong, sparse};

/// Reads the file at `path`, to which a link may lead, unless it has more than `limit` bytes.
pub(crate) fn within(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    TooLong::check(file.metadata()?.len(), limit)?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    TooLong::check(bytes.len() as u64, limit)?;
    Ok(bytes)
}

/// Reads the segment at `path` likewise, but not all zeros at its end; and how long it is.
pub(crate) fn segment(path: &Path, limit: u64) -> io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok((sparse::read(file, len, limit)?, len))
}
