//! Rescue: reads the entries of a corrupt index that are still readable.
//!
//! ```text
//! header ─ blocks ─ index ─ footer      opens unchanged? with another header? ─▶ done
//!                   ▲
//!                   └ at the offset in the footer, or at a first key: one whose first block follows the header
//! key ─▶ next key ─▶ invalid bytes ─▶ search: entries that fit a block, then the key before them ─▶ next key
//! ```
//!
//! InfluxDB's index has no checksum. So an entry is accepted only if
//!
//! - its block has the right checksum and decodes to values of the key's type, and
//! - its block begins where the block of a neighbour ends, or ends where it begins. An entry with another offset
//!   could describe the block of another key.
//!
//! A key is accepted only if its length leads from its start to such entries, and it is in order with its neighbours.
//! Its first entries may be corrupt if all others fit and the key has one separator. With a corrupt length it would
//! contain another separator.
//!
//! If two keys are in the wrong order, the one without which the others ascend is dropped. If that does not decide,
//! both are dropped. A corrupt key that is still in order looks like another key. Neither InfluxDB nor any other
//! reader detects it.

use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use tsmith_codecs::{Decoders, FieldType};

use super::Look;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    BLOCK_SIZE_MIN, COUNT_BYTES, CRC_BYTES, HEADER_BYTES, INDEX_ENTRY_BYTES, INDEX_OFFSET_BYTES,
    KEY_LEN_BYTES, MAGIC, TYPE_BYTES, Version, field_type, index_crc, type_byte,
};
use crate::index::IndexEntry;
use crate::reader::Reader;

/// Separates series and field in the keys of every engine.
const SEPARATOR: &[u8] = b"#!~#";

/// How often each byte of a file may be read, on average. An intact index needs two reads per byte.
const LOOKS_PER_BYTE: u64 = 16;

/// The number of first keys that are tried.
const FIRST_KEYS_MAX: usize = 4;

/// The corrupt parts of header, footer and index.
#[derive(Clone, Debug)]
pub struct IndexLoss {
    /// Why the file does not open.
    pub error: Error,
    /// Ranges of the index from which no entry was taken.
    pub gaps: Vec<Range<u64>>,
    /// Bytes of blocks that have no index entry any more.
    pub orphan_bytes: u64,
}

/// Opens a file like [`Reader::new`]. If header, footer or index is corrupt, it uses an index of the entries that are
/// still readable, and returns what is lost.
///
/// # Errors
/// No entry can be read, or a key of version `T` is corrupt and it is unknown which.
pub fn rescue(bytes: Bytes, decoders: &Decoders) -> Result<(Reader, Option<IndexLoss>)> {
    let error = match Reader::new(bytes.clone()) {
        Ok(reader) => return Ok((reader, None)),
        Err(error) => error,
    };
    for version in [Version::Influx, Version::Tagged] {
        if let Ok(reader) = Reader::of_version(bytes.clone(), version) {
            return Ok((reader, Some(IndexLoss { error, gaps: Vec::new(), orphan_bytes: 0 })));
        }
    }
    let has_magic = bytes.starts_with(&MAGIC);
    let said = bytes.get(MAGIC.len()).filter(|_| has_magic).and_then(|&byte| Version::from_byte(byte));
    let version = said.unwrap_or(Version::Influx);
    let Some(Found { start, records, mut gaps }) = find_index(&bytes, version, decoders)? else {
        return Err(error);
    };
    let index_end = records.last().map_or(start, |last| last.end);
    let records = in_order(with_neighbours(records, start as u64));
    let kept: u64 = records.iter().flat_map(|record| &record.fits).map(|fit| u64::from(fit.entry.size)).sum();
    let orphan_bytes = (start as u64).saturating_sub(HEADER_BYTES as u64).saturating_sub(kept);
    let footer_at = bytes.len().saturating_sub(version.footer_bytes()) as u64;
    gaps.retain(|gap| gap.start < footer_at);
    if records.is_empty() || orphan_bytes == 0 && has_corrupt_key(&bytes, version, start..index_end) {
        return Err(error);
    }
    let index = records.iter().flat_map(|record| record.to_bytes(&bytes)).collect::<Vec<_>>();
    let reader = Reader::with_index(bytes, version, start as u64, index.into())?;
    Ok((reader, Some(IndexLoss { error, gaps, orphan_bytes })))
}

