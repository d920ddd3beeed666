//! Points as rows of an ordered store of keys and values.
//!
//! ```text
//! key    ┌───────────────────────────┬────────┬───────────────────────────────────────────┐
//!        │ series "#!~#" field       │ 0 <1B> │ time <8B>, big-endian, sign bit flipped   │
//!        └───────────────────────────┴────────┴───────────────────────────────────────────┘
//! value  type <1B> │ 8 bytes little-endian; a boolean 1; a string its bytes
//! ```
//! So the rows of a key are neighbours, in order of time. The 0 keeps them apart from those of a longer name.

use tsmith_bench::{Found, PeerResult};
use tsmith_codecs::{Batch, Column, FieldKey, FieldType, TimeRange, Value, ValuesRef};

const TIME_BYTES: usize = 8;

/// Calls `row` with key and value of each point of a batch.
pub(super) fn of_batch(batch: &Batch<'_>, mut row: impl FnMut(&[u8], &[u8]) -> PeerResult) -> PeerResult {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for (field, data) in batch.columns() {
        key.clear();
        field.write_to(&mut key);
        key.push(0);
        let prefix = key.len();
        for at in 0..data.len() {
            key.truncate(prefix);
            key.extend_from_slice(&ordered(data.times()[at]));
            value.clear();
            value.push(tag(data.field_type()));
            match data.values() {
                ValuesRef::Float(values) => value.extend_from_slice(&values[at].to_le_bytes()),
                ValuesRef::Integer(values) => value.extend_from_slice(&values[at].to_le_bytes()),
                ValuesRef::Unsigned(values) => value.extend_from_slice(&values[at].to_le_bytes()),
                ValuesRef::Boolean(values) => value.push(u8::from(values[at])),
                ValuesRef::String(values) => value.extend_from_slice(values.get(at)),
            }
            row(&key, &value)?;
        }
    }
    Ok(())
}

/// The first and the last row of a key in a range.
pub(super) fn bounds(key: FieldKey<'_>, range: TimeRange) -> (Vec<u8>, Vec<u8>) {
    let end = |time| [&key.to_composite()[..], &[0], &ordered(time)].concat();
    (end(range.min), end(range.max))
}

/// Time as bytes in the same order.
fn ordered(time: i64) -> [u8; TIME_BYTES] {
    (time ^ i64::MIN).to_be_bytes()
}

fn tag(field_type: FieldType) -> u8 {
    let at = FieldType::ALL.iter().position(|of| *of == field_type);
    at.expect("every type is listed") as u8
}

/// Makes columns of rows that come in order.
pub(super) struct Columns<'a, 'f> {
    found: &'a mut Found<'f>,
    /// Composite key of the column that grows.
    key: Vec<u8>,
    column: Column,
}

impl<'a, 'f> Columns<'a, 'f> {
    pub(super) fn new(found: &'a mut Found<'f>) -> Self {
        Self { found, key: Vec::new(), column: Column::new(FieldType::Float) }
    }

    /// Adds the next row.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> PeerResult {
        let (key, time) = key.split_last_chunk::<TIME_BYTES>().ok_or("a row has no time")?;
        let key = key.strip_suffix(&[0]).ok_or("a row has no name")?;
        let (&tag, bytes) = value.split_first().ok_or("a row has no value")?;
        let field_type = *FieldType::ALL.get(usize::from(tag)).ok_or("a row has no type")?;
        if self.key != key {
            self.end()?;
            self.key.clear();
            self.key.extend_from_slice(key);
            self.column.reset(field_type);
        }
        let time = i64::from_be_bytes(*time) ^ i64::MIN;
        let number = || bytes.try_into().map(u64::from_le_bytes).map_err(|_| "a number has not 8 bytes");
        let value = match field_type {
            FieldType::Float => Value::Float(f64::from_bits(number()?)),
            FieldType::Integer => Value::Integer(number()?.cast_signed()),
            FieldType::Unsigned => Value::Unsigned(number()?),
            FieldType::Boolean => Value::Boolean(bytes == [1]),
            FieldType::String => Value::String(bytes),
        };
        Ok(self.column.push(time, value)?)
    }

    /// Ends the last column.
    pub(super) fn end(&mut self) -> PeerResult {
        if !self.column.is_empty() {
            (self.found)(FieldKey::parse(&self.key).ok_or("a row has no field")?, &self.column);
            self.column.reset(FieldType::Float);
        }
        Ok(())
    }
}
