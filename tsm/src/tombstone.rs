//! Tombstones: a file beside a TSM file lists the points that are deleted from it.
//!
//! ```text
//! version 1  one composite key per line; all its points are deleted
//! version 2  00 00 15 02 <4B> | record ...
//! version 3  00 00 15 03 <4B> | one gzip member of records
//! version 4  00 00 15 04 <4B> | gzip member of records ... one per delete
//! record     key len <4B> | key <len> | min time <8B> | max time <8B>
//! ```
//!
//! A truncated or corrupt file is an error, because a reader that skips tombstones brings deleted points back.
//! InfluxDB treats the end of a truncated gzip member as the end of the file, corrupts the keys of version 2, and
//! reads an unknown header as keys of version 1. This reader does none of that.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)
)]

use std::io::{self, Read};
use std::sync::Arc;

use flate2::bufread::GzDecoder;
use tsmith_codecs::{KEY_BYTES_MAX, KEY_SEPARATOR, TimeRange};

use crate::error::{Error, ErrorKind, Result};

mod deletions;
mod file;
mod member;
mod salvage;

pub(crate) use deletions::for_each_live;
pub use deletions::{DELETIONS_BYTES_MAX, Deletions};
pub use file::{TombstoneFile, TombstoneWrite};
pub use member::{MEMBER_OPEN_AT, member_open_mark};
pub use salvage::{LostTombstones, TombstoneSalvage};

/// The first bytes of versions 2 and later. The version byte follows.
const MAGIC: [u8; 3] = [0x00, 0x00, 0x15];
/// The length of magic number and version.
const HEADER_BYTES: usize = 4;

/// The longest tombstone file. A longer one would delete more keys than [`DELETIONS_BYTES_MAX`] allows, or the same
/// keys repeatedly.
pub const TOMBSTONE_BYTES_MAX: u64 = DELETIONS_BYTES_MAX;

/// Deleted points of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The composite key.
    pub key: Vec<u8>,
    /// All points in this range are deleted.
    pub range: TimeRange,
}

/// Reads all tombstones of a file in order. Returns the first error, if any. It is an error if they need more memory
/// than [`DELETIONS_BYTES_MAX`].
pub fn read_tombstones(bytes: &[u8]) -> Result<Vec<Tombstone>> {
    let (mut records, mut held) = (Vec::new(), 0_u64);
    for record in Tombstones::new(bytes)? {
        let record = record?;
        held = held.saturating_add(size_of::<Tombstone>() as u64).saturating_add(record.key.len() as u64);
        if held > DELETIONS_BYTES_MAX {
            return Err(Error::new(ErrorKind::TombstonesTooLarge { limit: DELETIONS_BYTES_MAX }));
        }
        records.push(record);
    }
    Ok(records)
}

/// Iterates over the tombstones of a file. An error ends the iteration.
///
/// The records of a gzip member come before its checksum is checked. So use them only after the iteration ended
/// without an error, or to salvage what is readable. The iterator needs memory for one record.
#[derive(Debug)]
pub struct Tombstones<'a> {
    version: u8,
    /// The length of the file, to compute offsets.
    length: usize,
    /// All gzip members before this offset are intact.
    whole: usize,
    source: Source<'a>,
}

