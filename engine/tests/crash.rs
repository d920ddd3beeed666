//! Every crash of the simulated file system, at every operation of a script of writes and snapshots.
//!
//! The tests check the contract of `ARCHITECTURE.md`: acknowledged writes are recovered bit for bit (P1),
//! nothing else is recovered and every write is complete (P2), there are no holes (P3), and recovery is
//! idempotent (P5).

#[path = "support/engine.rs"]
mod engine;

use std::path::Path;

use tsmith_engine::{
    BatchBuilder, Column, Dirs, DynEngine, FieldKey, Options, Result, TimeRange, Value, WriteOrder,
};
use tsmith_wal::testing::{Fault, SimFs};

type Shard = DynEngine<SimFs>;

const WRITES: u64 = 36;
const SEEDS: u64 = 8;

fn open(fs: &SimFs, order: WriteOrder) -> Result<Shard> {
    let mut options = Options { order, background: false, encode_threads: 1, ..Options::default() };
    // Small segments, so that the script uses several.
    options.log.segment_bytes = 2048;
    engine::open_on(fs.clone(), Dirs::under(Path::new("/shard")), options)
}

/// Two series with two fields of different types. Some strings are longer than a sector.
fn write(shard: &Shard, number: u64) -> Result<()> {
    let text = format!("{number}/").repeat((number * 7 % 50) as usize * 5);
    let mut builder = BatchBuilder::new();
    for series in ["a", "b"] {
        builder.begin(series.as_bytes().into());
        builder.field(b"n".as_slice().into(), Value::Integer(number.cast_signed())).expect("one type");
        builder.field(b"s".as_slice().into(), Value::String(text.as_bytes())).expect("one type");
        builder.commit(number.cast_signed());
    }
    shard.write(&builder.finish()).map(drop)
}

/// Writes and takes snapshots until something fails. Returns the number of acknowledged writes.
fn script(fs: &SimFs, order: WriteOrder) -> u64 {
    let mut acknowledged = 0;
    let mut run = || -> Result<()> {
        for life in 0..3 {
            let shard = open(fs, order)?;
            for number in life * WRITES / 3 + 1..=(life + 1) * WRITES / 3 {
                write(&shard, number)?;
                acknowledged = number;
                if number % 9 == 0 {
                    shard.snapshot()?;
                }
            }
            shard.close()?;
        }
        Ok(())
    };
    // The script ends when the file system stops.
    let _ended = run();
    acknowledged
}

