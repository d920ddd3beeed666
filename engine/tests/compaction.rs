//! Compaction in the background and on demand, with corruption, a full disk, deletes and closing.

#[path = "support/engine.rs"]
mod engine;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tsmith_engine::parts::Tsm1;
use tsmith_engine::{
    BatchBuilder, Column, Compact, Dirs, DynEngine, ErrorKind, FieldKey, Options, Selection, TimeRange, Value,
};
use tsmith_tsm::KeyEntry;
use tsmith_wal::fs::Fs;
use tsmith_wal::testing::SimFs;

type Shard = DynEngine;

fn options() -> Options {
    Options { background: false, ..Options::default() }
}

fn open(dir: &Path, options: Options) -> Shard {
    engine::open(Dirs::under(dir), options).expect("opens")
}

/// Writes points of one key and takes a snapshot.
fn file<F: Fs>(shard: &DynEngine<F>, series: &str, times: std::ops::Range<i64>) {
    write(shard, series, times);
    shard.snapshot().expect("enough space");
}

fn write<F: Fs>(shard: &DynEngine<F>, series: &str, times: std::ops::Range<i64>) {
    let mut builder = BatchBuilder::new();
    for time in times {
        builder.begin(series.as_bytes().into());
        builder
            .field(b"v".as_slice().into(), Value::Integer((time * time).wrapping_mul(0x1e37_79b9_7f4a_7c15)))
            .expect("one type");
        builder.commit(time);
    }
    let _ack = shard.write(&builder.finish()).expect("enough space");
}

fn read<F: Fs>(shard: &DynEngine<F>, series: &str) -> Column {
    shard.read(FieldKey::new(series.as_bytes(), b"v"), TimeRange::ALL).expect("readable")
}

fn times(from: i64, to: i64) -> Vec<i64> {
    (from..to).collect()
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Flips a bit in the first block.
fn corruption(path: &Path) {
    let mut bytes = fs::read(path).expect("exists");
    bytes[12] ^= 1;
    fs::write(path, bytes).expect("written");
}

/// The number of blocks in each file.
fn block_counts(shard: &Shard) -> Vec<usize> {
    shard.files().iter().map(|file| file.reader().keys().map(KeyEntry::block_count).sum()).collect()
}

#[test]
fn block_size_is_an_option_of_each_opening() {
    let dir = tempfile::tempdir().expect("a directory");
    let with = |points_per_block| open(dir.path(), Options { points_per_block, ..options() });
    let shard = with(8192);
    file(&shard, "m", 0..20_000);
    assert_eq!(block_counts(&shard), [3]);
    shard.close().expect("closes");

    // Larger blocks than usual are read and copied.
    let shard = with(1000);
    file(&shard, "m", 20_000..22_500);
    assert_eq!(block_counts(&shard), [3, 3]);
    shard.compact(Compact::Full).expect("enough space");
    // Every block of at least 1000 points is copied.
    assert_eq!(block_counts(&shard), [6]);
    assert_eq!(read(&shard, "m").times(), times(0, 22_500));
    shard.close().expect("closes");

    let shard = with(65_536);
    file(&shard, "m", 22_500..70_000);
    shard.compact(Compact::Full).expect("enough space");
    assert_eq!(block_counts(&shard), [2]);
    assert_eq!(read(&shard, "m").times(), times(0, 70_000));
    shard.close().expect("closes");
}

/// Story: an option outside its range was silently replaced by the nearest number.
#[test]
fn block_size_outside_its_range_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    for points_per_block in [0, 65_537] {
        let options = Options { points_per_block, ..options() };
        let refused = engine::open(Dirs::under(dir.path()), options).expect_err("out of range");
        let ErrorKind::OptionRange { option, asked, min: 1, max: 65_536 } = refused.kind() else {
            panic!("{refused}")
        };
        assert_eq!((*option, *asked), ("points_per_block", points_per_block));
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0, "nothing was written");
}

#[test]
fn eight_snapshots_are_merged_in_the_background() {
    let dir = tempfile::tempdir().expect("a directory");
    let shard = open(dir.path(), Options::default());
    for n in 0..8 {
        file(&shard, "m", n * 10..n * 10 + 15);
    }
    wait_until("compacts", || shard.compaction().completed == 1);
    assert_eq!(shard.files()[0].name().to_string(), "000000008-000000002.tsm");
    assert_eq!(read(&shard, "m").times(), times(0, 85));
    let status = shard.compaction();
    assert_eq!((status.completed, status.files_in, status.failures.len()), (1, 8, 0));
    shard.close().expect("closes");
    let names = fs::read_dir(dir.path()).expect("exists").map(|e| e.expect("an entry").file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().contains(".tsm")).count(), 1);
}

