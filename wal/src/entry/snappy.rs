//! Compresses the write of a batch with Snappy without building its payload.
//!
//! Most of a payload is keys: it repeats the series key for each field. A general compressor must examine all
//! these bytes. This encoder knows what repeats, and emits a copy element for it.
//!
//! ```text
//! type, length │ series, #!~#        │ field, count, first time │ value   │ time             │ value ...
//! literal      │ copy of the column  │ copy of the field in the │ literal │ copy of the time │
//!              │ before              │ series before            │         │ beside it        │
//! ```
//!
//! The result is valid Snappy for the bytes that [`encode_write`](super::encode_write) produces.

mod ends;
mod points;
mod stream;

use tsmith_codecs::{Batch, BatchField, ColumnRef, FieldType, KEY_SEPARATOR, ValuesRef};

use self::ends::Ends;
use self::points::{Text, Times, Words, first_word};
use self::stream::{COPY_MAX, CopiesOf, FAR_COPY_MIN, Stream};
use super::encode::payload_len;
use super::{common_len, type_byte};
use crate::Result;

/// Type of a column, and length of its key.
const TYPE_BYTES: usize = 3;
/// Count of a column.
const COUNT_BYTES: usize = 4;
const TIME_BYTES: usize = 8;
/// Longer string columns are passed to a general compressor.
const TEXT_MIN: usize = 512;

/// Compresses one batch after the other.
#[derive(Debug, Default)]
pub(crate) struct SnappyWrites {
    ends: Ends,
    text: Text,
}

/// A written column and its place.
struct Column<'b> {
    key_at: usize,
    points_at: usize,
    name: &'b [u8],
    field: BatchField<'b>,
    /// How many points.
    len: usize,
    first_time: i64,
    /// Of numbers.
    first_word: Option<u64>,
}

/// What a column can resemble.
#[derive(Clone, Copy)]
struct Before<'c, 'b> {
    /// The column before it in the same series.
    neighbour: Option<&'c Column<'b>>,
    /// The series before, with its last column.
    series: Option<(&'b [u8], &'c Column<'b>)>,
    /// The same field of the series before.
    sibling: Option<&'c Column<'b>>,
}

impl SnappyWrites {
    /// Appends the write of `batch`, whose keys are unique, to `out` from byte `from` on, and returns its
    /// end. Grows `out` as needed. Bytes of `out` beyond the end are undefined.
    ///
    /// # Errors
    ///
    /// As [`encode_write`](super::encode_write).
    pub(crate) fn encode(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>, from: usize) -> Result<usize> {
        debug_assert!(batch.has_unique_keys(), "a reader would keep only the last of them");
        let len = payload_len(batch)?;
        let mut stream = Stream::new(out, from, len);
        self.ends.begin(len);
        let (mut columns, mut before) = (Vec::new(), Vec::new());
        let mut key_before = &[][..];
        for series in batch.series() {
            std::mem::swap(&mut columns, &mut before);
            columns.clear();
            let (key, fields) = (series.key().0, series.columns());
            let key_copies = before.first().and_then(|_| CopiesOf::new(key.len() + KEY_SEPARATOR.len()));
            columns.reserve(fields.len());
            for field in fields {
                // The field at the same index of the series before is usually the same.
                let sibling =
                    before.get(columns.len()).filter(|other: &&Column<'_>| other.name == field.field());
                if let (Some(key_copies), Some(neighbour), Some(sibling)) =
                    (key_copies, columns.last(), sibling)
                    && let Some(column) = self.lone(&mut stream, key_copies, field, (neighbour, sibling))
                {
                    columns.push(column);
                    continue;
                }
                let before = Before {
                    neighbour: columns.last(),
                    series: before.last().map(|last| (key_before, last)),
                    sibling,
                };
                columns.push(self.column(&mut stream, key, field, before));
            }
            key_before = key;
        }
        // The length is already written in front. A wrong one would make the record unreadable.
        assert_eq!(stream.at(), len, "the entire payload was compressed");
        Ok(stream.finish())
    }

    /// Encodes a single number if the series before has one in the same field at the same time, which is the
    /// usual case. Only the number itself is new. `None` in all other cases.
    #[inline]
    fn lone<'b>(
        &mut self,
        stream: &mut Stream<'_>,
        key: CopiesOf,
        field: BatchField<'b>,
        (neighbour, sibling): (&Column<'b>, &Column<'b>),
    ) -> Option<Column<'b>> {
        let (field_type, time, word) = field.lone_number()?;
        let (name, key_at, name_at) = (sibling.name, stream.at() + TYPE_BYTES, sibling.name_at());
        let rest = name.len() + COUNT_BYTES + TIME_BYTES;
        let alike = sibling.len == 1 && sibling.first_time == time && rest <= COPY_MAX;
        if !alike || !stream.will_reach(name_at, TYPE_BYTES + key.len()) {
            return None;
        }
        let first = type_and_len(field_type, key.len() + name.len());
        stream.head(first, (neighbour.key_at, key), (name_at, rest));
        let points_at = stream.at() - TIME_BYTES;
        let likely = sibling.first_word.map(|other| (other, points_at - sibling.points_at));
        Words { likely, ends: &mut self.ends }.one(stream, word);
        Some(Column { key_at, points_at, name, field, len: 1, first_time: time, first_word: Some(word) })
    }

