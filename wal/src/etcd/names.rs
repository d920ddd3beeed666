//! Names of segments, and which segments a log consists of.

use std::ffi::OsStr;
use std::path::Path;

use super::EtcdError;
use crate::fs::Fs;
use crate::{Error, Result, directory};

/// A segment's name: `<seq, 16 hex>-<index, 16 hex>.wal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    /// Counts segments from 0.
    pub(crate) seq: u64,
    /// One more than the last saved index when the segment was begun. Can decrease after an overwrite.
    pub(crate) index: u64,
}

impl SegmentName {
    /// The file name.
    pub(crate) fn file_name(self) -> String {
        format!("{:016x}-{:016x}.wal", self.seq, self.index)
    }

    /// Parses a segment name. Only exact names match; etcd also accepts names that merely begin like one.
    pub(crate) fn parse(name: &OsStr) -> Option<Self> {
        let (seq, index) = name.to_str()?.strip_suffix(".wal")?.split_once('-')?;
        Some(Self { seq: hex16(seq)?, index: hex16(index)? })
    }
}

/// Whether a file of this name is a segment: `<number, 16 hex>-<index, 16 hex>.wal`.
pub fn is_segment(name: &OsStr) -> bool {
    SegmentName::parse(name).is_some()
}

/// Sixteen lower-case hex digits.
pub(super) fn hex16(digits: &str) -> Option<u64> {
    let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 16 || !digits.bytes().all(plain) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

/// Whether a file name is one or two hex numbers before `suffix`, as etcd's are.
pub(super) fn is_numbered(name: &OsStr, suffix: &str) -> bool {
    let stem = name.to_str().and_then(|name| name.strip_suffix(suffix));
    stem.is_some_and(|stem| stem.splitn(2, '-').all(|number| hex16(number).is_some()))
}

/// The segments in `dir`, oldest first. Fails if there are none.
pub(crate) fn segments<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<SegmentName>> {
    let names = directory::list_if_there(fs, dir)?;
    let mut segments: Vec<SegmentName> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    if segments.is_empty() {
        return Err(Error::from(EtcdError::SegmentMissing { index: 0 }).at_path(dir));
    }
    segments.sort_unstable();
    Ok(segments)
}

/// The number of segments from the first one on with consecutive numbers.
pub(super) fn consecutive(names: &[SegmentName]) -> usize {
    let follows = |pair: &&[SegmentName]| pair[0].seq.checked_add(1) == Some(pair[1].seq);
    names.windows(2).take_while(follows).count() + 1
}

/// The segments from the one that holds the records after `index`.
pub(crate) fn from_index<F: Fs>(fs: &F, dir: &Path, index: u64) -> Result<Vec<SegmentName>> {
    let mut segments = segments(fs, dir)?;
    let missing = || Error::from(EtcdError::SegmentMissing { index }).at_path(dir);
    let first = segments.iter().rposition(|name| name.index <= index).ok_or_else(missing)?;
    let segments = segments.split_off(first);
    // etcd does not check segments after number 0. The checksum chain detects such gaps.
    let apart = |pair: &[SegmentName]| pair[0].seq != 0 && pair[0].seq.checked_add(1) != Some(pair[1].seq);
    if segments.windows(2).any(apart) { Err(missing()) } else { Ok(segments) }
}
