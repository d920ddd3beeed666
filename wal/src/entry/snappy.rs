//! Writes as Snappy, straight from the batch.
//!
//! Most of a write's payload are keys: a series has its own once for each of its fields. A compressor that is given the
//! bytes has to look at them all to find that out. Here the payload is never made: what stands in it already is called
//! a copy of that.
//!
//! ```text
//! type, length │ series, #!~#        │ field, count, first time │ value │ time             │ value ...
//! as they are  │ the column before   │ the field in the series  │ as it │ the column before│
//!              │ has them            │ before                   │ is    │ has it           │
//! ```
//!
//! What comes out is Snappy like any other, of the bytes that [`encode_write`](super::encode_write) makes.

mod ends;
mod stream;

use tsmith_codecs::{Batch, BatchField, ColumnRef, KEY_SEPARATOR, StringsRef, ValuesRef};

use self::ends::{END_BYTES, Ends};
use self::stream::{COPY_MIN, FAR_COPY_MIN, Stream};
use super::encode::payload_len;
use super::type_byte;
use crate::Result;

/// Count of a column.
const COUNT_BYTES: usize = 4;
const TIME_BYTES: usize = 8;
/// Columns of strings that are longer together are left to a compressor that looks into them.
const TEXT_MIN: usize = 512;

/// Compresses one batch after the other.
#[derive(Debug, Default)]
pub(crate) struct SnappyWrites {
    ends: Ends,
    text: Text,
}

/// A column that is written, and where.
struct Column<'b> {
    key_at: usize,
    points_at: usize,
    name: &'b [u8],
    data: ColumnRef<'b>,
}

/// What a column may be like.
#[derive(Clone, Copy)]
struct Before<'c, 'b> {
    /// The column before it, of the same series.
    neighbour: Option<&'c Column<'b>>,
    /// The series before, and its last column.
    series: Option<(&'b [u8], &'c Column<'b>)>,
    /// The same field of the series before.
    sibling: Option<&'c Column<'b>>,
}

impl SnappyWrites {
    /// Puts the write of `batch`, in which no key is twice, into `out` from its byte `from` on; where it ends. `out`
    /// grows as needed, and what it holds beyond means nothing.
    ///
    /// # Errors
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
            columns.reserve(fields.len());
            for field in fields {
                // The field at the same place of the series before is likely the same.
                let sibling =
                    before.get(columns.len()).filter(|other: &&Column<'_>| other.name == field.field());
                let before = Before {
                    neighbour: columns.last(),
                    series: before.last().map(|last| (key_before, last)),
                    sibling,
                };
                columns.push(self.column(&mut stream, key, field, before));
            }
            key_before = key;
        }
        // The length stands in front already: another one would make the record unreadable.
        assert_eq!(stream.at(), len, "all of the payload went in");
        Ok(stream.end())
    }

    fn column<'b>(
        &mut self,
        stream: &mut Stream<'_>,
        series: &'b [u8],
        field: BatchField<'b>,
        before: Before<'_, 'b>,
    ) -> Column<'b> {
        let (name, data) = (field.field(), field.data());
        let [high, low] = ((series.len() + KEY_SEPARATOR.len() + name.len()) as u16).to_be_bytes();
        stream.rest([type_byte(data.field_type()), high, low], 0);
        let key_at = stream.at();
        let sibling = before.sibling.filter(|sibling| sibling.data.len() == data.len());
        let name_known = match (before.neighbour, sibling) {
            (Some(neighbour), None) => common(neighbour.name, name),
            _ => 0,
        };
        let key_len = series.len() + KEY_SEPARATOR.len() + name_known;
        if !before.neighbour.is_some_and(|neighbour| stream.copy(neighbour.key_at, key_len)) {
            series_key(stream, series, before.series.map(|(key, last)| (key, last.key_at)));
            stream.literal(KEY_SEPARATOR);
            stream.literal(&name[..name_known]);
        }
        let known = name_and_count(stream, &name[name_known..], data, (before.neighbour, sibling));
        let column = Column { key_at, points_at: stream.at() - known * TIME_BYTES, name, data };
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
        let times = Times::new(column.data, beside, known);
        let likely = sibling.or(beside).and_then(|like| Some((first_word(like.data)?, like.points_at)));
        let likely = likely.map(|(word, at)| (word, column.points_at - at));
        let mut words = Words { likely, ends: &mut self.ends };
        match column.data.values() {
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
            ValuesRef::String(values) => self.text.put(stream, column.data.times(), values, known),
        }
    }
}

