//! Merges one key: turns its blocks into the blocks that are written.
//!
//! Windows ascend, and each takes all points inside it from every block. So all points up to one time, `done`, are
//! read. The range of a block tells whether it is read, partly read or unread.

use tsmith_codecs::{BLOCK_VALUES_MAX, BlockDecoder, Column, ColumnRef, FieldType, TimeRange};

use super::spans::Spans;
use super::{BlockResult, MergeError, MergeInput, MergeMode, order};
use crate::cut::{fill_block, first_block, is_full_block};
use crate::error::{Error, ErrorKind};
use crate::index::{IndexEntry, KeyEntry};
use crate::reader::Reader;
use crate::tombstone::for_each_live;

/// The most partly read blocks of a key that stay decoded. Further blocks are decoded again for each window.
const KEPT_MAX: usize = 64;
/// The most blocks of a key that are sorted again for each output block, if sorting once does not order them.
/// InfluxDB has no such limit, so its time grows with the square of the number.
const RESORTED_MAX: usize = 4096;

/// What is written next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    /// A block that is copied.
    Block(usize),
    /// Points that were merged.
    Points { from: usize, to: usize },
}

/// A file that has the key.
struct Source<'a> {
    input: usize,
    from: MergeInput<'a>,
    key: KeyEntry<'a>,
    /// The deleted ranges that overlap its blocks.
    deleted: Vec<TimeRange>,
}

/// A block of the key.
#[derive(Clone, Copy)]
struct Block {
    source: u32,
    /// Index among all blocks of the key, file by file. Greater means newer.
    age: u32,
    entry: IndexEntry,
}

/// The merge of one key.
pub(super) struct KeyMerge<'a> {
    mode: MergeMode,
    size: usize,
    sources: Vec<Source<'a>>,
    blocks: Vec<Block>,
    /// Blocks before this one are finished.
    front: usize,
    /// Whether sorting the blocks again changes nothing.
    sorted: bool,
    /// The last place that needs a merge: a block overlaps the previous one or has deleted points. (Further reasons
    /// that appear during the merge are checked then.)
    last_overlap: Option<usize>,
    last_deleted: Option<usize>,
    /// The blocks by their times, if a merge may be necessary.
    spans: Spans,
    /// All points up to this time are read.
    done: Option<i64>,
    /// Copied blocks that are still to be written.
    copying: std::ops::Range<usize>,
    /// Whether a block is split off after those blocks.
    cut_due: bool,
    pending: Column,
    /// Points of `pending` before this one are written.
    cut_at: usize,
    decoded: Vec<(Block, Column)>,
    free: Vec<Column>,
    spare: Column,
}

impl<'a> KeyMerge<'a> {
    pub(super) fn new(mode: MergeMode, size: usize) -> Self {
        Self {
            mode,
            size,
            sources: Vec::new(),
            blocks: Vec::new(),
            front: 0,
            sorted: true,
            last_overlap: None,
            last_deleted: None,
            spans: Spans::default(),
            done: None,
            copying: 0..0,
            cut_due: false,
            pending: Column::new(FieldType::Float),
            cut_at: 0,
            decoded: Vec::new(),
            free: Vec::new(),
            spare: Column::new(FieldType::Float),
        }
    }

    /// Clears the previous key.
    pub(super) fn begin(&mut self) {
        self.sources.clear();
        self.blocks.clear();
        self.front = 0;
        self.done = None;
        self.pending.truncate(0);
        self.cut_at = 0;
        self.free.extend(self.decoded.drain(..).map(|(_, column)| column));
    }

    /// Adds the blocks of the next newer file.
    pub(super) fn add(&mut self, input: usize, from: MergeInput<'a>, key: KeyEntry<'a>) -> BlockResult<()> {
        let (expected, found) =
            (self.sources.first().map(|source| source.key.field_type()), key.field_type());
        if let Some(expected) = expected.filter(|&expected| expected != found) {
            let error = Error::new(ErrorKind::TypeChange { expected, found }).of(key.key());
            let error = key.entry(0).map_or(error.clone(), |entry| error.at(entry.offset));
            return Err(MergeError { input: Some(input), error });
        }
        let range = key.range();
        let deleted =
            from.deletions.ranges(key.key()).iter().copied().filter(|r| r.overlaps(range)).collect();
        let source = self.sources.len() as u32;
        let age = self.blocks.len() as u32;
        self.blocks.extend((age..).zip(key.entries()).map(|(age, entry)| Block { source, age, entry }));
        self.sources.push(Source { input, from, key, deleted });
        Ok(())
    }

    /// Sorts the blocks after all were added.
    pub(super) fn order(&mut self) {
        self.sorted = order::is_sorted(&self.blocks, range);
        if !self.sorted {
            order::sort(&mut self.blocks, range);
            self.sorted = order::is_sorted(&self.blocks, range) || self.blocks.len() > RESORTED_MAX;
        }
        self.survey();
    }

