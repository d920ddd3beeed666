//! [`FieldTypes`]: the types of all fields, and the claims of batches that are not published yet.
//!
//! A type is *established* when points of it are published. Before that, a batch *claims* it while it holds
//! the cache's gate. So every key in the frozen store and in files has an established type.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::RwLock;
use tsmith_cache::{Cache, Storer};
use tsmith_codecs::{FieldKey, FieldType, SeriesKey};

use super::recent::Recent;
use super::typing::FieldTyping;
use crate::files::TsmFile;

/// A set of field types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TypeSet(u8);

impl TypeSet {
    fn bit(field_type: FieldType) -> u8 {
        1 << field_type as u8
    }

    pub(super) fn of(field_type: FieldType) -> Self {
        Self(Self::bit(field_type))
    }

    pub(crate) fn contains(self, field_type: FieldType) -> bool {
        self.0 & Self::bit(field_type) != 0
    }

    /// The first type in the set other than this one.
    pub(super) fn other_than(self, field_type: FieldType) -> Option<FieldType> {
        self.iter().find(|&other| other != field_type)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = FieldType> {
        FieldType::ALL.into_iter().filter(move |&field_type| self.contains(field_type))
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn is_several(self) -> bool {
        self.0.count_ones() > 1
    }
}

/// A field of a measurement and its types.
#[derive(Debug)]
struct Known {
    measurement: Box<[u8]>,
    name: Box<[u8]>,
    types: TypeSet,
    /// For each type, the number of batches in flight that claim it.
    claims: [u32; FieldType::ALL.len()],
}

impl Known {
    fn is(&self, measurement: &[u8], name: &[u8]) -> bool {
        *self.name == *name && *self.measurement == *measurement
    }

    fn is_claimed(&self) -> bool {
        self.claims.iter().any(|&claims| claims > 0)
    }

    /// The established types, and the types claimed by batches in flight.
    fn present(&self) -> TypeSet {
        let claimed = FieldType::ALL.into_iter().filter(|&claimed| self.claims[claimed as usize] > 0);
        claimed.map(TypeSet::of).fold(self.types, TypeSet::union)
    }
}

/// Types by measurement and field.
#[derive(Debug, Default)]
pub(crate) struct FieldTable {
    fields: HashTable<Known>,
}

impl FieldTable {
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The established types of a field.
    pub(crate) fn types(&self, measurement: &[u8], name: &[u8]) -> TypeSet {
        self.find(measurement, name).map_or_else(TypeSet::default, |known| known.types)
    }

    /// Whether the table contains the field.
    pub(crate) fn has(&self, measurement: &[u8], name: &[u8]) -> bool {
        self.find(measurement, name).is_some()
    }

    /// Adds a type of a field. Returns false if the field had it.
    pub(crate) fn insert(&mut self, measurement: &[u8], name: &[u8], field_type: FieldType) -> bool {
        let known = self.entry(measurement, name);
        let is_new = !known.types.contains(field_type);
        known.types = known.types.union(TypeSet::of(field_type));
        is_new
    }

    /// Adds a field with these types.
    pub(crate) fn insert_all(&mut self, measurement: &[u8], name: &[u8], types: TypeSet) {
        let known = self.entry(measurement, name);
        known.types = known.types.union(types);
    }

    /// All fields: measurement, name and types.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], TypeSet)> {
        self.fields.iter().map(|known| (&*known.measurement, &*known.name, known.types))
    }

    fn find(&self, measurement: &[u8], name: &[u8]) -> Option<&Known> {
        self.fields.find(hash(measurement, name), |known| known.is(measurement, name))
    }

    fn entry(&mut self, measurement: &[u8], name: &[u8]) -> &mut Known {
        let new = || Known {
            measurement: measurement.into(),
            name: name.into(),
            types: TypeSet::default(),
            claims: [0; FieldType::ALL.len()],
        };
        let rehash = |known: &Known| hash(&known.measurement, &known.name);
        let entry = self.fields.entry(hash(measurement, name), |known| known.is(measurement, name), rehash);
        entry.or_insert_with(new).into_mut()
    }

    /// Removes a field that has no type and no claim.
    fn remove_unused(&mut self, measurement: &[u8], name: &[u8]) {
        let unused =
            |known: &Known| known.is(measurement, name) && known.types.is_empty() && !known.is_claimed();
        if let Ok(entry) = self.fields.find_entry(hash(measurement, name), unused) {
            entry.remove();
        }
    }
}

fn hash(measurement: &[u8], name: &[u8]) -> u64 {
    SeriesKey(measurement).hash64() ^ SeriesKey(name).hash64().rotate_left(32)
}

/// The types of all fields; see the module.
#[derive(Debug, Default)]
pub(crate) struct FieldTypes {
    table: RwLock<FieldTable>,
    /// Changes when a type is established and when points are deleted.
    version: AtomicU64,
}

impl FieldTypes {
    /// A number that changes when a type is established and when points are deleted. While it stays the same,
    /// keys in the frozen store and in files keep their types.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Records that points were deleted. The gate is closed.
    pub(crate) fn note_delete(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// The established types of a field.
    pub(crate) fn types(&self, measurement: &[u8], name: &[u8]) -> TypeSet {
        self.table.read().types(measurement, name)
    }

    /// Establishes a type that a series has, even if other series have another type.
    pub(crate) fn learn(&self, series: SeriesKey<'_>, name: &[u8], field_type: FieldType) {
        let measurement = series.measurement();
        if !self.types(measurement, name).contains(field_type) {
            self.table.write().insert(measurement, name, field_type);
            self.version.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Establishes the types of all live keys of a file.
    pub(crate) fn learn_file(&self, file: &TsmFile) {
        let mut recent = Recent::default();
        // A key whose points are all deleted may be written with another type.
        for key in file.reader().keys().filter(|&key| !file.deletions().covers_key(key)) {
            let Some(FieldKey { series, field }) = FieldKey::parse(key.key()) else { continue };
            let (series, field_type) = (SeriesKey(series), key.field_type());
            let measurement = series.measurement();
            if !recent.is_next(measurement, field, field_type) {
                self.learn(series, field, field_type);
                recent.remember(measurement, field, field_type);
            }
        }
    }

    /// Establishes the types of all keys of a cache.
    pub(crate) fn learn_cache<S: Storer>(&self, cache: &Cache<S>) {
        cache.keys(&mut |key, field_type| self.learn(SeriesKey(key.series), key.field, field_type));
    }

    /// Whether a field has two types.
    pub(crate) fn has_mixed(&self) -> bool {
        self.table.read().iter().any(|(_, _, types)| types.is_several())
    }

    /// Whether the field has two types in its measurement.
    pub(crate) fn is_mixed(&self, key: FieldKey<'_>) -> bool {
        self.types(SeriesKey(key.series).measurement(), key.field).is_several()
    }

    /// Claims the types in `wanted` for a batch inside the gate: all of them or none.
    ///
    /// # Errors
    /// With typing by measurement: a field has another type, or a batch in flight claims one.
    pub(super) fn claim(&self, wanted: FieldTable, typing: FieldTyping) -> Result<Claims<'_>, ClaimConflict> {
        if wanted.is_empty() {
            return Ok(Claims { types: self, claimed: wanted });
        }
        let mut table = self.table.write();
        if typing == FieldTyping::Measurement {
            for (measurement, name, types) in wanted.iter() {
                let present = table.find(measurement, name).map_or_else(TypeSet::default, Known::present);
                let other = types.iter().find_map(|incoming| Some((incoming, present.other_than(incoming)?)));
                if let Some((incoming, existing)) = other {
                    let (measurement, name) = (measurement.to_vec(), name.to_vec());
                    return Err(ClaimConflict { measurement, name, incoming, existing });
                }
            }
        }
        for (measurement, name, types) in wanted.iter() {
            let known = table.entry(measurement, name);
            types.iter().for_each(|claimed| known.claims[claimed as usize] += 1);
        }
        Ok(Claims { types: self, claimed: wanted })
    }

    /// Removes the types of the fields in `gone` that are not in `held`. No batch is in flight.
    pub(crate) fn release(&self, gone: &FieldTable, held: &FieldTable) {
        let mut table = self.table.write();
        for (measurement, name, _) in gone.iter() {
            table.entry(measurement, name).types = held.types(measurement, name);
            table.remove_unused(measurement, name);
        }
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}

/// A field that got a second type. InfluxDB does not open a shard with both types in one measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondType {
    /// The measurement, escaped as in a series key.
    pub measurement: Vec<u8>,
    /// The field.
    pub field: Vec<u8>,
    /// The type it had.
    pub first: FieldType,
    /// The type it got.
    pub second: FieldType,
}

impl SecondType {
    fn new(measurement: &[u8], field: &[u8], first: FieldType, second: FieldType) -> Self {
        Self { measurement: measurement.to_vec(), field: field.to_vec(), first, second }
    }
}

impl fmt::Display for SecondType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (measurement, field) = (SeriesKey(&self.measurement), SeriesKey(&self.field));
        let (first, second) = (self.first.min(self.second), self.first.max(self.second));
        write!(
            f,
            "field \"{field}\" of measurement \"{measurement}\" has two types now, {first} and {second}"
        )
    }
}

/// A type that a batch cannot claim.
#[derive(Debug)]
pub(super) struct ClaimConflict {
    pub(super) measurement: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) incoming: FieldType,
    pub(super) existing: FieldType,
}

