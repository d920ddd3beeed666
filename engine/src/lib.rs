//! A time-series engine for one shard, whose cache, log and block encoder are type parameters.
//!
//! ```text
//! line protocol ── line ──▶ batch ── write ──▶ S: Storer    cache: what readers see first
//!                                        └───▶ L: Log       stable storage: what survives a crash
//!                 cache ── snapshot ─▶ E: BlockEncoder ──▶ TSM files ──▶ read
//! ```
//!
//! [`Engine`] is generic over the three parts. [`Registry`] opens an engine by the names of its parts,
//! including parts of other crates. It uses one instance with type-erased parts, at one virtual call per
//! batch, log call or block.
//!
//! With `ring`, `file` and `tsm1` the directories are those of an InfluxDB 1.x shard, and either program can
//! take over from the other. An engine is one shard: it has no databases, retention policies or query
//! language.
//!
//! ```
//! use tsmith_engine::{Dirs, Engine, FieldKey, LineOptions, Options, TimeRange, Timestamp};
//! use tsmith_engine::parts::{FileLog, Ring, Tsm1};
//!
//! # let dir = tempfile::tempdir()?;
//! let engine = Engine::<Ring, FileLog, Tsm1>::open(Dirs::under(dir.path()), Options::default())?;
//! let lines = b"cpu,host=a usage=0.5 10\ncpu,host=a usage=0.75 20";
//! let report = engine.write_lines(lines, &LineOptions::new(Timestamp(0)))?;
//! assert_eq!((report.points, report.rejected.len()), (2, 0));
//! let column = engine.read(FieldKey::new(b"cpu,host=a", b"usage"), TimeRange::ALL)?;
//! assert_eq!(column.times(), [10, 20]);
//! engine.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The feature `raft` adds `replica`: replicated engines whose raft log is etcd's storage.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod compact;
mod delete;
pub mod driver;
mod error;
mod fields_index;
pub mod files;
pub mod line;
mod lock;
pub mod manifest;
mod options;
mod order;
mod output;
pub mod parts;
mod read;
mod recover;
mod registry;
pub mod repair;
mod replay;
#[cfg(feature = "raft")]
pub mod replica;
mod schema;
mod setup;
mod snapshot;
mod turns;
pub mod view;
mod worker;
mod write;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tsmith_cache::{Cache, Storer};
use tsmith_wal::fs::Fs;
use tsmith_wal::{Log, Recovery};

pub use compact::{Compact, CompactReport, CompactStatus};
pub use delete::{DeleteReport, Selection};
pub use error::{Error, ErrorKind, Result};
pub use line::{LineOptions, OnConflict};
pub use manifest::Manifest;
pub use options::{Dirs, Options};
pub use order::{Ack, WriteOrder};
use parts::MakeEncoder;
pub use parts::Parts;
pub use registry::{DynEngine, Registry};
pub use schema::{FieldTyping, SecondType};
pub use setup::{Setup, parse_duration};
pub use snapshot::SnapshotReport;
pub use tsmith_cache::WhenFull;
pub use tsmith_codecs::{
    Batch, BatchBuilder, BlockEncoder, Column, ColumnRef, FieldKey, FieldType, TimeRange, Timestamp, Value,
    Values,
};
pub use tsmith_tsm::Direction;
pub use tsmith_wal::{Advice, Durability, LogOptions, RecoveryMode};
pub use turns::{Turn, Turns};
pub use write::WriteReport;

use compact::Compactor;
use fields_index::FieldsIndex;
use files::FileSet;
use read::KeyReader;
use schema::FieldTypes;
use worker::Worker;

/// One shard: a cache, a log and TSM files in two directories. An open engine owns its directories.
///
/// Clones are cheap and share one engine. Call [`Engine::close`] to get errors that a drop can only log.
pub struct Engine<S: Storer, L: Log + ?Sized, E> {
    inner: Arc<Inner<S, L, E>>,
    alive: Arc<Alive>,
}

/// Held by every clone of an engine but not by its threads. Dropping the last one stops compaction.
struct Alive(Arc<Compactor>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.stop();
    }
}

