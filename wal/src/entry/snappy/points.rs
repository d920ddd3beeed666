//! Times and values of a column.

use tsmith_codecs::{ColumnRef, StringsRef, ValuesRef};

use super::ends::{END_BYTES, Ends};
use super::stream::{COPY_MIN, FAR_COPY_MIN, Stream};
use super::{Column, TIME_BYTES};
use crate::entry::encode;

/// Times of a column, and where they may be already.
pub(super) struct Times<'b> {
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
    pub(super) fn new(data: ColumnRef<'b>, beside: Option<&Column<'b>>, known: usize) -> Self {
        let (own, width) = (data.times(), point_bytes(data).unwrap_or_default());
        let beside = beside.and_then(|beside| {
            let data = beside.field.data();
            Some((data.times(), beside.points_at, point_bytes(data)?))
        });
        let (beside, beside_at, beside_width) = beside.unwrap_or_default();
        Self { own, width, known, beside, beside_at, beside_width }
    }

    /// The time of a point: as the one beside it, or beginning as the one before.
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

/// Bytes of a point; `None` where they differ.
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
    /// What the next one may begin like, and how far that is before it.
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
        // Behind the length, which has seven bits a byte.
        let head = packed.iter().take_while(|&&byte| byte >= 0x80).count() + 1;
        stream.elements(&packed[head..], plain.len());
    }
}
