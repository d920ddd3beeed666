//! Writes a file in one pass: header, blocks, index, footer.

use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::ops::Range;

use tsmith_codecs::{FieldType, KEY_BYTES_MAX, TimeRange};

use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    BLOCKS_PER_KEY_MAX, COUNT_BYTES, CRC_BYTES, FILE_BYTES_MAX, HEADER_BYTES, INDEX_ENTRY_BYTES, MAGIC,
    TYPE_BYTES, Version, type_byte,
};

mod index;

use index::IndexBytes;
pub use index::Scratch;

/// Writes one TSM file.
///
/// Write blocks in ascending order of keys, and in order of time within a key. Each block is written at once, so
/// `out` should be buffered. Only the index stays in memory, in its final form: about thirty bytes per block, and
/// each key once. If that may be too much, [`Writer::spill_index_to`] keeps it in a scratch file. The header is
/// written with the first block, so a file without blocks stays empty.
///
/// A full file refuses a block before it writes anything of it. See [`Writer::is_full`]. The caller syncs and names
/// the file.
pub struct Writer<W> {
    out: W,
    version: Version,
    /// The index in its final form. The block count of the current key is always up to date.
    index: IndexBytes,
    current: Option<CurrentKey>,
    offset: u64,
    keys: u64,
    blocks: u64,
    range: TimeRange,
    /// A write failed, so it is unknown how much of it reached the file.
    failed: bool,
}

/// The key of the last block.
struct CurrentKey {
    /// Where its bytes are in the tail of the index.
    at: Range<usize>,
    field_type: FieldType,
    count: u16,
    max: i64,
}

/// What a finished file contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The number of keys.
    pub keys: u64,
    /// The number of blocks.
    pub blocks: u64,
    /// The range from the earliest to the latest time of all keys.
    pub range: TimeRange,
    /// The offset of the index, which is the length of header and blocks.
    pub index_offset: u64,
    /// The length of the file.
    pub file_bytes: u64,
}

impl<W: io::Write> Writer<W> {
    /// A writer that starts a new file at the beginning of `out`.
    pub fn new(out: W, version: Version) -> Self {
        Self {
            out,
            version,
            index: IndexBytes::new(),
            current: None,
            offset: 0,
            keys: 0,
            blocks: 0,
            range: TimeRange::new(i64::MAX, i64::MIN),
            failed: false,
        }
    }

    /// Writes the next block. It belongs to the composite key `key`, and its times are exactly `range`.
    ///
    /// After an I/O error the file is unusable, and all further calls fail. After any other error, nothing of the
    /// block was written, and other blocks can follow.
    pub fn write_block(
        &mut self,
        key: &[u8],
        field_type: FieldType,
        range: TimeRange,
        block: &[u8],
    ) -> Result<()> {
        let check = || -> std::result::Result<bool, ErrorKind> {
            self.check_room()?;
            self.check_block(field_type, range, block)?;
            self.check_key(key, field_type, range)
        };
        let goes_on = check().map_err(|kind| Error::new(kind).at(self.offset).of(key))?;
        let offset = self.offset.max(HEADER_BYTES as u64);
        let crc = crc32fast::hash(block).to_be_bytes();
        self.write_bytes(&[&crc, block]).map_err(|error| Error::from(error).at(offset).of(key))?;
        self.note(key, field_type, (range, offset, CRC_BYTES + block.len()), goes_on)
    }

