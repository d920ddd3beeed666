//! Writes a TSM file that InfluxDB 1.x can read, then reads it back and prints it.
//!
//! ```text
//! cargo run -p tsmith-tsm --example write_and_read -- 000000001-000000001.tsm
//! ```

use std::error::Error;
use std::fs::{self, File};
use std::io::BufWriter;

use tsmith_tsm::codecs::{Tsm1, Values};
use tsmith_tsm::{BlockEncoder, Bytes, Column, Reader, TimeRange, Version, Writer};

/// The number of points that InfluxDB puts into one block.
const POINTS_PER_BLOCK: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "000000001-000000001.tsm".to_owned());
    write(&path)?;
    read(&path)
}

/// Keys in ascending order, each with blocks in order of time.
fn write(path: &str) -> Result<(), Box<dyn Error>> {
    let times: Vec<i64> =
        (0..2500).map(|second| 1_600_000_000_000_000_000 + second * 1_000_000_000).collect();
    let usage = Values::Float(times.iter().map(|time| (time % 7919) as f64 / 100.0).collect());
    let users = Values::Integer(times.iter().map(|time| time / 1_000_000_000 % 17).collect());
    let columns = [("cpu,host=a#!~#usage", usage), ("login,host=a#!~#users", users)];

    let mut encoder = Tsm1::default();
    let mut writer = Writer::new(BufWriter::new(File::create_new(path)?), Version::of(&Tsm1::default()));
    let mut block = Vec::new();
    for (key, values) in columns {
        let column = Column::from_parts(times.clone(), values).ok_or("as many values as times")?;
        for from in (0..column.len()).step_by(POINTS_PER_BLOCK) {
            let to = column.len().min(from + POINTS_PER_BLOCK);
            let points = column.as_ref().slice(from..to);
            block.clear();
            encoder.encode(points, &mut block)?;
            let range = TimeRange::new(times[from], times[to - 1]);
            writer.write_block(key.as_bytes(), points.field_type(), range, &block)?;
        }
    }
    let (_, summary) = writer.finish()?;
    println!("wrote {} keys, {} blocks, {} bytes", summary.keys, summary.blocks, summary.file_bytes);
    Ok(())
}

/// Without unsafe code a file is read into memory. An engine that owns its directory maps it.
fn read(path: &str) -> Result<(), Box<dyn Error>> {
    let reader = Reader::new(Bytes::from(fs::read(path)?))?;
    let mut column = Column::new(tsmith_tsm::FieldType::Float);
    for key in reader.keys() {
        println!("{} ({})", String::from_utf8_lossy(key.key()), key.field_type());
        for entry in key.entries() {
            reader.read_block(key, entry, &mut Tsm1::default(), POINTS_PER_BLOCK, &mut column)?;
            let first = column.as_ref().values().get(0);
            println!("  {} points from {}, the first is {first:?}", column.len(), entry.range.min);
        }
    }
    Ok(())
}
