//! Runs a cell of the matrix: one workload on one dataset with one choice of parts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tsmith_codecs::{Batch, Column, FieldType, TimeRange};
use tsmith_engine::Registry;
use tsmith_wal::fs::{Fs, OsFs};

use super::digest::Contents;
use super::latency::{OpenLoop, Spans, snapshot_bytes};
use super::outcome::Outcome;
use super::passes::{NextPass, Passes};
use super::queries::{Deletes, Query};
use super::threads::in_threads;
use super::{Latency, Pace, Workload};
use crate::adapter::{Compact, Setup, Store, field_key, supports};
use crate::error::Result;
use crate::inputs::Prepared;
use crate::measure::{dir_size, peak_rss_mib, timed};

/// Most files that a compaction merges, as in the first level of InfluxDB.
const COMPACTED_FILES: usize = 8;

/// One cell, ready to run in a directory of its own.
pub(crate) struct Cell<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) setup: Setup<'a>,
    pub(crate) workload: Workload,
    pub(crate) threads: usize,
    /// Of an open loop.
    pub(crate) pace: Option<Pace>,
    pub(crate) input: &'a Prepared,
    pub(crate) next_pass: NextPass<'a>,
    /// When the process began.
    pub(crate) begun: Instant,
    pub(crate) dir: PathBuf,
    /// Where the processes of one run keep closed engines with the same batches. Building one takes longer than copying it.
    pub(crate) engines: PathBuf,
    /// Runs [`Cell::build`] in another process, whose memory is not measured.
    pub(crate) build_apart: fn() -> Result,
}

// Engines of earlier repetitions are dropped, not closed: a close would sync what the next repetition removes.

/// An engine after the timed work, and the values that one repetition wrote, read or deleted.
struct Done<'a> {
    store: Store,
    dir: PathBuf,
    passes: Passes<'a>,
    /// `None` if these are the values of the whole dataset.
    values: Option<u64>,
    latency: Option<Latency>,
}

