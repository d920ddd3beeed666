//! etcd's directories through the command: what `inspect` and `verify` say, and how they end.

use std::path::Path;
use std::process::{Command, Output};

use bytes::Bytes;
use tsmith_wal::etcd::{DiskStorage, Entry, EntryKind, HardState, Snapshot, Storage, WalOptions};
use tsmith_wal::fs::OsFs;

fn tsmith(arguments: &[&str], path: &Path) -> (Output, serde_json::Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_tsmith")).args(arguments).arg(path).output().expect("runs");
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, json)
}

/// A member's storage: entries in two segments, one snapshot.
fn member(root: &Path) {
    let options = WalOptions::default().segment_bytes(4096);
    let mut storage = DiskStorage::create(OsFs, &root.join("wal"), &root.join("snap"), Some(b"m"), options)
        .expect("creates");
    for index in 1..=30 {
        let data = Some(Bytes::from(vec![b'x'; 150]));
        let entry = Entry { kind: EntryKind::NORMAL, term: 2, index, data };
        storage.save(&HardState { term: 2, vote: 1, commit: index - 1 }, &[entry]).expect("saves");
    }
    let data = Some(Bytes::from_static(b"state"));
    storage.save_snap(&Snapshot { data, index: 20, term: 2, ..Snapshot::default() }).expect("saves");
    storage.close().expect("closes");
}

#[test]
fn a_log_and_a_snapshot_are_shown_and_checked() {
    let scratch = tempfile::tempdir().expect("a directory");
    member(scratch.path());
    let wal = scratch.path().join("wal");
    let snap = scratch.path().join("snap/0000000000000002-0000000000000014.snap");
    let (output, json) = tsmith(&["inspect", "--format", "json"], &wal);
    assert!(output.status.success(), "{output:?}");
    let file = &json["files"][0];
    assert_eq!(file["kind"], "etcd-log");
    let segments = file["segments"].as_array().expect("segments");
    assert!(segments.len() >= 2);
    assert_eq!(segments[0]["records"][0]["record"], "crc");
    let records = segments.iter().flat_map(|segment| segment["records"].as_array().expect("records"));
    assert_eq!(records.filter(|record| record["record"] == "entry").count(), 30);
    let (output, json) = tsmith(&["inspect", "--format", "json"], &snap);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((&json["files"][0]["index"], &json["files"][0]["data_bytes"]), (&20.into(), &5.into()));
    let (output, _) = tsmith(&["verify"], &wal);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("30 entries, commit 29"), "{text}");
    assert!(tsmith(&["verify"], &snap).0.status.success());
    let (output, _) = tsmith(&["inspect"], &wal);
    assert!(String::from_utf8_lossy(&output.stdout).contains("entry 30: term 2, type 0, 150 bytes"));

    let segment = wal.join("0000000000000000-0000000000000000.wal");
    let mut bytes = std::fs::read(&segment).expect("reads");
    bytes[700] ^= 1;
    std::fs::write(&segment, bytes).expect("writes");
    let (output, json) = tsmith(&["verify", "--format", "json"], &wal);
    assert_eq!((output.status.code(), &json["bad"]), (Some(1), &1.into()));
    assert!(json["files"][0]["problems"][0]["reason"].as_str().is_some_and(|text| text.contains("checksum")));
    std::fs::write(&snap, b"\x08\x01\x12\x01x").expect("writes");
    assert_eq!(tsmith(&["verify"], &snap).0.status.code(), Some(1));
}

/// An engine on the log `etcd`: what it holds is seen without opening it.
#[test]
fn an_engine_on_this_log_is_queried_as_any_other() {
    let scratch = tempfile::tempdir().expect("a directory");
    let lines = scratch.path().join("a.lp");
    std::fs::write(&lines, "m,h=a v=1.5 1000\nm,h=a v=2.5 2000\n").expect("writes");
    let data = scratch.path().join("d");
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_tsmith")).args(arguments).output().expect("runs")
    };
    let [dir, file] = [&data, &lines].map(|path| path.to_str().expect("text"));
    let output = run(&["import", dir, file, "--log", "etcd"]);
    assert!(output.status.success(), "{output:?}");
    let output = run(&["export", dir, "--format", "lp"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "m,h=a v=1.5 1000\nm,h=a v=2.5 2000\n");
    assert!(run(&["verify", dir]).status.success());
}
