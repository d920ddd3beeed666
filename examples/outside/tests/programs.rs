//! Both programs know the parts of this crate.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

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

/// Values in the log are verified and exported, then those in a file.
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

/// The lines of line protocol with one field each.
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

/// Whether a file below has this ending.
fn exists(dir: &Path, ending: &str) -> bool {
    let entries = fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).any(|path| {
        if path.is_dir() { exists(&path, ending) } else { path.to_string_lossy().ends_with(ending) }
    })
}

/// The default matrix has the parts of this crate, and each of them works.
#[test]
fn the_matrix_runs_every_part() {
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
