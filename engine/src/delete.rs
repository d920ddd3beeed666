//! Deletes: of keys, a series or a measurement; of all points or those inside a time range.
//!
//! 1. The caller holds the right to change the set of files, so no file appears or disappears.
//! 2. The cache's gate closes, so the delete has one place in the order of writes. Its record goes to the
//!    log. When the record is durable, the points leave the cache, live and frozen.
//! 3. The files that hold such points get tombstones. When these are durable, readers see them and the delete
//!    is acknowledged.
//!
//! A crash before the end of step 2 leaves no delete. A crash after it leaves the record in the log, and
//! opening the directory writes the missing tombstones. The record names the files and the previous length of
//! each tombstone file, so a partly written batch can be cut off. So a delete happens in full or not at all.
//! A delete with more than 8 MiB of keys takes several numbered records, which count only if all are present.
//! (InfluxDB carries out the records that are present.)
//!
//! A delete does not wait for a running snapshot or compaction. Before readers see the new files, the writer
//! adds tombstones for all deletes that happened since it began. All points in these files are older than
//! such a delete, so a later write of the same point stays.
//!
//! InfluxDB deletes from files first. It then logs only the keys that its live cache holds. A delete during a
//! snapshot does not reach the snapshot's file.

pub(crate) mod record;

use std::collections::BTreeSet;
use std::sync::Arc;

use tsmith_cache::Storer;
use tsmith_codecs::{BlockEncoder, FieldKey, FieldType, Position, SeriesKey, TimeRange};
use tsmith_tsm::{KeyEntry, Reader};
use tsmith_wal::fs::Fs;
use tsmith_wal::{Advice, Log, Record, entry};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::{FileName, TsmFile};

use crate::order::sync_record;
use crate::schema::FieldTable;
use crate::{Engine, Inner};
use record::{file_mark, part_mark, parts};

pub(crate) use record::{Deletes, Deletion, Replayed};

const OPERATION: &str = "delete";

