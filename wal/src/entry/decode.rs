//! Decodes payloads to columns. The bytes come from disk, so every length and count is checked against the
//! remaining bytes before it is used.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

use std::borrow::Cow;
use std::collections::HashMap;

use tsmith_codecs::{Batch, BatchSeries, FieldKey, FieldType, KEY_SEPARATOR, RunBuilder, TimeRange, Value};

use super::{Entry, columns, field_type};
use crate::{Error, RecordKind, Result};

/// A cursor with its offset. It creates errors only when needed: creating and dropping one costs more than a
/// read.
#[derive(Clone)]
struct Bytes<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest, at: 0 }
    }

    fn take(&mut self, len: usize, expected: &'static str) -> Result<&'a [u8]> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or_else(|| Error::corrupt(self.at, expected))?;
        self.rest = rest;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| Error::corrupt(self.at, expected))?;
        self.rest = rest;
        self.at += N;
        Ok(*taken)
    }

    fn length(&mut self, expected: &'static str) -> Result<usize> {
        Ok(u32::from_be_bytes(self.array(expected)?) as usize)
    }
}

/// A column of a write whose points are still encoded.
struct RawColumn<'a> {
    key_at: usize,
    key: &'a [u8],
    field_type: FieldType,
    points: Points<'a>,
}

enum Points<'a> {
    /// Points of fixed width: time, then value.
    Fixed(&'a [u8]),
    /// Strings: time, length, bytes. The lengths are already checked.
    Strings(Bytes<'a>, usize),
}

/// The next column of a write; `None` at the end.
fn column<'a>(bytes: &mut Bytes<'a>) -> Result<Option<RawColumn<'a>>> {
    if bytes.rest.is_empty() {
        return Ok(None);
    }
    let at = bytes.at;
    let [byte] = bytes.array("the type of a column")?;
    let field_type = field_type(byte).ok_or_else(|| Error::corrupt(at, "a type from 1 to 5"))?;
    let key_len = u16::from_be_bytes(bytes.array("the length of a key")?).into();
    let key_at = bytes.at;
    let key = bytes.take(key_len, "a key of the length given")?;
    let count_at = bytes.at;
    let count = bytes.length("the number of points")?;
    if count == 0 {
        return Err(Error::corrupt(count_at, "at least one point"));
    }
    let fits = "no more points than bytes follow";
    let points = if field_type == FieldType::String {
        let all = bytes.clone();
        for _ in 0..count {
            let _: [u8; 8] = bytes.array(fits)?;
            let len = bytes.length("the length of a string")?;
            bytes.take(len, "a string of the length given")?;
        }
        Points::Strings(all, count)
    } else {
        let width = if field_type == FieldType::Boolean { 9 } else { 16 };
        let len = count.checked_mul(width).ok_or_else(|| Error::corrupt(count_at, fits))?;
        Points::Fixed(bytes.take(len, fits)?)
    };
    Ok(Some(RawColumn { key_at, key, field_type, points }))
}

pub(super) fn entry<'a>(kind: RecordKind, payload: &'a [u8], spare: Batch<'_>) -> Result<Entry<'a>> {
    let mut bytes = Bytes::new(payload);
    match kind {
        RecordKind::Write if payload.first() == Some(&columns::TAG) => {
            columns::decode_write(payload, spare).map(Entry::Write)
        }
        RecordKind::Write => write(bytes, spare).map(Entry::Write),
        RecordKind::Delete => Ok(Entry::Delete(deleted_keys(payload)?)),
        RecordKind::DeleteRange => {
            let range = delete_range(&mut bytes)?;
            let mut keys = Vec::new();
            while let Some((at, key)) = range_key(&mut bytes)? {
                keys.push(field_key(at, key)?);
            }
            Ok(Entry::DeleteRange { range, keys })
        }
    }
}