/// The recovered numbers. Checks that each write is complete and unchanged.
fn numbers(shard: &Shard, what: &str) -> Vec<i64> {
    let read = |series: &[u8], field: &[u8]| -> Column {
        shard
            .read(FieldKey::new(series, field), TimeRange::ALL)
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    let first = read(b"a", b"n");
    for (series, field) in [(b"a", b"n"), (b"a", b"s"), (b"b", b"n"), (b"b", b"s")] {
        let column = read(series, field);
        assert_eq!(column.times(), first.times(), "{what}: a write is complete or absent");
        for (at, &time) in column.times().iter().enumerate() {
            let text = format!("{time}/").repeat((time * 7 % 50) as usize * 5);
            let expected = if field == b"n" { Value::Integer(time) } else { Value::String(text.as_bytes()) };
            assert_eq!(column.as_ref().values().get(at), expected, "{what}: number {time}");
        }
    }
    first.times().to_vec()
}

fn sweep(order: WriteOrder) {
    let fs = SimFs::default();
    assert_eq!(script(&fs, order), WRITES);
    let operations = fs.operations();
    assert!(operations > 200, "the script is long enough: {operations}");
    for stop in 1..=operations {
        let fs = SimFs::default();
        fs.stop_at(stop);
        let acknowledged = script(&fs, order);
        for seed in 0..SEEDS {
            let what =
                format!("{order:?}, crash at operation {stop} ({:?}), seed {seed}", fs.operation(stop));
            let after = fs.crash(seed);
            let shard = open(&after, order).unwrap_or_else(|error| panic!("{what}: {error}"));
            let there = numbers(&shard, &what);
            let count = there.len() as u64;
            assert!(count >= acknowledged, "{what}: {acknowledged} were acknowledged, {count} are there");
            assert!(count <= acknowledged + 1, "{what}: {count} are there, {acknowledged} were acknowledged");
            assert!(there.iter().copied().eq(1..=count.cast_signed()), "{what}: a hole in {there:?}");
            drop(shard);
            // After another power cut, recovery gives the same and accepts writes.
            let again =
                open(&after.crash(seed ^ 0x55), order).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(numbers(&again, &what), there, "{what}: recovery is idempotent");
            write(&again, count + 1).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(numbers(&again, &what).len() as u64, count + 1, "{what}");
        }
    }
}

#[test]
fn every_crash_keeps_acknowledged_writes() {
    sweep(WriteOrder::SyncThenPublish);
}

#[test]
fn publish_then_sync_keeps_acknowledged_writes() {
    sweep(WriteOrder::PublishThenSync);
}

/// A crash during the recovery from a crash.
#[test]
fn recovery_survives_a_crash_at_any_operation() {
    let order = WriteOrder::default();
    let whole = SimFs::default();
    script(&whole, order);
    for stop in (1..=whole.operations()).step_by(17) {
        let fs = SimFs::default();
        fs.stop_at(stop);
        let acknowledged = script(&fs, order);
        let crashed = fs.crash(stop);
        let counted = crashed.crash(0);
        drop(open(&counted, order).expect("recovers"));
        for stop_again in 1..=counted.operations() {
            let what = format!("crash at {stop}, and at {stop_again} of recovery");
            let second = crashed.crash(0);
            second.stop_at(stop_again);
            drop(open(&second, order));
            let shard =
                open(&second.crash(stop_again), order).unwrap_or_else(|error| panic!("{what}: {error}"));
            let count = numbers(&shard, &what).len() as u64;
            assert!((acknowledged..=acknowledged + 1).contains(&count), "{what}: {count} of {acknowledged}");
        }
    }
}

/// Story: after a failed snapshot and more writes, InfluxDB's retry dropped the segments of both, although
/// only the first were in the file. Our cut belongs to the frozen store.
#[test]
fn a_failed_snapshot_keeps_newer_writes() {
    let fs = SimFs::default();
    let shard = open(&fs, WriteOrder::default()).expect("opens");
    write(&shard, 1).expect("enough space");
    fs.set_space(Some(0));
    shard.snapshot().expect_err("no space");
    fs.heal();
    write(&shard, 2).expect("space again");
    assert_eq!(numbers(&shard, "readers see both"), [1, 2]);
    shard.snapshot().expect("space again");
    let after = open(&fs.crash(7), WriteOrder::default()).expect("opens");
    assert_eq!(numbers(&after, "after the crash"), [1, 2]);
}

/// Story: the first opening was killed before its new directories were durable. The next one took them for
/// durable, wrote a snapshot and truncated the log. A power cut then removed the directory.
#[test]
fn a_killed_first_opening_is_durable_or_absent() {
    let open = |fs: &SimFs| {
        let options = Options { background: false, encode_threads: 1, ..Options::default() };
        // Data and log in separate trees, as in InfluxDB.
        engine::open_on(fs.clone(), Dirs { data: "/i/data/s".into(), wal: "/i/wal/s".into() }, options)
    };
    let fs = SimFs::default();
    drop(open(&fs).expect("opens"));
    for stop in 1..=fs.operations() {
        for seed in 0..SEEDS {
            let fs = SimFs::default();
            fs.stop_at(stop);
            drop(open(&fs));
            let fs = fs.kill();
            let shard = open(&fs).unwrap_or_else(|error| panic!("stop {stop}: {error}"));
            write(&shard, 1).expect("writes");
            shard.snapshot().expect("snapshot");
            shard.close().expect("closes");
            let shard = open(&fs.crash(seed)).unwrap_or_else(|error| panic!("stop {stop}: {error}"));
            assert_eq!(numbers(&shard, "after the crash"), [1], "stop {stop}, seed {seed}");
        }
    }
}

/// An opening after a failure does not know about it, and the page cache shows data that is not durable.
#[test]
fn an_opening_after_a_failure_keeps_later_writes() {
    let order = WriteOrder::default();
    let whole = SimFs::default();
    script(&whole, order);
    for fault in [Fault::Io, Fault::Full] {
        for at in 1..=whole.operations() {
            let fs = SimFs::default();
            fs.fail_at(at, fault);
            let acknowledged = script(&fs, order);
            let what = format!("{fault:?} at operation {at} ({:?})", fs.operation(at));
            let next = fs.kill();
            let shard = open(&next, order).unwrap_or_else(|error| panic!("{what}: {error}"));
            let count = numbers(&shard, &what).len() as u64;
            assert!((acknowledged..=acknowledged + 1).contains(&count), "{what}: {count} of {acknowledged}");
            for number in count + 1..=count + 3 {
                write(&shard, number).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            shard.snapshot().unwrap_or_else(|error| panic!("{what}: {error}"));
            write(&shard, count + 4).unwrap_or_else(|error| panic!("{what}: {error}"));
            drop(shard);
            for seed in 0..SEEDS {
                let what = format!("{what}, seed {seed}");
                let shard = open(&next.crash(seed), order).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(numbers(&shard, &what).into_iter().eq(1..=count.cast_signed() + 4), "{what}");
            }
        }
    }
}
