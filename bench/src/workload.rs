//! Runs a cell of the matrix: one workload on one dataset with one choice of parts.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use tsmith_codecs::{Column, FieldType, TimeRange, ValuesRef};
use tsmith_engine::Registry;

use crate::adapter::{Compact, Setup, Store, field_key};
use crate::error::Result;
use crate::measure::{Spent, dir_size, peak_rss_mib, timed};

/// Lines of one write.
const BATCH_LINES: usize = 5000;

/// Most files that a compaction merges, as in the first level of InfluxDB.
const COMPACTED_FILES: usize = 8;

/// A cell repeats its timed part until it took this long, so that small datasets can be timed.
const MEASURED_SECONDS_MIN: f64 = 0.12;
const PASSES_MAX: u32 = 64;

/// The timed work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    Ingest,
    Snapshot,
    Compact,
    Scan,
    Recover,
}

impl Workload {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ingest, Self::Snapshot, Self::Compact, Self::Scan, Self::Recover];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Snapshot => "snapshot",
            Self::Compact => "compact",
            Self::Scan => "scan",
            Self::Recover => "recover",
        }
    }

    pub(crate) fn summary(self) -> &'static str {
        match self {
            Self::Ingest => "write line protocol until it is acknowledged, 5000 lines a call",
            Self::Snapshot => "write the dataset from the cache to a published file",
            Self::Compact => "merge up to eight files into one with full blocks",
            Self::Scan => "read, verify and decode every key from files",
            Self::Recover => "open an engine whose dataset is still in its log",
        }
    }

    /// Whether the workload uses threads.
    pub(crate) fn is_threaded(self) -> bool {
        matches!(self, Self::Ingest | Self::Scan)
    }

    /// Whether a star varies this axis for the workload. Other axes cannot affect the timed work.
    pub(crate) fn varies(self, axis: &str) -> bool {
        match self {
            Self::Ingest => axis != "encoder",
            Self::Snapshot => axis == "storer" || axis == "encoder",
            Self::Compact | Self::Scan => axis == "encoder",
            Self::Recover => axis == "storer" || axis == "log",
        }
    }
}

/// The measurements of a cell, as its process prints them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Of one pass.
    pub(crate) seconds: f64,
    /// Of one pass, all threads of the process.
    pub(crate) cpu_seconds: f64,
    pub(crate) passes: u32,
    /// Values that one pass wrote or read.
    pub(crate) values: u64,
    /// Bytes on disk after a clean close.
    pub(crate) disk_bytes: u64,
    /// Peak memory of the workload, with the text of the dataset.
    pub(crate) peak_rss_mib: f64,
    /// Digest of every key, type, time and value, in any order of keys. `None` if nothing can be read back.
    pub(crate) digest: Option<String>,
}

/// The text of a dataset, in batches of complete lines.
#[derive(Debug)]
pub(crate) struct Text(Vec<Vec<u8>>);

impl Text {
    /// Reads the first `lines` lines of a file, or all if `lines` is 0.
    pub(crate) fn read(path: &Path, lines: usize) -> Result<Self> {
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut input = open(path).map_err(named)?;
        let mut left = if lines == 0 { usize::MAX } else { lines };
        let (mut batches, mut batch, mut in_batch) = (Vec::new(), Vec::new(), 0);
        while left > 0 && input.read_until(b'\n', &mut batch).map_err(named)? > 0 {
            (left, in_batch) = (left - 1, in_batch + 1);
            if in_batch == BATCH_LINES {
                batches.push(std::mem::take(&mut batch));
                in_batch = 0;
            }
        }
        batches.extend((!batch.is_empty()).then_some(batch));
        if batches.is_empty() {
            return Err(format!("{}: contains no line", path.display()).into());
        }
        Ok(Self(batches))
    }
}

fn open(path: &Path) -> std::io::Result<impl BufRead> {
    let file = File::open(path)?;
    let input: Box<dyn Read> = if path.extension().is_some_and(|ext| ext == "zst") {
        Box::new(zstd::Decoder::new(file)?)
    } else {
        Box::new(file)
    };
    Ok(BufReader::with_capacity(1 << 18, input))
}

/// How many lines a file has, as [`Text::read`] counts them.
pub(crate) fn count_lines(path: &Path) -> Result<usize> {
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    let (mut input, mut line, mut count) = (open(path).map_err(named)?, Vec::new(), 0);
    while input.read_until(b'\n', &mut line).map_err(named)? > 0 {
        count += 1;
        line.clear();
    }
    Ok(count)
}

