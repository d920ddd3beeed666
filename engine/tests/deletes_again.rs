//! Deletes that were cut short, and what comes afterwards: opened again, repeated, compacted, and then the power fails.
//!
//! `deletes.rs` looks at one crash in one delete; here what the first crash left is not durable when the second one comes.

#[path = "support/engine.rs"]
mod engine;

use tsmith_engine::{
    Compact, Dirs, DynEngine, ErrorKind, FieldKey, LineOptions, Options, Result, Selection, TimeRange,
    Timestamp,
};
use tsmith_wal::fs::Fs;
use tsmith_wal::testing::{Fault, SimFs};

type Shard = DynEngine<SimFs>;

const SEEDS: u64 = 8;
const DELETED: TimeRange = TimeRange { min: 10, max: 30 };

/// Data and log in directories of their own, as InfluxDB has them: no sync of the one is one of the other.
fn open(fs: &SimFs) -> Result<Shard> {
    let mut options = Options { background: false, encode_threads: 1, ..Options::default() };
    options.log.segment_bytes = 4096;
    engine::open_on(fs.clone(), Dirs { data: "/data/1".into(), wal: "/wal/1".into() }, options)
}

fn write(shard: &Shard, times: std::ops::RangeInclusive<i64>) -> Result<()> {
    let text: String = times.map(|time| format!("m f={time}i {time}\n")).collect();
    shard.write_lines(text.as_bytes(), &LineOptions::new(Timestamp(0))).map(drop)
}

fn times(shard: &Shard) -> Vec<i64> {
    shard.read(FieldKey::new(b"m", b"f"), TimeRange::ALL).expect("reads").times().to_vec()
}

fn delete(shard: &Shard, range: TimeRange) -> Result<()> {
    shard.delete(Selection::Measurement(b"m"), range).map(drop)
}

/// How many points are there, of those that were deleted and of the others.
fn left(shard: &Shard) -> (usize, usize) {
    let times = times(shard);
    let inside = times.iter().filter(|time| DELETED.contains(**time)).count();
    (inside, times.len() - inside)
}

/// One file of the times 1 to 40; `second` says that something was deleted before.
fn prepared(second: bool) -> (SimFs, Shard) {
    let fs = SimFs::default();
    let shard = open(&fs).expect("opens");
    write(&shard, 1..=40).expect("writes");
    shard.snapshot().expect("snapshot");
    if second {
        delete(&shard, TimeRange::new(1, 2)).expect("deletes");
        shard.snapshot().expect("snapshot");
    }
    (fs, shard)
}

/// The operations of `work`, by number.
fn operations_of(second: bool, work: impl Fn(&Shard)) -> std::ops::RangeInclusive<u64> {
    let (fs, shard) = prepared(second);
    let before = fs.operations();
    work(&shard);
    before + 1..=fs.operations()
}

/// Story: a process was killed before its tombstones were synced; the next one read them, had nothing to write when the
/// delete was repeated, and dropped the log. Then the power failed, and the points were back.
#[test]
fn a_repeated_delete_survives_a_missing_sync() {
    for second in [false, true] {
        for stop in operations_of(second, |shard| delete(shard, DELETED).expect("deletes")) {
            for seed in 0..SEEDS {
                let (fs, shard) = prepared(second);
                fs.stop_at(stop);
                drop(delete(&shard, DELETED));
                drop(shard);
                repeat_and_check(&fs.kill(), seed, &format!("stop {stop}, second {second}, seed {seed}"));
            }
        }
    }
}

/// Story: the same behind a sync that failed, which the next one does not make good.
#[test]
fn a_repeated_delete_survives_a_failed_sync() {
    for second in [false, true] {
        for at in operations_of(second, |shard| delete(shard, DELETED).expect("deletes")) {
            for seed in 0..SEEDS {
                let (fs, shard) = prepared(second);
                fs.fail_at(at, Fault::Io);
                drop(delete(&shard, DELETED));
                drop(shard);
                if fs.operation(at).is_some_and(|name| name.starts_with("sync")) {
                    repeat_and_check(&fs.kill(), seed, &format!("fault {at}, second {second}, seed {seed}"));
                }
            }
        }
    }
}

