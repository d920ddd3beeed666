//! TSM files: the immutable files of blocks that a cache becomes, as InfluxDB 1.x writes them, to the byte.
//!
//! A [`Writer`] takes blocks in order and gives a file to any [`std::io::Write`]; a [`Reader`] finds them again in the
//! bytes of a file. Neither opens, names, syncs or deletes files: that is the engine's. Blocks are made and read by
//! the encoders of [`codecs`].

#[expect(unsafe_code, reason = "the only unsafe of this crate: file maps")]
mod map;

mod error;
pub mod format;
mod index;
mod reader;
mod tombstone;
mod writer;

pub use bytes::Bytes;
pub use tsmith_codecs as codecs;
pub use tsmith_codecs::{BlockEncoder, Column, ColumnRef, FieldType, TimeRange};

pub use error::{Error, ErrorKind, Remedy, Result};
pub use format::Version;
pub use index::{IndexEntry, KeyEntry};
pub use map::map_readonly;
pub use reader::Reader;
pub use tombstone::{Tombstone, Tombstones, read_tombstones};
pub use writer::{Summary, Writer};