/// One cell, ready to run in a directory of its own.
#[derive(Debug)]
pub(crate) struct Cell<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) setup: Setup<'a>,
    pub(crate) workload: Workload,
    pub(crate) threads: usize,
    pub(crate) text: Text,
    pub(crate) dir: PathBuf,
}

impl Cell<'_> {
    pub(crate) fn run(&self) -> Result<Outcome> {
        match self.workload {
            Workload::Ingest => self.ingest(),
            Workload::Snapshot => self.snapshot(),
            Workload::Compact => self.compact(),
            Workload::Scan => self.scan(),
            Workload::Recover => self.recover(),
        }
    }

    fn ingest(&self) -> Result<Outcome> {
        let mut pass = Passes::default();
        loop {
            let store = self.fresh()?;
            let (spent, done) = timed(|| write(&store, &self.text.0, self.threads));
            done?;
            if pass.add(spent) {
                return self.finish(store, &pass);
            }
            store.close()?;
        }
    }

    fn snapshot(&self) -> Result<Outcome> {
        let mut pass = Passes::default();
        loop {
            let store = self.fresh()?;
            write(&store, &self.text.0, 1)?;
            let (spent, done) = timed(|| store.snapshot());
            done?;
            if pass.add(spent) {
                return self.finish(store, &pass);
            }
            store.close()?;
        }
    }

    fn compact(&self) -> Result<Outcome> {
        let mut pass = Passes::default();
        loop {
            let store = self.fresh()?;
            for part in self.text.0.chunks(self.text.0.len().div_ceil(COMPACTED_FILES)) {
                write(&store, part, 1)?;
                store.snapshot()?;
            }
            let (spent, done) = timed(|| store.compact(Compact::Full));
            done?;
            if pass.add(spent) {
                return self.finish(store, &pass);
            }
            store.close()?;
        }
    }

    fn scan(&self) -> Result<Outcome> {
        let store = self.fresh()?;
        write(&store, &self.text.0, 1)?;
        store.snapshot()?;
        let keys = store.keys();
        scan(&store, &keys, self.threads)?;
        let mut pass = Passes::default();
        loop {
            let (spent, done) = timed(|| scan(&store, &keys, self.threads));
            done?;
            if pass.add(spent) {
                return self.finish(store, &pass);
            }
        }
    }

    fn recover(&self) -> Result<Outcome> {
        let store = self.fresh()?;
        write(&store, &self.text.0, 1)?;
        store.close()?;
        let mut pass = Passes::default();
        loop {
            let (spent, store) = timed(|| Store::open(self.registry, self.setup, &self.dir));
            if pass.add(spent) {
                return self.finish(store?, &pass);
            }
            store?.close()?;
        }
    }

    /// An engine in an empty directory.
    fn fresh(&self) -> Result<Store> {
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir)?;
        }
        fs::create_dir_all(&self.dir)?;
        Store::open(self.registry, self.setup, &self.dir)
    }

    /// Reads all values back, closes the engine, and measures its directory. Not timed.
    fn finish(&self, store: Store, pass: &Passes) -> Result<Outcome> {
        let peak_rss_mib = peak_rss_mib();
        let (mut digest, mut values) = (None, 0);
        if self.registry.find_storer(self.setup.storer)?.keeps_values() {
            let mut sum = 0u64;
            let (mut reader, mut column) = (store.reader(), Column::new(FieldType::Float));
            for key in store.keys() {
                reader.read(field_key(&key)?, TimeRange::ALL, &mut column)?;
                sum = sum.wrapping_add(digest_of(&key, &column));
                values += column.len() as u64;
            }
            digest = Some(format!("{sum:016x}"));
        } else {
            // Nothing can be read back, so the values in the text count.
            values = self.text.0.iter().map(|batch| count_values(batch)).sum();
        }
        store.close()?;
        let passes = f64::from(pass.count);
        Ok(Outcome {
            seconds: pass.spent.seconds / passes,
            cpu_seconds: pass.spent.cpu_seconds / passes,
            passes: pass.count,
            values,
            disk_bytes: dir_size(&self.dir, "").0,
            peak_rss_mib,
            digest,
        })
    }
}

