//! Salvage: finds the intact parts of a corrupt file, and writes a new file with only them.
//!
//! A block is kept if its checksum is right and it decodes, even if the index contradicts it. InfluxDB's index has no
//! checksum, so the times and the type come from the block. If header, footer or index are corrupt, `rescue.rs` reads
//! the index entries that are still readable. A block whose encoder is not in `decoders` is not corrupt. A file with
//! such a block cannot be salvaged.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)
)]

use std::io;

use bytes::Bytes;
use tsmith_codecs::{
    BLOCK_VALUES_MAX, BlockDecoder, BlockEncoder, Column, Decoders, FieldKey, FieldType, TimeRange,
};

use crate::cut::{POINTS_PER_BLOCK, first_block};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{IndexEntry, KeyEntry};
use crate::reader::{NO_FIELD, Reader};
use crate::writer::Writer;

mod rescue;

pub use rescue::{IndexLoss, rescue};

/// The intact and the corrupt parts of a file.
#[derive(Clone, Debug, Default)]
pub struct Salvage {
    /// Keys with at least one intact block.
    pub kept_keys: u64,
    /// Intact blocks.
    pub kept_blocks: u64,
    /// Values in the intact blocks.
    pub kept_values: u64,
    /// The keys with lost or repaired blocks, in ascending order.
    pub corrupt: Vec<CorruptKey>,
    /// The corrupt parts of header, footer and index.
    pub index: Option<IndexLoss>,
    /// The first block of an encoder that this build does not have. If there is one, the other fields mean nothing.
    pub unknown: Option<Error>,
}

/// A key with lost or repaired blocks.
#[derive(Clone, Debug)]
pub struct CorruptKey {
    /// The index of the key in the file.
    position: usize,
    /// The composite key.
    pub key: Vec<u8>,
    /// The type of the kept blocks.
    pub field_type: FieldType,
    /// Intact blocks of the key.
    pub kept_blocks: u64,
    /// Values in the intact blocks.
    pub kept_values: u64,
    /// The range from the first to the last time of the intact blocks.
    pub kept_range: Option<TimeRange>,
    /// Intact blocks that were repaired, because their index entry was wrong or their times did not ascend.
    pub repaired: Vec<BadBlock>,
    /// Lost blocks.
    pub dropped: Vec<BadBlock>,
}

/// A block and what is wrong with it.
#[derive(Clone, Debug)]
pub struct BadBlock {
    /// The index entry of the block.
    pub entry: IndexEntry,
    /// What is wrong.
    pub error: Error,
}

/// A block with the right checksum that decodes.
#[derive(Clone, Copy, Debug)]
struct Whole {
    entry: IndexEntry,
    field_type: FieldType,
    /// The range of its own times.
    range: TimeRange,
    values: usize,
    ascends: bool,
}

impl Salvage {
    /// Opens a file and reads every block. Header, footer or index may be corrupt.
    ///
    /// # Errors
    /// No index entry can be read.
    pub fn open(bytes: Bytes, decoders: &Decoders) -> Result<(Reader, Self)> {
        let (reader, index) = rescue(bytes, decoders)?;
        let salvage = Self { index, ..Self::of(&reader, decoders) };
        Ok((reader, salvage))
    }

    /// Reads every block of the file.
    pub fn of(reader: &Reader, decoders: &Decoders) -> Self {
        let mut look = Look::new(reader, decoders);
        let mut salvage = Self::default();
        for key in reader.keys() {
            let (mut whole, mut lost) = look.key(key);
            let is_unknown = |lost: &&BadBlock| matches!(lost.error.kind(), ErrorKind::UnknownEncoder { .. });
            if let Some(unknown) = lost.iter().find(is_unknown).filter(|_| salvage.unknown.is_none()) {
                salvage.unknown = Some(unknown.error.clone());
            }
            if FieldKey::parse(key.key()).is_none() {
                // The right key cannot be determined.
                lost.extend(whole.drain(..).map(|block| without_field(key, block.entry)));
            }
            let field_type = type_of(key, &whole);
            salvage.add(key, field_type, whole, lost, reader.is_sequential());
        }
        for key in &salvage.corrupt {
            salvage.kept_keys = salvage.kept_keys.saturating_add(u64::from(key.kept_blocks > 0));
        }
        salvage
    }

    /// Whether no block is lost and none must be repaired.
    pub fn is_whole(&self) -> bool {
        self.corrupt.is_empty() && self.index.is_none()
    }

    /// The number of lost blocks.
    pub fn dropped_blocks(&self) -> u64 {
        self.corrupt.iter().map(|key| key.dropped.len() as u64).sum()
    }

