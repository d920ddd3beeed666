//! Several files to one, key by key: what a compaction writes.
//!
//! ```text
//! inputs, oldest first     a key's blocks, in order of time            output
//! ┌────────┐               ┌───┐ ┌───┐                                 ┌───┐ ┌───┐ ┌───┐
//! │ file 1 │ ── key k ──>  │ 1 │ │ 2 │                  ┌─ copied ──>  │ 1 │ │   │ │   │
//! │ file 2 │ ── key k ──>  └───┘ └─┬─┴─┐ ┌───┐          │              └───┘ └───┘ └───┘
//! │ ...    │                       │ 3 │ │ 4 │          └─ decoded, deleted points left out,
//! └────────┘                       └───┘ └───┘             newest wins, cut anew ────^
//! ```
//!
//! The blocks of the output are those of InfluxDB, to the byte; but one ends at 16 MiB of strings
//! ([`STRING_BYTES_PER_BLOCK`](crate::STRING_BYTES_PER_BLOCK)), where InfluxDB goes on to a thousand points. There is no
//! I/O here but that of the [`Writer`]: opening the next file, publishing and removing files are the caller's.

use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::ops::ControlFlow;

use tsmith_codecs::{BLOCK_VALUES_MAX, BlockEncoder, Column, Decoders, FieldType, TimeRange, encode_checked};

use crate::error::{Error, ErrorKind};
use crate::format::{CRC_BYTES, INDEX_ENTRY_BYTES, Version};
use crate::index::KeyEntry;
use crate::reader::Reader;
use crate::tombstone::Deletions;
use crate::writer::Writer;

mod key;
mod order;
mod spans;

use key::{KeyMerge, Piece};

/// Which blocks are decoded that need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeMode {
    /// Blocks with fewer points than a whole one are joined.
    Full,
    /// Only blocks that overlap, or with deleted points, are decoded; all others are copied.
    Fast,
}

/// One file of a merge with what is deleted from it.
#[derive(Clone, Copy, Debug)]
pub struct MergeInput<'a> {
    /// The file.
    pub reader: &'a Reader,
    /// Its deleted points, which the output is without.
    pub deletions: &'a Deletions,
}

/// How a call of [`Merge::fill`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// All of the inputs is written. The file may be without a block, when all is deleted.
    All,
    /// The file is full: finish it, and fill the next.
    File,
    /// The caller broke off between two blocks.
    Stopped,
}

/// Why a merge failed, and on which of its inputs.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct MergeError {
    /// Place among the inputs of the file that cannot be read; `None` when the output cannot be written.
    pub input: Option<usize>,
    /// What was wrong, with offset and key.
    #[source]
    pub error: Error,
}

/// Merges files, and gives their blocks to writers.
///
/// Memory is that of the index entries of one key, and of the points of a few blocks: a block of each file that overlaps
/// another at one time, and the points not yet cut into blocks.
pub struct Merge<'a, E> {
    inputs: Vec<MergeInput<'a>>,
    /// The next key of each input, the smallest last; of equal keys the oldest input.
    heads: Vec<Head<'a>>,
    /// Those of the current key.
    taken: Vec<Head<'a>>,
    key: KeyMerge<'a>,
    /// The last block that the writer was given is of that key.
    begun: bool,
    /// What is to be written next.
    ready: Option<Piece>,
    encoder: E,
    decoders: Decoders,
    block: Vec<u8>,
    column: Column,
}

impl<'a, E: BlockEncoder> Merge<'a, E> {
    /// A merge of `inputs`, oldest first: at equal times the later input wins. Blocks are cut at `points_per_block`, read by
    /// `decoders`, and written by `encoder` unless they are copied.
    pub fn new(
        inputs: Vec<MergeInput<'a>>,
        mode: MergeMode,
        points_per_block: usize,
        encoder: E,
        decoders: Decoders,
    ) -> Self {
        let firsts = inputs.iter().enumerate().filter_map(|(input, from)| Head::of(from.reader, input, 0));
        let mut heads = Vec::new();
        firsts.for_each(|first| insert(&mut heads, first));
        Self {
            inputs,
            heads,
            taken: Vec::new(),
            key: KeyMerge::new(mode, points_per_block.clamp(1, BLOCK_VALUES_MAX)),
            begun: false,
            ready: None,
            encoder,
            decoders,
            block: Vec::new(),
            column: Column::new(FieldType::Float),
        }
    }

    /// Writes blocks until all are written, the file is full, or `pace` breaks off.
    ///
    /// `pace` is called with the length of each block that was written, and with 0 for each key, so that it can also
    /// make the caller wait: that is where a limit of bytes per second belongs.
    ///
    /// # Errors
    /// A corrupt block, and any other that cannot be merged, ends the merge: it is neither copied nor left out. The
    /// error names the input, the key and the offset.
    pub fn fill<W: io::Write>(
        &mut self,
        writer: &mut Writer<W>,
        pace: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> BlockResult<Filled> {
        self.begun = false; // by this writer
        writer.expect_index(self.index_bytes());
        loop {
            let piece = match self.ready.take() {
                Some(piece) => piece,
                None => match self.key.next(&mut self.decoders)? {
                    Some(piece) => piece,
                    None if !self.begin_key()? => return Ok(Filled::All),
                    None if pace(0).is_break() => return Ok(Filled::Stopped),
                    None => continue,
                },
            };
            if writer.is_full() {
                self.ready = Some(piece);
                return Ok(Filled::File);
            }
            let bytes = self.write(piece, writer)?;
            if pace(bytes).is_break() {
                return Ok(Filled::Stopped);
            }
        }
    }

    /// How long an index with the keys of the input that has most, and the blocks of all, would be.
    fn index_bytes(&self) -> usize {
        let of = |input: &MergeInput<'_>| {
            let blocks = input.reader.block_count() as usize * INDEX_ENTRY_BYTES;
            (
                blocks,
                ((input.reader.file_bytes() - input.reader.index_offset()) as usize).saturating_sub(blocks),
            )
        };
        let add = |(blocks, keys): (usize, usize), (more, others): (usize, usize)| {
            (blocks + more, keys.max(others))
        };
        let (blocks, keys) = self.inputs.iter().map(of).fold((0, 0), add);
        blocks + keys
    }

