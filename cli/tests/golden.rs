//! Files that a real influxd wrote, exported and inspected.
//!
//! `TSMITH_VECTORS_TSM1` names a directory of vectors. Without it, the copies in the crates `tsm` and `wal` are used. The
//! lists in `expected/` say which files there are and what they hold.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Scratch, content, run};

/// The vectors: the directory of the environment variable, or else the copy in the other crate.
fn vectors(copy: &str) -> PathBuf {
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../{copy}/tests/vectors/tsm1"));
    std::env::var_os("TSMITH_VECTORS_TSM1").map_or(copy, PathBuf::from)
}

/// A file, and what InfluxDB found in it.
struct Listed {
    path: PathBuf,
    /// The facts of the file.
    facts: Value,
    /// One line for each key, tombstone or frame.
    lines: Vec<Value>,
}

impl Listed {
    /// Whether InfluxDB opened the file and found each block intact.
    fn is_intact(&self) -> bool {
        let mut entries = self.lines.iter().flat_map(|line| line["entries"].as_array().into_iter().flatten());
        self.facts["open_error"].is_null() && entries.all(|entry| entry["crc_ok"] == true)
    }
}

/// The files with this extension that have a list, by path. The copies compress most lists.
fn listed(root: &Path, extension: &str) -> Vec<Listed> {
    let read = |list: &Path| {
        let bytes = fs::read(list).expect("a list");
        let is_compressed = list.extension().is_some_and(|extension| extension == "zst");
        let text = if is_compressed { zstd::decode_all(&bytes[..]).expect("zstd") } else { bytes };
        let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let mut lines: Vec<Value> =
            lines.map(|line| serde_json::from_slice(line).expect("a JSON line")).collect();
        let facts = lines.remove(0);
        // Some lists describe a directory.
        let path = root.join(facts["file"].as_str()?);
        (path.extension()? == extension).then_some(Listed { path, facts, lines })
    };
    let mut found: Vec<Listed> =
        support::paths(&root.join("expected")).iter().filter_map(|list| read(list)).collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no list of a .{extension} file in {}", root.display());
    found
}

/// The intact TSM files without tombstones.
fn intact_files() -> Vec<Listed> {
    let mut files = listed(&vectors("tsm"), "tsm");
    files.retain(|file| file.is_intact() && !file.path.with_extension("tombstone").exists());
    files
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or_else(|| panic!("{value} is no array"), Vec::as_slice)
}

/// Compares these parts of both objects.
fn assert_equal(found: &Value, expected: &Value, parts: &[&str], file: &Path) {
    for part in parts {
        assert!(found[*part] == expected[*part], "{}: {}: {part}", file.display(), expected["key"]);
    }
}

#[test]
fn every_value_of_a_real_file_is_exported() {
    for Listed { path, lines, .. } in intact_files() {
        let text = run("export {} --format jsonl --exact", &[&path]).exits(0).text();
        assert_eq!(text.lines().count(), lines.len(), "{}", path.display());
        for (found, expected) in text.lines().zip(&lines) {
            let found = serde_json::from_str(found).expect("JSON");
            assert_equal(&found, expected, &["key", "type", "values"], &path);
        }
    }
}

/// Story: `export` of a single file required a name with generation and sequence; `verify` did not.
#[test]
fn a_single_file_may_have_any_name() {
    let scratch = Scratch::new();
    let files = intact_files();
    let original = &files.iter().max_by_key(|file| file.lines.len()).expect("a file").path;
    let copy = scratch.file("copy.of.it.tsm", fs::read(original).expect("the vector"));
    for verb in ["export {} --format jsonl", "query {} --format csv"] {
        assert_eq!(run(verb, &[&copy]).exits(0).text(), run(verb, &[original]).exits(0).text());
    }
    run("inspect {}", &[&copy]).exits(0);
    run("stats {}", &[&copy]).exits(0);
    scratch.file("copy.of.it.tombstone", fs::read(torn_tombstones()).expect("the vector"));
    run("export {}", &[&copy]).exits(1).says(&["copy.of.it.tombstone"]);
}

