//! An object-safe interface to the engine: what a [`Registry`](crate::Registry) opens.
//!
//! A call through [`Driver`] costs one virtual call per batch, key or snapshot, never one per value.

use std::sync::Arc;

use tsmith_cache::Storer;
use tsmith_codecs::{Batch, BlockEncoder, Column, FieldKey, TimeRange};
use tsmith_tsm::Direction;
use tsmith_wal::{Log, Recovery};

use crate::error::Result;
use crate::files::TsmFile;
use crate::{
    Ack, Compact, CompactReport, CompactStatus, DeleteReport, Engine, LineOptions, Selection, SnapshotReport,
    Turn, WriteReport,
};

/// The operations of an engine, whatever its parts. Each method does what the one of [`Engine`] does.
#[expect(missing_docs, reason = "each method is documented on `Engine`")]
pub trait Driver: Send + Sync {
    fn write_lines(&self, text: &[u8], options: &LineOptions) -> Result<WriteReport>;
    fn write_lines_in_turn(&self, text: &[u8], options: &LineOptions, turn: Turn) -> Result<WriteReport>;
    fn write(&self, batch: &Batch<'_>) -> Result<Ack>;
    fn snapshot(&self) -> Result<SnapshotReport>;
    fn delete(&self, selection: Selection<'_>, range: TimeRange) -> Result<DeleteReport>;
    fn compact(&self, what: Compact) -> Result<CompactReport>;
    fn compact_into(&self, what: Compact, report: &mut CompactReport) -> Result<()>;
    fn compaction(&self) -> CompactStatus;
    fn keys(&self) -> Vec<Vec<u8>>;
    fn reader(&self) -> Box<dyn KeyRead + '_>;
    fn files(&self) -> Arc<Vec<Arc<TsmFile>>>;
    fn cache_bytes(&self) -> u64;
    fn recovery(&self) -> &Recovery;
    fn close(self: Box<Self>) -> Result<()>;
}

/// Reads keys one after the other; see [`Engine::reader`].
pub trait KeyRead {
    /// Replaces `out` by the points of `key` inside `range`.
    fn read(&mut self, key: FieldKey<'_>, range: TimeRange, out: &mut Column) -> Result<()>;
    /// Goes to the first point of `key` inside `range`, or to the last one when descending.
    fn begin(&mut self, key: FieldKey<'_>, range: TimeRange, direction: Direction) -> Result<()>;
    /// Replaces `out` by the next points. Returns false at the end.
    fn next(&mut self, out: &mut Column) -> Result<bool>;
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Driver for Engine<S, L, E> {
    fn write_lines(&self, text: &[u8], options: &LineOptions) -> Result<WriteReport> {
        Engine::write_lines(self, text, options)
    }

    fn write_lines_in_turn(&self, text: &[u8], options: &LineOptions, turn: Turn) -> Result<WriteReport> {
        Engine::write_lines_in_turn(self, text, options, turn)
    }

    fn write(&self, batch: &Batch<'_>) -> Result<Ack> {
        Engine::write(self, batch)
    }

    fn snapshot(&self) -> Result<SnapshotReport> {
        Engine::snapshot(self)
    }

    fn delete(&self, selection: Selection<'_>, range: TimeRange) -> Result<DeleteReport> {
        Engine::delete(self, selection, range)
    }

    fn compact(&self, what: Compact) -> Result<CompactReport> {
        Engine::compact(self, what)
    }

    fn compact_into(&self, what: Compact, report: &mut CompactReport) -> Result<()> {
        Engine::compact_into(self, what, report)
    }

    fn compaction(&self) -> CompactStatus {
        Engine::compaction(self)
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        Engine::keys(self)
    }

    fn reader(&self) -> Box<dyn KeyRead + '_> {
        Box::new(Engine::reader(self))
    }

    fn files(&self) -> Arc<Vec<Arc<TsmFile>>> {
        Engine::files(self)
    }

    fn cache_bytes(&self) -> u64 {
        Engine::cache_bytes(self)
    }

    fn recovery(&self) -> &Recovery {
        Engine::recovery(self)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Engine::close(*self)
    }
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> KeyRead for crate::EngineReader<'_, S, L, E> {
    fn read(&mut self, key: FieldKey<'_>, range: TimeRange, out: &mut Column) -> Result<()> {
        crate::EngineReader::read(self, key, range, out)
    }

    fn begin(&mut self, key: FieldKey<'_>, range: TimeRange, direction: Direction) -> Result<()> {
        crate::EngineReader::begin(self, key, range, direction)
    }

    fn next(&mut self, out: &mut Column) -> Result<bool> {
        crate::EngineReader::next(self, out)
    }
}