/// The new types of a batch. Dropping the claims releases them.
#[derive(Debug)]
#[must_use = "claims are established when the batch is published"]
pub(crate) struct Claims<'t> {
    types: &'t FieldTypes,
    claimed: FieldTable,
}

impl Claims<'_> {
    /// Establishes the types, just before the batch is published inside the gate. Returns the fields that had
    /// another type before.
    pub(crate) fn establish(mut self) -> Vec<SecondType> {
        let mut second = Vec::new();
        if self.claimed.is_empty() {
            return second;
        }
        let claimed = std::mem::take(&mut self.claimed);
        let mut table = self.types.table.write();
        for (measurement, name, types) in claimed.iter() {
            let known = table.entry(measurement, name);
            for field_type in types.iter() {
                known.claims[field_type as usize] -= 1;
                if !known.types.contains(field_type) {
                    let first = known.types.other_than(field_type);
                    known.types = known.types.union(TypeSet::of(field_type));
                    second.extend(first.map(|first| SecondType::new(measurement, name, first, field_type)));
                }
            }
        }
        self.types.version.fetch_add(1, Ordering::AcqRel);
        drop(table);
        for found in &second {
            tracing::warn!("{found}");
        }
        second
    }
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        if self.claimed.is_empty() {
            return;
        }
        let mut table = self.types.table.write();
        for (measurement, name, types) in self.claimed.iter() {
            let known = table.entry(measurement, name);
            types.iter().for_each(|claimed| known.claims[claimed as usize] -= 1);
            table.remove_unused(measurement, name);
        }
    }
}
