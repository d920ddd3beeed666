//! The types of fields.

mod recent;
mod types;
mod typing;

use std::borrow::Cow;

use tsmith_codecs::{Batch, FieldKey, FieldType, SeriesKey};

use crate::error::{Error, ErrorKind, Result};
use crate::line::{Conflict, Schema};

pub use types::SecondType;
pub(crate) use types::{Claims, FieldTable, FieldTypes};
pub use typing::FieldTyping;

use recent::Recent;
use types::{ClaimConflict, TypeSet};

/// Checks the types of one batch without claiming them. [`SchemaCheck::claim`] claims them once the cache has
/// admitted the batch.
#[derive(Debug)]
pub(crate) struct SchemaCheck<'t, K> {
    types: &'t FieldTypes,
    /// The version of `types` before the check.
    version: u64,
    typing: FieldTyping,
    /// The type of a key in cache or files.
    type_of_key: K,
    recent: Recent,
    /// Types in the batch that are not established.
    wanted: FieldTable,
    /// Whether a key is new while its field has another type in another series. Then another batch may add
    /// the same key concurrently.
    has_new_key: bool,
    widened: u64,
}

impl<'t, K: Fn(FieldKey<'_>) -> Option<FieldType>> SchemaCheck<'t, K> {
    pub(crate) fn new(types: &'t FieldTypes, typing: FieldTyping, type_of_key: K) -> Self {
        Self {
            types,
            version: types.version(),
            typing,
            type_of_key,
            recent: Recent::default(),
            wanted: FieldTable::default(),
            has_new_key: false,
            widened: 0,
        }
    }

    /// Values that became floats so far.
    pub(crate) fn widened(&self) -> u64 {
        self.widened
    }

    /// Checks a complete batch. The error names the first field with another type.
    pub(crate) fn batch(&mut self, operation: &'static str, batch: &Batch<'_>) -> Result<()> {
        for series in batch.series() {
            if !series.key().is_separable() {
                let series = series.key().to_string();
                return Err(Error::new(operation, ErrorKind::SeparatorInKey { series }));
            }
            for column in series.columns() {
                let (field, incoming) = (column.field(), column.field_type());
                let is_new = self.check(series.key(), field, incoming).map_err(|existing| {
                    let key = FieldKey::new(series.key().0, field).to_string();
                    Error::new(operation, ErrorKind::TypeConflict { key, existing, incoming })
                })?;
                if is_new {
                    self.want(series.key(), field, incoming);
                }
            }
        }
        Ok(())
    }

    /// Claims the new types of `batch`, which this has checked. The cache has admitted the batch, so it
    /// agrees with the live store, and frozen store and files do not change meanwhile. If a type was
    /// established or points were deleted since the check, the batch is checked again.
    ///
    /// # Errors
    /// [`ErrorKind::TypeConflict`]: another batch came first.
    pub(crate) fn claim(self, operation: &'static str, batch: &Batch<'_>) -> Result<Claims<'t>> {
        let Self { types, typing, .. } = self;
        let mut wanted = self.wanted;
        if self.has_new_key || self.version != types.version() {
            let mut again = SchemaCheck::new(types, typing, self.type_of_key);
            again.batch(operation, batch)?;
            wanted = again.wanted;
        }
        types.claim(wanted, typing).map_err(|conflict| {
            let ClaimConflict { measurement, name, incoming, existing } = conflict;
            let key = FieldKey::new(&measurement, &name).to_string();
            Error::new(operation, ErrorKind::TypeConflict { key, existing, incoming })
        })
    }

    /// Compares the type of a column with the established types and with the rest of the batch. Returns true
    /// if the type is not established, and `Err` with the field's type if it differs.
    fn check(
        &mut self,
        series: SeriesKey<'_>,
        field: &[u8],
        field_type: FieldType,
    ) -> Result<bool, FieldType> {
        let measurement = series.measurement();
        if self.recent.is_next(measurement, field, field_type) {
            return Ok(false);
        }
        let established = self.types.types(measurement, field);
        let existing = match (established.other_than(field_type), self.typing) {
            (other, FieldTyping::Measurement) => {
                other.or_else(|| self.wanted.types(measurement, field).other_than(field_type))
            }
            (None, FieldTyping::Series) => None,
            (Some(_), FieldTyping::Series) => {
                let existing = (self.type_of_key)(FieldKey::new(series.0, field));
                self.has_new_key |= existing.is_none();
                existing.filter(|&existing| existing != field_type)
            }
        };
        if let Some(existing) = existing {
            return Err(existing);
        }
        if established == TypeSet::of(field_type) {
            self.recent.remember(measurement, field, field_type);
        }
        Ok(!established.contains(field_type))
    }

    /// Records a type that is not established, of an accepted column.
    fn want(&mut self, series: SeriesKey<'_>, field: &[u8], field_type: FieldType) {
        let measurement = series.measurement();
        self.wanted.insert(measurement, field, field_type);
        if self.types.types(measurement, field).is_empty() {
            self.recent.remember(measurement, field, field_type);
        }
    }
}

