//! Files and results of etcd 3.4.23, compared with those of Tsmith.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tsmith_wal::etcd::{
    Contents, Entry, EtcdError, Snapshot, SnapshotRecord, Snapshotter, Strictness, Wal, WalOptions, read,
    records, repair, valid_snapshot_entries,
};
use tsmith_wal::fs::OsFs;
use tsmith_wal::testing::etcd::{conf_state, read_until_error};
use tsmith_wal::{Error, ErrorKind, Result};

mod etcd;
#[path = "../examples/plan/mod.rs"]
mod plan;

use etcd::{Vectors, brief, copy_dir, hex, lines, listed, sha256, tree};

/// The class of an error, as the description of the vectors lists them.
fn class(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Etcd(found) => match found {
            EtcdError::Torn | EtcdError::CutShort => "torn",
            // In a log this is not a torn write, because nothing shows that only the last write is affected.
            EtcdError::Short(_)
                if error.path().is_some_and(|path| path.extension() == Some("snap".as_ref())) =>
            {
                "torn"
            }
            EtcdError::Crc { .. } => "crc",
            EtcdError::Chain { .. } | EtcdError::Headless => "chain",
            EtcdError::Short(_) | EtcdError::Parse(_) => "parse",
            EtcdError::Length { .. } => "length",
            EtcdError::RecordKind(_) => "record kind",
            EtcdError::SnapshotMismatch { .. } => "snapshot mismatch",
            EtcdError::SnapshotNotFound { .. } => "snapshot not found",
            EtcdError::MetadataConflict => "metadata conflict",
            EtcdError::Gap { .. } => "gap",
            EtcdError::SegmentMissing { .. } => "file not found",
            EtcdError::SnapshotEmpty => "empty snapshot",
            EtcdError::SnapshotCrc { .. } => "snapshot crc",
            other => panic!("an error that etcd does not have: {other}"),
        },
        other => panic!("not an error of etcd's files: {other}"),
    }
}

/// The class of etcd's error.
fn class_of(op: &Value) -> Option<&'static str> {
    if op["panic"].is_string() {
        // The bytes are not a message. Tsmith must not panic.
        return Some("parse");
    }
    let text = op["err"].as_str().or(op["open_err"].as_str())?;
    Some(match text {
        "unexpected EOF" => "torn",
        "walpb: crc mismatch" => "crc",
        "wal: crc mismatch" => "chain",
        "wal: max entry size limit exceeded" => "length",
        "wal: snapshot mismatch" => "snapshot mismatch",
        "wal: snapshot not found" => "snapshot not found",
        "wal: conflicting metadata found" => "metadata conflict",
        "wal: slice bounds out of range" => "gap",
        "wal: file not found" => "file not found",
        "snap: crc mismatch" => "snapshot crc",
        "snap: empty snapshot" => "empty snapshot",
        _ if text.starts_with("unexpected block type") => "record kind",
        _ if text.starts_with("proto:") || text.contains("unexpected EOF") => "parse",
        _ => panic!("an error of etcd without a class: {text}"),
    })
}

fn start(op: &Value) -> SnapshotRecord {
    let number = |name: &str| op["start"][name].as_u64().expect("a number");
    SnapshotRecord::new(number("index"), number("term"))
}

fn entry(entry: &Entry) -> Value {
    let data = brief(entry.data.as_deref(), 64);
    json!({ "type": entry.kind.0, "term": entry.term, "index": entry.index, "data": data })
}

/// A case, and the lists of entries that later lines refer to.
struct Case {
    name: String,
    dir: PathBuf,
    scratch: tempfile::TempDir,
    entries: HashMap<String, Value>,
}

impl Case {
    fn check(&mut self, op: &Value) {
        match op["kind"].as_str().expect("a kind") {
            "case" => assert_eq!(tree(&self.dir), listed(&op["files"])),
            "record" | "file_end" => {}
            "op" => self.operation(op["op"].as_str().expect("an operation"), op),
            other => panic!("{other}"),
        }
    }

    /// Compares each record with etcd's, without checksums, up to the first invalid one.
    fn records(&self, expected: &[Value]) {
        for (file, _, _) in tree(&self.dir) {
            let bytes = std::fs::read(self.dir.join(&file)).expect("reads");
            let mut end = 0;
            let mut expected = expected.iter().filter(|line| line["file"] == *file);
            let mut broken = false;
            for record in records(&bytes) {
                let Ok(record) = record else {
                    broken = true;
                    break;
                };
                let found = json!({
                    "kind": "record", "file": file, "offset": record.offset, "type": record.kind,
                    "record_bytes": record.record_bytes, "pad": record.padding, "crc": record.crc,
                    "data": brief(record.data, 2048),
                });
                assert_eq!(Some(&found), expected.next());
                end = record.end();
            }
            if let Some(next) = expected.next() {
                assert_eq!(next["offset"], end);
                assert!(broken || next["kind"] == "file_end", "{next}");
            }
        }
    }