/// The result of reading an index.
struct Found {
    start: usize,
    records: Vec<Record>,
    gaps: Vec<Range<u64>>,
}

impl Found {
    /// Whether the last block ends where the index begins, as in every intact file.
    fn reaches_index(&self) -> bool {
        let last = self.records.iter().flat_map(|record| &record.fits).map(|fit| fit.entry.end()).max();
        last == Some(self.start as u64)
    }

    /// The higher the rank, the more likely this is the index of the file.
    fn rank(&self) -> (bool, usize) {
        (self.reaches_index(), self.records.iter().map(|record| record.fits.len()).sum())
    }
}

/// The index at the offset in the footer, or at a first key. An index that begins where its last block ends is
/// preferred, then the one that keeps the most blocks. A first key after the true one is in a copy of an index sector
/// that was written to the wrong place.
fn find_index(bytes: &Bytes, version: Version, decoders: &Decoders) -> Result<Option<Found>> {
    let stored = bytes.last_chunk::<INDEX_OFFSET_BYTES>().map(|stored| u64::from_be_bytes(*stored));
    let inside = |&at: &usize| HEADER_BYTES < at && at < bytes.len();
    let said = stored.and_then(|stored| usize::try_from(stored).ok()).filter(inside);
    let by_footer = said.map(|start| run(bytes, version, start, decoders)).transpose()?;
    if let Some(found) = by_footer.as_ref()
        && found.reaches_index()
        && found.gaps.first().is_none_or(|gap| gap.start > found.start as u64)
    {
        return Ok(by_footer);
    }
    // If the length of the first key is corrupt, the search may find a key that begins inside the last block.
    let in_block = |found: &Found| {
        let first = found.records.first();
        !found.reaches_index() && said.zip(first).is_some_and(|(said, first)| first.key.contains(&said))
    };
    let mut best = by_footer;
    let mut keys = FirstKeys::new(bytes, version, decoders);
    for _ in 0..FIRST_KEYS_MAX {
        let Some(start) = keys.next()? else { break };
        if Some(start) == said {
            continue;
        }
        let found = run(bytes, version, start, decoders)?;
        if best.as_ref().is_none_or(|best| best.rank() <= found.rank() && !in_block(&found)) {
            best = Some(found);
        }
    }
    Ok(best)
}

/// Reads the index that begins at `start`. Duplicate keys are taken once.
fn run(bytes: &Bytes, version: Version, start: usize, decoders: &Decoders) -> Result<Found> {
    let reader = Reader::with_index(bytes.clone(), version, start as u64, Bytes::new())?;
    let work = (bytes.len() as u64).saturating_mul(LOOKS_PER_BYTE);
    let (mut records, gaps) = Scan { bytes, look: Look::new(&reader, decoders), start, work }.run();
    let mut known = HashSet::new();
    records.retain_mut(|record| {
        record.fits.retain(|fit| known.insert((record.name.clone(), fit.entry.offset)));
        !record.fits.is_empty()
    });
    Ok(Found { start, records, gaps })
}

/// The keys whose first block follows the header, from the end of the file backwards.
struct FirstKeys<'a> {
    bytes: &'a Bytes,
    version: Version,
    decoders: &'a Decoders,
    upto: usize,
    work: u64,
}

impl<'a> FirstKeys<'a> {
    fn new(bytes: &'a Bytes, version: Version, decoders: &'a Decoders) -> Self {
        let work = (bytes.len() as u64).saturating_mul(LOOKS_PER_BYTE);
        Self { bytes, version, decoders, upto: bytes.len(), work }
    }

