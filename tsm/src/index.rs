//! The index of a file. Opening checks all of it; later it is searched by key.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)
)]

use bytes::Bytes;
use tsmith_codecs::{FieldKey, FieldType, TimeRange};

use crate::error::{Error, Result};
use crate::format::{
    BLOCK_SIZE_MIN, COUNT_BYTES, HEADER_BYTES, INDEX_ENTRY_BYTES, KEY_LEN_BYTES, TYPE_BYTES, field_type,
};

mod places;

use places::Places;

/// The index entry of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The range from its first to its last time.
    pub range: TimeRange,
    /// The offset of its checksum in the file.
    pub offset: u64,
    /// The length of checksum and block.
    pub size: u32,
}

impl IndexEntry {
    /// The offset where its block ends.
    pub(crate) fn end(self) -> u64 {
        self.offset.saturating_add(u64::from(self.size))
    }

    pub(crate) fn parse(bytes: &[u8; INDEX_ENTRY_BYTES]) -> Self {
        Self {
            range: TimeRange::new(
                i64::from_be_bytes(part::<0, 8>(bytes)),
                i64::from_be_bytes(part::<8, 8>(bytes)),
            ),
            offset: u64::from_be_bytes(part::<16, 8>(bytes)),
            size: u32::from_be_bytes(part::<24, 4>(bytes)),
        }
    }
}

fn part<const AT: usize, const LEN: usize>(bytes: &[u8; INDEX_ENTRY_BYTES]) -> [u8; LEN] {
    const { assert!(AT + LEN <= INDEX_ENTRY_BYTES) };
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "asserted above at compile time"
    )]
    std::array::from_fn(|i| bytes[AT + i])
}

/// One key with its type and blocks.
#[derive(Clone, Copy, Debug)]
pub struct KeyEntry<'a> {
    position: usize,
    key: &'a [u8],
    field_type: FieldType,
    entries: &'a [[u8; INDEX_ENTRY_BYTES]],
}

impl<'a> KeyEntry<'a> {
    /// The index of the key in the file, for [`Reader::get`](crate::Reader::get).
    pub fn position(self) -> usize {
        self.position
    }

