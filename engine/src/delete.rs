//! Deletes: of keys, of a series, of a measurement; of all their points or of those inside a range of time.
//!
//! 1. No file comes or goes while it lasts: the caller holds the right to change the set.
//! 2. The gate of the cache is closed, so that the delete has one place among the writes. Its record goes to the log,
//!    and when that is durable the points leave the cache, live and frozen.
//! 3. Tombstones go to the files that hold such points, durably, and are shown to readers. Then it is acknowledged.
//!
//! A crash before 2 is done leaves nothing of it. After that the log has it, and opening the directory carries out what
//! the files lack: the record names the files, and where the tombstones of each ended before, so that what a crash left
//! of a batch can be cut off. So a delete is there in full or not at all. One of more than 8 MiB of keys takes several
//! records in a row, numbered: what a crash left of them is passed over. (InfluxDB, which takes each record for itself,
//! carries out the part that is there.)
//!
//! What is being written to files meanwhile, by a snapshot or a compaction, is not waited for. Who writes learns what
//! was deleted since it began, and gives its files tombstones before readers see them. All points in such a file are
//! older than the delete, so that none is taken that was written again afterwards; and a compaction of gigabytes holds
//! up nobody.
//!
//! InfluxDB deletes from files first and logs only the keys that its live cache holds, after the fact; a delete that
//! comes while a snapshot is written does not reach the snapshot.

pub(crate) mod record;

use std::collections::BTreeSet;
use std::sync::Arc;

use tsmith_cache::Storer;
use tsmith_codecs::{BlockEncoder, FieldKey, FieldType, Position, SeriesKey, TimeRange};
use tsmith_tsm::{KeyEntry, Reader};
use tsmith_wal::fs::Fs;
use tsmith_wal::{Log, Record, entry};

use crate::error::{Context, Error, ErrorKind, Remedy, Result};
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
    /// All series of this measurement, escapes as in a series key.
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
    /// Calls `f` for the selected keys of a file. Neighbours in name are neighbours in the file: no other is looked at.
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
    /// Keys from which points may have gone.
    pub keys: u64,
    /// Files that got tombstones.
    pub files: u64,
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Engine<S, L, E> {
    /// Deletes the points of the selected keys inside `range`, both ends included.
    ///
    /// When it returns, they are gone for good: no crash, snapshot or compaction brings them back, as far as the log's
    /// durability goes. What is written again afterwards stays. A field that lost its last points takes any type.
    ///
    /// # Errors
    /// The log or a file cannot be written. With [`ErrorKind::DeleteUnfinished`] the delete may be carried out in part:
    /// repeat it, or let it be; the next compaction or snapshot carries out the rest, or else the next opening does. With
    /// any other nothing was deleted, unless the log broke: whether it has the delete shows when it is opened again.
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
        // Whoever closes waits for the change, and then gives the directory away.
        self.check_writable(OPERATION)?;
        // From here to the log nothing is written, so that what is selected is what the delete finds in its place.
        let paused = self.cache.pause();
        let keys = if range.min <= range.max { self.selected(selection, range) } else { Vec::new() };
        let deletion = Arc::new(Deletion { keys, range });
        let mut report = DeleteReport { keys: deletion.keys.len() as u64, files: 0 };
        if deletion.keys.is_empty() {
            // Of a log that stopped nobody knows what it holds: points to delete may show when it is opened again.
            self.log.truncate_front(Position::ZERO).during(OPERATION)?;
            return Ok(report);
        }
        let batches = change.batches(&deletion, |_| true);
        report.files = batches.len() as u64;
        let files: Vec<_> = batches.iter().map(|(file, _)| (file.name(), file.tombstone_bytes())).collect();
        self.log_delete(&deletion, &files).inspect_err(|error| {
            if error.remedy() == Remedy::Reopen {
                // The log may have it: who opens it finds these files by their names, and no others.
                self.worker.make_read_only();
            }
        })?;
        change.note(&deletion);
        for key in deletion.keys.iter().filter_map(|key| FieldKey::parse(key)) {
            paused.delete(key, range);
        }
        self.fields.note_delete();
        drop(paused);
        self.fs.point("delete: gone from the cache");
        change
            .carry_out(&self.fs, &deletion, batches)
            .map_err(|error| Error::new(OPERATION, ErrorKind::DeleteUnfinished(Box::new(error))))?;
        self.release_types(&deletion);
        Ok(report)
    }

    /// Releases the types of fields that have no points any more. No file comes or goes meanwhile.
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

    /// The keys of cache and files that are selected and may have points inside `range`, ascending.
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
        // The last one waits for the disk, and the others say whether a full disk took them back.
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

    /// Looks at the keys of a file until nothing is missing.
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
    fn a_selection_takes_whole_names_only() {
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