fn repeat_and_check(fs: &SimFs, seed: u64, what: &str) {
    let shard = open(fs).unwrap_or_else(|error| panic!("{what}: {error}"));
    delete(&shard, DELETED).expect("deletes again");
    shard.snapshot().expect("snapshot");
    shard.close().expect("closes");
    let shard = open(&fs.crash(seed)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(left(&shard).0, 0, "{what}");
}

/// Story: of a file that a compaction had merged, and that was not yet gone durably, the next opening removed the tombstones.
#[test]
fn a_merged_file_never_returns_without_tombstones() {
    let deleted = || {
        let (fs, shard) = prepared(false);
        delete(&shard, DELETED).expect("deletes");
        shard.snapshot().expect("the log has no delete any more");
        (fs, shard)
    };
    let (fs, shard) = deleted();
    let before = fs.operations();
    shard.compact(Compact::Full).expect("compacts");
    for stop in before + 1..=fs.operations() + 1 {
        for later in 1..30 {
            let (fs, shard) = deleted();
            fs.stop_at(stop);
            drop(shard.compact(Compact::Full));
            drop(shard);
            let fs = fs.kill();
            fs.stop_at(fs.operations() + later);
            let opened = open(&fs).is_ok();
            for seed in 0..SEEDS {
                let shard = open(&fs.crash(seed)).expect("opens");
                assert_eq!(left(&shard), (0, 19), "stop {stop} and {later}, seed {seed}");
            }
            if opened {
                break;
            }
        }
    }
}

/// Story: a delete failed in one of two files; a compaction then gave them a name that the log's record of the delete did not
/// have, and half of the points were there for ever.
#[test]
fn an_unfinished_delete_is_finished() {
    let two_files = || {
        let (fs, shard) = prepared(false);
        write(&shard, 20..=60).expect("writes");
        shard.snapshot().expect("snapshot");
        (fs, shard)
    };
    let (fs, shard) = two_files();
    let before = fs.operations();
    delete(&shard, DELETED).expect("deletes");
    let mut unfinished = 0;
    for at in before + 1..=fs.operations() {
        for fault in [Fault::Io, Fault::Full] {
            let (fs, shard) = two_files();
            fs.fail_at(at, fault);
            let done = delete(&shard, DELETED);
            fs.heal();
            let half = done.as_ref().is_err_and(|error| error.to_string().contains("next opening"));
            unfinished += u32::from(half);
            // What finishes it may fail in its turn.
            let first = fs.operations() + 1;
            fs.fail_at(if half { first + at % 9 } else { u64::MAX }, fault);
            drop(shard.compact(Compact::Full));
            fs.heal();
            for image in [fs.kill(), fs.crash(at)] {
                let (inside, others) = left(&open(&image).expect("opens"));
                assert!(
                    inside == 0 || inside == 21 && !half && done.is_err(),
                    "{fault:?} at {at}: {inside} of 21"
                );
                assert_eq!(others, 39, "{fault:?} at {at}");
            }
        }
    }
    assert!(unfinished > 0, "some fault comes between the two files");
}

/// Story: a disk that was full for a moment in the middle of a delete held up compactions, and kept the log, until the engine
/// was opened again. What was written after the delete is not taken by its end.
#[test]
fn a_compaction_or_snapshot_finishes_a_delete() {
    let deleted_at = |at: u64, fault: Fault| {
        let (fs, shard) = prepared(false);
        write(&shard, 20..=60).expect("writes");
        shard.snapshot().expect("snapshot");
        fs.fail_at(fs.operations() + at, fault);
        let half = delete(&shard, DELETED)
            .is_err_and(|error| matches!(error.kind(), ErrorKind::DeleteUnfinished(_)));
        fs.heal();
        (fs, shard, half)
    };
    let mut unfinished = 0;
    for (at, fault) in (1..40).flat_map(|at| [Fault::Io, Fault::Full].map(|fault| (at, fault))) {
        for compact in [false, true] {
            let (fs, shard, half) = deleted_at(at, fault);
            if !half {
                continue;
            }
            unfinished += 1;
            write(&shard, 25..=25).expect("writes");
            if compact {
                shard.compact(Compact::Full).expect("finishes the delete first");
            } else {
                shard.snapshot().expect("snapshot");
                let log = fs.list("/wal/1".as_ref()).expect("lists");
                let bytes = |name: &std::ffi::OsString| {
                    fs.read(&std::path::Path::new("/wal/1").join(name)).expect("reads").len()
                };
                assert_eq!(log.iter().map(bytes).sum::<usize>(), 0, "the log is free to go");
            }
            assert_eq!(left(&shard), (1, 39), "{fault:?} at {at}");
            for image in [fs.kill(), fs.crash(at)] {
                assert_eq!(left(&open(&image).expect("opens")), (1, 39), "{fault:?} at {at}");
            }
        }
    }
    assert!(unfinished > 0, "some fault comes between the two files");
}

/// Story: a write was refused because its sync failed, and a delete of the same points was acknowledged, for none were to be
/// seen. They were in the log.
#[test]
fn a_broken_log_acknowledges_no_delete() {
    let mut broken = 0;
    for later in 1..20 {
        let (fs, shard) = prepared(false);
        fs.fail_at(fs.operations() + later, Fault::Io);
        if write(&shard, 50..=50).is_ok() {
            continue;
        }
        fs.heal();
        let deleted = delete(&shard, TimeRange::new(50, 50));
        let shard = open(&fs.kill()).expect("opens");
        assert!(deleted.is_err() || !times(&shard).contains(&50), "{later}: acknowledged, and there");
        broken += u32::from(deleted.is_err());
    }
    assert!(broken > 0, "some fault breaks the log");
}

/// Story: a delete failed with the sync of the log, which had its record all the same. A compaction gave the files a name
/// that the record did not have; the next opening took the points of the log, and left those of the files.
#[test]
fn a_delete_with_a_failed_sync_is_whole_or_absent() {
    // Some of it only in files, some only in the log.
    let range = TimeRange::new(10, 70);
    let prepared = || {
        let (fs, shard) = prepared(false);
        write(&shard, 20..=60).expect("writes");
        shard.snapshot().expect("snapshot");
        write(&shard, 61..=80).expect("writes");
        (fs, shard)
    };
    let (fs, shard) = prepared();
    let before = fs.operations();
    delete(&shard, range).expect("deletes");
    let mut there = [0; 2];
    for (at, fault) in (before + 1..=fs.operations()).flat_map(|at| [(at, Fault::Io), (at, Fault::Full)]) {
        for snapshot in [false, true] {
            let (fs, shard) = prepared();
            fs.fail_at(at, fault);
            let done = delete(&shard, range);
            fs.heal();
            drop(if snapshot { shard.snapshot().map(drop) } else { shard.compact(Compact::Full).map(drop) });
            drop(shard);
            for image in [fs.kill(), fs.crash(at)] {
                let times = times(&open(&image).expect("opens"));
                let inside = times.iter().filter(|time| range.contains(**time)).count();
                assert!(inside == 0 || inside == 61 && done.is_err(), "{fault:?} at {at}: {inside} of 61");
                assert_eq!(times.len() - inside, 19, "{fault:?} at {at}");
                there[usize::from(inside > 0)] += u32::from(done.is_err());
            }
        }
    }
    assert!(
        there.iter().all(|&times| times > 0),
        "{there:?}: some failed deletes are in the log, some are not"
    );
}

/// Story: each opening wrote the tombstones of a logged delete anew, two syncs for each file that it named.
#[test]
fn tombstones_of_a_logged_delete_are_synced_once() {
    let (fs, shard) = prepared(false);
    delete(&shard, DELETED).expect("deletes");
    drop(shard);
    let mut fs = fs.kill();
    for again in [false, true] {
        let before = fs.operations();
        let shard = open(&fs).expect("opens");
        let published = (before + 1..=fs.operations()).any(|at| fs.operation(at) == Some("rename"));
        assert_eq!(published, !again);
        assert_eq!(left(&shard), (0, 19));
        drop(shard);
        fs = fs.kill();
    }
}
