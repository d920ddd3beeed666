//! Encodes the times and values of a column.

use tsmith_codecs::{ColumnRef, StringsRef, ValuesRef};

use super::ends::{END_BYTES, Ends};
use super::stream::{COPY_MIN, FAR_COPY_MIN, Stream};
use super::{Column, TIME_BYTES};
use crate::entry::encode;

/// The times of a column, and where copies of them may be.
pub(super) struct Times<'b> {
    own: &'b [i64],
    width: usize,
    /// The number of times already written.
    known: usize,
    /// The times of another column: the first is at `beside_at`, the others at distances of `beside_width`.
    beside: &'b [i64],
    beside_at: usize,
    beside_width: usize,
}

impl<'b> Times<'b> {
    pub(super) fn new(data: ColumnRef<'b>, beside: Option<&Column<'b>>, known: usize) -> Self {
        let (own, width) = (data.times(), point_bytes(data).unwrap_or_default());
        let beside = beside.and_then(|beside| {
            let data = beside.field.data();
            Some((data.times(), beside.points_at, point_bytes(data)?))
        });
        let (beside, beside_at, beside_width) = beside.unwrap_or_default();
        Self { own, width, known, beside, beside_at, beside_width }
    }

    /// Writes the time of a point, copied from the other column or sharing a prefix with the time before.
    #[inline]
    pub(super) fn put(&self, stream: &mut Stream<'_>, point: usize) {
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

/// Bytes of a point. `None` if they differ.
fn point_bytes(data: ColumnRef<'_>) -> Option<usize> {
    match data.values() {
        ValuesRef::Float(_) | ValuesRef::Integer(_) | ValuesRef::Unsigned(_) => Some(16),
        ValuesRef::Boolean(_) => Some(9),
        ValuesRef::String(_) => None,
    }
}

pub(super) fn first_word(data: ColumnRef<'_>) -> Option<u64> {
    match data.values() {
        ValuesRef::Float(values) => values.first().map(|v| v.to_bits()),
        ValuesRef::Integer(values) => values.first().map(|v| v.cast_unsigned()),
        ValuesRef::Unsigned(values) => values.first().copied(),
        ValuesRef::Boolean(_) | ValuesRef::String(_) => None,
    }
}

/// Values of eight bytes.
pub(super) struct Words<'e> {
    /// A value with which the next one may share a prefix, and its distance.
    pub(super) likely: Option<(u64, usize)>,
    pub(super) ends: &'e mut Ends,
}

impl Words<'_> {
    pub(super) fn put<T: Copy>(
        &mut self,
        stream: &mut Stream<'_>,
        times: &Times<'_>,
        values: &[T],
        bits: impl Fn(T) -> u64,
    ) {
        for (point, &value) in values.iter().enumerate() {
            times.put(stream, point);
            self.one(stream, bits(value));
        }
    }

    #[inline]
    pub(super) fn one(&mut self, stream: &mut Stream<'_>, word: u64) {
        let same = self.likely.map_or(0, |(other, distance)| like(stream, word, other, distance));
        self.likely = Some((word, 16));
        if same > 0 {
            stream.rest(word.to_be_bytes(), same);
            return;
        }
        let end = self.ends.find(word, stream.at() + 8 - END_BYTES);
        stream.word(word.to_be_bytes(), end);
    }
}

/// Copies the bytes of a word that it shares with `other`, which is `distance` before it. Returns their
/// number.
#[inline]
fn like(stream: &mut Stream<'_>, word: u64, other: u64, distance: usize) -> usize {
    let same = ((word ^ other).leading_zeros() / 8) as usize;
    let from = stream.at() - distance;
    let enough = same >= FAR_COPY_MIN || same >= COPY_MIN && distance <= 16;
    if enough && stream.copy(from, same) { same } else { 0 }
}

/// Strings. Only a general compressor can find repetitions in them.
#[derive(Debug)]
pub(super) struct Text {
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
    pub(super) fn put(
        &mut self,
        stream: &mut Stream<'_>,
        times: &[i64],
        values: StringsRef<'_>,
        times_known: usize,
    ) {
        self.plain.clear();
        encode::strings(times, values, &mut self.plain);
        let plain = &self.plain[times_known * TIME_BYTES..];
        let room = snap::raw::max_compress_len(plain.len());
        if self.packed.len() < room {
            self.packed.resize(room, 0);
        }
        let packed = self.snappy.compress(plain, &mut self.packed);
        let packed = &self.packed[..packed.expect("`max_compress_len` is enough")];
        // After the length, a varint.
        let head = packed.iter().take_while(|&&byte| byte >= 0x80).count() + 1;
        stream.elements(&packed[head..], plain.len());
    }
}