#[test]
fn every_block_of_a_real_file_is_shown() {
    for Listed { path, facts, lines } in intact_files() {
        let found = run("inspect {} --format json", &[&path]).exits(0).json();
        let found = &found["files"][0];
        assert_eq!(found["bytes"], facts["size"], "{}", path.display());
        assert_eq!(found["index_offset"], facts["index_offset"], "{}", path.display());
        assert_eq!(array(&found["keys"]).len(), lines.len(), "{}", path.display());
        for (key, line) in array(&found["keys"]).iter().zip(&lines) {
            assert_equal(key, line, &["key"], &path);
            let (blocks, entries) = (array(&key["blocks"]), array(&line["entries"]));
            assert_eq!(blocks.len(), entries.len(), "{}: {}", path.display(), line["key"]);
            for (block, entry) in blocks.iter().zip(entries) {
                assert_equal(block, entry, &["offset", "size", "min", "max", "count", "crc_ok"], &path);
                assert_eq!(block["encoder"], "tsm1");
            }
        }
        run("verify {}", &[&path]).exits(0);
        run("stats {}", &[&path]).exits(0);
    }
}

#[test]
fn corrupt_files_are_found_and_unchanged() {
    let mut files = listed(&vectors("tsm"), "tsm");
    files.retain(|file| !file.is_intact());
    assert!(!files.is_empty());
    for Listed { path, .. } in files {
        let dir = path.parent().expect("a directory");
        let before = content(dir);
        let verified = run("verify {}", &[&path]).exits(1).text();
        assert!(verified.starts_with("corrupt "), "{verified}");
        run("inspect {}", &[&path]).exits(1);
        run("inspect {} --format json", &[&path]).exits(1).json();
        assert!(before == content(dir), "{} was changed", path.display());
    }
}

/// Tombstones that end inside a gzip member. InfluxDB reads them without an error.
fn torn_tombstones() -> PathBuf {
    vectors("tsm").join("tombstone/v4-torn.tombstone")
}

#[test]
fn tombstones_are_shown() {
    let torn = torn_tombstones();
    for Listed { path, facts, lines } in listed(&vectors("tsm"), "tombstone") {
        if path == torn {
            continue;
        }
        let expected: Vec<&Value> = lines.iter().filter(|line| line["key"].is_string()).collect();
        let found = run("inspect {} --format json", &[&path]).exits(0).json();
        let records = array(&found["files"][0]["records"]);
        assert_eq!(records.len(), expected.len(), "{}", path.display());
        // InfluxDB's reader of version 2 overwrites parts of the keys.
        let parts = if facts["header"] == "00001502" { &["min", "max"][..] } else { &["key", "min", "max"] };
        for (record, line) in records.iter().zip(expected) {
            assert_equal(record, line, parts, &path);
        }
        // InfluxDB accepts a file without records. `verify` adds a note, because the file may have been truncated.
        let verified = run("verify {}", &[&path]).exits(0).text();
        assert_eq!(verified.contains("note "), records.is_empty(), "{}: {verified}", path.display());
    }
    run("verify {}", &[&torn]).exits(1);
    assert!(run("inspect {}", &[&torn]).exits(1).text().contains("ERROR"));
    run("export {}", &[&torn]).exits(2).says(&["v4-torn.tombstone", "tsmith inspect"]);
}

#[test]
fn records_of_real_segments_are_shown() {
    let dir = vectors("wal").join("wal/normal");
    let mut segments = listed(&vectors("wal"), "wal");
    segments.retain(|segment| segment.path.parent() == Some(&dir));
    assert!(!segments.is_empty());
    for Listed { path, lines, .. } in segments {
        let records: Vec<&Value> = lines.iter().filter(|line| line["compressed_len"].is_u64()).collect();
        let found = run("inspect {} --format json", &[&path]).exits(0).json();
        let units = array(&found["files"][0]["units"]);
        assert_eq!(units.len(), records.len(), "{}", path.display());
        for (unit, record) in units.iter().zip(records) {
            assert_eq!(unit["unit"], "record");
            assert_equal(unit, record, &["offset"], &path);
            assert_eq!(unit["compressed_bytes"], record["compressed_len"]);
            assert_eq!(unit["keys"].as_array().map(Vec::len), record["keys"].as_array().map(Vec::len));
        }
    }
    let (export, stats) = (run("export {}", &[&dir]), run("stats {}", &[&dir]));
    assert!(export.exits(0).text().lines().count() > 0 && stats.exits(0).text().contains("series"));
}