#[test]
fn a_removed_file_is_read_to_the_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let shard = open(dir.path(), options());
    (0..4).for_each(|n| file(&shard, "m", n * 10..n * 10 + 10));
    let before = shard.files();
    let report = shard.compact(Compact::Full).expect("compacts");
    assert_eq!((report.files_in, report.files.len()), (4, 1));
    assert_eq!(before.iter().filter(|file| file.path().exists()).count(), 0, "unlinked");
    let mut column = Column::new(tsmith_engine::FieldType::Integer);
    for old in before.iter() {
        let key = old.reader().find(b"m#!~#v").expect("held");
        let entry = key.entry(0).expect("a block");
        old.reader().read_block(key, entry, &mut Tsm1::default(), 1000, &mut column).expect("still mapped");
        assert_eq!(column.len(), 10);
    }
}

/// Story: a corrupt block made InfluxDB retry the same merge once a second for ever, with the same message
/// each time.
#[test]
fn a_corrupt_block_stops_one_plan_and_is_reported() {
    let dir = tempfile::tempdir().expect("a directory");
    let shard = open(dir.path(), options());
    for n in 0..18 {
        // Overlapping times, so that blocks are decoded.
        file(&shard, "m", n..n + 100);
    }
    let third = shard.files()[2].path().to_owned();
    shard.close().expect("closes");
    corruption(&third);

    let shard = open(dir.path(), Options { compact_threads: 1, ..Options::default() });
    wait_until("the good ones are compacted", || shard.compaction().completed == 1);
    wait_until("the corruption is met", || !shard.compaction().failures.is_empty());
    // Nothing more happens in the next ticks.
    thread::sleep(Duration::from_millis(2500));
    let status = shard.compaction();
    assert_eq!((status.completed, status.running, status.failures.len()), (1, 0, 1), "{status:?}");
    let [failure] = &status.failures[..] else { panic!("{status:?}") };
    assert_eq!(failure.path(), Some(&*third), "{failure}");
    let ErrorKind::Tsm(corrupt) = failure.kind() else { panic!("{failure}") };
    assert_eq!((corrupt.offset(), corrupt.key()), (Some(5), Some(&b"m#!~#v"[..])), "{failure}");
    assert!(third.exists(), "its file stays");
    // The corrupt file is skipped by now, so a compaction on demand succeeds.
    let error = shard.compact(Compact::Full).map(|report| report.files).err();
    assert!(error.is_none(), "the file is skipped: {error:?}");
    let left: Vec<u64> = shard.files().iter().map(|file| file.name().generation).collect();
    assert_eq!(left, [2, 3, 18]);
    shard.close().expect("closes");
    let shard = open(dir.path(), options());
    let error = shard.compact(Compact::Full).expect_err("retried after opening");
    assert_eq!(error.path(), Some(&*third), "{error}");
}

#[test]
fn a_full_disk_leaves_all_files_unchanged() {
    let fs = SimFs::default();
    let shard = engine::open_on(fs.clone(), Dirs::under(Path::new("/shard")), options()).expect("opens");
    (0..4).for_each(|n| file(&shard, "m", n * 10..n * 10 + 10));
    let before = fs.snapshot();
    fs.set_space(Some(0));
    shard.compact(Compact::Full).expect_err("no space");
    assert_eq!(fs.snapshot(), before, "the attempt leaves no file");
    fs.heal();
    assert_eq!(shard.compact(Compact::Full).expect("space again").files_in, 4);
    assert_eq!(read(&shard, "m").times(), times(0, 40));
}

/// Closing stops a merge whose blocks take a second each, and its inputs stay.
#[test]
fn closing_does_not_wait_for_a_slow_merge() {
    let dir = tempfile::tempdir().expect("a directory");
    let slow = Options { compact_bytes_per_second: Some(1), ..Options::default() };
    let shard = open(dir.path(), slow);
    (0..8).for_each(|n| file(&shard, &format!("m{n}"), 0..20_000));
    wait_until("begins", || shard.compaction().running == 1);
    let begun = Instant::now();
    shard.close().expect("closes");
    assert!(begun.elapsed() < Duration::from_secs(20), "a thousand bytes would take a quarter of an hour");
    let names: Vec<String> = fs::read_dir(dir.path())
        .expect("exists")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".tsm"))
        .collect();
    assert!(names.len() == 8 && names.iter().all(|name| name.ends_with("-000000001.tsm")), "{names:?}");
}

