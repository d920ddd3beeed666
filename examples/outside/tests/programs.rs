//! Runs both programs with the parts of this crate.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use outside::{DeltaZstd, PlainLog, Sorted};
use tsmith_engine::{Dirs, Engine, LineOptions, Options, Timestamp};

const LINES: &str =
    "cpu,host=a usage=0.5,load=3i 10\ncpu,host=a usage=0.75,load=4i 20\ncpu,host=b usage=1 10\n";
const PARTS: [&str; 6] = ["--storer", "btree", "--log", "plain", "--encoder", "delta-zstd"];

fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output().expect("starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    output
}

fn outside(args: &[&str]) -> String {
    let output = run(env!("CARGO_BIN_EXE_outside"), args);
    String::from_utf8(output.stdout).expect("text")
}

/// Values are verified and exported from the log, then from a file.
#[test]
fn imported_values_are_verified_and_exported() {
    let dir = tempfile::tempdir().expect("a directory");
    let (lines, data) = (dir.path().join("lines.lp"), dir.path().join("data"));
    fs::write(&lines, LINES).expect("writes");
    let (lines, data) = (lines.to_str().expect("text"), data.to_str().expect("text"));
    outside(&[&["import", data, lines], &PARTS[..]].concat());
    assert!(exists(Path::new(data), ".plain"), "the log has segments of its own");
    let expected = sorted(LINES);
    assert_eq!(sorted(&outside(&["export", data])), expected);
    let verified = outside(&["verify", data]);
    assert!(verified.contains("btree/plain/delta-zstd") && verified.contains("5 values"), "{verified}");

    outside(&["snapshot", data]);
    assert_eq!(sorted(&outside(&["export", data])), expected);
    outside(&["verify", data]);
    let inspected = outside(&["inspect", data]);
    assert!(inspected.contains("delta-zstd"), "{inspected}");
}

/// Story: the directory of `plain` also held a segment of InfluxDB. The verbs read that segment instead of the log `plain`.
#[test]
fn segments_of_another_log_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (lines, data) = (dir.path().join("lines.lp"), dir.path().join("data"));
    fs::write(&lines, LINES).expect("writes");
    let (lines, data) = (lines.to_str().expect("text"), data.to_str().expect("text"));
    outside(&[&["import", data, lines], &PARTS[..]].concat());
    fs::write(Path::new(data).join("wal/_00001.wal"), b"").expect("writes");
    for args in
        [vec!["export", data], vec!["verify", data], vec!["snapshot", data], vec!["import", data, lines]]
    {
        let refused = failed(&args);
        assert!(refused.contains("_00001.wal"), "{args:?}: {refused}");
    }
}

/// Story: `repair` advised to open such a log, and the error of opening it advised to run `repair`.
#[test]
fn repair_advises_salvage() {
    let dir = tempfile::tempdir().expect("a directory");
    let (lines, data) = (dir.path().join("lines.lp"), dir.path().join("data"));
    fs::write(&lines, LINES.repeat(100)).expect("writes");
    let (lines, data) = (lines.to_str().expect("text"), data.to_str().expect("text"));
    outside(&[&["import", data, lines, "--batch", "1"], &PARTS[..]].concat());
    assert!(outside(&["repair", data]).contains("log"), "an intact log is reported");
    let names = fs::read_dir(Path::new(data).join("wal")).expect("a directory");
    let mut segments = names.map(|entry| entry.expect("an entry").path());
    let segment =
        segments.find(|path| path.extension().is_some_and(|ending| ending == "plain")).expect("one");
    let mut bytes = fs::read(&segment).expect("is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).expect("writes");
    let repaired = failed(&["repair", data]);
    assert!(repaired.contains("--recovery salvage"), "{repaired}");
    // It exits with 1, because it reports a corrupt record.
    assert!(failed(&["snapshot", data, "--recovery", "salvage"]).contains("5 values"));
    outside(&["verify", data]);
}

/// Returns the output of a call that fails.
fn failed(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_outside")).args(args).output().expect("starts");
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// An engine of concrete types needs no registry: the types have the names for its manifest.
#[test]
fn types_make_an_engine() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = Engine::<Sorted, PlainLog, DeltaZstd>::open(Dirs::under(dir.path()), Options::default());
    let engine = engine.expect("opens");
    let written = engine.write_lines(LINES.as_bytes(), &LineOptions::new(Timestamp(0))).expect("writes");
    assert_eq!(written.rejected.len(), 0);
    engine.close().expect("closes");
    let exported = outside(&["export", dir.path().to_str().expect("text")]);
    assert_eq!(sorted(&exported), sorted(LINES));
}

/// Splits line protocol into sorted lines with one field each.
fn sorted(lines: &str) -> Vec<String> {
    let one_by_one = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let fields = words[1].split(',').map(|field| format!("{} {field} {}", words[0], words[2]));
        fields.collect::<Vec<_>>()
    };
    let mut all: Vec<String> = lines.lines().flat_map(one_by_one).collect();
    all.sort();
    all
}

/// Whether a file below `dir` has this extension.
fn exists(dir: &Path, ending: &str) -> bool {
    let entries = fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).any(|path| {
        if path.is_dir() { exists(&path, ending) } else { path.to_string_lossy().ends_with(ending) }
    })
}

/// The default matrix contains the parts of this crate, and each works.
#[test]
fn matrix_runs_every_part() {
    let bench = |args: &[&str]| {
        let output = run(env!("CARGO_BIN_EXE_outside-bench"), &[&["matrix"], args].concat());
        String::from_utf8(output.stdout).expect("text")
    };
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().to_str().expect("text");
    let parts =
        ["--storer", "btree", "--log", "plain", "--encoder", "delta-zstd", "--dataset", "nyc_weather"];
    let table = bench(&[&["--smoke", "--out", out], &parts[..]].concat());
    let list = bench(&["--list"]);
    for part in ["btree/file/tsm1", "ring/plain/tsm1", "ring/file/delta-zstd"] {
        assert!(table.contains(part) && list.contains(part), "{part} in {table}");
    }
}

#[test]
fn help_lists_the_parts() {
    let help = outside(&["import", "--help"]);
    for part in ["btree", "plain", "delta-zstd", "hashmap"] {
        assert!(help.contains(part), "{part} in {help}");
    }
}
