//! Encodes columns as payloads. This runs for every written value, so it has no branch per value.

use std::collections::HashMap;

use tsmith_codecs::{
    Batch, Column, ColumnRef, FieldKey, FieldType, KEY_BYTES_MAX, KEY_SEPARATOR, StringsRef, TimeRange,
    ValuesRef,
};

use super::type_byte;
use crate::{ENTRY_BYTES_MAX, Error, Result};

/// Type, key length and count of a column.
const COLUMN_BYTES: usize = 1 + 2 + 4;

/// Appends the payload of `batch` to `out`.
///
/// # Errors
///
/// A key is longer than InfluxDB's format can represent, or the payload exceeds the log's limit. `out` is
/// unchanged then.
pub fn encode_write(batch: &Batch<'_>, out: &mut Vec<u8>) -> Result<()> {
    out.reserve(payload_len(batch)?);
    if batch.has_unique_keys() {
        for series in batch.series() {
            for field in series.columns() {
                encode_column(FieldKey::new(series.key().0, field.field()), field.data(), out);
            }
        }
    } else {
        encode_merged(batch, out);
    }
    Ok(())
}

/// The length of the payload of `batch`, if it is valid. The actual payload is shorter if keys occur twice.
pub(super) fn payload_len(batch: &Batch<'_>) -> Result<usize> {
    let mut len = 0;
    for series in batch.series() {
        let series_len = series.key().0.len() + KEY_SEPARATOR.len();
        for field in series.columns() {
            let key = series_len + field.field().len();
            check_key_len(key)?;
            let points = match field.field_type() {
                FieldType::Float | FieldType::Integer | FieldType::Unsigned => 16 * field.len(),
                FieldType::Boolean => 9 * field.len(),
                FieldType::String => 12 * field.len() + field.data().string_bytes() as usize,
            };
            len += COLUMN_BYTES + key + points;
        }
    }
    // Every field repeats its series key, so a line of some MB can need many GB.
    if len > ENTRY_BYTES_MAX {
        return Err(Error::too_large("a record", len as u64, ENTRY_BYTES_MAX as u64));
    }
    Ok(len)
}

/// Appends the payload that deletes all points of `keys`. InfluxDB 1.x can read it, but writes only
/// [ranges](encode_delete_range).
///
/// # Errors
///
/// There is no key, or a key is longer than InfluxDB's format can represent, or a key contains a newline,
/// which separates keys. `out` is unchanged then.
pub fn encode_delete(keys: &[FieldKey<'_>], out: &mut Vec<u8>) -> Result<()> {
    keys.iter().try_for_each(|&key| check_key(key))?;
    let has_newline = |key: &FieldKey<'_>| key.series.contains(&b'\n') || key.field.contains(&b'\n');
    if keys.is_empty() || keys.iter().any(has_newline) {
        return Err(Error::corrupt(
            0,
            "at least one key, and no newline in any; delete a range of all times instead",
        ));
    }
    for (number, key) in keys.iter().enumerate() {
        if number > 0 {
            out.push(b'\n');
        }
        key.write_to(out);
    }
    Ok(())
}

/// Appends the payload that deletes the points of `keys` within `range`.
///
/// # Errors
/// A key is longer than InfluxDB's format can represent. `out` is unchanged then.
pub fn encode_delete_range(range: TimeRange, keys: &[FieldKey<'_>], out: &mut Vec<u8>) -> Result<()> {
    keys.iter().try_for_each(|&key| check_key(key))?;
    out.reserve(16 + keys.iter().map(|key| 4 + key.composite_len()).sum::<usize>());
    out.extend_from_slice(&range.min.to_be_bytes());
    out.extend_from_slice(&range.max.to_be_bytes());
    for key in keys {
        out.extend_from_slice(&(key.composite_len() as u32).to_be_bytes());
        key.write_to(out);
    }
    Ok(())
}

/// Joins the columns of a key that occurs twice, because a reader would keep only the last.
fn encode_merged(batch: &Batch<'_>, out: &mut Vec<u8>) {
    let mut columns: Vec<(FieldKey<'_>, Column)> = Vec::new();
    let mut places = HashMap::new();
    for (key, data) in batch.columns() {
        let place = *places.entry(key.to_composite()).or_insert(columns.len());
        match columns.get_mut(place) {
            None => columns.push((key, data.to_column())),
            Some((_, column)) => {
                // If the types differ, the later one counts, as for a reader of a log with both.
                if column.extend(data).is_err() {
                    *column = data.to_column();
                }
            }
        }
    }
    for (key, column) in &columns {
        encode_column(*key, column.as_ref(), out);
    }
}

fn check_key(key: FieldKey<'_>) -> Result<()> {
    check_key_len(key.composite_len())
}

pub(super) fn check_key_len(len: usize) -> Result<()> {
    if len > KEY_BYTES_MAX {
        return Err(Error::too_large("a key", len as u64, KEY_BYTES_MAX as u64));
    }
    Ok(())
}

fn encode_column(key: FieldKey<'_>, column: ColumnRef<'_>, out: &mut Vec<u8>) {
    let [high, low] = (key.composite_len() as u16).to_be_bytes();
    out.extend_from_slice(&[type_byte(column.field_type()), high, low]);
    key.write_to(out);
    out.extend_from_slice(&(column.len() as u32).to_be_bytes());
    let times = column.times();
    match column.values() {
        ValuesRef::Float(values) => words(times, values, f64::to_bits, out),
        ValuesRef::Integer(values) => words(times, values, i64::cast_unsigned, out),
        ValuesRef::Unsigned(values) => words(times, values, |v| v, out),
        ValuesRef::Boolean(values) => {
            for (time, &value) in times.iter().zip(values) {
                let mut point = [u8::from(value); 9];
                point[..8].copy_from_slice(&time.to_be_bytes());
                out.extend_from_slice(&point);
            }
        }
        ValuesRef::String(values) => strings(times, values, out),
    }
}

/// Appends times and strings.
pub(super) fn strings(times: &[i64], values: StringsRef<'_>, out: &mut Vec<u8>) {
    for (time, value) in times.iter().zip(values.iter()) {
        let mut head = [0; 12];
        head[..8].copy_from_slice(&time.to_be_bytes());
        head[8..].copy_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(value);
    }
}

/// Appends times and values of eight bytes. The vector grows only once.
fn words<T: Copy>(times: &[i64], values: &[T], bits: impl Fn(T) -> u64, out: &mut Vec<u8>) {
    let point = |time: i64, value: T| -> [u8; 16] {
        (u128::from(time.cast_unsigned()) << 64 | u128::from(bits(value))).to_be_bytes()
    };
    if let (&[time], &[value]) = (times, values) {
        return out.extend_from_slice(&point(time, value));
    }
    let from = out.len();
    out.resize(from + 16 * times.len(), 0);
    for ((to, &time), &value) in out[from..].as_chunks_mut().0.iter_mut().zip(times).zip(values) {
        *to = point(time, value);
    }
}
