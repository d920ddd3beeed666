//! Columns to payloads. This runs for every value on its way in, so it has no branch for a value.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use tsmith_codecs::{
    Batch, Column, ColumnRef, FieldKey, FieldType, KEY_BYTES_MAX, KEY_SEPARATOR, StringsRef, TimeRange,
    ValuesRef,
};

use super::type_byte;
use crate::{ENTRY_BYTES_MAX, Error, Result};

/// Type, key length and count of a column.
const COLUMN_BYTES: usize = 1 + 2 + 4;
/// Points that are turned into bytes at a time, on the stack.
const CHUNK_POINTS: usize = 64;

/// Points on their way into the vector. One for a whole batch: to clear it for every column would cost more than the
/// points of a short one.
struct Chunk([[u8; 16]; CHUNK_POINTS]);

impl Default for Chunk {
    fn default() -> Self {
        Self([[0; 16]; CHUNK_POINTS])
    }
}

/// Appends the payload of `batch` to `out`.
///
/// # Errors
/// A key is longer than InfluxDB's format can say, or the payload longer than a log takes; `out` is as before.
pub fn encode_write(batch: &Batch<'_>, out: &mut Vec<u8>) -> Result<()> {
    let len = payload_len(batch)?;
    if !batch.has_unique_keys() {
        return encode_merged(batch, out);
    }
    out.reserve(len);
    let mut chunk = Chunk::default();
    for series in batch.series() {
        for field in series.columns() {
            encode_column(FieldKey::new(series.key().0, field.field()), field.data(), &mut chunk, out);
        }
    }
    Ok(())
}

/// How long the payload of `batch` is, if it has one; with keys that occur twice, at most.
pub(super) fn payload_len(batch: &Batch<'_>) -> Result<usize> {
    let mut len = 0;
    for series in batch.series() {
        let series_len = series.key().0.len() + KEY_SEPARATOR.len();
        for field in series.columns() {
            let key = series_len + field.field().len();
            check_key_len(key)?;
            len += column_len(key, field.field_type(), field.len(), || field.data());
        }
    }
    // Every field repeats the key of its series: one line of some MB may say many GB.
    if len > ENTRY_BYTES_MAX {
        return Err(Error::too_large("a record", len as u64, ENTRY_BYTES_MAX as u64));
    }
    Ok(len)
}

/// Appends the payload that deletes `keys` whole. InfluxDB 1.x reads it, and writes [ranges](encode_delete_range) only.
///
/// # Errors
/// There is no key, or one is longer than InfluxDB's format can say or has the newline in it that stands between keys; `out`
/// is as before.
pub fn encode_delete(keys: &[FieldKey<'_>], out: &mut Vec<u8>) -> Result<()> {
    keys.iter().try_for_each(|&key| check_key(key))?;
    let has_newline = |key: &FieldKey<'_>| key.series.contains(&b'\n') || key.field.contains(&b'\n');
    if keys.is_empty() || keys.iter().any(has_newline) {
        return Err(Error::corrupt(
            0,
            "at least one key, and no newline in any; a range of all times has room for it",
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
/// A key is longer than InfluxDB's format can say; `out` is as before.
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

/// For batches that may hold a key twice: joins its columns, since a reader would keep only the last.
fn encode_merged(batch: &Batch<'_>, out: &mut Vec<u8>) -> Result<()> {
    let mut order: Vec<(FieldKey<'_>, Column)> = Vec::new();
    let mut places = HashMap::new();
    for (key, data) in batch.columns() {
        check_key(key)?;
        match places.entry(key.to_composite()) {
            Slot::Vacant(slot) => {
                slot.insert(order.len());
                order.push((key, data.to_column()));
            }
            // Of two types the later one counts, as for the reader of a log that holds both.
            Slot::Occupied(slot) => {
                let (_, column) = &mut order[*slot.get()];
                if !column.extend(data) {
                    *column = data.to_column();
                }
            }
        }
    }
    let len_of = |key: FieldKey<'_>, column: &Column| {
        column_len(key.composite_len(), column.field_type(), column.len(), || column.as_ref())
    };
    out.reserve(order.iter().map(|(key, column)| len_of(*key, column)).sum());
    let mut chunk = Chunk::default();
    for (key, column) in &order {
        encode_column(*key, column.as_ref(), &mut chunk, out);
    }
    Ok(())
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

fn column_len<'a>(
    key: usize,
    field_type: FieldType,
    points: usize,
    data: impl FnOnce() -> ColumnRef<'a>,
) -> usize {
    let values = match field_type {
        FieldType::Float | FieldType::Integer | FieldType::Unsigned => 8 * points,
        FieldType::Boolean => points,
        FieldType::String => match data().values() {
            ValuesRef::String(strings) => 4 * points + strings.bytes().len(),
            _ => 0,
        },
    };
    COLUMN_BYTES + key + 8 * points + values
}

fn encode_column(key: FieldKey<'_>, column: ColumnRef<'_>, chunk: &mut Chunk, out: &mut Vec<u8>) {
    let [high, low] = (key.composite_len() as u16).to_be_bytes();
    out.extend_from_slice(&[type_byte(column.field_type()), high, low]);
    out.extend_from_slice(key.series);
    out.extend_from_slice(KEY_SEPARATOR);
    out.extend_from_slice(key.field);
    out.extend_from_slice(&(column.len() as u32).to_be_bytes());
    let times = column.times();
    match column.values() {
        ValuesRef::Float(values) => words(times, values, f64::to_bits, chunk, out),
        ValuesRef::Integer(values) => words(times, values, i64::cast_unsigned, chunk, out),
        ValuesRef::Unsigned(values) => words(times, values, |v| v, chunk, out),
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

/// Times and strings.
pub(super) fn strings(times: &[i64], values: StringsRef<'_>, out: &mut Vec<u8>) {
    for (time, value) in times.iter().zip(values.iter()) {
        let mut head = [0; 12];
        head[..8].copy_from_slice(&time.to_be_bytes());
        head[8..].copy_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(value);
    }
}

/// Times and values of eight bytes. Through a buffer on the stack, so that the vector is asked for room once a chunk.
fn words<T: Copy>(
    times: &[i64],
    values: &[T],
    bits: impl Fn(T) -> u64,
    Chunk(chunk): &mut Chunk,
    out: &mut Vec<u8>,
) {
    let point = |time: i64, value: T| -> [u8; 16] {
        (u128::from(time.cast_unsigned()) << 64 | u128::from(bits(value))).to_be_bytes()
    };
    if let (&[time], &[value]) = (times, values) {
        out.extend_from_slice(&point(time, value));
        return;
    }
    for (times, values) in times.chunks(CHUNK_POINTS).zip(values.chunks(CHUNK_POINTS)) {
        for ((to, &time), &value) in chunk.iter_mut().zip(times).zip(values) {
            *to = point(time, value);
        }
        out.extend_from_slice(chunk[..times.len()].as_flattened());
    }
}
