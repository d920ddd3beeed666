//! The types of fields.

use hashbrown::HashTable;
use parking_lot::RwLock;
use tsmith_cache::{Cache, Storer};
use tsmith_codecs::{Batch, FieldKey, FieldType, SeriesKey};

use crate::error::{Error, ErrorKind, Result};
use crate::files::TsmFile;
use crate::line::Schema;

/// Fields of one batch that were found to be in order lately, so that each is looked up about once.
const REMEMBERED_MAX: usize = 64;

/// Among what a field keeps its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldTyping {
    /// A field has one type in each series. What a directory of our own has: data of any origin fits.
    #[default]
    Series,
    /// A field has one type in all series of its measurement: the rule of InfluxDB 1.x, which does not open a shard
    /// that breaks it.
    Measurement,
}

impl FieldTyping {
    /// Each with its name.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("series", Self::Series), ("measurement", Self::Measurement)];

    /// The name that manifests and flags use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Series => "series",
            Self::Measurement => "measurement",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, typing)| *typing)
    }
}

#[derive(Debug)]
struct Known {
    measurement: Box<[u8]>,
    name: Box<[u8]>,
    field_type: FieldType,
    /// Another type, which some series has it with.
    other: Option<FieldType>,
}

/// Measurement and field to type.
#[derive(Debug, Default)]
pub(crate) struct FieldTypes {
    fields: RwLock<HashTable<Known>>,
}

impl FieldTypes {
    /// Takes `field_type` for a new field. `Err` with another type that some series has, unless all are known to have
    /// this one.
    fn claim(&self, measurement: &[u8], name: &[u8], field_type: FieldType) -> Result<(), FieldType> {
        let hash = hash(measurement, name);
        let is = |field: &Known| *field.name == *name && *field.measurement == *measurement;
        let agreed = |known: &Known| match known.other {
            _ if known.field_type != field_type => Err(known.field_type),
            Some(other) => Err(other),
            None => Ok(()),
        };
        if let Some(known) = self.fields.read().find(hash, is) {
            return agreed(known);
        }
        let mut fields = self.fields.write();
        if let Some(known) = fields.find(hash, is) {
            return agreed(known);
        }
        let field = Known { measurement: measurement.into(), name: name.into(), field_type, other: None };
        fields.insert_unique(hash, field, |field| self::hash(&field.measurement, &field.name));
        Ok(())
    }

    /// Learns of a field that some series has with this type, whatever the others have.
    pub(crate) fn learn(&self, series: SeriesKey<'_>, name: &[u8], field_type: FieldType) {
        let measurement = series.measurement();
        if self.claim(measurement, name, field_type).is_ok() {
            return;
        }
        let is = |field: &Known| *field.name == *name && *field.measurement == *measurement;
        if let Some(known) = self.fields.write().find_mut(hash(measurement, name), is)
            && known.other.is_none()
            && known.field_type != field_type
        {
            known.other = Some(field_type);
            tracing::warn!(
                measurement = %SeriesKey(measurement),
                field = %SeriesKey(name),
                types = %format_args!("{} and {field_type}", known.field_type),
                "a field has two types: InfluxDB 1.x does not open a shard that holds both"
            );
        }
    }

    /// Learns of all fields that a file holds.
    pub(crate) fn learn_file(&self, file: &TsmFile) {
        let mut recent = Recent::default();
        // What is deleted whole takes any type when it is written again.
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

    /// Whether some field has two types.
    pub(crate) fn has_mixed(&self) -> bool {
        self.fields.read().iter().any(|field| field.other.is_some())
    }

    /// Whether the field has two types in its measurement.
    pub(crate) fn is_mixed(&self, key: FieldKey<'_>) -> bool {
        let measurement = SeriesKey(key.series).measurement();
        let is = |field: &Known| *field.name == *key.field && *field.measurement == *measurement;
        let fields = self.fields.read();
        fields.find(hash(measurement, key.field), is).is_some_and(|field| field.other.is_some())
    }

    /// Learns of all fields that a cache holds.
    pub(crate) fn learn_cache<S: Storer>(&self, cache: &Cache<S>) {
        cache.keys(&mut |key, field_type| self.learn(SeriesKey(key.series), key.field, field_type));
    }
}

fn hash(measurement: &[u8], name: &[u8]) -> u64 {
    SeriesKey(measurement).hash64() ^ SeriesKey(name).hash64().rotate_left(32)
}

/// Fields that came lately, in the order they came: keys and lines of one shape name the same ones over and over.
#[derive(Debug, Default)]
struct Recent {
    fields: Vec<(Vec<u8>, Vec<u8>, FieldType)>,
    expected: usize,
}

impl Recent {
    /// Whether this is the field that came after the last one before.
    fn is_next(&mut self, measurement: &[u8], name: &[u8], field_type: FieldType) -> bool {
        let is_next = self
            .fields
            .get(self.expected)
            .is_some_and(|(m, n, t)| *t == field_type && *n == name && *m == measurement);
        if is_next {
            self.expected = (self.expected + 1) % self.fields.len();
        }
        is_next
    }