#[derive(Debug)]
enum Source<'a> {
    Lines(&'a [u8]),
    Records(&'a [u8]),
    Members { at: u64, member: Box<GzDecoder<&'a [u8]>> },
    End,
}

impl<'a> Tombstones<'a> {
    /// Opens the bytes of a tombstone file. An empty file and a file with only a header have no tombstones.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        let length = bytes.len();
        let Some(([magic @ .., version], records)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(Self { version: 1, length, whole: 0, source: Source::Lines(bytes) });
        };
        if *magic != MAGIC {
            return Ok(Self { version: 1, length, whole: 0, source: Source::Lines(bytes) });
        }
        let source = match version {
            2 => Source::Records(records),
            3 | 4 => Source::member(records, length),
            _ => {
                return Err(
                    Error::new(ErrorKind::TombstoneVersion { found: *version }).at(MAGIC.len() as u64)
                );
            }
        };
        Ok(Self { version: *version, length, whole: HEADER_BYTES, source })
    }

    /// The version of the file, 1 to 4.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// All bytes before this offset were read and are intact.
    fn intact_bytes(&self) -> usize {
        self.whole
    }

    fn advance(&mut self) -> Result<Option<Tombstone>> {
        loop {
            match &mut self.source {
                Source::Lines(rest) => return next_line(rest, self.length),
                Source::Records(rest) => {
                    let at = self.length.saturating_sub(rest.len()) as u64;
                    return read_record(rest).map_err(|invalid| invalid.at(at, false));
                }
                Source::Members { at, member } => {
                    if let Some(record) = read_record(member).map_err(|invalid| invalid.at(*at, true))? {
                        return Ok(Some(record));
                    }
                    let rest: &'a [u8] = member.get_ref();
                    self.whole = self.length.saturating_sub(rest.len());
                    self.source = Source::member(rest, self.length);
                }
                Source::End => return Ok(None),
            }
        }
    }
}

impl Iterator for Tombstones<'_> {
    type Item = Result<Tombstone>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.source = Source::End;
        }
        next
    }
}

impl<'a> Source<'a> {
    fn member(rest: &'a [u8], length: usize) -> Self {
        if rest.is_empty() {
            return Self::End;
        }
        let at = length.saturating_sub(rest.len()) as u64;
        Self::Members { at, member: Box::new(GzDecoder::new(rest)) }
    }
}

/// The next line that is not empty.
fn next_line(rest: &mut &[u8], length: usize) -> Result<Option<Tombstone>> {
    while !rest.is_empty() {
        let at = length.saturating_sub(rest.len()) as u64;
        let mut parts = rest.splitn(2, |&byte| byte == b'\n');
        let line = parts.next().unwrap_or_default();
        *rest = parts.next().unwrap_or_default();
        let key = line.strip_suffix(b"\r").unwrap_or(line);
        if key.is_empty() {
            continue;
        }
        // A line that cannot be a key is an error. It is more likely the corrupt header of a later version than a
        // delete without effect.
        let is_key = key.len() <= KEY_BYTES_MAX
            && !key.contains(&0)
            && key.windows(KEY_SEPARATOR.len()).any(|window| window == KEY_SEPARATOR);
        if !is_key {
            return Err(Error::corrupt(at, "a composite key on each line of a tombstone file of version 1"));
        }
        return Ok(Some(Tombstone { key: key.to_vec(), range: TimeRange::ALL }));
    }
    Ok(None)
}

/// Why a record cannot be read.
enum Invalid {
    Read(io::Error),
    Expected(&'static str),
}

impl Invalid {
    fn at(self, offset: u64, compressed: bool) -> Error {
        match self {
            Self::Read(error) if compressed => Error::new(ErrorKind::Gzip(Arc::new(error))).at(offset),
            Self::Read(_) => Error::corrupt(offset, "a complete tombstone record"),
            Self::Expected(expected) => Error::corrupt(offset, expected),
        }
    }
}

/// Reads one record. Returns `None` if the source ends before it.
fn read_record(source: &mut impl Read) -> std::result::Result<Option<Tombstone>, Invalid> {
    let mut len = [0; 4];
    let got = read_up_to(source, &mut len).map_err(Invalid::Read)?;
    if got == 0 {
        return Ok(None);
    }
    if got < len.len() {
        return Err(Invalid::Expected("a complete tombstone record"));
    }
    let len = u32::from_be_bytes(len) as usize;
    if len == 0 || len > KEY_BYTES_MAX {
        return Err(Invalid::Expected("a tombstone whose key has 1 to 65535 bytes"));
    }
    let mut key = vec![0; len];
    let mut times = [[0; 8]; 2];
    for part in [&mut key[..], times.as_flattened_mut()] {
        if read_up_to(source, part).map_err(Invalid::Read)? < part.len() {
            return Err(Invalid::Expected("a complete tombstone record"));
        }
    }
    let [min, max] = times.map(i64::from_be_bytes);
    Ok(Some(Tombstone { key, range: TimeRange::new(min, max) }))
}

/// Fills `buffer` unless the source ends first.
fn read_up_to(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(got) => filled = filled.saturating_add(got),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn record(key: &[u8], min: i64, max: i64) -> Vec<u8> {
        let len = (key.len() as u32).to_be_bytes();
        [&len[..], key, &min.to_be_bytes(), &max.to_be_bytes()].concat()
    }

    fn member(records: &[Vec<u8>]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&records.concat()).expect("memory");
        gzip.finish().expect("memory")
    }