    /// Where the next key is.
    fn next(&mut self) -> Result<Option<usize>> {
        let offset = (HEADER_BYTES as u64).to_be_bytes();
        while self.work > 0 {
            let part = self.bytes.get(..self.upto).unwrap_or_default();
            let hit = part.windows(offset.len()).rposition(|found| found == offset);
            let Some(hit) = hit else { return Ok(None) };
            self.upto = hit.saturating_add(offset.len()).saturating_sub(1);
            // Two times precede an offset, and type and count precede the first entry.
            let Some(at) = hit.checked_sub(16 + TYPE_BYTES + COUNT_BYTES) else { return Ok(None) };
            let reader = Reader::with_index(self.bytes.clone(), self.version, at as u64, Bytes::new())?;
            let mut scan = Scan {
                bytes: self.bytes,
                look: Look::new(&reader, self.decoders),
                start: at,
                work: self.work,
            };
            let key = scan.key_of(HEADER_BYTES, at);
            self.work = scan.work;
            if let Some(key) = key {
                return Ok(Some(key.start.saturating_sub(KEY_LEN_BYTES)));
            }
        }
        Ok(None)
    }
}

/// Drops entries whose blocks neither begin where the previous entry's block ends nor end where the next one begins.
fn with_neighbours(mut records: Vec<Record>, start: u64) -> Vec<Record> {
    let all: Vec<IndexEntry> = records.iter().flat_map(|record| &record.fits).map(|fit| fit.entry).collect();
    let begins = |place: usize| all.get(place).map_or(start, |next| next.offset);
    let ends = |place: usize| all.get(place).map_or(HEADER_BYTES as u64, |before| before.end());
    let mut place = 0_usize;
    for record in &mut records {
        record.fits.retain(|fit| {
            let (before, next) = (place.wrapping_sub(1), place.saturating_add(1));
            place = next;
            fit.entry.offset == ends(before) || fit.entry.end() == begins(next)
        });
        record.fits.sort_by_key(|fit| fit.entry.range.min);
    }
    records.retain(|record| !record.fits.is_empty());
    records
}

/// Drops keys so that the others ascend. If two keys are in the wrong order, the corrupt one does not fit between the
/// neighbours of the other. If both fit or neither fits, it is unknown which is corrupt.
fn in_order(records: Vec<Record>) -> Vec<Record> {
    let names: Vec<Bytes> = records.iter().map(|record| record.name.clone()).collect();
    let mut kept: Vec<Record> = Vec::with_capacity(records.len());
    'records: for (place, record) in records.into_iter().enumerate() {
        while let Some(last) = kept.last().filter(|last| last.name >= record.name) {
            let next = names.get(place.saturating_add(1));
            let before = kept.len().checked_sub(2).and_then(|before| kept.get(before));
            let fits_without_last = before.is_none_or(|before| before.name < record.name);
            let fits_without_this = next.is_none_or(|next| last.name < *next);
            if fits_without_last || !fits_without_this {
                kept.pop();
            }
            if fits_without_this || !fits_without_last {
                continue 'records;
            }
        }
        kept.push(record);
    }
    kept
}

/// Whether the index checksum proves that a key is corrupt although all entries fit. A stored checksum that differs
/// in only one byte is itself corrupt.
fn has_corrupt_key(bytes: &[u8], version: Version, index: Range<usize>) -> bool {
    let Some(footer) = bytes.get(index.end..).filter(|_| version == Version::Tagged) else { return false };
    let Ok(footer) = <[u8; CRC_BYTES + INDEX_OFFSET_BYTES]>::try_from(footer) else { return false };
    let stored = footer.first_chunk::<CRC_BYTES>().copied().map_or(0, u32::from_be_bytes);
    let differs = stored ^ index_crc(bytes.get(index.clone()).unwrap_or_default(), index.start as u64);
    differs.to_be_bytes().iter().filter(|&&byte| byte != 0).count() > 1
}

/// An entry with an intact block. The times are those of the block.
#[derive(Clone, Copy, Debug)]
struct Fit {
    entry: IndexEntry,
    /// `None` for a block that this build cannot read.
    field_type: Option<FieldType>,
}

/// A key of the index with its entries that fit.
#[derive(Debug)]
struct Record {
    key: Range<usize>,
    name: Bytes,
    field_type: FieldType,
    fits: Vec<Fit>,
    /// Where the last entry that fits ends.
    end: usize,
    /// Whether all entries of the key are there and fit.
    is_whole: bool,
}

