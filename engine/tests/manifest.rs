//! With which parts, and where: what a directory remembers, and what it refuses.

use std::fs;
use std::path::Path;

use tsmith_engine::driver::Driver;
use tsmith_engine::{
    Dirs, ErrorKind, FieldTyping, LineOptions, Manifest, Options, Registry, Result, Setup, Timestamp,
};
use tsmith_wal::fs::{Fs, OsFs};

const LINE: &[u8] = b"cpu,host=a usage=0.5 10\n";

fn open(dirs: &Dirs, flags: &[(&str, &str)]) -> Result<Box<dyn Driver>> {
    let options = Options { background: false, ..Options::default() };
    let mut setup = Setup { options, ..Setup::default() };
    for (flag, value) in flags {
        setup.set(flag, value)?;
    }
    setup.open(&Registry::standard(), dirs.clone())
}

fn write_and_close(dirs: &Dirs, flags: &[(&str, &str)]) {
    let engine = open(dirs, flags).expect("opens");
    let report = engine.write_lines(LINE, &LineOptions::new(Timestamp(0))).expect("room");
    assert!(report.ack.is_some());
    engine.close().expect("in order");
}

/// Story: a shard of InfluxDB without TSM files and with an empty log was taken for a new directory. It could get a log
/// and types that influxd does not open.
#[test]
fn an_empty_shard_of_influxdb_stays_influxdbs() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(root.path());
    fs::create_dir_all(&dirs.data).expect("creates");
    fs::create_dir_all(&dirs.wal).expect("creates");
    fs::write(dirs.data.join("fields.idx"), b"").expect("writes");
    for (flag, other) in [("log", "native"), ("encoder", "zstd"), ("storer", "empty")] {
        let error = open(&dirs, &[(flag, other)]).err().expect("refused");
        assert!(matches!(error.kind(), ErrorKind::NotInflux { .. }), "{error}");
    }
    write_and_close(&dirs, &[]);
    let manifest = Manifest::read(&OsFs, &dirs.data).expect("reads").expect("is there");
    assert_eq!(manifest.typing, FieldTyping::Measurement);
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
    assert!(manifest.contains("\nwal ../log\n") && manifest.contains("\ndata data\n"), "{manifest}");
    let error = open(&Dirs::under(&dirs.data), &[]).err().expect("another log directory").to_string();
    assert!(error.contains("--wal") && error.contains("log"), "{error}");
    assert_eq!(open(&dirs, &[]).expect("the same").recovery().records, 1);
}

#[test]
fn a_second_engine_and_a_null_log_are_refused() {
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
    let error = setup.open(&Registry::standard(), dirs.clone()).err().expect("refused");
    assert!(error.is_io() && error.to_string().contains("nowhere"), "{error}");
    assert!(!dirs.data.exists());
}

/// Story: the log's directory was not mounted; the engine began an empty one, and what had been acknowledged was gone.
#[test]
fn a_missing_log_is_not_recreated() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(root.path());
    write_and_close(&dirs, &[]);
    fs::remove_dir_all(&dirs.wal).expect("removed");
    let error = open(&dirs, &[]).err().expect("refused").to_string();
    assert!(error.contains("wal") && error.contains("no such directory"), "{error}");
    assert!(!dirs.wal.exists(), "nothing was made");
    let error = tsmith_engine::view::View::open(&Registry::standard(), &dirs.data, Some(&dirs.wal))
        .expect_err("refused")
        .to_string();
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
fn a_log_path_that_no_manifest_holds_is_refused() {
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
    assert!(setup.open(&Registry::standard(), Dirs::under(root.path())).is_err(), "it is empty");
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

/// A shard in InfluxDB's layout, below `root`.
fn influx_dirs(root: &Path) -> Dirs {
    Dirs { data: root.join("data/db/rp/1"), wal: root.join("wal/db/rp/1") }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("copied");
        }
    }
}

fn records(dirs: &Dirs) -> Result<u64> {
    open(dirs, &[]).map(|engine| engine.recovery().records)
}

/// Story: the manifest of a shard had the path of its log from the root. A copy of the tree took that along, and a snapshot
/// of the copy ate the log of the original; a tree that was moved opened no more.
#[test]
fn a_copied_or_moved_tree_has_its_own_log() {
    let root = tempfile::tempdir().expect("a directory");
    let (original, copied) = (root.path().join("original"), root.path().join("copied"));
    write_and_close(&influx_dirs(&original), &[]);
    copy(&original, &copied);
    write_and_close(&influx_dirs(&copied), &[]);
    assert_eq!(records(&influx_dirs(&copied)).expect("its own"), 2);
    assert_eq!(records(&influx_dirs(&original)).expect("untouched"), 1);
    let moved = root.path().join("moved");
    OsFs.rename(&copied, &moved).expect("moved");
    assert_eq!(records(&influx_dirs(&moved)).expect("its own"), 2);
}

/// Story: the same, where only the directory of the data was copied: its manifest led to the original's log.
#[test]
fn a_copy_without_its_log_takes_no_other() {
    let root = tempfile::tempdir().expect("a directory");
    let original = influx_dirs(root.path());
    write_and_close(&original, &[]);
    for to in ["data/db/rp/2", "data2/db/rp/1", "backup/1"] {
        let data = root.path().join(to);
        copy(&original.data, &data);
        let found = Manifest::read(&OsFs, &data).expect("whole").expect("there");
        let error = found.wal_directory(&data).expect_err("another's").to_string();
        assert!(error.contains(".../data/db/rp/1") && error.contains("--wal"), "{to}: {error}");
        let thief = Dirs { data: data.clone(), wal: original.wal.clone() };
        let error = records(&thief).expect_err("another's").to_string();
        assert!(error.contains("belongs to the engine in"), "{to}: {error}");
        // Its own is what the caller names, if it is there, and is remembered.
        let own = Dirs { data: data.clone(), wal: root.path().join(to.replace("data", "logs")).join("log") };
        assert!(records(&own).expect_err("missing").to_string().contains("--wal"));
        fs::create_dir_all(&own.wal).expect("made");
        write_and_close(&own, &[]);
        let found = Manifest::read(&OsFs, &data).expect("whole").expect("there");
        assert_eq!(found.wal_directory(&data).expect("its own"), own.wal.canonicalize().expect("there"));
        assert_eq!((records(&own).expect("its own"), records(&original).expect("untouched")), (1, 1));
    }
}

/// Story: the logs were moved to another disk, and the directory said that its log is where it was.
#[test]
fn a_named_log_replaces_one_that_is_gone() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = influx_dirs(root.path());
    write_and_close(&dirs, &[]);
    let moved = Dirs { wal: root.path().join("disk"), ..dirs.clone() };
    fs::create_dir(&moved.wal).expect("made");
    let error = records(&moved).expect_err("its own is there").to_string();
    assert!(error.contains("pass it with --wal"), "{error}");
    fs::remove_dir(&moved.wal).expect("empty");
    OsFs.rename(&dirs.wal, &moved.wal).expect("moved");
    assert!(records(&dirs).expect_err("gone").to_string().contains("--wal"));
    assert_eq!(records(&moved).expect("named"), 1);
    let found = Manifest::read(&OsFs, &dirs.data).expect("whole").expect("there");
    assert_eq!(found.wal, Path::new("../../../../disk"));
}
