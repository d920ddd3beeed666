//! Reads the points of one key in order of time from several files and memory, in batches.
//!
//! ```text
//! files, oldest first     blocks of the key             batches
//! ┌────────┐              ┌───────┐ ┌─────┐             ┌─────┬───┬───┬────┐
//! │ file 1 │ ── key ──>   └───────┘ └─────┘   window by │     │ m │   │ m  │  ascending, or from the other end
//! │ file 2 │ ── key ──>         ┌──────┐    ── window ─>└─────┴───┴───┴────┘
//! │ memory │ ── points ─>       └──────┘ ┌────┐         m: merged, the newest wins
//! └────────┘                             └────┘
//! ```
//!
//! A block is decoded only when the cursor reaches its times. If no other block overlaps it, it is decoded directly
//! into the caller's batch.

use tsmith_codecs::{BLOCK_VALUES_MAX, BlockDecoder, Column, FieldType, TimeRange};

use crate::cut::{POINTS_PER_BLOCK, first_block, last_block};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{IndexEntry, KeyEntry};
use crate::reader::Reader;
use crate::tombstone::for_each_live;

/// The most partly read blocks that stay decoded. Further blocks are decoded again for each window.
const KEPT_MAX: usize = 64;
/// The file number of the points in memory.
const MEMORY: u32 = u32::MAX;

/// The order of the points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The earliest point comes first.
    #[default]
    Ascending,
    /// The latest point comes first.
    Descending,
}

impl Direction {
    /// Mirrors times for the descending order, so that the first times are always the smallest. Applying it twice
    /// restores them.
    fn turn(self, range: TimeRange) -> TimeRange {
        match self {
            Self::Ascending => range,
            Self::Descending => TimeRange::new(!range.max, !range.min),
        }
    }
}

/// Anything that has a [`Reader`]: a reference to one, or a type that keeps a file open.
pub trait AsReader {
    /// The reader.
    fn as_reader(&self) -> &Reader;
}

impl AsReader for &Reader {
    fn as_reader(&self) -> &Reader {
        self
    }
}

impl<T: AsReader> AsReader for std::sync::Arc<T> {
    fn as_reader(&self) -> &Reader {
        T::as_reader(self)
    }
}

/// A block that cannot be read, and its file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct CursorError {
    /// The number of the file, as [`Cursor::add_file`] returned it.
    pub file: usize,
    /// What is wrong, with offset and key.
    #[source]
    pub error: Error,
}

/// Iterates over the points of one key.
#[derive(Debug)]
pub struct Cursor<F> {
    direction: Direction,
    /// Mirrored, like all ranges and times below.
    range: TimeRange,
    files: Vec<Source<F>>,
    /// For each file, where the previous key was found.
    hints: Vec<Hint>,
    points: Column,
    field_type: Option<FieldType>,
    blocks: Vec<Block>,
    sorted: bool,
    /// Blocks from this one on begin after all windows so far.
    waiting: usize,
    /// Earlier blocks that are not read completely.
    active: Vec<u32>,
    /// All points up to this time were returned.
    done: Option<i64>,
    decoded: Vec<(u32, Column)>,
    free: Vec<Column>,
    spare: Column,
    /// The last batch of the caller, after the end was reached. Decoding into it again saves clearing an empty one.
    last: Column,
}

/// A file that has the key.
#[derive(Debug)]
struct Source<F> {
    file: F,
    position: usize,
    /// Deleted ranges, not mirrored.
    deleted: Vec<TimeRange>,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    file: u32,
    /// The age of the block. Greater means newer.
    age: u32,
    range: TimeRange,
    entry: IndexEntry,
    corrupt: bool,
}

