//! Shards written by InfluxDB 1.6.7 and opened by ours: log, files, and the snapshot from log to files.

#[path = "support/engine.rs"]
mod engine;
mod support;

use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use support::{hex, lines, names, unhex, vector};
use tsmith_engine::{Column, Dirs, DynEngine, ErrorKind, FieldKey, FieldType, Options, TimeRange, Value};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{ReplayMode, replay_only};

type Shard = DynEngine;

/// Places files of the vectors in the layout of a shard.
fn shard(data: &[String], wal: &[String]) -> (tempfile::TempDir, Dirs) {
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

/// A value in the form of the vectors.
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

/// Checks that the shard has exactly the keys of the list, with their values.
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
fn a_snapshot_writes_influxdbs_file() {
    let [file] = &names("snapshot", &[".tsm"])[..] else { panic!("one file") };
    let segments = names("snapshot", &[".wal"]);
    let (_root, dirs) = shard(&[], &segments);
    let shard = engine::open(dirs.clone(), options()).expect("an InfluxDB shard");
    let report = shard.snapshot().expect("enough space");
    assert_eq!(report.files, [dirs.data.join(Path::new(file).file_name().expect("a name"))]);
    assert_eq!(fs::read(&report.files[0]).expect("written"), vector(file));
    shard.close().expect("closes");
    for segment in segments {
        let segment = dirs.wal.join(Path::new(&segment).file_name().expect("a name"));
        assert!(!segment.exists(), "its values are in the file");
    }
}

#[test]
fn every_kind_of_record_loads_as_in_influxdb() {
    let (_root, dirs) = shard(&[], &names("wal/normal", &[".wal"]));
    let shard = engine::open(dirs, options()).expect("an InfluxDB shard");
    assert_holds(&shard, "expected/wal-normal-loaded.jsonl");
    let facts = lines("expected/wal-normal-loaded.jsonl");
    let size = facts.iter().find_map(|line| line["cache_size"].as_u64());
    assert_eq!(Some(shard.cache_bytes()), size, "memory is counted as in InfluxDB");
}

#[test]
fn corruption_in_a_sealed_segment_refuses_to_open() {
    let segments = names("wal/torn-then-good", &[".wal"]);
    let (_root, dirs) = shard(&[], &segments);
    // InfluxDB truncates each torn segment, and then reads the next one.
    let facts = lines("expected/wal-torn-then-good-loaded.jsonl");
    let torn = facts.iter().filter_map(|fact| {
        let (before, after) = (fact["size_before"].as_u64()?, fact["size_after"].as_u64()?);
        (after < before).then(|| (dirs.wal.join(fact["segment"].as_str().expect("a name")), after))
    });
    let torn: Vec<_> = torn.collect();
    let error = engine::open(dirs.clone(), options()).expect_err("corruption, and a good segment after it");
    let ErrorKind::Log(corrupt) = error.kind() else { panic!("{error}") };
    let (path, offset) = &torn[0];
    assert_eq!((corrupt.path(), corrupt.offset()), (Some(&**path), Some(*offset)), "{error}");
    for segment in segments {
        let path = dirs.wal.join(Path::new(&segment).file_name().expect("a name"));
        assert_eq!(fs::read(path).expect("still there"), vector(&segment));
    }
    let read = replay_only(&OsFs, &dirs.wal, ReplayMode::InfluxDb, |_, _| Ok(()));
    assert_eq!(read.expect("InfluxDB opens it").gaps.len(), torn.len());
}

#[test]
fn overlapping_generations_read_as_one() {
    let (_root, dirs) = shard(&names("tsm/overlap", &[".tsm"]), &[]);
    let shard = engine::open(dirs, options()).expect("an InfluxDB shard");
    assert_holds(&shard, "expected/tsm-overlap-merged.jsonl");
}

#[test]
fn deleted_points_stay_deleted() {
    let (_root, dirs) = shard(&names("tsm/overlap-tombstoned", &[".tsm", ".tombstone"]), &[]);
    let shard = engine::open(dirs, options()).expect("an InfluxDB shard");
    for line in lines("expected/tsm-overlap-tombstoned-merged.jsonl") {
        let Some(key) = line["key"].as_str() else { continue };
        let column = shard.read(FieldKey::parse(key.as_bytes()).expect("a separator"), TimeRange::ALL);
        assert_column(key, &column.expect("readable"), &line["values"]);
    }
}

/// Hex is used only for the vectors. This checks both directions.
#[test]
fn hex_encodes_and_decodes() {
    assert_eq!(unhex(&hex(b"\x00\xffab")), b"\x00\xffab");
    assert_eq!(json(Value::Float(-0.0)), "8000000000000000");
    assert_eq!(FieldType::ALL.len(), 5);
}

/// Story: the log of a foreign shard held another type than its file, and a query silently left out the
/// cached values. An engine does not open such a shard. A view shows the file's values and reports the log
/// record.
#[test]
fn a_log_that_contradicts_a_file_is_reported() {
    let (_one, dirs) = shard(&[], &[]);
    let key = FieldKey::new(b"m", b"v");
    let write = |dirs: &Dirs, line: &[u8]| {
        let options = tsmith_engine::LineOptions::new(tsmith_engine::Timestamp(0));
        let shard = engine::open(dirs.clone(), self::options()).expect("opens");
        assert!(shard.write_lines(line, &options).expect("enough space").ack.is_some());
        shard
    };
    let shard_of_file = write(&dirs, b"m v=1.5 1\n");
    shard_of_file.snapshot().expect("enough space");
    shard_of_file.close().expect("closes");
    let (_two, other) = shard(&[], &[]);
    write(&other, b"m v=2i 2\n").close().expect("closes");
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
    for error in [&opened, problem] {
        let is_named = match error.kind() {
            ErrorKind::TwoTypes { key, existing, incoming, .. } => {
                key == "m#!~#v" && (*existing, *incoming) == (FieldType::Float, FieldType::Integer)
            }
            ErrorKind::NotReplayed { reason, .. } => reason.contains("m#!~#v"),
            _ => false,
        };
        assert!(is_named, "{error}");
    }
}
