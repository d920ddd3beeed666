//! Blocks without compression. The other encoders are compared with them.
//!
//! ```text
//! ┌───────────┬───────────┬────────────────┬─────────────────┬────────┐
//! │ 0x10 <1B> │ type <1B> │ count <varint> │ times <8B each> │ values │   little-endian
//! └───────────┴───────────┴────────────────┴─────────────────┴────────┘
//! type: 0 float, 1 integer, 2 boolean, 3 string, 4 unsigned
//! values: numbers <8B each>; booleans <1B each>; strings as lengths <4B each>, then all bytes
//! ```
//!
//! Tsmith's other encoders write the same header with another first byte.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

use crate::column::{Column, ColumnRef, FieldType, StringColumn, StringsRef, Values, ValuesRef};
use crate::error::{Error, Result};
use crate::{BlockDecoder, BlockEncoder, influx, varint};

const TAG: u8 = 0x10;
const WORD_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;

/// How a compressing encoder stores the body of a block.
const STORED: u8 = 0;
pub(crate) const COMPRESSED: u8 = 1;

/// Writes times and values as they are in memory.
#[derive(Debug, Default)]
pub struct Raw;

impl BlockEncoder for Raw {
    fn tags(&self) -> &'static [u8] {
        &[TAG]
    }

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        check(column)?;
        put_header(TAG, column, out);
        put_body(column, out);
        Ok(())
    }
}

impl BlockDecoder for Raw {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        get_body(Header::within(block, TAG, limit).map(|header| (header, header.body)), out)
    }

    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        let header = Header::of(block, TAG)?;
        Ok((header.field_type, header.count as u64))
    }
}

/// Refuses values that [`put_body`] cannot hold.
pub(crate) fn check(column: ColumnRef<'_>) -> Result<()> {
    if let ValuesRef::String(values) = column.values()
        && let Some(index) = values.iter().position(|value| u32::try_from(value.len()).is_err())
    {
        return Err(Error::unsupported(index, "a string of more than 4 GiB"));
    }
    Ok(())
}

/// Appends tag, type and count.
pub(crate) fn put_header(tag: u8, column: ColumnRef<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag, influx::tag(column.field_type())]);
    varint::put(column.len() as u64, out);
}

/// Appends times and values.
pub(crate) fn put_body(column: ColumnRef<'_>, out: &mut Vec<u8>) {
    out.reserve(column.len() * 2 * WORD_BYTES);
    put_words(column.times().iter().map(|time| time.to_le_bytes()), out);
    match column.values() {
        ValuesRef::Float(values) => put_words(values.iter().map(|v| v.to_bits().to_le_bytes()), out),
        ValuesRef::Integer(values) => put_words(values.iter().map(|v| v.to_le_bytes()), out),
        ValuesRef::Unsigned(values) => put_words(values.iter().map(|v| v.to_le_bytes()), out),
        ValuesRef::Boolean(values) => out.extend(values.iter().map(|&v| u8::from(v))),
        ValuesRef::String(values) => put_strings(values, out),
    }
}

fn put_words(words: impl ExactSizeIterator<Item = [u8; WORD_BYTES]>, out: &mut Vec<u8>) {
    // Writes into a resized buffer instead of appending values one by one, so that the compiler makes one copy of
    // it.
    let begin = out.len();
    out.resize(begin + words.len() * WORD_BYTES, 0);
    let places = out.get_mut(begin..).unwrap_or_default().as_chunks_mut::<WORD_BYTES>().0;
    places.iter_mut().zip(words).for_each(|(place, word)| *place = word);
}

fn put_strings(values: StringsRef<'_>, out: &mut Vec<u8>) {
    values.iter().for_each(|value| out.extend_from_slice(&(value.len() as u32).to_le_bytes()));
    out.extend_from_slice(values.bytes());
}

/// The header of one of Tsmith's own blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'b> {
    pub(crate) field_type: FieldType,
    pub(crate) count: usize,
    pub(crate) body: &'b [u8],
    /// Offset of the body.
    pub(crate) body_at: usize,
}

impl<'b> Header<'b> {
    pub(crate) fn of(block: &'b [u8], tag: u8) -> Result<Self> {
        let (field_type, rest) = match block {
            [first, ..] if *first != tag => return Err(Error::unknown_tag(*first)),
            [_, field_type, rest @ ..] => (*field_type, rest),
            _ => return Err(Error::corrupt(block.len(), "tag and type of the block")),
        };
        let Some(field_type) = influx::field_type(field_type) else {
            return Err(Error::corrupt(1, "a type of 0 to 4"));
        };
        let (count, body) = varint::get(rest).ok_or(Error::corrupt(2, "the count of values"))?;
        let Ok(count) = usize::try_from(count) else { return Err(Error::too_many(count, usize::MAX)) };
        Ok(Self { field_type, count, body, body_at: block.len() - body.len() })
    }

