//! [`Sorted`]: one ordered map.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tsmith_cache::{
    Batch, Column, ColumnRef, Error, FieldKey, FieldType, Position, Refused, Reserved, Storer, TimeRange,
};

/// Keeps series ordered by key, and the fields of a series ordered by name.
#[derive(Debug, Default)]
pub struct Sorted {
    series: RwLock<Series>,
}

type Series = BTreeMap<Box<[u8]>, Fields>;
type Fields = BTreeMap<Box<[u8]>, Held>;

/// The points of a key, ordered by position.
#[derive(Debug)]
struct Held {
    points: Column,
    /// The position of each point.
    positions: Vec<Position>,
    /// Number of reservations that are neither written nor released.
    reservations: usize,
}

impl Held {
    fn is_vacant(&self) -> bool {
        self.points.is_empty() && self.reservations == 0
    }

    /// Inserts a column at its position, which is usually the end.
    fn write(&mut self, column: ColumnRef<'_>, at: Position) {
        let place = self.positions.partition_point(|position| *position <= at);
        let behind = self.points.as_ref().slice(place..self.points.len()).to_column();
        self.points.truncate(place);
        for part in [column, behind.as_ref()] {
            self.points.extend(part).expect("a key has one type");
        }
        self.positions.splice(place..place, std::iter::repeat_n(at, column.len()));
    }

    /// Removes the points inside `range`; returns the bytes freed.
    fn delete(&mut self, range: TimeRange) -> u64 {
        let inside = |place: &usize| range.contains(self.points.times()[*place]);
        let (gone, kept): (Vec<usize>, Vec<usize>) = (0..self.points.len()).partition(inside);
        let freed = self.points.as_ref().gather(&gone);
        self.points = self.points.as_ref().gather(&kept);
        self.positions = kept.iter().map(|place| self.positions[*place]).collect();
        freed.as_ref().values().cached_bytes()
    }
}

impl Sorted {
    fn read_lock(&self) -> RwLockReadGuard<'_, Series> {
        self.series.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, Series> {
        self.series.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls `f` with the key, and removes the key if it is empty. Returns the bytes of a removed key.
fn update(series: &mut Series, key: FieldKey<'_>, f: impl FnOnce(&mut Held)) -> u64 {
    let Some(fields) = series.get_mut(key.series) else { return 0 };
    let Some(held) = fields.get_mut(key.field) else { return 0 };
    f(held);
    if !held.is_vacant() {
        return 0;
    }
    fields.remove(key.field);
    if fields.is_empty() {
        series.remove(key.series);
    }
    key.composite_len() as u64
}

impl Storer for Sorted {
    /// Number of reserved columns, from the first of the batch.
    type Reservation = usize;

    fn reserve(&self, batch: &Batch<'_>) -> Result<Reserved<usize>, Refused<usize>> {
        let mut series = self.write_lock();
        let mut reserved = Reserved { reservation: 0, new_key_bytes: 0 };
        for (key, column) in batch.columns() {
            let fields = series.entry(key.series.into()).or_default();
            let held = fields.entry(key.field.into()).or_insert_with(|| {
                reserved.new_key_bytes += key.composite_len() as u64;
                Held { points: Column::new(column.field_type()), positions: Vec::new(), reservations: 0 }
            });
            let existing = held.points.field_type();
            if existing != column.field_type() {
                let error = Error::type_conflict(key, existing, column.field_type());
                return Err(Refused { error, part: reserved });
            }
            held.reservations += 1;
            reserved.reservation += 1;
        }
        Ok(reserved)
    }

    fn write(&self, batch: &Batch<'_>, _: usize, at: Position) {
        let mut series = self.write_lock();
        for (key, column) in batch.columns() {
            update(&mut series, key, |held| {
                held.reservations -= 1;
                held.write(column, at);
            });
        }
    }

    fn release(&self, batch: &Batch<'_>, reservation: usize) -> u64 {
        let mut series = self.write_lock();
        batch
            .columns()
            .take(reservation)
            .map(|(key, _)| update(&mut series, key, |held| held.reservations -= 1))
            .sum()
    }

    fn with<R>(&self, key: FieldKey<'_>, f: impl FnOnce(ColumnRef<'_>) -> R) -> Option<R> {
        let series = self.read_lock();
        let held = series.get(key.series)?.get(key.field)?;
        if held.points.is_empty() { None } else { Some(f(held.points.as_ref())) }
    }

    fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType)) {
        for (series, fields) in self.read_lock().iter() {
            for (field, held) in fields.iter().filter(|(_, held)| !held.points.is_empty()) {
                f(FieldKey::new(series, field), held.points.field_type());
            }
        }
    }

    fn delete(&self, key: FieldKey<'_>, range: TimeRange) -> u64 {
        let mut freed = 0;
        let of_key = update(&mut self.write_lock(), key, |held| freed = held.delete(range));
        freed + of_key
    }
}

#[cfg(test)]
mod tests {
    use super::Sorted;

    tsmith_cache::storer_suite!(Sorted);
    tsmith_cache::readable_suite!(Sorted);
}