/// Story: in InfluxDB, a delete waits for all compactions of the shard, or the deleted points reappear in
/// their output. Our deletes reach files that are still being written.
#[test]
fn deletes_run_beside_merges_and_snapshots() {
    const ROUNDS: i64 = 60;
    let dir = tempfile::tempdir().expect("a directory");
    let shard = &open(dir.path(), options());
    let ended = &AtomicBool::new(false);
    write(shard, "m", 0..ROUNDS * 100);
    thread::scope(|scope| {
        scope.spawn(move || {
            while !ended.load(Ordering::Acquire) {
                shard.snapshot().expect("enough space");
            }
        });
        scope.spawn(move || {
            while !ended.load(Ordering::Acquire) {
                shard.compact(Compact::Full).expect("compacts");
            }
        });
        for round in 0..ROUNDS {
            let hundred = round * 100;
            let report = shard.delete(Selection::Measurement(b"m"), TimeRange::new(hundred, hundred + 89));
            assert_eq!(report.expect("deleted").keys, 1);
            let gone = read(shard, "m");
            assert!(!gone.times().iter().any(|time| (hundred..hundred + 90).contains(time)), "round {round}");
            write(shard, "m", hundred..hundred + 10);
        }
        ended.store(true, Ordering::Release);
    });
    let is_left = |time: &i64| matches!(time % 100, 0..10 | 90..100);
    let expected: Vec<i64> = (0..ROUNDS * 100).filter(is_left).collect();
    assert_eq!(read(shard, "m").times(), expected);
    shard.snapshot().expect("enough space");
    shard.compact(Compact::Full).expect("compacts");
    assert_eq!(read(shard, "m").times(), expected);
    shard.clone().close().expect("closes");
    assert_eq!(read(&open(dir.path(), options()), "m").times(), expected, "after opening again");
}

#[test]
fn a_deleted_key_accepts_any_type() {
    let dir = tempfile::tempdir().expect("a directory");
    let shard = open(dir.path(), options());
    file(&shard, "m", 0..10);
    file(&shard, "n", 0..10);
    shard.delete(Selection::Key(FieldKey::new(b"m", b"v")), TimeRange::ALL).expect("deleted");
    assert_eq!(shard.keys(), [b"n#!~#v".to_vec()]);
    shard.close().expect("closes");
    let shard = open(dir.path(), options());
    let line = b"m v=\"text\" 5\n";
    let report = shard.write_lines(line, &tsmith_engine::LineOptions::new(tsmith_engine::Timestamp(0)));
    assert!(report.expect("written").rejected.is_empty());
    shard.snapshot().expect("enough space");
    assert_eq!(read(&shard, "m").as_ref().values().get(0), Value::String(b"text"));
    shard.compact(Compact::Fast).expect("the old type is deleted");
    assert_eq!(read(&shard, "m").as_ref().values().get(0), Value::String(b"text"));
    assert_eq!(shard.files().len(), 1);
}

/// Story: InfluxDB 1.x keeps a log of only deletes until the next write, and replays it at every start.
#[test]
fn a_snapshot_drops_a_log_of_deletes() {
    let dir = tempfile::tempdir().expect("a directory");
    let shard = open(dir.path(), options());
    file(&shard, "m", 0..10);
    shard.delete(Selection::Measurement(b"m"), TimeRange::new(3, 5)).expect("deleted");
    let log_bytes = || -> u64 {
        let wal = fs::read_dir(dir.path().join("wal")).expect("a log");
        wal.map(|entry| entry.expect("an entry").metadata().expect("exists").len()).sum()
    };
    assert!(log_bytes() > 0);
    shard.snapshot().expect("enough space");
    assert_eq!(log_bytes(), 0);
    shard.close().expect("closes");
    assert_eq!(read(&open(dir.path(), options()), "m").len(), 7);
}

/// If tombstones end in a torn batch and the log has no interrupted delete, the file is corrupt. Deleted
/// points must not reappear.
#[test]
fn torn_tombstones_need_a_delete_in_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let shard = open(dir.path(), options());
    file(&shard, "m", 0..100);
    for from in [10, 50] {
        shard.delete(Selection::Measurement(b"m"), TimeRange::new(from, from + 5)).expect("deleted");
    }
    let tombstones = shard.files()[0].path().with_extension("tombstone");
    shard.close().expect("closes");
    let complete = fs::read(&tombstones).expect("written");
    // In the second gzip member.
    let members = complete.windows(4).enumerate().filter(|(_, window)| *window == [0x1f, 0x8b, 8, 4]);
    let cut = members.map(|(at, _)| at).nth(1).expect("two deletes") + 40;
    // The log still holds both deletes, so the torn batch is written again.
    fs::write(&tombstones, &complete[..cut]).expect("cut");
    let shard = open(dir.path(), options());
    assert_eq!(read(&shard, "m").len(), 88);
    assert_eq!(fs::read(&tombstones).expect("written"), complete);
    shard.snapshot().expect("the log goes");
    shard.close().expect("closes");
    fs::write(&tombstones, &complete[..cut]).expect("cut");
    let error = engine::open(Dirs::under(dir.path()), options()).expect_err("corruption");
    assert!(matches!(error.kind(), ErrorKind::TornTombstones { .. }), "{error}");
    assert_eq!(error.path(), Some(&*tombstones), "{error}");
    assert_eq!(fs::read(&tombstones).expect("exists").len(), cut, "nothing is changed");
}

