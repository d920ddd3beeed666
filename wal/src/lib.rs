//! Write-ahead logs of a time-series engine: records on stable storage.
//!
//! A [`Log`] orders records, makes them durable, and replays them in order when it is opened again. It does
//! not interpret payloads. The module [`entry`] encodes and decodes them, as InfluxDB 1.x does or as packed
//! columns.
//!
//! ```text
//! append ──► encode, outside the lock ──► pending group ─┐ position drawn
//! append ──► encode ─────────────────────────────────────┤ one write, one fdatasync for all of it
//! sync   ──► the first caller leads, the others follow ◄──┘ while the next group forms
//! ```
//!
//! | log | its segments | use it |
//! |---|---|---|
//! | [`FileLog`] | those of InfluxDB 1.x | if InfluxDB must be able to read the directory |
//! | [`NativeLog`] | our own: packed columns, numbered records | otherwise: fastest and smallest; detects lost segments |
//! | [`MmapLog`] | as `FileLog`, written through a memory map | to compare |
//! | [`EtcdLog`] | etcd's frames; the module [`etcd`] implements etcd's own storage | to compare |
//! | [`NullLog`] | none | to measure the cost of everything else |
//!
//! This crate does not define batches (`tsmith-codecs` does), does not serve reads (the cache does), and does
//! not decide when to truncate (the engine does).
//!
//! ```
//! use tsmith_wal::entry::{self, Entry};
//! use tsmith_wal::fs::OsFs;
//! use tsmith_wal::{BatchBuilder, Log, LogOptions, NativeLog, Value};
//! # let scratch = tempfile::tempdir()?;
//! # let dir = scratch.path();
//! let (log, _) = NativeLog::open(OsFs, dir, LogOptions::default(), |_, _| Ok(()))?;
//! let mut points = BatchBuilder::new();
//! points.begin(b"cpu,host=a".into());
//! points.field(b"usage".into(), Value::Float(0.5)).expect("one type");
//! points.commit(1_600_000_000_000_000_000);
//! let at = log.append_write(&points.finish())?;
//! let _durable = log.sync(at)?; // from here on it survives a power cut
//! log.close()?;
//!
//! let mut values = 0;
//! let (_log, recovery) = NativeLog::open(OsFs, dir, LogOptions::default(), |_, record| {
//!     if let Entry::Write(batch) = entry::decode(record.kind, record.payload)? {
//!         values += batch.value_count();
//!     }
//!     Ok(())
//! })?;
//! assert_eq!((values, recovery.gaps.len()), (1, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Threads share a log by reference. All threads that call `sync` at the same time share one fsync.
//! [`Durability`] says what `sync` guarantees. [`RecoveryMode`] says what opening does about corruption.
//! [`Recovery`] reports what was replayed and which gaps exist. [`repair`] rewrites corrupt segments with
//! their valid records. All files are accessed through [`fs`]; `testing::SimFs` simulates power cuts and
//! failing disks.
//!
//! The feature `testing` exports the laws of [`Log`] as test suites, so that you can check your own log.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod commit;
mod crc32c;
mod directory;
mod encoder;
pub mod entry;
mod error;
pub mod etcd;
mod file;
mod formats;
pub mod fs;
mod kind;
mod log_kind;
mod logs;
mod metrics;
mod mmap;
pub mod native;
mod null;
mod options;
mod recover;
mod repair;
mod replay;
mod scan;
pub mod segment;
mod segment_log;
mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::ffi::OsStr;
use std::path::Path;

pub use error::{Advice, Error, ErrorKind, Result};
pub use etcd::EtcdLog;
pub use file::{FileLog, NativeLog};
pub use formats::{is_segment, is_segment_extension, segment_names};
pub use log_kind::{DynLog, LogKind};
pub use logs::{LogEntry, is_owned};
pub use metrics::{Histogram, Metrics};
pub use mmap::MmapLog;
pub use null::NullLog;
pub use options::{Compression, Durability, LogOptions, RecoveryMode, ReplayMode};
pub use recover::{Gap, GapKind, NotReplayed, Progress, Recovery, Replay, Unverified};
pub use repair::{Refusal, Refused, SegmentRepair, repair, repair_for};
pub use replay::{SegmentRecord, replay_only, replay_segment};
// Types in the signatures above, so that a user of this crate needs no other crate.
pub use tsmith_codecs::{Batch, BatchBuilder, FieldKey, FieldType, Position, RunBuilder, TimeRange, Value};

