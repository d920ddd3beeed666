//! Shards of InfluxDB's that were copied or moved, with their logs or without.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Scratch, content, run};
use tsmith_engine::Manifest;
use tsmith_wal::fs::{Fs, OsFs};

const LINE: &str = "m,h=a f=1 1\n";

/// Data and log of a shard in InfluxDB's layout.
fn dirs(root: &Path) -> (PathBuf, PathBuf) {
    (root.join("data/db/rp/1"), root.join("wal/db/rp/1"))
}

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

/// Story: a snapshot of a copied tree put the points of the original into the copy, and deleted the original's log.
#[test]
fn what_is_done_to_a_copy_leaves_the_original_as_it_is() {
    let scratch = Scratch::new();
    let (root, copied) = (shard(&scratch), scratch.path("copied"));
    copy(&root, &copied);
    let before = content(&root);
    let (data, wal) = dirs(&copied);
    run("delete {} --key m,h=b", &[&data]).exits(0);
    run("snapshot {}", &[&data]).exits(0);
    assert!(content(&root) == before, "the original");
    assert!(content(&wal).keys().all(|path| !path.ends_with("_00001.wal")), "the copy's log is in its file");
    assert_eq!(run("export {} --format lp", &[&data]).exits(0).text(), LINE);
    let moved = scratch.path("moved");
    OsFs.rename(&root, &moved).expect("moved");
    run("compact {}", &[&dirs(&moved).0]).exits(0);
    run("verify {}", &[&moved]).exits(0);
}

/// Story: the same with a manifest of before, which has the path from the root; what `compact` asked to be passed with
/// `--wal` it refused, and `repair` found nothing wrong.
#[test]
fn a_manifest_that_leads_elsewhere_is_repaired() {
    let scratch = Scratch::new();
    let (root, copied) = (shard(&scratch), scratch.path("copied"));
    let (data, wal) = dirs(&root);
    let found = Manifest::read(&OsFs, &data).expect("whole").expect("there");
    Manifest { wal, data: None, ..found }.write(&OsFs, &data).expect("written");
    copy(&root, &copied);
    let (original, (data, wal)) = (content(&root), dirs(&copied));
    let log = wal.display().to_string();
    let words = ["copied or moved", "--wal"];
    for verb in ["snapshot", "compact", "delete --key m,h=a", "export", "stats"] {
        let run = run(&format!("{verb} {{}}"), &[&data]).exits(1).says(&words).says(&[&log]);
        assert!(verb != "export" || run.text() == LINE, "of its own log: {}", run.text());
    }
    let text = run("verify {}", &[&data]).exits(1).text();
    assert!(words.iter().all(|part| text.contains(part)), "{text}");
    let text = run("repair {}", &[&data]).exits(1).text();
    assert!(text.contains("CANNOT REPAIR") && text.contains("--wal"), "{text}");
    let again = scratch.path("again");
    copy(&copied, &again);
    run("repair {} --wal {}", &[&data, &wal]).exits(1);
    run("repair {}", &[&data]).exits(0);
    run("compact {}", &[&data]).exits(0);
    // Any verb that writes does so too.
    run("snapshot {} --wal {}", &[&dirs(&again).0, &dirs(&again).1]).exits(0);
    run("compact {}", &[&dirs(&again).0]).exits(0);
    run("verify {}", &[&again]).exits(0);
    assert!(content(&root) == original, "the original");
}

/// Story: a shard was restored without the directory of its log, and an import began one inside the data, where influxd does
/// not look. It is begun only in an empty directory that the user makes.
#[test]
fn a_log_is_begun_where_influxdb_looks_for_it() {
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

/// Story: a directory of data was copied alone, and `compact` said of a log's directory, which nobody had named, that the
/// path was to be checked.
#[test]
fn data_without_a_log_say_how_to_begin_one() {
    let scratch = Scratch::new();
    let data = dirs(&shard(&scratch)).0;
    run("snapshot {}", &[&data]).exits(0);
    let alone = scratch.path("alone");
    copy(&data, &alone);
    fs::remove_file(alone.join("tsmith.manifest")).expect("there");
    run("compact {}", &[&alone]).exits(74).says(&["--wal", "empty directory"]);
    let log = scratch.path("log");
    fs::create_dir(&log).expect("made");
    run("compact {} --wal {}", &[&alone, &log]).exits(0);
    run("compact {}", &[&alone]).exits(0);
    assert_eq!(run("export {} --format lp", &[&alone]).exits(0).text(), LINE);
}
