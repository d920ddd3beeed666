//! A tombstone file: what it deletes, and how to add more deletes.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)
)]

use tsmith_codecs::TimeRange;

use super::member::{is_torn, to_append, write_member};
use super::salvage::{WORK_MIN, next_member};
use super::{DELETIONS_BYTES_MAX, Deletions, MAGIC, Tombstone, Tombstones};
use crate::error::{Error, ErrorKind, Result};

/// The version that is written.
const VERSION: u8 = 4;

/// The most bytes of records in an appended member before compression. It must fit even if it does not compress.
const MEMBER_RECORDS_BYTES: usize = 60_000;
/// The length of a record without its key.
const RECORD_FIXED_BYTES: usize = 4 + 8 + 8;
/// A batch that needs more members goes into a new file, because each member costs two syncs.
const MEMBERS_MAX: usize = 8;

/// The content of a tombstone file, and how many of its bytes are intact.
#[derive(Clone, Debug, Default)]
pub struct TombstoneFile {
    version: u8,
    intact_bytes: u64,
    torn_bytes: u64,
    deletions: Deletions,
}

/// How to change a tombstone file so that it also holds a batch. Either way is atomic: the batch is on disk
/// completely or not at all. The batch counts only after the sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TombstoneWrite {
    /// Truncate the file to `at` bytes if it is longer, and append these members one after the other. Append each
    /// member open: with [`member_open_mark`](crate::member_open_mark) as its byte
    /// [`MEMBER_OPEN_AT`](crate::MEMBER_OPEN_AT). Sync it, then write the right byte and sync again. After a crash
    /// InfluxDB may be the next program to read the file. For InfluxDB an open member holds nothing, whatever part of
    /// it is there.
    Append {
        /// Where the intact bytes end.
        at: u64,
        /// The gzip members to append after them, in order.
        members: Vec<Vec<u8>>,
    },
    /// Publish a new file that replaces the old one, which is missing, empty or of an earlier version. The new file
    /// contains all tombstones of the old one. (InfluxDB writes only the new batch, so earlier deleted points come
    /// back.)
    Replace {
        /// The complete content of the file.
        bytes: Vec<u8>,
    },
}

impl TombstoneFile {
    /// Reads the bytes of a tombstone file of any version.
    ///
    /// A last batch whose append was interrupted was never acknowledged, so it is left out and counted in
    /// [`TombstoneFile::torn_bytes`]. Any other corruption is an error, because skipped tombstones bring deleted
    /// points back. It is also an error if the deletions need more memory than [`DELETIONS_BYTES_MAX`].
    pub fn read(bytes: &[u8]) -> Result<Self> {
        Self::read_within(bytes, DELETIONS_BYTES_MAX)
    }

    /// Like [`TombstoneFile::read`], with another memory limit.
    pub fn read_within(bytes: &[u8], limit: u64) -> Result<Self> {
        let mut deletions = Deletions::new();
        let mut records = Tombstones::new(bytes)?;
        let version = records.version();
        loop {
            let at = records.intact_bytes();
            match records.next() {
                Some(Ok(record)) => {
                    deletions.add(&record.key, record.range);
                    if deletions.memory_bytes() > limit {
                        return Err(Error::new(ErrorKind::TombstonesTooLarge { limit }).at(at as u64));
                    }
                }
                None => {
                    let intact_bytes = bytes.len() as u64;
                    return Ok(Self { version, intact_bytes, torn_bytes: 0, deletions });
                }
                Some(Err(error)) => {
                    let at = records.intact_bytes();
                    let (whole, tail) = bytes.split_at_checked(at).unwrap_or((bytes, &[]));
                    // An intact member after it was appended by InfluxDB, which then owned the directory. That delete
                    // is acknowledged and stays.
                    let is_last =
                        || next_member(bytes, at, &mut { WORK_MIN }).is_ok_and(|next| next.is_none());
                    if version != VERSION || !is_torn(tail, at as u64) || !is_last() {
                        return Err(error);
                    }
                    // Read again without it, because some of its records may already be in `deletions`.
                    return Ok(Self { torn_bytes: tail.len() as u64, ..Self::read_within(whole, limit)? });
                }
            }
        }
    }

    /// The deleted points.
    pub fn deletions(&self) -> &Deletions {
        &self.deletions
    }

