//! The ordering half of a segment log: it determines where each frame of the pending group will be.
//!
//! A position is `segment << 32 | offset after the frame`. The place of a group is known before it is
//! written, because the length of the group before it is known. If a write fails on a full disk, the segment
//! ends after its last complete group. Later records go to the next segment, so no position is drawn twice.

use std::marker::PhantomData;
use std::mem;

use super::active::{SegmentFile, SegmentGroup};
use super::writer::SegmentWriter;
use crate::commit::{Failure, Framer};
use crate::kind::{Format, parts};
use crate::scan::position;
use crate::{Error, ErrorKind, Position, Result};

/// In a format with marks, each part of a group of about this size gets its own mark. Corruption then costs
/// one part, not the entire group.
const MARKED_BYTES: usize = 4 << 10;

#[derive(Debug)]
pub(crate) struct SegmentFramer<S, T> {
    /// The pending group: space for its head, then its frames. Empty if there is none.
    pending: Vec<u8>,
    /// Offsets in `pending` of the second and later parts. Each begins with space for a mark.
    parts_at: Vec<usize>,
    /// Offset of the last part.
    part_at: usize,
    /// The second buffer.
    spare: Vec<u8>,
    /// Where the pending group ends. It begins its own length before that.
    tail: Position,
    /// The last group found the disk full. The next segment is begun before a position in it is drawn.
    full: bool,
    segment_bytes: u32,
    /// Segments from this number on must not be removed.
    pub(super) open_from: u32,
    /// The number of the record after the written ones.
    pub(super) next_record: u64,
    format: PhantomData<fn() -> (S, T)>,
}

impl<S, T: Format> SegmentFramer<S, T> {
    /// The next record is `next_record`, in `segment`.
    pub(super) fn new(segment: u32, next_record: u64, segment_bytes: u32) -> Self {
        Self {
            pending: Vec::new(),
            parts_at: Vec::new(),
            part_at: 0,
            spare: Vec::new(),
            tail: position(segment, T::HEAD_BYTES),
            full: false,
            segment_bytes,
            open_from: segment,
            next_record,
            format: PhantomData,
        }
    }

    /// Bytes for a frame, plus its mark if it begins a part.
    fn size_of(&self, frame: &[u8]) -> u64 {
        let head = if self.begins_part() { T::GROUP_BYTES } else { 0 };
        u64::from(head) + frame.len() as u64
    }

    /// The tail's segment holds no record.
    fn is_empty(&self) -> bool {
        parts(self.tail).1 == T::HEAD_BYTES
    }

    /// Whether a frame fits in the tail's segment after other records, together with the segment's end.
    fn fits(&self, frame: &[u8]) -> bool {
        let end = u64::from(parts(self.tail).1 + T::END_BYTES) + self.size_of(frame);
        !self.is_empty() && end <= self.segment_bytes.into()
    }

    fn begins_part(&self) -> bool {
        self.pending.is_empty() || self.pending.len() - self.part_at >= MARKED_BYTES
    }

    /// Later records go to the next segment. No record may be pending.
    fn advance(&mut self) -> Result<()> {
        let next = parts(self.tail).0.checked_add(1);
        let next = next.ok_or_else(|| Error::new(ErrorKind::NumbersEnd))?;
        self.tail = position(next, T::HEAD_BYTES);
        Ok(())
    }
}

impl<S: SegmentFile, T: Format> Framer for SegmentFramer<S, T> {
    type Item<'a> = &'a [u8];
    type Group = SegmentGroup;
    type Writer = SegmentWriter<S, T>;

    fn has_room(&self, frame: &[u8]) -> Result<bool> {
        if self.fits(frame) || !self.pending.is_empty() {
            return Ok(self.fits(frame));
        }
        // The frame begins a segment.
        if u64::from(T::HEAD_BYTES + T::END_BYTES) + self.size_of(frame) > u32::MAX.into() {
            return Err(Error::too_large("a frame", frame.len() as u64, u32::MAX.into()));
        }
        if !self.is_empty() && parts(self.tail).0 == u32::MAX {
            return Err(Error::new(ErrorKind::NumbersEnd));
        }
        // Drawing the position first would use up positions, and segment numbers, with every attempt.
        Ok(!self.full)
    }

    fn make_room(&mut self, writer: &mut SegmentWriter<S, T>, frame: &[u8]) -> Result<(), Failure> {
        let (number, offset) = parts(self.tail);
        writer.begin(number, offset + self.size_of(frame) as u32 + T::END_BYTES)?;
        self.full = false;
        self.follow(writer);
        Ok(())
    }

    fn push(&mut self, frame: &[u8], _: Position) -> usize {
        if !self.is_empty() && !self.fits(frame) {
            self.tail = position(parts(self.tail).0 + 1, T::HEAD_BYTES);
        }
        self.tail.0 += self.size_of(frame);
        if self.begins_part() {
            self.part_at = self.pending.len();
            if self.part_at > 0 && T::GROUP_BYTES > 0 {
                self.parts_at.push(self.part_at);
            }
            self.pending.resize(self.part_at + T::GROUP_BYTES as usize, 0);
        }
        self.pending.extend_from_slice(frame);
        frame.len()
    }

    fn tail(&self) -> Position {
        self.tail
    }

    fn waiting(&self) -> usize {
        self.pending.len()
    }

    fn take(&mut self) -> SegmentGroup {
        let start = Position(self.tail.0 - self.pending.len() as u64);
        let bytes = mem::replace(&mut self.pending, mem::take(&mut self.spare));
        SegmentGroup { bytes, parts_at: mem::take(&mut self.parts_at), start }
    }

    fn give_back(&mut self, group: SegmentGroup, writer: &SegmentWriter<S, T>) {
        self.spare = group.bytes;
        self.spare.clear();
        self.follow(writer);
    }

    fn take_back(&mut self) -> Result<()> {
        self.pending.clear();
        self.parts_at.clear();
        self.full = true;
        self.advance()
    }

    fn end(&mut self, writer: &mut SegmentWriter<S, T>) -> Result<Position, Failure> {
        if !self.is_empty() {
            self.advance().map_err(Failure::Passing)?;
        }
        writer.end()?;
        self.follow(writer);
        Ok(position(parts(self.tail).0, 0))
    }
}

impl<S: SegmentFile, T: Format> SegmentFramer<S, T> {
    /// Copies the writer's state of the active segment.
    fn follow(&mut self, writer: &SegmentWriter<S, T>) {
        self.next_record = writer.next_record;
        self.open_from = writer.open_from();
    }
}
