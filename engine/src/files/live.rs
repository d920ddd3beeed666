//! What of the files is live, and of which type: as the deletes of the log leave them.
//!
//! One rule decides which types go together, for who opens a directory, checks it or repairs it. Of a key all points that
//! are live, in files and in the log, have one type: readers merge them, and so does a compaction. What is deleted whole
//! does not count. Where two differ the older one is right, as it is for a write: that of the oldest file, then that of the
//! log. (InfluxDB 1.x asks more, one type for all series of a measurement, and opens neither.)

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tsmith_cache::{Cache, Storer};
use tsmith_codecs::{FieldKey, FieldType};

use super::{TornTombstones, TsmFile};
use crate::delete::record::Replayed;
use crate::error::{Error, ErrorKind};
use crate::schema::FieldTypes;

/// A key whose live points are not all of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoTypes {
    /// The composite key.
    pub key: Vec<u8>,
    /// The file that contradicts an older one; `None` when it is the log.
    pub file: Option<PathBuf>,
    /// The type it has there.
    pub incoming: FieldType,
    /// The older file.
    pub older: PathBuf,
    /// The type it has there.
    pub existing: FieldType,
}

impl TwoTypes {
    pub(crate) fn error(&self, operation: &'static str, wal: &Path) -> Error {
        let key = tsmith_codecs::name::to_text(&self.key).into_owned();
        let Self { incoming, existing, .. } = *self;
        let older = self.older.clone();
        let path = self.file.as_deref().unwrap_or(wal);
        Error::at(operation, path, ErrorKind::TwoTypes { key, existing, incoming, older })
    }
}

/// Hides what the deletes of the log took from files, as far as a crash kept them from saying so themselves: opening
/// the directory would write it down. A file with torn tombstones that no delete accounts for goes, with an error: nobody
/// knows which of its points are deleted.
pub(crate) fn apply_deletes(
    files: &mut Vec<Arc<TsmFile>>,
    torn: &[TornTombstones],
    deletes: &[Replayed],
) -> Vec<Error> {
    let mut problems = Vec::new();
    for flaw in torn {
        let Some(at) = files.iter().position(|file| file.name() == flaw.name) else { continue };
        if let Err(error) = flaw.explain(&files[at], deletes) {
            files.remove(at);
            problems.push(error);
        }
    }
    for file in files {
        let name = file.name();
        for delete in deletes.iter().filter(|delete| delete.names(name)) {
            if let Some(with_deleted) = file.with_deleted(&delete.deletion) {
                *file = Arc::new(with_deleted);
            }
        }
    }
    problems
}

/// The keys of two types, in `files`, oldest first, and in the log that was replayed into `cache`. `fields` has learned of
/// all of them; where no field has two types in its measurement nothing more is looked at.
pub(crate) fn two_types<S: Storer>(
    fields: &FieldTypes,
    files: &[Arc<TsmFile>],
    cache: &Cache<S>,
) -> Vec<TwoTypes> {
    let mut found = Vec::new();
    if !fields.has_mixed() {
        return found;
    }
    let mut known: HashMap<&[u8], (FieldType, &Path)> = HashMap::new();
    for file in files {
        let live = file.reader().keys().filter(|&key| !file.deletions().covers_key(key));
        for key in live.filter(|key| FieldKey::parse(key.key()).is_some_and(|key| fields.is_mixed(key))) {
            let incoming = key.field_type();
            let &mut (existing, older) = known.entry(key.key()).or_insert((incoming, file.path()));
            if existing != incoming {
                let (key, file) = (key.key().to_vec(), Some(file.path().to_owned()));
                found.push(TwoTypes { key, file, incoming, older: older.to_owned(), existing });
            }
        }
    }
    let in_files = found.len();
    cache.keys(&mut |key, incoming| {
        let key = key.to_composite();
        if let Some(&(existing, older)) = known.get(&*key).filter(|(existing, _)| *existing != incoming) {
            found.push(TwoTypes { key, file: None, incoming, older: older.to_owned(), existing });
        }
    });
    // A cache has no order of its own.
    found[in_files..].sort_by(|a, b| a.key.cmp(&b.key));
    found
}
