//! InfluxDB shards that were copied or moved, with and without their logs.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Scratch, content, run, shard_dirs as dirs};
use tsmith_engine::Manifest;
use tsmith_wal::fs::{Fs, OsFs};

const LINE: &str = "m,h=a f=1 1\n";

fn shard(scratch: &Scratch) -> PathBuf {
    let root = scratch.path("influxdb");
    let (data, wal) = dirs(&root);
    run("import {} {} --wal {}", &[&data, &scratch.file("n.lp", LINE), &wal]).exits(0);
    root
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in content(from) {
        let to = to.join(path.strip_prefix(from).expect("below"));
        if path.is_dir() {
            fs::create_dir_all(to).expect("made");
        } else {
            fs::create_dir_all(to.parent().expect("a directory")).expect("made");
            fs::write(to, bytes).expect("written");
        }
    }
}

/// Story: a snapshot of a copied tree read the log of the original and deleted it.
#[test]
fn writing_to_a_copy_does_not_change_the_original() {
    let scratch = Scratch::new();
    let (root, copied) = (shard(&scratch), scratch.path("copied"));
    copy(&root, &copied);
    let before = content(&root);
    let (data, wal) = dirs(&copied);
    run("delete {} --key m,h=b", &[&data]).exits(0);
    run("snapshot {}", &[&data]).exits(0);
    assert!(content(&root) == before, "the original");
    assert!(content(&wal).keys().all(|path| !path.ends_with("_00001.wal")), "the copy's log is truncated");
    assert_eq!(run("export {} --format lp", &[&data]).exits(0).text(), LINE);
    let moved = scratch.path("moved");
    OsFs.rename(&root, &moved).expect("moved");
    run("compact {}", &[&dirs(&moved).0]).exits(0);
    run("verify {}", &[&moved]).exits(0);
}

/// Story: a copied manifest had the absolute path of the original's log. `compact` refused the `--wal` that its own error asked
/// for, and `repair` found no problem.
#[test]
fn a_manifest_with_another_directorys_log_is_repaired() {
    let scratch = Scratch::new();
    let (root, copied) = (shard(&scratch), scratch.path("copied"));
    let (data, wal) = dirs(&root);
    let found = Manifest::read(&OsFs, &data).expect("valid").expect("exists");
    Manifest { wal, data: None, ..found }.write(&OsFs, &data).expect("written");
    copy(&root, &copied);
    let (original, (data, wal)) = (content(&root), dirs(&copied));
    let log = wal.display().to_string();
    for verb in ["snapshot", "compact", "delete --key m,h=a", "export", "stats"] {
        let run = run(&format!("{verb} {{}}"), &[&data]).exits(1).says(&["--wal", &log]);
        assert!(verb != "export" || run.text() == LINE, "of its own log: {}", run.text());
    }
    let text = run("verify {}", &[&data]).exits(1).text();
    assert!(text.contains("--wal"), "{text}");
    let text = run("repair {}", &[&data]).exits(1).text();
    assert!(text.contains("unrepaired ") && text.contains("--wal"), "{text}");
    let again = scratch.path("again");
    copy(&copied, &again);
    run("repair {} --wal {}", &[&data, &wal]).exits(1);
    run("repair {}", &[&data]).exits(0);
    run("compact {}", &[&data]).exits(0);
    // Each verb that writes also corrects the manifest.
    run("snapshot {} --wal {}", &[&dirs(&again).0, &dirs(&again).1]).exits(0);
    run("compact {}", &[&dirs(&again).0]).exits(0);
    run("verify {}", &[&again]).exits(0);
    assert!(content(&root) == original, "the original");
}

/// Story: an import into a shard without a log directory created the log inside the data, where influxd does not read it. Now
/// the user must create an empty directory first.
#[test]
fn a_new_log_is_created_where_influxdb_reads_it() {
    let scratch = Scratch::new();
    let (data, wal) = dirs(&shard(&scratch));
    run("snapshot {}", &[&data]).exits(0);
    fs::remove_file(data.join("tsmith.manifest")).expect("there");
    fs::remove_dir_all(&wal).expect("there");
    run("compact {}", &[&data]).exits(74).says(&["wal/db/rp/1", "--wal"]);
    let more = scratch.file("more.lp", "m,h=a f=2 2\n");
    run("import {} {}", &[&data, &more]).exits(74).says(&["wal/db/rp/1", "--wal"]);
    fs::create_dir(&wal).expect("made");
    run("import {} {}", &[&data, &more]).exits(0);
    assert!(wal.join("_00001.wal").exists() && !data.join("wal").exists());
    assert_eq!(run("export {} --format lp", &[&data]).exits(0).text(), "m,h=a f=1 1\nm,h=a f=2 2\n");
}

/// Story: `compact` of data without a log advised to check a path that the user had not named.
#[test]
fn the_error_of_a_missing_log_names_wal() {
    let scratch = Scratch::new();
    let data = dirs(&shard(&scratch)).0;
    run("snapshot {}", &[&data]).exits(0);
    let alone = scratch.path("alone");
    copy(&data, &alone);
    fs::remove_file(alone.join("tsmith.manifest")).expect("there");
    run("compact {}", &[&alone]).exits(74).says(&["--wal"]);
    let log = scratch.path("log");
    fs::create_dir(&log).expect("made");
    run("compact {} --wal {}", &[&alone, &log]).exits(0);
    run("compact {}", &[&alone]).exits(0);
    assert_eq!(run("export {} --format lp", &[&alone]).exits(0).text(), LINE);
}

/// Story: a repair of a shard without its log said that all was ok.
#[test]
fn a_repair_reports_a_missing_log() {
    let scratch = Scratch::new();
    let (data, wal) = dirs(&shard(&scratch));
    run("snapshot {}", &[&data]).exits(0);
    fs::remove_file(data.join("tsmith.manifest")).expect("there");
    let elsewhere = scratch.path("elsewhere");
    OsFs.rename(&wal, &elsewhere).expect("moved");
    let found = run("repair {}", &[&data]).exits(0).says(&[&data.display().to_string(), "--wal"]);
    assert!(found.text().contains("the log of 1 shard "), "{}", found.text());
    let report = run("repair {} --format json", &[&data]).exits(0).json();
    assert_eq!(report["no_log"][0]["path"], data.display().to_string());
    let report = run("repair {} --wal {} --format json", &[&data, &elsewhere]).exits(0).json();
    assert!(report["no_log"].is_null() && report["files"].as_array().is_some_and(|files| files.len() > 1));
}

/// Story: one report had relative paths for files and absolute paths for segments.
#[test]
fn paths_of_a_log_have_the_form_of_the_argument() {
    let scratch = Scratch::new();
    let root = shard(&scratch);
    let verified = |path: &Path| {
        let output = support::command().arg("verify").arg(path).current_dir(&root).output().expect("runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    for (path, prefix) in [(Path::new("data/db/rp/1"), "ok wal/db/rp/1/_"), (&dirs(&root).0, "ok /")] {
        let text = verified(path);
        assert!(text.lines().any(|line| line.starts_with(prefix) && line.contains(".wal: ")), "{text}");
        assert!(path.is_relative() || !text.contains("ok wal"), "{text}");
    }
}
