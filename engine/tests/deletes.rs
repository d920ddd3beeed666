//! Every crash of the simulated file system, at every operation of scripts of writes, deletes, snapshots and
//! compactions; and deletes while files are being written.
//!
//! Beyond `crash.rs` the tests check that deleted points stay deleted (P4), that later writes stay, and that
//! a delete is complete or absent.

#[path = "support/engine.rs"]
mod engine;

use std::collections::BTreeMap;
use std::path::Path;

use tsmith_engine::{
    BatchBuilder, Compact, Dirs, DynEngine, ErrorKind, FieldKey, Options, Result, Selection, TimeRange, Value,
};
use tsmith_wal::fs::Fs;
use tsmith_wal::testing::{Fault, SimFs};

type Shard = DynEngine<SimFs>;

fn open(fs: &SimFs) -> Result<Shard> {
    let mut options = Options { background: false, encode_threads: 1, ..Options::default() };
    options.log.segment_bytes = 4096;
    engine::open_on(fs.clone(), Dirs::under(Path::new("/shard")), options)
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Writes values of this version at these times.
    Write {
        from: i64,
        to: i64,
        version: i64,
    },
    Delete {
        from: i64,
        to: i64,
    },
    Snapshot,
    Compact(Compact),
    Reopen,
}

use Op::{Compact as Merge, Delete, Reopen, Snapshot, Write};

/// Time to version.
type Points = BTreeMap<i64, i64>;

const KEYS: [(&[u8], &[u8]); 3] = [(b"m,t=a", b"n"), (b"m,t=a", b"s"), (b"m,t=b", b"n")];

fn text(time: i64, version: i64) -> String {
    format!("{time}.{version}/").repeat((time * 7 + version).rem_euclid(40) as usize)
}

fn write(shard: &Shard, from: i64, to: i64, version: i64) -> Result<()> {
    let mut builder = BatchBuilder::new();
    for time in from..=to {
        let text = text(time, version);
        let mut series = |name: &'static [u8], with_text: bool| {
            builder.begin(name.into());
            builder.field(b"n".as_slice().into(), Value::Integer(version)).expect("one type");
            if with_text {
                builder.field(b"s".as_slice().into(), Value::String(text.as_bytes())).expect("one type");
            }
            builder.commit(time);
        };
        series(b"m,t=a", true);
        series(b"m,t=b", false);
    }
    shard.write(&builder.finish()).map(drop)
}

fn apply(fs: &SimFs, shard: &mut Option<Shard>, op: Op) -> Result<()> {
    let open_shard = match shard {
        Some(shard) => shard,
        None => shard.insert(open(fs)?),
    };
    match op {
        Write { from, to, version } => write(open_shard, from, to, version),
        Delete { from, to } => {
            open_shard.delete(Selection::Measurement(b"m"), TimeRange::new(from, to)).map(drop)
        }
        Snapshot => open_shard.snapshot().map(drop),
        Merge(what) => open_shard.compact(what).map(drop),
        Reopen => shard.take().expect("open").close(),
    }
}

/// The expected points after these operations.
fn points(ops: &[Op]) -> Points {
    let mut points = Points::new();
    for op in ops {
        match *op {
            Write { from, to, version } => points.extend((from..=to).map(|time| (time, version))),
            Delete { from, to } => points.retain(|time, _| !(from..=to).contains(time)),
            _ => {}
        }
    }
    points
}

/// Runs operations until one fails. Returns how many were acknowledged.
fn play(fs: &SimFs, ops: &[Op]) -> usize {
    let mut shard = None;
    ops.iter().take_while(|&&op| apply(fs, &mut shard, op).is_ok()).count()
}

/// The points, which must be the same in all keys.
fn read(shard: &Shard, what: &str) -> Points {
    let mut all: Option<Points> = None;
    let named = shard.keys();
    for (series, field) in KEYS {
        let column = shard
            .read(FieldKey::new(series, field), TimeRange::ALL)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let known = all.as_ref();
        let found: Points = (0..column.len())
            .map(|at| {
                let time = column.times()[at];
                let version = match column.as_ref().values().get(at) {
                    Value::Integer(version) => version,
                    Value::String(found) => {
                        let version = known.and_then(|points| points.get(&time)).copied();
                        let version = version.unwrap_or_else(|| panic!("{what}: {time} in one key only"));
                        assert_eq!(found, text(time, version).as_bytes(), "{what}: {time}");
                        version
                    }
                    other => panic!("{what}: {other:?}"),
                };
                (time, version)
            })
            .collect();
        let is_named = named.contains(&FieldKey::new(series, field).to_composite());
        assert!(is_named || found.is_empty(), "{what}: a key with points is named");
        assert!(known.is_none_or(|known| *known == found), "{what}: {known:?} is not {found:?}");
        all = Some(found);
    }
    all.unwrap_or_default()
}

