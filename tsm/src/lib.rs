//! TSM files: the immutable files of blocks that a cache becomes, as InfluxDB 1.x writes them, to the byte.
//!
//! A [`Writer`] takes blocks in order and gives a file to any [`std::io::Write`]; a [`Reader`] finds them again in the
//! bytes of a file; [`read_tombstones`] tells what of it is deleted. None of them opens, names, syncs or deletes files:
//! that is the engine's. Blocks are made and read by the encoders of [`codecs`]; which points of several files are one
//! column is the engine's business again.
//!
//! ```text
//! ┌────────┬────────────┬─────┬────────────────────────────────┬─────┬────────┐
//! │ header │ crc, block │ ... │ key, type, entry of each block │ ... │ footer │
//! └────────┴────────────┴─────┴────────────────────────────────┴─────┴────────┘
//! ```
//!
//! [`format`](mod@format) has the picture with every width.
//!
//! # Encoders
//! Each block names its encoder in its first byte. What reads blocks gets [`Decoders`]: those of a table of encoders, to
//! which a crate adds its own by [`Encoders::with`](codecs::Encoders::with). A block of an encoder that the table lacks is
//! [`ErrorKind::UnknownEncoder`], which is no corruption: a merge refuses the file, and a salvage leaves it as it is.
//!
//! # What is checked
//! Opening a file checks its whole index; reading a block its checksum; decoding it, that type and times are those of
//! the index. The one thing without a checksum is the index of [`Version::Influx`]: there a corrupt key may pass for
//! another key, and corrupt times be noticed only when the block is decoded.
//!
//! # Example
//! ```
//! use tsmith_tsm::codecs::{Tsm1, Values};
//! use tsmith_tsm::{BlockEncoder, Bytes, Column, FieldType, Reader, TimeRange, Version, Writer};
//!
//! let column = Column::from_parts(vec![10, 20, 30], Values::Float(vec![0.5, 0.7, 0.6])).expect("equal lengths");
//! let mut block = Vec::new();
//! Tsm1::default().encode(column.as_ref(), &mut block)?;
//!
//! let mut writer = Writer::new(Vec::new(), Version::of(&Tsm1::default()));
//! writer.write_block(b"cpu,host=a#!~#usage", FieldType::Float, TimeRange::new(10, 30), &block)?;
//! let (file, summary) = writer.finish()?;
//! assert_eq!(summary.file_bytes, file.len() as u64);
//!
//! let reader = Reader::new(Bytes::from(file))?;
//! let key = reader.find(b"cpu,host=a#!~#usage").expect("it was written");
//! let mut read = Column::new(key.field_type());
//! for entry in key.entries() {
//!     reader.read_block(key, entry, &mut Tsm1::default(), 1000, &mut read)?;
//! }
//! assert_eq!(read, column);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

#[expect(unsafe_code, reason = "the only unsafe of this crate: file maps")]
mod map;

mod cursor;
mod cut;
mod error;
pub mod format;
mod index;
mod merge;
mod reader;
mod salvage;
mod tombstone;
mod writer;

pub use bytes::Bytes;
pub use tsmith_codecs as codecs;
pub use tsmith_codecs::{BlockDecoder, BlockEncoder, Column, ColumnRef, Decoders, FieldType, TimeRange};

pub use cursor::{AsReader, Cursor, CursorError, Direction};
pub use cut::{POINTS_PER_BLOCK, STRING_BYTES_PER_BLOCK, first_block, is_full_block};
pub use error::{Error, ErrorKind, Remedy, Result};
pub use format::Version;
pub use index::{IndexEntry, KeyEntry};
pub use map::map_readonly;
pub use merge::{Filled, Merge, MergeError, MergeInput, MergeMode};
pub use reader::Reader;
pub use salvage::{BadBlock, CorruptKey, IndexLoss, Salvage, rescue};
pub use tombstone::{
    DELETIONS_BYTES_MAX, Deletions, LostTombstones, MEMBER_OPEN_AT, TOMBSTONE_BYTES_MAX, Tombstone,
    TombstoneFile, TombstoneSalvage, TombstoneWrite, Tombstones, member_open_mark, read_tombstones,
};
pub use writer::{Scratch, Summary, Writer};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
