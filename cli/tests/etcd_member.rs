//! An etcd member: problems that `verify` must report, and how `repair` fixes them.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use support::with_json as tsmith;
use tsmith_wal::etcd::{
    DiskStorage, Entry, EntryKind, HardState, Message, Snapshot, Storage, WalOptions, records,
};
use tsmith_wal::fs::OsFs;

/// A meta page of a database of etcd 3.4.23, with transaction 0x36 and 11 pages of 4096 bytes.
const META: [u8; 80] = [
    0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0xed, 0xda, 0x0c, 0xed, 2, 0, 0, 0, 0, 0x10, 0, 0, 0, 0,
    0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x0b, 0, 0, 0, 0, 0, 0, 0, 0x36, 0, 0, 0, 0, 0, 0, 0, 0x59, 0xc5, 0x8f, 0x02, 0xce, 0xf5, 0x0c, 0xf7,
];

/// A member directory with metadata, a database, entries 1 to 30, and snapshots 10 and 20.
fn member(root: &Path) -> PathBuf {
    let member = root.join("member");
    let (wal, snap) = (member.join("wal"), member.join("snap"));
    let options = WalOptions { segment_bytes: 2048, ..WalOptions::default() };
    let metadata = [0x08, 0x81, 0x02, 0x10, 0x07];
    let mut storage = DiskStorage::create(OsFs, &wal, &snap, Some(&metadata), options).expect("creates");
    for index in 1..=30 {
        let entry =
            Entry { kind: EntryKind::NORMAL, term: 2, index, data: Some(Bytes::from(vec![b'x'; 100])) };
        storage.save(&HardState { term: 2, vote: 1, commit: index - 1 }, &[entry]).expect("saves");
        if index == 11 || index == 21 {
            let data = Some(Bytes::from_static(b"state"));
            storage
                .save_snap(&Snapshot { data, index: index - 1, term: 2, ..Snapshot::default() })
                .expect("saves");
        }
    }
    storage.close().expect("closes");
    let mut database = vec![0; 11 * 4096];
    database[..META.len()].copy_from_slice(&META);
    database[4096..][..META.len()].copy_from_slice(&META);
    fs::write(snap.join("db"), database).expect("writes");
    member
}

fn segments(member: &Path) -> Vec<PathBuf> {
    let mut paths = support::paths(&member.join("wal"));
    paths.retain(|path| path.extension() == Some("wal".as_ref()));
    paths
}

/// The exit code of `verify`, and the problems it reports.
fn verified(path: &Path) -> (Option<i32>, Vec<String>) {
    let (output, json) = tsmith(&["verify", "--format", "json"], path);
    let files = json["files"].as_array().unwrap_or_else(|| panic!("{output:?}"));
    let problems = files.iter().flat_map(|file| file["problems"].as_array().expect("a list"));
    (
        output.status.code(),
        problems.map(|problem| problem["reason"].as_str().expect("text").to_owned()).collect(),
    )
}

/// Story: `verify` and `repair` did not report a missing, empty or torn `snap/db`, with which etcd panics at its start.
#[test]
fn a_missing_empty_or_torn_database_is_reported() {
    let root = tempfile::tempdir().expect("a directory");
    let member = member(root.path());
    let database = member.join("snap/db");
    let intact = fs::read(&database).expect("reads");
    assert_eq!(verified(root.path()), (Some(0), Vec::new()));
    let mut one_torn = intact.clone();
    one_torn[16..80].fill(0);
    let mut both_torn = one_torn.clone();
    both_torn[4096 + 40] ^= 1;
    for (bytes, is_corrupt) in [
        (None, true),
        (Some(&[][..]), true),
        (Some(&both_torn), true),
        (Some(&intact[..20_000]), true),
        (Some(&one_torn), false),
    ] {
        match bytes {
            Some(bytes) => fs::write(&database, bytes).expect("writes"),
            None => fs::remove_file(&database).expect("removes"),
        }
        for dir in [root.path(), &member, &member.join("snap")] {
            let (code, problems) = verified(dir);
            assert_eq!(code, Some(i32::from(is_corrupt)), "{problems:?}");
            assert!(problems.len() == usize::from(is_corrupt), "{problems:?}");
            assert_eq!(tsmith(&["repair", "--dry-run"], dir).0.status.code(), code);
        }
    }
    // The directory of the database is missing too.
    fs::remove_dir_all(member.join("snap")).expect("removes");
    let (code, problems) = verified(root.path());
    assert!(code == Some(1) && problems.len() == 1, "{problems:?}");
}

