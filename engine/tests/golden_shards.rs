//! Shards written by the real InfluxDB 1.6.7, opened by ours: its log, its files, and the snapshot from one to the other.

#[path = "support/engine.rs"]
mod engine;
mod support;

use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use support::{hex, lines, unhex, vector};
use tsmith_engine::{Column, Dirs, DynEngine, ErrorKind, FieldKey, FieldType, Options, TimeRange, Value};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{ReplayMode, replay_only};

type Shard = DynEngine;

/// Files of the vectors, put where a shard has them.
fn shard(data: &[&str], wal: &[&str]) -> (tempfile::TempDir, Dirs) {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs { data: root.path().join("data/db/rp/1"), wal: root.path().join("wal/db/rp/1") };
    for (dir, names) in [(&dirs.data, data), (&dirs.wal, wal)] {
        fs::create_dir_all(dir).expect("a directory");
        for name in names {
            let file = Path::new(name).file_name().expect("a file");
            fs::write(dir.join(file), vector(name)).expect("written");
        }
    }
    (root, dirs)
}

fn options() -> Options {
    Options { background: false, ..Options::default() }
}

/// One value in the form of the vectors.
fn json(value: Value<'_>) -> Json {
    match value {
        Value::Float(v) => format!("{:016x}", v.to_bits()).into(),
        Value::Integer(v) => v.into(),
        Value::Unsigned(v) => v.into(),
        Value::Boolean(v) => v.into(),
        Value::String(v) => hex(v).into(),
    }
}

fn assert_column(key: &str, column: &Column, expected: &Json) {
    let expected = expected.as_array().expect("a list of points");
    assert_eq!(column.len(), expected.len(), "{key}");
    for (at, point) in expected.iter().enumerate() {
        assert_eq!(Some(column.times()[at]), point[0].as_i64(), "{key}: time {at}");
        assert_eq!(json(column.as_ref().values().get(at)), point[1], "{key}: value {at}");
    }
}

/// Every key of the list, and no other, with its values.
fn assert_holds(shard: &Shard, list: &str) {
    let mut keys = Vec::new();
    for line in lines(list).iter().filter(|line| line.get("values").is_some()) {
        let key = line["key"].as_str().expect("a key");
        let column = shard.read(FieldKey::parse(key.as_bytes()).expect("a separator"), TimeRange::ALL);
        assert_column(key, &column.expect("readable"), &line["values"]);
        keys.push(key.as_bytes().to_vec());
    }
    keys.sort_unstable();
    assert_eq!(shard.keys(), keys);
}

#[test]
fn a_log_snapshots_to_the_very_file_of_the_original() {
    let (_root, dirs) = shard(&[], &["snapshot/_00001.wal"]);
    let shard = engine::open(dirs.clone(), options()).expect("an InfluxDB shard");
    let report = shard.snapshot().expect("room");
    assert_eq!(report.files, [dirs.data.join("000000001-000000001.tsm")]);
    assert_eq!(fs::read(&report.files[0]).expect("written"), vector("snapshot/000000001-000000001.tsm"));
    shard.close().expect("in order");
    assert!(!dirs.wal.join("_00001.wal").exists(), "its values are in the file");
}

#[test]
fn every_kind_of_record_loads_as_in_influxdb() {
    let wal = ["wal/normal/_00001.wal", "wal/normal/_00002.wal", "wal/normal/_00003.wal"];
    let (_root, dirs) = shard(&[], &wal);
    let shard = engine::open(dirs, options()).expect("an InfluxDB shard");
    assert_holds(&shard, "expected/wal-normal-loaded.jsonl");
    let facts = lines("expected/wal-normal-loaded.jsonl");
    let size = facts.iter().find_map(|line| line["cache_size"].as_u64());
    assert_eq!(Some(shard.cache_bytes()), size, "the original's account of memory");
}

