//! Directories of etcd: reports and exit codes of `inspect`, `verify` and `repair`.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use support::{content, with_json as tsmith};
use tsmith_wal::etcd::{DiskStorage, Entry, EntryKind, HardState, Snapshot, Storage, WalOptions};
use tsmith_wal::fs::{Fs, OsFs};

/// A member's storage: entries in two segments, one snapshot.
fn member(root: &Path) {
    let options = WalOptions { segment_bytes: 4096, ..WalOptions::default() };
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
    assert_eq!((output.status.code(), &json["problems"]), (Some(1), &1.into()));
    assert!(json["files"][0]["problems"][0]["reason"].as_str().is_some_and(|text| text.contains("checksum")));
    std::fs::write(&snap, b"\x08\x01\x12\x01x").expect("writes");
    assert_eq!(tsmith(&["verify"], &snap).0.status.code(), Some(1));
}

/// Story: a renamed copy of an etcd segment was read as a torn segment of InfluxDB.
#[test]
fn a_renamed_segment_is_recognized_by_its_content() {
    let scratch = tempfile::tempdir().expect("a directory");
    member(scratch.path());
    let copy = scratch.path().join("copy.wal");
    std::fs::copy(scratch.path().join("wal/0000000000000000-0000000000000000.wal"), &copy).expect("copies");
    let (output, json) = tsmith(&["inspect", "--format", "json"], &copy);
    assert_eq!(json["files"][0]["kind"], "etcd-log", "{output:?}");
    assert!(json["files"][0]["segments"][0]["records"].as_array().expect("records").len() > 10);
    let (output, json) = tsmith(&["verify", "--format", "json"], &copy);
    let reason = json["files"][0]["problems"][0]["reason"].as_str().expect("a reason");
    assert!(output.status.code() == Some(1) && reason.contains("<number>-<index>.wal"), "{reason}");
}

/// Story: an import wrote an engine into the snapshots of an etcd member, which hid their corruption. A delete or repair
/// changed the engine of a replica, so that it differed from the other replicas.
#[test]
fn members_and_replicas_are_not_written_to() {
    let scratch = tempfile::tempdir().expect("a directory");
    let lines = scratch.path().join("a.lp");
    std::fs::write(&lines, "m,h=a v=1.5 1000\nm,h=a v=2.5 2000\n").expect("writes");
    let run = |arguments: &[&str], path: &Path| {
        let (verb, rest) = arguments.split_first().expect("a verb");
        let path = path.to_str().expect("text");
        Command::new(env!("CARGO_BIN_EXE_tsmith")).arg(verb).arg(path).args(rest).output().expect("runs")
    };
    let lines = lines.to_str().expect("text");
    let root = scratch.path().join("m/member");
    member(&root);
    let replica = scratch.path().join("group/1");
    member(&replica);
    std::fs::remove_dir_all(replica.join("snap")).expect("removes");
    let engine = replica.join("engine-0000000000000014");
    // The engine is created elsewhere, then moved into the replica.
    let own = scratch.path().join("own");
    for verb in [&["import", lines][..], &["snapshot"]] {
        let output = run(verb, &own);
        assert!(output.status.success(), "{output:?}");
    }
    OsFs.rename(&own, &engine).expect("renames");
    let files = replica.join("files-0000000000000014");
    std::fs::create_dir(&files).expect("a directory");
    for (path, bytes) in
        content(&engine).into_iter().filter(|(path, _)| path.extension() == Some("tsm".as_ref()))
    {
        std::fs::write(files.join(path.file_name().expect("a name")), bytes).expect("writes");
    }
    let before = content(scratch.path());
    let member_dirs = [scratch.path().join("m"), root.clone(), root.join("wal"), root.join("snap")];
    let replica_dirs =
        [scratch.path().join("group"), replica.clone(), engine.clone(), engine.join("wal"), files];
    // No new directory is created there, and no log of another directory.
    for begun in [root.join("snap/new"), replica.join("engine-0000000000000015"), replica.join("foo")] {
        assert!(!run(&["import", lines], &begun).status.success() && !begun.exists(), "{}", begun.display());
    }
    let new = scratch.path().join("new");
    for wal in [root.join("snap"), root.clone(), engine.clone(), replica.join("wal")] {
        let output = run(&["import", lines, "--wal", wal.to_str().expect("text")], &new);
        assert!(!output.status.success(), "{}: {output:?}", wal.display());
    }
    // Directories with similar names are accepted.
    let plain = scratch.path().join("plain/engine-0000000000000001");
    let beside = scratch.path().join("plain/wal");
    for _ in 0..2 {
        let wal = ["--log", "etcd", "--wal", beside.to_str().expect("text")];
        let output = run(&[&["import", lines][..], &wal].concat(), &plain);
        assert!(output.status.success(), "{output:?}");
        std::fs::write(plain.join("backup.snap"), b"mine").expect("writes");
    }
    std::fs::remove_dir_all(scratch.path().join("plain")).expect("removes");
    for (dirs, owner) in [(&member_dirs[..], "etcd member"), (&replica_dirs[..], "replica")] {
        for dir in dirs {
            for verb in
                [&["import", lines][..], &["snapshot"], &["compact"], &["delete", "--measurement", "m"]]
            {
                let output = run(verb, dir);
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(
                    !output.status.success() && said.contains(owner),
                    "{verb:?} {}: {said}",
                    dir.display()
                );
            }
        }
    }
    let said = run(&["export"], &replica).stderr;
    assert!(String::from_utf8_lossy(&said).contains("engine-0000000000000014"));
    assert!(content(scratch.path()) == before, "something was changed");
    // A valid engine passes. Corruption is reported and not repaired.
    assert!(run(&["repair"], &engine).status.success());
    let is_tsm = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "tsm");
    let tsm = before.keys().find(is_tsm).expect("a TSM file");
    let mut bytes = std::fs::read(tsm).expect("reads");
    bytes[12] ^= 1;
    std::fs::write(tsm, bytes).expect("writes");
    let corrupt = content(&engine);
    for path in [&engine, &replica, tsm] {
        let output = run(&["repair"], path);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("replica"), "{}: {output:?}", path.display());
    }
    assert!(content(&engine) == corrupt, "a repair changed the engine of a replica");
}

