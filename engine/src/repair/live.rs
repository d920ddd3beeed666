//! The content of a directory: its files with the log's deletes applied, and the log's values.

use std::path::Path;
use std::sync::Arc;

use tsmith_cache::{Cache, Ring};
use tsmith_wal::entry::Layout;
use tsmith_wal::fs::Fs;
use tsmith_wal::{Recovery, ReplayFn};

use crate::error::Result;
use crate::files::{FileName, TsmFile, TwoTypes, apply_deletes, read_tombstones, tsm_names, two_types};
use crate::replay::LogCheck;
use crate::schema::FieldTypes;

/// A function that passes the records of a log to its argument, oldest first, as far as they can be read; see
/// [`Registry::log_reader`](crate::Registry::log_reader).
pub type ReadLog<'a> = Box<dyn Fn(&mut ReplayFn<'_>) -> Result<Recovery> + 'a>;

/// A directory as opening it would show it, as far as it can be read. Nothing is changed.
pub(super) struct Live {
    pub(super) files: Vec<Arc<TsmFile>>,
    cache: Cache<Ring>,
    pub(super) fields: FieldTypes,
}

impl Live {
    pub(super) fn look<F: Fs>(fs: &F, data: &Path, log: Option<&ReadLog<'_>>) -> Result<Self> {
        let mut names = tsm_names(fs, data)?;
        names.sort_unstable();
        let (mut files, mut torn) = (Vec::new(), Vec::new());
        // Errors are reported by the checks of each file.
        for (file, tail) in names.into_iter().filter_map(|name| TsmFile::open_strictly(fs, data, name).ok()) {
            files.push(Arc::new(file));
            torn.extend(tail);
        }
        let (cache, deletes) = log.map(replayed).unwrap_or_default().into_parts();
        let _problems = apply_deletes(&mut files, &torn, &deletes);
        let fields = FieldTypes::default();
        for file in &files {
            fields.learn_file(file);
        }
        fields.learn_cache(&cache);
        Ok(Self { files, cache, fields })
    }

    /// Whether there is no file and no point in the log.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.cache.size() == 0
    }

    pub(super) fn two_types(&self) -> Vec<TwoTypes> {
        two_types(&self.fields, &self.files, &self.cache)
    }
}

impl LogCheck {
    /// A check that also knows the types in the files of `data`. Unreadable files are ignored.
    pub fn with_files<F: Fs>(fs: &F, data: &Path, log: Option<&ReadLog<'_>>) -> Self {
        // Without files there is no contradiction.
        if tsm_names(fs, data).map_or(true, |names| names.is_empty()) {
            return Self::default();
        }
        let two_types = Live::look(fs, data, log).map(|live| live.two_types()).unwrap_or_default();
        Self::with_types(two_types)
    }
}

/// Replays what can be replayed of a log.
fn replayed(read: &ReadLog<'_>) -> LogCheck {
    let mut log = LogCheck::default();
    // Errors and refused records are reported by the check of the log.
    let _ = read(&mut |at, record| {
        let _refused = log.take(at, record, Layout::Influx);
        Ok(())
    });
    log
}

/// Position and length of an unfinished delete at the end of the tombstones at `path`, if the log still holds
/// that delete. Opening the directory completes it, so this is not corruption.
pub fn unfinished_delete<F: Fs>(fs: &F, path: &Path, log: Option<&ReadLog<'_>>) -> Option<(u64, u64)> {
    if read_tombstones(fs, path).ok()?.torn_bytes() == 0 {
        return None;
    }
    let name = FileName::parse(path.with_extension("tsm").file_name()?.to_str()?)?;
    let (file, torn) = TsmFile::open_strictly(fs, path.parent()?, name).ok()?;
    let torn = torn?;
    let (_, deletes) = replayed(log?).into_parts();
    torn.explain(&file, &deletes).ok()?;
    Some((file.tombstone_bytes(), torn.bytes))
}
