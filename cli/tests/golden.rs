//! Files that a real influxd wrote, exported and inspected.
//!
//! `TSMITH_VECTORS_TSM1` names a directory of vectors. Without it, the copies in the crates `tsm` and `wal` are used.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Scratch, content, run};

fn root() -> PathBuf {
    root_or("../tsm/tests/vectors/tsm1")
}

fn root_or(copy: &str) -> PathBuf {
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join(copy);
    std::env::var_os("TSMITH_VECTORS_TSM1").map_or(copy, PathBuf::from)
}

/// The lines of a file with expected values. In the copies it is compressed.
fn expected(name: &str) -> Vec<Value> {
    let path = root().join("expected").join(name);
    let text = fs::read(&path).unwrap_or_else(|_| {
        let compressed = path.with_file_name(format!("{name}.zst"));
        zstd::decode_all(fs::File::open(compressed).expect("the vector")).expect("zstd")
    });
    text.split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect()
}

const FILES: &[(&str, &str)] = &[
    ("tsm-single.jsonl", "tsm/single/000000001-000000001.tsm"),
    ("tsm-types.jsonl", "tsm/types/000000007-000000002.tsm"),
    ("tsm-blocks16.jsonl", "tsm/blocks16/000000003-000000004.tsm"),
    ("tsm-extreme.jsonl", "tsm/extreme/000000001-000000001.tsm"),
    ("snapshot-000000001-000000001.tsm.jsonl", "snapshot/000000001-000000001.tsm"),
];

#[test]
fn every_value_of_a_real_file_is_exported() {
    for (name, file) in FILES {
        let wanted = expected(name);
        let text = run("export {} --format jsonl --exact", &[&root().join(file)]).exits(0).text();
        let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(found.len(), wanted.len() - 1, "{file}");
        for (found, wanted) in found.iter().zip(&wanted[1..]) {
            for part in ["key", "type", "values"] {
                assert!(found[part] == wanted[part], "{file}: {}: {part}", wanted["key"]);
            }
        }
    }
}

/// Story: `export` of a single file required a name with generation and sequence; `verify` did not.
#[test]
fn a_single_file_may_have_any_name() {
    let scratch = Scratch::new();
    let original = root().join("tsm/types/000000007-000000002.tsm");
    let copy = scratch.file("copy.of.it.tsm", fs::read(&original).expect("the vector"));
    for verb in ["export {} --format jsonl", "query {} --format csv"] {
        assert_eq!(run(verb, &[&copy]).exits(0).text(), run(verb, &[&original]).exits(0).text());
    }
    run("inspect {}", &[&copy]).exits(0);
    run("stats {}", &[&copy]).exits(0);
    let tombstones = root().join("tombstone/v4-torn.tombstone");
    scratch.file("copy.of.it.tombstone", fs::read(tombstones).expect("the vector"));
    run("export {}", &[&copy]).exits(1).says(&["copy.of.it.tombstone"]);
}

#[test]
fn every_block_of_a_real_file_is_shown() {
    for (name, file) in FILES {
        let wanted = expected(name);
        let found = run("inspect {} --format json", &[&root().join(file)]).exits(0).json();
        let found = &found["files"][0];
        assert_eq!(found["bytes"], wanted[0]["size"], "{file}");
        assert_eq!(found["index_offset"], wanted[0]["index_offset"], "{file}");
        for (key, wanted) in found["keys"].as_array().expect("keys").iter().zip(&wanted[1..]) {
            assert_eq!(key["key"], wanted["key"], "{file}");
            let blocks = key["blocks"].as_array().expect("blocks");
            let entries = wanted["entries"].as_array().expect("entries");
            assert_eq!(blocks.len(), entries.len(), "{file}");
            for (block, entry) in blocks.iter().zip(entries) {
                for part in ["offset", "size", "min", "max", "count", "crc_ok"] {
                    assert_eq!(block[part], entry[part], "{file}: {}: {part}", wanted["key"]);
                }
                assert_eq!(block["encoder"], "tsm1");
            }
        }
        run("verify {}", &[&root().join(file)]).exits(0);
        run("stats {}", &[&root().join(file)]).exits(0);
    }
}

#[test]
fn corrupt_files_are_found_and_unchanged() {
    let dir = root().join("tsm/damaged");
    let before = content(&dir);
    for file in before.keys() {
        let verified = run("verify {}", &[file]).exits(1).text();
        assert!(verified.starts_with("corrupt "), "{verified}");
        run("inspect {}", &[file]).exits(1);
        run("inspect {} --format json", &[file]).exits(1).json();
    }
    assert!(before == content(&dir));
}

#[test]
fn tombstones_are_shown() {
    for name in ["v1", "v3-from-v2", "v4-one", "v4-three", "v4-header-only", "zero"] {
        let wanted = expected(&format!("tombstone-{name}.jsonl"));
        let wanted: Vec<&Value> = wanted.iter().filter(|line| line["key"].is_string()).collect();
        let file = root().join(format!("tombstone/{name}.tombstone"));
        let found = run("inspect {} --format json", &[&file]).exits(0).json();
        let records = found["files"][0]["records"].as_array().expect("records").clone();
        assert_eq!(records.len(), wanted.len(), "{name}");
        for (found, wanted) in records.iter().zip(wanted) {
            for part in ["key", "min", "max"] {
                assert_eq!(found[part], wanted[part], "{name}");
            }
        }
        // InfluxDB accepts a file without records. `verify` adds a note, because the file may have been truncated.
        let verified = run("verify {}", &[&file]).exits(0).text();
        assert_eq!(verified.contains("note "), records.is_empty(), "{name}: {verified}");
    }
    let torn = root().join("tombstone/v4-torn.tombstone");
    run("verify {}", &[&torn]).exits(1);
    assert!(run("inspect {}", &[&torn]).exits(1).text().contains("ERROR"));
    run("export {}", &[&torn]).exits(2).says(&["v4-torn.tombstone", "tsmith inspect"]);
}

#[test]
fn frames_of_real_segments_are_shown() {
    let root = root_or("../wal/tests/vectors/tsm1");
    let file = root.join("wal/normal/_00001.wal");
    let text = fs::read_to_string(root.join("expected/wal-normal-_00001.wal.jsonl")).expect("the vector");
    let wanted: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let wanted: Vec<&Value> = wanted.iter().filter(|line| line["compressed_len"].is_u64()).collect();
    let found = run("inspect {} --format json", &[&file]).exits(0).json();
    let units = found["files"][0]["units"].as_array().expect("units").clone();
    assert_eq!(units.len(), wanted.len());
    for (found, wanted) in units.iter().zip(wanted) {
        assert_eq!(found["unit"], "frame");
        assert_eq!(found["offset"], wanted["offset"]);
        assert_eq!(found["compressed_bytes"], wanted["compressed_len"]);
        assert_eq!(found["keys"].as_array().map(Vec::len), wanted["keys"].as_array().map(Vec::len));
    }
    let dir = root.join("wal/normal");
    let (export, stats) = (run("export {}", &[&dir]), run("stats {}", &[&dir]));
    assert!(export.exits(0).text().lines().count() > 0 && stats.exits(0).text().contains("series"));
}