    /// The composite key.
    pub fn key(self) -> &'a [u8] {
        self.key
    }

    /// The type of its values.
    pub fn field_type(self) -> FieldType {
        self.field_type
    }

    /// The number of blocks, at least one.
    pub fn block_count(self) -> usize {
        self.entries.len()
    }

    /// The entries of its blocks, in order of their first times. In files written by [`Writer`](crate::Writer), each
    /// block ends before the next one begins. The format allows blocks that overlap.
    pub fn entries(self) -> impl DoubleEndedIterator<Item = IndexEntry> + ExactSizeIterator + 'a {
        self.entries.iter().map(IndexEntry::parse)
    }

    /// The entries of its blocks that may have points inside `range`. If the blocks are `disjoint`, it looks only at
    /// these.
    pub(crate) fn entries_within(
        self,
        range: TimeRange,
        disjoint: bool,
    ) -> impl Iterator<Item = IndexEntry> + 'a {
        let min = |entry: &[u8; INDEX_ENTRY_BYTES]| i64::from_be_bytes(part::<0, 8>(entry));
        let max = |entry: &[u8; INDEX_ENTRY_BYTES]| i64::from_be_bytes(part::<8, 8>(entry));
        let to = self.entries.partition_point(|entry| min(entry) <= range.max);
        let from = if disjoint { self.entries.partition_point(|entry| max(entry) < range.min) } else { 0 };
        let entries = self.entries.get(from..to).unwrap_or_default();
        entries.iter().map(IndexEntry::parse).filter(move |entry| entry.range.overlaps(range))
    }

    /// The entry with this index.
    pub fn entry(self, index: usize) -> Option<IndexEntry> {
        self.entries.get(index).map(IndexEntry::parse)
    }

    /// The range from the earliest to the latest time of all its blocks.
    pub fn range(self) -> TimeRange {
        hull(self.entries().map(|entry| entry.range))
    }

    /// Returns the first key of `rest` if it is `key`.
    ///
    /// The position of the entries is computed from the length of `key` instead of the stored length. So the
    /// processor can load the entries while it still loads the key.
    fn split_if(rest: &'a [u8], key: &[u8], position: usize) -> Option<Self> {
        let (len, at) = rest.split_first_chunk::<KEY_LEN_BYTES>()?;
        let (found, at) = at.split_at_checked(key.len())?;
        let ([type_byte], at) = at.split_first_chunk::<TYPE_BYTES>()?;
        let (count, after) = at.split_first_chunk::<COUNT_BYTES>()?;
        let is_it = usize::from(u16::from_be_bytes(*len)) == key.len() && found == key;
        let field_type = field_type(*type_byte).filter(|_| is_it)?;
        let bytes = usize::from(u16::from_be_bytes(*count)).checked_mul(INDEX_ENTRY_BYTES)?;
        let entries = after.get(..bytes)?.as_chunks().0;
        Some(Self { position, key: found, field_type, entries })
    }

    /// Splits the first key off `rest`. On failure, returns what the format requires at that byte.
    fn split(rest: &'a [u8], position: usize) -> std::result::Result<(Self, &'a [u8]), Invalid> {
        let invalid = |expected: &'static str, left: &[u8]| Invalid { expected, left: left.len() };
        let (len, at) =
            rest.split_first_chunk::<KEY_LEN_BYTES>().ok_or(invalid("the length of a key", rest))?;
        let len = usize::from(u16::from_be_bytes(*len));
        if len == 0 {
            return Err(invalid("a key of at least one byte", rest));
        }
        let (key, at) = at.split_at_checked(len).ok_or(invalid("a key inside the index", rest))?;
        let ([type_byte], at) =
            at.split_first_chunk::<TYPE_BYTES>().ok_or(invalid("the type of a key", at))?;
        let field_type = field_type(*type_byte)
            .ok_or(Invalid { expected: "a type of 0 to 4", left: at.len().saturating_add(1) })?;
        let (count, after) =
            at.split_first_chunk::<COUNT_BYTES>().ok_or(invalid("the number of a key's blocks", at))?;
        let count = usize::from(u16::from_be_bytes(*count));
        if count == 0 {
            return Err(invalid("at least one block", at));
        }
        let (entries, after) = count
            .checked_mul(INDEX_ENTRY_BYTES)
            .and_then(|len| after.split_at_checked(len))
            .ok_or(invalid("as many entries inside the index as the key has blocks", at))?;
        Ok((Self { position, key, field_type, entries: entries.as_chunks().0 }, after))
    }
}

/// What is wrong with the index, and the number of bytes from there to its end.
struct Invalid {
    expected: &'static str,
    left: usize,
}

/// The index: its bytes and the offset of each key.
///
/// It takes four bytes of memory per key, and twice that if single keys are looked up often. The number of blocks
/// does not matter. The rest stays in the bytes of the file.
#[derive(Debug)]
pub(crate) struct Index {
    bytes: Bytes,
    /// The offset of each key in `bytes`, which is shorter than 2 GiB.
    offsets: Vec<u32>,
    blocks: u64,
    block_bytes: u64,
    range: TimeRange,
    disjoint: bool,
    sequential: bool,
    composite: bool,
    places: Places,
}

impl Index {
    /// Checks every byte of an index that begins at `index_offset` in its file.
    ///
    /// It checks everything that the writer ensures. Keys ascend. Types and counts are valid. Blocks lie between
    /// header and index in order of time, do not overlap, and fill that space.
    pub(crate) fn walk(bytes: Bytes, index_offset: u64) -> Result<Self> {
        let index = Self::walk_part(bytes, index_offset)?;
        if index.block_bytes != index_offset.saturating_sub(HEADER_BYTES as u64) {
            return Err(Error::corrupt(index_offset, "an index of all the blocks before it"));
        }
        if !index.sequential && index.has_overlaps() {
            // A corrupt offset points to the block of another key. That block could pass for a block of this key.
            return Err(Error::corrupt(index_offset, "an index with one entry for each block"));
        }
        Ok(index)
    }

