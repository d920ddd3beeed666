//! Blocks of one time-series column, and the words every layer of Tsmith shares.
//!
//! A [`BlockEncoder`] turns one column, times and values, into one block of bytes and back. The `tsm1` encoder writes
//! the blocks of InfluxDB 1.x to the byte; the others are there to be compared with it. No input or output, no threads
//! and no clock here: those belong to the layers above.

mod batch;
mod column;
mod error;
mod model;
mod registry;

pub use batch::{Batch, BatchBuilder, BatchField, BatchSeries, FieldSlot, RunBuilder, TypeConflict};
pub use column::{Column, ColumnRef, FieldType, StringColumn, StringsRef, Value, Values, ValuesRef};
pub use error::{Error, ErrorKind, Result};
pub use model::{FieldKey, KEY_BYTES_MAX, KEY_SEPARATOR, Position, SeriesKey, TimeRange, Timestamp};

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
}
