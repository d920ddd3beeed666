//! What was wrong with a file, where in it, and for which key.

use std::fmt;
use std::io;
use std::sync::Arc;

use tsmith_codecs::{FieldType, TimeRange};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of one file. Its text names the offset in the file and the key, when there are; the caller, who opened the
/// file, adds its path.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    offset: Option<u64>,
    key: Option<Box<[u8]>>,
}

/// What was wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The first bytes are not those of a TSM file.
    #[error("not a TSM file: it begins with {found:02x?}, expected [16, d1, 16, d1]")]
    Magic {
        /// The first bytes, at most four.
        found: Vec<u8>,
    },
    /// Another program's or a later program's file.
    #[error("file is version {found}, expected 1 (InfluxDB) or 84 (Tsmith)")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// The file ends before it can hold a block, an index and a footer.
    #[error("the file ends after {bytes} bytes, where {expected} is expected: it was cut short, restore it")]
    TooShort {
        /// Its length.
        bytes: u64,
        /// What the format has there.
        expected: &'static str,
    },
    /// The footer points outside the file: cut short, or overwritten.
    #[error(
        "the footer puts the index at {found}, outside {min}..={max}: the file was cut short, restore it"
    )]
    IndexOffset {
        /// What the footer says.
        found: u64,
        /// The smallest possible offset.
        min: u64,
        /// The greatest possible offset.
        max: u64,
    },
    /// The bytes end early or contradict the format.
    #[error("expected {expected}")]
    Corrupt {
        /// What the format has at this place.
        expected: &'static str,
    },
    /// The bytes are not those that were written.
    #[error("{what} has checksum {computed:08x}, stored is {stored:08x}: it is corrupt, restore the file")]
    Checksum {
        /// What the checksum is of.
        what: &'static str,
        /// As stored in the file.
        stored: u32,
        /// Of the bytes in the file.
        computed: u32,
    },
    /// The checksum of the block is right, and this build has no encoder for its first byte. This is no corruption.
    #[error(
        "written by an encoder this build does not have (tag {tag:#04x}); read the file with a build that has it"
    )]
    UnknownEncoder {
        /// The first byte of the block.
        tag: u8,
    },
    /// The block is sound but its encoder cannot make a column of it.
    #[error("block: {0}")]
    Block(#[source] tsmith_codecs::Error),
    /// The block holds another type than the index says.
    #[error("the index says {index}, the block holds {block}")]
    BlockType {
        /// The type in the index.
        index: FieldType,
        /// What the block holds: a type, or the first byte of something else.
        block: String,
    },
    /// The block holds other times than the index says.
    #[error("the index says times {} to {}, the block has {} to {}", index.min, index.max, block.min, block.max)]
    BlockTimes {
        /// The range in the index.
        index: TimeRange,
        /// First and last time of the block.
        block: TimeRange,
    },
    /// A time of the block is not after the one before it.
    #[error("the times of the block do not ascend")]
    BlockUnsorted,

    /// A key was written after one that it does not follow.
    #[error("the key does not follow {}, the one before: write keys in ascending order", previous.escape_ascii())]
    KeyOrder {
        /// The key before.
        previous: Box<[u8]>,
    },
    /// A key is empty, or too long for its length field.
    #[error("a key of {bytes} bytes: 1 to 65535 are possible")]
    KeyLength {
        /// Its length.
        bytes: usize,
    },
    /// A key got a block of another type.
    #[error("a block of type {found} after blocks of type {expected}")]
    TypeChange {
        /// The type of the key's first block.
        expected: FieldType,
        /// The type of this one.
        found: FieldType,
    },
    /// A range of times that ends before it begins.
    #[error("a block from {} to {}: it ends before it begins", range.min, range.max)]
    Inverted {
        /// The range.
        range: TimeRange,
    },
    /// A block that begins before the end of the one before it.
    #[error(
        "a block from {min} follows one up to {previous_max}: write the blocks of a key in order of time"
    )]
    BlockOrder {
        /// First time of the block.
        min: i64,
        /// Last time of the block before.
        previous_max: i64,
    },
    /// A block is empty, or too long for its length field.
    #[error("a block of {bytes} bytes: 1 to 4294967291 are possible")]
    BlockLength {
        /// Its length.
        bytes: usize,
    },
    /// The block is not InfluxDB's, the file would be.
    #[error(
        "a {field_type} block of InfluxDB begins with {expected:#04x}, not {found:#04x}: use Version::Tagged"
    )]
    NotInflux {
        /// The type it was announced as.
        field_type: FieldType,
        /// The byte of that type.
        expected: u8,
        /// The first byte of the block.
        found: u8,
    },
    /// The key has as many blocks as its count can say. Nothing was written.
    #[error("the key has 65535 blocks: finish this file and go on in the next")]
    MaxBlocks,
    /// The file has reached its greatest size. Nothing was written.
    #[error("the file has reached {bytes} bytes: finish it and go on in the next")]
    FileFull {
        /// Its size, index included.
        bytes: u64,
    },
    /// The file was finished without any block.
    #[error("no values written: remove the file")]
    NoValues,
    /// Writing failed.
    #[error("{0}")]
    Io(#[source] Arc<io::Error>),
    /// An earlier write to this file failed.
    #[error("an earlier write to this file failed: drop it and write another")]
    Poisoned,

    /// A tombstone file of a version that this build does not know.
    #[error("tombstones of version {found}: versions 1 to 4 are known; restore the file")]
    TombstoneVersion {
        /// The last byte of its header.
        found: u8,
    },
    /// What a tombstone file deletes would take more memory than is allowed.
    #[error(
        "the tombstones decompress to more than {} MiB of keys: no TSM file has as many; restore the file, or delete anew \
         after moving it away",
        limit >> 20
    )]
    TombstonesTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// A compressed part of a tombstone file is torn or corrupt.
    #[error("tombstones: the gzip member that begins here is torn or corrupt: {0}")]
    Gzip(#[source] Arc<io::Error>),
}

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Finish the file and give the same block to the next one. Nothing was written.
    NextFile,
    /// Drop the unfinished file; write it again when the storage works.
    Rewrite,
    /// The bytes, or the call, are wrong, and stay so.
    GiveUp,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self { kind, offset: None, key: None }
    }

    pub(crate) fn corrupt(offset: u64, expected: &'static str) -> Self {
        Self::new(ErrorKind::Corrupt { expected }).at(offset)
    }

    pub(crate) fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    pub(crate) fn of(mut self, key: &[u8]) -> Self {
        self.key = Some(key.into());
        self
    }

    /// What was wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Where in the file.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// The composite key it concerns.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// What can be done.
    pub fn remedy(&self) -> Remedy {
        match self.kind {
            ErrorKind::MaxBlocks | ErrorKind::FileFull { .. } => Remedy::NextFile,
            ErrorKind::Io(_) | ErrorKind::Poisoned => Remedy::Rewrite,
            _ => Remedy::GiveUp,
        }
    }
}