    /// Like [`Index::walk`], for an index that lacks the entries of some blocks.
    pub(crate) fn walk_part(bytes: Bytes, index_offset: u64) -> Result<Self> {
        let mut walk = Walk {
            index_offset,
            previous: &[],
            blocks: 0,
            block_bytes: 0,
            block_end: HEADER_BYTES as u64,
            range: EMPTY,
            disjoint: true,
            sequential: true,
            composite: true,
        };
        let error = |invalid: Invalid| {
            let at = bytes.len().saturating_sub(invalid.left) as u64;
            Error::corrupt(index_offset.saturating_add(at), invalid.expected)
        };
        let mut offsets = Vec::new();
        let mut rest: &[u8] = &bytes;
        while !rest.is_empty() {
            let at = bytes.len().saturating_sub(rest.len());
            let (key, after) = KeyEntry::split(rest, offsets.len()).map_err(error)?;
            walk.check(key, rest.len()).map_err(|invalid| error(invalid).of(key.key))?;
            offsets.push(at as u32);
            rest = after;
        }
        offsets.shrink_to_fit();
        let Walk { blocks, block_bytes, range, disjoint, sequential, composite, .. } = walk;
        let places = Places::default();
        Ok(Self { bytes, offsets, blocks, block_bytes, range, disjoint, sequential, composite, places })
    }

    /// Whether two blocks share a byte of the file.
    fn has_overlaps(&self) -> bool {
        let keys = (0..self.len()).filter_map(|position| self.get(position));
        let mut blocks: Vec<_> =
            keys.flat_map(KeyEntry::entries).map(|entry| (entry.offset, entry.end())).collect();
        blocks.sort_unstable();
        blocks.windows(2).any(|pair| matches!(pair, [(_, end), (next, _)] if next < end))
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    pub(crate) fn range(&self) -> TimeRange {
        self.range
    }

    /// Whether each block of the file begins where the previous entry's block ends.
    pub(crate) fn is_sequential(&self) -> bool {
        self.sequential
    }

    /// Whether each block of a key ends before the next one begins.
    pub(crate) fn is_disjoint(&self) -> bool {
        self.disjoint
    }

    /// The keys that are not composite, each with its place in the index.
    pub(crate) fn keys_without_field(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let offsets = if self.composite { &[] } else { &self.offsets[..] };
        let keys = offsets.iter().map(|&at| (at, self.key_at(at)));
        keys.filter(|(_, key)| FieldKey::parse(key).is_none())
    }

    pub(crate) fn get(&self, position: usize) -> Option<KeyEntry<'_>> {
        let at = *self.offsets.get(position)?;
        KeyEntry::split(self.bytes.get(at as usize..)?, position).ok().map(|(key, _)| key)
    }

    /// The index of `key`, or as an error the index where it would be.
    pub(crate) fn search(&self, key: &[u8]) -> std::result::Result<usize, usize> {
        self.offsets.binary_search_by(|&at| self.key_at(at).cmp(key))
    }

    /// The entry of `key`, if the file has it.
    pub(crate) fn find(&self, key: &[u8]) -> Option<KeyEntry<'_>> {
        let Some(table) = self.places.get() else {
            let key_at = |place: u32| self.offsets.get(place as usize).map_or(&[][..], |&at| self.key_at(at));
            self.places.searched(self.len(), key_at);
            return self.get(self.search(key).ok()?);
        };
        table.find(key, |place| {
            let position = place as usize;
            let rest = self.bytes.get(*self.offsets.get(position)? as usize..)?;
            KeyEntry::split_if(rest, key, position)
        })
    }

    /// The bytes of a key, for the search. Empty only if the bytes of the file changed after opening.
    fn key_at(&self, at: u32) -> &[u8] {
        let key = || {
            let (len, rest) = self.bytes.get(at as usize..)?.split_first_chunk::<KEY_LEN_BYTES>()?;
            rest.get(..usize::from(u16::from_be_bytes(*len)))
        };
        key().unwrap_or_default()
    }
}

const EMPTY: TimeRange = TimeRange { min: i64::MAX, max: i64::MIN };

