//! A directory of a real influxd 1.6.7, copied after SIGKILL, with files, tombstones and a log of overwrites and deletes:
//! ours must hold what that server answered, before and after compaction.

#[path = "support/engine.rs"]
mod engine;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use support::{lines, vector};
use tsmith_engine::{Compact, Dirs, DynEngine, Engine, FieldKey, Options, TimeRange, Value};

type Shard = DynEngine;

/// What each shard of the directory has.
const SHARDS: [(&[&str], &str); 4] = [
    (&["000000001-000000001.tsm", "000000001-000000001.tombstone"], "_00002.wal"),
    (&["000000001-000000001.tsm"], "_00002.wal"),
    (&[], "_00001.wal"),
    (&[], "_00001.wal"),
];

fn shards(root: &Path) -> Vec<Shard> {
    let mut shards = Vec::new();
    for (number, (files, segment)) in (1..).zip(SHARDS) {
        let shard = format!("vec/autogen/{number}");
        let dirs = Dirs { data: root.join("data").join(&shard), wal: root.join("wal").join(&shard) };
        for (dir, kind, names) in [(&dirs.data, "data", files), (&dirs.wal, "wal", &[segment])] {
            fs::create_dir_all(dir).expect("a directory");
            for name in names {
                let bytes = vector(&format!("influxd/{kind}/{shard}/{name}"));
                fs::write(dir.join(name), bytes).expect("written");
            }
        }
        shards.push(open(dirs));
    }
    shards
}

fn open(dirs: Dirs) -> Shard {
    engine::open(dirs, Options { background: false, ..Options::default() }).expect("an InfluxDB shard")
}

/// A row as `SELECT *` has it: columns by name, those without a value left out.
type RowOf = BTreeMap<String, String>;

/// The rows of each measurement.
fn rows(shards: &[Shard]) -> BTreeMap<String, BTreeSet<RowOf>> {
    let mut by_place: BTreeMap<(Vec<u8>, i64), RowOf> = BTreeMap::new();
    for shard in shards {
        for composite in shard.keys() {
            let key = FieldKey::parse(&composite).expect("a separator");
            let column = shard.read(key, TimeRange::ALL).expect("readable");
            for (at, &time) in column.times().iter().enumerate() {
                let row = by_place.entry((key.series.to_vec(), time)).or_default();
                let field = String::from_utf8(key.field.to_vec()).expect("text");
                row.insert(field, shown(column.as_ref().values().get(at)));
            }
        }
    }
    let mut rows: BTreeMap<String, BTreeSet<RowOf>> = BTreeMap::new();
    for ((series, time), mut row) in by_place {
        let mut parts = split(&series);
        let name = parts.remove(0);
        row.insert("time".to_owned(), time.to_string());
        for tag in parts.chunks_exact(2) {
            row.insert(tag[0].clone(), tag[1].clone());
        }
        rows.entry(name).or_default().insert(row);
    }
    rows
}

/// Measurement, then tag keys and values, without escapes.
fn split(series: &[u8]) -> Vec<String> {
    let mut parts = vec![String::new()];
    let text = String::from_utf8(series.to_vec()).expect("text");
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let (tags, in_tag_key) = (parts.len() > 1, parts.len().is_multiple_of(2));
        let last = parts.last_mut().expect("one at least");
        match c {
            '\\' if characters.peek().is_some_and(|next| ", =".contains(*next) && (tags || *next != '=')) => {
                last.push(characters.next().expect("peeked"));
            }
            ',' => parts.push(String::new()),
            '=' if in_tag_key => parts.push(String::new()),
            c => last.push(c),
        }
    }
    parts
}

/// Numbers as influxd prints them lose the difference of integer and float, so that they are compared as floats.
fn shown(value: Value<'_>) -> String {
    match value {
        Value::Float(v) => format!("{v}"),
        Value::Integer(v) => format!("{}", v as f64),
        Value::Unsigned(v) => format!("{}", v as f64),
        Value::Boolean(v) => format!("{v}"),
        Value::String(v) => format!("{:?}", String::from_utf8_lossy(v)),
    }
}