impl From<tsmith_codecs::Error> for ErrorKind {
    fn from(error: tsmith_codecs::Error) -> Self {
        match *error.kind() {
            tsmith_codecs::ErrorKind::UnknownTag { tag } => Self::UnknownEncoder { tag },
            _ => Self::Block(error),
        }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::new(ErrorKind::Io(Arc::new(error)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(offset) = self.offset {
            write!(f, "offset {offset}: ")?;
        }
        if let Some(key) = &self.key {
            // A hostile key must not fill a terminal.
            let shown = key.get(..200).unwrap_or(key);
            let cut = if shown.len() < key.len() { "..." } else { "" };
            write!(f, "{}{cut}: ", tsmith_codecs::name::to_text(shown))?;
        }
        self.kind.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_like_an_address() {
        let error = Error::corrupt(5, "a block").of(b"cpu#!~#v");
        assert_eq!(error.to_string(), "offset 5: cpu#!~#v: expected a block");
        let io = Error::from(io::Error::from(io::ErrorKind::StorageFull)).at(7);
        assert!(io.to_string().starts_with("offset 7: "));
        assert!(std::error::Error::source(&io).is_some());
    }

    #[test]
    fn a_hostile_key_is_shown_in_part() {
        let error = Error::corrupt(5, "a block").of(&vec![0xff; 65_535]);
        assert!(error.to_string().len() < 1_000);
        assert_eq!(error.key().map(<[u8]>::len), Some(65_535));
    }
}
