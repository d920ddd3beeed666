//! Applies log entries at opening, and finds those that cannot be applied.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use tsmith_cache::{Cache, Ring, Storer};
use tsmith_codecs::{Batch, FieldKey, FieldType, Position, TimeRange};
use tsmith_wal::entry::{self, Entry, Layout};
use tsmith_wal::fs::Fs;
use tsmith_wal::{NotReplayed, Record, RecoveryMode, Refusal, RunBuilder};

use crate::delete::{Deletes, Replayed};
use crate::error::{Context, Result};
use crate::files::TwoTypes;

const OPERATION: &str = "repair";

/// Number of fields named in a message; more are only counted.
const NAMED_MAX: usize = 3;

/// Applies one log entry to the cache. Deletes are also collected, for the files.
pub(crate) fn replay_entry<S: Storer>(
    cache: &Cache<S>,
    deletes: &mut Deletes,
    at: Position,
    entry: &Entry<'_>,
) -> tsmith_wal::Result<()> {
    let (keys, range) = match entry {
        Entry::Write(batch) => {
            deletes.interrupt();
            // Acknowledged values are loaded even above the memory limit.
            let admitted = cache.admit_replayed(batch).map_err(tsmith_wal::Error::refused)?;
            let _replayed = admitted.publish(at);
            return Ok(());
        }
        Entry::Delete(keys) => (keys, TimeRange::ALL),
        Entry::DeleteRange { range, keys } => (keys, *range),
    };
    if deletes.take(keys, range)
        && let Some(complete) = deletes.complete.last()
    {
        for key in complete.deletion.keys.iter().filter_map(|key| FieldKey::parse(key)) {
            cache.delete(key, range);
        }
    }
    Ok(())
}

/// Replays a log as opening would, and finds the records that cannot be replayed.
#[derive(Debug, Default)]
pub struct LogCheck {
    cache: Cache<Ring>,
    deletes: Deletes,
    two_types: Vec<TwoTypes>,
    stored: StoredTypes,
}

/// The type in the files, for each key that has another type in the log.
pub(crate) type StoredTypes = HashMap<Vec<u8>, FieldType>;

/// The [`StoredTypes`] among these keys.
pub(crate) fn stored_types(two_types: &[TwoTypes]) -> StoredTypes {
    let by_log = two_types.iter().filter(|found| found.file.is_none());
    by_log.map(|found| (found.key.clone(), found.existing)).collect()
}

/// A column whose type is not its field's type.
struct Conflict {
    key: String,
    values: usize,
    existing: FieldType,
    incoming: FieldType,
}

impl LogCheck {
    /// A check that knows these keys with two types.
    pub(crate) fn with_types(two_types: Vec<TwoTypes>) -> Self {
        Self { stored: stored_types(&two_types), two_types, ..Self::default() }
    }

    /// A check that knows these stored types.
    pub(crate) fn with_stored(stored: StoredTypes) -> Self {
        Self { stored, ..Self::default() }
    }

    /// The replayed points and deletes.
    pub(crate) fn into_parts(self) -> (Cache<Ring>, Vec<Replayed>) {
        (self.cache, self.deletes.complete)
    }

    /// The keys whose type in a newer file, or in the log, differs from the type in an older file.
    pub fn two_types(&self) -> &[TwoTypes] {
        &self.two_types
    }

    /// Takes the next record of the log.
    ///
    /// # Errors
    /// Opening would refuse the record. The refusal says which part of it can be kept.
    pub fn take(&mut self, at: Position, record: Record<'_>, layout: Layout) -> Result<(), Refusal> {
        let dropped = |reason: String| Refusal { instead: None, reason };
        let entry = entry::decode(record.kind, record.payload)
            .map_err(|error| dropped(format!("the payload cannot be decoded: {error}")))?;
        take_entry(&self.cache, &mut self.deletes, &self.stored, at, &entry).map_err(|refused| {
            let mut payload = Vec::new();
            let encoded = |rest: &Batch<'_>| layout.encode_write(rest, &mut payload).is_ok();
            let is_taken = refused.rest.as_deref().is_some_and(encoded);
            Refusal { instead: is_taken.then_some(payload), reason: refused.reason }
        })
    }

