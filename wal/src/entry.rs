//! The payloads of InfluxDB 1.x: columns to entries and back.
//!
//! ```text
//! write         { type <1B> │ key len <2B, BE> │ key │ count <4B, BE> │ count x (time <8B, BE> │ value) }*
//!   value       1 float <8B, BE>  2 integer <8B, BE>  3 boolean <1B>  4 string len <4B, BE> + bytes  5 unsigned <8B, BE>
//! delete        keys, '\n' between them
//! delete range  min <8B, BE> │ max <8B, BE> │ { key len <4B, BE> │ key }*
//! ```
//!
//! A key is the composite of series and field. Of a key that occurs twice in one write the later column replaces the
//! earlier one, so the encoder never writes a key twice.

mod decode;
mod encode;

use tsmith_codecs::{Batch, FieldKey, FieldType, TimeRange};

use crate::{RecordKind, Result};

pub use encode::{encode_delete_range, encode_write};

/// What a payload says.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "lives on the stack of one replayed record")]
pub enum Entry<'a> {
    /// These values were written.
    Write(Batch<'a>),
    /// These keys were deleted whole.
    Delete(Vec<FieldKey<'a>>),
    /// The points of these keys within the range were deleted.
    DeleteRange {
        /// Both ends belong to it.
        range: TimeRange,
        /// The keys.
        keys: Vec<FieldKey<'a>>,
    },
}

/// Reads a payload. Never allocates more than a small multiple of its length, whatever the bytes.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) with the byte of the payload.
pub fn decode(kind: RecordKind, payload: &[u8]) -> Result<Entry<'_>> {
    decode::entry(kind, payload)
}

/// Whether lengths, counts and types of a payload fit together, as InfluxDB's loader checks them.
pub(crate) fn is_well_formed(kind: RecordKind, payload: &[u8]) -> bool {
    decode::is_well_formed(kind, payload)
}

/// InfluxDB's byte for a type in its log.
fn type_byte(field_type: FieldType) -> u8 {
    match field_type {
        FieldType::Float => 1,
        FieldType::Integer => 2,
        FieldType::Boolean => 3,
        FieldType::String => 4,
        FieldType::Unsigned => 5,
    }
}

#[cfg(test)]
mod tests;