impl<F: AsReader> Cursor<F> {
    /// A cursor without files and points.
    pub fn new(range: TimeRange, direction: Direction) -> Self {
        Self {
            direction,
            range: direction.turn(range),
            files: Vec::new(),
            hints: Vec::new(),
            points: Column::new(FieldType::Float),
            field_type: None,
            blocks: Vec::new(),
            sorted: true,
            waiting: 0,
            active: Vec::new(),
            done: None,
            decoded: Vec::new(),
            free: Vec::new(),
            spare: Column::new(FieldType::Float),
            last: Column::new(FieldType::Float),
        }
    }

    /// Clears the cursor for another key and keeps the buffers.
    pub fn reset(&mut self, range: TimeRange, direction: Direction) {
        self.direction = direction;
        self.range = direction.turn(range);
        self.files.clear();
        self.points.truncate(0);
        self.field_type = None;
        self.blocks.clear();
        self.rewind();
    }

    /// Adds the blocks of `key` in a file that is newer than the files added before. Returns the number of the file.
    /// Files are counted from 0, whether they have the key or not.
    ///
    /// # Errors
    /// The key has another type in this file than in earlier ones.
    pub fn add_file(&mut self, file: F, key: &[u8], deleted: &[TimeRange]) -> Result<()> {
        let range = self.direction.turn(self.range);
        let reader = file.as_reader();
        let number = self.files.len();
        self.hints.resize(self.hints.len().max(number + 1), Hint::default());
        let found =
            reader.range().overlaps(range).then(|| find(reader, key, &mut self.hints[number])).flatten();
        let position = found.map_or(usize::MAX, KeyEntry::position);
        if let Some(entry_of_key) = found {
            let before = self.blocks.len();
            for entry in entry_of_key.entries_within(range, reader.is_disjoint()) {
                if deleted.iter().any(|gone| gone.covers(entry.range)) {
                    continue;
                }
                let range = self.direction.turn(entry.range);
                let age = self.blocks.len() as u32;
                self.blocks.push(Block { file: number as u32, age, range, entry, corrupt: false });
            }
            if before < self.blocks.len()
                && let Some(error) = self.admit(entry_of_key.field_type())
            {
                self.blocks.truncate(before);
                return Err(Error::new(error).at(entry_of_key.entry(0).map_or(0, |e| e.offset)).of(key));
            }
            if let Some(first) = self.blocks.get(before) {
                reader.prefetch(first.entry);
            }
            self.sorted = false;
        }
        self.files.push(Source { file, position, deleted: deleted.to_vec() });
        Ok(())
    }

    /// Adds points in memory that ascend and are newer than all files. Leaves `points` with unspecified content.
    ///
    /// # Errors
    /// The points have another type than the key has in the files. Nothing was added.
    pub fn add_points(&mut self, points: &mut Column) -> std::result::Result<(), ErrorKind> {
        let (Some(&min), Some(&max)) = (points.times().first(), points.times().last()) else { return Ok(()) };
        let range = TimeRange::new(min, max);
        if !range.overlaps(self.direction.turn(self.range)) {
            return Ok(());
        }
        if let Some(error) = self.admit(points.field_type()) {
            return Err(error);
        }
        std::mem::swap(&mut self.points, points);
        let age = self.blocks.len() as u32;
        let entry = IndexEntry { range, offset: 0, size: 0 };
        let range = self.direction.turn(range);
        self.blocks.push(Block { file: MEMORY, age, range, entry, corrupt: false });
        self.sorted = false;
        Ok(())
    }

    fn admit(&mut self, found: FieldType) -> Option<ErrorKind> {
        let expected = *self.field_type.get_or_insert(found);
        (expected != found).then_some(ErrorKind::TypeChange { expected, found })
    }

    /// The file with the number of a [`CursorError`].
    pub fn file(&self, number: usize) -> Option<&F> {
        self.files.get(number).map(|source| &source.file)
    }

    /// The type of the points, or `None` if there are none.
    pub fn field_type(&self) -> Option<FieldType> {
        self.field_type
    }

