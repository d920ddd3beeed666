//! A directory of a real influxd 1.6.7, copied after SIGKILL, with files, tombstones and a log of overwrites
//! and deletes: ours must hold what that server answered, before and after compaction.

#[path = "support/engine.rs"]
mod engine;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use support::{directories, lines, names, vector};
use tsmith_engine::{Compact, Dirs, DynEngine, Engine, FieldKey, Options, TimeRange, Value};

type Shard = DynEngine;

/// Copies all shards of the directory and opens them.
fn shards(root: &Path) -> Vec<Shard> {
    let mut shards = Vec::new();
    let below =
        |dir: &str| -> Vec<String> { directories(dir).iter().map(|name| format!("{dir}/{name}")).collect() };
    // A shard without files has only a log.
    let mut paths = BTreeSet::new();
    for kind in ["influxd/data", "influxd/wal"] {
        let found = below(kind).into_iter().flat_map(|dir| below(&dir)).flat_map(|dir| below(&dir));
        paths.extend(found.filter_map(|path| path.strip_prefix(kind).map(|path| path[1..].to_owned())));
    }
    for shard in paths {
        let dirs = Dirs { data: root.join("data").join(&shard), wal: root.join("wal").join(&shard) };
        for (dir, kind) in [(&dirs.data, "data"), (&dirs.wal, "wal")] {
            fs::create_dir_all(dir).expect("a directory");
            for path in names(&format!("influxd/{kind}/{shard}"), &[".tsm", ".tombstone", ".wal"]) {
                let name = Path::new(&path).file_name().expect("a name");
                fs::write(dir.join(name), vector(&path)).expect("written");
            }
        }
        shards.push(open(dirs));
    }
    assert!(!shards.is_empty());
    shards
}

fn open(dirs: Dirs) -> Shard {
    engine::open(dirs, Options { background: false, ..Options::default() }).expect("an InfluxDB shard")
}

/// A row of `SELECT *`: values by column name, without nulls.
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
        for [tag, value] in parts.as_chunks().0 {
            row.insert(tag.clone(), value.clone());
        }
        rows.entry(name).or_default().insert(row);
    }
    rows
}

/// The measurement, then tag keys and values, without escapes.
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

/// influxd prints integers and floats alike, so numbers are compared as floats.
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

/// The answers by query.
fn answers() -> BTreeMap<String, Vec<Json>> {
    let answer = |line: &Json| {
        let series = line["result"]["results"][0]["series"].as_array().expect("series").clone();
        (line["q"].as_str().expect("a query").to_owned(), series)
    };
    lines("influxd/expected/queries.jsonl").iter().map(answer).collect()
}

fn assert_answers(shards: &[Shard], what: &str) {
    let answers = answers();
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
    // influxd also lists a series whose points were all refused.
    assert!(series.is_subset(&column(&answers["SHOW SERIES"][0], 0)), "{what}: {series:?}");
    let tags: BTreeMap<String, BTreeSet<String>> = answers["SHOW TAG KEYS"]
        .iter()
        .map(|series| (series["name"].as_str().expect("a name").to_owned(), column(series, 0)))
        .collect();

    // The other queries are computed from the same points.
    let is_plain = |query: &str| {
        let from = query.strip_prefix("SELECT * FROM ");
        from.is_some_and(|from| !["WHERE", "GROUP", "ORDER", "LIMIT"].iter().any(|word| from.contains(word)))
    };
    let mut compared = BTreeSet::new();
    for (query, answer) in answers.iter().filter(|(query, _)| is_plain(query)) {
        for series in answer {
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
    assert!(!compared.is_empty() && compared.is_subset(&names), "{what}: {compared:?}");
    for (query, answer) in answers
        .iter()
        .filter(|(query, _)| query.starts_with("SELECT count(*) FROM ") && query.ends_with(" GROUP BY *"))
    {
        assert_counts(answer, &ours, &format!("{what}: {query}"));
    }
}

/// Checks the number of values of each field in each series.
fn assert_counts(answer: &[Json], rows: &BTreeMap<String, BTreeSet<RowOf>>, what: &str) {
    for series in answer {
        let rows = &rows[series["name"].as_str().expect("a name")];
        let tags = series["tags"].as_object().expect("tags");
        let is_of = |row: &&RowOf| {
            tags.iter().all(|(tag, value)| row.get(tag).map_or("", |v| v) == value.as_str().expect("text"))
        };
        let columns = series["columns"].as_array().expect("names");
        for (at, column) in columns.iter().enumerate() {
            let Some(field) = column.as_str().and_then(|name| name.strip_prefix("count_")) else { continue };
            let count = rows.iter().filter(is_of).filter(|row| row.contains_key(field)).count();
            assert_eq!(series["values"][0][at], count, "{what}: {tags:?} {field}");
        }
    }
}

#[test]
fn an_influxd_directory_gives_the_same_answers() {
    let root = tempfile::tempdir().expect("a directory");
    let mut shards = shards(root.path());
    assert_answers(&shards, "as influxd left it");
    for compact in [Compact::Fast, Compact::Full] {
        for shard in &shards {
            shard.snapshot().expect("enough space");
            shard.compact(compact).expect("compacts");
        }
        assert_answers(&shards, "compacted");
        shards = shards
            .into_iter()
            .map(|shard| {
                let dirs = shard.dirs().clone();
                shard.close().expect("closes");
                open(dirs)
            })
            .collect();
        assert_answers(&shards, "compacted, and opened again");
    }
}