    /// The number of intact bytes.
    pub fn intact_bytes(&self) -> u64 {
        self.intact_bytes
    }

    /// The number of bytes after those that an interrupted append left.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// How to change the file so that it also holds `batch`.
    pub fn plan(&self, batch: &[Tombstone]) -> TombstoneWrite {
        if self.version == VERSION
            && self.intact_bytes > 0
            && let Some(members) = members(batch)
        {
            return TombstoneWrite::Append { at: self.intact_bytes, members };
        }
        TombstoneWrite::Replace { bytes: new_file(&self.deletions, batch) }
    }

    /// Adds `batch`, after the file was changed as [`TombstoneFile::plan`] returned.
    pub fn wrote(&mut self, batch: Vec<Tombstone>, write: &TombstoneWrite) {
        self.intact_bytes = match write {
            TombstoneWrite::Append { at, members } => {
                members.iter().fold(*at, |end, member| end.saturating_add(member.len() as u64))
            }
            TombstoneWrite::Replace { bytes } => bytes.len() as u64,
        };
        self.version = VERSION;
        self.torn_bytes = 0;
        self.deletions.extend(batch);
    }
}

/// The bytes of a file with these tombstones, in the version that is written.
fn new_file(deletions: &Deletions, batch: &[Tombstone]) -> Vec<u8> {
    let [a, b, c] = MAGIC;
    let mut bytes = vec![a, b, c, VERSION];
    let mut keys: Vec<(&[u8], &[TimeRange])> = deletions.iter().collect();
    keys.sort_unstable_by_key(|(key, _)| *key);
    let old = keys.into_iter().flat_map(|(key, ranges)| ranges.iter().map(move |&range| (key, range)));
    // One member. With two, a truncated first member would not be the last one.
    write_member(old.chain(batch.iter().map(Tombstone::parts)), &mut bytes);
    bytes
}

impl Deletions {
    /// The bytes of a tombstone file with exactly these deletions.
    pub fn to_file(&self) -> Vec<u8> {
        new_file(self, &[])
    }
}

/// The batch as members that can be appended. Returns `None` if rewriting the file is cheaper or a record is too
/// long.
fn members(batch: &[Tombstone]) -> Option<Vec<Vec<u8>>> {
    let (mut members, mut rest) = (Vec::new(), batch);
    while !rest.is_empty() {
        let mut bytes = 0_usize;
        let fit = rest.iter().take_while(|record| {
            bytes = bytes.saturating_add(record.key.len()).saturating_add(RECORD_FIXED_BYTES);
            bytes <= MEMBER_RECORDS_BYTES
        });
        let (these, later) = rest.split_at_checked(fit.count().max(1)).unwrap_or((rest, &[]));
        rest = later;
        let mut member = Vec::new();
        write_member(these.iter().map(Tombstone::parts), &mut member);
        if members.len() == MEMBERS_MAX {
            return None;
        }
        members.push(to_append(member)?);
    }
    Some(members)
}

impl Tombstone {
    /// A tombstone for all points of `key` inside `range`.
    pub fn new(key: &[u8], range: TimeRange) -> Self {
        Self { key: key.to_vec(), range }
    }

