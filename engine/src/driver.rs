//! The engine behind one object-safe face, opened by the names of its parts.
//!
//! The types are erased once: a call through [`Driver`] costs one virtual call a batch, a key or a snapshot, never one
//! a value.

use std::sync::Arc;

use tsmith_cache::{STORERS, Storer, StorerVisitor, with_storer};
use tsmith_codecs::{Batch, BlockEncoder, Column, DynEncoder, Encoders, FieldKey, TimeRange, UnknownEncoder};
use tsmith_tsm::Direction;
use tsmith_wal::{LOGS, Log, LogVisitor, Recovery, with_log};

use crate::error::{Error, ErrorKind, Result};
use crate::files::TsmFile;
use crate::{
    Ack, Compact, CompactReport, CompactStatus, DeleteReport, Dirs, Engine, LineOptions, Options, Parts,
    Selection, SnapshotReport, Turn, WriteReport,
};

/// What an engine does, whatever it is made of. Each method is that of [`Engine`].
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
    /// Goes to one end of `key` inside `range`.
    fn begin(&mut self, key: FieldKey<'_>, range: TimeRange, direction: Direction) -> Result<()>;
    /// Replaces `out` by the next points; false when there is none left.
    fn next(&mut self, out: &mut Column) -> Result<bool>;
}

impl<S: Storer, L: Log, E: BlockEncoder> Driver for Engine<S, L, E> {
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

impl<S: Storer, L: Log, E: BlockEncoder> KeyRead for crate::EngineReader<'_, S, L, E> {
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

/// Opens the engine made of `parts`.
///
/// # Errors
/// Those of [`Engine::open`]; and a name that no part has, with the names there are.
pub fn open(parts: &Parts, dirs: Dirs, options: Options) -> Result<Box<dyn Driver>> {
    let opening = ByStorer { parts, dirs, options };
    with_storer(&parts.storer, opening).unwrap_or_else(|| Err(unknown("storer", &parts.storer, STORERS)))
}

/// Whether every name is known; the first that is not, as [`open`] would report it.
pub fn check(parts: &Parts) -> Result<()> {
    let known = |part, asked: &String, names: &[(&'static str, &str)]| {
        if names.iter().any(|(name, _)| name == asked) { Ok(()) } else { Err(unknown(part, asked, names)) }
    };
    known("storer", &parts.storer, STORERS)?;
    known("log", &parts.log, LOGS)?;
    Encoders::standard().get(&parts.encoder).map(drop).map_err(unknown_encoder)
}

fn unknown_encoder(UnknownEncoder { asked, known }: UnknownEncoder) -> Error {
    Error::new("open", ErrorKind::UnknownPart { part: "encoder", asked, known })
}

fn unknown(part: &'static str, asked: &str, names: &[(&'static str, &str)]) -> Error {
    let known = names.iter().map(|(name, _)| *name).collect();
    Error::new("open", ErrorKind::UnknownPart { part, asked: asked.to_owned(), known })
}

type Opened = Result<Box<dyn Driver>>;

struct ByStorer<'p> {
    parts: &'p Parts,
    dirs: Dirs,
    options: Options,
}

impl StorerVisitor for ByStorer<'_> {
    type Out = Opened;

    fn visit<S: Storer>(self) -> Opened {
        let parts = self.parts;
        let next = ByLog::<S> { asked: self, storer: std::marker::PhantomData };
        with_log(&parts.log, next).unwrap_or_else(|| Err(unknown("log", &parts.log, LOGS)))
    }
}

struct ByLog<'p, S> {
    asked: ByStorer<'p>,
    storer: std::marker::PhantomData<S>,
}

impl<S: Storer> LogVisitor for ByLog<'_, S> {
    type Out = Opened;

    fn visit<L: Log>(self) -> Opened {
        let parts = self.asked.parts;
        let encoders = Encoders::standard();
        let encoder = encoders.get(&parts.encoder).map_err(unknown_encoder)?.clone();
        let make = Arc::new(move || encoder.make());
        let ByStorer { dirs, options, .. } = self.asked;
        let engine = Engine::<S, L, DynEncoder>::open_with(L::Fs::default(), dirs, options, parts, make)?;
        Ok(Box::new(engine))
    }
}
