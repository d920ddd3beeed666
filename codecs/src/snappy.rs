//! Blocks through snappy: the general-purpose compressor that InfluxDB itself uses for strings and its log.
//!
//! ```text
//! ┌───────────┬───────────┬────────────────┬─────────────┬────────────────────────────────────────┐
//! │ 0x11 <1B> │ type <1B> │ count <varint> │ method <1B> │ times and values as in a raw block     │
//! └───────────┴───────────┴────────────────┴─────────────┴────────────────────────────────────────┘
//! method: 0 as they are, 1 as one snappy block, which begins with its length
//! ```

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

use std::fmt;

use crate::BlockEncoder;
use crate::column::{Column, ColumnRef, FieldType};
use crate::error::{Error, Result};
use crate::raw::{self, Header};

const TAG: u8 = 0x11;
/// Most bytes a snappy block holds.
pub(crate) const PLAIN_BYTES_MAX: usize = u32::MAX as usize;
/// A copy of 64 bytes takes at least three, so that no valid block expands a byte to more than this.
const EXPANSION_MAX: usize = 22;

/// How the body of a block is kept.
pub(crate) const STORED: u8 = 0;
pub(crate) const COMPRESSED: u8 = 1;

/// Writes raw columns through snappy; as they are when that is not shorter.
#[derive(Debug, Default)]
pub struct Snappy {
    plain: Vec<u8>,
    compressor: Compressor,
}

impl BlockEncoder for Snappy {
    const TAGS: &'static [u8] = &[TAG];

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        raw::check(column)?;
        self.plain.clear();
        raw::put_body(column, &mut self.plain);
        raw::put_header(TAG, column, out);
        let body_at = out.len();
        if self.plain.len() <= PLAIN_BYTES_MAX {
            out.push(COMPRESSED);
            self.compressor.compress(&self.plain, out);
        }
        store_if_shorter(&self.plain, body_at, out);
        Ok(())
    }

    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        raw::decode_with(block, TAG, limit, out, &mut self.plain, |_, body, plain| decompress(body, plain, 0))
    }

    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        let header = Header::of(block, TAG)?;
        Ok((header.field_type, header.count as u64))
    }
}

/// Replaces the body from `body_at` on by `plain`, stored, unless it is there and shorter.
pub(crate) fn store_if_shorter(plain: &[u8], body_at: usize, out: &mut Vec<u8>) {
    let body_len = out.len() - body_at;
    if body_len == 0 || body_len > plain.len() {
        out.truncate(body_at);
        out.push(STORED);
        out.extend_from_slice(plain);
    }
}

/// Snappy with the tables it needs, kept from block to block.
pub(crate) struct Compressor(snap::raw::Encoder);

impl Default for Compressor {
    fn default() -> Self {
        Self(snap::raw::Encoder::new())
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// Appends `plain`, at most [`PLAIN_BYTES_MAX`], as one snappy block.
    pub(crate) fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        out.resize(begin + snap::raw::max_compress_len(plain.len()), 0);
        let written = self.0.compress(plain, out.get_mut(begin..).unwrap_or_default());
        out.truncate(begin + written.expect("the room is the one snappy asks for"));
    }
}

/// Writes the content of one snappy block to the start of `plain`, and returns its length. `plain` grows to `slack`
/// bytes more than that, and never shrinks, so that it is not cleared anew for each block.
pub(crate) fn decompress(block: &[u8], plain: &mut Vec<u8>, slack: usize) -> Result<usize> {
    let broken = || Error::corrupt(0, "a snappy block");
    let len = snap::raw::decompress_len(block).map_err(|_| broken())?;
    if len > block.len().saturating_mul(EXPANSION_MAX) {
        return Err(Error::corrupt(0, "a length that a snappy block of this size can have"));
    }
    if plain.len() < len + slack {
        plain.resize(len + slack, 0);
    }
    let target = plain.get_mut(..len).unwrap_or_default();
    let written = snap::raw::Decoder::new().decompress(block, target).map_err(|_| broken())?;
    if written == len { Ok(len) } else { Err(broken()) }
}