/// Closing ends a compaction on demand with an error, and waits for it, because another process may own the
/// directory afterwards.
#[test]
fn closing_ends_a_compaction_on_demand() {
    let dir = tempfile::tempdir().expect("a directory");
    let shard = &open(dir.path(), options());
    for n in 0..6 {
        file(shard, &format!("m{n}"), 0..50_000);
    }
    thread::scope(|scope| {
        let compacting = scope.spawn(|| shard.compact(Compact::Full));
        thread::sleep(Duration::from_millis(3));
        shard.clone().close().expect("closes");
        let names: Vec<_> =
            fs::read_dir(dir.path()).expect("exists").map(|e| e.expect("one").path()).collect();
        assert!(!names.iter().any(|path| path.extension().is_some_and(|e| e == "tmp")), "{names:?}");
        let compacted = compacting.join().expect("no panic");
        let closed = compacted.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::Closed));
        assert!(compacted.is_ok() || closed, "{compacted:?}");
    });
    let error = shard.delete(Selection::Measurement(b"m"), TimeRange::ALL).expect_err("closed");
    assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
    let again = open(dir.path(), options());
    assert_eq!(read(&again, "m3").len(), 50_000);
}

/// The index of a large file spills to a temporary file. The result has the same bytes, and no temporary file
/// stays, whatever happens.
#[test]
fn a_large_index_spills_to_disk() {
    let run = |fs: &SimFs, index_bytes: usize| -> tsmith_engine::Result<()> {
        let options = Options { index_bytes, encode_threads: 1, ..options() };
        let shard = engine::open_on(fs.clone(), Dirs::under(Path::new("/shard")), options)?;
        let names: Vec<String> = (0..60).map(|series| format!("m,series={series:02}")).collect();
        for n in 0..2 {
            let mut builder = BatchBuilder::new();
            for name in &names {
                builder.begin(name.as_bytes().into());
                builder.field(b"v".as_slice().into(), Value::Integer(n)).expect("one type");
                builder.commit(n);
            }
            let _ack = shard.write(&builder.finish())?;
            shard.snapshot()?;
        }
        shard.compact(Compact::Full)?;
        shard.close()
    };
    let tsm = |fs: &SimFs| -> Vec<(std::path::PathBuf, Vec<u8>)> {
        fs.snapshot().into_iter().filter(|(name, _)| name.to_string_lossy().contains(".tsm")).collect()
    };
    let (plain, spilled) = (SimFs::default(), SimFs::default());
    run(&plain, usize::MAX).expect("enough space");
    run(&spilled, 256).expect("enough space");
    assert!(spilled.operations() > plain.operations() + 20, "the index was spilled");
    assert_eq!(tsm(&spilled), tsm(&plain));
    assert_eq!(tsm(&spilled).len(), 1);
    for stop in 1..=spilled.operations() {
        let fs = SimFs::default();
        fs.stop_at(stop);
        let done = run(&fs, 256).is_ok();
        // A power cut.
        let fs = fs.crash(stop);
        let shard = engine::open_on(fs.clone(), Dirs::under(Path::new("/shard")), options()).expect("opens");
        let left = fs.snapshot().into_keys().any(|name| name.to_string_lossy().ends_with(".tmp"));
        assert!(!left, "stopped at {stop}: a temporary file is left");
        assert!(!done || shard.keys().len() == 60, "stopped at {stop}");
    }
    // If there is no space for the index, the inputs stay and no other file does.
    let fs = SimFs::default();
    for fail in spilled.operations() - 60..spilled.operations() {
        let fs = fs.kill();
        fs.fail_at(fail, tsmith_wal::testing::Fault::Full);
        let _tried = run(&fs, 256);
        // Opening removes what could not be removed.
        fs.heal();
        let dirs = Dirs::under(Path::new("/shard"));
        let _opened = engine::open_on(fs.clone(), dirs, options()).expect("opens");
        let left = fs.snapshot().into_keys().any(|name| name.to_string_lossy().ends_with(".idx.tmp"));
        assert!(!left, "failed at {fail}: a spilled index is left");
    }
}
