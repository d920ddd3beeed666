//! What a directory holds together: the files, as the log's deletes leave them, and what the log has besides.

use std::path::Path;
use std::sync::Arc;

use tsmith_cache::{Cache, Ring};
use tsmith_wal::RecoveryMode;
use tsmith_wal::entry::Layout;
use tsmith_wal::fs::Fs;

use super::log::LogCheck;
use crate::error::Result;
use crate::files::{TsmFile, TwoTypes, obey, tsm_names, two_types};
use crate::schema::FieldTypes;

/// A directory as opening it would show it, as far as it can be read. Nothing is changed.
pub(super) struct Live {
    pub(super) files: Vec<Arc<TsmFile>>,
    cache: Cache<Ring>,
    pub(super) fields: FieldTypes,
}

impl Live {
    pub(super) fn look<F: Fs>(fs: &F, data: &Path, wal: Option<&Path>) -> Result<Self> {
        let mut names = tsm_names(fs, data)?;
        names.sort_unstable();
        let (mut files, mut torn) = (Vec::new(), Vec::new());
        // Who looks at each file by itself tells what is wrong with it.
        for (file, flaw) in names.into_iter().filter_map(|name| TsmFile::open_strictly(fs, data, name).ok()) {
            files.push(Arc::new(file));
            torn.extend(flaw);
        }
        let mut log = LogCheck::default();
        if let Some(wal) = wal {
            // So with records: what is refused here is when it is looked at.
            let _ = tsmith_wal::replay_only(fs, wal, RecoveryMode::Salvage, |at, record| {
                let _refused = log.take(at, record, Layout::Influx);
                Ok(())
            });
        }
        let (cache, deletes) = log.into_parts();
        let _problems = obey(&mut files, &torn, &deletes);
        let fields = FieldTypes::default();
        for file in &files {
            fields.learn_file(file);
        }
        fields.learn_cache(&cache);
        Ok(Self { files, cache, fields })
    }

    pub(super) fn two_types(&self) -> Vec<TwoTypes> {
        two_types(&self.fields, &self.files, &self.cache)
    }
}