    /// Like [`Writer::write_block`], for a block with its correct checksum in front. If `goes_on`, the caller
    /// guarantees that key and type are those of the previous block. A caller that copies several blocks then saves
    /// the comparison.
    pub(crate) fn write_frame(
        &mut self,
        (key, field_type): (&[u8], FieldType),
        range: TimeRange,
        frame: &[u8],
        goes_on: bool,
    ) -> Result<()> {
        let is_current =
            |at: &CurrentKey| self.index.tail[at.at.clone()] == *key && at.field_type == field_type;
        debug_assert!(
            !goes_on || self.current.as_ref().is_some_and(is_current),
            "`goes_on` with another key"
        );
        let check = || -> std::result::Result<bool, ErrorKind> {
            self.check_room()?;
            self.check_block(field_type, range, frame.get(CRC_BYTES..).unwrap_or_default())?;
            match &self.current {
                Some(current) if goes_on => check_order(range, current.max).map(|()| true),
                _ => self.check_key(key, field_type, range),
            }
        };
        let goes_on = check().map_err(|kind| Error::new(kind).at(self.offset).of(key))?;
        let offset = self.offset.max(HEADER_BYTES as u64);
        self.write_bytes(&[frame]).map_err(|error| Error::from(error).at(offset).of(key))?;
        self.note(key, field_type, (range, offset, frame.len()), goes_on)
    }

    /// Adds a block that was written to the index.
    #[inline]
    fn note(
        &mut self,
        key: &[u8],
        field_type: FieldType,
        (range, offset, size): (TimeRange, u64, usize),
        goes_on: bool,
    ) -> Result<()> {
        if !goes_on {
            self.begin_key(key, field_type).map_err(|error| Error::from(error).at(offset).of(key))?;
        }
        self.push_entry(range, offset, size as u32); // checked by `check_block`
        Ok(())
    }

    /// Keeps about `memory_bytes` of the index in memory, and the rest in `scratch` until the file is finished.
    ///
    /// The index of a 2 GiB file can be nearly as large as the file, and several files may be written at once. The
    /// bytes of the file do not change.
    #[must_use]
    pub fn spill_index_to(mut self, scratch: Box<dyn Scratch>, memory_bytes: usize) -> Self {
        self.index.spill_to(scratch, memory_bytes);
        self
    }

    /// Reserves memory for an index of about this size, so that it does not grow by repeated copying.
    pub(crate) fn expect_index(&mut self, bytes: usize) {
        self.index.expect(bytes);
    }

    /// The version byte of the file.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the file takes no more blocks: its size is above [`FILE_BYTES_MAX`], or its last key has
    /// [`BLOCKS_PER_KEY_MAX`] blocks. InfluxDB then finishes the file and starts the next.
    pub fn is_full(&self) -> bool {
        self.check_room().is_err_and(|kind| !matches!(kind, ErrorKind::Poisoned))
    }

    /// The size of the file if it were finished now, as InfluxDB estimates it: without the type bytes of the index
    /// and without the footer. (InfluxDB counts in 32 bits. Only blocks of gigabytes could overflow them.)
    pub fn estimated_bytes(&self) -> u64 {
        self.offset + self.index.len() - self.keys * TYPE_BYTES as u64
    }

    /// Writes index and footer, flushes, and returns `out`.
    pub fn finish(mut self) -> Result<(W, Summary)> {
        if self.failed {
            return Err(Error::new(ErrorKind::Poisoned).at(self.offset));
        }
        if self.blocks == 0 {
            return Err(Error::new(ErrorKind::NoValues));
        }
        let index_offset = self.offset;
        self.write_index().map_err(|error| Error::from(error).at(index_offset))?;
        let file_bytes = index_offset + self.index.len() + self.version.footer_bytes() as u64;
        let Self { out, keys, blocks, range, .. } = self;
        Ok((out, Summary { keys, blocks, range, index_offset, file_bytes }))
    }

    fn check_room(&self) -> std::result::Result<(), ErrorKind> {
        if self.failed {
            return Err(ErrorKind::Poisoned);
        }
        if self.current.as_ref().is_some_and(|current| current.count == BLOCKS_PER_KEY_MAX) {
            return Err(ErrorKind::MaxBlocks);
        }
        let bytes = self.estimated_bytes();
        if bytes > FILE_BYTES_MAX { Err(ErrorKind::FileFull { bytes }) } else { Ok(()) }
    }

