//! Runs a cell of the matrix whose engine is a whole store of another project.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tsmith_codecs::{Batch, Column, FieldKey, SeriesKey};
use tsmith_wal::fs::{Fs, OsFs};

use super::Workload;
use super::cell::copy_dir;
use super::model::Model;
use super::outcome::Outcome;
use super::passes::{NextPass, Passes};
use super::queries::Query;
use super::threads::in_threads;
use crate::adapter::field_key;
use crate::error::Result;
use crate::inputs::Prepared;
use crate::measure::{dir_space, peak_rss_mib_of, timed_with};
use crate::peer::{OpenPeer, StorePeer};

/// One cell, ready to run in a directory of its own.
pub(crate) struct PeerCell<'a> {
    pub(crate) peer: &'a dyn StorePeer,
    pub(crate) durable: bool,
    pub(crate) workload: Workload,
    pub(crate) threads: usize,
    pub(crate) input: &'a Prepared,
    pub(crate) next_pass: NextPass<'a>,
    /// When the process began.
    pub(crate) begun: Instant,
    pub(crate) dir: PathBuf,
    /// Where the processes of one run keep closed stores with the same batches.
    pub(crate) engines: PathBuf,
}

/// A store after the timed work, and the values that one repetition wrote or read.
struct Done<'a> {
    open: Box<dyn OpenPeer>,
    /// What it takes on disk. A copy that is read has no holes in its files, so this is the store that was copied.
    on_disk: PathBuf,
    passes: Passes<'a>,
    /// `None` if these are the values of the whole dataset.
    values: Option<u64>,
}

impl PeerCell<'_> {
    pub(crate) fn run(&self) -> Result<Outcome> {
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir)?;
        }
        let model = Model::of(&self.input.batches()?)?;
        let done = match self.workload {
            Workload::Ingest => self.ingest(),
            Workload::Scan => self.scan(),
            Workload::Range => self.range(&model),
            other => Err(format!("a store of another project does not run {}", other.name()).into()),
        };
        self.finish(done?, &model)
    }

    fn ingest(&self) -> Result<Done<'_>> {
        let batches = self.input.batches()?;
        let prepared = self.prepared(&batches);
        let mut passes = Passes::begin(self.next_pass);
        loop {
            let open = self.fresh(self.durable)?;
            let write = || write(&*open, &batches, &prepared, self.threads);
            let (spent, done) = timed_with(open.process(), write);
            done?;
            if passes.add(spent)? {
                return Ok(Done { open, on_disk: self.place(), passes, values: None });
            }
            open.close()?;
        }
    }

    fn scan(&self) -> Result<Done<'_>> {
        let (open, on_disk) = self.filled()?;
        scan(&*open)?;
        let mut passes = Passes::begin(self.next_pass);
        loop {
            let (spent, values) = timed_with(open.process(), || scan(&*open));
            let values = Some(values?);
            if passes.add(spent)? {
                return Ok(Done { open, on_disk, passes, values });
            }
        }
    }

    fn range(&self, model: &Model) -> Result<Done<'_>> {
        let (open, on_disk) = self.filled()?;
        let queries = model.queries()?;
        let expected: u64 = queries.iter().map(|query| model.values_in(query, self.peer)).sum();
        let run = || query(&*open, &queries, self.threads);
        run()?;
        let mut passes = Passes::begin(self.next_pass);
        loop {
            let (spent, values) = timed_with(open.process(), run);
            let values = values?;
            if values != expected {
                return Err(format!("queries return {values} values of {expected}").into());
            }
            if passes.add(spent)? {
                return Ok(Done { open, on_disk, passes, values: Some(values) });
            }
        }
    }

    fn place(&self) -> PathBuf {
        self.dir.join("store")
    }

    fn prepared(&self, batches: &[Batch<'_>]) -> Vec<Vec<u8>> {
        batches.iter().map(|batch| self.peer.prepare(batch)).collect()
    }

    /// A store in an empty directory.
    fn fresh(&self, durable: bool) -> Result<Box<dyn OpenPeer>> {
        let dir = self.place();
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        self.peer.open(&dir, durable)
    }

    /// An open copy of a store with the dataset in files, and the store, which this or an earlier process has filled.
    fn filled(&self) -> Result<(Box<dyn OpenPeer>, PathBuf)> {
        let made = self.engines.join(format!("store {}", self.peer.name()));
        if !made.exists() {
            let open = self.fresh(false)?;
            let batches = self.input.batches()?;
            write(&*open, &batches, &self.prepared(&batches), 1)?;
            open.flush()?;
            open.close()?;
            fs::create_dir_all(&self.engines)?;
            OsFs.rename(&self.place(), &made)?;
        }
        copy_dir(&made, &self.place())?;
        Ok((self.peer.open(&self.place(), false)?, made))
    }

    /// Reads all values back, closes the store, and measures its directory. Not timed.
    fn finish(&self, done: Done<'_>, model: &Model) -> Result<Outcome> {
        let Done { open, on_disk, passes, values } = done;
        let peak_rss_mib = peak_rss_mib_of(open.process());
        let (contents, exact) = model.check(self.peer, &*open)?;
        open.close()?;
        Ok(Outcome {
            setup_seconds: self.begun.elapsed().as_secs_f64() - passes.total_seconds(),
            written_bytes: passes.written_bytes(),
            values: values.unwrap_or(contents.values),
            stored_values: contents.values,
            raw_bytes: contents.raw_bytes,
            disk_bytes: dir_space(&on_disk),
            log_bytes: 0,
            peak_rss_mib,
            digest: exact.then(|| format!("{:016x}", contents.digest)),
            passes: passes.into_passes(),
            latency: None,
        })
    }
}

/// Writes all batches. Each thread takes the next batch when it is free.
fn write(open: &dyn OpenPeer, batches: &[Batch<'_>], prepared: &[Vec<u8>], threads: usize) -> Result {
    let next = AtomicUsize::new(0);
    in_threads(threads, || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(batch) = batches.get(at) else { return Ok(()) };
            open.write(batch, &prepared[at])?;
        }
    })
}

/// Reads all points and returns the number of values.
fn scan(open: &dyn OpenPeer) -> Result<u64> {
    let mut values = 0;
    open.scan(&mut |_, column| values += column.len() as u64)?;
    Ok(values)
}

/// Runs the queries and returns the number of values that they read.
fn query(open: &dyn OpenPeer, queries: &[Query], threads: usize) -> Result<u64> {
    let (next, values) = (AtomicUsize::new(0), AtomicU64::new(0));
    in_threads(threads, || {
        while let Some(Query { keys, range }) = queries.get(next.fetch_add(1, Ordering::Relaxed)) {
            let keys: Vec<_> = keys.iter().map(|key| field_key(key)).collect::<Result<_>>()?;
            let fields: Vec<&[u8]> = keys.iter().map(|key| key.field).collect();
            let count = &mut |_: FieldKey<'_>, column: &Column| {
                values.fetch_add(column.len() as u64, Ordering::Relaxed);
            };
            open.range(SeriesKey(keys[0].series), &fields, *range, count)?;
        }
        Ok(())
    })?;
    Ok(values.into_inner())
}