    fn operation(&mut self, name: &str, op: &Value) {
        let scratch =
            self.scratch.path().join(format!("{}-{name}", self.entries.len()).replace(['+', '/'], "_"));
        drop(std::fs::remove_dir_all(&scratch));
        match name {
            "open_for_read+read_all" => {
                let read = read_until_error(&OsFs, &self.dir, &start(op));
                match read {
                    Ok((contents, stopped)) => self.contents(name, op, &contents, stopped.as_ref()),
                    Err(error) => assert_eq!(Some(class(&error)), class_of(op), "{error}"),
                }
            }
            // It checks less than a reader, which is compared above.
            "verify" => {}
            "valid_snapshot_entries" => match valid_snapshot_entries(&OsFs, &self.dir) {
                Ok(snapshots) => {
                    self.class(op, None);
                    let one = |snapshot: &SnapshotRecord| {
                        let extra = snapshot.conf_state.as_ref().map(conf_state);
                        let extra =
                            extra.map(|bytes| hex(&[&[0x1a, bytes.len() as u8], &bytes[..]].concat()));
                        json!({ "index": snapshot.index, "term": snapshot.term, "extra": extra })
                    };
                    let snapshots: Vec<_> = snapshots.iter().map(one).collect();
                    assert_eq!(json!(snapshots), op["snapshots"]);
                }
                Err(error) => self.class(op, Some(&error)),
            },
            "open+read_all" => {
                copy_dir(&self.dir, &scratch);
                self.write(name, op, &scratch);
                assert_eq!(tree(&scratch), listed(&op["after"]));
            }
            "repair" => {
                copy_dir(&self.dir, &scratch);
                let repaired = repair(&OsFs, &scratch);
                assert_eq!(repaired.is_ok(), op["ok"].as_bool().expect("a verdict"), "{repaired:?}");
                assert_eq!(tree(&scratch), listed(&op["after"]));
            }
            "repair+open+read_all" => {
                copy_dir(&self.dir, &scratch);
                drop(repair(&OsFs, &scratch));
                self.write(name, op, &scratch);
            }
            other => panic!("{other}"),
        }
    }

    fn write(&mut self, name: &str, op: &Value, dir: &Path) {
        // Opening preallocates space, and closing removes it, so the segment size of the writer does not matter.
        let options =
            WalOptions { segment_bytes: 8192, strictness: Strictness::Etcd, ..WalOptions::default() };
        let opened = Wal::open(OsFs, dir, &start(op), options);
        match opened {
            Ok((wal, contents)) => {
                self.contents(name, op, &contents, None);
                wal.close().expect("closes");
            }
            // etcd ignores this error when it opens for writing.
            Err(error) if class(&error) == "snapshot not found" => {
                assert!(op["err"].is_null(), "{}: etcd reports it too: {op}", self.name);
            }
            Err(error) => self.class(op, Some(&error)),
        }
    }

    fn class(&self, op: &Value, error: Option<&Error>) {
        assert_eq!(error.map(class), class_of(op), "{}: {op}: {error:?}", self.name);
    }

    fn contents(&mut self, name: &str, op: &Value, contents: &Contents, stopped: Option<&Error>) {
        self.class(op, stopped);
        let key = format!("{name} start {}", start(op).index);
        let expected = match op["entries"]["same_as"].as_str() {
            Some(same) => self.entries[same].clone(),
            None => op["entries"].clone(),
        };
        if !op["entries"].is_null() {
            self.entries.entry(key).or_insert_with(|| expected.clone());
        }
        if let Some(error) = stopped
            && class(error) != "snapshot not found"
        {
            // With other errors etcd returns no entries.
            return;
        }
        assert_eq!(contents.entries.len() as u64, op["n_entries"].as_u64().expect("a number"));
        assert_eq!(contents.entries.iter().map(entry).collect::<Value>(), expected);
        assert_eq!(brief(contents.metadata.as_deref(), 2048), op["metadata"]);
        let state = contents.state;
        assert_eq!(
            json!({ "term": state.term, "vote": state.vote, "commit": state.commit }),
            op["hard_state"]
        );
    }
}

#[test]
fn every_log_is_read_and_repaired_as_etcd_does() {
    let vectors = Vectors::get();
    let cases = vectors.cases("wal");
    assert!(cases.len() > 60, "{} cases", cases.len());
    for path in cases {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let expected = lines(&path.join("expected.jsonl"));
        let scratch = tempfile::tempdir().expect("a directory");
        let mut case = Case { name, dir: path.join("wal"), scratch, entries: HashMap::default() };
        eprintln!("{}", case.name);
        case.records(&expected);
        for line in &expected {
            case.check(line);
        }
    }
}

fn play(plan: &Path, dir: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(plan).expect("a plan");
    plan::play(&text, dir).unwrap_or_else(|error| panic!("{}: {error}", plan.display()));
    tree(dir).into_iter().map(|(name, _, sha256)| (name, sha256)).collect()
}

fn sums(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).expect("sums");
    let pair = |line: &str| line.split_once("  ").map(|(sum, name)| (name.to_owned(), sum.to_owned()));
    text.lines().map(|line| pair(line).expect("a sum and a name")).collect()
}

