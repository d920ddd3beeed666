//! InfluxDB's `fields.idx`: the types of all fields, including fields that have no points any more.
//!
//! When InfluxDB opens a shard, it trusts this file and refuses the shard if files or log disagree with it.
//! With an index on disk (`tsi1`) it does not even look for series written by others. So we durably remove
//! the file before the first write, and InfluxDB recreates it from files and log when it opens the shard
//! again. We do not read it: it would make us refuse values that contradict no stored point. A field that
//! lost all its points accepts any type, as after InfluxDB's DROP MEASUREMENT.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use tsmith_wal::fs::Fs;

use crate::error::{Context, Result};

/// The change log, which InfluxDB 1.11 and later have, goes first: if it stayed alone, InfluxDB would take it
/// for the complete index.
const NAMES: [&str; 2] = ["fields.idxl", "fields.idx"];

/// Whether the file is removed. Done once, because InfluxDB does not run while we hold the directory.
#[derive(Debug, Default)]
pub(crate) struct FieldsIndex(OnceLock<Result<()>>);

impl FieldsIndex {
    /// Durably removes the file from `data`.
    pub(crate) fn delete<F: Fs>(&self, fs: &F, data: &Path) -> Result<()> {
        self.0.get_or_init(|| delete(fs, data)).clone()
    }
}

fn delete<F: Fs>(fs: &F, data: &Path) -> Result<()> {
    const OPERATION: &str = "remove fields.idx";
    for name in NAMES {
        // InfluxDB uses `.tmp` for its own temporary file and would not create it if ours existed.
        let (path, gone) = (data.join(name), data.join(format!("{name}.gone")));
        match fs.rename(&path, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.on(OPERATION, &path)?,
        }
        // Sync even if the file is gone: the process that removed it may have died before its sync. If the
        // sync fails, restore the file for the next process.
        fs.sync_dir(data).inspect_err(|_| drop(fs.rename(&gone, &path))).on(OPERATION, data)?;
        drop(fs.remove(&gone));
    }
    Ok(())
}
