//! Opens an engine by the names of its parts, and the same directory by their types.
//!
//! `cargo run -p tsmith-engine --example parts_by_name -- DIR [STORER/LOG/ENCODER]`

use std::error::Error;
use std::path::PathBuf;

use tsmith_engine::parts::{FileLog, Parts, Ring, Tsm1};
use tsmith_engine::{Dirs, Engine, FieldKey, LineOptions, Manifest, Options, Registry, TimeRange, Timestamp};
use tsmith_wal::fs::OsFs;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("expected a directory")?);
    let parts: Parts = arguments.next().as_deref().unwrap_or("ring/file/tsm1").parse()?;
    let key = FieldKey::new(b"room,floor=2", b"temp");

    // By name: every engine has the same type, and each call of a part is a virtual call. Parts of other
    // crates are added to the registry, for example with `.encoder::<Mine>("mine", "my encoder")`.
    let registry = Registry::standard();
    for storer in registry.storers() {
        println!("storer {}: {}", storer.name(), storer.summary());
    }
    let shard = registry.open(&parts, Dirs::under(&dir), Options::default())?;
    let report = shard.write_lines(b"room,floor=2 temp=21.5 1000", &LineOptions::new(Timestamp(0)))?;
    println!("{} points written to {parts}", report.points);
    shard.close()?;

    // The manifest stores the names, so later openings need none.
    let made_with = Manifest::read(&OsFs, &dir)?.ok_or("the directory has no manifest")?.parts;

    // By type: the compiler inlines calls, and the program contains only these parts.
    if made_with == Parts::default() {
        let shard = Engine::<Ring, FileLog, Tsm1>::open(Dirs::under(&dir), Options::default())?;
        println!("{:?}", shard.read(key, TimeRange::ALL)?);
        shard.close()?;
    }
    Ok(())
}