impl Column<'_> {
    fn name_at(&self) -> usize {
        self.points_at - COUNT_BYTES - self.name.len()
    }
}

/// What is left of the name, the count, and the first time if it can be copied along; whether it was, as 0 or 1.
fn name_and_count(
    stream: &mut Stream<'_>,
    name: &[u8],
    data: ColumnRef<'_>,
    (neighbour, sibling): (Option<&Column<'_>>, Option<&Column<'_>>),
) -> usize {
    let same_time = |other: &Column<'_>| other.data.times().first() == data.times().first();
    if let Some(sibling) = sibling {
        let known = usize::from(same_time(sibling));
        if stream.copy(sibling.name_at(), name.len() + COUNT_BYTES + known * TIME_BYTES) {
            return known;
        }
    }
    stream.literal(name);
    let counts_alike = |other: &&Column<'_>| other.data.len() == data.len() && same_time(other);
    let neighbour = neighbour.filter(counts_alike);
    if neighbour.is_some_and(|other| stream.copy(other.points_at - COUNT_BYTES, COUNT_BYTES + TIME_BYTES)) {
        return 1;
    }
    stream.rest((data.len() as u32).to_be_bytes(), 0);
    0
}

/// The key of a series, tag by tag beside that of `other`.
fn series_key(stream: &mut Stream<'_>, key: &[u8], other: Option<(&[u8], usize)>) {
    let (mut key, (mut other, other_at)) = (key, other.unwrap_or_default());
    let other_end = other_at + other.len();
    while !other.is_empty() {
        let same = common(key, other);
        let (copy, rest) = key.split_at(same);
        if same < FAR_COPY_MIN || !stream.copy(other_end - other.len(), same) {
            stream.literal(copy);
        }
        // They part inside a tag: on to the next one of both.
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

/// How many bytes are before the first comma, or all. Mostly few: a call of something faster would take longer.
fn to_comma(key: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const COMMAS: u64 = u64::from_le_bytes([b','; 8]);
    let (words, rest) = key.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        // The lowest byte that is 0 has its highest bit here, and none below it has.
        let differs = u64::from_le_bytes(*word) ^ COMMAS;
        let zero = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        if zero != 0 {
            return place * 8 + (zero.trailing_zeros() / 8) as usize;
        }
    }
    key.len() - rest.len() + rest.iter().take_while(|&&byte| byte != b',').count()
}

/// How many bytes these begin with alike.
fn common(a: &[u8], b: &[u8]) -> usize {
    let (words, others) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    let mut same = 0;
    for (a, b) in words.iter().zip(others) {
        let differs = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differs != 0 {
            return same + (differs.trailing_zeros() / 8) as usize;
        }
        same += 8;
    }
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

/// Times of a column, and where they may be already.
struct Times<'b> {
    own: &'b [i64],
    width: usize,
    /// The first so many are.
    known: usize,
    /// Those of another column: the first is at `beside_at`, each `beside_width` after the one before.
    beside: &'b [i64],
    beside_at: usize,
    beside_width: usize,
}

impl<'b> Times<'b> {
    fn new(data: ColumnRef<'b>, beside: Option<&Column<'b>>, known: usize) -> Self {
        let (own, width) = (data.times(), point_bytes(data).unwrap_or_default());
        let beside = beside.and_then(|beside| Some((beside, point_bytes(beside.data)?)));
        let (beside, beside_at, beside_width) = beside
            .map_or_else(Default::default, |(column, width)| (column.data.times(), column.points_at, width));
        Self { own, width, known, beside, beside_at, beside_width }
    }

    /// The time of a point: as the one beside it, or beginning as the one before.
    #[inline]
    fn put(&self, stream: &mut Stream<'_>, point: usize) {
        if point < self.known {
            return;
        }
        let time = self.own[point];
        let from = self.beside_at + point * self.beside_width;
        if self.beside.get(point) == Some(&time) && stream.copy(from, TIME_BYTES) {
            return;
        }
        let same = match point.checked_sub(1) {
            Some(before) if self.width > 0 => {
                like(stream, time.cast_unsigned(), self.own[before].cast_unsigned(), self.width)
            }
            _ => 0,
        };
        stream.rest(time.to_be_bytes(), same);
    }
}

/// Bytes of a point; `None` where they differ.
fn point_bytes(data: ColumnRef<'_>) -> Option<usize> {
    match data.values() {
        ValuesRef::Float(_) | ValuesRef::Integer(_) | ValuesRef::Unsigned(_) => Some(16),
        ValuesRef::Boolean(_) => Some(9),
        ValuesRef::String(_) => None,
    }
}

fn first_word(data: ColumnRef<'_>) -> Option<u64> {
    match data.values() {
        ValuesRef::Float(values) => values.first().map(|v| v.to_bits()),
        ValuesRef::Integer(values) => values.first().map(|v| v.cast_unsigned()),
        ValuesRef::Unsigned(values) => values.first().copied(),
        ValuesRef::Boolean(_) | ValuesRef::String(_) => None,
    }
}

/// Values of eight bytes.
struct Words<'e> {
    /// What the next one may begin like, and how far that is before it.
    likely: Option<(u64, usize)>,
    ends: &'e mut Ends,
}