    fn remember(&mut self, measurement: &[u8], name: &[u8], field_type: FieldType) {
        let is =
            |(m, n, t): &(Vec<u8>, Vec<u8>, FieldType)| *n == name && *m == measurement && *t == field_type;
        match self.fields.iter().position(is) {
            Some(at) => self.expected = (at + 1) % self.fields.len(),
            None if self.fields.len() < REMEMBERED_MAX => {
                self.fields.push((measurement.to_vec(), name.to_vec(), field_type));
                self.expected = 0;
            }
            None => {}
        }
    }
}

/// Checks the columns of one batch; fields that came lately are not looked up again.
#[derive(Debug)]
pub(crate) struct SchemaCheck<'t, K> {
    types: &'t FieldTypes,
    typing: FieldTyping,
    /// The type that a key has in cache or files.
    type_of_key: K,
    recent: Recent,
}

impl<'t, K: Fn(FieldKey<'_>) -> Option<FieldType>> SchemaCheck<'t, K> {
    pub(crate) fn new(types: &'t FieldTypes, typing: FieldTyping, type_of_key: K) -> Self {
        Self { types, typing, type_of_key, recent: Recent::default() }
    }

    /// Takes the types of a whole batch, or refuses it naming the first field that has another.
    pub(crate) fn batch(&mut self, operation: &'static str, batch: &Batch<'_>) -> Result<()> {
        for series in batch.series() {
            if !series.key().is_separable() {
                let series = series.key().to_string();
                return Err(Error::new(operation, ErrorKind::SeparatorInKey { series }));
            }
            for column in series.columns() {
                let (field, incoming) = (column.field(), column.field_type());
                self.field(series.key(), field, incoming).map_err(|existing| {
                    let key = FieldKey::new(series.key().0, field).to_string();
                    Error::new(operation, ErrorKind::TypeConflict { key, existing, incoming })
                })?;
            }
        }
        Ok(())
    }
}

impl<K: Fn(FieldKey<'_>) -> Option<FieldType>> Schema for SchemaCheck<'_, K> {
    fn field(&mut self, series: SeriesKey<'_>, field: &[u8], field_type: FieldType) -> Result<(), FieldType> {
        let measurement = series.measurement();
        if self.recent.is_next(measurement, field, field_type) {
            return Ok(());
        }
        match self.types.claim(measurement, field, field_type) {
            Ok(()) => self.recent.remember(measurement, field, field_type),
            Err(existing) if self.typing == FieldTyping::Measurement => return Err(existing),
            Err(_) => {
                let existing = (self.type_of_key)(FieldKey::new(series.0, field));
                if let Some(existing) = existing.filter(|&existing| existing != field_type) {
                    return Err(existing);
                }
                self.types.learn(series, field, field_type);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        types: &FieldTypes,
        typing: FieldTyping,
    ) -> SchemaCheck<'_, impl Fn(FieldKey<'_>) -> Option<FieldType>> {
        // One key is in a file already, as an integer.
        let stored = |key: FieldKey<'_>| (key.series == b"cpu,host=old").then_some(FieldType::Integer);
        SchemaCheck::new(types, typing, stored)
    }

    #[test]
    fn influxdb_has_one_type_for_all_series_of_a_measurement() {
        let types = FieldTypes::default();
        let mut check = check(&types, FieldTyping::Measurement);
        let field = b"usage";
        for series in [&b"cpu,host=a"[..], b"cpu,host=b"] {
            for _ in 0..3 {
                assert_eq!(check.field(SeriesKey(series), field, FieldType::Float), Ok(()));
            }
        }
        assert_eq!(check.field(SeriesKey(b"cpu"), field, FieldType::Integer), Err(FieldType::Float));
        assert_eq!(check.field(SeriesKey(b"mem"), field, FieldType::Integer), Ok(()));
        assert_eq!(check.field(SeriesKey(b"mem"), field, FieldType::Boolean), Err(FieldType::Integer));
    }

    #[test]
    fn ours_has_one_type_for_each_series() {
        let types = FieldTypes::default();
        let field = b"usage";
        // Opening learns what the files hold.
        types.learn(SeriesKey(b"cpu,host=old"), field, FieldType::Integer);
        let mut check = check(&types, FieldTyping::Series);
        assert_eq!(check.field(SeriesKey(b"cpu,host=a"), field, FieldType::Float), Ok(()));
        assert_eq!(check.field(SeriesKey(b"cpu,host=b"), field, FieldType::Integer), Ok(()));
        assert_eq!(check.field(SeriesKey(b"cpu,host=c"), field, FieldType::Float), Ok(()));
        let old = SeriesKey(b"cpu,host=old");
        assert_eq!(check.field(old, field, FieldType::Float), Err(FieldType::Integer));
        assert_eq!(check.field(old, field, FieldType::Integer), Ok(()));
    }

    /// Story: two series had a field with two types, and a write was refused with "is type float, already exists as type
    /// float".
    #[test]
    fn a_refusal_names_the_other_type() {
        let types = FieldTypes::default();
        let field = b"usage";
        types.learn(SeriesKey(b"cpu,host=a"), field, FieldType::Float);
        types.learn(SeriesKey(b"cpu,host=b"), field, FieldType::Integer);
        let mut check = check(&types, FieldTyping::Measurement);
        for (incoming, existing) in [
            (FieldType::Float, FieldType::Integer),
            (FieldType::Integer, FieldType::Float),
            (FieldType::Boolean, FieldType::Float),
        ] {
            assert_eq!(check.field(SeriesKey(b"cpu,host=a"), field, incoming), Err(existing));
        }
    }
}