    /// Moves to the first point at or after `time`, or, if descending, at or before it. It can move forward and
    /// backward.
    pub fn seek(&mut self, time: i64) {
        self.rewind();
        let at = self.direction.turn(TimeRange::new(time, time)).min;
        self.done = at.checked_sub(1);
    }

    fn rewind(&mut self) {
        self.waiting = 0;
        self.active.clear();
        self.done = None;
        self.free.extend(self.decoded.drain(..).map(|(_, column)| column));
    }

    /// Replaces `out` with the next points in the order of the cursor. Returns false if there are none left.
    ///
    /// # Errors
    /// A block cannot be read. The cursor can continue without the points of that block. Older points that the block
    /// overwrites may then appear.
    pub fn next<D: BlockDecoder>(
        &mut self,
        decoder: &mut D,
        out: &mut Column,
    ) -> std::result::Result<bool, CursorError> {
        if !self.sorted {
            self.blocks.sort_unstable_by_key(|block| (block.range.min, block.age));
            self.sorted = true;
        }
        while let Some(window) = self.window() {
            let read = if let [only] = self.active[..] {
                self.read_one(only, window, decoder, out)
            } else {
                let begun = |&&i: &&u32| self.blocks[i as usize].range.min <= window.max;
                let mut members: Vec<u32> = self.active.iter().filter(begun).copied().collect();
                if let [only] = members[..] {
                    self.read_one(only, window, decoder, out)
                } else {
                    members.sort_unstable_by_key(|&i| self.blocks[i as usize].age);
                    self.read_many(&members, window, decoder, out)
                }
            };
            match read {
                Ok(until) => self.done = Some(until),
                Err((at, error)) => {
                    self.blocks[at as usize].corrupt = true;
                    out.truncate(0);
                    return Err(CursorError { file: self.blocks[at as usize].file as usize, error });
                }
            }
            if !out.is_empty() {
                if self.direction == Direction::Descending {
                    out.reverse();
                }
                return Ok(true);
            }
        }
        if self.last.is_empty() {
            std::mem::swap(out, &mut self.last);
        }
        out.truncate(0);
        Ok(false)
    }

    /// The next window. It ends where the first of its blocks ends.
    fn window(&mut self) -> Option<TimeRange> {
        let (blocks, done, range) = (&self.blocks, self.done, self.range);
        let unread = |block: &Block| !block.corrupt && done.is_none_or(|done| block.range.max > done);
        self.active.retain(|&i| unread(&blocks[i as usize]));
        while self.active.is_empty() {
            let block = blocks.get(self.waiting)?;
            if unread(block) {
                self.active.push(self.waiting as u32);
            }
            self.waiting += 1;
        }
        let after = done.map_or(i64::MIN, |done| done.saturating_add(1)).max(range.min);
        let starts = self.active.iter().map(|&i| blocks[i as usize].range.min.max(after));
        let start = starts.min()?;
        let mut end = self.active.iter().map(|&i| blocks[i as usize].range.max).min()?.min(range.max);
        while let Some(block) = blocks.get(self.waiting).filter(|block| block.range.min <= end) {
            if unread(block) {
                self.active.push(self.waiting as u32);
                end = end.min(block.range.max);
            }
            self.waiting += 1;
        }
        (start <= end).then_some(TimeRange::new(start, end))
    }

