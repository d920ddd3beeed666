//! Measures how long it takes to save a batch of entries durably in etcd's format.
//!
//! ```text
//! cargo run --release -p tsmith-wal --example etcd_bench -- DIR SIZE BATCH SECS [sync|raw]
//! ```
//!
//! Each save has BATCH entries of SIZE bytes. `sync` is the default. `raw` measures the lower bound instead: one write and
//! one `fdatasync` of as many bytes. The output has the fields of a Go program that measures etcd's own package.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tsmith_wal::etcd::{Entry, EntryKind, HardState, Wal, WalOptions};
use tsmith_wal::fs::{Fs, FsFile, OsFs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, size, batch, secs, mode @ ..] = &arguments[..] else {
        return Err("usage: etcd_bench DIR SIZE BATCH SECS [sync|raw]".into());
    };
    let (size, batch): (usize, usize) = (size.parse()?, batch.parse()?);
    let run = Duration::from_secs_f64(secs.parse()?);
    let dir = Path::new(dir);
    std::fs::create_dir_all(dir)?;
    let mode = mode.first().map_or("sync", String::as_str);
    let name = if mode == "raw" { "raw-here" } else { "tsmith" };
    let mut us = if mode == "raw" { raw(dir, size, batch, run)? } else { saves(dir, size, batch, run)? };
    let total: f64 = us.iter().sum::<f64>() / 1e6;
    us.sort_by(f64::total_cmp);
    let rate = us.len() as f64 / total;
    println!(
        "{name} size={size} batch={batch} saves/s={rate:.0} entries/s={:.0} MB/s={:.2} p50us={:.1} p99us={:.0}",
        rate * batch as f64,
        rate * (batch * size) as f64 / 1e6,
        us[us.len() / 2],
        us[us.len() * 99 / 100],
    );
    Ok(())
}

type Times = Result<Vec<f64>, Box<dyn std::error::Error>>;

/// Warms up, then measures each call in microseconds.
fn timed(run: Duration, mut call: impl FnMut() -> Result<(), Box<dyn std::error::Error>>) -> Times {
    for _ in 0..20 {
        call()?;
    }
    let (start, mut us) = (Instant::now(), Vec::new());
    while start.elapsed() < run {
        let before = Instant::now();
        call()?;
        us.push(before.elapsed().as_secs_f64() * 1e6);
    }
    Ok(us)
}

fn saves(dir: &Path, size: usize, batch: usize, run: Duration) -> Times {
    let dir = dir.join("tsmith");
    drop(std::fs::remove_dir_all(&dir));
    let mut wal = Wal::create(OsFs, &dir, Some(b"bench"), WalOptions::default())?;
    let data = Bytes::from((0..size).map(|at| (at * 7 + 3) as u8).collect::<Vec<_>>());
    let mut index = 0;
    // The Go driver also builds the entries outside of the measured call.
    let entry = |_| Entry { kind: EntryKind::NORMAL, term: 1, index: 0, data: Some(data.clone()) };
    let mut entries: Vec<_> = (0..batch).map(entry).collect();
    let times = timed(run, || {
        let commit = index;
        for entry in &mut entries {
            index += 1;
            entry.index = index;
        }
        Ok(wal.save(&HardState { term: 1, vote: 1, commit }, &entries)?)
    });
    wal.close()?;
    std::fs::remove_dir_all(&dir)?;
    times
}

fn raw(dir: &Path, size: usize, batch: usize, run: Duration) -> Times {
    let path = dir.join("raw-here");
    let segment_bytes = WalOptions::default().segment_bytes;
    let begin = || -> std::io::Result<_> {
        drop(std::fs::remove_file(&path));
        let file = OsFs.create_new(&path)?;
        file.allocate(0..segment_bytes)?;
        Ok(file)
    };
    let bytes: Vec<u8> = (0..batch * (size + 36) + 32).map(|at| (at * 7 + 3) as u8).collect();
    let (mut file, mut at) = (begin()?, 0);
    let times = timed(run, || {
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        at += bytes.len() as u64;
        if at >= segment_bytes {
            (file, at) = (begin()?, 0);
        }
        Ok(())
    });
    std::fs::remove_file(&path)?;
    times
}
