//! Measures how long it takes to open files, and how much memory an open file takes.
//!
//! ```text
//! cargo run --release -p tsmith-tsm --example open -- DIR FILES KEYS BLOCKS
//! ```
//!
//! Writes FILES files into DIR, each with KEYS keys of BLOCKS blocks, unless they exist. Opens all of them, and looks
//! up a thousand keys in each of the first files. DIR is kept for another run.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tsmith_tsm::codecs::Tsm1;
use tsmith_tsm::{BlockEncoder, Bytes, Column, FieldType, Reader, TimeRange, Version, Writer};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, numbers @ ..] = &arguments[..] else {
        return Err("usage: open DIR FILES KEYS BLOCKS".into());
    };
    let numbers: Vec<u64> = numbers.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let &[files, keys, blocks] = &numbers[..] else { return Err("usage: open DIR FILES KEYS BLOCKS".into()) };
    let directory = PathBuf::from(directory);
    fs::create_dir_all(&directory)?;
    for file in 1..=files {
        let path = path(&directory, file);
        if !path.exists() {
            write(&path, keys, blocks)?;
        }
    }

    let before = resident_kib();
    let begun = Instant::now();
    let mut readers = Vec::new();
    let mut bytes = 0;
    for file in 1..=files {
        // Read instead of mapped, so that the memory of the reader can be measured.
        let content = Bytes::from(fs::read(path(&directory, file))?);
        bytes += content.len();
        readers.push(content);
    }
    let read = begun.elapsed();
    let loaded = resident_kib();
    let begun = Instant::now();
    let readers: Vec<Reader> = readers.into_iter().map(Reader::new).collect::<Result<_, _>>()?;
    let opened = begun.elapsed();
    let open = resident_kib();

    let begun = Instant::now();
    let mut found = 0_u64;
    for i in 0..1000 {
        let number = i * 7_919 % keys;
        found += readers.iter().take(10).filter(|reader| reader.find(&key(number)).is_some()).count() as u64;
    }
    let lookups = 1000 * readers.len().min(10) as u64;
    assert_eq!(found, lookups, "every key is there");
    println!(
        "{{\"files\": {files}, \"keys\": {}, \"blocks\": {}, \"MB\": {:.1}, \"read_ms\": {:.1}, \"open_ms\": {:.1}, \
         \"content_MiB\": {}, \"readers_MiB\": {}, \"lookup_us\": {:.3}}}",
        files * keys,
        files * keys * blocks,
        bytes as f64 / 1e6,
        read.as_secs_f64() * 1e3,
        opened.as_secs_f64() * 1e3,
        (loaded - before) / 1024,
        open.saturating_sub(loaded) / 1024,
        begun.elapsed().as_secs_f64() * 1e6 / lookups as f64,
    );
    Ok(())
}

fn path(directory: &Path, file: u64) -> PathBuf {
    directory.join(format!("{file:09}-000000001.tsm"))
}

fn key(number: u64) -> Vec<u8> {
    format!("cpu,host=host_{number:08},region=eu#!~#usage").into_bytes()
}

fn write(path: &Path, keys: u64, blocks: u64) -> Result<(), Box<dyn Error>> {
    let mut column = Column::new(FieldType::Float);
    for time in 0..3 {
        column.push(time, tsmith_tsm::codecs::Value::Float(0.5)).expect("one type");
    }
    let mut block = Vec::new();
    Tsm1::default().encode(column.as_ref(), &mut block)?;
    let mut writer = Writer::new(BufWriter::new(File::create(path)?), Version::Influx);
    for number in 0..keys {
        let key = key(number);
        for i in 0..blocks as i64 {
            // This measurement does not need index times that agree with the block.
            writer.write_block(&key, FieldType::Float, TimeRange::new(3 * i, 3 * i + 2), &block)?;
        }
    }
    let (mut out, _) = writer.finish()?;
    out.flush()?;
    Ok(())
}

/// Resident memory of this process, or 0 if the system does not report it.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
