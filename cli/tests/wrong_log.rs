//! A log that belongs to another shard, or that is missing. Verbs refuse to hide values or move them to another shard.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Scratch, content, run};

const WRITING: [&str; 5] = [
    "import {} {} --wal {}",
    "snapshot {} --wal {}",
    "compact {} --wal {}",
    "delete {} --key m,h=a --wal {}",
    "repair {} --wal {}",
];

/// A shard without Tsmith's files, as influxd would write it, with one point in its log.
fn shard(scratch: &Scratch, root: &Path, number: u32) -> (PathBuf, PathBuf) {
    let [data, wal] = ["data", "wal"].map(|dir| root.join(format!("{dir}/db/rp/{number}")));
    let line = scratch.file("in.lp", format!("m,h=a f={number} {number}\n"));
    run("import {} {} --wal {}", &[&data, &line, &wal]).exits(0);
    for ours in [data.join("tsmith.manifest"), data.join("tsmith.lock")] {
        fs::remove_file(ours).expect("there");
    }
    fs::write(data.join("fields.idx"), [0, 6, 1, 3]).expect("written");
    (data, wal)
}

/// Runs one of [`WRITING`] on the shard with a line to import.
fn write(scratch: &Scratch, line: &str, data: &Path, wal: &Path) -> support::Run {
    let input = scratch.file("more.lp", "m,h=a f=9 9\n");
    if line.starts_with("import") { run(line, &[data, &input, wal]) } else { run(line, &[data, wal]) }
}

/// Story: a wrong `--wal` was accepted and recorded in the manifest. The points in the shard's own log were hidden, or points
/// of another shard moved into this one.
#[test]
fn a_log_of_another_shard_is_refused() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let (data, wal) = shard(&scratch, &root, 1);
    let (other, log_of_other) = shard(&scratch, &root, 3);
    // Even a shard without a log cannot use the log of another shard.
    let (bare, log_of_bare) = shard(&scratch, &root, 4);
    fs::remove_dir_all(log_of_bare).expect("removed");
    let empty = scratch.path("empty");
    fs::create_dir(&empty).expect("made");
    let before = content(&root);
    let text = |path: &Path| path.display().to_string();
    for line in WRITING {
        for named in [&root.join("wal/db/rp/9"), &log_of_other, &empty] {
            let found = write(&scratch, line, &data, named);
            if line.starts_with("repair") && !named.exists() {
                found.exits(74).says(&["wal/db/rp/9"]);
                continue;
            }
            found.exits(2).says(&["--wal", &text(named), &text(&data), &text(&wal)]);
        }
        let found = write(&scratch, line, &bare, &log_of_other).exits(2);
        found.says(&["--wal", &text(&log_of_other), &text(&other), &text(&bare)]);
    }
    let fresh = root.join("data/db/rp/5");
    write(&scratch, WRITING[0], &fresh, &log_of_other).exits(2).says(&[&text(&other)]);
    assert!(content(&root) == before, "nothing is changed");
    for line in WRITING {
        write(&scratch, line, &data, &wal).exits(0);
    }
    assert_eq!(run("export {}", &[&other]).exits(0).text(), "m,h=a f=3 3\n");
}

/// Story: if the log was missing, an import created a new one. After that, no verb reported the missing values.
#[test]
fn a_missing_log_is_not_replaced_by_a_new_one() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let (data, wal) = shard(&scratch, &root, 1);
    // One shard has a file, one has all points in the log, and one has an index on disk.
    let snapshotted = shard(&scratch, &root, 2);
    run("snapshot {}", &[&snapshotted.0]).exits(0);
    fs::remove_file(snapshotted.0.join("tsmith.manifest")).expect("there");
    let on_disk = shard(&scratch, &root, 3);
    fs::remove_file(on_disk.0.join("fields.idx")).expect("there");
    fs::create_dir_all(on_disk.0.join("index/0")).expect("made");
    fs::write(on_disk.0.join("index/0/L0-00000001.tsl"), "").expect("written");
    let line = scratch.file("more.lp", "m,h=a f=9 9\n");
    for (data, wal) in [(data, wal), snapshotted, on_disk] {
        fs::remove_dir_all(&wal).expect("removed");
        let before = content(&root);
        let log = wal.display().to_string();
        run("import {} {}", &[&data, &line]).exits(74).says(&["--wal", &log]);
        let typo = scratch.path("typo");
        run("import {} {} --wal {}", &[&data, &line, &typo]).exits(74).says(&["--wal", "typo"]);
        assert!(content(&root) == before && !typo.exists(), "nothing is changed");
        fs::create_dir(&wal).expect("made");
        run("import {} {}", &[&data, &line]).exits(0);
        let exported = run("export {}", &[&data]).exits(0);
        assert!(
            exported.text().ends_with("m,h=a f=9 9\n") && exported.stderr.is_empty(),
            "{}",
            exported.stderr
        );
    }
}

/// Story: all points of a shard were in its log, which was missing. `verify` reported only a directory without files.
#[test]
fn the_missing_log_of_an_empty_shard_is_reported() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let (data, wal) = shard(&scratch, &root, 3);
    fs::remove_dir_all(wal).expect("removed");
    let line = format!("no log directory for {}: ", data.display());
    for path in [&root.join("data"), &data] {
        let verified = run("verify {} --format json", &[path]).exits(0).says(&[&line]).json();
        assert_eq!(verified["no_log"][0]["path"], data.display().to_string());
    }
    for verb in ["export", "query --format lp"] {
        let found = run(&format!("{verb} {{}}"), &[&data]).exits(1).says(&[&line]);
        assert_eq!(found.text(), "");
        run(&format!("{verb} {{}} --no-wal"), &[&data]).exits(0);
    }
    for verb in ["stats", "inspect"] {
        run(&format!("{verb} {{}}"), &[&data]).exits(0).says(&[&line]);
    }
    // A database may be named `index`.
    let named_index = scratch.path("other/data/index/0/1");
    run("import {} {}", &[&named_index, &scratch.file("in.lp", "m f=1 1\n")]).exits(0);
    let text = run("verify {}", &[&scratch.path("other")]).exits(0).text();
    assert!(text.contains("1 shard, 0 with problems"), "{text}");
}

/// Story: `--wal` with a directory that is no log was accepted as an empty log.
#[test]
fn a_directory_of_other_files_is_refused() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let (data, _) = shard(&scratch, &root, 1);
    for named in [&root.join("data"), &data] {
        let name = named.display().to_string();
        let said = [name.as_str(), "--wal"];
        let found = run("export {} --wal {}", &[&data, named]).exits(1).says(&said);
        assert_eq!(found.text(), "");
        run("verify {} --wal {}", &[&data, named]).exits(0).says(&said);
        for line in WRITING {
            write(&scratch, line, &data, named).exits(2).says(&said);
        }
    }
    // Files that belong to a log, or that a file system creates.
    let empty = scratch.path("empty");
    fs::create_dir(&empty).expect("made");
    for name in ["wal.lock", "_00001.wal.bad", "lost+found"] {
        fs::write(empty.join(name), "").expect("written");
        let found = run("export {} --wal {}", &[&data, &empty]).exits(0);
        assert!(!found.stderr.contains("log"), "{}", found.stderr);
        fs::remove_file(empty.join(name)).expect("there");
    }
}