    /// Reads a block that no other block overlaps. Returns the time up to which it was read.
    fn read_one<D: BlockDecoder>(
        &mut self,
        at: u32,
        window: TimeRange,
        decoder: &mut D,
        out: &mut Column,
    ) -> std::result::Result<i64, (u32, Error)> {
        let block = self.blocks[at as usize];
        let times = self.direction.turn(window);
        if block.file == MEMORY {
            let mut inside = self.points.as_ref().within(times);
            let mut until = window.max;
            let batch = match self.direction {
                Direction::Ascending => 0..first_block(inside, POINTS_PER_BLOCK),
                Direction::Descending => inside.len() - last_block(inside, POINTS_PER_BLOCK)..inside.len(),
            };
            if batch.len() < inside.len() {
                let last = match self.direction {
                    Direction::Ascending => inside.times()[batch.end - 1],
                    Direction::Descending => inside.times()[batch.start],
                };
                until = self.direction.turn(TimeRange::new(last, last)).min;
                inside = inside.slice(batch);
            }
            out.truncate(0);
            let extended = out.extend(inside);
            debug_assert_eq!(extended, Ok(()), "an empty column takes every type");
            return Ok(until);
        }
        if let Some(kept) = self.decoded.iter().position(|(age, _)| *age == block.age) {
            std::mem::swap(out, &mut self.decoded[kept].1);
            self.free.push(self.decoded.swap_remove(kept).1);
        } else {
            if self.last.len() > out.len() {
                std::mem::swap(out, &mut self.last);
            }
            let source = &self.files[block.file as usize];
            decode(source, block.entry, times, decoder, out).map_err(|error| (at, error))?;
        }
        if !times.covers(block.entry.range) {
            out.retain_within(times);
        }
        for gone in &self.files[block.file as usize].deleted {
            if gone.overlaps(times) {
                out.exclude(*gone);
            }
        }
        Ok(window.max)
    }

    /// Merges the points of these blocks, oldest first, inside `window`.
    fn read_many<D: BlockDecoder>(
        &mut self,
        members: &[u32],
        window: TimeRange,
        decoder: &mut D,
        out: &mut Column,
    ) -> std::result::Result<i64, (u32, Error)> {
        out.truncate(0);
        let times = self.direction.turn(window);
        for &at in members {
            let block = self.blocks[at as usize];
            let mut merged = true;
            if block.file == MEMORY {
                merged &= out.merge(self.points.as_ref().within(times), &mut self.spare).is_ok();
            } else {
                let kept = self.decoded.iter().position(|(age, _)| *age == block.age);
                let source = &self.files[block.file as usize];
                let column = if let Some(kept) = kept {
                    self.decoded.swap_remove(kept).1
                } else {
                    let mut column = self.free.pop().unwrap_or_else(|| Column::new(FieldType::Float));
                    decode(source, block.entry, TimeRange::ALL, decoder, &mut column)
                        .map_err(|error| (at, error))?;
                    column
                };
                for_each_live(&source.deleted, times, |live| {
                    merged &= out.merge(column.as_ref().within(live), &mut self.spare).is_ok();
                });
                if block.range.max > window.max && self.decoded.len() < KEPT_MAX {
                    self.decoded.push((block.age, column));
                } else {
                    self.free.push(column);
                }
            }
            debug_assert!(merged, "`admit` lets only one type in");
        }
        Ok(window.max)
    }
}

/// Where a key was found, and whether it was directly after the previous key. If so, the next key likely is too.
#[derive(Clone, Copy, Debug, Default)]
struct Hint {
    position: usize,
    in_order: bool,
}

/// Looks up a key. If keys come in order, it first looks after the previous key.
fn find<'r>(reader: &'r Reader, key: &[u8], hint: &mut Hint) -> Option<KeyEntry<'r>> {
    let behind = hint.position.checked_add(1)?;
    let next = if hint.in_order { reader.get(behind).filter(|entry| entry.key() == key) } else { None };
    let found = next.or_else(|| reader.find(key))?;
    *hint = Hint { position: found.position(), in_order: found.position() == behind };
    Some(found)
}

fn decode<F: AsReader, D: BlockDecoder>(
    source: &Source<F>,
    entry: IndexEntry,
    range: TimeRange,
    decoder: &mut D,
    out: &mut Column,
) -> Result<()> {
    let reader = source.file.as_reader();
    let key =
        reader.get(source.position).ok_or_else(|| Error::corrupt(entry.offset, "the key of this block"))?;
    reader.read_block_within(key, entry, decoder, (BLOCK_VALUES_MAX, range), out)
}
