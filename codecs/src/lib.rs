//! Blocks of one time-series column, and the words every layer of Tsmith shares.
//!
//! A [`BlockEncoder`] turns one column, times and values, into one block of bytes and back. The `tsm1` encoder writes
//! the blocks of InfluxDB 1.x to the byte; the others are there to be compared with it. No input or output, no threads
//! and no clock here: those belong to the layers above. Nor are there checksums or compression across blocks.
//!
//! ```text
//!            ┌───────────┬──────────────────────┬────────────┬─────────────────┐
//! tsm1       │ type <1B> │ times bytes <varint> │ timestamps │ values          │   the first byte is 0 to 4
//!            └───────────┴──────────────────────┴────────────┴─────────────────┘
//!            ┌───────────┬───────────┬────────────────┬────────────────────────┐
//! all others │ tag <1B>  │ type <1B> │ count <varint> │ times and values       │   the first byte is 16 or more
//!            └───────────┴───────────┴────────────────┴────────────────────────┘
//! ```
//!
//! ```
//! use tsmith_codecs::{AnyDecoder, BLOCK_VALUES_MAX, BlockEncoder, Column, FieldType, Tsm1, Value};
//!
//! let mut column = Column::new(FieldType::Float);
//! for (time, value) in [(10, 21.5), (20, 21.5), (30, 22.0)] {
//!     assert!(column.push(time, Value::Float(value)));
//! }
//! let mut block = Vec::new();
//! Tsm1::default().encode(column.as_ref(), &mut block)?;
//!
//! let mut back = Column::new(FieldType::Float);
//! AnyDecoder::new().decode(&block, BLOCK_VALUES_MAX, &mut back)?;
//! assert_eq!(back, column);
//! # Ok::<(), tsmith_codecs::Error>(())
//! ```
//!
//! Another encoder is one file, which implements the trait, and one line in the list at the end of this one.

pub mod influx;
pub mod name;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

mod any;
mod ascending;
mod batch;
mod column;
mod error;
mod model;
mod raw;
mod registry;
mod snappy;
mod varint;
mod zstd;

pub use any::AnyDecoder;
pub use batch::{Batch, BatchBuilder, BatchField, BatchSeries, FieldSlot, Kept, RunBuilder, TypeConflict};
pub use column::{Column, ColumnRef, FieldType, StringColumn, StringsRef, Value, Values, ValuesRef};
pub use error::{Error, ErrorKind, Result};
pub use model::{FieldKey, KEY_BYTES_MAX, KEY_SEPARATOR, Position, SeriesKey, TimeRange, Timestamp};
pub use raw::Raw;
pub use snappy::Snappy;
pub use zstd::Zstd;

use ascending::is_strictly_ascending;

pub use influx::{Tsm1, Tsm1Batch};

/// Most values a block may claim, unless the caller of [`BlockEncoder::decode`] says otherwise.
pub const BLOCK_VALUES_MAX: usize = 65_536;

/// One column to one block and back.
///
/// A block names its encoder in its first byte, so that a file of blocks can be read without being told who wrote it.
pub trait BlockEncoder: Default + Send + 'static {
    /// True only if InfluxDB 1.x can read the blocks. The version byte of the file depends on it.
    const INFLUX_READABLE: bool = false;

    /// The first bytes of its blocks. Law: no two registered encoders share one, unless one says so by
    /// [`BlockEncoder::SAME_BLOCKS_AS`].
    const TAGS: &'static [u8];

    /// The name of the registered encoder that reads these blocks, for one that chooses other bytes in the format of
    /// another. Readers of files take that one.
    const SAME_BLOCKS_AS: Option<&'static str> = None;

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

    /// As [`BlockEncoder::decode`], for who wants nothing outside `range`: other points may be left out. Returns what
    /// there is to know of the times of the whole block; `None` when it has no point.
    ///
    /// Law: what is not left out is a stretch of what `decode` gives, and nothing is left out of times that do not ascend.
    fn decode_within(
        &mut self,
        block: &[u8],
        limit: usize,
        range: TimeRange,
        out: &mut Column,
    ) -> Result<Option<Span>> {
        let _ = range;
        self.decode(block, limit, out)?;
        Ok(Span::of(out.times()))
    }

    /// The type and the number of the points of `block`, as it claims them.
    ///
    /// Law: they are those of the column that [`BlockEncoder::decode`] gives, if it gives one. Encoders that can tell
    /// without decoding the values say so by a method of their own; this one decodes them.
    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        let mut column = Column::new(FieldType::Float);
        self.decode(block, BLOCK_VALUES_MAX, &mut column)?;
        Ok((column.field_type(), column.len() as u64))
    }

    /// The bytes of the strings of `block` together, as it claims them; 0 when it is of another type.
    ///
    /// Law: at least those of the column that [`BlockEncoder::decode`] gives, if it gives one, and at most ten more for
    /// each value. Encoders that can tell without decoding the strings say so by a method of their own.
    fn string_bytes(&mut self, block: &[u8]) -> Result<u64> {
        let (field_type, _) = self.count(block)?;
        let mut column = Column::new(field_type);
        if field_type == FieldType::String {
            self.decode(block, BLOCK_VALUES_MAX, &mut column)?;
        }
        Ok(column.as_ref().string_bytes())
    }
}