#[test]
fn the_same_operations_give_the_same_bytes() {
    let vectors = Vectors::get();
    for plan in vectors.plans() {
        let scratch = tempfile::tempdir().expect("a directory");
        let found = play(&plan, &scratch.path().join("wal"));
        assert_eq!(found, sums(&plan.with_extension("sha256")), "{}", plan.display());
    }
}

/// The operations of a real member since its start, with segments of etcd's size.
#[test]
fn a_members_operations_give_the_bytes_of_its_log() {
    let vectors = Vectors::get();
    for state in vectors.cases("process") {
        let scratch = tempfile::tempdir().expect("a directory");
        let dir = scratch.path().join("wal");
        let found = play(&state.join("plan.jsonl"), &dir);
        assert_eq!(found, sums(&state.join("wal.sha256")), "{}", state.display());
        let expected = lines(&state.join("expected-wal.jsonl"));
        let (summary, entries) = expected.split_last().expect("a summary");
        let contents = read(&OsFs, &dir, &SnapshotRecord::default());
        let contents = contents.expect("reads");
        assert_eq!(contents.entries.len(), entries.len());
        for (found, expected) in contents.entries.iter().zip(entries) {
            assert_eq!(found.index, expected["index"].as_u64().expect("an index"));
            assert_eq!(found.data.as_deref().map(hex), expected["data"].as_str().map(str::to_owned));
        }
        assert_eq!(contents.state.commit, summary["hard_state"]["commit"].as_u64().expect("a number"));
        let known = valid_snapshot_entries(&OsFs, &dir).expect("reads");
        let known: Vec<_> = known.iter().map(|known| format!("{}@{}", known.index, known.term)).collect();
        assert_eq!(json!(known), summary["valid_snapshots"]);
    }
}

fn snapshot(snapshot: &Snapshot) -> Value {
    let list = |ids: &[u64]| if ids.is_empty() { Value::Null } else { json!(ids) };
    let conf = &snapshot.conf_state;
    json!({
        "conf_state": {
            "auto_leave": conf.auto_leave, "learners": list(&conf.learners), "voters": list(&conf.voters),
            "learners_next": list(&conf.learners_next), "voters_outgoing": list(&conf.voters_outgoing),
        },
        "data": brief(snapshot.data.as_deref(), 2048), "index": snapshot.index, "term": snapshot.term,
    })
}

fn loaded(op: &Value, found: Result<Option<Snapshot>>) {
    match found.expect("loads") {
        Some(found) => assert_eq!(snapshot(&found), op["snapshot"]),
        None => assert_eq!(op["err"], "snap: no available snapshot"),
    }
}

#[test]
fn every_snapshot_directory_is_read_as_etcd_does() {
    let vectors = Vectors::get();
    let cases = vectors.cases("snap");
    assert!(cases.len() >= 11, "{} cases", cases.len());
    for path in cases {
        let scratch = tempfile::tempdir().expect("a directory");
        let dir = path.join("snap");
        for (number, op) in lines(&path.join("expected.jsonl")).iter().enumerate() {
            let copy = scratch.path().join(number.to_string());
            copy_dir(&dir, &copy);
            let snapshotter = Snapshotter::new(OsFs, &copy);
            match op["op"].as_str() {
                None => {
                    assert_eq!(tree(&copy), listed(&op["files"]));
                    continue;
                }
                Some("read") => {
                    let file = op["file"].as_str().expect("a name");
                    match snapshotter.read(&copy.join(file)) {
                        Ok(found) => {
                            assert_eq!(snapshot(&found), op["snapshot"], "{file}");
                            save_again(&found, &copy.join(file));
                        }
                        Err(error) => assert_eq!(Some(class(&error)), class_of(op), "{file}: {error}"),
                    }
                    continue;
                }
                Some("load") => loaded(op, snapshotter.load()),
                Some("load_newest_available") => {
                    let known = op["wal_snapshots"].as_array().expect("a list").iter().map(|known| {
                        let number = |name: &str| known[name].as_u64().expect("a number");
                        SnapshotRecord::new(number("index"), number("term"))
                    });
                    loaded(op, snapshotter.load_newest_available(&known.collect::<Vec<_>>()));
                }
                Some("release_snap_dbs") => {
                    let index = op["index"].as_u64().expect("an index");
                    snapshotter.release_snap_dbs(&SnapshotRecord::new(index, 1)).expect("releases");
                }
                Some(other) => panic!("{other}"),
            }
            assert_eq!(tree(&copy), listed(&op["after"]), "{}: {op}", path.display());
        }
    }
}

/// Saves a snapshot again. The file is the same as etcd's, if that has the name that etcd derives from the snapshot.
fn save_again(snapshot: &Snapshot, path: &Path) {
    let scratch = tempfile::tempdir().expect("a directory");
    Snapshotter::new(OsFs, scratch.path()).save_snap(snapshot).expect("saves");
    let written = tree(scratch.path());
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let bytes = std::fs::read(path).expect("reads");
    if name.starts_with("00") {
        assert_eq!(written, [(name, bytes.len() as u64, sha256(&bytes))]);
    }
}