use fs::Fs;

/// Largest segment file that is read. A position holds a 32-bit offset. InfluxDB ends a segment after 10 MiB,
/// but only between entries, and one entry can be hundreds of MiB long.
pub const SEGMENT_FILE_BYTES_MAX: u64 = u32::MAX as u64;

/// Largest payload of a record before compression, in bytes.
pub const ENTRY_BYTES_MAX: usize = 64 << 20;

/// What a record does. In InfluxDB's segments one byte encodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Writes field values.
    Write,
    /// Deletes all points of some keys.
    Delete,
    /// Deletes the points of some keys in a time range.
    DeleteRange,
}

impl RecordKind {
    /// All kinds, in the order of their bytes.
    pub const ALL: [Self; 3] = [Self::Write, Self::Delete, Self::DeleteRange];

    /// The byte on disk.
    pub fn tag(self) -> u8 {
        match self {
            Self::Write => 1,
            Self::Delete => 2,
            Self::DeleteRange => 3,
        }
    }

    /// The kind with this byte.
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.tag() == tag)
    }
}

/// One record, as it is appended and replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What the record does.
    pub kind: RecordKind,
    /// The uncompressed content. The log does not interpret it.
    pub payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// A write.
    pub fn write(payload: &'a [u8]) -> Self {
        Self { kind: RecordKind::Write, payload }
    }

    /// A deletion of all points of some keys.
    pub fn delete(payload: &'a [u8]) -> Self {
        Self { kind: RecordKind::Delete, payload }
    }

    /// A deletion of a time range.
    pub fn delete_range(payload: &'a [u8]) -> Self {
        Self { kind: RecordKind::DeleteRange, payload }
    }
}

/// The receipt of [`Log::sync`]: every record up to this position is as durable as the log's [`Durability`]
/// promises. Only the logs of this crate, and logs that call [`Durable::promise`], can create one.
#[must_use = "a receipt proves durability; dropping it unread is usually a bug"]
#[derive(Debug)]
pub struct Durable {
    at: Position,
}

impl Durable {
    /// For implementers of [`Log`] only: promises that every record up to `at` is durable.
    pub fn promise(at: Position) -> Self {
        Self { at }
    }

    /// The position up to which records are durable.
    pub fn at(&self) -> Position {
        self.at
    }
}

/// The callback of [`Log::read`].
pub type ReplayFn<'a> = dyn FnMut(Position, Record<'_>) -> Result<()> + 'a;

