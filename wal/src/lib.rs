//! Write-ahead logs of a time-series engine: records on stable storage.
//!
//! A [`Log`] orders records, makes them durable, and gives them back in order when it is opened again. It does not look into
//! their payloads; [`entry`] encodes and decodes those of InfluxDB 1.x, and packed columns.
//!
//! ```text
//! append ──► encode, outside the lock ──► pending group ─┐ position drawn
//! append ──► encode ─────────────────────────────────────┤ one write, one fdatasync for all of it
//! sync   ──► the first waiter leads, the others follow ◄──┘ while the next group forms
//! ```
//!
//! | log | its segments | use it |
//! |---|---|---|
//! | [`FileLog`] | those of InfluxDB 1.x | if InfluxDB has to read the directory |
//! | [`NativeLog`] | our own: packed columns, numbered records | else: it is the fastest and the smallest, and detects lost segments |
//! | [`MmapLog`] | as `FileLog`, through a file map | to compare |
//! | [`EtcdLog`] | etcd's frames; [`etcd`] has etcd's storage itself | to compare |
//! | [`NullLog`] | none | to measure what everything else costs |
//!
//! What a batch is belongs to `tsmith-codecs`, what readers see to the cache, and when a segment may go to the engine.
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
//! Threads share a log by reference; those that wait at the same time wait for one sync. [`Durability`] says what they wait
//! for, [`RecoveryMode`] what opening does about corruption, and [`Recovery`] what was kept and which gaps there are. [`repair`]
//! rewrites corrupt segments with their valid records. All files are accessed through [`fs`]; [`testing::SimFs`] simulates power
//! cuts and failing disks.
//!
//! The feature `testing` has the laws of [`Log`] as suites of tests, for logs of your own.
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
pub use options::{Compression, Durability, LogOptions, RecoveryMode, ReplayMode, SEGMENT_BYTES};
pub use recover::{Gap, GapKind, NotReplayed, Progress, Recovery, Replay, Unverified};
pub use repair::{Refusal, Refused, SegmentRepair, repair, repair_for};
pub use replay::{SegmentRecord, replay_only, replay_segment};
pub use segment_log::SegmentLog;
// The words of the signatures above, so that a user of this crate needs no other.
pub use tsmith_codecs::{Batch, BatchBuilder, FieldKey, FieldType, Position, RunBuilder, TimeRange, Value};

use fs::Fs;

/// The longest segment that is read. A position has 32 bits for the offset; InfluxDB ends a segment behind 10 MiB, but only
/// where an entry ends, and an entry may have hundreds of them.
pub const SEGMENT_FILE_BYTES_MAX: u64 = u32::MAX as u64;

/// Largest payload of a record, before compression.
pub const ENTRY_BYTES_MAX: usize = 64 << 20;

/// What a record does; the byte that stands for it in InfluxDB's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Values of fields.
    Write,
    /// Deletes keys whole.
    Delete,
    /// Deletes a range of times from keys.
    DeleteRange,
}

impl RecordKind {
    /// Every kind, in the order of their bytes.
    pub const ALL: [Self; 3] = [Self::Write, Self::Delete, Self::DeleteRange];

    /// Its byte on disk.
    pub fn tag(self) -> u8 {
        match self {
            Self::Write => 1,
            Self::Delete => 2,
            Self::DeleteRange => 3,
        }
    }

    /// The kind of this byte.
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.tag() == tag)
    }
}

/// One record, as it goes into a log and comes out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it does.
    pub kind: RecordKind,
    /// Its content, not compressed; opaque to the log.
    pub payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// A write.
    pub fn write(payload: &'a [u8]) -> Self {
        Self { kind: RecordKind::Write, payload }
    }

    /// A deletion of keys whole.
    pub fn delete(payload: &'a [u8]) -> Self {
        Self { kind: RecordKind::Delete, payload }
    }

    /// A deletion of a range of times.
    pub fn delete_range(payload: &'a [u8]) -> Self {
        Self { kind: RecordKind::DeleteRange, payload }
    }
}

/// The receipt of [`Log::sync`]: all up to this position is as safe as the log's [`Durability`] promises. Only a log
/// of this crate's making, or one built with [`Durable::promise`], can give it.
#[must_use = "an unused receipt means that nobody depends on the record being durable"]
#[derive(Debug)]
pub struct Durable {
    at: Position,
}

impl Durable {
    /// For implementers of [`Log`] only: states that all up to `at` is durable.
    pub fn promise(at: Position) -> Self {
        Self { at }
    }

    /// Up to where.
    pub fn at(&self) -> Position {
        self.at
    }
}

/// Takes the records that [`Log::read`] reads.
pub type ReplayFn<'a> = dyn FnMut(Position, Record<'_>) -> Result<()> + 'a;