    pub(super) fn parts(&self) -> (&[u8], TimeRange) {
        (&self.key, self.range)
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::{MEMBER_OPEN_AT, member_open_mark};
    use super::*;

    fn batch(i: i64) -> Vec<Tombstone> {
        let tombstone = |key: &str, min, max| Tombstone::new(key.as_bytes(), TimeRange::new(min, max));
        vec![
            tombstone("cpu#!~#a", 10 * i, 10 * i + 3),
            tombstone(&format!("cpu,i={i}#!~#b"), i64::MIN, i64::MAX),
        ]
    }

    /// The file, and its length after each batch.
    fn written(batches: i64) -> (Vec<u8>, Vec<usize>) {
        let (mut file, mut bytes, mut lens) = (TombstoneFile::default(), Vec::new(), Vec::new());
        for i in 0..batches {
            let write = file.plan(&batch(i));
            match &write {
                TombstoneWrite::Append { at, members } => {
                    assert_eq!(*at, bytes.len() as u64, "the batch is appended");
                    bytes.extend(members.concat());
                }
                TombstoneWrite::Replace { bytes: all } => {
                    assert!(bytes.is_empty(), "only the first batch creates a file");
                    bytes.clone_from(all);
                }
            }
            file.wrote(batch(i), &write);
            lens.push(bytes.len());
            let read = TombstoneFile::read(&bytes).expect("it is intact");
            assert_eq!((read.deletions(), read.intact_bytes()), (file.deletions(), bytes.len() as u64));
        }
        (bytes, lens)
    }

    fn deletions(batches: i64) -> Deletions {
        let mut all = Deletions::new();
        (0..batches).for_each(|i| all.extend(batch(i)));
        all
    }

    /// A file of kilobytes can decompress to gigabytes. Only the distinct deletions count against the limit.
    #[test]
    fn a_gzip_member_cannot_exhaust_memory() {
        let long = |n: u32| {
            Tombstone::new(&[&n.to_be_bytes()[..], &vec![b'k'; 60_000][..]].concat(), TimeRange::ALL)
        };
        let TombstoneWrite::Replace { bytes } =
            TombstoneFile::default().plan(&(0..200).map(long).collect::<Vec<_>>())
        else {
            panic!("a new file")
        };
        assert!(bytes.len() < 200_000, "{}", bytes.len());
        let error = TombstoneFile::read_within(&bytes, 1 << 20).expect_err("too large");
        assert!(matches!(error.kind(), ErrorKind::TombstonesTooLarge { .. }), "{error}");
        assert_eq!(TombstoneFile::read_within(&bytes, 16 << 20).expect("room").deletions().len(), 200);
        // Repeated deletions of the same points take no more memory.
        let same: Vec<Tombstone> = (0..10_000).map(|_| long(1)).collect();
        let TombstoneWrite::Replace { bytes } = TombstoneFile::default().plan(&same) else {
            panic!("a new file")
        };
        assert_eq!(TombstoneFile::read_within(&bytes, 1 << 20).expect("one key").deletions().len(), 1);
    }

    #[test]
    fn batches_are_appended() {
        let (bytes, _) = written(5);
        assert_eq!(TombstoneFile::read(&bytes).expect("it is intact").deletions(), &deletions(5));
    }

    /// Too many records for one member, too many for all members, and one record that is too long.
    #[test]
    fn large_batches_are_appended_or_rewritten() {
        let (mut file, mut bytes) = (TombstoneFile::default(), Vec::new());
        let mut noise = 7_u64;
        let mut key = |len: usize| -> Vec<u8> {
            let mut byte = || {
                noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                (noise >> 56) as u8
            };
            (0..len).map(|_| byte()).collect()
        };
        let mut appended = Vec::new();
        for (records, len) in [(1, 10), (300, 1000), (1000, 1000), (1, 65_535), (5, 59_000)] {
            let batch: Vec<Tombstone> =
                (0..records).map(|_| Tombstone::new(&key(len), TimeRange::ALL)).collect();
            let write = file.plan(&batch);
            match &write {
                TombstoneWrite::Append { members, .. } => {
                    appended.push(members.len());
                    bytes.extend(members.concat());
                }
                TombstoneWrite::Replace { bytes: all } => {
                    appended.push(0);
                    bytes.clone_from(all);
                }
            }
            file.wrote(batch, &write);
            let read = TombstoneFile::read(&bytes).expect("it is intact");
            assert_eq!((read.deletions(), read.intact_bytes()), (file.deletions(), file.intact_bytes()));
        }
        assert_eq!(appended, [0, 6, 0, 0, 5]);
    }

    /// A crash during an append leaves any part of it, in any sectors. That batch was not acknowledged, but all
    /// earlier ones were.
    #[test]
    fn an_unfinished_append_is_left_out() {
        let (mut file, mut bytes) = (TombstoneFile::default(), Vec::new());
        let mut end = Vec::new();
        for i in 0..40 {
            // Long keys without a pattern, so that a member spans several sectors.
            let key: Vec<u8> =
                (0..400_u64).map(|j| (j.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 1).collect();
            let one = vec![Tombstone::new(&[&key[..], &[i]].concat(), TimeRange::new(0, i64::from(i)))];
            let write = file.plan(&one);
            match &write {
                TombstoneWrite::Append { members, .. } => bytes.extend(members.concat()),
                TombstoneWrite::Replace { bytes: all } => bytes.clone_from(all),
            }
            file.wrote(one, &write);
            end.push(bytes.len());
        }
        let last = end[end.len() - 2];
        // An open member counts as unfinished, whatever part of it is there. A complete open member holds nothing.
        let mut open = bytes.clone();
        open[last + MEMBER_OPEN_AT] = member_open_mark(&bytes[last..]);
        for len in last..open.len() {
            let read = TombstoneFile::read(&open[..len]).expect("a torn append is not corruption");
            assert_eq!((read.intact_bytes(), read.torn_bytes()), (last as u64, (len - last) as u64));
            assert_eq!(read.deletions().len(), 39);
            assert!(matches!(read.plan(&batch(1)), TombstoneWrite::Append { at, .. } if at == last as u64));
        }
        let read = TombstoneFile::read(&open).expect("it is complete and empty");
        assert_eq!(
            (read.intact_bytes(), read.torn_bytes(), read.deletions().len()),
            (open.len() as u64, 0, 39)
        );
        let mut sectors = vec![last];
        sectors.extend((0..=bytes.len()).filter(|at| at % 512 == 0 && *at > last));
        for lost in sectors {
            let mut torn = open.clone();
            let until = ((lost / 512 + 1) * 512).min(bytes.len());
            torn[lost..until].fill(0);
            let read = TombstoneFile::read(&torn).expect("a torn append is not corruption");
            assert_eq!(read.deletions().len(), 39, "{lost}..{until}");
        }
    }

    /// If corruption passed for an unfinished append, points that an acknowledged delete removed would come back.
    #[test]
    fn a_corrupt_batch_is_not_an_unfinished_append() {
        let (bytes, _) = written(3);
        for bit in 0..bytes.len() * 8 {
            let mut corrupt = bytes.clone();
            corrupt[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = TombstoneFile::read(&corrupt) {
                assert_eq!((read.torn_bytes(), read.deletions()), (0, &deletions(3)), "bit {bit}");
            }
        }
    }

    /// Story: a crash of Tsmith left an open, truncated member. InfluxDB opened the shard and appended its own
    /// delete. Tsmith then cut both off, and the points deleted by InfluxDB came back.
    #[test]
    fn members_behind_an_unfinished_append_are_kept() {
        let (bytes, lens) = written(2);
        let member = |records: &[Tombstone]| {
            let mut member = Vec::new();
            write_member(records.iter().map(Tombstone::parts), &mut member);
            // As InfluxDB writes it: without an extra field.
            [&[0x1f, 0x8b, 8, 0, 0, 9, 0x6e, 0x88, 0, 0xff], &member[24..]].concat()
        };
        let theirs = member(&batch(9));
        let mut open = bytes.clone();
        open[lens[0] + MEMBER_OPEN_AT] = member_open_mark(&bytes[lens[0]..]);
        for len in lens[0] + 1..open.len() {
            let alone = TombstoneFile::read(&open[..len]).expect("the append is torn");
            assert_eq!(alone.intact_bytes(), lens[0] as u64, "{len}");
            let both = [&open[..len], &theirs].concat();
            match TombstoneFile::read(&both) {
                Err(error) => assert_eq!(error.offset(), Some(lens[0] as u64), "{len}: {error}"),
                // Places where the header of InfluxDB's member completes ours.
                Ok(read) => assert!(read.deletions().covers(b"cpu,i=9#!~#b", TimeRange::ALL), "{len}"),
            }
            let kept = super::super::TombstoneSalvage::of(&both).expect("version 4").kept;
            assert!(kept.covers(b"cpu,i=9#!~#b", TimeRange::ALL), "{len}");
        }
    }

    /// InfluxDB adds to a file of version 1, 2 or 3 by writing a file with only the new records. So earlier deleted
    /// points come back at the next start.
    #[test]
    fn deletes_of_earlier_versions_are_kept() {
        let old = b"cpu#!~#a\ncpu#!~#z\n";
        let file = TombstoneFile::read(old).expect("version 1");
        let TombstoneWrite::Replace { bytes } = file.plan(&batch(7)) else { panic!("another version") };
        let read = TombstoneFile::read(&bytes).expect("version 4");
        assert_eq!(read.deletions().ranges(b"cpu#!~#z"), [TimeRange::ALL]);
        assert_eq!(read.deletions().ranges(b"cpu,i=7#!~#b"), [TimeRange::ALL]);
        assert_eq!(Tombstones::new(&bytes).expect("reads").version(), 4);
    }
}