    /// The same, but a count above `limit` is an error.
    pub(crate) fn within(block: &'b [u8], tag: u8, limit: usize) -> Result<Self> {
        let header = Self::of(block, tag)?;
        if header.count > limit {
            return Err(Error::too_many(header.count as u64, limit));
        }
        Ok(header)
    }

    /// The length of the times and values of this many points, if it depends only on the type.
    #[cfg(feature = "zstd")]
    pub(crate) fn fixed_bytes(&self) -> Option<usize> {
        let value_bytes = match self.field_type {
            FieldType::Float | FieldType::Integer | FieldType::Unsigned => WORD_BYTES,
            FieldType::Boolean => 1,
            FieldType::String => return None,
        };
        self.count.checked_mul(WORD_BYTES + value_bytes)
    }
}

/// Stores `plain` as the body at `body_at`, unless the compressed body that is there is shorter.
pub(crate) fn store_if_shorter(plain: &[u8], body_at: usize, out: &mut Vec<u8>) {
    let body_len = out.len() - body_at;
    if body_len == 0 || body_len > plain.len() {
        out.truncate(body_at);
        out.push(STORED);
        out.extend_from_slice(plain);
    }
}

/// Decodes a block whose body is a method byte and the stored or compressed times and values. `expand` decompresses
/// them to the start of the buffer and returns their length.
pub(crate) fn decode_with(
    block: &[u8],
    tag: u8,
    limit: usize,
    out: &mut Column,
    buffer: &mut Vec<u8>,
    expand: impl FnOnce(&Header<'_>, &[u8], &mut Vec<u8>) -> Result<usize>,
) -> Result<()> {
    let opened = Header::within(block, tag, limit).and_then(|header| match header.body {
        [STORED, plain @ ..] => Ok((header, plain)),
        [COMPRESSED, body @ ..] => {
            let len = expand(&header, body, buffer).map_err(|e| e.shifted(header.body_at + 1))?;
            Ok((header, buffer.get(..len).unwrap_or_default()))
        }
        _ => Err(Error::corrupt(header.body_at, "a method of 0 or 1")),
    });
    get_body(opened, out)
}

/// Replaces `out` with the times and values of a block.
fn get_body(opened: Result<(Header<'_>, &[u8])>, out: &mut Column) -> Result<()> {
    let (header, plain) = opened.inspect_err(|_| out.reset(out.field_type()))?;
    let unequal = || Error::corrupt(header.body_at, "as many values as the block claims");
    out.fill(header.field_type, unequal, |times, values| {
        let words = header.count.checked_mul(WORD_BYTES).and_then(|bytes| plain.split_at_checked(bytes));
        let (words, rest) = words.ok_or_else(unequal)?;
        times.extend(words.as_chunks().0.iter().map(|word| i64::from_le_bytes(*word)));
        get_values(rest, header.count, values).ok_or_else(unequal)
    })
}

/// Fills `values` with `count` values. They must use all of `body`.
fn get_values(body: &[u8], count: usize, values: &mut Values) -> Option<()> {
    let fits = |width: usize| count.checked_mul(width) == Some(body.len());
    let words = || body.as_chunks::<WORD_BYTES>().0.iter().map(|word| u64::from_le_bytes(*word));
    match values {
        Values::Float(values) if fits(WORD_BYTES) => values.extend(words().map(f64::from_bits)),
        Values::Integer(values) if fits(WORD_BYTES) => values.extend(words().map(|word| word as i64)),
        Values::Unsigned(values) if fits(WORD_BYTES) => values.extend(words()),
        Values::Boolean(values) if fits(1) && body.iter().fold(0, |all, byte| all | byte) <= 1 => {
            values.extend(body.iter().map(|&byte| byte == 1));
        }
        Values::String(values) => return get_strings(body, count, values),
        _ => return None,
    }
    Some(())
}

fn get_strings(body: &[u8], count: usize, values: &mut StringColumn) -> Option<()> {
    let (lengths, all) = body.split_at_checked(count.checked_mul(LENGTH_BYTES)?)?;
    let (mut ends, mut bytes) = std::mem::take(values).into_parts();
    let mut end = 0usize;
    for length in lengths.as_chunks().0 {
        end = end.checked_add(u32::from_le_bytes(*length) as usize)?;
        ends.push(end);
    }
    bytes.extend_from_slice(all);
    *values = StringColumn::from_parts(ends, bytes).ok()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BLOCK_VALUES_MAX;

    #[test]
    fn a_boolean_byte_is_zero_or_one() {
        let mut block = [TAG, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let mut out = Column::new(FieldType::Float);
        Raw.decode(&block, BLOCK_VALUES_MAX, &mut out).expect("one is true");
        block[11] = 2;
        Raw.decode(&block, BLOCK_VALUES_MAX, &mut out).expect_err("two is neither");
    }
}