/// Which keys to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// This field of this series.
    Key(FieldKey<'a>),
    /// All fields of this series.
    Series(SeriesKey<'a>),
    /// All series of this measurement. The name is escaped as in a series key.
    Measurement(&'a [u8]),
    /// These composite keys.
    Keys(&'a [Vec<u8>]),
}

impl Selection<'_> {
    fn takes(self, composite: &[u8]) -> bool {
        let Some(key) = FieldKey::parse(composite) else { return false };
        match self {
            Self::Key(wanted) => key == wanted,
            Self::Series(series) => key.series == series.0,
            Self::Measurement(name) => SeriesKey(key.series).measurement() == name,
            Self::Keys(keys) => keys.binary_search_by(|wanted| wanted.as_slice().cmp(composite)).is_ok(),
        }
    }
}

impl Selection<'_> {
    /// Calls `f` for the selected keys of a file. Their names share a prefix, so no other key is visited.
    fn each_in(self, reader: &Reader, mut f: impl FnMut(KeyEntry<'_>)) {
        let prefix = match self {
            Self::Keys(keys) => return keys.iter().filter_map(|key| reader.find(key)).for_each(f),
            Self::Key(key) => key.to_composite(),
            Self::Series(series) => FieldKey::new(series.0, b"").to_composite(),
            Self::Measurement(name) => name.to_vec(),
        };
        let from = reader.search(&prefix).unwrap_or_else(|after| after);
        let keys = (from..reader.len()).map_while(|at| reader.get(at));
        let alike = keys.take_while(|key| key.key().starts_with(&prefix));
        alike.filter(|key| self.takes(key.key())).for_each(&mut f);
    }
}

/// What a delete did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteReport {
    /// Keys that may have lost points.
    pub keys: u64,
    /// Files that got tombstones.
    pub files: u64,
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Engine<S, L, E> {
    /// Deletes the points of the selected keys inside `range`, both ends included.
    ///
    /// When it returns, no crash, snapshot or compaction brings the points back, within the log's durability.
    /// Points that are written afterwards stay. A field that lost its last point accepts any type.
    ///
    /// # Errors
    /// The log or a file cannot be written. After [`ErrorKind::DeleteUnfinished`] the delete may be partly
    /// done. The next compaction, snapshot or opening finishes it, or you can repeat it. After any other
    /// error nothing was deleted, unless the log failed: then reopening shows whether the log holds the
    /// delete.
    pub fn delete(&self, selection: Selection<'_>, range: TimeRange) -> Result<DeleteReport> {
        self.inner.check_writable(OPERATION)?;
        self.inner.delete(selection, range)
    }
}

impl<S: Storer, L: Log + ?Sized, E> Inner<S, L, E> {
    fn delete(&self, selection: Selection<'_>, range: TimeRange) -> Result<DeleteReport> {
        let mut sorted;
        let selection = match selection {
            Selection::Keys(keys) if !keys.is_sorted() => {
                sorted = keys.to_vec();
                sorted.sort_unstable();
                Selection::Keys(&sorted)
            }
            other => other,
        };
        let change = self.files.change();
        // `close` waits for this change and then releases the directory.
        self.check_writable(OPERATION)?;
        // Nothing is written from here until the record is in the log. So the selected keys are those at the
        // delete's place in the log.
        let paused = self.cache.pause();
        let keys = if range.min <= range.max { self.selected(selection, range) } else { Vec::new() };
        let deletion = Arc::new(Deletion { keys, range });
        let mut report = DeleteReport { keys: deletion.keys.len() as u64, files: 0 };
        if deletion.keys.is_empty() {
            // If the log has failed, its content is unknown. Reopening may bring back points that this delete
            // selects, so report the failure.
            self.log.truncate_front(Position::ZERO).during(OPERATION)?;
            return Ok(report);
        }
        let batches = change.batches(&deletion, |_| true);
        report.files = batches.len() as u64;
        let files: Vec<_> = batches.iter().map(|(file, _)| (file.name(), file.tombstone_bytes())).collect();
        self.log_delete(&deletion, &files).inspect_err(|error| {
            if error.advice() == Advice::Reopen {
                // The log may hold the delete. Then reopening finds these files by name, so they must not
                // change.
                self.worker.make_read_only();
            }
        })?;
        change.note(&deletion);
        for key in deletion.keys.iter().filter_map(|key| FieldKey::parse(key)) {
            paused.delete(key, range);
        }
        self.fields.note_delete();
        drop(paused);
        self.fs.point("delete: removed from the cache");
        change
            .carry_out(&self.fs, &deletion, batches)
            .map_err(|error| Error::new(OPERATION, ErrorKind::DeleteUnfinished(Box::new(error))))?;
        self.release_types(&deletion);
        Ok(report)
    }

    /// Releases the types of fields that have no points any more. The set of files does not change meanwhile.
    fn release_types(&self, deletion: &Deletion) {
        let mut gone = FieldTable::default();
        for key in deletion.keys.iter().filter_map(|key| FieldKey::parse(key)) {
            let measurement = SeriesKey(key.series).measurement();
            if !gone.has(measurement, key.field) && self.type_of_key(key).is_none() {
                gone.insert_all(measurement, key.field, self.fields.types(measurement, key.field));
            }
        }
        if gone.is_empty() {
            return;
        }
        let _no_write = self.cache.pause();
        let mut search = HeldTypes::of(&gone);
        self.cache.keys(&mut |key, field_type| search.found(key, field_type));
        for file in self.files.load().iter() {
            search.look_in(file);
        }
        self.fields.release(&gone, &search.held);
    }

    /// The selected keys of cache and files that may have points inside `range`, ascending.
    fn selected(&self, selection: Selection<'_>, range: TimeRange) -> Vec<Vec<u8>> {
        let mut keys = BTreeSet::new();
        self.cache.keys(&mut |key, _| {
            let composite = key.to_composite();
            if selection.takes(&composite) {
                keys.insert(composite);
            }
        });
        for file in self.files.load().iter().filter(|file| file.reader().range().overlaps(range)) {
            selection.each_in(file.reader(), |key| {
                if key.range().overlaps(range) {
                    keys.insert(key.key().to_vec());
                }
            });
        }
        keys.into_iter().collect()
    }

    /// Makes the delete durable. The gate is closed.
    fn log_delete(&self, deletion: &Deletion, files: &[(FileName, u64)]) -> Result<()> {
        let marks: Vec<Vec<u8>> = files.iter().map(|(name, bytes)| file_mark(*name, *bytes)).collect();
        let parts = parts(&deletion.keys);
        let mut payload = Vec::new();
        let mut positions = Vec::with_capacity(parts.len());
        for (at, part) in parts.iter().enumerate() {
            let number = (parts.len() > 1).then(|| part_mark(at + 1, parts.len()));
            let keys = part.iter().filter_map(|key| FieldKey::parse(key));
            let marks = marks.iter().chain(&number).map(|mark| FieldKey::new(b"", mark));
            let keys: Vec<FieldKey<'_>> = keys.chain(marks).collect();
            payload.clear();
            entry::encode_delete_range(deletion.range, &keys, &mut payload).during(OPERATION)?;
            positions.push(self.log.append(Record::delete_range(&payload)).during(OPERATION)?);
        }
        self.leftovers_logged.store(true, std::sync::atomic::Ordering::Release);
        // Syncing the last record waits for the disk. The others report whether a full disk removed them.
        for at in positions.into_iter().rev() {
            let _durable = sync_record(&*self.log, at).during(OPERATION)?;
        }
        Ok(())
    }
}

/// A search for keys that still hold the types of some fields.
struct HeldTypes<'g> {
    wanted: &'g FieldTable,
    held: FieldTable,
    /// How many types are not found yet.
    missing: usize,
}

impl<'g> HeldTypes<'g> {
    fn of(wanted: &'g FieldTable) -> Self {
        let missing = wanted.iter().map(|(_, _, types)| types.iter().count()).sum();
        Self { wanted, held: FieldTable::default(), missing }
    }

    fn found(&mut self, key: FieldKey<'_>, field_type: FieldType) {
        let measurement = SeriesKey(key.series).measurement();
        if self.wanted.types(measurement, key.field).contains(field_type)
            && self.held.insert(measurement, key.field, field_type)
        {
            self.missing -= 1;
        }
    }

    /// Visits the keys of a file until all types are found.
    fn look_in(&mut self, file: &TsmFile) {
        let reader = file.reader();
        let measurements: BTreeSet<&[u8]> =
            self.wanted.iter().map(|(measurement, _, _)| measurement).collect();
        for measurement in measurements {
            let from = reader.search(measurement).unwrap_or_else(|after| after);
            let keys = (from..reader.len()).map_while(|at| reader.get(at));
            for key in keys.take_while(|key| key.key().starts_with(measurement)) {
                if self.missing == 0 {
                    return;
                }
                if let Some(parsed) = FieldKey::parse(key.key()).filter(|_| !file.deletions().covers_key(key))
                {
                    self.found(parsed, key.field_type());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_takes_complete_names_only() {
        let key = b"cpu\\,x,host=a#!~#usage";
        let field = FieldKey::new(b"cpu\\,x,host=a", b"usage");
        assert!(Selection::Key(field).takes(key));
        assert!(Selection::Series(SeriesKey(b"cpu\\,x,host=a")).takes(key));
        assert!(Selection::Measurement(b"cpu\\,x").takes(key));
        assert!(Selection::Keys(&[key.to_vec()]).takes(key));
        assert!(!Selection::Measurement(b"cpu").takes(key) && !Selection::Measurement(b"cpu\\").takes(key));
        assert!(!Selection::Series(SeriesKey(b"cpu\\,x")).takes(key));
    }
}