pub(crate) struct Inner<S: Storer, L: Log + ?Sized, E> {
    options: Options,
    dirs: Dirs,
    fs: L::Fs,
    cache: Cache<S>,
    log: Box<L>,
    files: FileSet,
    fields: FieldTypes,
    fields_index: FieldsIndex,
    typing: FieldTyping,
    recovery: Recovery,
    snapshotting: Mutex<()>,
    /// The log may hold records that a snapshot does not make obsolete: a delete after its last cut, or
    /// records that salvage dropped.
    leftovers_logged: AtomicBool,
    worker: Worker,
    compactor: Arc<Compactor>,
    closed: AtomicBool,
    /// Held while the directory is ours.
    lock: Mutex<Option<<L::Fs as Fs>::File>>,
    make_encoder: MakeEncoder<E>,
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Engine<S, L, E> {
    /// What recovery of the log found when the engine was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// Its directories.
    pub fn dirs(&self) -> &Dirs {
        &self.inner.dirs
    }

    /// The points of `key` inside `range`, ascending. If a time has several values, the newest wins.
    pub fn read(&self, key: FieldKey<'_>, range: TimeRange) -> Result<Column> {
        let mut out = Column::new(FieldType::Float);
        self.reader().read(key, range, &mut out)?;
        Ok(out)
    }

    /// A reader that reads one key after the other and reuses its buffers.
    pub fn reader(&self) -> EngineReader<'_, S, L, E> {
        EngineReader { inner: &self.inner, keys: KeyReader::new(&self.inner.options.decoders) }
    }

    /// All composite keys that have values, ascending.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        view::merged_keys(&self.inner.cache, &self.inner.files.load())
    }

    /// The current TSM files, oldest first.
    pub fn files(&self) -> Arc<Vec<Arc<files::TsmFile>>> {
        Arc::clone(&self.inner.files.load())
    }

    /// Bytes in the cache, counted as InfluxDB does.
    pub fn cache_bytes(&self) -> u64 {
        self.inner.cache.size()
    }

    /// Stops background work, closes the log and unlocks the directory. Does not write the cache to files:
    /// the log holds it. Afterwards every other clone returns [`ErrorKind::Closed`].
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }
}

impl<S: Storer, L: Log + ?Sized, E> Inner<S, L, E> {
    /// The type of a key in the cache or in files.
    fn type_of_key(&self, key: FieldKey<'_>) -> Option<FieldType> {
        self.cache.field_type(key).or_else(|| {
            let composite = key.to_composite();
            self.files.load().iter().rev().find_map(|file| file.live_type(&composite))
        })
    }

    fn check_writable(&self, operation: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(operation, ErrorKind::Closed));
        }
        if self.worker.is_read_only() {
            return Err(Error::new(operation, ErrorKind::ReadOnly));
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Err(Error::new("close", ErrorKind::Closed));
        }
        self.cache.close();
        self.compactor.stop();
        self.worker.stop();
        let _no_snapshot = self.snapshotting.lock();
        let _no_delete = self.files.change();
        let closed = self.log.close().map_err(|error| Error::new("close", error.into()));
        self.lock.lock().take();
        closed
    }
}

/// Reads keys of an engine one after the other.
pub struct EngineReader<'e, S: Storer, L: Log + ?Sized, E> {
    inner: &'e Inner<S, L, E>,
    keys: KeyReader,
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> EngineReader<'_, S, L, E> {
    /// Replaces `out` by the points of `key` inside `range`; see [`Engine::read`].
    pub fn read(&mut self, key: FieldKey<'_>, range: TimeRange, out: &mut Column) -> Result<()> {
        let files = || Arc::clone(&self.inner.files.load());
        self.keys.read(&self.inner.cache, files, key, range, out)
    }

    /// Moves to the first point of `key` inside `range`, or to the last one when descending. Then call
    /// [`EngineReader::next`]. Later writes and deletes are not seen.
    pub fn begin(&mut self, key: FieldKey<'_>, range: TimeRange, direction: Direction) -> Result<()> {
        let files = || Arc::clone(&self.inner.files.load());
        self.keys.begin(&self.inner.cache, files, key, range, direction)
    }

    /// Replaces `out` by the next points in the direction given to [`begin`](Self::begin). Returns false at
    /// the end. Blocks are read on demand.
    ///
    /// # Errors
    /// A block cannot be read. The next call continues after it.
    pub fn next(&mut self, out: &mut Column) -> Result<bool> {
        self.keys.next(out)
    }

    /// Moves to the first point at or after `time`; when descending, to the last one at or before it.
    pub fn seek(&mut self, time: i64) {
        self.keys.seek(time);
    }
}

impl<S: Storer, L: Log + ?Sized, E> Clone for Engine<S, L, E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), alive: Arc::clone(&self.alive) }
    }
}

impl<S: Storer, L: Log + ?Sized, E> fmt::Debug for Engine<S, L, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("dirs", &self.inner.dirs).finish_non_exhaustive()
    }
}

impl<S: Storer, L: Log + ?Sized, E> fmt::Debug for EngineReader<'_, S, L, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineReader").finish_non_exhaustive()
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
