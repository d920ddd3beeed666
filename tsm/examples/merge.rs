//! Measures how fast files merge and read. It merges the TSM files of a directory in both modes, scans them key by
//! key, and reads one hour of one key at a time.
//!
//! ```text
//! cargo run --release -p tsmith-tsm --example merge -- DIR
//! ```
//!
//! It writes only to memory. Times are processor time. The files are read once before the measurement.

use std::error::Error;
use std::fs;
use std::ops::ControlFlow;
use std::time::Instant;

use tsmith_tsm::codecs::Tsm1;
use tsmith_tsm::{
    Bytes, Column, Cursor, Decoders, Deletions, Direction, FieldType, Filled, Merge, MergeInput, MergeMode,
    POINTS_PER_BLOCK, Reader, TimeRange, Version, Writer,
};

const HOUR: i64 = 3_600_000_000_000;
const QUERIES: u64 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: merge DIR")?;
    let mut paths: Vec<_> =
        fs::read_dir(directory)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "tsm"));
    paths.sort();
    let mut readers = Vec::new();
    for path in &paths {
        readers.push(Reader::new(Bytes::from(fs::read(path)?))?);
    }
    let values = scan(&readers)?.0;
    let (_, seconds) = scan(&readers)?;
    println!(
        "scan of {} files: {values} values, {:.2} ns per value",
        readers.len(),
        seconds * 1e9 / values as f64
    );
    ranges(&readers, "inputs")?;
    let mut merged = Vec::new();
    for mode in [MergeMode::Fast, MergeMode::Full] {
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let begun = Instant::now();
            merged = merge(&readers, mode)?;
            best = best.min(begun.elapsed().as_secs_f64());
        }
        let bytes: u64 = merged.iter().map(Reader::file_bytes).sum();
        println!(
            "{mode:?} merge: {:.3} s, {:.2} ns per value, {:.4} bytes per value",
            best,
            best * 1e9 / values as f64,
            bytes as f64 / values as f64
        );
    }
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        best = best.min(scan(&merged)?.1);
    }
    println!("scan of the full merge: {:.2} ns per value", best * 1e9 / values as f64);
    ranges(&merged, "the full merge")
}

fn merge(readers: &[Reader], mode: MergeMode) -> Result<Vec<Reader>, Box<dyn Error>> {
    let none = Deletions::new();
    let inputs = readers.iter().map(|reader| MergeInput { reader, deletions: &none }).collect();
    let mut merge = Merge::new(inputs, mode, POINTS_PER_BLOCK, Tsm1::default(), Decoders::standard());
    let mut out = Vec::new();
    loop {
        let mut writer = Writer::new(Vec::new(), Version::Influx);
        let filled = merge.fill(&mut writer, &mut |_| ControlFlow::Continue(()))?;
        out.push(Reader::new(Bytes::from(writer.finish()?.0))?);
        if filled == Filled::All {
            return Ok(out);
        }
    }
}

/// Values and seconds.
fn scan(readers: &[Reader]) -> Result<(u64, f64), Box<dyn Error>> {
    let begun = Instant::now();
    let (mut cursor, mut decoder) = (Cursor::new(TimeRange::ALL, Direction::Ascending), Tsm1::default());
    let (mut batch, mut values) = (Column::new(FieldType::Float), 0);
    for key in readers.first().into_iter().flat_map(Reader::keys) {
        cursor.reset(TimeRange::ALL, Direction::Ascending);
        for reader in readers {
            cursor.add_file(reader, key.key(), &[])?;
        }
        while cursor.next(&mut decoder, &mut batch)? {
            values += batch.len() as u64;
        }
    }
    Ok((values, begun.elapsed().as_secs_f64()))
}

fn ranges(readers: &[Reader], what: &str) -> Result<(), Box<dyn Error>> {
    let first = readers.first().ok_or("no files")?;
    let min = readers.iter().map(|reader| reader.range().min).min().unwrap_or(0);
    let max = readers.iter().map(|reader| reader.range().max).max().unwrap_or(0);
    let Some(span) = (max - min).checked_sub(HOUR).filter(|span| *span > 0) else { return Ok(()) };
    let keys: Vec<&[u8]> = first.keys().map(tsmith_tsm::KeyEntry::key).collect();
    let (mut cursor, mut decoder) = (Cursor::new(TimeRange::ALL, Direction::Ascending), Tsm1::default());
    let (mut batch, mut values, mut micros) = (Column::new(FieldType::Float), 0, Vec::new());
    let mut random = 7_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    for _ in 0..QUERIES {
        let key = keys[next() as usize % keys.len()];
        let from = min + (next() as i64).wrapping_mul(1_000_003) % span;
        let begun = Instant::now();
        cursor.reset(TimeRange::new(from, from + HOUR), Direction::Ascending);
        for reader in readers {
            cursor.add_file(reader, key, &[])?;
        }
        while cursor.next(&mut decoder, &mut batch)? {
            values += batch.len() as u64;
        }
        micros.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    micros.sort_by(f64::total_cmp);
    println!(
        "one hour of one key of {what}: {} values, p50 {:.2} us, p99 {:.2} us",
        values / QUERIES,
        micros[micros.len() / 2],
        micros[micros.len() * 99 / 100]
    );
    Ok(())
}
