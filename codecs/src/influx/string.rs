//! Strings: each with its length in front, compressed together with snappy.
//!
//! ```text
//! ┌─────────┬──────────────────────────────────────────────┐
//! │ 10 <1B> │ snappy block of { length <varint> | bytes }* │
//! └─────────┴──────────────────────────────────────────────┘
//! ```
//!
//! The number of strings is that of the timestamps. Like InfluxDB, the decoder ignores the first byte.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

use crate::column::{StringColumn, StringsRef};
use crate::error::{Error, Result};
use crate::snappy_frame::{self, Compressor};
use crate::varint;

const HEADER: u8 = 0x10;
/// Bytes copied at once. The buffers are longer by this many bytes, so a short string needs no exact copy.
const CHUNK: usize = 32;

/// Blocks of at least this size are split in the buffer they were decompressed into. That is slower for short
/// strings, but a second buffer would double the memory.
const IN_PLACE_BYTES: u64 = 1 << 20;

/// Buffers and tables that are reused from block to block.
#[derive(Debug, Default)]
pub struct Scratch {
    plain: Vec<u8>,
    compressor: Compressor,
}

/// Appends the payload of `values`.
///
/// # Errors
/// The strings have 4 GiB or more, which is above the limit of snappy.
pub fn encode(values: StringsRef<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<()> {
    let plain = &mut scratch.plain;
    let len = join(values, plain);
    if len > snappy_frame::PLAIN_BYTES_MAX {
        return Err(Error::unsupported(values.len() - 1, "a string beyond the 4 GiB of a snappy block"));
    }
    out.push(HEADER);
    scratch.compressor.compress(plain.get(..len).unwrap_or_default(), out);
    Ok(())
}

/// Writes each string and its length to the start of `plain`, which grows as needed. Returns the number of bytes.
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

/// The number of bytes that the payload claims for the values and their lengths together.
///
/// # Errors
/// The payload ends early.
pub(crate) fn claimed(payload: &[u8]) -> Result<u64> {
    let Some((_, body)) = payload.split_first() else { return Ok(0) };
    let (claimed, _) = varint::get(body).ok_or(Error::corrupt(1, "the length of the strings"))?;
    Ok(claimed)
}

/// Replaces `out` with the values of the payload, which must hold exactly `count`.
///
/// # Errors
/// The payload does not hold exactly `count` values. `out` is then empty.
pub fn decode(payload: &[u8], count: usize, scratch: &mut Scratch, out: &mut StringColumn) -> Result<()> {
    out.clear();
    let Some((_, body)) = payload.split_first() else {
        return match count {
            0 => Ok(()),
            _ => Err(Error::corrupt(0, "the encoding of strings")),
        };
    };
    let (mut ends, mut bytes) = std::mem::take(out).into_parts();
    let done = if varint::get(body).is_some_and(|(claimed, _)| claimed >= IN_PLACE_BYTES) {
        decompress(body, count, &mut bytes)
            .and_then(|plain| split_in_place(&mut bytes, plain, count, &mut ends))
    } else {
        let plain = decompress(body, count, &mut scratch.plain);
        plain.and_then(|plain| split(&scratch.plain, plain, count, &mut ends, &mut bytes))
    };
    if done.is_err() {
        ends.clear();
        bytes.clear();
    }
    *out =
        StringColumn::from_parts(ends, bytes).map_err(|_| Error::corrupt(1, "ascending ends of strings"))?;
    done
}

/// Decompresses to the start of `plain` and returns the length. `plain` is longer by at least one chunk.
fn decompress(body: &[u8], count: usize, plain: &mut Vec<u8>) -> Result<usize> {
    let len = snappy_frame::decompress(body, plain, CHUNK).map_err(|e| e.shifted(1))?;
    // Each string takes at least one byte for its length.
    if count > len {
        return Err(Error::corrupt(1, "as many strings as timestamps"));
    }
    Ok(len)
}

/// Splits the first `len` bytes of `plain` into strings. `plain` has one chunk of bytes after them.
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

/// Like [`split`], but inside `bytes`: each string moves to the front, over the lengths before it.
fn split_in_place(bytes: &mut Vec<u8>, len: usize, count: usize, ends: &mut Vec<usize>) -> Result<()> {
    let unequal = || Error::corrupt(1, "as many strings as timestamps");
    ends.reserve(count);
    let (mut from, mut to) = (0, 0);
    for _ in 0..count {
        let (size, body) = varint::get(bytes.get(from..len).unwrap_or_default()).ok_or_else(unequal)?;
        let size = usize::try_from(size).ok().filter(|&size| size <= body.len());
        let Some(size) = size else { return Err(Error::corrupt(1, "a string inside the block")) };
        from = len - body.len();
        bytes.copy_within(from..from + size, to);
        from += size;
        to += size;
        ends.push(to);
    }
    if from != len {
        return Err(unequal());
    }
    bytes.truncate(to);
    Ok(())
}

/// Copies `size` bytes. Copies up to a full chunk if both sides have the room.
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

    /// Story: decoding one block of 60 MB used twice its memory.
    #[test]
    fn a_large_block_is_in_memory_once() {
        let values: Vec<Vec<u8>> = (0..300_u32)
            .map(|n| n.to_le_bytes().repeat(if n % 7 == 0 { 0 } else { n as usize * 10 }))
            .collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let (mut payload, mut out) = (Vec::new(), StringColumn::default());
        encode(column(&values).as_ref(), &mut Scratch::default(), &mut payload).expect("short");
        let mut scratch = Scratch::default();
        decode(&payload, values.len(), &mut scratch, &mut out).expect("it is intact");
        assert!(out.as_ref().iter().eq(values.iter().copied()));
        assert!(out.as_ref().bytes().len() as u64 > IN_PLACE_BYTES);
        assert_eq!(scratch.plain.capacity(), 0);
        for count in [0, 1, values.len() - 1, values.len() + 1, usize::MAX] {
            decode(&payload, count, &mut scratch, &mut out).expect_err("another count");
            assert_eq!(out.as_ref().len(), 0);
        }
    }

    proptest::proptest! {
        /// Law: both ways to split the bytes give the same result for any bytes.
        #[test]
        fn in_place_is_as_apart(plain in proptest::collection::vec(0_u8..6, 0..40), count in 0_usize..12) {
            let (mut ends, mut bytes) = (Vec::new(), Vec::new());
            let padded = [&plain[..], &[0; CHUNK]].concat();
            // Reserve the memory before either call.
            proptest::prop_assume!(count <= plain.len());
            let apart = split(&padded, plain.len(), count, &mut ends, &mut bytes);
            let (mut ends_in_place, mut in_place) = (Vec::new(), padded.clone());
            let done = split_in_place(&mut in_place, plain.len(), count, &mut ends_in_place);
            proptest::prop_assert_eq!(done.is_ok(), apart.is_ok());
            if apart.is_ok() {
                proptest::prop_assert_eq!((ends_in_place, in_place), (ends, bytes));
            }
        }
    }

    fn column(values: &[&[u8]]) -> StringColumn {
        let mut column = StringColumn::default();
        for value in values {
            column.push(value);
        }
        column
    }

    #[test]
    fn strings_of_every_length_round_trip() {
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

    /// Three bytes may claim 4 GiB. The decoder compares the claim with the most that snappy can expand to before it
    /// allocates.
    #[test]
    fn an_impossible_claim_allocates_nothing() {
        let payload = [0x10, 0xff, 0xff, 0xff, 0xff, 0x0f];
        let mut scratch = Scratch::default();
        assert!(decode(&payload, 1, &mut scratch, &mut StringColumn::default()).is_err());
        assert_eq!(scratch.plain.capacity(), 0);
    }
}