    fn column<'b>(
        &mut self,
        stream: &mut Stream<'_>,
        series: &'b [u8],
        field: BatchField<'b>,
        before: Before<'_, 'b>,
    ) -> Column<'b> {
        let (name, data) = (field.field(), field.data());
        stream.rest(type_and_len(data.field_type(), series.len() + KEY_SEPARATOR.len() + name.len()), 0);
        let key_at = stream.at();
        let sibling = before.sibling.filter(|sibling| sibling.len == data.len());
        let name_known = match (before.neighbour, sibling) {
            (Some(neighbour), None) => common_len(neighbour.name, name),
            _ => 0,
        };
        let key_len = series.len() + KEY_SEPARATOR.len() + name_known;
        if !before.neighbour.is_some_and(|neighbour| stream.copy(neighbour.key_at, key_len)) {
            series_key(stream, series, before.series.map(|(key, last)| (key, last.key_at)));
            stream.literal(KEY_SEPARATOR);
            stream.literal(&name[..name_known]);
        }
        let known = name_and_count(stream, &name[name_known..], data, (before.neighbour, sibling));
        let points_at = stream.at() - known * TIME_BYTES;
        let first_time = data.times().first().copied().unwrap_or_default();
        let first_word = first_word(data);
        let column = Column { key_at, points_at, name, field, len: data.len(), first_time, first_word };
        let beside = before.neighbour.or(before.series.map(|(_, last)| last));
        self.points(stream, &column, (beside, sibling), known);
        column
    }

    fn points(
        &mut self,
        stream: &mut Stream<'_>,
        column: &Column<'_>,
        (beside, sibling): (Option<&Column<'_>>, Option<&Column<'_>>),
        known: usize,
    ) {
        let data = column.field.data();
        let times = Times::new(data, beside, known);
        let likely =
            sibling.or(beside).and_then(|like| Some((like.first_word?, column.points_at - like.points_at)));
        let mut words = Words { likely, ends: &mut self.ends };
        match data.values() {
            ValuesRef::Float(values) => words.put(stream, &times, values, f64::to_bits),
            ValuesRef::Integer(values) => words.put(stream, &times, values, i64::cast_unsigned),
            ValuesRef::Unsigned(values) => words.put(stream, &times, values, |v| v),
            ValuesRef::Boolean(values) => {
                for (point, &value) in values.iter().enumerate() {
                    times.put(stream, point);
                    stream.rest([u8::from(value)], 0);
                }
            }
            ValuesRef::String(values) if values.bytes().len() < TEXT_MIN => {
                for (point, value) in values.iter().enumerate() {
                    times.put(stream, point);
                    stream.rest((value.len() as u32).to_be_bytes(), 0);
                    stream.literal(value);
                }
            }
            ValuesRef::String(values) => self.text.put(stream, data.times(), values, known),
        }
    }
}

impl Column<'_> {
    fn name_at(&self) -> usize {
        self.points_at - COUNT_BYTES - self.name.len()
    }
}

fn type_and_len(field_type: FieldType, key_len: usize) -> [u8; TYPE_BYTES] {
    let [high, low] = (key_len as u16).to_be_bytes();
    [type_byte(field_type), high, low]
}

/// Writes the rest of the name, the count, and the first time if it can be copied along. Returns 1 if it was,
/// otherwise 0.
fn name_and_count(
    stream: &mut Stream<'_>,
    name: &[u8],
    data: ColumnRef<'_>,
    (neighbour, sibling): (Option<&Column<'_>>, Option<&Column<'_>>),
) -> usize {
    let same_time = |other: &Column<'_>| Some(&other.first_time) == data.times().first();
    if let Some(sibling) = sibling {
        let known = usize::from(same_time(sibling));
        if stream.copy(sibling.name_at(), name.len() + COUNT_BYTES + known * TIME_BYTES) {
            return known;
        }
    }
    stream.literal(name);
    let counts_alike = |other: &&Column<'_>| other.len == data.len() && same_time(other);
    let neighbour = neighbour.filter(counts_alike);
    if neighbour.is_some_and(|other| stream.copy(other.points_at - COUNT_BYTES, COUNT_BYTES + TIME_BYTES)) {
        return 1;
    }
    stream.rest((data.len() as u32).to_be_bytes(), 0);
    0
}

/// Writes a series key tag by tag, comparing with that of `other`.
fn series_key(stream: &mut Stream<'_>, key: &[u8], other: Option<(&[u8], usize)>) {
    let (mut key, (mut other, other_at)) = (key, other.unwrap_or_default());
    let other_end = other_at + other.len();
    while !other.is_empty() {
        let same = common_len(key, other);
        let (copy, rest) = key.split_at(same);
        if same < FAR_COPY_MIN || !stream.copy(other_end - other.len(), same) {
            stream.literal(copy);
        }
        // They differ inside a tag: continue with the next tag of both.
        other = &other[same..];
        other = &other[to_comma(other)..];
        let (differs, rest) = rest.split_at(to_comma(rest));
        stream.literal(differs);
        key = rest;
        if key.is_empty() {
            return;
        }
    }
    stream.literal(key);
}

/// The number of bytes before the first comma, or all. Usually few, so calling a faster search would take
/// longer.
fn to_comma(key: &[u8]) -> usize {
    key.iter().take_while(|&&byte| byte != b',').count()
}

#[cfg(test)]
mod tests;
