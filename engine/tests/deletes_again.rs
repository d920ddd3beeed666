//! Interrupted deletes and what follows: reopening, repeating the delete, compaction, and then a power cut.
//!
//! `deletes.rs` tests one crash in one delete. Here the result of the first crash is not durable when the
//! second one comes.

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

/// Data and log in separate directories, as in InfluxDB, so that syncing one does not sync the other.
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

/// The number of points inside the deleted range, and outside.
fn left(shard: &Shard) -> (usize, usize) {
    let times = times(shard);
    let inside = times.iter().filter(|time| DELETED.contains(**time)).count();
    (inside, times.len() - inside)
}

/// One file with the times 1 to 40. With `second`, an earlier delete has tombstones already.
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

/// The file-system operations of `work`, by number.
fn operations_of(second: bool, work: impl Fn(&Shard)) -> std::ops::RangeInclusive<u64> {
    let (fs, shard) = prepared(second);
    let before = fs.operations();
    work(&shard);
    before + 1..=fs.operations()
}

/// Story: a process was killed before its tombstones were synced. The next one read them, so the repeated
/// delete wrote nothing, and then the log was truncated. After a power cut the points were back.
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

/// Story: the same after a failed sync, which a later sync does not repair.
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

/// Story: a merged file was not durably removed yet when the next opening removed its tombstones.
#[test]
fn a_merged_file_never_returns_without_tombstones() {
    let deleted = || {
        let (fs, shard) = prepared(false);
        delete(&shard, DELETED).expect("deletes");
        shard.snapshot().expect("truncates the log");
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

/// Story: a delete failed in one of two files. A compaction then gave the files a name that the log's record
/// did not contain, so half of the points stayed for ever.
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
            let half =
                done.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::DeleteUnfinished(_)));
            unfinished += u32::from(half);
            // Finishing it may fail, too.
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
    assert!(unfinished > 0, "some fault hits between the two files");
}

/// Story: a disk was full for a moment during a delete. Until the engine was opened again, compactions failed
/// and the log was kept. Finishing the delete must not remove later writes.
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
                assert_eq!(log.iter().map(bytes).sum::<usize>(), 0, "the log is truncated");
            }
            assert_eq!(left(&shard), (1, 39), "{fault:?} at {at}");
            for image in [fs.kill(), fs.crash(at)] {
                assert_eq!(left(&open(&image).expect("opens")), (1, 39), "{fault:?} at {at}");
            }
        }
    }
    assert!(unfinished > 0, "some fault hits between the two files");
}

/// Story: a write failed in its sync. A delete of the same points was then acknowledged, because no points
/// were visible. But they were in the log.
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
        assert!(
            deleted.is_err() || !times(&shard).contains(&50),
            "{later}: acknowledged, but the point exists"
        );
        broken += u32::from(deleted.is_err());
    }
    assert!(broken > 0, "some fault breaks the log");
}

/// Story: a delete failed in the sync of the log, but the log held its record. A compaction then renamed the
/// files. The next opening deleted the points in the log but not those in the files.
#[test]
fn a_delete_with_a_failed_sync_is_atomic() {
    // Some points are only in files, some only in the log.
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

/// Story: each opening rewrote the tombstones of a logged delete, with two syncs per file.
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
