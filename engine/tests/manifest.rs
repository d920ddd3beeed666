//! With which parts, and where: what a directory remembers, and what it refuses.

use std::fs;

use tsmith_engine::driver::Driver;
use tsmith_engine::{Dirs, LineOptions, Options, Result, Setup, Timestamp};

const LINE: &[u8] = b"cpu,host=a usage=0.5 10\n";

fn open(dirs: &Dirs, flags: &[(&str, &str)]) -> Result<Box<dyn Driver>> {
    let options = Options { background: false, ..Options::default() };
    let mut setup = Setup { options, ..Setup::default() };
    for (flag, value) in flags {
        setup.set(flag, value)?;
    }
    setup.open(dirs.clone())
}

fn write_and_close(dirs: &Dirs, flags: &[(&str, &str)]) {
    let engine = open(dirs, flags).expect("opens");
    let report = engine.write_lines(LINE, &LineOptions::new(Timestamp(0))).expect("room");
    assert!(report.ack.is_some());
    engine.close().expect("in order");
}

#[test]
fn other_parts_are_refused_with_what_to_pass() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(root.path());
    write_and_close(&dirs, &[("encoder", "zstd"), ("log", "mmap"), ("storer", "hashmap")]);
    for (flag, other, made_with) in [
        ("encoder", "tsm1", "zstd"),
        ("log", "file", "mmap"),
        ("log", "null", "mmap"),
        ("storer", "empty", "hashmap"),
    ] {
        let error = open(&dirs, &[(flag, other)]).err().expect("refused").to_string();
        assert!(error.contains(&format!("--{flag} {made_with}")), "{error}");
    }
    let engine = open(&dirs, &[]).expect("the parts of the manifest");
    assert_eq!(engine.recovery().records, 1);
    engine.close().expect("in order");
}

#[test]
fn a_log_outside_of_the_data_is_found_again() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs { data: root.path().join("data"), wal: root.path().join("log") };
    write_and_close(&dirs, &[]);
    let manifest = fs::read_to_string(dirs.data.join("tsmith.manifest")).expect("written");
    assert!(manifest.contains(&format!("wal {}", dirs.wal.display())), "{manifest}");
    let error = open(&Dirs::under(&dirs.data), &[]).err().expect("another log directory").to_string();
    assert!(error.contains("--wal") && error.contains("log"), "{error}");
    assert_eq!(open(&dirs, &[]).expect("the same").recovery().records, 1);
}

#[test]
fn a_second_engine_is_refused_and_a_forgetful_one_too() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(root.path());
    let first = open(&dirs, &[]).expect("opens");
    let error = open(&dirs, &[]).err().expect("in use").to_string();
    assert!(error.contains("in use"), "{error}");
    first.close().expect("in order");
    // Without its manifest it is an InfluxDB directory: whatever would lose or hide its data is refused.
    fs::remove_file(root.path().join("tsmith.manifest")).expect("removed");
    write_and_close(&dirs, &[]);
    fs::remove_file(root.path().join("tsmith.manifest")).expect("removed");
    for flag in [("encoder", "raw"), ("log", "null"), ("storer", "empty")] {
        let error = open(&dirs, &[flag]).err().expect("refused").to_string();
        assert!(error.contains("InfluxDB's"), "{error}");
    }
}

#[test]
fn a_directory_that_is_not_there_is_not_made_unasked() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(&root.path().join("nowhere"));
    let mut setup = Setup::default();
    setup.options.create = false;
    let error = setup.open(dirs.clone()).err().expect("refused");
    assert!(error.is_io() && error.to_string().contains("nowhere"), "{error}");
    assert!(!dirs.data.exists());
}

/// Story: the log's directory was not mounted; the engine began an empty one, and what had been acknowledged was gone.
#[test]
fn a_missing_log_is_not_begun_anew() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(root.path());
    write_and_close(&dirs, &[]);
    fs::remove_dir_all(&dirs.wal).expect("removed");
    let error = open(&dirs, &[]).err().expect("refused").to_string();
    assert!(error.contains("wal") && error.contains("no such directory"), "{error}");
    assert!(!dirs.wal.exists(), "nothing was made");
    let error =
        tsmith_engine::view::View::open(&dirs.data, Some(&dirs.wal)).expect_err("refused").to_string();
    assert!(error.contains("no such directory"), "{error}");
}

#[test]
fn the_log_of_another_engine_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(&root.path().join("one"));
    write_and_close(&dirs, &[]);
    let thief = Dirs { data: root.path().join("two"), wal: dirs.wal.clone() };
    let error = open(&thief, &[]).err().expect("refused").to_string();
    assert!(error.contains("belongs to the engine in"), "{error}");
    assert_eq!(open(&dirs, &[]).expect("untouched").recovery().records, 1);
}

#[test]
fn a_log_path_that_no_manifest_can_hold_is_refused_before_anything_is_made() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs { data: root.path().join("data"), wal: root.path().join("w\nx") };
    let error = open(&dirs, &[]).err().expect("refused").to_string();
    assert!(error.contains("manifest"), "{error}");
    assert!(!dirs.wal.exists());
}

#[test]
fn a_refused_directory_stays_as_it_is() {
    let root = tempfile::tempdir().expect("a directory");
    let mut setup = Setup::default();
    setup.options.create = false;
    assert!(setup.open(Dirs::under(root.path())).is_err(), "it is empty");
    assert_eq!(fs::read_dir(root.path()).expect("a directory").count(), 0);
}

#[test]
fn a_log_path_may_be_named_in_other_words() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs { data: root.path().join("data"), wal: root.path().join("data/../log") };
    write_and_close(&dirs, &[]);
    let plain = Dirs { data: root.path().join("data"), wal: root.path().join("log") };
    assert_eq!(open(&plain, &[]).expect("the same directory").recovery().records, 1);
}