fn sweep(ops: &[Op], seeds: u64) {
    let fs = SimFs::default();
    assert_eq!(play(&fs, ops), ops.len(), "without a crash");
    assert_eq!(read(&open(&fs.kill()).expect("opens"), "at the end"), points(ops));
    for stop in 1..=fs.operations() {
        let fs = SimFs::default();
        fs.stop_at(stop);
        let done = play(&fs, ops);
        let (before, after) = (points(&ops[..done]), points(&ops[..ops.len().min(done + 1)]));
        for seed in 0..seeds {
            let operation = fs.operation(stop);
            let what = format!("crash at {stop} ({operation:?}), seed {seed}, in {:?}", ops.get(done));
            let crashed = fs.crash(seed);
            let shard = open(&crashed).unwrap_or_else(|error| panic!("{what}: {error}"));
            let there = read(&shard, &what);
            assert!(there == before || there == after, "{what}: {there:?}, not {before:?} nor {after:?}");
            drop(shard);
            // Another recovery gives the same, and the shard can be written, deleted from and compacted.
            let again = open(&crashed.crash(seed ^ 0x55)).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(read(&again, &what), there, "{what}: recovery is idempotent");
            if seed == 0 {
                continue_after(again, there, &what);
            }
        }
    }
}

/// An opening after a failure does not know about it, and the page cache shows data that is not durable.
fn fault_sweep(ops: &[Op], seeds: u64) {
    let whole = SimFs::default();
    play(&whole, ops);
    for fault in [Fault::Io, Fault::Full] {
        for at in 1..=whole.operations() {
            let fs = SimFs::default();
            fs.fail_at(at, fault);
            let done = play(&fs, ops);
            let (before, after) = (points(&ops[..done]), points(&ops[..ops.len().min(done + 1)]));
            let what = format!("{fault:?} at {at} ({:?}), in {:?}", fs.operation(at), ops.get(done));
            let next = fs.kill();
            let shard = open(&next).unwrap_or_else(|error| panic!("{what}: {error}"));
            let there = read(&shard, &what);
            assert!(there == before || there == after, "{what}: {there:?}, not {before:?} nor {after:?}");
            let there = continue_after(shard, there, &what);
            for seed in 0..seeds {
                let what = format!("{what}, seed {seed}");
                let shard = open(&next.crash(seed)).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(read(&shard, &what), there, "{what}");
            }
        }
    }
}

/// Uses the shard after a crash; leftover files must not bring points back. Returns the final points.
fn continue_after(shard: Shard, mut there: Points, what: &str) -> Points {
    let must = |done: Result<()>| done.unwrap_or_else(|error| panic!("{what}: {error}"));
    must(shard.delete(Selection::Measurement(b"m"), TimeRange::new(2, 4)).map(drop));
    must(write(&shard, 3, 3, 77));
    must(shard.snapshot().map(drop));
    must(shard.compact(Compact::Full).map(drop));
    there.retain(|time, _| !(2..=4).contains(time));
    there.insert(3, 77);
    assert_eq!(read(&shard, what), there, "{what}: after compaction");
    assert!(shard.files().len() <= 1, "{what}");
    must(shard.close());
    there
}

const fn w(from: i64, to: i64, version: i64) -> Op {
    Write { from, to, version }
}

const fn d(from: i64, to: i64) -> Op {
    Delete { from, to }
}

#[test]
fn deletes_and_snapshots_survive_any_crash() {
    sweep(&DELETES, 6);
}

#[test]
fn deletes_and_snapshots_survive_any_failure() {
    fault_sweep(&DELETES, 6);
}

const DELETES: [Op; 16] = [
    w(1, 8, 1),
    d(2, 3),
    w(3, 3, 2),
    Snapshot,
    d(3, 5),
    w(4, 4, 3),
    d(7, 7),
    Snapshot,
    d(4, 4),
    Reopen,
    d(1, 1),
    w(1, 2, 4),
    Snapshot,
    d(i64::MIN, i64::MAX),
    Snapshot,
    w(6, 6, 5),
];

#[test]
fn compactions_survive_any_crash() {
    sweep(&COMPACTIONS, 6);
}

#[test]
fn compactions_survive_any_failure() {
    fault_sweep(&COMPACTIONS, 6);
}

const COMPACTIONS: [Op; 16] = [
    w(1, 6, 1),
    Snapshot,
    w(5, 9, 2),
    Snapshot,
    d(5, 5),
    Merge(Compact::Fast),
    w(5, 5, 3),
    d(2, 3),
    Snapshot,
    Merge(Compact::Full),
    Reopen,
    d(8, 8),
    Merge(Compact::Due),
    d(i64::MIN, i64::MAX),
    Merge(Compact::Full),
    w(1, 1, 4),
];

