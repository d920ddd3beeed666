//! `engine`: writes in calls of 5000 points, and a snapshot after each eighth of the data.
//!
//! Floor: `--wal=false`, which is the log `null`, and the storer `empty`. The directory stays for `read`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use tsmith_codecs::Batch;

use super::wal::batch_of;
use crate::Result;
use crate::door::{Setup, Store};
use crate::inputs::{Devops, FIELDS, Kind};
use crate::matrix::names;
use crate::measure::{Spent, dir_size, peak_rss_mib, timed};
use crate::row::Row;
use crate::workload::in_threads;

/// Points of one call.
const CALL_POINTS: usize = 5000;

/// Writes generated points to an engine, and snapshots them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scratch directory; kept, `read` uses it.
    #[arg(long)]
    dir: PathBuf,
    /// How many hosts.
    #[arg(long, default_value_t = 1000)]
    hosts: usize,
    /// Floats with two decimals, or whole integers.
    #[arg(long, value_enum, default_value_t = Kind::F2)]
    kind: Kind,
    /// How many points, of ten values each.
    #[arg(long, default_value_t = 864_000)]
    points: usize,
    /// Write the log; without it the log is `null`.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    wal: bool,
    /// How many threads write.
    #[arg(long, default_value_t = 1)]
    g: usize,
    /// How many snapshots.
    #[arg(long, default_value_t = 8)]
    snapshots: usize,
    /// Parse line protocol inside the timed part.
    #[arg(long)]
    text: bool,
    /// The peer's driver compacts at the end unless this is false; taken so that one script can call both.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    compact: Option<bool>,
    /// The storer.
    #[arg(long, default_value = "ring", value_parser = names::storer)]
    storer: String,
    /// The log.
    #[arg(long, default_value = "file", value_parser = names::log)]
    log: String,
    /// The encoder.
    #[arg(long, default_value = "tsm1", value_parser = names::encoder)]
    encoder: String,
    /// The order of log and cache.
    #[arg(long, default_value = "sync-then-publish", value_parser = names::order)]
    order: String,
    /// The durability of the log.
    #[arg(long, default_value = "group", value_parser = names::durability)]
    durability: String,
}

pub(crate) fn run(args: &Args) -> Result {
    let log = if args.wal { args.log.as_str() } else { "null" };
    let setup = Setup {
        storer: &args.storer,
        log,
        encoder: &args.encoder,
        order: &args.order,
        durability: &args.durability,
    };
    let store = Store::open(setup, &args.dir)?;
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
        Row::new(bench)
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
    Ok(())
}