    /// Drops a key whose points have the type `expected` in older files. The two types cannot be read together.
    pub fn drop_key(&mut self, reader: &Reader, decoders: &Decoders, key: &[u8], expected: FieldType) {
        let Some(key) = reader.find(key) else { return };
        let error = |found, entry: IndexEntry| {
            Error::new(ErrorKind::TypeChange { expected, found }).at(entry.offset).of(key.key())
        };
        let dropped = |entry| BadBlock { entry, error: error(key.field_type(), entry) };
        let at = self.corrupt.binary_search_by_key(&key.position(), |corrupt| corrupt.position);
        let (kept_blocks, kept_values) = if let Some(corrupt) = at.ok().and_then(|at| self.corrupt.get(at)) {
            (corrupt.kept_blocks, corrupt.kept_values)
        } else {
            let (whole, _) = Look::new(reader, decoders).key(key);
            (whole.len() as u64, whole.iter().map(|block| block.values as u64).sum())
        };
        self.kept_keys = self.kept_keys.saturating_sub(u64::from(kept_blocks > 0));
        self.kept_blocks = self.kept_blocks.saturating_sub(kept_blocks);
        self.kept_values = self.kept_values.saturating_sub(kept_values);
        let gone = CorruptKey {
            position: key.position(),
            key: key.key().to_vec(),
            field_type: expected,
            kept_blocks: 0,
            kept_values: 0,
            kept_range: None,
            repaired: Vec::new(),
            dropped: key.entries().map(dropped).collect(),
        };
        match at.map(|at| self.corrupt.get_mut(at)) {
            Ok(Some(corrupt)) => *corrupt = gone,
            Ok(None) => {}
            Err(at) => self.corrupt.insert(at, gone),
        }
    }

    /// Adds the blocks of a key. `is_sequential` says that the entries of the file have the offsets of its blocks in
    /// order. Then an entry whose times differ from its block cannot belong to another block.
    fn add(
        &mut self,
        key: KeyEntry<'_>,
        field_type: FieldType,
        whole: Vec<Whole>,
        lost: Vec<BadBlock>,
        is_sequential: bool,
    ) {
        let mut corruption = CorruptKey {
            position: key.position(),
            key: Vec::new(),
            field_type,
            kept_blocks: 0,
            kept_values: 0,
            kept_range: None,
            repaired: Vec::new(),
            dropped: lost,
        };
        for block in whole {
            let Whole { entry, .. } = block;
            let wrong = |kind| BadBlock { entry, error: Error::new(kind).at(entry.offset).of(key.key()) };
            if block.field_type != field_type {
                let block = block.field_type.name().to_owned();
                corruption.dropped.push(wrong(ErrorKind::BlockType { index: field_type, block }));
                continue;
            }
            if block.range != entry.range && !is_sequential {
                corruption
                    .dropped
                    .push(wrong(ErrorKind::BlockTimes { index: entry.range, block: block.range }));
                continue;
            }
            corruption.keep(block.range, block.values as u64);
            if block.range != entry.range {
                corruption
                    .repaired
                    .push(wrong(ErrorKind::BlockTimes { index: entry.range, block: block.range }));
            } else if !block.ascends {
                corruption.repaired.push(wrong(ErrorKind::BlockUnsorted));
            } else if field_type != key.field_type() {
                let block = field_type.name().to_owned();
                corruption.repaired.push(wrong(ErrorKind::BlockType { index: key.field_type(), block }));
            }
        }
        self.kept_blocks = self.kept_blocks.saturating_add(corruption.kept_blocks);
        self.kept_values = self.kept_values.saturating_add(corruption.kept_values);
        if corruption.dropped.is_empty() && corruption.repaired.is_empty() {
            self.kept_keys = self.kept_keys.saturating_add(1);
        } else {
            corruption.key = key.key().to_vec();
            corruption.dropped.sort_by_key(|block| block.entry.offset);
            self.corrupt.push(corruption);
        }
    }

    /// Writes the intact blocks. Blocks are copied unchanged, except blocks of one key that overlap. InfluxDB does
    /// not write such blocks, but the format allows them. They are merged. At equal times the last block wins, as it
    /// does for readers.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write<W: io::Write>(
        &self,
        reader: &Reader,
        decoders: &Decoders,
        writer: &mut Writer<W>,
    ) -> Result<()> {
        let mut look = Look::new(reader, decoders);
        let mut corrupt = self.corrupt.iter().peekable();
        for key in reader.keys() {
            let corruption = corrupt.next_if(|corrupt| corrupt.position == key.position());
            if corruption.is_none() && reader.is_disjoint() {
                for entry in key.entries() {
                    writer.write_block(
                        key.key(),
                        key.field_type(),
                        entry.range,
                        reader.block(key, entry)?,
                    )?;
                }
                continue;
            }
            let (mut blocks, _) = look.key(key);
            blocks.retain(|block| corruption.is_none_or(|corruption| corruption.keeps(block)));
            // Blocks with equal start times stay in the order of the index.
            blocks.sort_by_key(|block| block.range.min);
            let mut rest = &blocks[..];
            while let Some((first, later)) = rest.split_first() {
                let mut until = first.range.max;
                let joined = later.iter().take_while(|block| {
                    let meets = block.range.min <= until;
                    until = until.max(block.range.max);
                    meets
                });
                let (together, others) = rest.split_at(joined.count().saturating_add(1).min(rest.len()));
                rest = others;
                look.write(key, together, writer)?;
            }
        }
        Ok(())
    }
}

