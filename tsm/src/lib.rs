//! TSM files, the immutable data files of InfluxDB 1.x, equal to the byte.
//!
//! A [`Writer`] takes blocks in order and writes a file to any [`std::io::Write`]. A [`Reader`] finds the blocks in
//! the bytes of a file. [`read_tombstones`] reads which points of a file are deleted. None of them opens, names,
//! syncs or deletes files; the engine does that. The encoders of [`codecs`] create and decode the blocks. A [`Merge`]
//! joins several files, and a [`Cursor`] reads the points of one key from several files.
//!
//! ```text
//! ┌────────┬────────────┬─────┬────────────────────────────────┬─────┬────────┐
//! │ header │ crc, block │ ... │ key, type, entry of each block │ ... │ footer │
//! └────────┴────────────┴─────┴────────────────────────────────┴─────┴────────┘
//! ```
//!
//! [`format`](mod@format) shows every field with its width.
//!
//! # Encoders
//! The first byte of each block names its encoder. Functions that decode blocks take [`Decoders`], the decoders of a
//! table of encoders. A crate adds its own encoders to a table with [`Encoders::with`](codecs::Encoders::with). A
//! block of an encoder that is not in the table gives [`ErrorKind::UnknownEncoder`]. This is not corruption: a merge
//! refuses the file, and a salvage leaves it unchanged.
//!
//! # What is checked
//! Opening a file checks its whole index. Reading a block checks its checksum. Decoding a block checks that type and
//! times agree with the index. Only the index of [`Version::Influx`] has no checksum. There a corrupt key may look
//! like another key, and corrupt times are detected only when the block is decoded.
//!
//! # Features
//! The feature `zstd`, on by default, adds the `zstd` encoder to the standard table. It needs a C compiler to build.
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

#[expect(unsafe_code, reason = "the only unsafe code of this crate: file maps")]
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