#[test]
fn corruption_in_a_sealed_segment_refuses_to_open() {
    let wal = ["wal/torn-then-good/_00001.wal", "wal/torn-then-good/_00002.wal"];
    let (_root, dirs) = shard(&[], &wal);
    let error = engine::open(dirs.clone(), options()).expect_err("corruption, and a good segment after it");
    assert!(error.to_string().contains("_00001.wal: offset 2596"), "{error}");
    assert_eq!(fs::read(dirs.wal.join("_00001.wal")).expect("still there"), vector(wal[0]));
    // As the original does it: the rest of that segment is dropped, the next one read.
    let read = replay_only(&OsFs, &dirs.wal, ReplayMode::InfluxDb, |_, _| Ok(()));
    assert_eq!(read.expect("the original opens it").gaps.len(), 1);
}

#[test]
fn overlapping_generations_read_as_one() {
    let files: Vec<String> = (1..=4).map(|n| format!("tsm/overlap/{n:09}-000000001.tsm")).collect();
    let (_root, dirs) = shard(&files.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let shard = engine::open(dirs, options()).expect("an InfluxDB shard");
    assert_holds(&shard, "expected/tsm-overlap-merged.jsonl");
}

#[test]
fn deleted_points_stay_deleted() {
    let name = |n: u32, kind: &str| format!("tsm/overlap-tombstoned/{n:09}-000000001.{kind}");
    let files: Vec<String> = (1..=4).flat_map(|n| [name(n, "tsm"), name(n, "tombstone")]).collect();
    let (_root, dirs) = shard(&files.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let shard = engine::open(dirs, options()).expect("an InfluxDB shard");
    for line in lines("expected/tsm-overlap-tombstoned-merged.jsonl") {
        let Some(key) = line["key"].as_str() else { continue };
        let column = shard.read(FieldKey::parse(key.as_bytes()).expect("a separator"), TimeRange::ALL);
        assert_column(key, &column.expect("readable"), &line["values"]);
    }
}

/// Hex is for the vectors only; this keeps both directions honest.
#[test]
fn hex_digits_go_both_ways() {
    assert_eq!(unhex(&hex(b"\x00\xffab")), b"\x00\xffab");
    assert_eq!(json(Value::Float(-0.0)), "8000000000000000");
    assert_eq!(FieldType::ALL.len(), 5);
}

/// Story: the log of a foreign shard held another type than its file; the cached values were left out of an answer that
/// said Ok. An engine does not open such a shard. A view shows the values of the file, and names the record of the log.
#[test]
fn a_log_that_contradicts_a_file_is_reported() {
    let (_one, dirs) = shard(&[], &[]);
    let key = FieldKey::new(b"m", b"v");
    let write = |dirs: &Dirs, line: &[u8]| {
        let options = tsmith_engine::LineOptions::new(tsmith_engine::Timestamp(0));
        let shard = engine::open(dirs.clone(), self::options()).expect("opens");
        assert!(shard.write_lines(line, &options).expect("room").ack.is_some());
        shard
    };
    let shard_of_file = write(&dirs, b"m v=1.5 1\n");
    shard_of_file.snapshot().expect("room");
    shard_of_file.close().expect("in order");
    let (_two, other) = shard(&[], &[]);
    write(&other, b"m v=2i 2\n").close().expect("in order");
    for entry in fs::read_dir(&other.wal).expect("a log").map(|entry| entry.expect("an entry").path()) {
        fs::copy(&entry, dirs.wal.join(entry.file_name().expect("a name"))).expect("copied");
    }
    let opened = engine::open(dirs.clone(), options()).expect_err("two types");
    let view =
        tsmith_engine::view::View::open(&tsmith_engine::Registry::standard(), &dirs.data, Some(&dirs.wal))
            .expect("a shard");
    let mut column = Column::new(FieldType::Float);
    view.reader().read(key, TimeRange::ALL, &mut column).expect("the file is intact");
    assert_eq!((column.field_type(), column.times()), (FieldType::Float, &[1][..]));
    let [problem] = view.problems() else { panic!("one record: {:?}", view.problems()) };
    assert!(matches!(problem.kind(), ErrorKind::NotReplayed { .. }), "{problem}");
    for error in [opened.to_string(), problem.to_string()] {
        assert!(error.contains("m#!~#v") && error.contains("integer") && error.contains("float"), "{error}");
    }
}
