//! InfluxDB's `fields.idx`: the types of fields, also of those that have no points any more.
//!
//! InfluxDB believes it when it opens a shard, and does not open one whose files or log say otherwise; with an index on
//! disk (`tsi1`) it does not even look for series that it has not written itself. So the file goes before the first write,
//! durably, and InfluxDB recreates it from files and log, whenever it takes over. Reading it instead would refuse what no
//! point speaks against: a field that was deleted whole takes any type here, as after InfluxDB's DROP MEASUREMENT.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use tsmith_wal::fs::Fs;

use crate::error::{Context, Result};

/// The change log first, which versions from 1.11 on have: alone it would be taken for all there is.
const NAMES: [&str; 2] = ["fields.idxl", "fields.idx"];

/// Whether the file is gone; asked once, for InfluxDB does not run while the directory is ours.
#[derive(Debug, Default)]
pub(crate) struct FieldsIndex(OnceLock<Result<()>>);

impl FieldsIndex {
    /// Removes the file from `data`, durably.
    pub(crate) fn delete<F: Fs>(&self, fs: &F, data: &Path) -> Result<()> {
        self.0.get_or_init(|| delete(fs, data)).clone()
    }
}

fn delete<F: Fs>(fs: &F, data: &Path) -> Result<()> {
    const OPERATION: &str = "remove fields.idx";
    for name in NAMES {
        // Not the name of a temporary file of InfluxDB's, which would not write its own beside it.
        let (path, gone) = (data.join(name), data.join(format!("{name}.gone")));
        match fs.rename(&path, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.on(OPERATION, &path)?,
        }
        // Also where it is gone: who removed it may have been killed before this. After a failure it is there for who comes
        // next.
        fs.sync_dir(data).inspect_err(|_| drop(fs.rename(&gone, &path))).on(OPERATION, data)?;
        drop(fs.remove(&gone));
    }
    Ok(())
}
