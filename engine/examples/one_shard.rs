//! One shard: write, read, restart, snapshot. Run it twice on one directory, and the values are still there.
//!
//! `cargo run -p tsmith-engine --example one_shard -- DIR`

use std::error::Error;
use std::path::PathBuf;

use tsmith_engine::parts::{FileLog, Ring, Tsm1};
use tsmith_engine::{Dirs, Engine, FieldKey, LineOptions, Options, TimeRange, Timestamp};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("expected a directory")?);
    let shard = Engine::<Ring, FileLog, Tsm1>::open(Dirs::under(&dir), Options::default())?;
    println!("{} records replayed from the log", shard.recovery().records);

    let lines =
        b"room,floor=2 temp=21.5,open=false 1000\nroom,floor=2 temp=21.75 2000\nroom,floor=2 temp=? 3000\n";
    let report = shard.write_lines(lines, &LineOptions::new(Timestamp(0)))?;
    println!("{} points written", report.points);
    for rejected in &report.rejected {
        println!("rejected: {rejected}");
    }

    let temp = shard.read(FieldKey::new(b"room,floor=2", b"temp"), TimeRange::new(0, 1500))?;
    println!("until 1500: {temp:?}");
    let report = shard.snapshot()?;
    println!("{} values went to {:?}", report.values, report.files);
    shard.close()?;
    Ok(())
}
