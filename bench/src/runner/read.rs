//! `read`: full scans and range queries of the files that `engine` wrote, from the page cache.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tsmith_codecs::{Column, FieldKey, FieldType, TimeRange};
use tsmith_engine::Registry;

use crate::adapter::{Store, field_key};
use crate::error::Result;
use crate::inputs::Rng;
use crate::json_line::JsonLine;
use crate::measure::{dir_size, percentile, timed};
use crate::workload::in_threads;

/// Length of a range query, in nanoseconds.
const HOUR: i64 = 3_600_000_000_000;

/// Scans and queries the directory that `engine` wrote.
///
/// Example: tsmith-bench read --dir scratch
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that `engine` wrote.
    #[arg(long)]
    dir: PathBuf,
    /// Number of range queries.
    #[arg(long, default_value_t = 20_000)]
    queries: usize,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Result {
    let (opened, store) = timed(|| Store::reopen(registry, &args.dir));
    let store = store?;
    let composite = store.keys();
    let keys = composite.iter().map(|key| field_key(key)).collect::<Result<Vec<_>>>()?;
    let (bytes, _) = dir_size(&args.dir, "tsm");
    if bytes == 0 || keys.is_empty() {
        return Err(format!(
            "{}: no .tsm file with a key; `tsmith-bench engine` writes some",
            args.dir.display()
        )
        .into());
    }
    let mut times = TimeRange::ALL;
    for threads in [1, 2] {
        let (_, range) = scan(&store, &keys, threads)?;
        times = range;
        let (spent, done) = timed(|| scan(&store, &keys, threads));
        let (values, _) = done?;
        JsonLine::new("read-scan")
            .with("files", store.file_count())
            .with("MB", bytes as f64 / 1e6)
            .with("open_ms", opened.seconds * 1000.0)
            .with("goroutines", threads)
            .with("values", values)
            .with("Mvalues_per_s", values as f64 / spent.seconds / 1e6)
            .with("file_MB_per_s", bytes as f64 / spent.seconds / 1e6)
            .with("cpu_s_per_Mvalues", spent.cpu_seconds / values as f64 * 1e6)
            .print();
    }
    if times.max - times.min > HOUR {
        ranges(&store, &keys, times, args.queries)?;
    }
    store.close()
}

/// Reads every key. Returns the number of values and their time range.
fn scan(store: &Store, keys: &[FieldKey<'_>], threads: usize) -> Result<(u64, TimeRange)> {
    let (next, total) = (AtomicUsize::new(0), AtomicU64::new(0));
    let (min, max) = (AtomicI64::new(i64::MAX), AtomicI64::new(i64::MIN));
    in_threads(threads, || {
        let (mut reader, mut column) = (store.reader(), Column::new(FieldType::Float));
        while let Some(&key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut values = 0;
            reader.scan(key, TimeRange::ALL, &mut column, |batch| {
                values += batch.len() as u64;
                if let [first, .., last] = batch.times() {
                    min.fetch_min(*first, Ordering::Relaxed);
                    max.fetch_max(*last, Ordering::Relaxed);
                }
            })?;
            total.fetch_add(values, Ordering::Relaxed);
        }
        Ok(())
    })?;
    Ok((total.into_inner(), TimeRange::new(min.into_inner(), max.into_inner())))
}

/// Queries one hour of one field, with a random key and start each time.
fn ranges(store: &Store, keys: &[FieldKey<'_>], times: TimeRange, queries: usize) -> Result {
    let mut rng = Rng::named("queries");
    let (mut reader, mut column) = (store.reader(), Column::new(FieldType::Float));
    let (mut latencies, mut values) = (Vec::with_capacity(queries), 0);
    for _ in 0..queries {
        let key = keys[rng.below(keys.len() as u64) as usize];
        let from = times.min + rng.below((times.max - times.min - HOUR) as u64) as i64;
        let begun = Instant::now();
        reader.read(key, TimeRange::new(from, from + HOUR), &mut column)?;
        latencies.push(begun.elapsed().as_secs_f64() * 1e6);
        values += column.len();
    }
    latencies.sort_by(f64::total_cmp);
    JsonLine::new("read-range-1h")
        .with("files", store.file_count())
        .with("queries", queries)
        .with("values_per_query", values as f64 / queries as f64)
        .with("p50_us", percentile(&latencies, 50))
        .with("p99_us", percentile(&latencies, 99))
        .print();
    Ok(())
}