fn shown_json(name: &str, value: &Json, tags: &BTreeSet<String>) -> String {
    match value {
        Json::Number(time) if name == "time" => time.to_string(),
        Json::Number(number) => format!("{}", number.as_f64().expect("a number")),
        Json::String(text) if tags.contains(name) => text.clone(),
        Json::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// The answers, by query.
fn answers() -> BTreeMap<String, Vec<Json>> {
    let answer = |line: &Json| {
        let series = line["result"]["results"][0]["series"].as_array().expect("series").clone();
        (line["q"].as_str().expect("a query").to_owned(), series)
    };
    lines("influxd/expected/queries.jsonl").iter().map(answer).collect()
}

fn assert_answers(shards: &[Shard], what: &str) {
    let answers = answers();
    assert_eq!(answers.len(), 16);
    let ours = rows(shards);
    let column = |series: &Json, at: usize| -> BTreeSet<String> {
        let rows = series["values"].as_array().expect("rows");
        rows.iter().map(|row| row[at].as_str().expect("text").to_owned()).collect()
    };
    let names: BTreeSet<String> = ours.keys().cloned().collect();
    assert_eq!(column(&answers["SHOW MEASUREMENTS"][0], 0), names, "{what}");
    let series: BTreeSet<String> = shards
        .iter()
        .flat_map(Engine::keys)
        .collect::<Vec<_>>()
        .iter()
        .map(|key| String::from_utf8(FieldKey::parse(key).expect("a key").series.to_vec()).expect("text"))
        .collect();
    // influxd also names a series of which it refused every point.
    assert!(series.is_subset(&column(&answers["SHOW SERIES"][0], 0)), "{what}: {series:?}");
    let tags: BTreeMap<String, BTreeSet<String>> = answers["SHOW TAG KEYS"]
        .iter()
        .map(|series| (series["name"].as_str().expect("a name").to_owned(), column(series, 0)))
        .collect();

    // Every point of the database is in one of these; the other queries are computed from the same points.
    let mut compared = BTreeSet::new();
    for query in ["edge", "prec", "late", "/ge.x/", "cpu"].map(|name| format!("SELECT * FROM {name}")) {
        for series in &answers[&query] {
            let name = series["name"].as_str().expect("a name");
            let columns: Vec<&str> =
                series["columns"].as_array().expect("names").iter().filter_map(Json::as_str).collect();
            let expected: BTreeSet<RowOf> = series["values"]
                .as_array()
                .expect("rows")
                .iter()
                .map(|row| {
                    let cells = columns.iter().zip(row.as_array().expect("a row"));
                    let cells = cells.filter(|(_, cell)| !cell.is_null());
                    cells.map(|(n, cell)| ((*n).to_owned(), shown_json(n, cell, &tags[name]))).collect()
                })
                .collect();
            assert_eq!(ours[name].len(), expected.len(), "{what}: {query}: {name}");
            for (mine, theirs) in ours[name].iter().zip(&expected) {
                assert_eq!(mine, theirs, "{what}: {query}: {name}");
            }
            compared.insert(name.to_owned());
        }
    }
    assert_eq!(compared, names, "{what}");
    assert_counts(&answers["SELECT count(*) FROM cpu GROUP BY *"], &ours["cpu"], what);
}

fn assert_counts(answer: &[Json], rows: &BTreeSet<RowOf>, what: &str) {
    for series in answer {
        let host = series["tags"]["host"].as_str().expect("a host");
        let of_host = || rows.iter().filter(|row| row["host"] == host);
        for (name, count) in ["idle", "state", "up", "user"].iter().zip(1..) {
            let there = of_host().filter(|row| row.contains_key(*name)).count();
            assert_eq!(series["values"][0][count], there, "{what}: {host} {name}");
        }
    }
}

#[test]
fn a_directory_of_influxd_answers_as_it_did() {
    let root = tempfile::tempdir().expect("a directory");
    let mut shards = shards(root.path());
    assert_answers(&shards, "as it was left");
    for compact in [Compact::Fast, Compact::Full] {
        for shard in &shards {
            shard.snapshot().expect("room");
            shard.compact(compact).expect("compacts");
        }
        assert_answers(&shards, "compacted");
        shards = shards
            .into_iter()
            .map(|shard| {
                let dirs = shard.dirs().clone();
                shard.close().expect("in order");
                open(dirs)
            })
            .collect();
        assert_answers(&shards, "compacted, and opened again");
    }
}