/// Story: after a zeroed length, bytes remained that opening zeros. `verify` did not report them.
#[test]
fn bytes_after_the_end_are_reported() {
    let scratch = tempfile::tempdir().expect("a directory");
    member(scratch.path());
    let wal = scratch.path().join("wal");
    let (_, json) = tsmith(&["inspect", "--format", "json"], &wal);
    let last = json["files"][0]["segments"].as_array().expect("segments").last().expect("one").clone();
    let used = last["used_bytes"].as_u64().expect("a number") as usize;
    let path = wal.join(last["name"].as_str().expect("a name"));
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[used + 16..used + 40].fill(7);
    std::fs::write(&path, bytes).expect("writes");
    let (output, json) = tsmith(&["verify", "--format", "json"], &wal);
    let notes = &json["files"][0]["notes"];
    assert!(output.status.success() && notes[0]["offset"].is_u64(), "{notes}");
}

#[test]
fn an_engine_on_an_etcd_log_can_be_exported() {
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

/// The exit code of `verify`, whether each file is ok, and the number of skipped files.
fn verified(path: &Path) -> (Option<i32>, Vec<(String, bool)>, usize) {
    let (output, json) = tsmith(&["verify", "--format", "json"], path);
    let files = json["files"].as_array().unwrap_or_else(|| panic!("{}: {output:?}", path.display()));
    let name = |file: &serde_json::Value| {
        let path = Path::new(file["path"].as_str().expect("a path"));
        path.file_name().expect("a name").to_string_lossy().into_owned()
    };
    let found = files.iter().map(|file| (name(file), file["ok"] == true)).collect();
    (output.status.code(), found, json["skipped"].as_array().map_or(0, Vec::len))
}

/// Story: `verify` of a member's directory ignored the snapshots, and failed on the directory of snapshots alone.
#[test]
fn every_directory_of_a_member_can_be_checked() {
    let scratch = tempfile::tempdir().expect("a directory");
    let root = scratch.path().join("member");
    let snap = root.join("snap");
    member(&root);
    let names = ["0000000000000002-0000000000000009.snap", "0000000000000002-0000000000000014.snap"];
    let older = Snapshot { index: 9, term: 2, ..Snapshot::default() };
    std::fs::write(snap.join(names[0]), tsmith_wal::testing::etcd::snapshot_file(&older)).expect("writes");
    std::fs::write(snap.join("0000000000000014.snap.db"), b"not ours").expect("writes");
    std::fs::write(snap.join("db"), b"not ours").expect("writes");
    let dirs = [scratch.path(), &root, &snap];
    let file = |name: &str, ok| (name.to_owned(), ok);
    let snapshots = |ok| vec![file(names[0], true), file(names[1], ok)];
    let all = |ok| [snapshots(ok), vec![file("wal", true)]].concat();
    for (dir, files) in dirs.into_iter().zip([all(true), all(true), snapshots(true)]) {
        assert_eq!(verified(dir), (Some(0), files, 2), "{dir:?}");
        let (output, json) = tsmith(&["inspect", "--format", "json"], dir);
        assert!(output.status.success(), "{dir:?}: {output:?}");
        assert_eq!(json["files"][1]["kind"], "etcd-snapshot");
    }
    let output = tsmith(&["verify"], &root).0;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(".snap: snapshot at index 20") && !text.contains("shard"), "{text}");
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(notes.contains(".snap.db and 1 more") && notes.contains(": not read: "), "{notes}");
    // A snapshot under the name of another one is corrupt.
    let (newest, saved) = (snap.join(names[1]), std::fs::read(snap.join(names[1])).expect("reads"));
    std::fs::copy(snap.join(names[0]), &newest).expect("copies");
    assert_eq!(verified(&snap), (Some(1), snapshots(false), 2));
    std::fs::write(&newest, saved).expect("writes");
    for database in ["db", "0000000000000014.snap.db"] {
        assert_eq!(verified(&snap.join(database)), (Some(0), Vec::new(), 1));
        assert!(tsmith(&["inspect"], &snap.join(database)).0.status.success());
    }

    let mut bytes = std::fs::read(snap.join(names[1])).expect("reads");
    bytes[9] ^= 1;
    std::fs::write(snap.join(names[1]), &bytes).expect("writes");
    for (dir, files) in dirs.into_iter().zip([all(false), all(false), snapshots(false)]) {
        assert_eq!(verified(dir), (Some(1), files, 2), "{dir:?}");
        assert_eq!(tsmith(&["inspect"], dir).0.status.code(), Some(1), "{dir:?}");
        let output = tsmith(&["repair", "--dry-run"], dir).0;
        assert_eq!(output.status.code(), Some(1), "{dir:?}");
    }
    std::fs::copy(snap.join(names[1]), snap.join(format!("{}.broken", names[1]))).expect("copies");
    std::fs::remove_file(snap.join(names[1])).expect("removes");
    let output = tsmith(&["verify"], &root).0;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("leftover "), "{text}");
    assert!(tsmith(&["repair", "--dry-run"], &root).0.status.success());
    // Before the first snapshot, only the database is in the directory.
    for name in &names {
        drop(std::fs::remove_file(snap.join(name)));
    }
    std::fs::remove_file(snap.join(format!("{}.broken", names[1]))).expect("removes");
    std::fs::remove_file(snap.join("0000000000000014.snap.db")).expect("removes");
    assert_eq!(verified(&snap), (Some(0), Vec::new(), 1));
    assert_eq!(verified(&root), (Some(0), vec![file("wal", true)], 1));
}