    fn file(version: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        [&MAGIC[..], &[version], &parts.concat()].concat()
    }

    fn tombstone(key: &[u8], min: i64, max: i64) -> Tombstone {
        Tombstone { key: key.to_vec(), range: TimeRange::new(min, max) }
    }

    /// One file of each version with these two tombstones, and the lengths at which a truncated file is still valid.
    fn files() -> [(Vec<u8>, Vec<usize>); 4] {
        let records = [record(b"cpu#!~#a", 1, 2), record(b"cpu#!~#b", -7, 9)];
        let members = records.clone().map(|record| member(&[record]));
        let (record_len, member_len) = (records[0].len(), members[0].len());
        [
            (b"cpu#!~#a\n\ncpu#!~#b\n".to_vec(), vec![]),
            (file(2, &records), vec![0, 4, 4 + record_len]),
            (file(3, &[member(&records)]), vec![0, 4]),
            (file(4, &members), vec![0, 4, 4 + member_len]),
        ]
    }

    #[test]
    fn every_version_reads() {
        let ranged = [tombstone(b"cpu#!~#a", 1, 2), tombstone(b"cpu#!~#b", -7, 9)];
        let full = ranged.clone().map(|t| Tombstone { range: TimeRange::ALL, ..t });
        let [v1, v2, v3, v4] = files().map(|(bytes, _)| read_tombstones(&bytes).expect("reads"));
        assert_eq!(v1, full);
        assert_eq!(v2, ranged);
        assert_eq!(v3, ranged);
        assert_eq!(v4, ranged);
    }

    /// A reader that gets too few tombstones brings deleted points back, so a truncated file must be an error. The
    /// exception is a cut where a record or a member ends: such a file looks complete.
    #[test]
    fn truncated_files_are_errors() {
        for (bytes, wholes) in &files()[1..] {
            for len in 0..bytes.len() {
                let read = read_tombstones(&bytes[..len]);
                assert_eq!(read.is_ok(), wholes.contains(&len), "{len} of {} bytes: {read:?}", bytes.len());
            }
        }
    }

    #[test]
    fn corrupt_files_with_checksums_are_errors() {
        for (i, (mut bytes, _)) in files().into_iter().enumerate().skip(1) {
            let whole = read_tombstones(&bytes).expect("reads");
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                if let Ok(read) = read_tombstones(&bytes) {
                    let unprotected = i == 1 && bit / 8 >= HEADER_BYTES;
                    assert!(unprotected || read == whole, "bit {bit} in version {}: {read:?}", i + 1);
                }
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    /// A length in the file must not be allocated before its bytes are there, and a key must not be empty.
    #[test]
    fn impossible_key_lengths_are_errors() {
        for len in [0, 65_536, u32::MAX] {
            let bytes = file(2, &[len.to_be_bytes().to_vec(), vec![0; 100]]);
            let error = read_tombstones(&bytes).expect_err("impossible");
            assert_eq!(error.offset(), Some(HEADER_BYTES as u64));
            assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
        }
    }

    #[test]
    fn an_error_ends_the_iteration() {
        let mut bytes = files()[3].0.clone();
        bytes.truncate(bytes.len() - 1);
        let mut tombstones = Tombstones::new(&bytes).expect("the header is intact");
        let second = 4 + files()[3].1[2] as u64 - 4;
        assert!(tombstones.next().is_some_and(|t| t.is_ok()));
        assert!(
            tombstones.next().is_some_and(|t| t.is_ok()),
            "the record is complete, but the checksum is not"
        );
        let error = tombstones.next().and_then(Result::err).expect("it is truncated");
        assert_eq!(error.offset(), Some(second), "the offset of the truncated member");
        assert!(tombstones.next().is_none());
    }

    #[test]
    fn an_unknown_version_is_not_read_as_keys() {
        let error = Tombstones::new(&file(5, &[])).expect_err("unknown");
        assert!(matches!(error.kind(), ErrorKind::TombstoneVersion { found: 5 }), "{error}");
    }
}
