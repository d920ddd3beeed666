//! The two halves of [`Wal`](crate::etcd::Wal), for group commit.
//!
//! Because of the running checksum, a group cannot be taken back. So a record is pushed only when the file
//! has space for it.

use std::marker::PhantomData;
use std::mem;

use crate::commit::{Failure, Framer, Writer};
use crate::etcd::frame::kind;
use crate::etcd::framer::WalFramer;
use crate::etcd::names::SegmentName;
use crate::etcd::proto::Head;
use crate::etcd::scan::INDEX_MAX;
use crate::etcd::write_buffer::WriteBuffer;
use crate::etcd::writer::WalWriter;
use crate::etcd::{EntryKind, HardState, SnapshotRecord};
use crate::fs::Fs;
use crate::metrics::Counts;
use crate::{ENTRY_BYTES_MAX, Error, ErrorKind, Position, Record, Result};

/// The term of every entry. To a real etcd this is the log of a single leader.
pub(super) const TERM: u64 = 1;
/// Upper bound of the bytes for an entry beside its payload, with the states around it and a snapshot record.
const OVERHEAD_BYTES: u64 = 256;

#[derive(Debug)]
pub(super) struct LogFramer<F: Fs> {
    wal: WalFramer,
    /// The second buffer.
    spare: WriteBuffer,
    segment_bytes: u64,
    /// The active segment and its allocated bytes.
    segment: SegmentName,
    allocated: u64,
    /// The active segment has ended, and there was no space for the next one yet.
    has_ended: bool,
    writer: PhantomData<fn() -> F>,
}

impl<F: Fs> LogFramer<F> {
    /// Continues in the active segment of `writer`.
    pub(super) fn new(wal: WalFramer, writer: &WalWriter<F>, segment_bytes: u64) -> Self {
        Self {
            wal,
            spare: WriteBuffer::default(),
            segment_bytes,
            segment: writer.name(),
            allocated: writer.allocated(),
            has_ended: false,
            writer: PhantomData,
        }
    }

    fn has_records(&self) -> bool {
        self.wal.last_index >= self.segment.index.max(1)
    }

    /// Whether a record that ends at this offset belongs in the next segment.
    fn is_full(&self, end: u64) -> bool {
        self.has_ended || (end > self.segment_bytes && self.has_records())
    }

    fn end_of(&self, record: Record<'_>) -> u64 {
        self.wal.watermark.end() + record.payload.len() as u64 + OVERHEAD_BYTES
    }

    /// Adds a record stating that everything up to `last` is durable.
    fn mark(&mut self, last: u64) {
        self.wal.state(HardState { term: TERM, vote: TERM, commit: last });
    }

    /// Writes and syncs frames that are not part of a group.
    fn flush(&mut self, writer: &mut WalWriter<F>) -> Result<(), Failure> {
        writer.flush(&mut self.wal).and_then(|()| writer.sync()).map_err(Failure::Broken)
    }

    fn begin_next(&mut self, writer: &mut WalWriter<F>) -> Result<(), Failure> {
        writer.begin_next(&mut self.wal).map_err(Failure::of)?;
        self.has_ended = false;
        self.follow(writer);
        Ok(())
    }

    /// Allocates the active segment's full space, or `end` bytes.
    fn grow(&mut self, writer: &mut WalWriter<F>, end: u64) -> Result<(), Failure> {
        writer.grow(end.max(self.segment_bytes)).map_err(Failure::of)?;
        self.follow(writer);
        Ok(())
    }

    /// Copies the writer's state of the active segment.
    fn follow(&mut self, writer: &WalWriter<F>) {
        (self.segment, self.allocated) = (writer.name(), writer.allocated());
    }

    /// As [`Log::truncate_front`](crate::Log::truncate_front). All records are durable.
    pub(super) fn truncate(&mut self, writer: &mut WalWriter<F>, before: Position) -> Result<(), Failure> {
        let mut is_noted = true;
        loop {
            if self.has_ended
                && let Err(failure @ Failure::Broken(_)) = self.begin_next(writer)
            {
                return Err(failure);
            }
            let first_of = |name: SegmentName| name.index.saturating_sub(1);
            let names = writer.segments.windows(2).map(|pair| pair[1].name);
            let count = names.take_while(|&next| 2 * first_of(next) < before.0).count();
            let first = first_of(writer.segments[count].name);
            if count > 0 || !is_noted {
                is_noted = self.note(writer, first)?;
            }
            if count == 0 {
                return Ok(());
            }
            writer.remove_front(count).map_err(Failure::Broken)?;
        }
    }