/// An append-only sequence of records on stable storage.
///
/// An implementation provides eight methods: `open`, `read`, `is_segment`, `append`, `sync`, `cut`,
/// `truncate_front` and `close`. A log that keeps records also overrides `open_replaying`. The other methods
/// have defaults. The module `testing` has the laws as test
/// suites.
///
/// Methods without a receiver describe a kind of log; [`LogKind`] holds them as a value. [`DynLog`] is an
/// open log of any kind. Threads share a log by reference: many threads `append`, and one `sync` serves all
/// of them.
pub trait Log: Send + Sync + 'static {
    /// The file system of the log. The engine stores its own files there too, so one parameter simulates all
    /// I/O.
    type Fs: Fs;

    /// Opens or creates `dir` and passes every intact record to `replay`, oldest first.
    ///
    /// A torn tail is cut off and reported in the [`Recovery`]. Corruption before the tail is an error in
    /// [`RecoveryMode::Strict`] and a reported gap in [`RecoveryMode::Salvage`]. Before an error, `replay` may
    /// have received earlier records; the next open starts again with the first one. Law: after an error,
    /// including an error from `replay` ([`Error::refused`]), no record on disk has changed.
    ///
    /// A directory has one owner: a second `open`, in this process or another, fails with
    /// [`ErrorKind::InUse`]. If the directory holds segments of another log of this crate ([`is_segment`]),
    /// `open` reads them or fails with [`ErrorKind::OtherLog`].
    fn open(
        fs: Self::Fs,
        dir: &Path,
        options: LogOptions,
        replay: impl FnMut(Position, Record<'_>) -> Result<()>,
    ) -> Result<(Self, Recovery)>
    where
        Self: Sized;

    /// Like [`Log::open`], but decodes the payloads, in parallel if the log can. `replay` still receives one
    /// record after the other.
    ///
    /// The default calls [`Replay::end`] after `open`. A log that cuts or creates files when it opens must override
    /// it, and call `end` before the first change. `durable_suite!` tests this.
    fn open_replaying(
        fs: Self::Fs,
        dir: &Path,
        options: LogOptions,
        replay: &mut dyn Replay,
    ) -> Result<(Self, Recovery)>
    where
        Self: Sized,
    {
        let opened = Self::open(fs, dir, options, |at, record| {
            replay.entry(at, &entry::decode(record.kind, record.payload)?)
        })?;
        let Recovery { segments, records, bytes, .. } = opened.1;
        replay.progress(Progress { segments, segments_total: segments, records, bytes });
        replay.end()?;
        Ok(opened)
    }

    /// Passes the records of `dir` to `replay`, oldest first, without opening the log or changing anything.
    /// Reports what an open would cut off.
    fn read(fs: &Self::Fs, dir: &Path, mode: RecoveryMode, replay: &mut ReplayFn<'_>) -> Result<Recovery>
    where
        Self: Sized;

    /// Whether a file of this name is a segment of this kind of log. Law: two kinds of log never claim the
    /// same name, unless each can read what the other wrote.
    fn is_segment(name: &OsStr) -> bool
    where
        Self: Sized;

    /// Whether the segments are those of InfluxDB 1.x. Only such a log can serve the directory of an InfluxDB
    /// shard. Default: false.
    fn is_influx() -> bool
    where
        Self: Sized,
    {
        false
    }

    /// Whether the log replays its records after it is reopened. Default: true.
    fn keeps_records() -> bool
    where
        Self: Sized,
    {
        true
    }

    /// Whether the log can be opened with this durability. Law: otherwise `open` fails. Default: true.
    fn supports(durability: Durability) -> bool
    where
        Self: Sized,
    {
        let _ = durability;
        true
    }

    /// Whether `dir` holds segments of this log that InfluxDB does not write. An engine with such a log also
    /// has a manifest. Default: true if the log is not InfluxDB's ([`Log::is_influx`]) and the directory has
    /// one of its segments.
    fn owns(fs: &Self::Fs, dir: &Path) -> Result<bool>
    where
        Self: Sized,
    {
        Ok(!Self::is_influx() && directory::holds(fs, dir, Self::is_segment)?)
    }

    /// The preferred payload layout for writes. The log stores any payload; this tells its user which layout
    /// to choose. Default: InfluxDB's.
    fn layout(&self) -> entry::Layout {
        entry::Layout::Influx
    }

    /// Orders the record. The record is not durable when this returns. Law: positions strictly increase.
    fn append(&self, record: Record<'_>) -> Result<Position>;

    /// Appends a write of `batch`. This equals [`Log::append`] with the payload in the log's preferred
    /// layout; some logs have a faster path. Replay yields that payload.
    ///
    /// # Errors
    ///
    /// A key or the batch is larger than the layout can represent. Nothing is appended then.
    fn append_write(&self, batch: &Batch<'_>) -> Result<Position> {
        let mut payload = Vec::new();
        self.layout().encode_write(batch, &mut payload)?;
        self.append(Record::write(&payload))
    }

    /// Blocks until every record up to `at` is as durable as the log's options promise. A position beyond the
    /// last record means the last one.
    ///
    /// Law: after a failed write or sync, the log confirms no further record until it is reopened. A full
    /// disk is the exception ([`ErrorKind::Full`]): the records of that group are lost, and later ones can
    /// succeed. Every caller that waits for a lost record gets the error. If no caller waits, the next call
    /// that covers it (`sync`, [`Log::cut`] or [`Log::close`]) fails once with [`ErrorKind::Earlier`].
    fn sync(&self, at: Position) -> Result<Durable>;

    /// Makes all records durable and ends the segment. Returns the position where the next segment begins:
    /// every earlier record is below it, every later record above.
    fn cut(&self) -> Result<Position>;

    /// Truncates: drops whole segments below `before`, oldest first. It may keep more than asked, never less.
    /// After a crash in between, the newer segments remain.
    fn truncate_front(&self, before: Position) -> Result<()>;

    /// Makes all records durable, cuts the active segment to its length and closes the log. Later calls fail
    /// with [`ErrorKind::Closed`], except a sync of records that were already durable. Dropping a log closes
    /// it too, but reports no error.
    fn close(&self) -> Result<()>;

    /// Counters since the log was opened. Default: all zero.
    fn metrics(&self) -> Metrics {
        Metrics::default()
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
