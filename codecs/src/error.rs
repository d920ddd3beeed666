//! What is wrong with a block, and at which byte.

use std::fmt;

/// Result of encoding or decoding one block.
pub type Result<T> = std::result::Result<T, Error>;

/// An error in one block. Its text names the byte of the block, if there is one. The layers above add key, offset and
/// file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    at: Option<usize>,
}

/// What is wrong with a block or a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes end early or contradict the format.
    #[error("expected {expected}")]
    Corrupt {
        /// What the format requires at this byte.
        expected: &'static str,
    },
    /// The block claims more values than the caller allows.
    #[error("the block claims {claimed} values, more than the limit of {limit}")]
    TooManyValues {
        /// The number of values that the block claims.
        claimed: u64,
        /// The number of values that the caller allows.
        limit: usize,
    },
    /// The encoding cannot hold this value.
    #[error("the encoding cannot hold value {index}: it is {what}")]
    Unsupported {
        /// The index of the value in the column.
        index: usize,
        /// What the value is.
        what: &'static str,
    },
    /// No encoder of the table reads blocks that begin with this byte.
    #[error("the block begins with {tag:#04x}, which is not the tag of any encoder of this build")]
    UnknownTag {
        /// The first byte of the block.
        tag: u8,
    },
    /// An encoder wrote a block that does not begin with one of its tags, so no reader would find its decoder.
    #[error("the encoder wrote a block that begins with {tag:#04x}, which is not one of its tags")]
    ForeignTag {
        /// The first byte of the block; 0 if the block is empty.
        tag: u8,
    },
}

impl Error {
    /// A corrupt block: the format requires `expected` at byte `at`.
    pub fn corrupt(at: usize, expected: &'static str) -> Self {
        Self { kind: ErrorKind::Corrupt { expected }, at: Some(at) }
    }

    /// The block claims more values than allowed.
    pub fn too_many(claimed: u64, limit: usize) -> Self {
        Self { kind: ErrorKind::TooManyValues { claimed, limit }, at: None }
    }

    /// The encoding cannot hold the value at `index`.
    pub fn unsupported(index: usize, what: &'static str) -> Self {
        Self { kind: ErrorKind::Unsupported { index, what }, at: None }
    }

    /// No encoder owns the first byte of the block.
    pub fn unknown_tag(tag: u8) -> Self {
        Self { kind: ErrorKind::UnknownTag { tag }, at: Some(0) }
    }

    pub(crate) fn foreign_tag(tag: u8) -> Self {
        Self { kind: ErrorKind::ForeignTag { tag }, at: Some(0) }
    }

    /// What is wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The byte of the block where the error was found.
    pub fn at(&self) -> Option<usize> {
        self.at
    }

    /// Moves the error `by` bytes further into the block. A decoder of a part of a block uses it.
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