    /// Records a snapshot at `index`, so that a real etcd opens the rest of the log there. Returns whether
    /// there was space for it.
    fn note(&mut self, writer: &mut WalWriter<F>, index: u64) -> Result<bool, Failure> {
        let end = self.wal.watermark.end() + OVERHEAD_BYTES;
        if self.has_ended || end > self.allocated {
            match self.grow(writer, end) {
                Err(Failure::Passing(_)) => return Ok(false),
                done => done?,
            }
        }
        self.wal.record(kind::SNAPSHOT, Some(&SnapshotRecord::new(index, TERM).encode()));
        self.flush(writer).map(|()| true)
    }
}

impl<F: Fs> Framer for LogFramer<F> {
    type Item<'a> = Record<'a>;
    type Group = WriteBuffer;
    type Writer = WalWriter<F>;

    fn has_room(&self, record: Record<'_>) -> Result<bool> {
        let len = record.payload.len();
        if len > ENTRY_BYTES_MAX {
            return Err(Error::too_large("a payload", len as u64, ENTRY_BYTES_MAX as u64));
        }
        if self.wal.last_index >= INDEX_MAX {
            return Err(Error::new(ErrorKind::NumbersEnd));
        }
        let end = self.end_of(record);
        Ok(end <= self.allocated && !self.is_full(end))
    }

    fn make_room(&mut self, writer: &mut WalWriter<F>, record: Record<'_>) -> Result<(), Failure> {
        let end = self.end_of(record);
        if self.is_full(end) {
            self.end(writer)?;
            self.begin_next(writer)
        } else {
            self.grow(writer, end)
        }
    }

    fn push(&mut self, record: Record<'_>, durable: Position) -> usize {
        let durable = durable.0 / 2;
        if self.waiting() == 0 && durable > self.wal.state.commit {
            self.mark(durable);
        }
        let index = self.wal.last_index + 1;
        let head = Head::of_entry(EntryKind::NORMAL, TERM, index).before(record.payload.len() + 1);
        self.wal.last_index = index;
        self.wal.frame(kind::ENTRY, head, [&[record.kind.tag()], record.payload])
    }

    fn tail(&self) -> Position {
        Position(2 * self.wal.last_index)
    }

    fn waiting(&self) -> usize {
        self.wal.waiting.len()
    }

    fn take(&mut self) -> WriteBuffer {
        mem::replace(self.wal.flush(), mem::take(&mut self.spare))
    }

    fn give_back(&mut self, group: WriteBuffer, _: &WalWriter<F>) {
        self.spare = group;
    }

    /// A group cannot be taken back.
    fn take_back(&mut self) -> Result<()> {
        Ok(())
    }

    /// The next segment is begun with its first record. A segment without records is not ended, but releases
    /// its space.
    fn end(&mut self, writer: &mut WalWriter<F>) -> Result<Position, Failure> {
        let last = self.wal.last_index;
        if !self.has_ended {
            if last > self.wal.state.commit {
                // Without this record nothing proves that the last group was durable, and its corruption
                // would look like a torn write.
                writer.sync().map_err(Failure::Broken)?;
                self.mark(last);
                self.flush(writer)?;
            }
            writer.end().map_err(Failure::Broken)?;
            self.follow(writer);
            self.has_ended = self.has_records();
        }
        Ok(Position(2 * last + 1))
    }
}

impl<F: Fs> Writer<WriteBuffer> for WalWriter<F> {
    fn write(&mut self, group: &mut WriteBuffer, _: u64) -> Result<u64, Failure> {
        let len = group.len() as u64;
        Self::write(self, group).map_err(Failure::Broken)?;
        Ok(len)
    }

    fn sync(&mut self) -> Result<(), Failure> {
        Self::sync(self).map_err(Failure::Broken)
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }
}
