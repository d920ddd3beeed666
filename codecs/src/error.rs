//! What was wrong with a block, and at which of its bytes.

use std::fmt;

/// Result of encoding or decoding one block.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of one block. Its text names the byte of the block, when there is one; the layers above add key, offset and
/// file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    at: Option<usize>,
}

/// What was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes end early or contradict the format.
    #[error("expected {expected}")]
    Corrupt {
        /// What the format has at this place.
        expected: &'static str,
    },
    /// The block claims more values than the caller allows.
    #[error("{claimed} values are more than the limit of {limit}")]
    TooManyValues {
        /// How many the block claims.
        claimed: u64,
        /// How many the caller allows.
        limit: usize,
    },
    /// The encoding cannot hold this value.
    #[error("value {index} is {what}, which the encoding cannot hold")]
    Unsupported {
        /// Where the value stands in the column.
        index: usize,
        /// What it is.
        what: &'static str,
    },
    /// No encoder of this build writes blocks that begin with this byte.
    #[error("no encoder of this build writes blocks that begin with byte {tag:#04x}")]
    UnknownTag {
        /// The first byte of the block.
        tag: u8,
    },
    /// An encoder wrote a block that no reader would take to its decoder.
    #[error("the encoder wrote a block that begins with byte {tag:#04x}, which is none of its tags")]
    ForeignTag {
        /// The first byte of the block; 0 if the block is empty.
        tag: u8,
    },
}

impl Error {
    /// A contradiction at byte `at` of the block, where the format has `expected`.
    pub fn corrupt(at: usize, expected: &'static str) -> Self {
        Self { kind: ErrorKind::Corrupt { expected }, at: Some(at) }
    }

    /// More values than allowed.
    pub fn too_many(claimed: u64, limit: usize) -> Self {
        Self { kind: ErrorKind::TooManyValues { claimed, limit }, at: None }
    }

    /// A value the encoding cannot hold.
    pub fn unsupported(index: usize, what: &'static str) -> Self {
        Self { kind: ErrorKind::Unsupported { index, what }, at: None }
    }

    /// A first byte that no encoder claims.
    pub fn unknown_tag(tag: u8) -> Self {
        Self { kind: ErrorKind::UnknownTag { tag }, at: Some(0) }
    }

    pub(crate) fn foreign_tag(tag: u8) -> Self {
        Self { kind: ErrorKind::ForeignTag { tag }, at: Some(0) }
    }

    /// What was wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The byte of the block it was found at.
    pub fn at(&self) -> Option<usize> {
        self.at
    }

    /// The same error, `by` bytes further into the block: for a decoder that was given a part of it.
    #[must_use]
    pub fn shifted(mut self, by: usize) -> Self {
        self.at = self.at.map(|at| at + by);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "byte {at}: {}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