/// Story: a record with a valid checksum and an invalid message was reported at the offset of its end.
#[test]
fn inspect_reports_where_an_invalid_record_begins() {
    let root = tempfile::tempdir().expect("a directory");
    let member = member(root.path());
    let path = segments(&member).pop().expect("a segment");
    let mut bytes = fs::read(&path).expect("reads");
    let all = || records(&bytes).map(|record| record.expect("a record"));
    let offset = all().find(|record| record.kind == 3).expect("a state").offset as usize;
    // No checksum covers the kind. The record of a state becomes an invalid record of a snapshot.
    bytes[offset + 9] = 5;
    fs::write(&path, &bytes).expect("writes");
    let (output, json) = tsmith(&["inspect", "--format", "json"], &path);
    assert_eq!(output.status.code(), Some(1));
    let segment = &json["files"][0]["segments"][0];
    let at = serde_json::Value::from(offset);
    assert_eq!((&segment["error"]["offset"], &segment["used_bytes"]), (&at, &at), "{segment}");
    assert_eq!(json["files"][0]["error"]["offset"], at);
    assert!(
        segment["records"]
            .as_array()
            .expect("records")
            .iter()
            .all(|record| record["offset"].as_u64() < at.as_u64())
    );
}

/// The state of the log after `repair`, the exit code, and the report on the log.
fn repaired(arguments: &[&str], member: &Path) -> (String, Option<i32>, serde_json::Value) {
    let arguments = [&["repair", "--format", "json"], arguments].concat();
    let (output, json) = tsmith(&arguments, member);
    let log = json["files"]
        .as_array()
        .unwrap_or_else(|| panic!("{output:?}"))
        .iter()
        .find(|file| file["kind"] == "etcd-log");
    let log = log.expect("the log").clone();
    (log["state"].as_str().expect("a state").to_owned(), output.status.code(), log)
}

/// Story: one wrong checksum stopped the only member of a cluster. `repair` could not help, and its advice needed a second
/// member.
#[test]
fn cut_ends_a_corrupt_log() {
    let root = tempfile::tempdir().expect("a directory");
    let member = member(root.path());
    let (segment, offset, record) = segments(&member)
        .iter()
        .find_map(|path| {
            let bytes = fs::read(path).expect("reads");
            let mut found = records(&bytes).map(|record| record.expect("a record")).enumerate();
            let found = found.find(
                |(_, record)| matches!(record.message(), Ok(Message::Entry(entry)) if entry.index == 18),
            );
            found.map(|(at, record)| (path.clone(), record.offset as usize, at + 1))
        })
        .expect("entry 18");
    let mut bytes = fs::read(&segment).expect("reads");
    bytes[offset + 40] ^= 1;
    fs::write(&segment, &bytes).expect("writes");

    let (state, code, log) = repaired(&[], &member);
    assert_eq!((&*state, code), ("unrepaired", Some(1)));
    let error = log["error"].as_str().expect("an error");
    assert!(error.contains("--cut") && error.contains("18 to 30"), "{error}");
    let (state, code, plan) = repaired(&["--cut", "--dry-run"], &member);
    assert_eq!((&*state, code), ("corrupt", Some(1)));
    assert!(fs::read(&segment).expect("reads") == bytes, "nothing was changed so far");
    let (state, code, log) = repaired(&["--cut"], &member);
    assert_eq!((&*state, code), ("repaired", Some(1)));
    assert_eq!(log["cut"], plan["cut"]);
    let expected = serde_json::json!({
        "segment": segment.display().to_string(), "offset": offset, "record": record,
        "bytes": log["cut"]["bytes"], "first_entry": 18, "last_entry": 30,
    });
    assert_eq!(log["cut"], expected);
    assert!(
        log["cut"]["bytes"].as_u64().is_some_and(|lost| lost > 0 && lost <= (bytes.len() - offset) as u64)
    );
    let copy = log["quarantined"].as_str().expect("a copy");
    assert!(copy.ends_with(".wal.broken") && fs::read(copy).expect("reads") == bytes, "{copy}");
    assert_eq!(verified(root.path()), (Some(0), Vec::new()));
    assert_eq!((repaired(&["--cut"], &member).0, repaired(&[], &member).1), ("ok".to_owned(), Some(0)));
    let opened = DiskStorage::open(OsFs, &member.join("wal"), &member.join("snap"), WalOptions::default());
    let (storage, restored) = opened.expect("opens");
    assert_eq!(restored.contents.entries.last().map(|entry| entry.index), Some(17));
    storage.close().expect("closes");
}

/// Story: a power cut left the last segment empty or all zeros. `verify` advised to restore it from a backup. But etcd starts
/// with every entry, and `repair` without `--cut` is enough.
#[test]
fn an_empty_last_segment_needs_no_force() {
    let root = tempfile::tempdir().expect("a directory");
    let member = member(root.path());
    let count = segments(&member).len();
    let empty = member.join(format!("wal/{count:016x}-{:016x}.wal", 31));
    for content in [Vec::new(), vec![0; 4096]] {
        fs::write(&empty, &content).expect("writes");
        let (code, problems) = verified(root.path());
        assert_eq!((code, problems.len()), (Some(1), 1), "{problems:?}");
        assert!(problems[0].contains("tsmith repair"), "{problems:?}");
        let (state, code, log) = repaired(&[], &member);
        assert_eq!((&*state, code), ("repaired", Some(1)), "{log}");
        let broken = empty.with_extension("wal.broken");
        assert!(!empty.exists() && fs::read(&broken).expect("a copy") == content);
        fs::remove_file(broken).expect("removes");
        assert_eq!(verified(root.path()), (Some(0), Vec::new()));
    }
}
