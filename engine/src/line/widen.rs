//! [`OnConflict::Widen`]: stores integers as floats in float fields.

use std::borrow::Cow;

use tsmith_codecs::{FieldSlot, FieldType, SeriesKey, TypeConflict, Value};

use super::{Parser, Reason, Schema, text};

/// What happens to a value whose type differs from its field's type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The line is rejected, as in InfluxDB.
    #[default]
    Reject,
    /// An integer or unsigned value becomes a float if the field is a float and the conversion is exact.
    /// Lines with any other conflict are rejected.
    Widen,
}

impl OnConflict {
    /// Parses `reject` or `widen`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "reject" => Some(Self::Reject),
            "widen" => Some(Self::Widen),
            _ => None,
        }
    }
}

/// The state within one line.
#[derive(Debug, Default)]
pub(super) struct Widening {
    /// Fields that are floats in the schema.
    pub(super) floats: Vec<Vec<u8>>,
    /// Values of the current point that became floats.
    values: u64,
}

/// Whether a field of type `existing` accepts values of type `incoming` as floats.
pub(super) fn is_wider(existing: FieldType, incoming: FieldType) -> bool {
    existing == FieldType::Float && matches!(incoming, FieldType::Integer | FieldType::Unsigned)
}

impl<'a, S: Schema> Parser<'a, '_, S> {
    /// Parses a point. If some of its integer fields are floats in the schema, parses it again with these as
    /// floats.
    pub(super) fn point(&mut self, line: &'a [u8]) -> Result<(), Reason> {
        if self.options.on_conflict == OnConflict::Reject {
            return self.exact_point(line);
        }
        self.widening = Widening::default();
        let mut done = self.exact_point(line);
        if done.is_err() && !self.widening.floats.is_empty() {
            self.abort();
            self.widening.values = 0;
            done = self.exact_point(line);
        }
        if done.is_ok() && self.widening.values > 0 {
            self.schema.widened(self.widening.values);
        }
        done.map_err(|reason| match reason {
            Reason::FieldTypeConflict { measurement, field, incoming: FieldType::Float, existing }
                if is_wider(FieldType::Float, existing) =>
            {
                Reason::StoredAsInteger { measurement, field, existing }
            }
            reason => reason,
        })
    }

    /// Adds a value to the current point, as a float if its field must be widened.
    pub(super) fn add_value(
        &mut self,
        key: &[u8],
        name: Cow<'a, [u8]>,
        mut value: Value<'_>,
    ) -> Result<(), Reason> {
        if self.widening.floats.iter().any(|float| **float == *name) {
            value = self.widen(key, &name, value)?;
        }
        let mut slot = self.builder.field(name.clone(), value);
        if let Err(TypeConflict { existing, .. }) = slot
            && self.options.on_conflict == OnConflict::Widen
            && is_wider(existing, value.field_type())
        {
            value = self.widen(key, &name, value)?;
            slot = self.builder.field(name.clone(), value);
        }
        let field_type = value.field_type();
        match slot {
            Ok(FieldSlot::New) => self.fresh.push((name, field_type)),
            Ok(FieldSlot::Known) => {}
            Err(conflict) => return Err(Reason::conflict(key, &name, field_type, conflict.existing)),
        }
        Ok(())
    }

    /// The float with exactly this value.
    fn widen<'v>(&mut self, key: &[u8], name: &[u8], value: Value<'v>) -> Result<Value<'v>, Reason> {
        let integer = match value {
            Value::Integer(integer) => i128::from(integer),
            Value::Unsigned(integer) => i128::from(integer),
            other => return Ok(other),
        };
        let float = integer as f64;
        if float as i128 != integer {
            let (measurement, field) = (text(SeriesKey(key).measurement()), text(name));
            return Err(Reason::NotAnExactFloat { measurement, field, value: integer.to_string() });
        }
        self.widening.values += 1;
        Ok(Value::Float(float))
    }
}