fn hull(ranges: impl Iterator<Item = TimeRange>) -> TimeRange {
    ranges.fold(EMPTY, |all, range| TimeRange::new(all.min.min(range.min), all.max.max(range.max)))
}

/// What the check knows of the keys it has passed.
struct Walk<'a> {
    index_offset: u64,
    previous: &'a [u8],
    blocks: u64,
    block_bytes: u64,
    /// The offset where the block of the last entry ends.
    block_end: u64,
    range: TimeRange,
    disjoint: bool,
    sequential: bool,
    composite: bool,
}

impl<'a> Walk<'a> {
    /// Checks one key. `left` is the number of bytes from the start of the key to the end of the index.
    fn check(&mut self, key: KeyEntry<'a>, left: usize) -> std::result::Result<(), Invalid> {
        if key.key <= self.previous {
            return Err(Invalid { expected: "a key that follows the one before", left });
        }
        self.previous = key.key;
        self.composite &= FieldKey::parse(key.key).is_some();
        let (mut min, mut max) = (i64::MIN, None);
        for (i, entry) in key.entries().enumerate() {
            if let Some(expected) = self.flaw_of(entry, min) {
                let before = KEY_LEN_BYTES
                    .saturating_add(key.key.len())
                    .saturating_add(TYPE_BYTES + COUNT_BYTES)
                    .saturating_add(i.saturating_mul(INDEX_ENTRY_BYTES));
                return Err(Invalid { expected, left: left.saturating_sub(before) });
            }
            min = entry.range.min;
            self.disjoint &= max.is_none_or(|max| max < min);
            max = Some(entry.range.max);
            self.block_bytes = self.block_bytes.saturating_add(u64::from(entry.size));
            self.sequential &= entry.offset == self.block_end;
            self.block_end = entry.end();
            self.range = hull([self.range, entry.range].into_iter());
        }
        self.blocks = self.blocks.saturating_add(key.entries.len() as u64);
        Ok(())
    }

