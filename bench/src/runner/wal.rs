//! `wal`: appends batches to a log and waits until each is durable.
//!
//! The log `null` gives the floor. `wal-nosync` measures the processor's part only: encode, compress, write without fsync.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tsmith_codecs::{Batch, BatchBuilder, Timestamp};
use tsmith_engine::Registry;
use tsmith_engine::line::{AnySchema, LineOptions, parse};
use tsmith_wal::entry::Entry;
use tsmith_wal::fs::OsFs;
use tsmith_wal::{Compression, Durability, DynLog, LogEntry, LogOptions, Position, Replay};

use crate::error::Result;
use crate::inputs::{Devops, Kind};
use crate::json_line::JsonLine;
use crate::measure::{percentile, timed};
use crate::workload::in_threads;

/// A run ends after this many bytes before compression.
const RAW_BYTES_MAX: u64 = 1 << 30;

/// Number of different batches of a run.
const BATCHES: usize = 64;

/// Points of the run without fsync.
const NOSYNC_POINTS: usize = 200_000;

/// Appends batches to a log and waits until each is durable.
///
/// Example: tsmith-bench wal --dir scratch --log file,native
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scratch directory, on the disk to be measured.
    #[arg(long)]
    dir: PathBuf,
    /// Number of hosts.
    #[arg(long, default_value_t = 1000)]
    hosts: usize,
    /// Duration of one run.
    #[arg(long, default_value = "4s", value_parser = crate::duration::duration)]
    limit: Duration,
    /// Logs to time.
    #[arg(long, value_delimiter = ',', default_value = "file")]
    log: Vec<String>,
    /// One fsync for all waiting calls (group), or one for each call (each).
    #[arg(long, default_value = "group", value_parser = durable)]
    durability: Durability,
    /// Compression in the log `native`: none, lz4 or zstd.
    #[arg(long, default_value = "none", value_parser = compression)]
    compression: Compression,
    /// Space that a new segment allocates: whole or none.
    #[arg(long, default_value = "whole", value_parser = preallocate)]
    preallocate: Preallocate,
    /// Points per call.
    #[arg(long, value_delimiter = ',', default_value = "5000,100,1")]
    points: Vec<usize>,
    /// Numbers of threads; calls of 5000 points and more run with at most four.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,16")]
    g: Vec<usize>,
}

fn durable(text: &str) -> Result<Durability, String> {
    match text {
        "group" => Ok(Durability::Group),
        "each" => Ok(Durability::Each),
        _ => Err(format!("there is no durable mode `{text}`. Use group or each")),
    }
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "none" => Ok(Compression::Stored),
        "lz4" => Ok(Compression::Lz4),
        "zstd" => Ok(Compression::Zstd),
        _ => Err(format!("there is no compression `{text}`. Use none, lz4 or zstd")),
    }
}

/// How much space a new segment allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preallocate {
    Whole,
    None,
}

fn preallocate(text: &str) -> Result<Preallocate, String> {
    match text {
        "whole" => Ok(Preallocate::Whole),
        "none" => Ok(Preallocate::None),
        _ => Err(format!("cannot preallocate `{text}`. Use whole or none")),
    }
}

impl Args {
    fn options(&self) -> LogOptions {
        LogOptions {
            compression: self.compression,
            preallocate: self.preallocate == Preallocate::Whole,
            ..LogOptions::default()
        }
    }
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Result {
    for name in &args.log {
        let log = registry.find_log(name)?;
        for &points in &args.points {
            let texts = Devops::new(args.hosts, Kind::F2).batches(points * BATCHES, points);
            let batches: Vec<Batch<'_>> = texts.iter().map(|text| batch_of(text)).collect();
            for &threads in args.g.iter().filter(|&&threads| points < 5000 || threads <= 4) {
                let dir = args.dir.join(format!("wal-{name}-{points}-{threads}"));
                let job = Synced { args, log, points, batches: &batches, threads, dir: &dir };
                let done = job.run();
                fs::remove_dir_all(&dir)?;
                done?;
            }
        }
        let dir = args.dir.join(format!("wal-{name}-nosync"));
        let done = Unsynced { args, log, dir: &dir }.run();
        fs::remove_dir_all(&dir)?;
        done?;
    }
    Ok(())
}

/// Parses line protocol into a batch.
pub(super) fn batch_of(text: &[u8]) -> Batch<'_> {
    let mut builder = BatchBuilder::new();
    let rejected = parse(text, &LineOptions::new(Timestamp(0)), &mut AnySchema, &mut builder);
    assert!(rejected.is_empty(), "generated lines are valid");
    builder.finish()
}

/// Total length and number of the log's segments in `dir`.
pub(super) fn segments(log: &LogEntry<OsFs>, dir: &Path) -> Result<(u64, usize)> {
    let mut total = (0, 0);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if log.kind().is_segment(&entry.file_name()) {
            total = (total.0 + entry.metadata()?.len(), total.1 + 1);
        }
    }
    Ok(total)
}

