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
