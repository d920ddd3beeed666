//! A digest of everything that an engine holds, which is equal for all parts.

use std::hash::{DefaultHasher, Hasher};

use tsmith_codecs::{Column, FieldType, TimeRange, ValuesRef};

use crate::adapter::{Store, field_key};
use crate::error::Result;

/// What an engine or store holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Of every key, type, time and value, in any order of keys.
    pub(super) digest: u64,
    pub(super) values: u64,
    /// 8 for each time, and the bytes of each value.
    pub(super) raw_bytes: u64,
}

impl Contents {
    /// Reads all points of an engine.
    pub(super) fn of(store: &Store) -> Result<Self> {
        let mut all = Self::default();
        let (mut reader, mut column) = (store.reader(), Column::new(FieldType::Float));
        for key in store.keys() {
            reader.read(field_key(&key)?, TimeRange::ALL, &mut column)?;
            all.add(&key, &column);
        }
        Ok(all)
    }

    /// Adds the points of a key.
    pub(super) fn add(&mut self, key: &[u8], column: &Column) {
        self.digest = self.digest.wrapping_add(digest_of(key, column));
        self.values += column.len() as u64;
        self.raw_bytes += raw_bytes(column);
    }
}

/// Bytes of the points of a column in memory.
fn raw_bytes(column: &Column) -> u64 {
    let values = match column.as_ref().values() {
        ValuesRef::Float(values) => values.len() * 8,
        ValuesRef::Integer(values) => values.len() * 8,
        ValuesRef::Unsigned(values) => values.len() * 8,
        ValuesRef::Boolean(values) => values.len(),
        ValuesRef::String(values) => values.iter().map(<[u8]>::len).sum(),
    };
    (column.len() * 8 + values) as u64
}

/// Hashes the key, the type, and every time and value.
pub(super) fn digest_of(key: &[u8], column: &Column) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.write(column.field_type().name().as_bytes());
    column.times().iter().for_each(|&time| hasher.write_i64(time));
    match column.as_ref().values() {
        ValuesRef::Float(values) => values.iter().for_each(|value| hasher.write_u64(value.to_bits())),
        ValuesRef::Integer(values) => values.iter().for_each(|&value| hasher.write_i64(value)),
        ValuesRef::Unsigned(values) => values.iter().for_each(|&value| hasher.write_u64(value)),
        ValuesRef::Boolean(values) => values.iter().for_each(|&value| hasher.write_u8(value.into())),
        ValuesRef::String(values) => values.iter().for_each(|value| {
            hasher.write_usize(value.len());
            hasher.write(value);
        }),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_depends_on_every_bit() {
        let column = |time, value| {
            let mut column = Column::new(FieldType::Float);
            column.push(time, tsmith_codecs::Value::Float(value)).expect("one type");
            column
        };
        let base = digest_of(b"k", &column(1, 0.0));
        assert_eq!(base, digest_of(b"k", &column(1, 0.0)));
        for other in [
            digest_of(b"l", &column(1, 0.0)),
            digest_of(b"k", &column(2, 0.0)),
            digest_of(b"k", &column(1, -0.0)),
        ] {
            assert_ne!(base, other);
        }
    }
}
