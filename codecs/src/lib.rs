//! Blocks of one time-series column, and the words every layer of Tsmith shares.
//!
//! A [`BlockEncoder`] turns one column, times and values, into one block of bytes and back. The `tsm1` encoder writes
//! the blocks of InfluxDB 1.x to the byte; the others are there to be compared with it. No input or output, no threads
//! and no clock here: those belong to the layers above.

pub mod influx;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

mod any;
mod batch;
mod column;
mod error;
mod model;
mod raw;
mod registry;
mod snappy;
mod varint;
mod zstd;

pub use any::{AnyDecoder, decode_any};
pub use batch::{Batch, BatchBuilder, BatchField, BatchSeries, FieldSlot, RunBuilder, TypeConflict};
pub use column::{Column, ColumnRef, FieldType, StringColumn, StringsRef, Value, Values, ValuesRef};
pub use error::{Error, ErrorKind, Result};
pub use model::{FieldKey, KEY_BYTES_MAX, KEY_SEPARATOR, Position, SeriesKey, TimeRange, Timestamp};
pub use raw::Raw;
pub use snappy::Snappy;
pub use zstd::Zstd;

pub use influx::{Tsm1, Tsm1Batch};

/// Most values a block may claim, unless the caller of [`BlockEncoder::decode`] says otherwise.
pub const BLOCK_VALUES_MAX: usize = 65_536;

/// One column to one block and back.
///
/// A block names its encoder in its first byte, so that a file of blocks can be read without being told who wrote it.
pub trait BlockEncoder: Default + Send + 'static {
    /// True only if InfluxDB 1.x can read the blocks. The version byte of the file depends on it.
    const INFLUX_READABLE: bool = false;

    /// The first bytes of its blocks. Law: no two registered encoders share one.
    const TAGS: &'static [u8];

    /// Appends the block of `column` to `out`, and never touches what `out` holds already.
    ///
    /// Law: equal columns give equal bytes, whatever was encoded before. The column has at least one point; its times
    /// need not ascend.
    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()>;

    /// Replaces `out` by the column of `block`.
    ///
    /// Laws: it gives back what was encoded, bit for bit. Whatever the bytes, it never panics and never allocates more
    /// than `limit` values and the strings that fit into the block. A block cut short is an error. After an error
    /// `out` is empty.
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()>;

    /// The type and the number of the points of `block`, as it claims them.
    ///
    /// Law: they are those of the column that [`BlockEncoder::decode`] gives, if it gives one. Encoders that can tell
    /// without decoding the values say so by a method of their own; this one decodes them.
    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        let mut column = Column::new(FieldType::Float);
        self.decode(block, BLOCK_VALUES_MAX, &mut column)?;
        Ok((column.field_type(), column.len() as u64))
    }
}

registry! {
    /// Every encoder by name, with what it is.
    pub trait BlockEncoder => with_encoder, EncoderVisitor, ENCODERS, suite = encoder_suite;
    "tsm1" => Tsm1: "InfluxDB 1.x blocks to the byte: Gorilla floats, simple8b integers and times, snappy strings",
        also influx_suite;
    "raw" => Raw: "times and values as they are: the floor", also exact_suite;
    "snappy" => Snappy: "raw columns through snappy", also exact_suite;
    "zstd" => Zstd: "raw columns through zstd level 3", also exact_suite;
}
