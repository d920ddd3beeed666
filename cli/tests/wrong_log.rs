//! A log that is not the shard's, or not there: what would hide values, or give them to another shard, is refused.

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

/// A shard as influxd leaves it, with one point in its log.
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

/// Story: a wrong `--wal` was accepted and written to the manifest. The points in the shard's own log were hidden from then
/// on, or those of another shard moved into it.
#[test]
fn a_log_that_is_not_the_shards_is_refused() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let (data, wal) = shard(&scratch, &root, 1);
    let (other, log_of_other) = shard(&scratch, &root, 3);
    // A shard whose own log has gone has nothing to hide, but the log is still another's.
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
                found.exits(74).says(&["no such file or directory"]);
                continue;
            }
            found.exits(2).says(&["is not the log of", &text(named), &text(&data), &text(&wal)]);
        }
        let found = write(&scratch, line, &bare, &log_of_other).exits(2);
        found.says(&["is the log of the shard", &text(&log_of_other), &text(&other), &text(&bare)]);
    }
    let fresh = root.join("data/db/rp/5");
    write(&scratch, WRITING[0], &fresh, &log_of_other).exits(2).says(&[&text(&other)]);
    assert!(content(&root) == before, "nothing is changed");
    for line in WRITING {
        write(&scratch, line, &data, &wal).exits(0);
    }
    assert_eq!(run("export {}", &[&other]).exits(0).text(), "m,h=a f=3 3\n");
}

/// Story: the log was missing, and an import began a new one without a word. From then on nothing said that values were missing.
#[test]
fn no_log_is_begun_where_one_is_missing() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let (data, wal) = shard(&scratch, &root, 1);
    // One with a file, one whose points were all in the log, and one of an index on disk.
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
        let says = ["no such directory, and the log would be there", "--wal", "create an empty directory"];
        let log = wal.display().to_string();
        run("import {} {}", &[&data, &line]).exits(74).says(&says).says(&[&log]);
        let typo = scratch.path("typo");
        run("import {} {} --wal {}", &[&data, &line, &typo]).exits(74).says(&says);
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

/// Story: all points of a shard were in the log, which was missing. `verify` called the shard a directory without files.
#[test]
fn a_shard_without_files_misses_its_log() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let (data, wal) = shard(&scratch, &root, 3);
    fs::remove_dir_all(wal).expect("removed");
    let line = format!("no log directory for {}: values written after the last snapshot", data.display());
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
    // A database may have the name of the index.
    let named_index = scratch.path("other/data/index/0/1");
    run("import {} {}", &[&named_index, &scratch.file("in.lp", "m f=1 1\n")]).exits(0);
    let text = run("verify {}", &[&scratch.path("other")]).exits(0).text();
    assert!(text.contains("1 shard, 0 bad"), "{text}");
}

/// Story: `--wal` named a directory that was no log at all, and it was taken for an empty one.
#[test]
fn a_directory_of_other_files_is_no_log() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let (data, _) = shard(&scratch, &root, 1);
    let said = ["is no log: it holds no segments, but other files, such as"];
    for named in [&root.join("data"), &data] {
        let found = run("export {} --wal {}", &[&data, named]).exits(1).says(&said);
        assert_eq!(found.text(), "");
        run("verify {} --wal {}", &[&data, named]).exits(0).says(&said);
        for line in WRITING {
            write(&scratch, line, &data, named).exits(2).says(&said);
        }
    }
    // What belongs to a log, or says nothing.
    let empty = scratch.path("empty");
    fs::create_dir(&empty).expect("made");
    for name in ["wal.lock", "_00001.wal.bad", "lost+found"] {
        fs::write(empty.join(name), "").expect("written");
        let found = run("export {} --wal {}", &[&data, &empty]).exits(0);
        assert!(!found.stderr.contains("log"), "{}", found.stderr);
        fs::remove_file(empty.join(name)).expect("there");
    }
}
