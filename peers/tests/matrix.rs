//! Runs the program.

use std::process::{Command, Output};

fn matrix(args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tsmith-peers"));
    command.arg("matrix").args(args.split(' ')).output().expect("starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every part writes, recovers and reads back the values of the reference. Otherwise the matrix fails.
#[test]
fn every_part_works() {
    let dir = tempfile::tempdir().expect("a directory");
    let parts = "--log raft-engine,okaywal,raft-log --encoder pco,alp --dataset nyc_weather";
    let out = matrix(&format!("--smoke --out {} {parts}", dir.path().display()));
    let table = text(&out.stdout);
    assert!(out.status.success(), "{table}{}", text(&out.stderr));
    for cell in ["raft-engine/tsm1", "okaywal/tsm1", "raft-log/tsm1", "file/pco", "file/alp"] {
        assert!(table.contains(cell), "{cell} in {table}");
    }
    let page = std::fs::read_to_string(dir.path().join("report.html")).expect("a page");
    assert!(page.contains("free space on disk; durability: group, each</dd>"), "{page}");
}

/// Every store reads back the values of the reference. Servers that are not installed are left out.
#[test]
fn every_store_works() {
    let dir = tempfile::tempdir().expect("a directory");
    let stores = "--store fjall,redb,influxd,victoria-metrics --dataset nyc_weather --batch 100";
    let out = matrix(&format!("--smoke --out {} {stores}", dir.path().display()));
    let table = text(&out.stdout);
    assert!(out.status.success(), "{table}{}", text(&out.stderr));
    for store in ["fjall", "redb"] {
        let rows = table.matches(&format!("\n  {store} ")).count();
        assert_eq!(rows, 4, "ingest twice, scan and range of {store}: {table}");
    }
}

#[test]
fn a_durability_that_a_log_lacks_is_left_out() {
    let out = matrix(
        "--list --log file,okaywal --durability group,none --full --workload ingest --dataset nyc_weather",
    );
    let list = text(&out.stdout);
    assert!(list.contains("left out: the log okaywal has no durability none"), "{list}");
    assert!(list.contains("ring/okaywal/tsm1\n") && !list.contains("ring/okaywal/tsm1 none"), "{list}");
}
