//! The table of series, fields and columns of a storer or of one partition.
//!
//! ```text
//! hash of the series ──> index ──> series: key, columns in order of first arrival ──> column
//!                                             ^ a batch finds its fields where the previous batch had them
//! ```
//!
//! Protection against hash flooding: the hash of the batch is mixed with a secret before it selects a bucket. Series
//! with equal hashes go into a map with its own keyed hash. So an attacker cannot choose keys that make lookups slow.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use tsmith_codecs::{Batch, FieldKey, FieldType, Position, TimeRange};

use crate::hot::{Generation, HotColumn};
use crate::names::Names;
use crate::{Error, Result};

const NONE: u32 = u32::MAX;

/// Marks the generation of the reservation in a slot.
const GENERATION_BIT: u32 = 1 << 31;

/// An odd number without a pattern, from the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A series with more columns than this uses a hash table to find fields that come out of order.
const COLUMNS_WALKED_MAX: usize = 16;

/// The columns of a reserved batch.
#[derive(Debug)]
pub struct TableReservation {
    /// The index of each series of the batch.
    series: Vec<u32>,
    /// For each column of the batch, its slot in the series and the generation of its reservation.
    slots: Vec<u32>,
}

impl TableReservation {
    pub(crate) fn new(batch: &Batch<'_>) -> Self {
        Self { series: vec![NONE; batch.series_count()], slots: vec![NONE; batch.column_count()] }
    }
}

/// A table. See the module documentation.
#[derive(Debug)]
pub(crate) struct Table {
    secret: [u64; 2],
    by_hash: HashTable<u32>,
    /// Series whose hash equals that of another series.
    twins: HashMap<Box<[u8]>, u32>,
    series: Vec<Series>,
    free: Vec<u32>,
    names: Names,
    /// Slots by series and name, for series with many columns.
    wide: HashMap<(u32, u32), u32>,
}

#[derive(Debug)]
struct Series {
    hash: u64,
    key: Box<[u8]>,
    columns: Vec<HotColumn>,
}

impl Default for Table {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            secret: [random.hash_one(0), random.hash_one(1) | 1],
            by_hash: HashTable::new(),
            twins: HashMap::new(),
            series: Vec::new(),
            free: Vec::new(),
            names: Names::default(),
            wide: HashMap::new(),
        }
    }
}

impl Table {
    /// Reserves the columns of these series of the batch and counts the bytes of new keys. After an error, the
    /// reservation knows how far this got.
    pub(crate) fn reserve(
        &mut self,
        batch: &Batch<'_>,
        members: impl Iterator<Item = usize>,
        reservation: &mut TableReservation,
        new_key_bytes: &mut u64,
    ) -> Result<()> {
        for member in members {
            let series = batch.series_at(member);
            let key = series.key().0;
            let place = self.find(key, series.hash()).unwrap_or_else(|| self.add_series(key, series.hash()));
            reservation.series[member] = place;
            let first = series.first_column();
            let count = series.columns().len();
            let mut expected = 0;
            for (field, reserved) in series.columns().zip(&mut reservation.slots[first..first + count]) {
                let name = field.field();
                let slot =
                    self.slot(place, name, expected).unwrap_or_else(|| self.add_column(place, name, count));
                expected = slot + 1;
                let column = &mut self.series[place as usize].columns[slot as usize];
                if column.is_vacant() {
                    column.adopt(field.field_type());
                    *new_key_bytes += FieldKey::new(key, name).composite_len() as u64;
                } else if column.field_type() != field.field_type() {
                    let key = FieldKey::new(key, name);
                    return Err(Error::type_conflict(key, column.field_type(), field.field_type()));
                }
                let generation = column.reserve();
                *reserved = slot | if generation.0 { GENERATION_BIT } else { 0 };
            }
        }
        Ok(())
    }

    /// Writes these series of the batch.
    pub(crate) fn write(
        &mut self,
        batch: &Batch<'_>,
        members: impl Iterator<Item = usize> + Clone,
        reservation: &TableReservation,
        at: Position,
    ) {
        self.touch(batch, members.clone(), reservation);
        for member in members {
            let series = batch.series_at(member);
            let columns = &mut self.series[reservation.series[member] as usize].columns;
            for (field, &slot) in series.columns().zip(&reservation.slots[series.first_column()..]) {
                let column = &mut columns[(slot & !GENERATION_BIT) as usize];
                column.write(field.data(), at);
                column.release(Generation(slot & GENERATION_BIT != 0));
            }
        }
    }