/// The times of a whole block, of which a part was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first time.
    pub first: i64,
    /// The last one.
    pub last: i64,
    /// Whether each is later than the one before it.
    pub ascends: bool,
}

impl Span {
    /// That of these times; `None` when there is none.
    pub fn of(times: &[i64]) -> Option<Self> {
        let (&first, &last) = (times.first()?, times.last()?);
        Some(Self { first, last, ascends: is_strictly_ascending(times) })
    }
}

registry! {
    /// Every encoder by name, with what it is.
    pub trait BlockEncoder => with_encoder, EncoderVisitor, ENCODERS, suite = encoder_suite;
    "tsm1" => Tsm1: "InfluxDB 1.x blocks to the byte: Gorilla floats, simple8b integers and times, snappy strings",
        also influx_suite, also streaming_suite;
    "tsm1-batch" => Tsm1Batch: "the same blocks in the form that compactions of InfluxDB 1.7 and later write",
        also influx_suite;
    "raw" => Raw: "times and values as they are: the floor", also exact_suite;
    "snappy" => Snappy: "raw columns through snappy", also exact_suite;
    "zstd" => Zstd: "raw columns through zstd level 3", also exact_suite;
}

#[cfg(test)]
mod tests {
    use super::*;

    struct About;

    impl EncoderVisitor for About {
        type Out = (&'static [u8], Option<&'static str>, bool);
        fn visit<E: BlockEncoder>(self) -> Self::Out {
            (E::TAGS, E::SAME_BLOCKS_AS, E::INFLUX_READABLE)
        }
    }

    /// Law: a first byte has one owner among the registered encoders, so that any file can be read without being told
    /// who wrote it. Others write it only if the owner reads all that they write.
    #[test]
    fn tags_have_one_owner() {
        let mut owners = [None; 256];
        for (name, _) in ENCODERS {
            let (tags, same_as, readable) = with_encoder(name, About).expect("is in the list");
            assert!(!tags.is_empty(), "{name} owns no first byte");
            if let Some(owner) = same_as {
                let owner = with_encoder(owner, About).expect("the owner is in the list");
                assert_eq!(owner, (tags, None, readable), "{name} differs from the owner of its blocks");
                continue;
            }
            for &tag in tags {
                assert_eq!(owners[usize::from(tag)].replace(name), None, "{tag:#04x} of {name} has an owner");
            }
        }
        assert!(with_encoder("no such encoder", About).is_none());
    }

    #[test]
    fn one_decoder_reads_the_blocks_of_all() {
        struct Block<'c>(ColumnRef<'c>);
        impl EncoderVisitor for Block<'_> {
            type Out = Vec<u8>;
            fn visit<E: BlockEncoder>(self) -> Vec<u8> {
                let mut out = Vec::new();
                E::default().encode(self.0, &mut out).expect("no NaN");
                out
            }
        }
        let (mut decoder, mut back) = (AnyDecoder::new(), Column::new(FieldType::Float));
        for column in testing::shapes::short().iter().filter(|column| !column.is_empty()) {
            for (name, _) in ENCODERS {
                if column.field_type() == FieldType::Float && name.starts_with("tsm1") {
                    continue;
                }
                let block = with_encoder(name, Block(column.as_ref())).expect("is in the list");
                decoder.decode(&block, BLOCK_VALUES_MAX, &mut back).expect("decodes");
                assert!(back == *column, "{name}");
                assert_eq!(decoder.count(&block), Ok((column.field_type(), column.len() as u64)));
            }
        }
        for block in [&[][..], &[0xee, 1]] {
            decoder.decode(block, BLOCK_VALUES_MAX, &mut back).expect_err("belongs to nobody");
            assert!(back.is_empty());
        }
    }
}
