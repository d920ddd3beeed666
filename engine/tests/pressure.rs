//! A full cache: waiting writers get memory, and none waits for ever.

#[path = "support/engine.rs"]
mod engine;

use std::path::Path;
use std::thread;
use std::time::Duration;

use tsmith_engine::{Advice, Dirs, DynEngine, ErrorKind, LineOptions, Options, Timestamp, WhenFull};
use tsmith_wal::testing::SimFs;

type Shard = DynEngine;

fn open(dir: &tempfile::TempDir, wait: Duration, background: bool) -> Shard {
    let when_full = WhenFull::Wait(wait);
    let options = Options { cache_bytes_max: Some(1 << 20), when_full, background, ..Options::default() };
    engine::open(Dirs::under(dir.path()), options).expect("a new directory")
}

fn line(time: i64, bytes: usize) -> Vec<u8> {
    format!("m s=\"{}\" {time}\n", "x".repeat(bytes)).into_bytes()
}

/// Story: the second line did not fit next to the first, and the first alone caused no snapshot. The writer
/// waited for minutes.
#[test]
fn a_waiting_writer_triggers_a_snapshot() {
    let dir = tempfile::tempdir().expect("a directory");
    let shard = open(&dir, Duration::from_secs(2 * 60), true);
    for (time, bytes) in [(1, 240_000), (2, 900_000)] {
        let report = shard
            .write_lines(&line(time, bytes), &LineOptions::new(Timestamp(0)))
            .expect("a snapshot frees memory");
        assert!(report.ack.is_some());
    }
    assert_eq!(shard.files().len(), 1);
    shard.close().expect("closes");
}

#[test]
fn a_waiting_writer_is_woken_when_the_engine_closes() {
    let dir = tempfile::tempdir().expect("a directory");
    let shard = open(&dir, Duration::from_secs(10 * 60), false);
    let report = shard.write_lines(&line(1, 900_000), &LineOptions::new(Timestamp(0))).expect("enough space");
    assert!(report.ack.is_some());
    let waiting = shard.clone();
    let writer =
        thread::spawn(move || waiting.write_lines(&line(2, 900_000), &LineOptions::new(Timestamp(0))).err());
    thread::sleep(Duration::from_millis(50));
    shard.close().expect("closes");
    assert!(writer.join().expect("no panic").is_some(), "it was not written");
}

/// Story: the disk was full, every snapshot failed, and a writer waited five minutes for memory that could
/// not be freed.
#[test]
fn a_writer_does_not_wait_for_failing_snapshots() {
    let fs = SimFs::default();
    let when_full = WhenFull::Wait(Duration::from_secs(10 * 60));
    let options = Options { cache_bytes_max: Some(1 << 20), when_full, ..Options::default() };
    let shard = engine::open_on(fs.clone(), Dirs::under(Path::new("/d")), options).expect("a new directory");
    let write = |time, bytes| shard.write_lines(&line(time, bytes), &LineOptions::new(Timestamp(0)));
    assert!(write(1, 900_000).expect("enough space").ack.is_some());
    fs.set_space(Some(0));
    let error = write(2, 900_000).expect_err("no snapshot succeeds");
    assert!(matches!(error.kind(), ErrorKind::SnapshotsFail(_)), "{error}");
    assert!(error.is_io() && error.advice() == Advice::RetryLater, "{error}");
    // With space again, writers wait and get memory.
    fs.set_space(None);
    shard.snapshot().expect("space");
    for time in [3, 4] {
        assert!(write(time, 900_000).expect("a snapshot frees memory").ack.is_some());
    }
    shard.close().expect("closes");
}
