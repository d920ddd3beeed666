//! Blocks compressed with snappy. InfluxDB uses this general-purpose compressor for strings and in its log.
//!
//! ```text
//! ┌───────────┬───────────┬────────────────┬─────────────┬────────────────────────────────────────┐
//! │ 0x11 <1B> │ type <1B> │ count <varint> │ method <1B> │ times and values as in a raw block     │
//! └───────────┴───────────┴────────────────┴─────────────┴────────────────────────────────────────┘
//! method: 0 stored, 1 one snappy block, which begins with its length
//! ```

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

use crate::column::{Column, ColumnRef, FieldType};
use crate::error::Result;
use crate::raw::{self, COMPRESSED, Header, store_if_shorter};
use crate::snappy_frame::{Compressor, PLAIN_BYTES_MAX, decompress};
use crate::{BlockDecoder, BlockEncoder};

const TAG: u8 = 0x11;

/// Compresses raw columns with snappy. A column that would not become shorter is stored uncompressed.
#[derive(Debug, Default)]
pub struct Snappy {
    plain: Vec<u8>,
    compressor: Compressor,
}

impl BlockEncoder for Snappy {
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
            out.push(COMPRESSED);
            self.compressor.compress(&self.plain, out);
        }
        store_if_shorter(&self.plain, body_at, out);
        Ok(())
    }
}

impl BlockDecoder for Snappy {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        raw::decode_with(block, TAG, limit, out, &mut self.plain, |_, body, plain| decompress(body, plain, 0))
    }

    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        let header = Header::of(block, TAG)?;
        Ok((header.field_type, header.count as u64))
    }
}
