//! Encoders for blocks of one time-series column, and the types that all layers of Tsmith share.
//!
//! A [`BlockEncoder`] turns one column of times and values into one block of bytes, and decodes it again. The `tsm1`
//! encoder writes the blocks of InfluxDB 1.x, equal to the byte. The other encoders are there for comparison.
//!
//! This crate does no input or output, starts no threads and reads no clock. It adds no checksums and does not
//! compress across blocks.
//!
//! ```text
//!            ┌───────────┬──────────────────────┬────────────┬─────────────────┐
//! tsm1       │ type <1B> │ times bytes <varint> │ timestamps │ values          │   the first byte is 0 to 4
//!            └───────────┴──────────────────────┴────────────┴─────────────────┘
//!            ┌───────────┬───────────┬────────────────┬────────────────────────┐
//! our others │ tag <1B>  │ type <1B> │ count <varint> │ times and values       │   the first byte is 0x10 to 0x7f
//!            ├───────────┼───────────┴────────────────┴────────────────────────┤
//! outside    │ tag <1B>  │ whatever an encoder of another crate writes         │   the first byte is 0x80 to 0xff
//!            └───────────┴─────────────────────────────────────────────────────┘
//! ```
//!
//! ```
//! use tsmith_codecs::{BLOCK_VALUES_MAX, BlockDecoder, BlockEncoder, Column, Decoders, FieldType, Tsm1, Value};
//!
//! let mut column = Column::new(FieldType::Float);
//! for (time, value) in [(10, 21.5), (20, 21.5), (30, 22.0)] {
//!     column.push(time, Value::Float(value)).expect("one type");
//! }
//! let mut block = Vec::new();
//! Tsm1::default().encode(column.as_ref(), &mut block)?;
//!
//! let mut back = Column::new(FieldType::Float);
//! Decoders::standard().decode(&block, BLOCK_VALUES_MAX, &mut back)?;
//! assert_eq!(back, column);
//! # Ok::<(), tsmith_codecs::Error>(())
//! ```
//!
//! To add an encoder to this crate, write one file that implements the trait, and one line in `encoders.rs`. To add
//! one in another crate, implement the trait there and add the encoder to a table of [`Encoders`] at run time. The
//! blocks of such an encoder begin with one of the [`OUTSIDE_TAGS`].
//!
//! The feature `zstd`, on by default, adds the `Zstd` encoder, which needs a C compiler to build. The feature
//! `testing` adds a test suite for encoders.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod influx;
pub mod name;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

mod ascending;
mod batch;
mod column;
mod decoders;
mod encoder;
mod encoder_entry;
mod encoders;
mod error;
mod model;
mod raw;
mod registry;
mod snappy;
mod snappy_frame;
mod span;
mod varint;
#[cfg(feature = "zstd")]
mod zstd;

pub use batch::{Batch, BatchBuilder, BatchField, BatchSeries, FieldSlot, Kept, RunBuilder};
pub use column::{
    Column, ColumnRef, FieldType, StringColumn, StringsRef, TypeConflict, Value, Values, ValuesRef,
};
pub use decoders::Decoders;
pub use encoder::{BLOCK_VALUES_MAX, BlockDecoder, BlockEncoder, DynEncoder, encode_checked};
pub use encoder_entry::EncoderEntry;
pub use encoders::{Encoders, OUTSIDE_TAGS, UnknownEncoder};
pub use error::{Error, ErrorKind, Result};
pub use influx::{Tsm1, Tsm1Batch};
pub use model::{FieldKey, KEY_BYTES_MAX, KEY_SEPARATOR, Position, SeriesKey, TimeRange, Timestamp};
pub use raw::Raw;
pub use snappy::Snappy;
pub use span::Span;
#[cfg(feature = "zstd")]
pub use zstd::Zstd;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
