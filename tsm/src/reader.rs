//! Reads the blocks in the bytes of a file, and checks each of them.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)
)]

use bytes::Bytes;
use tsmith_codecs::{BlockDecoder, Column, Decoders, FieldType, Span, TimeRange};

use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    CRC_BYTES, HEADER_BYTES, INDEX_BYTES_MAX, INDEX_OFFSET_BYTES, MAGIC, Version, index_crc, type_byte,
};
use crate::index::{Index, IndexEntry, KeyEntry};
use crate::map::prefetch;

/// What a key without a separator should have been.
pub(crate) const NO_FIELD: &str = "a key with `#!~#` between series and field";

/// Reads one TSM file.
///
/// Opening reads the whole index once. Blocks are read only when requested, and their checksums are checked each
/// time. The reader is immutable and never writes.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    version: Version,
    index_offset: u64,
    index: Index,
}

impl Reader {
    /// Opens a file from all of its bytes, which were read or mapped with [`map_readonly`](crate::map_readonly).
    pub fn new(bytes: Bytes) -> Result<Self> {
        let version = check_header(&bytes)?;
        Self::of_version(bytes, version)
    }

    /// Like [`Reader::new`], but ignores the version in the header.
    pub(crate) fn of_version(bytes: Bytes, version: Version) -> Result<Self> {
        let index_offset = check_footer(&bytes, version)?;
        let index_end = bytes.len().saturating_sub(version.footer_bytes());
        let index = bytes.slice(index_offset..index_end); // in bounds: `check_footer`
        if index.len() > INDEX_BYTES_MAX {
            return Err(Error::corrupt(index_offset as u64, "an index shorter than 2 GiB"));
        }
        let index_offset = index_offset as u64;
        if version == Version::Tagged {
            check_index_crc(&bytes, &index, index_offset)?;
        }
        let index = Index::walk(index, index_offset)?;
        Ok(Self { bytes, version, index_offset, index })
    }

    /// A reader with a different index than the file. The index describes some of the blocks before `index_offset`.
    pub(crate) fn with_index(
        bytes: Bytes,
        version: Version,
        index_offset: u64,
        index: Bytes,
    ) -> Result<Self> {
        if index.len() > INDEX_BYTES_MAX {
            return Err(Error::corrupt(index_offset, "an index shorter than 2 GiB"));
        }
        let index = Index::walk_part(index, index_offset)?;
        Ok(Self { bytes, version, index_offset, index })
    }

    /// The version byte of the file.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are no keys. Files without keys do not open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of blocks.
    pub fn block_count(&self) -> u64 {
        self.index.blocks()
    }

    /// The range from the earliest to the latest time of all blocks. (InfluxDB's reader returns 0 as the latest time
    /// if it is before 1970.)
    pub fn range(&self) -> TimeRange {
        self.index.range()
    }

    /// Whether each block begins where the previous entry's block ends. This is true for every known writer.
    pub(crate) fn is_sequential(&self) -> bool {
        self.index.is_sequential()
    }

    /// Whether each block of a key ends before the next one begins, as [`Writer`](crate::Writer) ensures.
    pub fn is_disjoint(&self) -> bool {
        self.index.is_disjoint()
    }

    /// The length of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The offset of the index, which is the length of header and blocks.
    pub fn index_offset(&self) -> u64 {
        self.index_offset
    }

    /// CRC-32 of header, index and footer, the bytes that no block checksum covers. InfluxDB's files do not store it,
    /// so corruption there can go undetected. Code that copies files can compare it.
    pub fn frame_checksum(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(self.bytes.get(..HEADER_BYTES).unwrap_or_default());
        crc.update(
            usize::try_from(self.index_offset).ok().and_then(|at| self.bytes.get(at..)).unwrap_or_default(),
        );
        crc.finalize()
    }

