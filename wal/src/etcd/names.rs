//! Names of segments, and which of them a log consists of.

use std::ffi::OsStr;
use std::path::Path;

use super::EtcdError;
use crate::fs::Fs;
use crate::{Error, Result, directory};

/// A segment's name: `<seq, 16 hex>-<index, 16 hex>.wal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Counts segments from 0.
    pub seq: u64,
    /// One more than the index that was saved last when the segment was begun; may go down after an overwrite.
    pub index: u64,
}

impl SegmentName {
    /// The name as a file has it.
    pub fn file_name(self) -> String {
        format!("{:016x}-{:016x}.wal", self.seq, self.index)
    }

    /// The segment of this name, if it is one; whole names only, where etcd takes whatever begins like one.
    pub fn parse(name: &OsStr) -> Option<Self> {
        let (seq, index) = name.to_str()?.strip_suffix(".wal")?.split_once('-')?;
        Some(Self { seq: hex16(seq)?, index: hex16(index)? })
    }
}

/// Sixteen lower-case hex digits.
pub(super) fn hex16(digits: &str) -> Option<u64> {
    let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 16 || !digits.bytes().all(plain) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

/// Whether a file is one of etcd's: one number or two before the suffix.
pub(super) fn is_numbered(name: &OsStr, suffix: &str) -> bool {
    let stem = name.to_str().and_then(|name| name.strip_suffix(suffix));
    stem.is_some_and(|stem| stem.splitn(2, '-').all(|number| hex16(number).is_some()))
}

/// The segments in `dir`, oldest first; it is an error when there are none.
pub(crate) fn segments<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<SegmentName>> {
    let names = directory::list_if_there(fs, dir)?;
    let mut segments: Vec<SegmentName> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    if segments.is_empty() {
        return Err(Error::from(EtcdError::SegmentMissing { index: 0 }).at_path(dir));
    }
    segments.sort_unstable();
    Ok(segments)
}

/// How many segments from the first one on have consecutive numbers.
pub(super) fn consecutive(names: &[SegmentName]) -> usize {
    let follows = |pair: &&[SegmentName]| pair[0].seq.checked_add(1) == Some(pair[1].seq);
    names.windows(2).take_while(follows).count() + 1
}

/// The segments from the one that holds what comes after `index`.
pub(crate) fn from_index<F: Fs>(fs: &F, dir: &Path, index: u64) -> Result<Vec<SegmentName>> {
    let mut segments = segments(fs, dir)?;
    let missing = || Error::from(EtcdError::SegmentMissing { index }).at_path(dir);
    let first = segments.iter().rposition(|name| name.index <= index).ok_or_else(missing)?;
    let segments = segments.split_off(first);
    // etcd does not compare with a number 0; the chain of checksums catches what it lets through.
    let apart = |pair: &[SegmentName]| pair[0].seq != 0 && pair[0].seq.checked_add(1) != Some(pair[1].seq);
    if segments.windows(2).any(apart) { Err(missing()) } else { Ok(segments) }
}
