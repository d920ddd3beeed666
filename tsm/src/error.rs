//! What is wrong with a file, where in the file, and for which key.

use std::fmt;
use std::io;
use std::sync::Arc;

use tsmith_codecs::{FieldType, TimeRange};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error in one file. Its text contains the offset in the file and the key, if known. The caller knows the path
/// and adds it.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    offset: Option<u64>,
    key: Option<Box<[u8]>>,
}

/// What is wrong with a file or a call.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file does not begin like a TSM file.
    #[error("not a TSM file: it begins with {found:02x?}, expected [16, d1, 16, d1]")]
    Magic {
        /// The first bytes, at most four.
        found: Vec<u8>,
    },
    /// The file has an unknown version.
    #[error("the file has version {found}, expected 1 (InfluxDB) or 84 (Tsmith)")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// The file ends before it can hold a block, an index and a footer.
    #[error("the file has {bytes} bytes, too few for {expected}: it is truncated")]
    TooShort {
        /// The length of the file.
        bytes: u64,
        /// What the format requires there.
        expected: &'static str,
    },
    /// The footer points outside the file, because the file was truncated or overwritten.
    #[error(
        "the footer puts the index at offset {found}, which is not within {min} to {max}: the footer is corrupt, or the file is truncated"
    )]
    IndexOffset {
        /// The offset in the footer.
        found: u64,
        /// The smallest possible offset.
        min: u64,
        /// The greatest possible offset.
        max: u64,
    },
    /// The bytes end early or contradict the format.
    #[error("expected {expected}")]
    Corrupt {
        /// What the format requires at this offset.
        expected: &'static str,
    },
    /// The stored checksum differs from that of the bytes.
    #[error("{what} has checksum {computed:#010x}, but {stored:#010x} is stored: corrupt")]
    Checksum {
        /// What the checksum covers.
        what: &'static str,
        /// The checksum stored in the file.
        stored: u32,
        /// The checksum of the bytes in the file.
        computed: u32,
    },
    /// The checksum of the block is right, but this build has no encoder for its first byte. This is not corruption.
    #[error(
        "the block was written by an encoder that this build does not have (tag {tag:#04x}): read the file with a build that has it"
    )]
    UnknownEncoder {
        /// The first byte of the block.
        tag: u8,
    },
    /// The checksum of the block is right, but its encoder cannot decode it.
    #[error("block: {0}")]
    Block(#[source] tsmith_codecs::Error),
    /// The block has another type than the index.
    #[error("the index says type {index}, but the block has type {block}")]
    BlockType {
        /// The type in the index.
        index: FieldType,
        /// The type of the block, or its unknown first byte.
        block: String,
    },
    /// The block has other times than the index.
    #[error("the index says times {} to {}, but the block has {} to {}", index.min, index.max, block.min, block.max)]
    BlockTimes {
        /// The range in the index.
        index: TimeRange,
        /// The first and last time of the block.
        block: TimeRange,
    },
    /// A time in the block is not later than the one before it.
    #[error("the times in the block do not ascend")]
    BlockUnsorted,

    /// The keys were not written in ascending order.
    #[error("the key does not follow the previous key {}: write keys in ascending order", previous.escape_ascii())]
    KeyOrder {
        /// The previous key.
        previous: Box<[u8]>,
    },
    /// The key is empty or too long for its length field.
    #[error("the key has {bytes} bytes: keys have 1 to 65535 bytes")]
    KeyLength {
        /// The length of the key.
        bytes: usize,
    },
    /// The key already has blocks of another type.
    #[error("the block has type {found}, but earlier blocks of the key have type {expected}")]
    TypeChange {
        /// The type of the key's first block.
        expected: FieldType,
        /// The type of this block.
        found: FieldType,
    },
    /// The range of times ends before it begins.
    #[error("the block has times from {} to {}, so it ends before it begins", range.min, range.max)]
    Inverted {
        /// The range.
        range: TimeRange,
    },
    /// The block begins before the previous one ends.
    #[error(
        "the block begins at {min}, but the previous one ends at {previous_max}: write the blocks of a key in order of time"
    )]
    BlockOrder {
        /// The first time of the block.
        min: i64,
        /// The last time of the previous block.
        previous_max: i64,
    },
    /// The block is empty or too long for its length field.
    #[error("the block has {bytes} bytes: blocks have 1 to 4294967291 bytes")]
    BlockLength {
        /// The length of the block.
        bytes: usize,
    },
    /// The file has InfluxDB's version, but the block is not one of InfluxDB's.
    #[error(
        "a {field_type} block of InfluxDB begins with {expected:#04x}, but this one begins with {found:#04x}: use Version::Tagged"
    )]
    NotInflux {
        /// The type that the caller gave.
        field_type: FieldType,
        /// The first byte of InfluxDB's blocks with this type.
        expected: u8,
        /// The first byte of the block.
        found: u8,
    },
    /// The key already has the most blocks that its count can hold. Nothing was written.
    #[error("the key has 65535 blocks: finish this file and continue in the next")]
    MaxBlocks,
    /// The file has reached its size limit. Nothing was written.
    #[error("the file has reached {bytes} bytes: finish it and continue in the next")]
    FileFull {
        /// The size of the file, including the index.
        bytes: u64,
    },
    /// The file was finished without a block.
    #[error("the file has no blocks: remove it")]
    NoValues,
    /// A write failed.
    #[error("{0}")]
    Io(#[source] Arc<io::Error>),
    /// An earlier write to this file failed.
    #[error("an earlier write to this file failed: drop the file and write it again")]
    Poisoned,

    /// The tombstone file has an unknown version.
    #[error("the tombstone file has version {found}, expected 1 to 4")]
    TombstoneVersion {
        /// The last byte of its header.
        found: u8,
    },
    /// The deletions of a tombstone file need more memory than is allowed.
    #[error(
        "the tombstones decompress to more than {} MiB of keys, and no TSM file has that many",
        limit >> 20
    )]
    TombstonesTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A compressed part of a tombstone file is truncated or corrupt.
    #[error("the gzip member at this offset is truncated or corrupt: {0}")]
    Gzip(#[source] Arc<io::Error>),
}

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Finish the file and write the same block to the next one. Nothing was written.
    NextFile,
    /// Drop the unfinished file, and write it again once the storage works.
    Rewrite,
    /// Nothing: the bytes or the call are wrong.
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

    /// What is wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The offset in the file.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// The composite key of the block or index entry.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// What the caller can do.
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
            // A very long key must not fill the terminal.
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
    fn an_error_shows_offset_and_key() {
        let error = Error::corrupt(5, "a block").of(b"cpu#!~#v");
        assert_eq!(error.to_string(), "offset 5: cpu#!~#v: expected a block");
        let io = Error::from(io::Error::from(io::ErrorKind::StorageFull)).at(7);
        assert!(io.to_string().starts_with("offset 7: "));
        assert!(std::error::Error::source(&io).is_some());
    }

    #[test]
    fn a_long_key_is_shortened() {
        let error = Error::corrupt(5, "a block").of(&vec![0xff; 65_535]);
        assert!(error.to_string().len() < 1_000);
        assert_eq!(error.key().map(<[u8]>::len), Some(65_535));
    }
}
