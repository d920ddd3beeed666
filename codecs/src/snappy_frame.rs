//! Snappy with buffers and tables that are reused from block to block.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

use std::fmt;

use crate::error::{Error, Result};

/// The most bytes a snappy block holds.
pub(crate) const PLAIN_BYTES_MAX: usize = u32::MAX as usize;
/// A snappy copy element of 64 bytes takes at least three bytes. So no valid block expands a byte to more than this.
const EXPANSION_MAX: usize = 22;

/// A snappy encoder that reuses its tables from block to block.
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
        out.truncate(begin + written.expect("the buffer has the length that snappy asked for"));
    }
}

/// Decompresses one snappy block to the start of `plain` and returns the length. `plain` grows to `slack` bytes more
/// than that and never shrinks, so it need not be cleared for each block.
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