    fn check_block(
        &self,
        field_type: FieldType,
        range: TimeRange,
        block: &[u8],
    ) -> std::result::Result<(), ErrorKind> {
        if range.min > range.max {
            return Err(ErrorKind::Inverted { range });
        }
        let bytes = block.len();
        let Some(&found) = block.first().filter(|_| bytes <= u32::MAX as usize - CRC_BYTES) else {
            return Err(ErrorKind::BlockLength { bytes });
        };
        let expected = type_byte(field_type);
        if self.version == Version::Influx && found != expected {
            return Err(ErrorKind::NotInflux { field_type, expected, found });
        }
        Ok(())
    }

    /// Whether the block belongs to the current key. If it does not, checks that its key may begin.
    fn check_key(
        &self,
        key: &[u8],
        field_type: FieldType,
        range: TimeRange,
    ) -> std::result::Result<bool, ErrorKind> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(ErrorKind::KeyLength { bytes: key.len() });
        }
        let Some(current) = &self.current else { return Ok(false) };
        let previous = &self.index.tail[current.at.clone()];
        match key.cmp(previous) {
            Ordering::Less => return Err(ErrorKind::KeyOrder { previous: previous.into() }),
            Ordering::Greater => return Ok(false),
            Ordering::Equal => {}
        }
        if field_type != current.field_type {
            return Err(ErrorKind::TypeChange { expected: current.field_type, found: field_type });
        }
        check_order(range, current.max).map(|()| true)
    }

    fn write_bytes(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.failed = true; // until all is written
        if self.offset == 0 {
            let [a, b, c, d] = MAGIC;
            self.out.write_all(&[a, b, c, d, self.version.byte()])?;
            self.offset = HEADER_BYTES as u64;
        }
        for part in parts {
            self.out.write_all(part)?;
            self.offset += part.len() as u64;
        }
        self.failed = false;
        Ok(())
    }

    fn begin_key(&mut self, key: &[u8], field_type: FieldType) -> io::Result<()> {
        self.failed = true; // until the key has its place
        self.index.spill()?;
        let index = &mut self.index.tail;
        index.extend_from_slice(&(key.len() as u16).to_be_bytes()); // checked by `check_key`
        let at = index.len()..index.len() + key.len();
        index.extend_from_slice(key);
        index.push(type_byte(field_type));
        index.extend_from_slice(&[0; COUNT_BYTES]);
        self.current = Some(CurrentKey { at, field_type, count: 0, max: i64::MIN });
        self.keys += 1;
        self.failed = false;
        Ok(())
    }

    fn push_entry(&mut self, range: TimeRange, offset: u64, size: u32) {
        let mut entry = [0; INDEX_ENTRY_BYTES];
        entry[..8].copy_from_slice(&range.min.to_be_bytes());
        entry[8..16].copy_from_slice(&range.max.to_be_bytes());
        entry[16..24].copy_from_slice(&offset.to_be_bytes());
        entry[24..].copy_from_slice(&size.to_be_bytes());
        let index = &mut self.index.tail;
        index.extend_from_slice(&entry);
        if let Some(current) = &mut self.current {
            current.count += 1; // below the maximum: `check_room`
            current.max = range.max;
            let count_at = current.at.end + TYPE_BYTES;
            index[count_at..count_at + COUNT_BYTES].copy_from_slice(&current.count.to_be_bytes());
        }
        self.blocks += 1;
        self.range = TimeRange::new(self.range.min.min(range.min), self.range.max.max(range.max));
    }

    fn write_index(&mut self) -> io::Result<()> {
        let crc = self.index.write_to(&mut self.out, self.offset)?;
        if self.version == Version::Tagged {
            self.out.write_all(&crc.to_be_bytes())?;
        }
        self.out.write_all(&self.offset.to_be_bytes())?;
        self.out.flush()
    }
}

fn check_order(range: TimeRange, previous_max: i64) -> std::result::Result<(), ErrorKind> {
    if range.min > previous_max {
        return Ok(());
    }
    Err(ErrorKind::BlockOrder { min: range.min, previous_max })
}

impl<W> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("version", &self.version)
            .field("offset", &self.offset)
            .field("keys", &self.keys)
            .field("blocks", &self.blocks)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
