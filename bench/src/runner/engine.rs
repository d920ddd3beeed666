//! `engine`: writes 5000 points in each call and takes several snapshots. Then it runs a fast and a full compaction on copies
//! of the same files, and keeps the result of the full one.
//!
//! `--wal=false` (the log `null`) and the storer `empty` give the floor. The directory stays for `read`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use tsmith_codecs::Batch;
use tsmith_engine::Registry;

use super::wal::batch_of;
use crate::adapter::{Compact, Setup, Store};
use crate::error::Result;
use crate::inputs::{Devops, FIELDS, Kind};
use crate::json_line::JsonLine;
use crate::matrix::names;
use crate::measure::{Spent, dir_size, peak_rss_mib, timed};
use crate::workload::in_threads;

/// Points of one call.
const CALL_POINTS: usize = 5000;

/// Writes generated points to an engine, takes snapshots and compacts.
///
/// Example: tsmith-bench engine --dir scratch
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the engine. It is kept for `read`.
    #[arg(long)]
    dir: PathBuf,
    /// Number of hosts.
    #[arg(long, default_value_t = 1000)]
    hosts: usize,
    /// Type of the values: floats with two decimals, or integers.
    #[arg(long, value_enum, default_value_t = Kind::F2)]
    kind: Kind,
    /// Number of points; each has ten values.
    #[arg(long, default_value_t = 864_000)]
    points: usize,
    /// Write to the log; `false` uses the log `null`.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    wal: bool,
    /// Number of writing threads.
    #[arg(long, default_value_t = 1)]
    g: usize,
    /// Number of snapshots.
    #[arg(long, default_value_t = 8)]
    snapshots: usize,
    /// Parse line protocol in the timed part.
    #[arg(long)]
    text: bool,
    /// Compact at the end.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    compact: bool,
    /// The storer.
    #[arg(long, default_value = "ring")]
    storer: String,
    /// The log.
    #[arg(long, default_value = "file")]
    log: String,
    /// The encoder.
    #[arg(long, default_value = "tsm1")]
    encoder: String,
    /// The order of log and cache.
    #[arg(long, default_value = "sync-then-publish", value_parser = names::order)]
    order: String,
    /// The durability of the log.
    #[arg(long, default_value = "group", value_parser = names::durability)]
    durability: String,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Result {
    let log = if args.wal { args.log.as_str() } else { "null" };
    let setup = Setup {
        storer: &args.storer,
        log,
        encoder: &args.encoder,
        order: &args.order,
        durability: &args.durability,
        points_per_block: tsmith_tsm::POINTS_PER_BLOCK,
    };
    let store = Store::open(registry, setup, &args.dir)?;
    let mut devops = Devops::new(args.hosts, args.kind);
    let (mut writes, mut snapshots) = (Spent::default(), Spent::default());
    let (mut text_bytes, mut values) = (0, 0.0);
    for _ in 0..args.snapshots {
        let texts = devops.batches(args.points / args.snapshots, CALL_POINTS);
        text_bytes += texts.iter().map(Vec::len).sum::<usize>();
        values += (args.points / args.snapshots * FIELDS.len()) as f64;
        let batches: Vec<Batch<'_>> =
            if args.text { Vec::new() } else { texts.iter().map(|text| batch_of(text)).collect() };
        let next = AtomicUsize::new(0);
        let (spent, done) = timed(|| {
            in_threads(args.g, || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    match (texts.get(at), batches.get(at)) {
                        (None, _) => return Ok(()),
                        (_, Some(batch)) => store.write(batch)?,
                        (Some(text), None) => store.write_lines(text)?,
                    }
                }
            })
        });
        done?;
        writes += spent;
        let (spent, done) = timed(|| store.snapshot());
        done?;
        snapshots += spent;
    }
    store.close()?;
    let (file_bytes, _) = dir_size(&args.dir, "tsm");
    let row = |bench: &str| {
        JsonLine::new(bench)
            .with("storer", args.storer.as_str())
            .with("log", log)
            .with("encoder", args.encoder.as_str())
            .with("order", args.order.as_str())
            .with("durability", args.durability.as_str())
            .with("hosts", args.hosts)
            .with("kind", args.kind.name())
    };
    row("engine-write")
        .with("wal", args.wal)
        .with("text", args.text)
        .with("goroutines", args.g)
        .with("values", values as u64)
        .with("Mvalues_per_s", values / writes.seconds / 1e6)
        .with("lp_MB_per_s", text_bytes as f64 / writes.seconds / 1e6)
        .with("cpu_s_per_Mvalues", writes.cpu_seconds / values * 1e6)
        .print();
    row("engine-snapshot")
        .with("snapshots", args.snapshots)
        .with("seconds_each", snapshots.seconds / args.snapshots as f64)
        .with("Mvalues_per_s", values / snapshots.seconds / 1e6)
        .with("cpu_s_per_Mvalues", snapshots.cpu_seconds / values * 1e6)
        .with("bytes_per_value", file_bytes as f64 / values)
        .with("peak_rss_MB", peak_rss_mib())
        .print();
    if !args.compact {
        return Ok(());
    }
    let copy = args.dir.join("fast");
    link(&args.dir, &copy)?;
    for (bench, dir, what) in
        [("engine-compact-fast", &copy, Compact::Fast), ("engine-compact-full", &args.dir, Compact::Full)]
    {
        let store = Store::reopen(registry, dir)?;
        let files_in = store.file_count();
        let (spent, done) = timed(|| store.compact(what));
        done?;
        store.close()?;
        let (bytes_out, _) = dir_size(dir, "tsm");
        if what == Compact::Fast {
            std::fs::remove_dir_all(dir)?;
        }
        row(bench)
            .with("files_in", files_in)
            .with("seconds", spent.seconds)
            .with("cpu_seconds", spent.cpu_seconds)
            .with("Mvalues_per_s", values / spent.seconds / 1e6)
            .with("in_MB_per_s", file_bytes as f64 / spent.seconds / 1e6)
            .with("bytes_per_value", bytes_out as f64 / values)
            .with("peak_rss_MB", peak_rss_mib())
            .print();
    }
    Ok(())
}

/// Copies the files and the manifest to another directory, with an empty log.
fn link(from: &Path, to: &Path) -> Result {
    std::fs::create_dir_all(to.join("wal"))?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        if path.extension().is_some_and(|extension| extension == "tsm") {
            std::fs::hard_link(&path, to.join(name))?;
        } else if path.extension().is_some_and(|extension| extension == "manifest") {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