    /// The key with this index, in ascending order.
    pub fn get(&self, position: usize) -> Option<KeyEntry<'_>> {
        self.index.get(position)
    }

    /// All keys in ascending order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = KeyEntry<'_>> {
        (0..self.len()).filter_map(|position| self.index.get(position))
    }

    /// The first key.
    pub fn first_key(&self) -> &[u8] {
        self.get(0).map(KeyEntry::key).unwrap_or_default()
    }

    /// The last key.
    pub fn last_key(&self) -> &[u8] {
        self.len().checked_sub(1).and_then(|last| self.get(last)).map(KeyEntry::key).unwrap_or_default()
    }

    /// An error for each key without a separator between series and field. No engine writes such keys, so they are
    /// corrupt. [`Reader::new`] accepts them, because the format allows them.
    pub fn keys_without_field(&self) -> impl Iterator<Item = Error> {
        self.index.keys_without_field().map(|(at, key)| {
            Error::corrupt(self.index_offset.saturating_add(u64::from(at)), NO_FIELD).of(key)
        })
    }

    /// Looks up a composite key.
    pub fn find(&self, key: &[u8]) -> Option<KeyEntry<'_>> {
        self.index.find(key)
    }

    /// The index of a composite key, or as an error the index of the first key after it.
    pub fn search(&self, key: &[u8]) -> std::result::Result<usize, usize> {
        self.index.search(key)
    }

    /// The bytes of a block of `key`. Checks the checksum first.
    pub fn block(&self, key: KeyEntry<'_>, entry: IndexEntry) -> Result<&[u8]> {
        self.checked_frame(key, entry).map(|frame| frame.get(CRC_BYTES..).unwrap_or_default())
    }

    /// Like [`Reader::block`], but the block must have a decoder in `decoders`.
    pub fn known_block(&self, key: KeyEntry<'_>, entry: IndexEntry, decoders: &Decoders) -> Result<&[u8]> {
        let block = self.block(key, entry)?;
        let known = decoders.knows(block).map_err(ErrorKind::from);
        known.map_err(|kind| Error::new(kind).at(entry.offset).of(key.key()))?;
        Ok(block)
    }

    /// The bytes of a block of `key` with the checksum in front, as in the file. Checks the checksum first.
    #[inline]
    pub(crate) fn checked_frame(&self, key: KeyEntry<'_>, entry: IndexEntry) -> Result<&[u8]> {
        let frame = self.frame(entry);
        let Some((stored, block)) = frame.and_then(split_frame) else {
            return Err(Error::corrupt(entry.offset, "a block between header and index").of(key.key()));
        };
        let computed = crc32fast::hash(block);
        if stored != computed {
            let kind = ErrorKind::Checksum { what: "the block", stored, computed };
            return Err(Error::new(kind).at(entry.offset).of(key.key()));
        }
        if self.version == Version::Influx && block.first() != Some(&type_byte(key.field_type())) {
            let found =
                block.first().map_or_else(|| "nothing".to_owned(), |byte| format!("byte {byte:#04x}"));
            let kind = ErrorKind::BlockType { index: key.field_type(), block: found };
            return Err(Error::new(kind).at(entry.offset).of(key.key()));
        }
        Ok(frame.unwrap_or_default())
    }

    /// The bytes of a block without checking them. The caller must read the block in full afterwards.
    pub(crate) fn unchecked_block(&self, entry: IndexEntry) -> Option<&[u8]> {
        self.slice(entry).map(|(_, block)| block)
    }

    /// Replaces `out` with the column of a block of `key`, which may have at most `limit` values.
    ///
    /// Checks that the column agrees with the index: the type, the first and last time, and that the times ascend.
    /// After an error, `out` is empty.
    pub fn read_block<D: BlockDecoder>(
        &self,
        key: KeyEntry<'_>,
        entry: IndexEntry,
        decoder: &mut D,
        limit: usize,
        out: &mut Column,
    ) -> Result<()> {
        self.read_block_within(key, entry, decoder, (limit, TimeRange::ALL), out)
    }

    /// Like [`Reader::read_block`], for a caller that needs only the points inside `range`. Other points may be left
    /// out.
    pub fn read_block_within<D: BlockDecoder>(
        &self,
        key: KeyEntry<'_>,
        entry: IndexEntry,
        decoder: &mut D,
        (limit, range): (usize, TimeRange),
        out: &mut Column,
    ) -> Result<()> {
        let block = self.block(key, entry);
        let done = block.and_then(|block| {
            let span = decoder.decode_within(block, limit, range, out).map_err(ErrorKind::from);
            let agreed = span.and_then(|span| agrees(key, entry, out.field_type(), span));
            agreed.map_err(|kind| Error::new(kind).at(entry.offset).of(key.key()))
        });
        if done.is_err() {
            out.reset(key.field_type());
        }
        done
    }

    /// The stored checksum and the block, or `None` if they are not between header and index.
    pub(crate) fn slice(&self, entry: IndexEntry) -> Option<(u32, &[u8])> {
        self.frame(entry).and_then(split_frame)
    }

    /// Prefetches a block that will be read soon.
    #[inline]
    pub(crate) fn prefetch(&self, entry: IndexEntry) {
        prefetch(self.frame(entry).unwrap_or_default());
    }

    fn frame(&self, entry: IndexEntry) -> Option<&[u8]> {
        let end = entry.offset.checked_add(u64::from(entry.size))?;
        if entry.offset < HEADER_BYTES as u64 || end > self.index_offset {
            return None;
        }
        self.bytes.get(usize::try_from(entry.offset).ok()?..usize::try_from(end).ok()?)
    }
}

