//! Writes a few points to a log, stops without closing it, and reads them back.
//!
//! ```text
//! cargo run -p tsmith-wal --example append_and_replay -- /tmp/a-log
//! ```

use std::error::Error;
use std::path::PathBuf;

use tsmith_wal::entry::{self, Entry};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{BatchBuilder, FileLog, Log, LogOptions, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let dir: PathBuf = std::env::args_os().nth(1).ok_or("usage: append_and_replay DIR")?.into();

    let (log, _) = FileLog::open(OsFs, &dir, LogOptions::default(), |_, _| Ok(()))?;
    let mut points = BatchBuilder::new();
    for time in 0..3 {
        points.begin(b"cpu,host=a".into());
        points.field(b"usage".into(), Value::Float(0.5)).map_err(|conflict| format!("{conflict:?}"))?;
        points.commit(time);
    }
    let at = log.append_write(&points.finish())?;
    let durable = log.sync(at)?;
    println!("durable up to {}", durable.at().0);
    drop(log);

    let (log, recovery) = FileLog::open(OsFs, &dir, LogOptions::default(), |at, record| {
        if let Entry::Write(batch) = entry::decode(record.kind, record.payload)? {
            for (key, column) in batch.columns() {
                println!("{} {key} at {:?}", at.0, column.times());
            }
        }
        Ok(())
    })?;
    println!("{recovery:?}");
    log.close()?;
    Ok(())
}
