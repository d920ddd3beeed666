//! Runs a cell of the matrix: one workload on one dataset with one choice of parts.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tsmith_codecs::{Column, FieldType, TimeRange};
use tsmith_engine::Registry;

use super::Workload;
use super::digest::Contents;
use super::outcome::{Outcome, Passes};
use crate::adapter::{Compact, Setup, Store, field_key};
use crate::error::Result;
use crate::inputs::{Text, count_values};
use crate::measure::{dir_size, peak_rss_mib, timed};

/// Most files that a compaction merges, as in the first level of InfluxDB.
const COMPACTED_FILES: usize = 8;

/// One cell, ready to run in a directory of its own.
#[derive(Debug)]
pub(crate) struct Cell<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) setup: Setup<'a>,
    pub(crate) workload: Workload,
    pub(crate) threads: usize,
    pub(crate) text: Text,
    /// Number of timed passes.
    pub(crate) passes: usize,
    /// When the process began.
    pub(crate) begun: Instant,
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
        let mut passes = Passes::begin(self.passes);
        loop {
            let store = self.fresh()?;
            let (spent, done) = timed(|| write(&store, &self.text.0, self.threads));
            done?;
            if passes.add(spent) {
                return self.finish(store, passes);
            }
            store.close()?;
        }
    }

    fn snapshot(&self) -> Result<Outcome> {
        let mut passes = Passes::begin(self.passes);
        loop {
            let store = self.fresh()?;
            write(&store, &self.text.0, 1)?;
            let (spent, done) = timed(|| store.snapshot());
            done?;
            if passes.add(spent) {
                return self.finish(store, passes);
            }
            store.close()?;
        }
    }

    fn compact(&self) -> Result<Outcome> {
        let mut passes = Passes::begin(self.passes);
        loop {
            let store = self.fresh()?;
            for part in self.text.0.chunks(self.text.0.len().div_ceil(COMPACTED_FILES)) {
                write(&store, part, 1)?;
                store.snapshot()?;
            }
            let (spent, done) = timed(|| store.compact(Compact::Full));
            done?;
            if passes.add(spent) {
                return self.finish(store, passes);
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
        let mut passes = Passes::begin(self.passes);
        loop {
            let (spent, done) = timed(|| scan(&store, &keys, self.threads));
            done?;
            if passes.add(spent) {
                return self.finish(store, passes);
            }
        }
    }

    fn recover(&self) -> Result<Outcome> {
        let store = self.fresh()?;
        write(&store, &self.text.0, 1)?;
        store.close()?;
        let mut passes = Passes::begin(self.passes);
        loop {
            let (spent, store) = timed(|| Store::open(self.registry, self.setup, &self.dir));
            if passes.add(spent) {
                return self.finish(store?, passes);
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
    fn finish(&self, store: Store, passes: Passes) -> Result<Outcome> {
        let peak_rss_mib = peak_rss_mib();
        let keeps_values = self.registry.find_storer(self.setup.storer)?.keeps_values();
        let contents = keeps_values.then(|| Contents::of(&store)).transpose()?;
        store.close()?;
        // If nothing can be read back, the values in the text count.
        let in_text = || self.text.0.iter().map(|batch| count_values(batch)).sum();
        Ok(Outcome {
            setup_seconds: self.begun.elapsed().as_secs_f64() - passes.total_seconds(),
            written_bytes: passes.written_bytes(),
            values: contents.as_ref().map_or_else(in_text, |contents| contents.values),
            raw_bytes: contents.as_ref().map_or(0, |contents| contents.raw_bytes),
            disk_bytes: dir_size(&self.dir, "").0,
            log_bytes: dir_size(&Store::log_dir(&self.dir), "").0,
            peak_rss_mib,
            digest: contents.map(|contents| format!("{:016x}", contents.digest)),
            passes: passes.into_passes(),
        })
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
