//! The type of every field: one for all series of a measurement, as InfluxDB keeps it for a shard.

use hashbrown::HashTable;
use parking_lot::RwLock;
use tsmith_codecs::{Batch, FieldKey, FieldType, SeriesKey};

use crate::error::{Error, ErrorKind, Result};
use crate::line::Schema;

/// Fields of one batch that were found to be in order lately, so that each is looked up about once.
const REMEMBERED_MAX: usize = 64;

#[derive(Debug)]
struct Known {
    measurement: Box<[u8]>,
    name: Box<[u8]>,
    field_type: FieldType,
}

/// Measurement and field to type.
#[derive(Debug, Default)]
pub(crate) struct FieldTypes {
    fields: RwLock<HashTable<Known>>,
}

impl FieldTypes {
    /// Takes `field_type` for a new field; `Err` with the type a known one has if that is another.
    pub(crate) fn claim(
        &self,
        measurement: &[u8],
        name: &[u8],
        field_type: FieldType,
    ) -> Result<(), FieldType> {
        let hash = hash(measurement, name);
        let is = |field: &Known| *field.name == *name && *field.measurement == *measurement;
        let agreed = |existing: FieldType| if existing == field_type { Ok(()) } else { Err(existing) };
        if let Some(known) = self.fields.read().find(hash, is) {
            return agreed(known.field_type);
        }
        let mut fields = self.fields.write();
        if let Some(known) = fields.find(hash, is) {
            return agreed(known.field_type);
        }
        let field = Known { measurement: measurement.into(), name: name.into(), field_type };
        fields.insert_unique(hash, field, |field| self::hash(&field.measurement, &field.name));
        Ok(())
    }

    /// Takes the types of a whole batch, or refuses it naming the first field that has another.
    pub(crate) fn claim_batch(&self, operation: &'static str, batch: &Batch<'_>) -> Result<()> {
        let mut check = SchemaCheck::new(self);
        for series in batch.series() {
            if !series.key().is_separable() {
                return Err(Error::new(
                    operation,
                    ErrorKind::SeparatorInKey { series: series.key().to_string() },
                ));
            }
            for column in series.columns() {
                let (field, incoming) = (column.field(), column.field_type());
                check.field(series.key(), field, incoming).map_err(|existing| {
                    let key = FieldKey::new(series.key().0, field).to_string();
                    Error::new(operation, ErrorKind::TypeConflict { key, existing, incoming })
                })?;
            }
        }
        Ok(())
    }
}

fn hash(measurement: &[u8], name: &[u8]) -> u64 {
    SeriesKey(measurement).hash64() ^ SeriesKey(name).hash64().rotate_left(32)
}

/// Checks the columns of one batch. Lines of one shape name the same fields over and over: those that came lately, in
/// the order they came, are not looked up again.
#[derive(Debug)]
pub(crate) struct SchemaCheck<'t> {
    types: &'t FieldTypes,
    remembered: Vec<(Vec<u8>, Vec<u8>, FieldType)>,
    expected: usize,
}

impl<'t> SchemaCheck<'t> {
    pub(crate) fn new(types: &'t FieldTypes) -> Self {
        Self { types, remembered: Vec::new(), expected: 0 }
    }
}

impl Schema for SchemaCheck<'_> {
    fn field(&mut self, series: SeriesKey<'_>, field: &[u8], field_type: FieldType) -> Result<(), FieldType> {
        let measurement = series.measurement();
        if let Some((m, f, t)) = self.remembered.get(self.expected)
            && *t == field_type
            && *f == field
            && *m == measurement
        {
            self.expected = (self.expected + 1) % self.remembered.len();
            return Ok(());
        }
        self.types.claim(measurement, field, field_type)?;
        let is =
            |(m, f, t): &(Vec<u8>, Vec<u8>, FieldType)| *f == field && *m == measurement && *t == field_type;
        match self.remembered.iter().position(is) {
            Some(at) => self.expected = (at + 1) % self.remembered.len(),
            None if self.remembered.len() < REMEMBERED_MAX => {
                self.remembered.push((measurement.to_vec(), field.to_vec(), field_type));
                self.expected = 0;
            }
            None => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_one_type_for_all_series_of_its_measurement() {
        let types = FieldTypes::default();
        let mut check = SchemaCheck::new(&types);
        let field = b"usage";
        for series in [&b"cpu,host=a"[..], b"cpu,host=b"] {
            for _ in 0..3 {
                assert_eq!(check.field(SeriesKey(series), field, FieldType::Float), Ok(()));
            }
        }
        assert_eq!(check.field(SeriesKey(b"cpu"), field, FieldType::Integer), Err(FieldType::Float));
        assert_eq!(check.field(SeriesKey(b"mem"), field, FieldType::Integer), Ok(()));
        assert_eq!(types.claim(b"mem", field, FieldType::Boolean), Err(FieldType::Integer));
    }
}