/// Total of the timed passes of a cell.
#[derive(Debug, Default)]
struct Passes {
    spent: Spent,
    count: u32,
}

impl Passes {
    /// Adds a pass. True if no more passes are needed.
    fn add(&mut self, spent: Spent) -> bool {
        self.spent += spent;
        self.count += 1;
        self.spent.seconds >= MEASURED_SECONDS_MIN || self.count >= PASSES_MAX
    }
}

/// Writes all batches. Each thread takes the next batch when it is free.
fn write(store: &Store, batches: &[Vec<u8>], threads: usize) -> Result {
    let next = AtomicUsize::new(0);
    in_threads(threads, || {
        while let Some(text) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            store.write_lines(text)?;
        }
        Ok(())
    })
}

fn scan(store: &Store, keys: &[Vec<u8>], threads: usize) -> Result {
    let next = AtomicUsize::new(0);
    in_threads(threads, || {
        let (mut reader, mut column) = (store.reader(), Column::new(FieldType::Float));
        while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
            reader.read(field_key(key)?, TimeRange::ALL, &mut column)?;
        }
        Ok(())
    })
}

/// Runs the same work in `threads` threads, the calling thread included.
pub(crate) fn in_threads(threads: usize, work: impl Fn() -> Result + Sync) -> Result {
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(&work)).collect();
        let mine = work();
        others.into_iter().map(|other| other.join().expect("a worker panicked")).fold(mine, Result::and)
    })
}

/// Hashes the key, the type, and every time and value.
fn digest_of(key: &[u8], column: &Column) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.write(column.field_type().name().as_bytes());
    column.times().iter().for_each(|&time| hasher.write_i64(time));
    match column.as_ref().values() {
        ValuesRef::Float(values) => values.iter().for_each(|value| hasher.write_u64(value.to_bits())),
        ValuesRef::Integer(values) => values.iter().for_each(|&value| hasher.write_i64(value)),
        ValuesRef::Unsigned(values) => values.iter().for_each(|&value| hasher.write_u64(value)),
        ValuesRef::Boolean(values) => values.iter().for_each(|&value| hasher.write_u8(value.into())),
        ValuesRef::String(values) => values.iter().for_each(|value| {
            hasher.write_usize(value.len());
            hasher.write(value);
        }),
    }
    hasher.finish()
}

/// Counts the field values in line protocol. A line has one value more than it has unquoted commas between its first and second
/// blank.
fn count_values(text: &[u8]) -> u64 {
    let (mut count, mut blanks, mut quoted, mut escaped) = (0, 0, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' if blanks == 1 => quoted = !quoted,
            b'\n' if !quoted => {
                count += u64::from(blanks > 0);
                blanks = 0;
            }
            b' ' if !quoted => blanks += 1,
            b',' if !quoted && blanks == 1 => count += 1,
            _ => {}
        }
    }
    count + u64::from(blanks > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted() {
        let text = b"m,t=a\\ b,u=c f=1,g=\"x, \\\"y\",h=2i 10\nm f=1 20\n\nm f=1";
        assert_eq!(count_values(text), 5);
    }

    #[test]
    fn batches_hold_complete_lines() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.lp");
        let text: Vec<String> = (0..12_000).map(|at| format!("m f={at}i {at}")).collect();
        fs::write(&path, text.join("\n")).expect("writes");
        let lines = |limit| -> Vec<usize> {
            let Text(batches) = Text::read(&path, limit).expect("reads");
            batches
                .iter()
                .map(|batch| batch.split(|&b| b == b'\n').filter(|line| !line.is_empty()).count())
                .collect()
        };
        assert_eq!(lines(0), [5000, 5000, 2000]);
        assert_eq!(lines(5001), [5000, 1]);
        assert_eq!(lines(5000), [5000]);
    }

    #[test]
    fn digest_depends_on_every_bit() {
        let column = |time, value| {
            let mut column = Column::new(FieldType::Float);
            column.push(time, tsmith_codecs::Value::Float(value)).expect("one type");
            column
        };
        let base = digest_of(b"k", &column(1, 0.0));
        assert_eq!(base, digest_of(b"k", &column(1, 0.0)));
        for other in [
            digest_of(b"l", &column(1, 0.0)),
            digest_of(b"k", &column(2, 0.0)),
            digest_of(b"k", &column(1, -0.0)),
        ] {
            assert_ne!(base, other);
        }
    }
}
