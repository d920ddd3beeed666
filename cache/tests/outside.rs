//! Runs the test suites of this crate on a simple storer of another crate.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tsmith_cache::*;

/// One sorted map. Each write is a separate column with its position.
#[derive(Default)]
struct Sorted {
    entries: Mutex<BTreeMap<Vec<u8>, Entry>>,
}

struct Entry {
    field_type: FieldType,
    reserved: usize,
    writes: Vec<(Position, Column)>,
}

impl Entry {
    fn is_vacant(&self) -> bool {
        self.reserved == 0 && self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.writes.iter().all(|(_, column)| column.is_empty())
    }

    fn joined(&self) -> Column {
        let mut all = Column::new(self.field_type);
        for (_, column) in self.writes.iter().filter(|(_, column)| !column.is_empty()) {
            all.extend(column.as_ref()).expect("one type");
        }
        all
    }
}

impl Sorted {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Entry>> {
        self.entries.lock().expect("no thread panics while it holds the lock")
    }

    /// Removes one reservation from each of the first columns of the batch.
    fn settle(&self, batch: &Batch<'_>, columns: usize) -> u64 {
        let mut entries = self.lock();
        let mut freed = 0;
        for (key, _) in batch.columns().take(columns) {
            let composite = key.to_composite();
            let entry = entries.get_mut(&composite).expect("was reserved");
            entry.reserved -= 1;
            if entry.is_vacant() {
                entries.remove(&composite);
                freed += key.composite_len() as u64;
            }
        }
        freed
    }
}

impl Storer for Sorted {
    /// The number of reserved columns of the batch.
    type Reservation = usize;

    fn reserve(&self, batch: &Batch<'_>) -> Result<Reserved<usize>, Refused<usize>> {
        let mut new_key_bytes = 0;
        for (at, (key, column)) in batch.columns().enumerate() {
            let field_type = column.field_type();
            let mut entries = self.lock();
            let entry = entries.entry(key.to_composite()).or_insert_with(|| {
                new_key_bytes += key.composite_len() as u64;
                Entry { field_type, reserved: 0, writes: Vec::new() }
            });
            if entry.field_type != field_type {
                let error = Error::type_conflict(key, entry.field_type, field_type);
                return Err(Refused { error, part: Reserved { reservation: at, new_key_bytes } });
            }
            entry.reserved += 1;
        }
        Ok(Reserved { reservation: batch.column_count(), new_key_bytes })
    }

    fn write(&self, batch: &Batch<'_>, columns: usize, at: Position) {
        for (key, column) in batch.columns() {
            let mut entries = self.lock();
            let writes = &mut entries.get_mut(&key.to_composite()).expect("was reserved").writes;
            let place = writes.partition_point(|(position, _)| *position <= at);
            writes.insert(place, (at, column.to_column()));
        }
        self.settle(batch, columns);
    }

    fn release(&self, batch: &Batch<'_>, columns: usize) -> u64 {
        self.settle(batch, columns)
    }

    fn with<R>(&self, key: FieldKey<'_>, f: impl FnOnce(ColumnRef<'_>) -> R) -> Option<R> {
        let column = self.lock().get(&key.to_composite()).map(Entry::joined);
        column.filter(|column| !column.is_empty()).map(|column| f(column.as_ref()))
    }

    fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType)) {
        for (key, entry) in self.lock().iter().filter(|(_, entry)| !entry.is_empty()) {
            f(FieldKey::parse(key).expect("a composite key"), entry.field_type);
        }
    }

    fn delete(&self, key: FieldKey<'_>, range: TimeRange) -> u64 {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&key.to_composite()).filter(|entry| !entry.is_vacant()) else {
            return 0;
        };
        let bytes = |entry: &Entry| entry.joined().as_ref().values().cached_bytes();
        let before = bytes(entry);
        entry.writes.iter_mut().for_each(|(_, column)| column.exclude(range));
        let freed = before - bytes(entry);
        if !entry.is_vacant() {
            return freed;
        }
        entries.remove(&key.to_composite());
        freed + key.composite_len() as u64
    }
}

tsmith_cache::storer_suite!(Sorted);
tsmith_cache::readable_suite!(Sorted);
