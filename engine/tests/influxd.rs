//! The real influxd 1.6.7 and ours take turns on one shard.
//!
//! Skipped with a note unless `influxd` is installed (Debian: `apt-get install influxdb`). Uses 127.0.0.1
//! only.

#[path = "support/engine.rs"]
mod engine;
#[path = "support/influxd.rs"]
mod server;

use std::fmt::Write as _;

use server::{Influxd, shard_dirs, start_with_database};
use tsmith_codecs::SeriesKey;
use tsmith_engine::line::Reason;
use tsmith_engine::{
    Dirs, DynEngine, FieldKey, FieldTyping, LineOptions, Options, Selection, TimeRange, Timestamp, Value,
};
use tsmith_tsm::KeyEntry;
use tsmith_wal::fs::OsFs;

type Shard = DynEngine;

const START: i64 = 1_600_000_000_000_000_000;

/// Lines of all types of InfluxDB 1.6, for the numbers of `range`.
fn lines(range: std::ops::Range<i64>) -> String {
    let mut out = String::new();
    for n in range {
        let time = START + n * 1_000_000_000;
        let half = n as f64 / 2.0;
        writeln!(out, "m\\ x,t=a f={half},i={n}i,b={},s=\"say \\\"{n}\\\"\" {time}", n % 3 == 0)
            .expect("into a string");
        writeln!(out, "m\\ x,t=b f=-{half} {time}").expect("into a string");
    }
    out
}

/// Checks influxd's answer for series `t=a`, as rows of time, b, f, i, s.
fn assert_influxd_holds(server: &Influxd, count: i64) {
    let answer = server.query("SELECT b, f, i, s FROM \"m x\" WHERE t = 'a'");
    let rows = answer["results"][0]["series"][0]["values"].as_array().expect("rows").clone();
    assert_eq!(rows.len() as i64, count);
    for (n, row) in (0..count).zip(&rows) {
        let expected = serde_json::json!([
            START + n * 1_000_000_000,
            n % 3 == 0,
            n as f64 / 2.0,
            n,
            format!("say \"{n}\"")
        ]);
        let same = row
            .as_array()
            .expect("a row")
            .iter()
            .zip(expected.as_array().expect("a row"))
            .all(|(a, b)| a == b || a.as_f64().is_some() && a.as_f64() == b.as_f64());
        assert!(same, "row {n}: {row} is not {expected}");
    }
    let answer = server.query("SELECT count(f) FROM \"m x\" WHERE t = 'b'");
    assert_eq!(answer["results"][0]["series"][0]["values"][0][1], count);
}

fn assert_ours_holds(shard: &Shard, count: i64) {
    let series = b"m\\ x,t=a";
    let read = |field: &[u8]| shard.read(FieldKey::new(series, field), TimeRange::ALL).expect("readable");
    let (f, i, b, s) = (read(b"f"), read(b"i"), read(b"b"), read(b"s"));
    assert_eq!(f.len() as i64, count);
    for (at, n) in (0..count).enumerate() {
        assert_eq!(f.times()[at], START + n * 1_000_000_000);
        assert_eq!(f.as_ref().values().get(at), Value::Float(n as f64 / 2.0));
        assert_eq!(i.as_ref().values().get(at), Value::Integer(n));
        assert_eq!(b.as_ref().values().get(at), Value::Boolean(n % 3 == 0));
        assert_eq!(s.as_ref().values().get(at), Value::String(format!("say \"{n}\"").as_bytes()));
    }
}

