//! Blocks compressed with zstd, a strong general-purpose compressor.
//!
//! ```text
//! ┌───────────┬───────────┬────────────────┬─────────────┬────────────────────────────────────────────┐
//! │ 0x12 <1B> │ type <1B> │ count <varint> │ method <1B> │ times and values as in a raw block         │
//! └───────────┴───────────┴────────────────┴─────────────┴────────────────────────────────────────────┘
//! method: 0 stored, 1 { length <varint> | one zstd frame }
//! ```
//!
//! A frame of a few bytes can expand to any length. So the uncompressed length stands before the frame and has a
//! limit.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

use std::fmt;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use crate::column::{Column, ColumnRef, FieldType};
use crate::error::{Error, Result};
use crate::raw::{self, COMPRESSED, Header, store_if_shorter};
use crate::{BlockDecoder, BlockEncoder, varint};

const TAG: u8 = 0x12;
const LEVEL: i32 = 3;
/// Longer times and values are stored uncompressed, so readers can refuse every longer claim.
const PLAIN_BYTES_MAX: usize = 16 << 20;

/// Compresses raw columns with zstd. A column that would not become shorter is stored uncompressed.
#[derive(Default)]
pub struct Zstd {
    plain: Vec<u8>,
    compressor: Option<Compressor<'static>>,
    decompressor: Option<Decompressor<'static>>,
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd").finish_non_exhaustive()
    }
}

impl BlockEncoder for Zstd {
    fn tags(&self) -> &'static [u8] {
        &[TAG]
    }

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        raw::check(column)?;
        self.plain.clear();
        raw::put_body(column, &mut self.plain);
        raw::put_header(TAG, column, out);
        let body_at = out.len();
        if self.plain.len() <= PLAIN_BYTES_MAX {
            let compressor = self.compressor.get_or_insert_with(|| {
                Compressor::new(LEVEL).expect("zstd creates a context unless memory runs out")
            });
            out.push(COMPRESSED);
            varint::put(self.plain.len() as u64, out);
            let begin = out.len();
            out.resize(begin + zstd_safe::compress_bound(self.plain.len()), 0);
            let target = out.get_mut(begin..).unwrap_or_default();
            let written = compressor.compress_to_buffer(&self.plain, target);
            out.truncate(begin + written.expect("the buffer has the length that zstd asked for"));
        }
        store_if_shorter(&self.plain, body_at, out);
        Ok(())
    }
}

impl BlockDecoder for Zstd {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        let decompressor = &mut self.decompressor;
        raw::decode_with(block, TAG, limit, out, &mut self.plain, |header, body, plain| {
            let (len, frame) =
                varint::get(body).ok_or(Error::corrupt(0, "the length before a zstd frame"))?;
            let len = usize::try_from(len).ok().filter(|&len| len <= PLAIN_BYTES_MAX);
            let len = len.filter(|&len| header.fixed_bytes().is_none_or(|fixed| fixed == len));
            let Some(len) = len else {
                return Err(Error::corrupt(0, "the length of times and values, at most 16 MiB"));
            };
            let broken = Error::corrupt(body.len() - frame.len(), "one complete zstd frame");
            if zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
                return Err(broken);
            }
            if plain.len() < len {
                plain.resize(len, 0);
            }
            let decompressor = decompressor.get_or_insert_with(|| {
                Decompressor::new().expect("zstd creates a context unless memory runs out")
            });
            let target = plain.get_mut(..len).unwrap_or_default();
            match decompressor.decompress_to_buffer(frame, target) {
                Ok(written) if written == len => Ok(len),
                _ => Err(broken),
            }
        })
    }

    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        let header = Header::of(block, TAG)?;
        Ok((header.field_type, header.count as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BLOCK_VALUES_MAX;
    use crate::column::Value;

    fn block_of_strings() -> Vec<u8> {
        let mut column = Column::new(FieldType::String);
        for time in 0..100 {
            column.push(time, Value::String(b"the same again")).expect("one type");
        }
        let mut block = Vec::new();
        Zstd::default().encode(column.as_ref(), &mut block).expect("holds every string");
        block
    }

    /// A frame of a few bytes may claim gigabytes. The decoder refuses the claim before it allocates memory for it.
    #[test]
    fn a_claim_above_the_limit_allocates_nothing() {
        let block = block_of_strings();
        let header = Header::of(&block, TAG).expect("is a block");
        let (_, frame) = varint::get(&header.body[1..]).expect("begins with a length");
        let mut bomb = block[..=header.body_at].to_vec();
        varint::put(PLAIN_BYTES_MAX as u64 + 1, &mut bomb);
        bomb.extend_from_slice(frame);
        let mut zstd = Zstd::default();
        let mut out = Column::new(FieldType::String);
        zstd.decode(&bomb, BLOCK_VALUES_MAX, &mut out).expect_err("claims too much");
        assert_eq!(zstd.plain.capacity(), 0);
    }

    /// zstd reads frames one after the other, and an empty frame adds nothing. A block must have exactly one frame.
    #[test]
    fn a_second_frame_is_an_error() {
        let mut block = block_of_strings();
        block.extend_from_slice(&zstd::bulk::compress(&[], LEVEL).expect("compresses nothing"));
        let mut out = Column::new(FieldType::String);
        Zstd::default().decode(&block, BLOCK_VALUES_MAX, &mut out).expect_err("has a second frame");
    }
}
