//! What stands behind the end of a member's log.

use std::path::PathBuf;

use super::Strictness;
use crate::Error;

/// What stands behind the end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The segment.
    pub path: PathBuf,
    /// The end of its last whole record.
    pub offset: u64,
    /// An incomplete record begins there: the log opens after a [`repair`](super::repair()).
    pub is_torn: bool,
    /// How many bytes, up to the last that is not zero.
    pub bytes: u64,
    /// How many whole records are among them, at least. A write of several records may leave some when the power goes; so
    /// does corruption, which takes acknowledged records with it.
    pub records: u64,
    /// Whether they show that more was durable than can be read: then it is corruption for certain.
    pub acknowledged: bool,
    /// The copy of the segment as it was, if a repair cut this off.
    pub copy: Option<PathBuf>,
}

impl Tail {
    /// Why a log with such a tail is not opened.
    pub(super) fn refused(&self, strictness: Strictness) -> Option<Error> {
        let error = strictness.refuses(self.records, self.acknowledged)?;
        Some(Error::from(error).at_path(&self.path).at_offset(self.offset))
    }
}