#[test]
fn influxd_and_ours_take_turns_on_one_shard() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let Some(server) = start_with_database(root) else { return };
    // influxd writes first and is killed with its values only in the log.
    server.write(&lines(0..1500));
    server.end("-KILL");

    // Ours continues: it reads the log, writes a file, and writes more to the log.
    let options = LineOptions::new(Timestamp(0));
    let shard = engine::open(shard_dirs(root), Options::default()).expect("influxd's shard");
    assert_ours_holds(&shard, 1500);
    let report = shard.write_lines(lines(1500..2500).as_bytes(), &options).expect("written");
    assert!(report.rejected.is_empty() && report.ack.is_some());
    shard.snapshot().expect("a file");
    let report = shard.write_lines(lines(2500..3000).as_bytes(), &options).expect("written");
    assert!(report.ack.is_some());
    // Dropped without closing, as after a crash.
    drop(shard);

    // influxd takes over and writes.
    let server = Influxd::start(root).expect("is installed");
    assert_influxd_holds(&server, 3000);
    server.write(&lines(3000..3300));
    assert_influxd_holds(&server, 3300);
    server.end("-TERM");

    // Back to ours.
    let shard = engine::open(shard_dirs(root), Options::default()).expect("influxd's shard");
    assert_ours_holds(&shard, 3300);
    shard.snapshot().expect("a file");
    shard.close().expect("closes");
    let server = Influxd::start(root).expect("is installed");
    assert_influxd_holds(&server, 3300);
    server.end("-TERM");
}

/// Law: a block of any size is in the format of influxd, which reads it and compacts it.
#[test]
fn influxd_reads_blocks_of_every_size() {
    const COUNT: i64 = 70_000;
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let Some(server) = start_with_database(root) else { return };
    server.write(&lines(0..10));
    server.end("-TERM");
    let text = lines(0..COUNT);
    let (options, mut blocks) = (LineOptions::new(Timestamp(0)), Vec::new());
    for points_per_block in [1024, 65_536] {
        let options_of = Options { points_per_block, background: false, ..Options::default() };
        let shard = engine::open(shard_dirs(root), options_of).expect("influxd's shard");
        let written = shard.write_lines(text.as_bytes(), &options).expect("written");
        assert!(written.rejected.is_empty());
        shard.snapshot().expect("a file");
        let newest = shard.files().last().expect("a file").clone();
        blocks.push(newest.reader().keys().map(KeyEntry::block_count).sum::<usize>());
        assert_ours_holds(&shard, COUNT);
        shard.close().expect("closes");
        let server = Influxd::start(root).expect("is installed");
        assert_influxd_holds(&server, COUNT);
        server.end("-TERM");
    }
    // Five columns.
    assert_eq!(blocks, [5 * 69, 5 * 2]);
}

/// Law: influxd refuses a file of another encoder instead of misreading it.
#[test]
fn influxd_refuses_a_file_of_another_encoder() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let Some(server) = start_with_database(root) else { return };
    server.write("seed v=1 1600000000000000000");
    server.end("-TERM");
    let elsewhere = root.join("elsewhere");
    let shard = engine::open_parts(OsFs, "ring/file/zstd", Dirs::under(&elsewhere), Options::default())
        .expect("a new directory");
    let written =
        shard.write_lines(lines(0..10).as_bytes(), &LineOptions::new(Timestamp(0))).expect("written");
    assert!(written.ack.is_some());
    let report = shard.snapshot().expect("a file");
    shard.close().expect("closes");
    std::fs::copy(&report.files[0], shard_dirs(root).data.join("000000009-000000001.tsm")).expect("copied");
    let server = Influxd::start(root).expect("is installed");
    let answer = server.query("SELECT * FROM \"m x\"");
    assert!(answer["results"][0].get("series").is_none(), "{answer}");
    server.end("-TERM");
    // 0x54 in binary, as influxd prints it.
    let log = std::fs::read_to_string(root.join("influxd.log")).expect("its log");
    assert!(log.contains("init: file is version 1010100. expected 1"), "{log}");
}