/// Creates a log without records.
pub(super) fn fresh(log: &LogEntry<OsFs>, dir: &Path, options: LogOptions) -> Result<Box<DynLog<OsFs>>> {
    fs::create_dir_all(dir)?;
    let (log, _) = log.kind().open(OsFs, dir, options, &mut Nothing)?;
    Ok(log)
}

/// Ignores replayed records.
struct Nothing;

impl Replay for Nothing {
    fn entry(&mut self, _: Position, _: &Entry<'_>) -> tsmith_wal::Result<()> {
        Ok(())
    }
}

/// Lengths of the payloads before compression.
fn payload_lens(log: &DynLog<OsFs>, batches: &[Batch<'_>]) -> Result<Vec<usize>> {
    let len = |batch| {
        let mut payload = Vec::new();
        log.layout().encode_write(batch, &mut payload)?;
        Ok(payload.len())
    };
    batches.iter().map(len).collect()
}

struct Synced<'a> {
    args: &'a Args,
    log: &'a LogEntry<OsFs>,
    points: usize,
    batches: &'a [Batch<'a>],
    threads: usize,
    dir: &'a Path,
}

impl Synced<'_> {
    fn run(self) -> Result {
        let log = fresh(
            self.log,
            self.dir,
            LogOptions { durability: self.args.durability, ..self.args.options() },
        )?;
        let (next, raw, values) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let lens = payload_lens(&*log, self.batches)?;
        let latencies = Mutex::new(Vec::new());
        let begun = Instant::now();
        in_threads(self.threads, || {
            let mut mine = Vec::new();
            while begun.elapsed() < self.args.limit && raw.load(Ordering::Relaxed) < RAW_BYTES_MAX {
                let place = next.fetch_add(1, Ordering::Relaxed) % self.batches.len();
                let batch = &self.batches[place];
                let call = Instant::now();
                let at = log.append_write(batch)?;
                let _durable = log.sync(at)?;
                mine.push(call.elapsed().as_secs_f64() * 1000.0);
                raw.fetch_add(lens[place] as u64, Ordering::Relaxed);
                values.fetch_add(batch.value_count() as u64, Ordering::Relaxed);
            }
            latencies.lock().expect("no thread panicked").append(&mut mine);
            Ok(())
        })?;
        let seconds = begun.elapsed().as_secs_f64();
        let metrics = log.metrics();
        log.close()?;
        let mut latencies = latencies.into_inner().expect("no thread panicked");
        latencies.sort_by(f64::total_cmp);
        let disk = segments(self.log, self.dir)?.0;
        JsonLine::new("wal")
            .with("log", self.log.name())
            .with("points_per_write", self.points)
            .with("fsync_delay_ms", 0)
            .with("goroutines", self.threads)
            .with("calls_per_s", latencies.len() as f64 / seconds)
            .with("Mvalues_per_s", values.into_inner() as f64 / seconds / 1e6)
            .with("raw_MB_per_s", raw.into_inner() as f64 / seconds / 1e6)
            .with("disk_MB_per_s", disk as f64 / seconds / 1e6)
            .with("p50_ms", percentile(&latencies, 50))
            .with("p99_ms", percentile(&latencies, 99))
            .with("syncs", metrics.syncs)
            .with("sync_mean_us", metrics.sync_micros.mean())
            .with("group_mean", metrics.group_records.mean())
            .print();
        Ok(())
    }
}

struct Unsynced<'a> {
    args: &'a Args,
    log: &'a LogEntry<OsFs>,
    dir: &'a Path,
}

impl Unsynced<'_> {
    fn run(self) -> Result {
        let texts = Devops::new(self.args.hosts, Kind::F2).batches(NOSYNC_POINTS, 5000);
        let batches: Vec<Batch<'_>> = texts.iter().map(|text| batch_of(text)).collect();
        let values: usize = batches.iter().map(Batch::value_count).sum();
        let log =
            fresh(self.log, self.dir, LogOptions { durability: Durability::None, ..self.args.options() })?;
        let raw: usize = payload_lens(&*log, &batches)?.iter().sum();
        let (spent, done) = timed(|| -> Result {
            for batch in &batches {
                let at = log.append_write(batch)?;
                let _handed_over = log.sync(at)?;
            }
            Ok(())
        });
        done?;
        log.close()?;
        let (disk, values) = (segments(self.log, self.dir)?.0, values as f64);
        JsonLine::new("wal-nosync")
            .with("log", self.log.name())
            .with("points_per_write", 5000)
            .with("Mvalues_per_s", values / spent.seconds / 1e6)
            .with("raw_MB_per_s", raw as f64 / spent.seconds / 1e6)
            .with("disk_MB_per_s", disk as f64 / spent.seconds / 1e6)
            .with("raw_bytes_per_value", raw as f64 / values)
            .with("disk_bytes_per_value", disk as f64 / values)
            .print();
        Ok(())
    }
}
