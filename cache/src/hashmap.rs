//! [`OneMap`]: one map under one lock.

use parking_lot::RwLock;

use crate::table::{Table, TableReservation};
use crate::{Batch, Column, ColumnRef, FieldKey, FieldType, Position, Refused, Reserved, Storer, TimeRange};

/// A [`Ring`](crate::Ring) without partitions. It is the simplest storer, and shows what the partitions of the ring
/// are worth.
#[derive(Debug, Default)]
pub struct OneMap {
    table: RwLock<Table>,
}

impl Storer for OneMap {
    type Reservation = TableReservation;

    fn reserve(&self, batch: &Batch<'_>) -> Result<Reserved<TableReservation>, Refused<TableReservation>> {
        let mut reservation = TableReservation::new(batch);
        let mut new_key_bytes = 0;
        let members = 0..batch.series_count();
        let outcome = self.table.write().reserve(batch, members, &mut reservation, &mut new_key_bytes);
        let reserved = Reserved { reservation, new_key_bytes };
        match outcome {
            Ok(()) => Ok(reserved),
            Err(error) => Err(Refused { error, part: reserved }),
        }
    }

    fn write(&self, batch: &Batch<'_>, reservation: TableReservation, at: Position) {
        self.table.write().write(batch, 0..batch.series_count(), &reservation, at);
    }

    fn release(&self, batch: &Batch<'_>, reservation: TableReservation) -> u64 {
        self.table.write().release(batch, 0..batch.series_count(), &reservation)
    }

    fn with<R>(&self, key: FieldKey<'_>, f: impl FnOnce(ColumnRef<'_>) -> R) -> Option<R> {
        self.table.read().column(key, key_hash(key)).map(|column| column.with(f))
    }

    fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType)) {
        self.table.read().keys(f);
    }

    fn delete(&self, key: FieldKey<'_>, range: TimeRange) -> u64 {
        self.table.write().delete(key, key_hash(key), range)
    }

    fn read(&self, key: FieldKey<'_>, range: TimeRange, out: &mut Column) -> bool {
        self.table.read().column(key, key_hash(key)).is_some_and(|column| column.read(range, out))
    }

    fn field_type(&self, key: FieldKey<'_>) -> Option<FieldType> {
        self.table.read().column(key, key_hash(key)).map(crate::hot::HotColumn::field_type)
    }
}

fn key_hash(key: FieldKey<'_>) -> u64 {
    crate::SeriesKey(key.series).hash64()
}
