//! Payloads of records: encodes and decodes columns, in InfluxDB 1.x's layout and in a packed one.
//!
//! [`Log::layout`](crate::Log::layout) names the layout in which a log encodes writes. [`decode`] reads both,
//! which differ in their first byte. Deletions have only one layout.
//!
//! ```text
//! write         { type <1B> │ key len <2B, BE> │ key │ count <4B, BE> │ count x (time <8B, BE> │ value) }*
//!   value       1 float <8B, BE>  2 integer <8B, BE>  3 boolean <1B>  4 string len <4B, BE> + bytes  5 unsigned <8B, BE>
//! delete        keys, '\n' between them
//! delete range  min <8B, BE> │ max <8B, BE> │ { key len <4B, BE> │ key }*
//! ```
//!
//! A key is the composite of series and field. If a key occurs twice in one write, readers replace the
//! earlier column by the later one. So the encoder never writes a key twice. [`columns`] describes the packed
//! layout.

pub mod columns;
mod decode;
mod encode;
mod snappy;
mod words;

use tsmith_codecs::{Batch, FieldKey, FieldType, TimeRange};

use crate::{RecordKind, Result};

pub(crate) use snappy::SnappyWrites;

pub use encode::{encode_delete, encode_delete_range, encode_write};

/// How a write is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// InfluxDB's layout: each key with all its points, times and values interleaved.
    Influx,
    /// Packed columns: [`columns`].
    Columns,
}

impl Layout {
    /// Appends the payload of `batch` to `out`.
    ///
    /// # Errors
    /// A key or the batch is larger than the layout can represent. `out` is unchanged then.
    pub fn encode_write(self, batch: &Batch<'_>, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Influx => encode_write(batch, out),
            Self::Columns => columns::encode_write(batch, out),
        }
    }
}

/// A decoded payload.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "lives on the stack of one replayed record")]
pub enum Entry<'a> {
    /// Writes these values.
    Write(Batch<'a>),
    /// Deletes all points of these keys.
    Delete(Vec<FieldKey<'a>>),
    /// Deletes the points of these keys within the range.
    DeleteRange {
        /// The range, including both ends.
        range: TimeRange,
        /// The keys.
        keys: Vec<FieldKey<'a>>,
    },
}

impl Entry<'_> {
    /// Approximate size: the number of values, or of keys.
    pub(crate) fn value_count(&self) -> usize {
        match self {
            Self::Write(batch) => batch.value_count(),
            Self::Delete(keys) | Self::DeleteRange { keys, .. } => keys.len(),
        }
    }
}

/// Decodes a payload. For any bytes, it allocates at most a small multiple of their length. For packed
/// columns, the limits are 128 values per byte and 8 Mi values in total.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) with the offset in the payload.
pub fn decode(kind: RecordKind, payload: &[u8]) -> Result<Entry<'_>> {
    decode::entry(kind, payload, Batch::default())
}

/// Decodes payloads into reused buffers. Allocating buffers for every batch costs more than decoding its
/// values.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffers: Vec<Batch<'static>>,
}

impl Decoder {
    /// Buffers beyond these limits are not kept.
    const BUFFERS_MAX: usize = 64;
    const PAYLOAD_BYTES_MAX: usize = 4 << 20;
    const VALUES_MAX: usize = 1 << 16;

    /// As [`decode`].
    pub(crate) fn decode<'a>(&mut self, kind: RecordKind, payload: &'a [u8]) -> Result<Entry<'a>> {
        decode::entry(kind, payload, self.buffers.pop().unwrap_or_default())
    }

    /// Keeps the buffers of an entry whose payload had this length.
    pub(crate) fn recycle(&mut self, entry: Entry<'_>, payload_bytes: usize) {
        if let Entry::Write(batch) = entry
            && self.buffers.len() < Self::BUFFERS_MAX
            && payload_bytes <= Self::PAYLOAD_BYTES_MAX
            && batch.value_count() <= Self::VALUES_MAX
        {
            self.buffers.push(batch.cleared());
        }
    }
}

/// Whether lengths, counts and types of a payload are consistent, as InfluxDB's loader checks them.
pub(crate) fn is_well_formed(kind: RecordKind, payload: &[u8]) -> bool {
    decode::is_well_formed(kind, payload)
}

/// InfluxDB's byte for a type.
fn type_byte(field_type: FieldType) -> u8 {
    match field_type {
        FieldType::Float => 1,
        FieldType::Integer => 2,
        FieldType::Boolean => 3,
        FieldType::String => 4,
        FieldType::Unsigned => 5,
    }
}

/// The type with this byte.
fn field_type(byte: u8) -> Option<FieldType> {
    FieldType::ALL.into_iter().find(|field_type| type_byte(*field_type) == byte)
}

/// The length of the common prefix.
fn common_len(a: &[u8], b: &[u8]) -> usize {
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

#[cfg(test)]
mod tests;