    /// Replays the log in `wal`, of any kind, and returns the records that cannot be replayed.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn refused_of<F: Fs>(mut self, fs: &F, wal: &Path) -> Result<Vec<NotReplayed>> {
        let replay = |at, record: Record<'_>| self.take_or_refuse(at, record);
        let read = tsmith_wal::replay_only(fs, wal, RecoveryMode::Salvage, replay).during(OPERATION)?;
        Ok(read.refused)
    }

    /// Like [`LogCheck::take`], for callers that skip the record.
    pub(crate) fn take_or_refuse(&mut self, at: Position, record: Record<'_>) -> tsmith_wal::Result<()> {
        let entry = entry::decode(record.kind, record.payload)?;
        take_entry(&self.cache, &mut self.deletes, &self.stored, at, &entry).map_err(RefusedEntry::into_error)
    }
}

/// An entry that cannot be replayed.
#[derive(Debug)]
pub(crate) struct RefusedEntry<'b> {
    /// The part of it that was applied.
    rest: Option<Box<Batch<'b>>>,
    reason: String,
}

impl RefusedEntry<'_> {
    pub(crate) fn into_error(self) -> tsmith_wal::Error {
        tsmith_wal::Error::refused(std::io::Error::other(self.reason))
    }
}

/// Applies a log entry. If a write contradicts known types, its other columns are still applied.
///
/// # Errors
/// Opening would refuse the entry.
pub(crate) fn take_entry<'b, S: Storer>(
    cache: &Cache<S>,
    deletes: &mut Deletes,
    stored: &StoredTypes,
    at: Position,
    entry: &'b Entry<'_>,
) -> Result<(), RefusedEntry<'b>> {
    if let Entry::Write(batch) = entry {
        let conflicts = conflicts(cache, stored, batch);
        if !conflicts.is_empty() {
            deletes.interrupt();
            let rest = take_rest(cache, at, batch, &conflicts).map(Box::new);
            return Err(RefusedEntry { rest, reason: describe(&conflicts) });
        }
    }
    let refused = |error: tsmith_wal::Error| RefusedEntry { rest: None, reason: error.to_string() };
    replay_entry(cache, deletes, at, entry).map_err(refused)
}

/// The columns of a batch that contradict known types, by their index in the batch.
fn conflicts<S: Storer>(
    cache: &Cache<S>,
    stored: &StoredTypes,
    batch: &Batch<'_>,
) -> HashMap<usize, Conflict> {
    let mut conflicts = HashMap::new();
    for (at, (key, column)) in batch.columns().enumerate() {
        let incoming = column.field_type();
        let in_files = if stored.is_empty() { None } else { stored.get(&key.to_composite()).copied() };
        let known = in_files.or_else(|| cache.field_type(key));
        if let Some(existing) = known.filter(|&known| known != incoming) {
            let (key, values) = (key.to_string(), column.len());
            conflicts.insert(at, Conflict { key, values, existing, incoming });
        }
    }
    conflicts
}

/// Applies the columns of a batch without a conflict, if there are any.
fn take_rest<'b, S: Storer>(
    cache: &Cache<S>,
    at: Position,
    batch: &'b Batch<'_>,
    conflicts: &HashMap<usize, Conflict>,
) -> Option<Batch<'b>> {
    let mut rest = RunBuilder::new();
    for (at, (key, column)) in batch.columns().enumerate() {
        if !conflicts.contains_key(&at) {
            rest.begin(Cow::Borrowed(key.series), Cow::Borrowed(key.field), column.field_type());
            let fits = rest.extend(column.times(), column.values());
            debug_assert!(fits, "the column was begun with its type");
        }
    }
    let rest = rest.finish();
    let is_taken =
        !rest.is_empty() && cache.admit_replayed(&rest).map(|admitted| drop(admitted.publish(at))).is_ok();
    is_taken.then_some(rest)
}

/// For example `cpu#!~#v: 2 of type integer, but the field has type float`.
fn describe(conflicts: &HashMap<usize, Conflict>) -> String {
    let mut indexes: Vec<_> = conflicts.keys().collect();
    indexes.sort_unstable();
    let named = indexes.iter().take(NAMED_MAX).map(|at| {
        let Conflict { key, values, existing, incoming } = &conflicts[*at];
        format!("{key}: {values} of type {incoming}, but the field has type {existing}")
    });
    let values: usize = conflicts.values().map(|conflict| conflict.values).sum();
    let (named, fields) = (named.collect::<Vec<_>>().join("; "), conflicts.len());
    let more = if fields > NAMED_MAX {
        format!("; in total {values} values of {fields} fields")
    } else {
        String::new()
    };
    format!("values of another type than their field: {named}{more}")
}
