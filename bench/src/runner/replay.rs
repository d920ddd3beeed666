//! `replay`: replays a log from the page cache into an empty cache.

use std::fs;
use std::path::{Path, PathBuf};

use tsmith_cache::{Cache, CacheOptions, StorerEntry};
use tsmith_codecs::Batch;
use tsmith_engine::Registry;
use tsmith_wal::entry::{self, Entry};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{Durability, LogEntry, LogOptions, Position, Replay};

use super::wal::{batch_of, fresh, segments};
use crate::error::Result;
use crate::inputs::{Devops, Kind};
use crate::json_line::JsonLine;
use crate::measure::{peak_rss_mib, timed};

/// Fills a log and replays it into an empty cache.
///
/// Example: tsmith-bench replay --dir scratch --log native
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scratch directory; removed at the end.
    #[arg(long)]
    dir: PathBuf,
    /// Number of hosts.
    #[arg(long, default_value_t = 1000)]
    hosts: usize,
    /// Bytes of the log before compression.
    #[arg(long, default_value_t = 500)]
    mb: usize,
    /// The log.
    #[arg(long, default_value = "file")]
    log: String,
    /// The storer of the cache.
    #[arg(long, default_value = "ring")]
    storer: String,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Result {
    let (log, storer) = (registry.find_log(&args.log)?, registry.find_storer(&args.storer)?);
    if !log.kind().keeps_records() {
        return Err(format!("the log `{}` keeps no records, so it cannot be replayed", args.log).into());
    }
    let done = fill_and_load(args, log, storer);
    fs::remove_dir_all(&args.dir)?;
    done
}

fn fill_and_load(args: &Args, log: &LogEntry<OsFs>, storer: &StorerEntry) -> Result {
    let filled = fresh(log, &args.dir, LogOptions { durability: Durability::None, ..LogOptions::default() })?;
    let mut devops = Devops::new(args.hosts, Kind::F2);
    let (mut plain, mut raw, mut values) = (Vec::new(), 0, 0);
    while raw < args.mb * 1_000_000 {
        let text = devops.batches(5000, 5000).concat();
        let batch = batch_of(&text);
        let at = filled.append_write(&batch)?;
        let _handed_over = filled.sync(at)?;
        // Counts bytes of InfluxDB's entries, for every log.
        plain.clear();
        entry::encode_write(&batch, &mut plain)?;
        raw += plain.len();
        values += batch.value_count();
    }
    filled.close()?;
    let full = Full { raw: raw as f64, values: values as f64, dir: &args.dir, log, storer };
    for _ in 0..3 {
        full.load()?;
    }
    full.decode_only()
}

/// A log on disk.
struct Full<'a> {
    raw: f64,
    values: f64,
    dir: &'a Path,
    log: &'a LogEntry<OsFs>,
    storer: &'a StorerEntry,
}

impl Full<'_> {
    /// Opens the log and passes every batch to `each`.
    fn replay(&self, each: impl FnMut(Position, &Batch<'_>) + Send) -> Result {
        let (log, _) = self.log.kind().open(OsFs, self.dir, LogOptions::default(), &mut Writes(each))?;
        Ok(log.close()?)
    }

    fn decode_only(&self) -> Result {
        let mut values = 0;
        let (spent, done) = timed(|| self.replay(|_, batch| values += batch.value_count()));
        done?;
        assert_eq!(values as f64, self.values, "every value comes back");
        JsonLine::new("replay-decode-only")
            .with("log", self.log.name())
            .with("raw_MB_per_s", self.raw / spent.seconds / 1e6)
            .with("Mvalues_per_s", self.values / spent.seconds / 1e6)
            .print();
        Ok(())
    }

    fn load(&self) -> Result {
        let storer = self.storer.clone();
        let (disk, segments) = segments(self.log, self.dir)?;
        let cache = Cache::with(CacheOptions::default(), move || storer.make());
        let (spent, done) = timed(|| {
            self.replay(|at, batch| {
                let admitted = cache.admit_replayed(batch).expect("the log holds one type a key");
                let _published = admitted.publish(at);
            })
        });
        done?;
        JsonLine::new("replay")
            .with("log", self.log.name())
            .with("storer", self.storer.name())
            .with("segments", segments)
            .with("raw_MB", self.raw / 1e6)
            .with("disk_MB", disk as f64 / 1e6)
            .with("seconds", spent.seconds)
            .with("raw_MB_per_s", self.raw / spent.seconds / 1e6)
            .with("Mvalues_per_s", self.values / spent.seconds / 1e6)
            .with("peak_rss_MB", peak_rss_mib())
            .print();
        Ok(())
    }
}

/// Passes on the batches of write records.
struct Writes<F>(F);

impl<F: FnMut(Position, &Batch<'_>) + Send> Replay for Writes<F> {
    fn entry(&mut self, at: Position, entry: &Entry<'_>) -> tsmith_wal::Result<()> {
        if let Entry::Write(batch) = entry {
            (self.0)(at, batch);
        }
        Ok(())
    }
}
