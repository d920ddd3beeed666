//! Runs the program `tsmith-bench matrix`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn matrix(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tsmith-bench")).arg("matrix").args(args).output().expect("starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every cell of the default run works, and all cells read back the same values.
#[test]
fn every_cell_reads_back_the_same_values() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let out = dir.path().join("out");
    let run = matrix(&["--smoke", "--out", out.to_str().expect("a plain path")]);
    assert!(run.status.success(), "{}{}", text(&run.stdout), text(&run.stderr));

    let table = text(&run.stdout);
    for part in
        ["hashmap/file/tsm1", "ring/mmap/tsm1", "ring/file/zstd", "ring/null/tsm1", "publish-then-sync"]
    {
        assert!(table.contains(part), "{part} in {table}");
    }
    assert!(table.contains("nyc_flights: 500 of 336,776 lines"), "{table}");
    assert!(text(&run.stderr).contains("fdatasync"), "the disk was measured first");
    for name in ["run.json", "results.jsonl", "summary.json", "summary.csv", "report.html"] {
        assert!(fs::metadata(out.join(name)).is_ok_and(|meta| meta.len() > 0), "{name}");
    }
    assert!(!out.join("scratch").exists(), "engines are removed");
    assert_samples(&out.join("results.jsonl"));
}

fn assert_samples(path: &Path) {
    let lines = fs::read_to_string(path).expect("reads");
    for line in lines.lines() {
        let sample: serde_json::Value = serde_json::from_str(line).expect("a JSON object");
        for field in ["setup_seconds", "values", "disk_bytes"] {
            assert!(sample[field].as_f64().is_some_and(|figure| figure > 0.0), "{field} in {line}");
        }
        let passes = sample["passes"].as_array().expect("a list of passes");
        assert!(
            !passes.is_empty() && passes.iter().all(|pass| pass["seconds"].as_f64() > Some(0.0)),
            "{line}"
        );
    }
}

#[test]
fn unknown_name_is_a_usage_error() {
    for (flag, known) in
        [("--storer", "hashmap"), ("--log", "mmap"), ("--encoder", "tsm1"), ("--workload", "recover")]
    {
        let run = matrix(&[flag, "nonesuch"]);
        assert_eq!(run.status.code(), Some(2), "{flag}");
        assert!(text(&run.stderr).contains(known), "{}", text(&run.stderr));
    }
}

#[test]
fn list_names_cells_and_runs_nothing() {
    let run = matrix(&["--list", "--encoder", "zstd", "--workload", "scan", "--dataset", "nyc_weather"]);
    assert!(run.status.success());
    assert!(text(&run.stdout).contains("2 cells in this run"), "{}", text(&run.stdout));
}

/// Story: a short doc comment on the sub-command replaced the description of a run.
#[test]
fn help_describes_a_run() {
    let help = text(&matrix(&["--help"]).stdout);
    for word in ["differs from the reference", "product", "--list names", "--fail-if <EXPR>"] {
        assert!(help.contains(word), "{word} in {help}");
    }
}