fn split_frame(frame: &[u8]) -> Option<(u32, &[u8])> {
    let (crc, block) = frame.split_first_chunk::<CRC_BYTES>()?;
    Some((u32::from_be_bytes(*crc), block))
}

fn check_header(bytes: &[u8]) -> Result<Version> {
    let length = bytes.len();
    let found = bytes.get(..MAGIC.len().min(length)).unwrap_or_default();
    if !MAGIC.starts_with(found) {
        return Err(Error::new(ErrorKind::Magic { found: found.to_vec() }).at(0));
    }
    let Some(&found) = bytes.get(MAGIC.len()) else {
        return Err(too_short(length, "a header"));
    };
    Version::from_byte(found).ok_or_else(|| Error::new(ErrorKind::Version { found }).at(MAGIC.len() as u64))
}

/// The offset of the index. It is at least one block after the header and one byte before the footer.
fn check_footer(bytes: &[u8], version: Version) -> Result<usize> {
    let length = bytes.len();
    let footer = length.checked_sub(version.footer_bytes()).filter(|_| length >= version.file_bytes_min());
    let (Some(footer), Some(stored)) = (footer, bytes.last_chunk::<INDEX_OFFSET_BYTES>()) else {
        return Err(too_short(length, "a block, an index and a footer"));
    };
    let found = u64::from_be_bytes(*stored);
    let inside = |&at: &usize| HEADER_BYTES < at && at < footer;
    usize::try_from(found).ok().filter(inside).ok_or_else(|| {
        let (min, max) = (const { HEADER_BYTES as u64 + 1 }, (footer as u64).saturating_sub(1));
        Error::new(ErrorKind::IndexOffset { found, min, max })
            .at((length as u64).saturating_sub(INDEX_OFFSET_BYTES as u64))
    })
}

fn check_index_crc(bytes: &[u8], index: &[u8], index_offset: u64) -> Result<()> {
    let footer = bytes.last_chunk::<{ CRC_BYTES + INDEX_OFFSET_BYTES }>();
    let stored = footer.and_then(|footer| footer.first_chunk::<CRC_BYTES>());
    let stored = u32::from_be_bytes(*stored.ok_or_else(|| too_short(bytes.len(), "a footer"))?);
    let computed = index_crc(index, index_offset);
    if stored == computed {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Checksum { what: "the index", stored, computed }).at(index_offset))
}

fn too_short(length: usize, expected: &'static str) -> Error {
    Error::new(ErrorKind::TooShort { bytes: length as u64, expected }).at(length as u64)
}

/// Checks that a block with this type and these times agrees with its index entry.
fn agrees(
    key: KeyEntry<'_>,
    entry: IndexEntry,
    field_type: FieldType,
    span: Option<Span>,
) -> std::result::Result<(), ErrorKind> {
    if field_type != key.field_type() {
        let block = field_type.name().to_owned();
        return Err(ErrorKind::BlockType { index: key.field_type(), block });
    }
    let Some(Span { first, last, ascends }) = span else {
        return Err(ErrorKind::Corrupt { expected: "a block with values" });
    };
    let block = TimeRange::new(first, last);
    if block != entry.range {
        return Err(ErrorKind::BlockTimes { index: entry.range, block });
    }
    if ascends { Ok(()) } else { Err(ErrorKind::BlockUnsorted) }
}