impl CorruptKey {
    fn keep(&mut self, range: TimeRange, values: u64) {
        self.kept_blocks = self.kept_blocks.saturating_add(1);
        self.kept_values = self.kept_values.saturating_add(values);
        let known = self.kept_range.unwrap_or(range);
        self.kept_range = Some(TimeRange::new(known.min.min(range.min), known.max.max(range.max)));
    }

    fn keeps(&self, block: &Whole) -> bool {
        !self.dropped.iter().any(|dropped| dropped.entry == block.entry)
    }
}

fn without_field(key: KeyEntry<'_>, entry: IndexEntry) -> BadBlock {
    BadBlock { entry, error: Error::corrupt(entry.offset, NO_FIELD).of(key.key()) }
}

/// The type of a key's blocks: that of the index, unless all blocks have another type.
fn type_of(key: KeyEntry<'_>, whole: &[Whole]) -> FieldType {
    let first = whole.first().map_or(key.field_type(), |block| block.field_type);
    if whole.iter().all(|block| block.field_type == first) { first } else { key.field_type() }
}

/// Checks one block after the other.
struct Look<'a> {
    reader: &'a Reader,
    decoders: Decoders,
    column: Column,
}

impl<'a> Look<'a> {
    fn new(reader: &'a Reader, decoders: &Decoders) -> Self {
        Self { reader, decoders: decoders.clone(), column: Column::new(FieldType::Float) }
    }

    /// The intact and the corrupt blocks of a key, in the order of the index.
    fn key(&mut self, key: KeyEntry<'_>) -> (Vec<Whole>, Vec<BadBlock>) {
        let (mut whole, mut lost) = (Vec::new(), Vec::new());
        for entry in key.entries() {
            match self.block(entry) {
                Ok(block) => whole.push(block),
                Err(kind) => {
                    let error = Error::new(kind).at(entry.offset).of(key.key());
                    lost.push(BadBlock { entry, error });
                }
            }
        }
        (whole, lost)
    }

    fn bytes(&self, entry: IndexEntry) -> std::result::Result<&'a [u8], ErrorKind> {
        let outside = ErrorKind::Corrupt { expected: "a block between header and index" };
        let (stored, block) = self.reader.slice(entry).ok_or(outside)?;
        let computed = crc32fast::hash(block);
        if stored == computed {
            return Ok(block);
        }
        Err(ErrorKind::Checksum { what: "the block", stored, computed })
    }

    fn block(&mut self, entry: IndexEntry) -> std::result::Result<Whole, ErrorKind> {
        let block = self.bytes(entry)?;
        self.decoders.decode(block, BLOCK_VALUES_MAX, &mut self.column).map_err(ErrorKind::from)?;
        let times = self.column.times();
        let (Some(&min), Some(&max)) = (times.iter().min(), times.iter().max()) else {
            return Err(ErrorKind::Corrupt { expected: "a block with values" });
        };
        Ok(Whole {
            entry,
            field_type: self.column.field_type(),
            range: TimeRange::new(min, max),
            values: times.len(),
            ascends: self.column.as_ref().is_strictly_ascending(),
        })
    }

    /// Writes blocks of one key that overlap.
    fn write<W: io::Write>(
        &mut self,
        key: KeyEntry<'_>,
        blocks: &[Whole],
        writer: &mut Writer<W>,
    ) -> Result<()> {
        if let [one] = blocks
            && one.ascends
        {
            let bytes = self.bytes(one.entry).map_err(|kind| Error::new(kind).at(one.entry.offset))?;
            return writer.write_block(key.key(), one.field_type, one.range, bytes);
        }
        let Some(first) = blocks.first() else { return Ok(()) };
        let mut together = Column::new(first.field_type);
        let mut in_order: Vec<&Whole> = blocks.iter().collect();
        in_order.sort_by_key(|block| (block.entry.range.min, block.entry.offset));
        for block in in_order {
            self.block(block.entry).map_err(|kind| Error::new(kind).at(block.entry.offset).of(key.key()))?;
            let extended = together.extend(self.column.as_ref());
            debug_assert_eq!(extended, Ok(()), "blocks of another type are dropped");
        }
        together.sort_dedup();
        // Joined blocks keep the encoder of the file.
        let like = self.bytes(first.entry).ok().and_then(|block| self.decoders.entry_of(block));
        let unknown = || Error::corrupt(first.entry.offset, "a block of a known encoder");
        let (mut encoder, mut block, mut from) = (like.ok_or_else(unknown)?.make(), Vec::new(), 0_usize);
        while from < together.len() {
            let rest = together.as_ref().slice(from..together.len());
            let part = rest.slice(0..first_block(rest, POINTS_PER_BLOCK));
            block.clear();
            let encoded = encoder.encode(part, &mut block).map_err(ErrorKind::from);
            encoded.map_err(|kind| Error::new(kind).of(key.key()))?;
            let (Some(&min), Some(&max)) = (part.times().first(), part.times().last()) else { break };
            writer.write_block(key.key(), together.field_type(), TimeRange::new(min, max), &block)?;
            from = from.saturating_add(part.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
