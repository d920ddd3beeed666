//! The table of series, their fields and columns: all of one storer, or one partition of it.
//!
//! ```text
//! hash of the series ──> place ──> series: key, columns in order of first arrival ──> column
//!                                             ^ a batch's fields are looked for where the last one had them
//! ```
//!
//! Hash flooding: places are found by the batch's hash mixed with a secret, and series whose whole hash is equal go to
//! a map with a keyed hash of its own. So nobody can choose keys that make look-ups long.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use tsmith_codecs::{Batch, FieldKey, FieldType, Position, TimeRange};

use crate::hot::{Generation, HotColumn};
use crate::names::Names;
use crate::{Error, Result};

const NONE: u32 = u32::MAX;

/// Marks, in a slot of a room, the generation of the reservation.
const GENERATION_BIT: u32 = 1 << 31;

/// An odd number without a pattern: the golden ratio's.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A series with more columns than this finds them by hash when they do not come in the usual order.
const COLUMNS_WALKED_MAX: usize = 16;

/// Where the columns of a reserved batch are.
#[derive(Debug)]
pub struct Room {
    /// Place of each of the batch's series.
    series: Vec<u32>,
    /// Slot of each of the batch's columns in its series, and the generation of its reservation.
    slots: Vec<u32>,
}

impl Room {
    pub(crate) fn new(batch: &Batch<'_>) -> Self {
        Self { series: vec![NONE; batch.series_count()], slots: vec![NONE; batch.column_count()] }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Table {
    secret: [u64; 2],
    by_hash: HashTable<u32>,
    /// Series whose hash equals that of another one.
    twins: HashMap<Box<[u8]>, u32>,
    series: Vec<Series>,
    free: Vec<u32>,
    names: Names,
    /// Slots by series and name, of series with many columns.
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
    /// Reserves the columns of those of the batch's series, and counts the bytes of the keys this brings in. After an
    /// error the room knows how far it got.
    pub(crate) fn reserve(
        &mut self,
        batch: &Batch<'_>,
        members: impl Iterator<Item = usize>,
        room: &mut Room,
        new_key_bytes: &mut u64,
    ) -> Result<()> {
        for member in members {
            let series = batch.series_at(member);
            let key = series.key().0;
            let place = self.find(key, series.hash()).unwrap_or_else(|| self.add_series(key, series.hash()));
            room.series[member] = place;
            let first = series.first_column();
            let count = series.columns().len();
            let mut expected = 0;
            for (field, room_slot) in series.columns().zip(&mut room.slots[first..first + count]) {
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
                *room_slot = slot | if generation.0 { GENERATION_BIT } else { 0 };
            }
        }
        Ok(())
    }

    /// Writes those of the batch's series.
    pub(crate) fn write(
        &mut self,
        batch: &Batch<'_>,
        members: impl Iterator<Item = usize> + Clone,
        room: &Room,
        at: Position,
    ) {
        self.touch(batch, members.clone(), room);
        for member in members {
            let series = batch.series_at(member);
            let columns = &mut self.series[room.series[member] as usize].columns;
            for (field, &slot) in series.columns().zip(&room.slots[series.first_column()..]) {
                let column = &mut columns[(slot & !GENERATION_BIT) as usize];
                column.write(field.data(), at);
                column.release(Generation(slot & GENERATION_BIT != 0));
            }
        }
    }

    /// Reads the end of every column first: none of these reads waits for another, so the processor overlaps the
    /// misses that the writes would take one after the other.
    fn touch(&self, batch: &Batch<'_>, members: impl Iterator<Item = usize>, room: &Room) {
        let mut sum = 0;
        for member in members {
            let series = batch.series_at(member);
            let columns = &self.series[room.series[member] as usize].columns;
            let first = series.first_column();
            for &slot in &room.slots[first..first + series.columns().len()] {
                sum ^= columns[(slot & !GENERATION_BIT) as usize].touch();
            }
        }
        std::hint::black_box(sum);
    }

    /// Gives back what the room holds of those of the batch's series; returns the bytes of the keys that vanish.
    pub(crate) fn release(
        &mut self,
        batch: &Batch<'_>,
        members: impl Iterator<Item = usize>,
        room: &Room,
    ) -> u64 {
        let mut freed = 0;
        for member in members {
            let place = room.series[member];
            if place == NONE {
                continue;
            }
            let series = batch.series_at(member);
            let mut settled = false;
            for (field, &slot) in series.columns().zip(&room.slots[series.first_column()..]) {
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
                // Else this entry made nothing, and another one of its series may have swept it away already.
                self.sweep(place);
            }
        }
        freed
    }

    /// The column of `key`, when it has values.
    pub(crate) fn column(&self, key: FieldKey<'_>, hash: u64) -> Option<&HotColumn> {
        let place = self.find(key.series, hash)?;
        let slot = self.slot(place, key.field, 0)?;
        Some(&self.series[place as usize].columns[slot as usize]).filter(|column| !column.is_empty())
    }

    /// Calls `f` for every key that has values.
    pub(crate) fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType)) {
        for series in &self.series {
            for column in series.columns.iter().filter(|column| !column.is_empty()) {
                f(FieldKey::new(&series.key, self.names.get(column.name())), column.field_type());
            }
        }
    }

    /// Removes the points of `key` inside `range`; returns the bytes freed.
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

    /// Twice, for by one multiplication hashes at equal distances crowd under one secret of a hundred.
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

    /// The slot of the field `name` of a series; looked for at `expected` first.
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
            // Series mostly have the same fields for ever: what the first batch brings is what there will be.
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

    /// Takes away the vacant columns at the end of a series, and the series with its last column. Vacant ones before
    /// others stay, for the slots of those are known to rooms.
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

/// Both halves of the product.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_hash_are_kept_apart() {
        // xxHash64 with a known seed can be inverted: whoever names series can give all of them one hash.
        let mut table = Table::default();
        let keys: Vec<Vec<u8>> = (0..50_000).map(|n| format!("m,flood={n}").into_bytes()).collect();
        let places: Vec<u32> = keys.iter().map(|key| table.add_series(key, 7)).collect();
        for (key, place) in keys.iter().zip(&places) {
            assert_eq!(table.find(key, 7), Some(*place));
        }
        assert_eq!(table.find(b"m,flood=none", 7), None);
        assert_eq!(table.by_hash.len(), 1);
        // The first one leaves, then every other.
        for (key, &place) in keys.iter().zip(&places).step_by(2) {
            table.sweep(place);
            assert_eq!(table.find(key, 7), None);
        }
        for (key, place) in keys.iter().zip(&places).skip(1).step_by(2) {
            assert_eq!(table.find(key, 7), Some(*place));
        }
        assert!(places.contains(&table.add_series(b"m,flood=new", 7)), "places are given out again");
    }

    #[test]
    fn hashes_with_equal_low_and_high_bits_spread() {
        // All series of one partition share four bits; an attacker makes them share the rest of a bucket's number too.
        for _ in 0..100 {
            let secret = Table::default().secret;
            let spread: std::collections::HashSet<u64> =
                (0..20_000u64).map(|n| Table::spread(secret, n << 30) % (1 << 15)).collect();
            // 14,970 by chance.
            assert!(spread.len() > 14_000, "{} of 32768 buckets are used with {secret:?}", spread.len());
        }
    }
}