impl Words<'_> {
    fn put<T: Copy>(
        &mut self,
        stream: &mut Stream<'_>,
        times: &Times<'_>,
        values: &[T],
        bits: impl Fn(T) -> u64,
    ) {
        for (point, &value) in values.iter().enumerate() {
            times.put(stream, point);
            let word = bits(value);
            let same = self.likely.map_or(0, |(other, distance)| like(stream, word, other, distance));
            self.likely = Some((word, 16));
            if same > 0 {
                stream.rest(word.to_be_bytes(), same);
                continue;
            }
            let [a, b, ..] = word.to_be_bytes();
            stream.rest([a, b], 0);
            if !self.ends.find(word, stream.at()).is_some_and(|from| stream.copy(from, END_BYTES)) {
                stream.rest(word.to_be_bytes(), 8 - END_BYTES);
            }
        }
    }
}

/// How many bytes of a word are copied from the other, `distance` before it, that begins like it.
#[inline]
fn like(stream: &mut Stream<'_>, word: u64, other: u64, distance: usize) -> usize {
    let same = ((word ^ other).leading_zeros() / 8) as usize;
    let from = stream.at() - distance;
    let enough = same >= FAR_COPY_MIN || same >= COPY_MIN && distance <= 16;
    if enough && stream.copy(from, same) { same } else { 0 }
}

/// Strings in which more may repeat than can be told from outside.
#[derive(Debug)]
struct Text {
    snappy: snap::raw::Encoder,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Default for Text {
    fn default() -> Self {
        Self { snappy: snap::raw::Encoder::new(), plain: Vec::new(), packed: Vec::new() }
    }
}

impl Text {
    fn put(&mut self, stream: &mut Stream<'_>, times: &[i64], values: StringsRef<'_>, times_known: usize) {
        self.plain.clear();
        super::encode::strings(times, values, &mut self.plain);
        let plain = &self.plain[times_known * TIME_BYTES..];
        let room = snap::raw::max_compress_len(plain.len());
        if self.packed.len() < room {
            self.packed.resize(room, 0);
        }
        let packed = self.snappy.compress(plain, &mut self.packed);
        let packed = &self.packed[..packed.expect("`max_compress_len` is enough")];
        // Behind the length, which has seven bits a byte.
        let head = packed.iter().take_while(|&&byte| byte >= 0x80).count() + 1;
        stream.elements(&packed[head..], plain.len());
    }
}

#[cfg(test)]
mod tests;
