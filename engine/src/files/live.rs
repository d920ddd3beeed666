//! Which points of the files are live, and their types, once the deletes of the log are applied.
//!
//! One rule decides which types are compatible; opening, verify and repair use it. All live points of a key,
//! in files and in the log, have one type, because readers and compactions merge them. Deleted points do not
//! count. If two types differ, the older one wins, as for a write: first the oldest file, then newer files,
//! then the log. (InfluxDB 1.x requires one type for all series of a measurement.)

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tsmith_cache::{Cache, Storer};
use tsmith_codecs::{FieldKey, FieldType};

use super::{TornTombstones, TsmFile};
use crate::delete::record::Replayed;
use crate::error::{Error, ErrorKind};
use crate::schema::FieldTypes;

/// A key whose live points have two types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoTypes {
    /// The composite key.
    pub key: Vec<u8>,
    /// The file with the newer type; `None` if that is the log.
    pub file: Option<PathBuf>,
    /// The type in that file or in the log.
    pub incoming: FieldType,
    /// The older file.
    pub older: PathBuf,
    /// The type in the older file.
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

/// Applies the deletes of the log to `files` in memory, where a crash kept them from reaching the tombstones.
/// Opening would write them to disk. If no delete explains the torn tombstones of a file, the file is dropped
/// from the list and its error returned, because it is unknown which of its points are deleted.
pub(crate) fn apply_deletes(
    files: &mut Vec<Arc<TsmFile>>,
    torn: &[TornTombstones],
    deletes: &[Replayed],
) -> Vec<Error> {
    let mut problems = Vec::new();
    for tail in torn {
        let Some(at) = files.iter().position(|file| file.name() == tail.name) else { continue };
        if let Err(error) = tail.explain(&files[at], deletes) {
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

/// The keys with two types in `files`, oldest first, and in `cache`, which holds the replayed log. `fields`
/// knows all their types. If no field has two types in its measurement, nothing else is examined.
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
    // A cache has no order.
    found[in_files..].sort_by(|a, b| a.key.cmp(&b.key));
    found
}