    /// Goes to the smallest key that is left, in all inputs that have it; false when there is none.
    fn begin_key(&mut self) -> BlockResult<bool> {
        let Some(others) = self.heads.iter().rposition(|head| !head.shares_key) else { return Ok(false) };
        self.taken.clear();
        self.taken.extend(self.heads.drain(others..));
        self.key.begin();
        self.begun = false;
        for &Head { entry, input, .. } in self.taken.iter().rev() {
            let from = self.inputs[input];
            if !from.deletions.covers_key(entry) {
                self.key.add(input, from, entry)?;
            }
        }
        self.key.order();
        for &Head { entry, input, .. } in &self.taken {
            if let Some(after) = Head::of(self.inputs[input].reader, input, entry.position() + 1) {
                insert(&mut self.heads, after);
            }
        }
        Ok(true)
    }

    /// Writes one block; its length.
    fn write<W: io::Write>(&mut self, piece: Piece, writer: &mut Writer<W>) -> BlockResult<usize> {
        let key = self.key.name();
        match piece {
            Piece::Block(at) => {
                let (input, reader, key, entry) = self.key.block(at);
                let on_input = |error| MergeError { input: Some(input), error };
                let frame = reader.checked_frame(key, entry).map_err(on_input)?;
                if reader.version() == Version::Tagged {
                    // A block that nobody here can read is not copied: nothing of it was checked but its checksum.
                    let known = self.decoders.knows(frame.get(CRC_BYTES..).unwrap_or_default());
                    let unknown = |error| Error::new(ErrorKind::from(error)).at(entry.offset).of(key.key());
                    known.map_err(|error| on_input(unknown(error)))?;
                }
                if reader.version() == Version::Tagged && writer.version() == Version::Influx {
                    // InfluxDB may not know the encoder.
                    let limit = BLOCK_VALUES_MAX;
                    reader
                        .read_block(key, entry, &mut self.decoders, limit, &mut self.column)
                        .map_err(on_input)?;
                    encode(&mut self.encoder, key.key(), self.column.as_ref(), &mut self.block)?;
                    let (range, block) = (entry.range, &self.block);
                    writer.write_block(key.key(), key.field_type(), range, block).map_err(on_output)?;
                    self.begun = true;
                    return Ok(block.len());
                }
                let name = (key.key(), key.field_type());
                writer.write_frame(name, entry.range, frame, self.begun).map_err(on_output)?;
                self.begun = true;
                Ok(frame.len() - CRC_BYTES)
            }
            Piece::Points { from, to } => {
                let points = self.key.points(from, to);
                encode(&mut self.encoder, key, points, &mut self.block)?;
                let times = points.times();
                let (Some(&min), Some(&max)) = (times.first(), times.last()) else { return Ok(0) };
                let range = TimeRange::new(min, max);
                writer.write_block(key, points.field_type(), range, &self.block).map_err(on_output)?;
                self.begun = true;
                Ok(self.block.len())
            }
        }
    }
}

/// The next key of an input.
#[derive(Clone, Copy, Debug)]
struct Head<'a> {
    entry: KeyEntry<'a>,
    input: usize,
    /// The key is that of the head before it. So keys are compared once, when a head is put in its place.
    shares_key: bool,
}

impl<'a> Head<'a> {
    fn of(reader: &'a Reader, input: usize, position: usize) -> Option<Self> {
        reader.get(position).map(|entry| Self { entry, input, shares_key: false })
    }

    /// By key, and of equal ones by age; and whether they are equal.
    fn compare(&self, other: &Self) -> (Ordering, bool) {
        let keys = self.entry.key().cmp(other.entry.key());
        (keys.then(self.input.cmp(&other.input)), keys.is_eq())
    }
}

/// Puts a head in its place, which is likely the last: where inputs have the same keys, each next one is smaller.
fn insert<'a>(heads: &mut Vec<Head<'a>>, mut head: Head<'a>) {
    let mut place = heads.len();
    if let Some(last) = heads.last() {
        let (order, equal) = head.compare(last);
        head.shares_key = equal;
        if order.is_gt() {
            place = heads.partition_point(|other| other.compare(&head).0.is_gt());
            head.shares_key = place > 0 && heads[place - 1].compare(&head).1;
            heads[place].shares_key = heads[place].compare(&head).1;
        }
    }
    heads.insert(place, head);
}

fn on_output(error: Error) -> MergeError {
    MergeError { input: None, error }
}

fn encode<E: BlockEncoder>(
    encoder: &mut E,
    key: &[u8],
    points: tsmith_codecs::ColumnRef<'_>,
    block: &mut Vec<u8>,
) -> BlockResult<()> {
    block.clear();
    let done = encode_checked(encoder, points, block);
    done.map_err(|error| on_output(Error::new(ErrorKind::from(error)).of(key)))
}

impl<E> fmt::Debug for Merge<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merge")
            .field("inputs", &self.inputs.len())
            .field("key", &String::from_utf8_lossy(self.key.name()))
            .finish_non_exhaustive()
    }
}

type BlockResult<T> = Result<T, MergeError>;

#[cfg(test)]
mod tests;