    fn flaw_of(&self, entry: IndexEntry, previous_min: i64) -> Option<&'static str> {
        if entry.range.min > entry.range.max {
            return Some("a block that does not end before it begins");
        }
        if entry.range.min < previous_min {
            return Some("the blocks of a key in order of time");
        }
        if (entry.size as usize) < BLOCK_SIZE_MIN {
            return Some("a block of at least one byte");
        }
        let inside = entry.offset >= HEADER_BYTES as u64
            && entry.offset.checked_add(u64::from(entry.size)).is_some_and(|end| end <= self.index_offset);
        if inside { None } else { Some("a block between header and index") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const INDEX_OFFSET: u64 = 45;

    fn entry(min: i64, max: i64, offset: u64, size: u32) -> Vec<u8> {
        [&min.to_be_bytes()[..], &max.to_be_bytes(), &offset.to_be_bytes(), &size.to_be_bytes()].concat()
    }

    fn key(key: &[u8], type_byte: u8, entries: &[Vec<u8>]) -> Vec<u8> {
        let (len, count) = ((key.len() as u16).to_be_bytes(), (entries.len() as u16).to_be_bytes());
        [&len[..], key, &[type_byte], &count, &entries.concat()].concat()
    }

    /// Two keys. The first has two blocks.
    fn index() -> Vec<u8> {
        [key(b"a", 0, &[entry(1, 2, 5, 10), entry(3, 4, 15, 10)]), key(b"b", 4, &[entry(-9, 9, 25, 20)])]
            .concat()
    }

    fn walk(bytes: Vec<u8>) -> Result<Index> {
        Index::walk(bytes.into(), INDEX_OFFSET)
    }

    /// Where in the index the check stops, and what it expected there.
    fn invalid(bytes: Vec<u8>) -> (u64, &'static str) {
        let error = walk(bytes).expect_err("is invalid");
        let ErrorKind::Corrupt { expected } = *error.kind() else { panic!("{error}") };
        (error.offset().expect("an offset") - INDEX_OFFSET, expected)
    }

    #[test]
    fn a_valid_index_returns_its_entries() {
        let index = walk(index()).expect("it is valid");
        assert_eq!((index.len(), index.blocks(), index.range()), (2, 3, TimeRange::new(-9, 9)));
        let key = index.get(1).expect("the second key");
        assert_eq!((key.key(), key.field_type(), key.block_count()), (&b"b"[..], FieldType::Unsigned, 1));
        assert!(index.get(2).is_none());
        assert_eq!([b"a", b"b", b"c"].map(|key| index.search(key)), [Ok(0), Ok(1), Err(2)]);
    }

    #[test]
    fn hash_and_binary_search_find_the_same_key() {
        let names: Vec<_> = (0..300).map(|i| format!("{:05}", i * 7)).collect();
        let keys = names.iter().map(|name| key(name.as_bytes(), 0, &[entry(1, 2, 5, 0)])).collect::<Vec<_>>();
        // Blocks of at least five bytes that together fill the space before the index.
        let mut bytes = keys.concat();
        let len = bytes.len() / keys.len();
        for (i, key) in bytes.chunks_mut(len).enumerate() {
            let at = key.len() - 12;
            key[at..at + 8].copy_from_slice(&(5 + 5 * i as u64).to_be_bytes());
            key[at + 8..].copy_from_slice(&5_u32.to_be_bytes());
        }
        let index = Index::walk(bytes.into(), 5 + 5 * 300).expect("it is valid");
        for round in 0..3 {
            for wanted in 0..=2100 {
                let wanted = format!("{wanted:05}");
                let expected = index.search(wanted.as_bytes()).ok();
                let found = index.find(wanted.as_bytes());
                assert!(
                    found.is_none_or(|found| found.key() == wanted.as_bytes() && found.block_count() > 0)
                );
                assert_eq!(found.map(KeyEntry::position), expected, "{wanted} in round {round}");
            }
        }
        assert!(index.places.get().is_some(), "the hash table was never built");
    }

    #[test]
    fn a_truncated_index_reports_what_is_missing() {
        let whole = index();
        let second = key(b"a", 0, &[entry(1, 2, 5, 10), entry(3, 4, 15, 10)]).len();
        for (len, at, expected) in [
            (second + 1, second, "the length of a key"),
            (second + 2, second, "a key inside the index"),
            (second + 3, second + 3, "the type of a key"),
            (second + 5, second + 4, "the number of a key's blocks"),
            (second + 9, second + 4, "as many entries inside the index as the key has blocks"),
            (second, 0, "an index of all the blocks before it"),
        ] {
            assert_eq!(invalid(whole[..len].to_vec()), (at as u64, expected), "{len}");
        }
    }

    #[test]
    fn each_invalid_entry_has_its_offset() {
        let one = |e: Vec<u8>| key(b"a", 0, &[e]);
        let entries_at = key(b"a", 0, &[]).len() as u64;
        let [inverted, inside, small] = [
            "a block that does not end before it begins",
            "a block between header and index",
            "a block of at least one byte",
        ];
        for (bytes, at, expected) in [
            (key(b"", 0, &[entry(1, 2, 5, 40)]), 0, "a key of at least one byte"),
            (key(b"a", 5, &[entry(1, 2, 5, 40)]), 3, "a type of 0 to 4"),
            (key(b"a", 0, &[]), 4, "at least one block"),
            (one(entry(2, 1, 5, 40)), entries_at, inverted),
            (one(entry(1, 2, 4, 40)), entries_at, inside),
            (one(entry(1, 2, 5, 41)), entries_at, inside),
            (one(entry(1, 2, u64::MAX, 40)), entries_at, inside),
            (one(entry(1, 2, 5, 4)), entries_at, small),
            (one(entry(1, 2, 5, 39)), 0, "an index of all the blocks before it"),
            (
                key(b"a", 0, &[entry(3, 4, 5, 20), entry(1, 2, 25, 20)]),
                entries_at + 28,
                "the blocks of a key in order of time",
            ),
            (
                [one(entry(1, 2, 5, 20)), one(entry(3, 4, 25, 20))].concat(),
                entries_at + 28,
                "a key that follows the one before",
            ),
        ] {
            assert_eq!(invalid(bytes), (at, expected));
        }
    }
}