/// InfluxDB does not open a shard in which a field has two types. That is why its directories use one type
/// per measurement.
#[test]
fn influxd_refuses_a_field_with_two_types() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let Some(server) = start_with_database(root) else { return };
    server.write("m,t=a v=1 1600000000000000000");
    server.end("-TERM");
    let line = b"m,t=b v=2i 1600000000000000000\n";
    let write = |typing| {
        let options = Options { typing, ..Options::default() };
        let shard = engine::open(shard_dirs(root), options).expect("influxd's shard");
        let report = shard.write_lines(line, &LineOptions::new(Timestamp(0))).expect("written");
        shard.snapshot().expect("a file");
        shard.close().expect("closes");
        report
    };
    let refused = write(None);
    assert!(matches!(refused.rejected[0].reason, Reason::FieldTypeConflict { .. }), "InfluxDB's rule");
    std::fs::remove_file(shard_dirs(root).data.join("tsmith.manifest")).expect("removed");
    assert!(write(Some(FieldTyping::Series)).rejected.is_empty(), "with `series` typing");
    let server = Influxd::start(root).expect("is installed");
    let answer = server.query("SELECT * FROM m");
    assert!(answer["results"][0].get("series").is_none(), "{answer}");
    server.end("-TERM");
    let log = std::fs::read_to_string(root.join("influxd.log")).expect("its log");
    assert!(log.contains("field type conflict"), "{log}");
}

/// The remaining numbers in series `t=a`.
type Left = std::collections::BTreeSet<i64>;

fn start_of(range: &std::ops::Range<i64>) -> (i64, i64) {
    (START + range.start * 1_000_000_000, START + range.end * 1_000_000_000 - 1)
}

fn influxd_deletes(server: &Influxd, left: &mut Left, range: std::ops::Range<i64>) {
    let (from, to) = start_of(&range);
    server.query(&format!("DELETE FROM \"m x\" WHERE t = 'a' AND time >= {from} AND time <= {to}"));
    left.retain(|n| !range.contains(n));
}

fn ours_deletes(shard: &Shard, left: &mut Left, range: std::ops::Range<i64>) {
    let (from, to) = start_of(&range);
    let series = Selection::Series(SeriesKey(b"m\\ x,t=a"));
    shard.delete(series, TimeRange::new(from, to)).expect("deleted");
    left.retain(|n| !range.contains(n));
}

fn assert_both_hold(server: Option<&Influxd>, shard: Option<&Shard>, left: &Left, what: &str) {
    let times: Vec<i64> = left.iter().map(|n| START + n * 1_000_000_000).collect();
    if let Some(server) = server {
        let answer = server.query("SELECT b, f, i, s FROM \"m x\" WHERE t = 'a'");
        let none = Vec::new();
        let rows = answer["results"][0]["series"][0]["values"].as_array().unwrap_or(&none);
        let found: Vec<i64> = rows.iter().filter_map(|row| row[0].as_i64()).collect();
        assert_eq!(found, times, "{what}: influxd");
        for (n, row) in left.iter().zip(rows) {
            assert_eq!(
                (row[3].as_i64(), row[4].as_str()),
                (Some(*n), Some(&*format!("say \"{n}\""))),
                "{what}"
            );
        }
    }
    if let Some(shard) = shard {
        for field in [&b"b"[..], b"f", b"i", b"s"] {
            let key = FieldKey::new(b"m\\ x,t=a", field);
            assert_eq!(shard.read(key, TimeRange::ALL).expect("readable").times(), times, "{what}: {key}");
        }
    }
}

