//! Logs: damaged segments, and records that check out and that no engine can replay.
//!
//! A log may contradict itself: a field is written as a float, and later as an integer, which no engine would have taken.
//! Each record is whole, and opening is refused all the same. The older type counts, as it does for a write: what was
//! written later with another one is left out, and the rest of its record stays. So it is with a field of which a file holds
//! points that no delete took.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use tsmith_cache::{Cache, Ring};
use tsmith_codecs::{Batch, FieldKey, FieldType, Position};
use tsmith_wal::entry::{self, Entry, Layout};
use tsmith_wal::fs::Fs;
use tsmith_wal::{Record, Refusal, RunBuilder, SegmentRepair};

use super::OPERATION;
use super::live::Live;
use crate::delete::{Deletes, Replayed};
use crate::error::{Context, Result};
use crate::files::{TwoTypes, tsm_names};
use crate::recover::replay_entry;

/// Fields of one record that are named before they are only counted.
const NAMED_MAX: usize = 3;

/// Repairs the log in `wal`, or only its segment of the name `only`, such that an engine opens it; with `dry_run` changes
/// nothing, and tells what it would. `data` is the directory of the files that belong to it, if there is one.
///
/// # Errors
/// As of [`tsmith_wal::repair`].
pub fn log<F: Fs>(
    fs: &F,
    data: Option<&Path>,
    wal: &Path,
    only: Option<&str>,
    dry_run: bool,
) -> Result<Vec<SegmentRepair>> {
    let mut check = data.map_or_else(LogCheck::default, |data| LogCheck::with_files(fs, data, Some(wal)));
    let replay = |at, record: Record<'_>, layout| check.take(at, record, layout);
    tsmith_wal::repair_for(fs, wal, only, dry_run, replay).during(OPERATION)
}

/// Replays a log as opening would, and tells which of its records could not be.
#[derive(Debug, Default)]
pub struct LogCheck {
    cache: Cache<Ring>,
    deletes: Deletes,
    two_types: Vec<TwoTypes>,
    /// Of the keys to which files and the log give two types, that of the files.
    contradicted: HashMap<Vec<u8>, FieldType>,
}

/// A column whose type is not that of its field.
struct Conflict {
    key: String,
    values: usize,
    existing: FieldType,
    incoming: FieldType,
}

impl LogCheck {
    /// One that also knows the types that the files in `data` have. Files that cannot be read have none.
    pub fn with_files<F: Fs>(fs: &F, data: &Path, wal: Option<&Path>) -> Self {
        // Without files there is nothing to contradict.
        if tsm_names(fs, data).map_or(true, |names| names.is_empty()) {
            return Self::default();
        }
        let two_types = Live::look(fs, data, wal).map(|live| live.two_types()).unwrap_or_default();
        let by_log = two_types.iter().filter(|found| found.file.is_none());
        let contradicted = by_log.map(|found| (found.key.clone(), found.existing)).collect();
        Self { two_types, contradicted, ..Self::default() }
    }

    /// What it took: the points, and the deletes.
    pub(super) fn into_parts(self) -> (Cache<Ring>, Vec<Replayed>) {
        (self.cache, self.deletes.whole)
    }

    /// The keys to which a file, or the log, gives another type than an older file does.
    pub fn two_types(&self) -> &[TwoTypes] {
        &self.two_types
    }

    /// Takes the next record of the log.
    ///
    /// # Errors
    /// Opening would be refused for it; a part of it may be left.
    pub fn take(&mut self, at: Position, record: Record<'_>, layout: Layout) -> Result<(), Refusal> {
        let dropped = |reason: String| Refusal { instead: None, reason };
        let entry = entry::decode(record.kind, record.payload)
            .map_err(|error| dropped(format!("its payload cannot be read: {error}")))?;
        if let Entry::Write(batch) = &entry {
            let conflicts = self.conflicts(batch);
            if !conflicts.is_empty() {
                return Err(self.take_rest(at, batch, &conflicts, layout));
            }
        }
        replay_entry(&self.cache, &mut self.deletes, at, &entry).map_err(|error| dropped(error.to_string()))
    }

    /// The columns of a batch that contradict what is known, each with its place among all.
    fn conflicts(&self, batch: &Batch<'_>) -> HashMap<usize, Conflict> {
        let mut conflicts = HashMap::new();
        for (place, (key, column)) in batch.columns().enumerate() {
            let incoming = column.field_type();
            let stored = self.stored(key);
            let known = stored.or_else(|| self.cache.field_type(key));
            if let Some(existing) = known.filter(|&known| known != incoming) {
                let (key, values) = (key.to_string(), column.len());
                conflicts.insert(place, Conflict { key, values, existing, incoming });
            }
        }
        conflicts
    }

    /// The type of a key that the files have with another one than the log.
    fn stored(&self, key: FieldKey<'_>) -> Option<FieldType> {
        if self.contradicted.is_empty() { None } else { self.contradicted.get(&key.to_composite()).copied() }
    }

    /// Takes the columns of a batch that contradict nothing.
    fn take_rest(
        &mut self,
        at: Position,
        batch: &Batch<'_>,
        conflicts: &HashMap<usize, Conflict>,
        layout: Layout,
    ) -> Refusal {
        let mut rest = RunBuilder::new();
        for (place, (key, column)) in batch.columns().enumerate() {
            if !conflicts.contains_key(&place) {
                rest.begin(Cow::Borrowed(key.series), Cow::Borrowed(key.field), column.field_type());
                let fits = rest.extend(column.times(), column.values());
                debug_assert!(fits, "the column was begun with its type");
            }
        }
        let rest = rest.finish();
        let mut payload = Vec::new();
        let is_taken = !rest.is_empty()
            && layout.encode_write(&rest, &mut payload).is_ok()
            && self.cache.admit_replayed(&rest).map(|admitted| drop(admitted.publish(at))).is_ok();
        Refusal { instead: is_taken.then_some(payload), reason: describe(conflicts) }
    }
}

/// `2 of cpu#!~#v, of type integer where the field is of type float`, and so on.
fn describe(conflicts: &HashMap<usize, Conflict>) -> String {
    let mut places: Vec<_> = conflicts.keys().collect();
    places.sort_unstable();
    let named = places.iter().take(NAMED_MAX).map(|place| {
        let Conflict { key, values, existing, incoming } = &conflicts[*place];
        format!("{values} of {key}, of type {incoming} where the field is of type {existing}")
    });
    let values: usize = conflicts.values().map(|conflict| conflict.values).sum();
    let (named, fields) = (named.collect::<Vec<_>>().join("; "), conflicts.len());
    let more =
        if fields > NAMED_MAX { format!("; {values} in all, of {fields} fields") } else { String::new() };
    format!("values that contradict the type of their field: {named}{more}")
}