    /// Reads the end of every column first. These reads do not depend on each other, so the processor overlaps their
    /// cache misses. The writes alone would wait for one miss after the other.
    fn touch(&self, batch: &Batch<'_>, members: impl Iterator<Item = usize>, reservation: &TableReservation) {
        let mut sum = 0;
        for member in members {
            let series = batch.series_at(member);
            let columns = &self.series[reservation.series[member] as usize].columns;
            let first = series.first_column();
            for &slot in &reservation.slots[first..first + series.columns().len()] {
                sum ^= columns[(slot & !GENERATION_BIT) as usize].touch();
            }
        }
        std::hint::black_box(sum);
    }

    /// Releases the reservations of these series of the batch. Returns the bytes of the keys that disappear.
    pub(crate) fn release(
        &mut self,
        batch: &Batch<'_>,
        members: impl Iterator<Item = usize>,
        reservation: &TableReservation,
    ) -> u64 {
        let mut freed = 0;
        for member in members {
            let place = reservation.series[member];
            if place == NONE {
                continue;
            }
            let series = batch.series_at(member);
            let mut settled = false;
            for (field, &slot) in series.columns().zip(&reservation.slots[series.first_column()..]) {
                if slot == NONE {
                    break;
                }
                settled = true;
                let column = &mut self.series[place as usize].columns[(slot & !GENERATION_BIT) as usize];
                column.release(Generation(slot & GENERATION_BIT != 0));
                if column.is_vacant() {
                    freed += FieldKey::new(series.key().0, field.field()).composite_len() as u64;
                }
            }
            if settled {
                // Otherwise this entry created nothing, and another entry of the same series may already have removed
                // it.
                self.sweep(place);
            }
        }
        freed
    }

    /// The column of `key`, if it has values.
    pub(crate) fn column(&self, key: FieldKey<'_>, hash: u64) -> Option<&HotColumn> {
        let place = self.find(key.series, hash)?;
        let slot = self.slot(place, key.field, 0)?;
        Some(&self.series[place as usize].columns[slot as usize]).filter(|column| !column.is_empty())
    }

