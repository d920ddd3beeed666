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
//! The blocks of the output are those of InfluxDB, to the byte. There is no I/O here but that of the [`Writer`]: opening
//! the next file, publishing and removing files are the caller's.

use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::ops::ControlFlow;

use tsmith_codecs::{BLOCK_VALUES_MAX, BlockEncoder, Column, FieldType, TimeRange};

use crate::decoder::Decoder;
use crate::error::{Error, ErrorKind};
use crate::format::Version;
use crate::index::KeyEntry;
use crate::reader::Reader;
use crate::tombstone::Deletions;
use crate::writer::Writer;

mod key;
mod order;

use key::{KeyMerge, Piece};

/// Points of a block of the output, as InfluxDB has them by default.
pub const POINTS_PER_BLOCK: usize = 1000;

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
    /// What is to be written next.
    ready: Option<Piece>,
    codec: Decoder<E>,
    block: Vec<u8>,
    column: Column,
}

impl<'a, E: BlockEncoder> Merge<'a, E> {
    /// A merge of `inputs`, oldest first: at equal times the later input wins. Blocks are cut at `points_per_block`.
    pub fn new(inputs: Vec<MergeInput<'a>>, mode: MergeMode, points_per_block: usize) -> Self {
        let firsts = inputs.iter().enumerate().filter_map(|(input, from)| Head::of(from.reader, input, 0));
        let mut heads: Vec<_> = firsts.collect();
        heads.sort_unstable_by(|a, b| b.cmp(a));
        Self {
            inputs,
            heads,
            taken: Vec::new(),
            key: KeyMerge::new(mode, points_per_block.clamp(1, BLOCK_VALUES_MAX)),
            ready: None,
            codec: Decoder::default(),
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
    /// A damaged block, and any other that cannot be merged, ends the merge: it is neither copied nor left out. The
    /// error names the input, the key and the offset.
    pub fn fill<W: io::Write>(
        &mut self,
        writer: &mut Writer<W>,
        pace: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> BlockResult<Filled> {
        loop {
            let piece = match self.ready.take() {
                Some(piece) => piece,
                None => match self.key.next(&mut self.codec)? {
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

    /// Goes to the smallest key that is left, in all inputs that have it; false when there is none.
    fn begin_key(&mut self) -> BlockResult<bool> {
        let Some(smallest) = self.heads.last() else { return Ok(false) };
        let key = smallest.entry.key();
        let others = self.heads.iter().rposition(|head| head.entry.key() != key).map_or(0, |last| last + 1);
        self.taken.clear();
        self.taken.extend(self.heads.drain(others..));
        self.key.begin();
        for &Head { entry, input } in self.taken.iter().rev() {
            let from = self.inputs[input];
            if !from.deletions.covers_key(entry) {
                self.key.add(input, from, entry)?;
            }
        }
        self.key.order();
        for &Head { entry, input } in &self.taken {
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
                let block = reader.checked_block(key, entry).map_err(on_input)?;
                if reader.version() == Version::Tagged && writer.version() == Version::Influx {
                    // InfluxDB may not know the encoder.
                    let limit = BLOCK_VALUES_MAX;
                    reader
                        .read_block(key, entry, &mut self.codec, limit, &mut self.column)
                        .map_err(on_input)?;
                    encode(&mut self.codec, key.key(), self.column.as_ref(), &mut self.block)?;
                    let (range, block) = (entry.range, &self.block);
                    writer.write_block(key.key(), key.field_type(), range, block).map_err(on_output)?;
                    return Ok(block.len());
                }
                let bytes = block.1.len();
                writer
                    .write_checked_block(key.key(), key.field_type(), entry.range, block)
                    .map_err(on_output)?;
                Ok(bytes)
            }
            Piece::Points { from, to } => {
                let points = self.key.points(from, to);
                encode(&mut self.codec, key, points, &mut self.block)?;
                let times = points.times();
                let (Some(&min), Some(&max)) = (times.first(), times.last()) else { return Ok(0) };
                let range = TimeRange::new(min, max);
                writer.write_block(key, points.field_type(), range, &self.block).map_err(on_output)?;
                Ok(self.block.len())
            }
        }
    }
}

/// The next key of an input. Ordered by key, and of equal ones by age.
#[derive(Clone, Copy, Debug)]
struct Head<'a> {
    entry: KeyEntry<'a>,
    input: usize,
}

impl<'a> Head<'a> {
    fn of(reader: &'a Reader, input: usize, position: usize) -> Option<Self> {
        reader.get(position).map(|entry| Self { entry, input })
    }
}

/// Puts a head in its place, which is likely the last: where inputs have the same keys, each next one is smaller.
fn insert<'a>(heads: &mut Vec<Head<'a>>, head: Head<'a>) {
    if heads.last().is_none_or(|last| head < *last) {
        heads.push(head);
    } else {
        heads.insert(heads.partition_point(|other| *other > head), head);
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.entry.key().cmp(other.entry.key()).then(self.input.cmp(&other.input))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Head<'_> {}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
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
    let done = encoder.encode(points, block);
    done.map_err(|error| on_output(Error::new(ErrorKind::Block(error)).of(key)))
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