impl<K: Fn(FieldKey<'_>) -> Option<FieldType>> Schema for SchemaCheck<'_, K> {
    fn point(
        &mut self,
        series: SeriesKey<'_>,
        columns: &[(Cow<'_, [u8]>, FieldType)],
    ) -> Result<(), Vec<Conflict>> {
        let (mut new, mut conflicts) = (Vec::new(), Vec::new());
        for (at, (field, field_type)) in columns.iter().enumerate() {
            match self.check(series, field, *field_type) {
                Ok(true) => new.push(at),
                Ok(false) => {}
                Err(existing) => conflicts.push(Conflict { at, existing }),
            }
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        // Only after all columns are accepted, so a rejected line leaves no type.
        for (field, field_type) in new.into_iter().map(|at| &columns[at]) {
            self.want(series, field, *field_type);
        }
        Ok(())
    }

    fn widened(&mut self, values: u64) {
        self.widened += values;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        types: &FieldTypes,
        typing: FieldTyping,
    ) -> SchemaCheck<'_, impl Fn(FieldKey<'_>) -> Option<FieldType>> {
        // One key is already in a file, as an integer.
        let stored = |key: FieldKey<'_>| (key.series == b"cpu,host=old").then_some(FieldType::Integer);
        SchemaCheck::new(types, typing, stored)
    }

    /// Checks a line with one field.
    fn field<K: Fn(FieldKey<'_>) -> Option<FieldType>>(
        check: &mut SchemaCheck<'_, K>,
        series: &[u8],
        field_type: FieldType,
    ) -> Result<(), FieldType> {
        let point = check.point(SeriesKey(series), &[(b"usage"[..].into(), field_type)]);
        point.map_err(|conflicts| conflicts[0].existing)
    }

    #[test]
    fn measurement_typing_has_one_type_per_field() {
        let types = FieldTypes::default();
        let mut check = check(&types, FieldTyping::Measurement);
        for series in [&b"cpu,host=a"[..], b"cpu,host=b"] {
            for _ in 0..3 {
                assert_eq!(field(&mut check, series, FieldType::Float), Ok(()));
            }
        }
        assert_eq!(field(&mut check, b"cpu", FieldType::Integer), Err(FieldType::Float));
        assert_eq!(field(&mut check, b"mem", FieldType::Integer), Ok(()));
        assert_eq!(field(&mut check, b"mem", FieldType::Boolean), Err(FieldType::Integer));
    }

    #[test]
    fn series_typing_has_one_type_per_series() {
        let types = FieldTypes::default();
        // Opening learns the types in the files.
        types.learn(SeriesKey(b"cpu,host=old"), b"usage", FieldType::Integer);
        let mut check = check(&types, FieldTyping::Series);
        assert_eq!(field(&mut check, b"cpu,host=a", FieldType::Float), Ok(()));
        assert_eq!(field(&mut check, b"cpu,host=b", FieldType::Integer), Ok(()));
        assert_eq!(field(&mut check, b"cpu,host=c", FieldType::Float), Ok(()));
        assert_eq!(field(&mut check, b"cpu,host=old", FieldType::Float), Err(FieldType::Integer));
        assert_eq!(field(&mut check, b"cpu,host=old", FieldType::Integer), Ok(()));
    }

    /// Story: after two series had a field with two types, a write was refused with "is type float, already
    /// exists as type float".
    #[test]
    fn a_refusal_names_the_other_type() {
        let types = FieldTypes::default();
        types.learn(SeriesKey(b"cpu,host=a"), b"usage", FieldType::Float);
        types.learn(SeriesKey(b"cpu,host=b"), b"usage", FieldType::Integer);
        let mut check = check(&types, FieldTyping::Measurement);
        for (incoming, existing) in [
            (FieldType::Float, FieldType::Integer),
            (FieldType::Integer, FieldType::Float),
            (FieldType::Boolean, FieldType::Float),
        ] {
            assert_eq!(field(&mut check, b"cpu,host=a", incoming), Err(existing));
        }
    }

    /// Story: a rejected line left the type of its other, new field. A valid line after it was then rejected.
    #[test]
    fn a_rejected_line_leaves_no_type() {
        for typing in [FieldTyping::Measurement, FieldTyping::Series] {
            let types = FieldTypes::default();
            types.learn(SeriesKey(b"cpu,host=old"), b"b", FieldType::Float);
            let stored = |key: FieldKey<'_>| (key.field == b"b").then_some(FieldType::Float);
            let mut check = SchemaCheck::new(&types, typing, stored);
            let series = SeriesKey(b"cpu,host=old");
            let rejected = [(b"a"[..].into(), FieldType::Integer), (b"b"[..].into(), FieldType::String)];
            let conflict = Conflict { at: 1, existing: FieldType::Float };
            assert_eq!(check.point(series, &rejected), Err(vec![conflict]));
            assert_eq!(check.point(series, &[(b"a"[..].into(), FieldType::Float)]), Ok(()));
        }
    }

    fn batch(field_type: FieldType) -> Batch<'static> {
        let mut runs = tsmith_codecs::RunBuilder::new();
        runs.begin(b"cpu".as_slice().into(), b"usage".as_slice().into(), field_type);
        runs.finish()
    }

    /// Claims the field of a batch as `field_type`.
    fn claim(types: &FieldTypes, typing: FieldTyping, field_type: FieldType) -> Result<Claims<'_>> {
        let mut check = SchemaCheck::new(types, typing, |_| None);
        field(&mut check, b"cpu", field_type).expect("nothing is established");
        check.claim("test", &batch(field_type))
    }

    #[test]
    fn a_claim_lasts_until_it_is_dropped() {
        let (types, typing) = (FieldTypes::default(), FieldTyping::Measurement);
        let float = claim(&types, typing, FieldType::Float).expect("free");
        let again = claim(&types, typing, FieldType::Float).expect("the same type");
        drop(float);
        assert!(claim(&types, typing, FieldType::Integer).is_err(), "one batch still claims the other type");
        drop(again);
        let integer = claim(&types, typing, FieldType::Integer).expect("free again");
        assert_eq!(integer.establish(), []);
        let mut check = SchemaCheck::new(&types, typing, |_| None);
        assert_eq!(field(&mut check, b"cpu", FieldType::Float), Err(FieldType::Integer));
    }

    #[test]
    fn a_second_type_is_reported_once() {
        let (types, typing) = (FieldTypes::default(), FieldTyping::Series);
        let both = [FieldType::Float, FieldType::Integer].map(|field_type| claim(&types, typing, field_type));
        let second: Vec<_> =
            both.into_iter().flat_map(|claims| claims.expect("any type").establish()).collect();
        assert_eq!(second.len(), 1);
        assert_eq!((second[0].first, second[0].second), (FieldType::Float, FieldType::Integer));
        assert!(claim(&types, typing, FieldType::Integer).expect("known").establish().is_empty());
    }
}