impl Cell<'_> {
    pub(crate) fn run(&self) -> Result<Outcome> {
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir)?;
        }
        let done = match self.workload {
            Workload::Ingest => self.ingest(),
            Workload::Snapshot => self.snapshot(),
            Workload::Compact => self.compact(),
            Workload::Scan => self.scan(),
            Workload::Range => self.range(),
            Workload::Delete => self.delete(),
            Workload::Recover => self.recover(),
            Workload::Latency => self.latency(),
        };
        self.finish(done?)
    }

    fn ingest(&self) -> Result<Done<'_>> {
        let batches = self.input.batches()?;
        let (dir, mut passes) = (self.dir.join("engine"), Passes::begin(self.next_pass));
        loop {
            let store = self.fresh(&dir, self.setup)?;
            let (spent, done) = timed(|| write(&store, &batches, self.threads));
            done?;
            if passes.add(spent)? {
                return Ok(Done { store, dir, passes, values: None, latency: None });
            }
        }
    }

    fn snapshot(&self) -> Result<Done<'_>> {
        let batches = self.input.batches()?;
        let (dir, mut passes) = (self.dir.join("engine"), Passes::begin(self.next_pass));
        loop {
            let store = self.fresh(&dir, self.lazy())?;
            write(&store, &batches, 1)?;
            let (spent, done) = timed(|| store.snapshot());
            done?;
            if passes.add(spent)? {
                return Ok(Done { store, dir, passes, values: None, latency: None });
            }
        }
    }

    fn compact(&self) -> Result<Done<'_>> {
        let (made, dir) = (self.made()?, self.dir.join("engine"));
        let mut passes = Passes::begin(self.next_pass);
        loop {
            let store = self.copy(&made, &dir, self.lazy())?;
            let (spent, done) = timed(|| store.compact(Compact::Full));
            done?;
            if passes.add(spent)? {
                return Ok(Done { store, dir, passes, values: None, latency: None });
            }
        }
    }

    fn scan(&self) -> Result<Done<'_>> {
        let dir = self.dir.join("engine");
        let store = self.copy(&self.made()?, &dir, self.lazy())?;
        let keys = store.keys();
        let mut passes = Passes::begin(self.next_pass);
        loop {
            let (spent, done) = timed(|| scan(&store, &keys, self.threads));
            done?;
            if passes.add(spent)? {
                return Ok(Done { store, dir, passes, values: None, latency: None });
            }
        }
    }

    fn range(&self) -> Result<Done<'_>> {
        let dir = self.dir.join("engine");
        let store = self.copy(&self.made()?, &dir, self.lazy())?;
        let queries = Query::random(&store)?;
        let mut passes = Passes::begin(self.next_pass);
        loop {
            let (spent, values) = timed(|| query(&store, &queries, self.threads));
            let values = Some(values?);
            if passes.add(spent)? {
                return Ok(Done { store, dir, passes, values, latency: None });
            }
        }
    }

    fn delete(&self) -> Result<Done<'_>> {
        let (made, dir) = (self.made()?, self.dir.join("engine"));
        let store = self.copy(&made, &dir, self.lazy())?;
        let deletes = Deletes::random(&store)?;
        store.close()?;
        let mut passes = Passes::begin(self.next_pass);
        loop {
            let store = self.copy(&made, &dir, self.setup)?;
            let (spent, done) = timed(|| deletes.run(&store));
            done?;
            if passes.add(spent)? {
                return Ok(Done { store, dir, passes, values: Some(deletes.values), latency: None });
            }
        }
    }

    fn recover(&self) -> Result<Done<'_>> {
        let (made, dir) = (self.made()?, self.dir.join("engine"));
        let mut passes = Passes::begin(self.next_pass);
        loop {
            copy_dir(&made, &dir)?;
            let (spent, store) = timed(|| Store::open(self.registry, self.setup, &dir));
            let store = store?;
            if passes.add(spent)? {
                return Ok(Done { store, dir, passes, values: None, latency: None });
            }
        }
    }

    /// One pass. The engine works in the background, as in production.
    fn latency(&self) -> Result<Done<'_>> {
        let pace = self.pace.ok_or("an open loop needs a rate")?;
        let (batches, dir) = (self.input.rounds()?, self.dir.join("engine"));
        fs::create_dir_all(&dir)?;
        let (spans, bytes) = (Spans::record()?, snapshot_bytes(&batches));
        let store = Store::open_with_background(self.registry, self.setup, &dir, bytes)?;
        let open_loop = OpenLoop { pace, threads: self.threads, batches: &batches };
        let mut passes = Passes::begin(self.next_pass);
        let (spent, done) = timed(|| open_loop.run(&store, &spans));
        let (latency, written) = done?;
        passes.add(spent)?;
        let values = batches[..written].iter().map(|batch| batch.value_count() as u64).sum();
        Ok(Done { store, dir, passes, values: Some(values), latency: Some(latency) })
    }

    /// The setup for work that is not timed: its appends are not synced, if the log has this mode.
    fn lazy(&self) -> Setup<'_> {
        if supports(self.registry, self.setup.log, "none") {
            Setup { durability: "none", ..self.setup }
        } else {
            self.setup
        }
    }

    /// An engine in an empty directory.
    fn fresh(&self, dir: &Path, setup: Setup<'_>) -> Result<Store> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        Store::open(self.registry, setup, dir)
    }

    /// A closed engine with the dataset, as the workload needs it. An earlier process with the same parts may have built it.
    fn made(&self) -> Result<PathBuf> {
        let made = self.made_path();
        if !made.exists() {
            (self.build_apart)()?;
        }
        Ok(made)
    }

    fn made_path(&self) -> PathBuf {
        let Setup { storer, log, encoder, points_per_block, .. } = self.setup;
        let what = match self.workload {
            Workload::Compact => "compact",
            Workload::Recover => "log",
            _ => "files",
        };
        self.engines.join(format!("{what} {storer} {log} {encoder} {points_per_block}"))
    }

    /// Builds the closed engine that the workload needs.
    pub(crate) fn build(&self) -> Result {
        let (batches, dir) = (self.input.batches()?, self.dir.join("engine"));
        let store = self.fresh(&dir, self.lazy())?;
        let parts = if self.workload == Workload::Compact { COMPACTED_FILES } else { 1 };
        for part in batches.chunks(batches.len().div_ceil(parts)) {
            write(&store, part, 1)?;
            if self.workload != Workload::Recover {
                store.snapshot()?;
            }
        }
        store.close()?;
        fs::create_dir_all(&self.engines)?;
        match OsFs.rename(&dir, &self.made_path()) {
            // Another process was faster.
            Err(_) if self.made_path().exists() => Ok(()),
            done => Ok(done?),
        }
    }

    /// Opens a copy of a closed engine.
    fn copy(&self, from: &Path, to: &Path, setup: Setup<'_>) -> Result<Store> {
        copy_dir(from, to)?;
        Store::open(self.registry, setup, to)
    }

    /// Reads all values back, closes the engine, and measures its directory. Not timed.
    fn finish(&self, done: Done<'_>) -> Result<Outcome> {
        let Done { store, dir, passes, values, latency } = done;
        let peak_rss_mib = peak_rss_mib();
        let keeps_values = self.registry.find_storer(self.setup.storer)?.keeps_values();
        let contents = keeps_values.then(|| Contents::of(&store)).transpose()?;
        store.close()?;
        let stored_values = match (&contents, values) {
            (Some(contents), _) => contents.values,
            // Nothing can be read back.
            (None, Some(written)) => written,
            (None, None) => self.input.batches()?.iter().map(|batch| batch.value_count() as u64).sum(),
        };
        // A cell that fell behind did not write everything, so its values differ from those of other cells.
        let is_complete = latency.as_ref().is_none_or(|latency| latency.unsent == 0);
        Ok(Outcome {
            setup_seconds: self.begun.elapsed().as_secs_f64() - passes.total_seconds(),
            written_bytes: passes.written_bytes(),
            values: values.unwrap_or(stored_values),
            stored_values,
            raw_bytes: contents.as_ref().map_or(0, |contents| contents.raw_bytes),
            disk_bytes: dir_size(&dir, "").0,
            log_bytes: dir_size(&Store::log_dir(&dir), "").0,
            peak_rss_mib,
            digest: contents.filter(|_| is_complete).map(|contents| format!("{:016x}", contents.digest)),
            passes: passes.into_passes(),
            latency,
        })
    }
}

/// Replaces `to` by a copy of the directory `from`. Files that never change are linked.
pub(super) fn copy_dir(from: &Path, to: &Path) -> Result {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else if target.extension().is_none_or(|extension| extension != "tsm")
            || fs::hard_link(entry.path(), &target).is_err()
        {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Writes all batches. Each thread takes the next batch when it is free.
fn write(store: &Store, batches: &[Batch<'_>], threads: usize) -> Result {
    let next = AtomicUsize::new(0);
    in_threads(threads, || {
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            store.write(batch)?;
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

/// Runs the queries and returns the number of values that they read.
fn query(store: &Store, queries: &[Query], threads: usize) -> Result<u64> {
    let (next, values) = (AtomicUsize::new(0), AtomicUsize::new(0));
    in_threads(threads, || {
        let (mut reader, mut column) = (store.reader(), Column::new(FieldType::Float));
        while let Some(query) = queries.get(next.fetch_add(1, Ordering::Relaxed)) {
            for key in &query.keys {
                reader.read(field_key(key)?, query.range, &mut column)?;
                values.fetch_add(column.len(), Ordering::Relaxed);
            }
        }
        Ok(())
    })?;
    Ok(values.into_inner() as u64)
}