impl Record {
    /// The key as it is stored in an index.
    fn to_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let key = bytes.get(self.key.clone()).unwrap_or_default();
        let mut out = (key.len() as u16).to_be_bytes().to_vec();
        out.extend_from_slice(key);
        out.push(type_byte(self.field_type));
        out.extend_from_slice(&(self.fits.len() as u16).to_be_bytes());
        for Fit { entry, .. } in &self.fits {
            out.extend_from_slice(&entry.range.min.to_be_bytes());
            out.extend_from_slice(&entry.range.max.to_be_bytes());
            out.extend_from_slice(&entry.offset.to_be_bytes());
            out.extend_from_slice(&entry.size.to_be_bytes());
        }
        out
    }
}

/// Reads the index that begins at `start`.
struct Scan<'a> {
    bytes: &'a Bytes,
    /// The current place in the blocks before the index.
    look: Look<'a>,
    start: usize,
    /// The number of bytes that may still be read.
    work: u64,
}

impl Scan<'_> {
    /// The readable keys, and the ranges between them.
    fn run(mut self) -> (Vec<Record>, Vec<Range<u64>>) {
        let (mut records, mut gaps) = (Vec::<Record>::new(), Vec::new());
        let (mut at, mut block_end, mut follows) = (self.start, HEADER_BYTES as u64, true);
        while at < self.bytes.len() {
            let next = if follows { self.key_at(at, block_end) } else { None };
            let next = next.or_else(|| self.find(at));
            let begin =
                next.as_ref().map_or(self.bytes.len(), |next| next.key.start.saturating_sub(KEY_LEN_BYTES));
            if begin > at {
                gaps.push(at as u64..begin as u64);
            }
            let Some(record) = next else { break };
            (at, follows) = (record.end, record.is_whole);
            block_end = record.fits.last().map_or(block_end, |fit| fit.entry.end());
            records.push(record);
        }
        (records, gaps)
    }

    /// The key whose length is at `at`, if its first blocks begin at `block_end`, or if only its first entries are
    /// corrupt.
    fn key_at(&mut self, at: usize, block_end: u64) -> Option<Record> {
        let key = self.key_of_length(at)?;
        let [first, second] = [0, 1].map(|place| self.entry(key.end, place));
        let first = first?;
        let after_first = block_end.saturating_add(u64::from(first.size));
        let is_next = first.offset == block_end || second.is_some_and(|second| second.offset == after_first);
        if is_next || self.lacks_first(&key) { self.record(key) } else { None }
    }

    /// Whether the first entries of this key are corrupt while all others fit blocks that follow each other. If
    /// another key ends in the corrupt bytes, the length of this key is corrupt and the entries belong to the other
    /// key.
    fn lacks_first(&mut self, key: &Range<usize>) -> bool {
        let Some(count) = self.count(key.end).filter(|_| self.separators(key) == 1) else { return false };
        let (mut corrupt, mut block_end) = (0_usize, None);
        for place in 0..count {
            let Some(entry) = self.entry(key.end, place) else { return false };
            self.work = self.work.saturating_sub(INDEX_ENTRY_BYTES as u64);
            match self.fit(entry) {
                Some(_) if block_end.is_none_or(|end| end == entry.offset) => block_end = Some(entry.end()),
                None if block_end.is_none() => corrupt = corrupt.saturating_add(1),
                _ => return false,
            }
        }
        let type_of_other = key.end.saturating_add(corrupt.saturating_mul(INDEX_ENTRY_BYTES));
        corrupt > 0 && block_end.is_some() && self.key_of(key.end, type_of_other).is_none()
    }

    /// The first key after `at` whose first entry fits.
    fn find(&mut self, at: usize) -> Option<Record> {
        for entries in at.saturating_add(KEY_LEN_BYTES)..self.bytes.len() {
            if let Some(key) = self.key_of(at, entries) {
                return self.record(key);
            }
            if self.work == 0 {
                return None;
            }
        }
        None
    }

    /// The key that ends at `end`, where its type is, if the entry after it fits. If several starts at or after
    /// `from` are possible, the last one is right. An earlier one would include entries in the key.
    fn key_of(&mut self, from: usize, end: usize) -> Option<Range<usize>> {
        let found = field_type(*self.bytes.get(end)?)?;
        self.count(end)?;
        let entry = self.entry(end, 0)?;
        let fit = self.fit(entry)?;
        if fit.field_type.is_some_and(|of_block| of_block != found) || fit.entry.range != entry.range {
            return None;
        }
        let first = from.max(end.saturating_sub(KEY_LEN_BYTES + usize::from(u16::MAX)));
        for at in (first..end.checked_sub(KEY_LEN_BYTES)?).rev() {
            self.work = self.work.saturating_sub(1);
            let Some(key) = self.key_of_length(at).filter(|key| key.end == end) else { continue };
            match self.separators(&key) {
                0 => {}
                1 => return Some(key),
                _ => return None,
            }
        }
        None
    }

    /// How often a key contains the separator between series and field. A valid key contains it once.
    fn separators(&self, key: &Range<usize>) -> usize {
        let name = self.bytes.get(key.clone()).unwrap_or_default();
        name.windows(SEPARATOR.len()).filter(|window| *window == SEPARATOR).count()
    }

    /// The key whose length is at `at`.
    fn key_of_length(&self, at: usize) -> Option<Range<usize>> {
        let len = self.bytes.get(at..)?.first_chunk::<KEY_LEN_BYTES>()?;
        let start = at.saturating_add(KEY_LEN_BYTES);
        let key = start..start.saturating_add(usize::from(u16::from_be_bytes(*len)));
        Some(key).filter(|key| !key.is_empty() && key.end < self.bytes.len())
    }

    /// The number of entries after the type at `at`.
    fn count(&self, at: usize) -> Option<usize> {
        let count = self.bytes.get(at.saturating_add(TYPE_BYTES)..)?.first_chunk::<COUNT_BYTES>()?;
        Some(usize::from(u16::from_be_bytes(*count))).filter(|&count| count > 0)
    }

    /// The entry with this index after the type at `at`.
    fn entry(&self, at: usize, place: usize) -> Option<IndexEntry> {
        let entries = self.bytes.get(at.saturating_add(TYPE_BYTES + COUNT_BYTES)..)?;
        entries.get(place.saturating_mul(INDEX_ENTRY_BYTES)..)?.first_chunk().map(IndexEntry::parse)
    }

    /// A key with its entries that fit, or `None` if none fits.
    fn record(&mut self, key: Range<usize>) -> Option<Record> {
        let count = self.count(key.end)?;
        let entries_at = key.end.saturating_add(TYPE_BYTES + COUNT_BYTES);
        let behind = |place: usize| entries_at.saturating_add(place.saturating_mul(INDEX_ENTRY_BYTES));
        let (mut fits, mut end) = (Vec::<Fit>::new(), entries_at);
        for place in 0..count {
            let Some(entry) = self.entry(key.end, place) else { break };
            self.work = self.work.saturating_sub(INDEX_ENTRY_BYTES as u64);
            // All blocks of a key have one type, so a corrupt type of the key matches none of them.
            let fit = self
                .fit(entry)
                .filter(|fit| fits.first().is_none_or(|first| first.field_type == fit.field_type));
            if let Some(fit) = fit {
                fits.push(fit);
                end = behind(place.saturating_add(1));
            }
        }
        let name = self.bytes.slice_ref(self.bytes.get(key.clone())?);
        let is_whole = fits.len() == count;
        let said = field_type(*self.bytes.get(key.end)?).unwrap_or(FieldType::Float);
        let field_type = fits.first()?.field_type.unwrap_or(said);
        Some(Record { key, name, field_type, fits, end, is_whole })
    }

    /// The entry with the times of its block, if the block is intact. A block that this build cannot read keeps the
    /// times of the entry.
    fn fit(&mut self, entry: IndexEntry) -> Option<Fit> {
        let is_inside = entry.offset >= HEADER_BYTES as u64 && entry.end() <= self.start as u64;
        if !is_inside || (entry.size as usize) < BLOCK_SIZE_MIN {
            return None;
        }
        let Some(work) = self.work.checked_sub(u64::from(entry.size)) else {
            self.work = 0;
            return None;
        };
        self.work = work;
        match self.look.block(entry) {
            Ok(block) => {
                let entry = IndexEntry { range: block.range, ..entry };
                Some(Fit { entry, field_type: Some(block.field_type) })
            }
            Err(ErrorKind::UnknownEncoder { .. }) if entry.range.min <= entry.range.max => {
                Some(Fit { entry, field_type: None })
            }
            Err(_) => None,
        }
    }
}