pub(super) fn is_well_formed(kind: RecordKind, payload: &[u8]) -> bool {
    let mut bytes = Bytes::new(payload);
    match kind {
        RecordKind::Write => loop {
            match column(&mut bytes) {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        },
        RecordKind::Delete => deleted_keys(payload).is_ok(),
        // A deletion without keys would be a mark, and marks are recognized before.
        RecordKind::DeleteRange => {
            delete_range(&mut bytes).is_ok() && !bytes.rest.is_empty() && {
                while let Ok(Some(_)) = range_key(&mut bytes) {}
                bytes.rest.is_empty()
            }
        }
    }
}

fn write<'a>(mut bytes: Bytes<'a>, spare: Batch<'_>) -> Result<Batch<'a>> {
    let mut runs = RunBuilder::reusing(spare);
    // The key prefix of the current series' fields. Consecutive fields usually belong to one series, and
    // comparing the prefix is cheaper than searching for the separator.
    let mut series: Option<&[u8]> = None;
    while let Some(column) = column(&mut bytes)? {
        let field = series.and_then(|prefix| column.key.strip_prefix(prefix));
        if let Some(field) = field {
            runs.column(Cow::Borrowed(field), column.field_type);
        } else {
            let key = field_key(column.key_at, column.key)?;
            runs.begin(Cow::Borrowed(key.series), Cow::Borrowed(key.field), column.field_type);
            series = column.key.get(..key.series.len() + KEY_SEPARATOR.len());
        }
        push(&mut runs, column)?;
    }
    let batch = runs.finish();
    Ok(if repeats_a_key(&batch) { last_columns(&batch) } else { batch })
}

/// The last column of each key.
fn last_columns<'a>(batch: &Batch<'_>) -> Batch<'a> {
    let places: HashMap<_, _> =
        batch.columns().enumerate().map(|(place, (key, _))| (key.to_composite(), place)).collect();
    let mut runs = RunBuilder::new();
    for (place, (key, column)) in batch.columns().enumerate() {
        if places.get(&key.to_composite()) == Some(&place) {
            let [series, field] = [key.series, key.field].map(|text| Cow::Owned(text.to_vec()));
            runs.begin(series, field, column.field_type());
            let fits = runs.extend(column.times(), column.values());
            debug_assert!(fits, "the column was begun with this type");
        }
    }
    runs.finish()
}

/// Whether a key has two columns. Sorting is used, because chosen keys could make a hash table slow.
fn repeats_a_key(batch: &Batch<'_>) -> bool {
    let twice = |pair: &[_]| matches!(pair, [a, b] if a == b);
    let mut hashes: Vec<u64> = batch.series().map(BatchSeries::hash).collect();
    hashes.sort_unstable();
    let mut keys = Vec::new();
    if hashes.windows(2).all(|pair| matches!(pair, [a, b] if a != b)) {
        let mut before = None;
        return batch.series().any(|series| {
            // A series usually has the same fields as the one before, which were already checked.
            if before.replace(series).is_some_and(|before| have_same_fields(before, series)) {
                return false;
            }
            keys.clear();
            keys.extend(series.columns().map(|column| (0, column.field(), &b""[..])));
            keys.sort_unstable();
            keys.windows(2).any(twice)
        });
    }
    for series in batch.series() {
        keys.extend(series.columns().map(|column| (series.hash(), column.field(), series.key().0)));
    }
    keys.sort_unstable();
    keys.windows(2).any(twice)
}

fn have_same_fields(a: BatchSeries<'_>, b: BatchSeries<'_>) -> bool {
    a.columns().len() == b.columns().len()
        && a.columns().zip(b.columns()).all(|(a, b)| a.field() == b.field())
}

fn push(runs: &mut RunBuilder<'_>, column: RawColumn<'_>) -> Result<()> {
    let mut fits = true;
    match column.points {
        Points::Strings(mut bytes, count) => {
            for _ in 0..count {
                let time = i64::from_be_bytes(bytes.array("a time")?);
                let len = bytes.length("the length of a string")?;
                fits &= runs.push(time, Value::String(bytes.take(len, "a string")?));
            }
        }
        Points::Fixed(points) if column.field_type == FieldType::Boolean => {
            for &[a, b, c, d, e, f, g, h, value] in points.as_chunks().0 {
                let time = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
                fits &= runs.push(time, Value::Boolean(value == 1));
            }
        }
        Points::Fixed(points) => {
            fits &= runs.extend_words(points.as_chunks().0.iter().map(|&point| {
                let both = u128::from_be_bytes(point);
                (((both >> 64) as u64).cast_signed(), both as u64)
            }));
        }
    }
    debug_assert!(fits, "every value has the type of its column");
    Ok(())
}

fn deleted_keys(payload: &[u8]) -> Result<Vec<FieldKey<'_>>> {
    let mut at = 0;
    let keys = payload.split(|&byte| byte == b'\n').map(|key| {
        let start = at;
        at += key.len() + 1;
        field_key(start, key)
    });
    keys.collect()
}

fn delete_range(bytes: &mut Bytes<'_>) -> Result<TimeRange> {
    let min = i64::from_be_bytes(bytes.array("the first time of a range")?);
    let max = i64::from_be_bytes(bytes.array("the last time of a range")?);
    Ok(TimeRange::new(min, max))
}

fn range_key<'a>(bytes: &mut Bytes<'a>) -> Result<Option<(usize, &'a [u8])>> {
    if bytes.rest.is_empty() {
        return Ok(None);
    }
    let len = bytes.length("the length of a key")?;
    let at = bytes.at;
    Ok(Some((at, bytes.take(len, "a key of the length given")?)))
}

fn field_key(at: usize, composite: &[u8]) -> Result<FieldKey<'_>> {
    FieldKey::parse(composite).ok_or_else(|| Error::corrupt(at, "a key with `#!~#` between series and field"))
}
