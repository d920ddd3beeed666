//! If the creation of a directory is interrupted anywhere, the next opening succeeds.

#[path = "support/engine.rs"]
mod engine;

use tsmith_engine::{
    BatchBuilder, Column, Dirs, DynEngine, FieldKey, FieldTyping, Manifest, Options, Registry, Result, Setup,
    TimeRange, Value,
};
use tsmith_wal::fs::OsFs;
use tsmith_wal::segment_names;
use tsmith_wal::testing::{Fault, SimFs};

const SEEDS: u64 = 6;
/// Not the default, so the test notices a directory that lost it.
const ASKED: FieldTyping = FieldTyping::Measurement;

type Shard = DynEngine<SimFs>;

/// Data and log in separate trees, as in InfluxDB.
fn dirs() -> Dirs {
    Dirs { data: "/i/data/s".into(), wal: "/i/wal/s".into() }
}

fn open(fs: &SimFs, log: &str, typing: Option<FieldTyping>) -> Result<Shard> {
    let mut options = Options { typing, background: false, encode_threads: 1, ..Options::default() };
    options.log.segment_bytes = 2048;
    engine::open_parts(fs.clone(), &format!("ring/{log}/tsm1"), dirs(), options)
}

fn write(shard: &Shard, time: i64) -> Result<()> {
    let mut builder = BatchBuilder::new();
    builder.begin(b"m".as_slice().into());
    builder.field(b"v".as_slice().into(), Value::Integer(time)).expect("one type");
    builder.commit(time);
    shard.write(&builder.finish()).map(drop)
}

fn times(shard: &Shard) -> Vec<i64> {
    let read: Column = shard.read(FieldKey::new(b"m", b"v"), TimeRange::ALL).expect("reads");
    read.times().to_vec()
}

/// Opens the remains of a creation. The typing is passed again only if there is no manifest, and therefore no
/// log.
fn reopen(fs: &SimFs, log: &str, what: &str) -> Shard {
    let found = Manifest::read(fs, &dirs().data).unwrap_or_else(|error| panic!("{what}: {error}"));
    let segments = segment_names(fs, &dirs().wal).unwrap_or_default();
    assert!(found.is_some() || segments.is_empty(), "{what}: {segments:?} without a manifest");
    let asked = if found.is_some() { None } else { Some(ASKED) };
    let shard = open(fs, log, asked).unwrap_or_else(|error| panic!("{what}: {error}"));
    let manifest = Manifest::read(fs, &dirs().data).expect("reads").expect("is there");
    assert_eq!(manifest.typing, ASKED, "{what}");
    assert!(found.is_none_or(|found| found == manifest), "{what}: the manifest changed");
    shard
}

fn sweep(log: &str) {
    let whole = SimFs::default();
    let shard = open(&whole, log, Some(ASKED)).expect("creates");
    let operations = whole.operations();
    drop(shard);
    for stop in 1..=operations {
        for seed in 0..SEEDS {
            let fs = SimFs::default();
            fs.stop_at(stop);
            drop(open(&fs, log, Some(ASKED)));
            let what = format!("stop {stop} ({:?}), seed {seed}", fs.operation(stop));
            // Seed 0: the process is killed and the system continues.
            let left = if seed == 0 { fs.kill() } else { fs.crash(seed) };
            // The next opening may be interrupted, too.
            let cut_short = left.crash(seed);
            cut_short.stop_at(1 + (stop * 7 + seed * 13) % operations);
            drop(open(&cut_short, log, Some(ASKED)));
            for fs in [left, cut_short.crash(seed)] {
                let shard = reopen(&fs, log, &what);
                write(&shard, 1).unwrap_or_else(|error| panic!("{what}: {error}"));
                let again = reopen(&fs.crash(seed), log, &what);
                assert_eq!(times(&again), [1], "{what}");
            }
        }
    }
    for at in 1..=operations {
        for fault in [Fault::Io, Fault::Full] {
            let fs = SimFs::default();
            fs.fail_at(at, fault);
            drop(open(&fs, log, Some(ASKED)));
            reopen(&fs.kill(), log, &format!("{fault:?} at {at}"));
        }
    }
}

/// Story: a kill during creation left a log without a manifest. With the log `etcd` nothing opened the
/// directory again, and repair gave it another typing. Now the manifest is durable before the log has a
/// segment.
#[test]
fn an_interrupted_creation_opens_with_file() {
    sweep("file");
}

#[test]
fn an_interrupted_creation_opens_with_mmap() {
    sweep("mmap");
}

#[test]
fn an_interrupted_creation_opens_with_native() {
    sweep("native");
}

#[test]
fn an_interrupted_creation_opens_with_etcd() {
    sweep("etcd");
}

fn setup(flags: &[(&str, &str)]) -> Setup {
    let mut setup =
        Setup { options: Options { background: false, ..Options::default() }, ..Setup::default() };
    for (flag, value) in flags {
        setup.set(flag, value).expect("a known flag");
    }
    setup
}

/// A manifest with an empty log directory is a new engine, with any log. A kill after writing the manifest
/// leaves that.
#[test]
fn a_manifest_with_an_empty_log_is_a_fresh_engine() {
    for log in ["file", "mmap", "native", "etcd", "null"] {
        let root = tempfile::tempdir().expect("a directory");
        let dirs = Dirs::under(root.path());
        let asked = [("log", log), ("types", "measurement"), ("encoder", "tsm1")];
        setup(&asked).open(&Registry::standard(), dirs.clone()).expect("creates").close().expect("closes");
        let made = Manifest::read(&OsFs, &dirs.data).expect("reads").expect("is there");
        for entry in std::fs::read_dir(&dirs.wal).expect("a directory") {
            std::fs::remove_file(entry.expect("an entry").path()).expect("removes");
        }
        setup(&[])
            .open(&Registry::standard(), dirs.clone())
            .unwrap_or_else(|error| panic!("{log}: {error}"))
            .close()
            .expect("closes");
        assert_eq!(Manifest::read(&OsFs, &dirs.data).expect("reads"), Some(made), "{log}");
    }
}