    /// Finds the leading blocks that must be merged.
    fn survey(&mut self) {
        let places = self.front..self.blocks.len();
        let deleted = |i: &usize| !self.sources[self.blocks[*i].source as usize].deleted.is_empty();
        self.last_deleted = places.clone().rev().find(deleted);
        let overlaps = |i: &usize| range(&self.blocks[*i]).min <= range(&self.blocks[*i - 1]).max;
        self.last_overlap = places.clone().skip(1).rev().find(overlaps);
        let reason = self.last_overlap.is_some() || self.last_deleted.is_some() || self.done.is_some();
        if reason || self.mode == MergeMode::Full {
            self.spans.build(self.front, self.blocks[self.front..].iter().map(range));
        } else {
            self.spans.clear();
        }
    }

    pub(super) fn name(&self) -> &'a [u8] {
        self.sources.first().map_or(&[], |source| source.key.key())
    }

    /// The source of the block of a [`Piece::Block`].
    pub(super) fn block(&self, at: usize) -> (usize, &'a Reader, KeyEntry<'a>, IndexEntry) {
        let block = self.blocks[at];
        let source = &self.sources[block.source as usize];
        (source.input, source.from.reader, source.key, block.entry)
    }

    /// The points of a [`Piece::Points`].
    pub(super) fn points(&self, from: usize, to: usize) -> ColumnRef<'_> {
        self.pending.as_ref().slice(from..to)
    }

    /// The next block of the output, or `None` if the whole key is written.
    pub(super) fn next<D: BlockDecoder>(&mut self, decoder: &mut D) -> BlockResult<Option<Piece>> {
        loop {
            if let Some(at) = self.copying.next() {
                return Ok(Some(Piece::Block(at)));
            }
            if std::mem::take(&mut self.cut_due)
                && let Some(piece) = self.cut()
            {
                return Ok(Some(piece));
            }
            if self.front == self.blocks.len() && self.pending_len() == 0 {
                return Ok(None);
            }
            if !self.sorted {
                order::sort(&mut self.blocks[self.front..], range);
                self.survey();
            }
            if self.must_merge() {
                self.merge(decoder)?;
            } else {
                self.join(decoder)?;
            }
            self.cut_due = true;
        }
    }

    fn must_merge(&self) -> bool {
        self.pending_len() > 0
            || self.last_deleted.is_some_and(|last| last >= self.front)
            || self.last_overlap.is_some_and(|last| last > self.front)
            || self.has_partly_read()
    }

    /// The leading points that fill a block, or all points.
    fn cut(&mut self) -> Option<Piece> {
        let from = self.cut_at;
        self.cut_at = from + first_block(self.rest(), self.size);
        (from < self.cut_at).then_some(Piece::Points { from, to: self.cut_at })
    }

    /// No blocks overlap: copies the blocks that can be copied, and joins the blocks after them.
    fn join<D: BlockDecoder>(&mut self, decoder: &mut D) -> BlockResult<()> {
        let (begin, len) = (self.front, self.blocks.len());
        let mut at = begin;
        while at < len && (self.mode == MergeMode::Fast || self.is_read(at) || self.is_whole(at, decoder)?) {
            at += 1;
        }
        if at + 1 == len {
            at = len; // a single block would not change
        }
        self.copying = (begin..at).find(|&i| !self.is_read(i)).unwrap_or(at)..at;
        self.front = at;
        self.begin_pending();
        while self.front < len && !fill_block(self.rest(), self.size) {
            if !self.is_read(self.front) {
                let window = range(&self.blocks[self.front]);
                self.read_into_pending(self.blocks[self.front], window, decoder)?;
                self.done = Some(window.max);
            }
            self.front += 1;
        }
        Ok(())
    }

    /// Whether the block at this place is as full as an output block gets.
    fn is_whole<D: BlockDecoder>(&self, at: usize, decoder: &mut D) -> BlockResult<bool> {
        let (input, reader, key, entry) = self.block(at);
        let unchecked = reader.unchecked_block(entry).map(|block| is_full_block(decoder, block, self.size));
        if let Some(Ok(whole)) = unchecked {
            return Ok(whole); // the block is read in full later, and its checksum is checked
        }
        let on_input = |error| MergeError { input: Some(input), error };
        let block = reader.block(key, entry).map_err(on_input)?;
        is_full_block(decoder, block, self.size)
            .map_err(|error| on_input(Error::new(ErrorKind::from(error)).at(entry.offset).of(key.key())))
    }

    /// Reads one window after the other until the points fill a block.
    fn merge<D: BlockDecoder>(&mut self, decoder: &mut D) -> BlockResult<()> {
        self.begin_pending();
        while !fill_block(self.rest(), self.size) {
            while self.front < self.blocks.len() && self.is_read(self.front) {
                self.front += 1;
            }
            if self.front == self.blocks.len() {
                break;
            }
            let window = self.window();
            let mut met: Vec<Block> = self.met(window).map(|at| self.blocks[at]).collect();
            met.sort_unstable_by_key(|block| block.age);
            for block in met {
                self.read_into_pending(block, window, decoder)?;
            }
            self.done = Some(window.max);
            self.drop_read();
        }
        Ok(())
    }

    /// The next window: the times of the first block, from where an overlapping block begins to where the first of
    /// them ends.
    fn window(&self) -> TimeRange {
        let mut first = self.front;
        loop {
            let mut window = range(&self.blocks[first]);
            let mut from = self.front;
            while let Some(at) = self.meets(from, window) {
                let range = range(&self.blocks[at]);
                window.min = window.min.min(range.min);
                if window.min < range.max && range.max < window.max {
                    window.max = range.max;
                }
                from = at + 1;
            }
            // In this order, a later block may lie completely before the first. Then it is the first.
            let unread = self.unread();
            let hidden =
                self.spans.find(self.front, |span| span.first_end < window.min && span.last_end >= unread);
            match hidden {
                Some(hidden) => first = hidden,
                None => return window,
            }
        }
    }

    /// The indexes of the blocks with unread points that may lie inside `window`.
    fn met(&self, window: TimeRange) -> impl Iterator<Item = usize> {
        let next = move |from| self.meets(from, window);
        std::iter::successors(next(self.front), move |at| next(at + 1))
    }

    /// The first of them at or after `from`.
    fn meets(&self, from: usize, window: TimeRange) -> Option<usize> {
        let since = window.min.max(self.unread());
        self.spans.find(from, |span| span.begin <= window.max && span.last_end >= since)
    }

    /// The time after the last read time. (After the last possible time, no block is left.)
    fn unread(&self) -> i64 {
        self.done.map_or(i64::MIN, |done| done.saturating_add(1))
    }

    /// Drops decoded blocks that are completely read.
    fn drop_read(&mut self) {
        let unread = self.unread();
        let read = self.decoded.extract_if(.., |(block, _)| range(block).max < unread);
        self.free.extend(read.map(|(_, column)| column));
    }

    /// Merges the unread points of a block inside `window` into `pending`, without deleted points.
    fn read_into_pending<D: BlockDecoder>(
        &mut self,
        block: Block,
        window: TimeRange,
        decoder: &mut D,
    ) -> BlockResult<()> {
        let column = self.decode(block, decoder)?;
        let source = &self.sources[block.source as usize];
        let mut unread = window;
        if let Some(done) = self.done {
            unread.min = unread.min.max(done.saturating_add(1));
        }
        let mut merged = true;
        for_each_live(&source.deleted, unread, |live| {
            merged &= self.pending.merge(column.as_ref().within(live), &mut self.spare).is_ok();
        });
        assert!(merged, "`add` accepts one type, and the reader checks it");
        if range(&block).max > window.max && self.decoded.len() < KEPT_MAX {
            self.decoded.push((block, column));
        } else {
            self.free.push(column);
        }
        Ok(())
    }

    /// The points of a block, taken from the decoded blocks if possible.
    fn decode<D: BlockDecoder>(&mut self, block: Block, decoder: &mut D) -> BlockResult<Column> {
        if let Some(at) = self.decoded.iter().position(|(kept, _)| kept.age == block.age) {
            return Ok(self.decoded.swap_remove(at).1);
        }
        let source = &self.sources[block.source as usize];
        let mut column = self.free.pop().unwrap_or_else(|| Column::new(source.key.field_type()));
        source
            .from
            .reader
            .read_block(source.key, block.entry, decoder, BLOCK_VALUES_MAX, &mut column)
            .map_err(|error| MergeError { input: Some(source.input), error })?;
        Ok(column)
    }

    /// Moves the points that are not yet written to the front.
    fn begin_pending(&mut self) {
        let rest = self.pending.as_ref().slice(self.cut_at..self.pending.len());
        if self.cut_at == 0 || fill_block(rest, self.size) {
            return;
        }
        if rest.is_empty() {
            self.pending.truncate(0);
        } else {
            self.spare.reset(rest.field_type());
            let extended = self.spare.extend(rest);
            debug_assert_eq!(extended, Ok(()), "an empty column takes every type");
            std::mem::swap(&mut self.pending, &mut self.spare);
        }
        self.cut_at = 0;
    }

    /// The merged points that are not yet written.
    fn rest(&self) -> ColumnRef<'_> {
        self.pending.as_ref().slice(self.cut_at..self.pending.len())
    }

    fn pending_len(&self) -> usize {
        self.pending.len() - self.cut_at
    }

    fn is_read(&self, at: usize) -> bool {
        self.done.is_some_and(|done| range(&self.blocks[at]).max <= done)
    }

    fn has_partly_read(&self) -> bool {
        let begun = |done| self.spans.find(self.front, |span| span.begin <= done && span.last_end > done);
        self.done.and_then(begun).is_some()
    }
}

fn range(block: &Block) -> TimeRange {
    block.entry.range
}