/// Story: `verify` accepted a member whose log was truncated in the middle, `repair` did nothing and reported success, and
/// `inspect` exited with 0. A valid segment, passed alone, was reported as corrupt.
#[test]
fn every_verb_reports_a_corrupt_member_log() {
    let scratch = tempfile::tempdir().expect("a directory");
    let fresh = |name: &str| {
        let root = scratch.path().join(name);
        member(&root);
        root.join("wal")
    };
    let segments = |wal: &Path| {
        let names = std::fs::read_dir(wal).expect("lists").map(|entry| entry.expect("an entry").path());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    // All verbs report the same problem, and change nothing.
    let check = |wal: &Path| {
        let before: Vec<_> = segments(wal).iter().map(|path| std::fs::read(path).expect("reads")).collect();
        let (output, json) = tsmith(&["verify", "--format", "json"], wal);
        assert_eq!(output.status.code(), Some(1), "{json}");
        let problem = json["files"][0]["problems"][0].clone();
        assert!(problem["segment"].is_string() && problem["offset"].is_u64(), "{json}");
        let (output, json) = tsmith(&["inspect", "--format", "json"], wal);
        assert_eq!(output.status.code(), Some(1), "{json}");
        assert_eq!(json["files"][0]["error"], problem);
        let (output, json) = tsmith(&["repair", "--format", "json"], wal);
        let state = &json["files"][0]["state"];
        assert_eq!((output.status.code(), state), (Some(1), &"unrepaired".into()), "{json}");
        let after: Vec<_> = segments(wal).iter().map(|path| std::fs::read(path).expect("reads")).collect();
        assert!(before == after, "nothing was changed");
    };
    let wal = fresh("truncated");
    let cut = &segments(&wal)[0];
    let bytes = std::fs::read(cut).expect("reads");
    std::fs::write(cut, &bytes[..bytes.len() - 5]).expect("writes");
    check(&wal);

    let wal = fresh("hole");
    let last = segments(&wal).pop().expect("a segment");
    let mut bytes = std::fs::read(&last).expect("reads");
    let (_, json) = tsmith(&["inspect", "--format", "json"], &last);
    let records = json["files"][0]["segments"][0]["records"].as_array().expect("records").clone();
    let entry = records.iter().find(|record| record["record"] == "entry").expect("an entry");
    let hole = entry["offset"].as_u64().expect("a number");
    bytes[hole as usize..][..8].fill(0);
    std::fs::write(&last, &bytes).expect("writes");
    check(&wal);

    let wal = fresh("valid");
    for segment in segments(&wal) {
        assert_eq!(verified(&segment).0, Some(0), "{}", segment.display());
        let (output, json) = tsmith(&["repair", "--format", "json"], &segment);
        assert_eq!((output.status.code(), &json["files"][0]["state"]), (Some(0), &"ok".into()), "{json}");
    }
    // A torn tail is no problem for any verb. A repair of the directory cuts it.
    let last = segments(&wal).pop().expect("a segment");
    let bytes = std::fs::read(&last).expect("reads");
    let used = bytes.iter().rposition(|&byte| byte != 0).expect("records");
    std::fs::write(&last, &bytes[..used - 3]).expect("writes");
    assert_eq!(verified(&wal).0, Some(0));
    let gap = |arguments: &[&str], path: &Path| {
        let (output, json) = tsmith(&[arguments, &["--format", "json"]].concat(), path);
        assert_eq!((output.status.code(), &json["files"][0]["state"]), (Some(0), &"torn".into()), "{json}");
        json["files"][0]["gaps"].clone()
    };
    let gaps = gap(&["repair", "--dry-run"], &wal);
    assert!(gaps[0]["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{gaps}");
    assert_eq!(gap(&["repair"], &last), gaps, "one segment is not cut");
    assert_eq!(gap(&["repair"], &wal), gaps);
    assert!(last.with_extension("wal.broken").exists());
    let (output, json) = tsmith(&["repair", "--format", "json"], &wal);
    assert_eq!((output.status.code(), &json["files"][0]["state"]), (Some(0), &"ok".into()), "{json}");
}

/// Story: `verify` accepted a member whose log was missing or empty. It also accepted a corrupt log behind a link.
#[test]
fn a_missing_or_linked_member_log_is_checked() {
    let scratch = tempfile::tempdir().expect("a directory");
    let root = scratch.path().join("n.etcd");
    let (log, other) = (root.join("member/wal"), scratch.path().join("disk"));
    member(&root.join("member"));
    OsFs.rename(&log, &other).expect("moves");
    let report = |arguments: &[&str]| {
        let json = [arguments, &["--format", "json"]].concat();
        let (output, json) = tsmith(&json, &root);
        (output.status.code(), json)
    };
    // The log is missing, then empty.
    for round in 0..2 {
        let (code, json) = report(&["verify"]);
        assert_eq!((code, &json["problems"]), (Some(1), &1.into()), "{json}");
        let reason = &json["files"][1]["problems"][0]["reason"];
        assert!(reason.as_str().is_some_and(|text| text.contains("--wal")), "{json}");
        assert_eq!(report(&["inspect"]).0, Some(1));
        let (code, json) = report(&["repair", "--dry-run"]);
        assert_eq!((code, &json["files"][1]["state"]), (Some(1), &"unrepaired".into()), "{json}");
        if round == 0 {
            std::fs::create_dir(&log).expect("made");
        }
    }
    std::fs::remove_dir(&log).expect("removes");
    let elsewhere = other.to_str().expect("text");
    assert_eq!(report(&["verify", "--wal", elsewhere]).0, Some(0));
    std::os::unix::fs::symlink(&other, &log).expect("links");
    let (code, json) = report(&["verify"]);
    assert_eq!(code, Some(0), "{json}");
    let summary =
        |json: &serde_json::Value| json["files"][1]["summary"].as_str().unwrap_or_default().to_owned();
    assert!(summary(&json).contains("opens at index 20"), "{json}");
    let (_, json) = tsmith(&["verify", "--format", "json"], &log);
    assert!(
        json["files"][0]["summary"].as_str().is_some_and(|text| text.contains("opens at index 20")),
        "{json}"
    );
    let first = other.join("0000000000000000-0000000000000000.wal");
    let mut bytes = std::fs::read(&first).expect("reads");
    bytes[700] ^= 1;
    std::fs::write(&first, bytes).expect("writes");
    assert_eq!(report(&["verify"]).0, Some(1));
    assert_eq!(report(&["repair", "--dry-run"]).0, Some(1));
}
