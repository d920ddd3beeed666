//! The adapter between the engine and the benchmarks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tsmith_codecs::{Batch, Column, FieldKey, SeriesKey, TimeRange, Timestamp};
pub(crate) use tsmith_engine::Compact;
use tsmith_engine::driver::{Driver, KeyRead};
use tsmith_engine::{Direction, Dirs, LineOptions, Registry, Selection, WhenFull};

use crate::error::Result;

/// Names of a choice, each with a summary.
pub(crate) type Names = &'static [(&'static str, &'static str)];

/// Orders of log and cache. The first is the engine's default.
pub(crate) const ORDERS: Names = &[
    ("sync-then-publish", "readers see only what is durable"),
    ("publish-then-sync", "readers may see a value before it is durable, as in InfluxDB 1.x"),
];

/// When a write is durable. The first is the engine's default.
pub(crate) const DURABILITIES: Names = &[
    ("group", "before the call returns; one fsync for all waiting calls"),
    ("each", "before the call returns; one fsync for each call"),
    ("none", "when the operating system writes its cache to disk"),
];

/// Runs only if it is named, with any time.
pub(crate) const INTERVAL: (&str, &str) =
    ("interval:10ms", "at most 10 ms after the call returns, or any other time");

/// Maximum points of a block. The first is InfluxDB's and the engine's default.
pub(crate) const BLOCKS: Names = &[
    ("1000", "the size of InfluxDB"),
    ("1024", "a power of two"),
    ("8192", "fewer heads and better compression, but a query decodes more"),
    ("65536", "the largest"),
];

/// Whether a log can be opened with a durability.
pub(crate) fn supports(registry: &Registry, log: &str, durability: &str) -> bool {
    let mut asked = tsmith_engine::Setup::default();
    let is_known = asked.set("durability", durability).is_ok();
    is_known && registry.find_log(log).is_ok_and(|log| log.kind().supports(asked.options.log.durability))
}

/// How long a write waits for memory.
const FULL_WAIT_MAX: Duration = Duration::from_secs(60);

/// The parts and options of an engine, by name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) storer: &'a str,
    pub(crate) log: &'a str,
    pub(crate) encoder: &'a str,
    pub(crate) order: &'a str,
    pub(crate) durability: &'a str,
    pub(crate) points_per_block: usize,
}

/// An open engine.
pub(crate) struct Store(Box<dyn Driver>);

impl Store {
    /// Opens or creates an engine with its data and log in `dir`. It has no background work and no cache limit: the
    /// benchmark decides when it takes a snapshot.
    pub(crate) fn open(registry: &Registry, setup: Setup<'_>, dir: &Path) -> Result<Self> {
        Self::open_quietly(registry, asked(setup)?, dir)
    }

    /// Opens or creates an engine that works in the background as in production: it takes a snapshot when its cache holds
    /// `snapshot_bytes`, and compacts. A full cache delays writes instead of refusing them.
    pub(crate) fn open_with_background(
        registry: &Registry,
        setup: Setup<'_>,
        dir: &Path,
        snapshot_bytes: u64,
    ) -> Result<Self> {
        let mut asked = asked(setup)?;
        asked.options.snapshot_bytes = snapshot_bytes;
        asked.options.when_full = WhenFull::Wait(FULL_WAIT_MAX);
        Ok(Self(asked.open(registry, Dirs::under(dir))?))
    }

    /// The directory of the log of an engine in `dir`.
    pub(crate) fn log_dir(dir: &Path) -> PathBuf {
        Dirs::under(dir).wal
    }

    /// Opens the engine in `dir` with the parts that its manifest names.
    pub(crate) fn reopen(registry: &Registry, dir: &Path) -> Result<Self> {
        let mut asked = tsmith_engine::Setup::default();
        asked.options.create = false;
        Self::open_quietly(registry, asked, dir)
    }

    fn open_quietly(registry: &Registry, mut asked: tsmith_engine::Setup, dir: &Path) -> Result<Self> {
        asked.options.background = false;
        asked.options.cache_bytes_max = None;
        Ok(Self(asked.open(registry, Dirs::under(dir))?))
    }

    /// Deletes the points of all fields of a series inside a range.
    pub(crate) fn delete(&self, series: &[u8], range: TimeRange) -> Result {
        self.0.delete(Selection::Series(SeriesKey(series)), range)?;
        Ok(())
    }

    /// Writes line protocol. A rejected line is an error.
    pub(crate) fn write_lines(&self, text: &[u8]) -> Result {
        let report = self.0.write_lines(text, &LineOptions::new(Timestamp(0)))?;
        report.rejected.first().map_or(Ok(()), |rejected| Err(rejected.to_string().into()))
    }

    /// Writes a prepared batch.
    pub(crate) fn write(&self, batch: &Batch<'_>) -> Result {
        let _ack = self.0.write(batch)?;
        Ok(())
    }

    /// Writes the cache to files.
    pub(crate) fn snapshot(&self) -> Result {
        self.0.snapshot()?;
        Ok(())
    }

    /// Merges files.
    pub(crate) fn compact(&self, what: Compact) -> Result {
        self.0.compact(what)?;
        Ok(())
    }

    /// Every composite key.
    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        self.0.keys()
    }

    /// Makes a reader, which one thread uses for many keys.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader(self.0.reader())
    }

    /// Number of files.
    pub(crate) fn file_count(&self) -> usize {
        self.0.files().len()
    }

    pub(crate) fn close(self) -> Result {
        Ok(self.0.close()?)
    }
}

/// Parts and options of the engine.
fn asked(setup: Setup<'_>) -> Result<tsmith_engine::Setup> {
    let mut asked = tsmith_engine::Setup::default();
    for (flag, name) in [
        ("storer", setup.storer),
        ("log", setup.log),
        ("encoder", setup.encoder),
        ("order", setup.order),
        ("durability", setup.durability),
    ] {
        asked.set(flag, name)?;
    }
    asked.options.points_per_block = setup.points_per_block;
    Ok(asked)
}

/// Series and field of a composite key.
pub(crate) fn field_key(composite: &[u8]) -> Result<FieldKey<'_>> {
    FieldKey::parse(composite).ok_or_else(|| "the engine returned a key without a field".into())
}

/// Reads keys and reuses its buffers.
pub(crate) struct Reader<'a>(Box<dyn KeyRead + 'a>);

impl Reader<'_> {
    /// Replaces `out` with the points of a key inside a range.
    pub(crate) fn read(&mut self, key: FieldKey<'_>, range: TimeRange, out: &mut Column) -> Result {
        Ok(self.0.read(key, range, out)?)
    }

    /// Calls `f` with the points of a key inside a range, a batch at a time.
    pub(crate) fn scan(
        &mut self,
        key: FieldKey<'_>,
        range: TimeRange,
        batch: &mut Column,
        mut f: impl FnMut(&Column),
    ) -> Result {
        self.0.begin(key, range, Direction::Ascending)?;
        while self.0.next(batch)? {
            f(batch);
        }
        Ok(())
    }
}