/// Story: a delete's record names its files. All of them were compacted away, and the directory was opened
/// again. The next file reused the name of the first, and the old delete removed its newer points.
#[test]
fn no_file_name_is_used_twice() {
    let fs = SimFs::default();
    let shard = open(&fs).expect("opens");
    write(&shard, 1, 5, 1).expect("enough space");
    shard.snapshot().expect("enough space");
    shard.delete(Selection::Measurement(b"m"), TimeRange::ALL).expect("deleted");
    shard.compact(Compact::Full).expect("nothing is left to write");
    assert!(shard.files().is_empty());
    drop(shard);
    let shard = open(&fs.kill()).expect("opens");
    write(&shard, 2, 3, 2).expect("enough space");
    shard.snapshot().expect("enough space");
    assert_eq!(shard.files()[0].name().generation, 2);
    assert_eq!(read(&shard, "again").into_iter().collect::<Vec<_>>(), [(2, 2), (3, 2)]);
}

/// The name of a quarantined file is not reused either. Its tombstones stay for a restore.
#[test]
fn tombstones_of_a_quarantined_file_reach_no_other() {
    let fs = SimFs::default();
    let shard = open(&fs).expect("opens");
    write(&shard, 1, 5, 1).expect("enough space");
    shard.snapshot().expect("enough space");
    shard.delete(Selection::Measurement(b"m"), TimeRange::new(2, 3)).expect("deleted");
    shard.snapshot().expect("nothing to write, and the log goes");
    shard.close().expect("closes");
    let path = Path::new("/shard/000000001-000000001.tsm");
    fs.rename(path, &path.with_extension("tsm.bad")).expect("exists");
    let shard = open(&fs).expect("opens");
    write(&shard, 2, 4, 2).expect("enough space");
    shard.snapshot().expect("enough space");
    shard.close().expect("closes");
    let shard = open(&fs).expect("opens");
    assert_eq!(read(&shard, "again").into_keys().collect::<Vec<_>>(), [2, 3, 4]);
}

/// Story: on a full disk the error said that nothing was deleted yet, or that the next opening finishes the
/// delete. Now the kind of error tells which.
#[test]
fn a_delete_on_a_full_disk_tells_its_outcome() {
    let mut said = [0; 2];
    for space in (0..).step_by(64) {
        let fs = SimFs::default();
        let shard = open(&fs).expect("opens");
        write(&shard, 1, 40, 1).and_then(|()| shard.snapshot()).expect("enough space");
        fs.set_space(Some(space));
        let Err(error) = shard.delete(Selection::Measurement(b"m"), TimeRange::new(1, 30)) else { break };
        fs.set_space(None);
        let is_unfinished = matches!(error.kind(), ErrorKind::DeleteUnfinished(_));
        let left = read(&open(&fs.kill()).expect("opens"), "reopened").len();
        assert_eq!(left, if is_unfinished { 10 } else { 40 }, "{space}: {error}");
        said[usize::from(is_unfinished)] += 1;
    }
    assert!(said.iter().all(|&times| times > 0), "{said:?}");
}

/// Story: a delete's keys took more than one log record. A crash between the records left a delete of some
/// keys.
#[test]
fn a_delete_of_many_keys_is_atomic() {
    const KEYS: u32 = 150;
    let series = |n: u32| format!("m,t={}{n:05}", "x".repeat(60_000));
    let write = |shard: &Shard, keys: std::ops::Range<u32>| {
        let names: Vec<String> = keys.map(series).collect();
        let mut builder = BatchBuilder::new();
        for name in &names {
            builder.begin(name.as_bytes().into());
            builder.field(b"v".as_slice().into(), Value::Integer(1)).expect("one type");
            builder.commit(1);
        }
        shard.write(&builder.finish()).map(drop)
    };
    let run = |fs: &SimFs| -> Result<(u64, Shard)> {
        let options = Options { background: false, encode_threads: 1, ..Options::default() };
        let shard = engine::open_on(fs.clone(), Dirs::under(Path::new("/shard")), options)?;
        write(&shard, 0..KEYS / 2)?;
        shard.snapshot()?;
        write(&shard, KEYS / 2..KEYS)?;
        let begun = fs.operations();
        let report = shard.delete(Selection::Measurement(b"m"), TimeRange::ALL)?;
        assert_eq!((report.keys, report.files), (u64::from(KEYS), 1));
        Ok((begun, shard))
    };
    let fs = SimFs::default();
    let (begun, shard) = run(&fs).expect("no crash");
    drop(shard);
    let mut seen = [false; 2];
    for stop in begun + 1..=fs.operations() {
        let fs = SimFs::default();
        fs.stop_at(stop);
        let acknowledged = run(&fs).is_ok();
        let left = open(&fs.crash(stop)).expect("opens").keys().len();
        assert!(left == 0 || (left == KEYS as usize && !acknowledged), "stopped at {stop}: {left} keys");
        seen[usize::from(left == 0)] = true;
    }
    assert_eq!(seen, [true; 2], "before and after the record");
}
