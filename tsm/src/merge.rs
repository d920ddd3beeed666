//! Merges several files into one, key by key. Compactions write their files with it.
//!
//! ```text
//! inputs, oldest first     a key's blocks, in order of time            output
//! ┌────────┐               ┌───┐ ┌───┐                                 ┌───┐ ┌───┐ ┌───┐
//! │ file 1 │ ── key k ──>  │ 1 │ │ 2 │                  ┌─ copied ──>  │ 1 │ │   │ │   │
//! │ file 2 │ ── key k ──>  └───┘ └─┬─┴─┐ ┌───┐          │              └───┘ └───┘ └───┘
//! │ ...    │                       │ 3 │ │ 4 │          └─ decoded, without deleted points,
//! └────────┘                       └───┘ └───┘             newest wins, split again ──^
//! ```
//!
//! The blocks of the output equal those of InfluxDB to the byte, with one exception: a block ends at 16 MiB of
//! strings ([`STRING_BYTES_PER_BLOCK`](crate::STRING_BYTES_PER_BLOCK)), where InfluxDB continues to a thousand
//! points. The merge does no I/O except through the [`Writer`]. The caller opens the next file, and publishes and
//! removes files.

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

/// Which blocks a merge decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeMode {
    /// Blocks with fewer points than a full one are decoded and joined.
    Full,
    /// Only blocks that overlap or have deleted points are decoded. All others are copied.
    Fast,
}

/// An input file of a merge and its deletions.
#[derive(Clone, Copy, Debug)]
pub struct MergeInput<'a> {
    /// The file.
    pub reader: &'a Reader,
    /// Its deleted points. The output does not contain them.
    pub deletions: &'a Deletions,
}

/// How a call of [`Merge::fill`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// All inputs are written. If all points are deleted, the file may have no blocks.
    All,
    /// The file is full. Finish it, and call `fill` with the next one.
    File,
    /// `pace` stopped the merge between two blocks.
    Stopped,
}

/// Why a merge failed, and in which input.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct MergeError {
    /// The index of the input that cannot be read, or `None` if the output cannot be written.
    pub input: Option<usize>,
    /// What is wrong, with offset and key.
    #[source]
    pub error: Error,
}

/// Merges files and passes the blocks to writers.
///
/// It keeps in memory the index entries of one key and the points of a few blocks: one block per file that overlaps
/// others, and the points that are not yet in a block.
pub struct Merge<'a, E> {
    inputs: Vec<MergeInput<'a>>,
    /// The next key of each input, the smallest last. Equal keys are in order of their inputs, the oldest last.
    heads: Vec<Head<'a>>,
    /// The inputs that have the current key.
    taken: Vec<Head<'a>>,
    key: KeyMerge<'a>,
    /// Whether the last block that the writer got belongs to this key.
    begun: bool,
    /// What is written next.
    ready: Option<Piece>,
    encoder: E,
    decoders: Decoders,
    block: Vec<u8>,
    column: Column,
}

impl<'a, E: BlockEncoder> Merge<'a, E> {
    /// A merge of `inputs`, oldest first. At equal times, the later input wins. Blocks have at most
    /// `points_per_block` points. `decoders` decode the blocks, and `encoder` encodes those that are not copied.
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

    /// Writes blocks until all are written, the file is full, or `pace` stops the merge.
    ///
    /// `pace` gets the length of each block that was written, and 0 for each key. It can also sleep to limit the
    /// bytes per second.
    ///
    /// # Errors
    /// A block that is corrupt or cannot be merged ends the merge. It is neither copied nor left out. The error
    /// contains the input, the key and the offset.
    pub fn fill<W: io::Write>(
        &mut self,
        writer: &mut Writer<W>,
        pace: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> BlockResult<Filled> {
        self.begun = false; // nothing is written to this writer yet
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

    /// An estimate of the index size: the keys of the input with the most keys, and the blocks of all inputs.
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

    /// Advances to the smallest remaining key in all inputs that have it. Returns false if there is none.
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

    /// Writes one block and returns its length.
    fn write<W: io::Write>(&mut self, piece: Piece, writer: &mut Writer<W>) -> BlockResult<usize> {
        let key = self.key.name();
        match piece {
            Piece::Block(at) => {
                let (input, reader, key, entry) = self.key.block(at);
                let on_input = |error| MergeError { input: Some(input), error };
                let frame = reader.checked_frame(key, entry).map_err(on_input)?;
                if reader.version() == Version::Tagged {
                    // A block without a decoder is not copied, because only its checksum could be checked.
                    let known = self.decoders.knows(frame.get(CRC_BYTES..).unwrap_or_default());
                    let unknown = |error| Error::new(ErrorKind::from(error)).at(entry.offset).of(key.key());
                    known.map_err(|error| on_input(unknown(error)))?;
                }
                if reader.version() == Version::Tagged && writer.version() == Version::Influx {
                    // InfluxDB may not know the encoder of the block.
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
    /// Whether the key equals that of the previous head. So keys are compared only once, when a head is inserted.
    shares_key: bool,
}

impl<'a> Head<'a> {
    fn of(reader: &'a Reader, input: usize, position: usize) -> Option<Self> {
        reader.get(position).map(|entry| Self { entry, input, shares_key: false })
    }

    /// Compares by key and then by age. Also returns whether the keys are equal.
    fn compare(&self, other: &Self) -> (Ordering, bool) {
        let keys = self.entry.key().cmp(other.entry.key());
        (keys.then(self.input.cmp(&other.input)), keys.is_eq())
    }
}

/// Inserts a head. Its place is likely the last, because inputs often have the same keys.
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