    /// Calls `f` for each key that has values.
    pub(crate) fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType)) {
        for series in &self.series {
            for column in series.columns.iter().filter(|column| !column.is_empty()) {
                f(FieldKey::new(&series.key, self.names.get(column.name())), column.field_type());
            }
        }
    }

    /// Removes the points of `key` inside `range` and returns the bytes freed.
    pub(crate) fn delete(&mut self, key: FieldKey<'_>, hash: u64, range: TimeRange) -> u64 {
        let Some(place) = self.find(key.series, hash) else { return 0 };
        let Some(slot) = self.slot(place, key.field, 0) else { return 0 };
        let column = &mut self.series[place as usize].columns[slot as usize];
        if column.is_vacant() {
            return 0;
        }
        let mut freed = column.delete(range);
        if column.is_vacant() {
            freed += key.composite_len() as u64;
            self.sweep(place);
        }
        freed
    }

    /// Mixes twice. With one multiplication, evenly spaced hashes cluster under one secret in a hundred.
    #[inline]
    fn spread(secret: [u64; 2], hash: u64) -> u64 {
        fold(fold(hash ^ secret[0], secret[1]) ^ secret[1], SPREAD)
    }

    #[inline]
    fn find(&self, key: &[u8], hash: u64) -> Option<u32> {
        let found =
            self.by_hash.find(Self::spread(self.secret, hash), |&at| self.series[at as usize].hash == hash);
        match found {
            Some(&at) if *self.series[at as usize].key == *key => Some(at),
            _ if self.twins.is_empty() => None,
            _ => self.twins.get(key).copied(),
        }
    }

    fn add_series(&mut self, key: &[u8], hash: u64) -> u32 {
        let entry = Series { hash, key: key.into(), columns: Vec::new() };
        let place = if let Some(place) = self.free.pop() {
            self.series[place as usize] = entry;
            place
        } else {
            assert!(self.series.len() < NONE as usize, "a table holds fewer than 2^32 series");
            self.series.push(entry);
            self.series.len() as u32 - 1
        };
        let (series, secret) = (&self.series, self.secret);
        let spread = Self::spread(secret, hash);
        if self.by_hash.find(spread, |&at| series[at as usize].hash == hash).is_some() {
            self.twins.insert(key.into(), place);
        } else {
            self.by_hash.insert_unique(spread, place, |&at| Self::spread(secret, series[at as usize].hash));
        }
        place
    }

    /// The slot of the field `name` of a series. Looks at `expected` first.
    #[inline]
    fn slot(&self, place: u32, name: &[u8], expected: u32) -> Option<u32> {
        let columns = &self.series[place as usize].columns;
        match columns.get(expected as usize) {
            Some(column) if self.names.get(column.name()) == name => Some(expected),
            _ if columns.is_empty() => None,
            _ => self.search(place, name),
        }
    }

    fn search(&self, place: u32, name: &[u8]) -> Option<u32> {
        let name = self.names.find(name)?;
        let columns = &self.series[place as usize].columns;
        if columns.len() > COLUMNS_WALKED_MAX {
            return self.wide.get(&(place, name)).copied();
        }
        columns.iter().position(|column| column.name() == name).map(|slot| slot as u32)
    }

    fn add_column(&mut self, place: u32, name: &[u8], in_batch: usize) -> u32 {
        let name = self.names.acquire(name);
        let columns = &mut self.series[place as usize].columns;
        if columns.is_empty() {
            // Most series never get more fields than their first batch had.
            columns.reserve_exact(in_batch);
        }
        let slot = columns.len() as u32;
        assert!(slot < GENERATION_BIT - 1, "a series holds fewer than 2^31 columns");
        columns.push(HotColumn::new(name, FieldType::Float));
        if columns.len() == COLUMNS_WALKED_MAX + 1 {
            let names = columns.iter().enumerate();
            self.wide.extend(names.map(|(slot, column)| ((place, column.name()), slot as u32)));
        } else if columns.len() > COLUMNS_WALKED_MAX {
            self.wide.insert((place, name), slot);
        }
        slot
    }

    /// Removes the vacant columns at the end of a series, and the series with its last column. Vacant columns before
    /// others stay, because reservations refer to the slots of those.
    fn sweep(&mut self, place: u32) {
        let series = &mut self.series[place as usize];
        while let Some(column) = series.columns.pop_if(|column| column.is_vacant()) {
            let count = series.columns.len();
            if count > COLUMNS_WALKED_MAX {
                self.wide.remove(&(place, column.name()));
            } else if count == COLUMNS_WALKED_MAX {
                self.wide.remove(&(place, column.name()));
                for left in &series.columns {
                    self.wide.remove(&(place, left.name()));
                }
            }
            self.names.give_up(column.name());
        }
        if !series.columns.is_empty() {
            return;
        }
        let key = std::mem::take(&mut series.key);
        if self.twins.remove(&key).is_none()
            && let Ok(found) =
                self.by_hash.find_entry(Self::spread(self.secret, series.hash), |&at| at == place)
        {
            found.remove();
        }
        self.free.push(place);
    }
}

/// Both halves of the product, combined.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_hash_are_kept_apart() {
        // xxHash64 with a known seed can be inverted, so a client can choose series with equal hashes.
        let mut table = Table::default();
        let keys: Vec<Vec<u8>> = (0..50_000).map(|n| format!("m,flood={n}").into_bytes()).collect();
        let places: Vec<u32> = keys.iter().map(|key| table.add_series(key, 7)).collect();
        for (key, place) in keys.iter().zip(&places) {
            assert_eq!(table.find(key, 7), Some(*place));
        }
        assert_eq!(table.find(b"m,flood=none", 7), None);
        assert_eq!(table.by_hash.len(), 1);
        // Remove the first series, then every other.
        for (key, &place) in keys.iter().zip(&places).step_by(2) {
            table.sweep(place);
            assert_eq!(table.find(key, 7), None);
        }
        for (key, place) in keys.iter().zip(&places).skip(1).step_by(2) {
            assert_eq!(table.find(key, 7), Some(*place));
        }
        assert!(places.contains(&table.add_series(b"m,flood=new", 7)), "indexes are reused");
    }

    #[test]
    fn hashes_with_equal_low_and_high_bits_spread() {
        // All series of a partition share four bits. An attacker also makes them share the remaining bits of a bucket
        // number.
        for _ in 0..100 {
            let secret = Table::default().secret;
            let spread: std::collections::HashSet<u64> =
                (0..20_000u64).map(|n| Table::spread(secret, n << 30) % (1 << 15)).collect();
            // Random hashes would give 14,970.
            assert!(spread.len() > 14_000, "{} of 32768 buckets are used with {secret:?}", spread.len());
        }
    }
}