/// Both programs delete, write again, snapshot and compact in turns, with kills in between.
#[test]
fn influxd_and_ours_see_each_others_deletes() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let Some(server) = start_with_database(root) else { return };
    let lines_options = LineOptions::new(Timestamp(0));
    let on_demand = || Options { background: false, ..Options::default() };
    let write = |shard: &Shard, range: std::ops::Range<i64>| {
        assert!(shard.write_lines(lines(range).as_bytes(), &lines_options).expect("written").ack.is_some());
    };
    let mut left: Left = (0..3000).collect();
    server.write(&lines(0..3000));
    influxd_deletes(&server, &mut left, 100..200);
    server.write(&lines(150..160));
    left.extend(150..160);
    assert_both_hold(Some(&server), None, &left, "influxd, alone");
    server.end("-KILL");

    let shard = engine::open(shard_dirs(root), on_demand()).expect("influxd's shard");
    assert_both_hold(None, Some(&shard), &left, "ours, after influxd was killed");
    shard.snapshot().expect("a file");
    ours_deletes(&shard, &mut left, 500..1700);
    write(&shard, 600..700);
    left.extend(600..700);
    ours_deletes(&shard, &mut left, 650..655);
    shard.snapshot().expect("a second file");
    ours_deletes(&shard, &mut left, 2000..2100);
    write(&shard, 2050..2051);
    left.insert(2050);
    assert_both_hold(None, Some(&shard), &left, "ours");
    // Not closed: the deletes are in the log, the tombstones beside the files.
    drop(shard);

    let server = Influxd::start(root).expect("is installed");
    assert_both_hold(Some(&server), None, &left, "influxd, after ours");
    server.end("-TERM");

    let shard = engine::open(shard_dirs(root), on_demand()).expect("its own shard");
    assert_both_hold(None, Some(&shard), &left, "ours again");
    shard.snapshot().expect("a file");
    shard.compact(tsmith_engine::Compact::Full).expect("compacts");
    assert_eq!(shard.files().len(), 1);
    assert_both_hold(None, Some(&shard), &left, "ours, compacted");
    ours_deletes(&shard, &mut left, 0..10);
    shard.close().expect("closes");

    let server = Influxd::start(root).expect("is installed");
    assert_both_hold(Some(&server), None, &left, "influxd, after compaction");
    influxd_deletes(&server, &mut left, 2900..2950);
    server.write(&lines(5..7));
    left.extend(5..7);
    assert_both_hold(Some(&server), None, &left, "influxd, with deletes of both");
    server.end("-KILL");

    let shard = engine::open(shard_dirs(root), on_demand()).expect("influxd's shard");
    assert_both_hold(None, Some(&shard), &left, "ours, with tombstones of both");
    shard.snapshot().expect("a file");
    shard.compact(tsmith_engine::Compact::Fast).expect("compacts");
    assert_both_hold(None, Some(&shard), &left, "ours, compacted again");
    shard.close().expect("closes");
    let server = Influxd::start(root).expect("is installed");
    assert_both_hold(Some(&server), None, &left, "influxd at the end");
    server.end("-TERM");
}

/// Story: influxd had an integer field and deleted its points. Ours accepted a string for it, and then
/// influxd answered no query, because its `fields.idx` had the integer. With an on-disk index it also did not
/// find new series while that file existed.
#[test]
fn influxd_finds_fields_of_new_types_and_new_series() {
    for index in ["inmem", "tsi1"] {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path();
        if Influxd::start(root).is_none() {
            eprintln!("skipped: influxd is not installed");
            return;
        }
        let start = || Influxd::start_with(root, index).expect("is installed");
        let server = start();
        server.query(&format!(
            "CREATE DATABASE {} WITH DURATION INF REPLICATION 1 SHARD DURATION 1000w NAME \"long\"",
            server::DATABASE
        ));
        server.write(&format!("m f=1i {START}\nz f=1 {START}"));
        server.query("DELETE FROM m");
        server.end("-TERM");
        let open = || {
            engine::open(shard_dirs(root), Options { background: false, ..Options::default() })
                .expect("influxd's shard")
        };
        assert!(shard_dirs(root).data.join("fields.idx").exists());
        let shard = open();
        let report = shard
            .write_lines(
                format!("m f=\"s\" {START}\nz,t=b f=2 {START}").as_bytes(),
                &LineOptions::new(Timestamp(0)),
            )
            .expect("written");
        assert!(report.rejected.is_empty() && report.ack.is_some());
        // Dropped without closing, as after a crash.
        drop(shard);
        for what in ["log", "file"] {
            let server = start();
            let answer = |text: &str| server.query(text)["results"][0]["series"][0]["values"].clone();
            assert_eq!(answer("SELECT f FROM m"), serde_json::json!([[START, "s"]]), "{index}, {what}");
            assert_eq!(answer("SELECT count(f) FROM z")[0][1], 2, "{index}, {what}");
            server.end("-TERM");
            let shard = open();
            shard.snapshot().expect("a file");
            shard.close().expect("closes");
        }
    }
}
