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
//!     assert!(column.push(time, Value::Float(value)));
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
//! Another encoder of this crate is one file, which implements the trait, and one line in `encoders.rs`. An encoder of
//! another crate is added to a table of [`Encoders`] at run time; its blocks begin with one of the [`OUTSIDE_TAGS`].
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
mod zstd;

pub use batch::{Batch, BatchBuilder, BatchField, BatchSeries, FieldSlot, Kept, RunBuilder, TypeConflict};
pub use column::{Column, ColumnRef, FieldType, StringColumn, StringsRef, Value, Values, ValuesRef};
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
pub use zstd::Zstd;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
