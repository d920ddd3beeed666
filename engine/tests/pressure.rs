//! A full cache: who waits gets room, and nobody waits for ever.

use std::thread;
use std::time::Duration;

use tsmith_engine::parts::{FileLog, Ring, Tsm1};
use tsmith_engine::{Dirs, Engine, LineOptions, Options, Timestamp, WhenFull};

type Shard = Engine<Ring, FileLog, Tsm1>;

fn open(dir: &tempfile::TempDir, wait: Duration, background: bool) -> Shard {
    let when_full = WhenFull::Wait(wait);
    let options = Options { cache_bytes_max: Some(1 << 20), when_full, background, ..Options::default() };
    Shard::open(Dirs::under(dir.path()), options).expect("a new directory")
}

fn line(time: i64, bytes: usize) -> Vec<u8> {
    format!("m s=\"{}\" {time}\n", "x".repeat(bytes)).into_bytes()
}

/// Story: the second line did not fit beside the first, which alone was no reason for a snapshot; it waited for minutes.
#[test]
fn a_writer_that_waits_for_room_gets_a_snapshot() {
    let dir = tempfile::tempdir().expect("a directory");
    let shard = open(&dir, Duration::from_mins(2), true);
    for (time, bytes) in [(1, 240_000), (2, 900_000)] {
        let report =
            shard.write_lines(&line(time, bytes), &LineOptions::new(Timestamp(0))).expect("room in the end");
        assert!(report.ack.is_some());
    }
    assert_eq!(shard.files().len(), 1);
    shard.close().expect("in order");
}

#[test]
fn a_writer_that_waits_is_told_when_the_engine_closes() {
    let dir = tempfile::tempdir().expect("a directory");
    let shard = open(&dir, Duration::from_mins(10), false);
    let report = shard.write_lines(&line(1, 900_000), &LineOptions::new(Timestamp(0))).expect("room");
    assert!(report.ack.is_some());
    let waiting = shard.clone();
    let writer =
        thread::spawn(move || waiting.write_lines(&line(2, 900_000), &LineOptions::new(Timestamp(0))).err());
    thread::sleep(Duration::from_millis(50));
    shard.close().expect("in order");
    assert!(writer.join().expect("no panic").is_some(), "it was not written");
}