/// An append-only sequence of records on stable storage.
///
/// Methods without a receiver belong to a kind of logs; [`LogKind`] has them as a value. An open log of any kind is a
/// [`DynLog`]. Threads share a log by reference: many threads `append`, and one `sync` serves all of them.
pub trait Log: Send + Sync + 'static {
    /// The file system it lives on. The engine puts its own files there too, so that one parameter simulates all.
    type Fs: Fs;

    /// Opens or creates `dir` and gives every intact record to `replay`, oldest first.
    ///
    /// A torn tail is cut off and reported in the [`Recovery`]; corruption before the tail is an error.
    /// `replay` has the records before it by then; another opening begins with the first record again. Law: after an error, also
    /// one of `replay` ([`Error::refused`]), no record on disk was changed. A directory has one owner: a
    /// second `open`, in this process or another, fails with [`ErrorKind::InUse`]. A directory with segments of another log
    /// of this crate ([`is_segment`]) is read, or refused with [`ErrorKind::OtherLog`].
    fn open(
        fs: Self::Fs,
        dir: &Path,
        options: LogOptions,
        replay: impl FnMut(Position, Record<'_>) -> Result<()>,
    ) -> Result<(Self, Recovery)>
    where
        Self: Sized;

    /// As [`Log::open`], with the payloads decoded, side by side where the log can; still one record after the other.
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
        // Logs that change what they find when they are opened tell of the end before they do.
        replay.end()?;
        Ok(opened)
    }

    /// Gives the records of `dir` to `replay`, oldest first, and changes nothing there: for looking at a log that is not
    /// to be opened. What an opening would cut off is reported.
    fn read(fs: &Self::Fs, dir: &Path, mode: RecoveryMode, replay: &mut ReplayFn<'_>) -> Result<Recovery>
    where
        Self: Sized;

    /// Whether a file of this name is a segment of such a log. Law: no two kinds of logs claim one name, unless each reads
    /// what the other wrote.
    fn is_segment(name: &OsStr) -> bool
    where
        Self: Sized;

    /// Whether its segments are those of InfluxDB 1.x: only such a log serves the directory of an InfluxDB shard.
    fn is_influx() -> bool
    where
        Self: Sized,
    {
        false
    }

    /// Whether it gives back what it took when it is opened again.
    fn keeps_records() -> bool
    where
        Self: Sized,
    {
        true
    }

    /// Whether `dir` holds a log that only Tsmith writes: an engine that has it also has a manifest.
    fn owns(fs: &Self::Fs, dir: &Path) -> Result<bool>
    where
        Self: Sized,
    {
        Ok(!Self::is_influx() && directory::holds(fs, dir, Self::is_segment)?)
    }

    /// The payload it likes best for writes. It keeps any: what is in a payload is not its business, but its user has
    /// to choose one.
    fn layout(&self) -> entry::Layout {
        entry::Layout::Influx
    }

    /// Orders the record. Not durable on return. Law: positions strictly increase.
    fn append(&self, record: Record<'_>) -> Result<Position>;

    /// Orders the write of `batch`: as [`Log::append`] of its payload in the layout that the log likes best, by a shorter
    /// way where it has one. What is replayed is that payload.
    ///
    /// # Errors
    /// A key or the batch is larger than the layout can say; nothing was appended.
    fn append_write(&self, batch: &Batch<'_>) -> Result<Position> {
        let mut payload = Vec::new();
        self.layout().encode_write(batch, &mut payload)?;
        self.append(Record::write(&payload))
    }

    /// Blocks until all up to `at` is as durable as the options of the log promise. A position beyond the last record stands
    /// for the last one.
    ///
    /// Law: after a failed write or sync no record is confirmed ever again, until the log is reopened; a full disk is
    /// the exception ([`ErrorKind::Full`]): the records of that group are gone, later ones may succeed. Each caller that waits
    /// for one of them gets the error. If nobody waits for them, the next call that covers them, which is this one,
    /// [`Log::cut`] or [`Log::close`], fails once with [`ErrorKind::Earlier`].
    fn sync(&self, at: Position) -> Result<Durable>;

    /// Makes all of it durable and ends the segment. Gives the position where the next one begins: every record so
    /// far is below it, every later one above.
    fn cut(&self) -> Result<Position>;

    /// Truncates: drops whole segments below `before`, oldest first. May keep more than asked, never less; a crash leaves the
    /// newer ones.
    fn truncate_front(&self, before: Position) -> Result<()>;

    /// Makes everything durable, cuts the open segment to its length and ends the log. Later calls fail with
    /// [`ErrorKind::Closed`], except a sync of records that were durable by then. A dropped log tries the same and reports no
    /// error.
    fn close(&self) -> Result<()>;

    /// What it counted since it was opened; zeros for a log that does not count.
    fn metrics(&self) -> Metrics {
        Metrics::default()
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
