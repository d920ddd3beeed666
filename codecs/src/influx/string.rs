//! Strings: each behind its length, all through snappy.
//!
//! ```text
//! ┌─────────┬──────────────────────────────────────────────┐
//! │ 10 <1B> │ snappy block of { length <varint> | bytes }* │
//! └─────────┴──────────────────────────────────────────────┘
//! ```
//!
//! The count is that of the timestamps. Readers ignore the first byte, as InfluxDB's do.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

use crate::column::{StringColumn, StringsRef};
use crate::error::{Error, Result};
use crate::snappy::{self, Compressor};
use crate::varint;

const HEADER: u8 = 0x10;
/// Bytes copied at once: the buffers are longer by as many, so that a string of at most so many needs no exact copy.
const CHUNK: usize = 32;

/// Buffers and tables that outlive the block.
#[derive(Debug, Default)]
pub struct Scratch {
    plain: Vec<u8>,
    compressor: Compressor,
}

/// Appends the payload of `values`.
///
/// # Errors
/// Snappy holds less than 4 GiB.
pub fn encode(values: StringsRef<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<()> {
    let plain = &mut scratch.plain;
    let len = join(values, plain);
    if len > snappy::PLAIN_BYTES_MAX {
        return Err(Error::unsupported(values.len() - 1, "a string beyond the 4 GiB of a snappy block"));
    }
    out.push(HEADER);
    scratch.compressor.compress(plain.get(..len).unwrap_or_default(), out);
    Ok(())
}

/// Writes each string behind its length to the start of `plain`, which grows as needed; the length of them all.
fn join(values: StringsRef<'_>, plain: &mut Vec<u8>) -> usize {
    let most = values.bytes().len() + values.len() * varint::BYTES_MAX + CHUNK;
    if plain.len() < most {
        plain.resize(most, 0);
    }
    let (mut from, mut to) = (0, 0);
    for value in values.iter() {
        to += varint::write(value.len() as u64, plain.get_mut(to..).unwrap_or_default());
        copy(values.bytes(), from, plain, to, value.len());
        from += value.len();
        to += value.len();
    }
    to
}

/// Replaces `out` by the values of the payload, which must be `count`.
///
/// # Errors
/// Whatever is not a whole payload of `count` values. `out` is empty then.
pub fn decode(payload: &[u8], count: usize, scratch: &mut Scratch, out: &mut StringColumn) -> Result<()> {
    out.clear();
    let Some((_, body)) = payload.split_first() else {
        return match count {
            0 => Ok(()),
            _ => Err(Error::corrupt(0, "the encoding of strings")),
        };
    };
    let plain = snappy::decompress(body, &mut scratch.plain, CHUNK).map_err(|e| e.shifted(1))?;
    // Each string takes at least the byte of its length.
    if count > plain {
        return Err(Error::corrupt(1, "as many strings as timestamps"));
    }
    let (mut ends, mut bytes) = std::mem::take(out).into_parts();
    let done = split(&scratch.plain, plain, count, &mut ends, &mut bytes);
    if done.is_err() {
        ends.clear();
        bytes.clear();
    }
    *out =
        StringColumn::from_parts(ends, bytes).map_err(|_| Error::corrupt(1, "ascending ends of strings"))?;
    done
}

/// Takes the first `len` bytes of `plain` apart; beyond them there is room for another chunk.
fn split(plain: &[u8], len: usize, count: usize, ends: &mut Vec<usize>, bytes: &mut Vec<u8>) -> Result<()> {
    let unequal = || Error::corrupt(1, "as many strings as timestamps");
    bytes.resize(len - count + CHUNK, 0);
    ends.reserve(count);
    let mut rest = plain.get(..len).unwrap_or_default();
    let mut end = 0;
    for _ in 0..count {
        let (size, body) = varint::get(rest).ok_or_else(unequal)?;
        let size = usize::try_from(size).ok().filter(|&size| size <= body.len());
        let Some(size) = size else { return Err(Error::corrupt(1, "a string inside the block")) };
        let from = len - body.len();
        copy(plain, from, bytes, end, size);
        end += size;
        ends.push(end);
        rest = body.get(size..).unwrap_or_default();
    }
    if !rest.is_empty() {
        return Err(unequal());
    }
    bytes.truncate(end);
    Ok(())
}

/// Copies `size` bytes, and where both sides have the room up to a chunk more.
#[inline]
fn copy(source: &[u8], from: usize, target: &mut [u8], to: usize, size: usize) {
    if size <= CHUNK {
        let source = source.get(from..).and_then(|rest| rest.first_chunk::<CHUNK>());
        let target = target.get_mut(to..).and_then(|rest| rest.first_chunk_mut::<CHUNK>());
        if let (Some(source), Some(target)) = (source, target) {
            *target = *source;
            return;
        }
    }
    if let (Some(source), Some(target)) = (source.get(from..from + size), target.get_mut(to..to + size)) {
        target.copy_from_slice(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[&[u8]]) -> StringColumn {
        let mut column = StringColumn::default();
        for value in values {
            column.push(value);
        }
        column
    }

    #[test]
    fn strings_of_every_length_come_back() {
        let long: Vec<u8> = (0..200u8).collect();
        let values: Vec<&[u8]> = (0..=200).map(|len| &long[..len]).chain([&b""[..]]).collect();
        let values = column(&values);
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        encode(values.as_ref(), &mut scratch, &mut out).expect("fits");
        let mut back = StringColumn::default();
        decode(&out, 202, &mut scratch, &mut back).expect("decodes");
        assert_eq!(back, values);
        for count in [0, 201, 203] {
            assert!(decode(&out, count, &mut scratch, &mut back).is_err());
            assert!(back.is_empty());
        }
    }

    /// Three bytes may claim 4 GiB; the claim is compared with what snappy can expand to before memory is taken.
    #[test]
    fn a_claim_beyond_the_format_takes_no_memory() {
        let payload = [0x10, 0xff, 0xff, 0xff, 0xff, 0x0f];
        let mut scratch = Scratch::default();
        assert!(decode(&payload, 1, &mut scratch, &mut StringColumn::default()).is_err());
        assert_eq!(scratch.plain.capacity(), 0);
    }
}
