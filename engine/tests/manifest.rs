//! What the manifest stores, and which openings it refuses.

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
    let report = engine.write_lines(LINE, &LineOptions::new(Timestamp(0))).expect("enough space");
    assert!(report.ack.is_some());
    engine.close().expect("closes");
}

/// Story: an InfluxDB shard without TSM files and with an empty log was treated as a new directory. It could
/// get a log and types that influxd refuses.
#[test]
fn an_empty_influxdb_shard_is_recognised() {
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
fn other_parts_are_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(root.path());
    write_and_close(&dirs, &[("encoder", "zstd"), ("log", "mmap"), ("storer", "hashmap")]);
    for (flag, other, made_with) in [
        ("encoder", "tsm1", "zstd"),
        ("log", "file", "mmap"),
        ("log", "null", "mmap"),
        ("storer", "empty", "hashmap"),
    ] {
        let error = open(&dirs, &[(flag, other)]).err().expect("refused");
        let ErrorKind::OtherParts { part, made_with: found, asked } = error.kind() else { panic!("{error}") };
        assert_eq!((*part, &**found, &**asked), (flag, made_with, other), "{error}");
    }
    let engine = open(&dirs, &[]).expect("the parts of the manifest");
    assert_eq!(engine.recovery().records, 1);
    engine.close().expect("closes");
}

#[test]
fn a_log_outside_the_data_is_found_again() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs { data: root.path().join("data"), wal: root.path().join("log") };
    write_and_close(&dirs, &[]);
    let manifest = fs::read_to_string(dirs.data.join("tsmith.manifest")).expect("written");
    assert!(manifest.contains("\nwal ../log\n") && manifest.contains("\ndata data\n"), "{manifest}");
    let error = open(&Dirs::under(&dirs.data), &[]).err().expect("another log directory");
    assert!(matches!(error.kind(), ErrorKind::OtherLogDirectory { .. }), "{error}");
    assert_eq!(open(&dirs, &[]).expect("the same").recovery().records, 1);
}

#[test]
fn a_second_engine_and_a_null_log_are_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(root.path());
    let first = open(&dirs, &[]).expect("opens");
    let error = open(&dirs, &[]).err().expect("in use");
    assert!(matches!(error.kind(), ErrorKind::InUse), "{error}");
    first.close().expect("closes");
    // Without its manifest it is an InfluxDB directory. Parts that would lose or hide its data are refused.
    fs::remove_file(root.path().join("tsmith.manifest")).expect("removed");
    write_and_close(&dirs, &[]);
    fs::remove_file(root.path().join("tsmith.manifest")).expect("removed");
    for flag in [("encoder", "raw"), ("log", "null"), ("storer", "empty")] {
        let error = open(&dirs, &[flag]).err().expect("refused");
        assert!(matches!(error.kind(), ErrorKind::NotInflux { .. }), "{error}");
    }
}

#[test]
fn a_missing_directory_is_not_created_unasked() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(&root.path().join("nowhere"));
    let mut setup = Setup::default();
    setup.options.create = false;
    let error = setup.open(&Registry::standard(), dirs.clone()).err().expect("refused");
    assert!(error.is_io() && matches!(error.kind(), ErrorKind::NoDirectory), "{error}");
    assert_eq!(error.path(), Some(&*dirs.data), "{error}");
    assert!(!dirs.data.exists());
}

/// Story: the log's directory was not mounted. The engine created an empty one, and acknowledged writes were
/// lost.
#[test]
fn a_missing_log_is_not_recreated() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(root.path());
    write_and_close(&dirs, &[]);
    fs::remove_dir_all(&dirs.wal).expect("removed");
    let error = open(&dirs, &[]).err().expect("refused");
    assert!(matches!(error.kind(), ErrorKind::NoLogDirectory), "{error}");
    assert_eq!(error.path(), Some(&*dirs.wal), "{error}");
    assert!(!dirs.wal.exists(), "nothing was created");
    let error = tsmith_engine::view::View::open(&Registry::standard(), &dirs.data, Some(&dirs.wal))
        .expect_err("refused");
    assert!(matches!(error.kind(), ErrorKind::NoLogDirectory), "{error}");
}

#[test]
fn the_log_of_another_engine_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(&root.path().join("one"));
    write_and_close(&dirs, &[]);
    let thief = Dirs { data: root.path().join("two"), wal: dirs.wal.clone() };
    let error = open(&thief, &[]).err().expect("refused");
    assert!(matches!(error.kind(), ErrorKind::LogOfAnother { .. }), "{error}");
    assert_eq!(open(&dirs, &[]).expect("untouched").recovery().records, 1);
}

#[test]
fn an_unwritable_log_path_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs { data: root.path().join("data"), wal: root.path().join("w\nx") };
    let error = open(&dirs, &[]).err().expect("refused");
    assert!(matches!(error.kind(), ErrorKind::UnwritableLogPath { .. }), "{error}");
    assert!(!dirs.wal.exists());
}

#[test]
fn a_refused_directory_stays_unchanged() {
    let root = tempfile::tempdir().expect("a directory");
    let mut setup = Setup::default();
    setup.options.create = false;
    assert!(setup.open(&Registry::standard(), Dirs::under(root.path())).is_err(), "it is empty");
    assert_eq!(fs::read_dir(root.path()).expect("a directory").count(), 0);
}

#[test]
fn a_log_may_be_named_by_another_path() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = Dirs { data: root.path().join("data"), wal: root.path().join("data/../log") };
    write_and_close(&dirs, &[]);
    let plain = Dirs { data: root.path().join("data"), wal: root.path().join("log") };
    assert_eq!(open(&plain, &[]).expect("the same directory").recovery().records, 1);
}

/// A shard in InfluxDB's layout below `root`.
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

/// Story: the manifest held the absolute path of the log. After copying the tree, a snapshot of the copy
/// truncated the log of the original, and a moved tree did not open.
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

/// Story: only the data directory was copied, and its manifest led to the original's log.
#[test]
fn a_copy_without_its_log_uses_no_other() {
    let root = tempfile::tempdir().expect("a directory");
    let original = influx_dirs(root.path());
    write_and_close(&original, &[]);
    for to in ["data/db/rp/2", "data2/db/rp/1", "backup/1"] {
        let data = root.path().join(to);
        copy(&original.data, &data);
        let found = Manifest::read(&OsFs, &data).expect("valid").expect("exists");
        let error = found.wal_directory(&data).expect_err("another's");
        let ErrorKind::LogElsewhere { end, .. } = error.kind() else { panic!("{to}: {error}") };
        assert_eq!(end.as_deref(), Some(Path::new("data/db/rp/1")), "{to}: {error}");
        let thief = Dirs { data: data.clone(), wal: original.wal.clone() };
        let error = records(&thief).expect_err("another's");
        assert!(matches!(error.kind(), ErrorKind::LogOfAnother { .. }), "{to}: {error}");
        // The caller names the copy's own log. If it exists, the manifest then names it.
        let own = Dirs { data: data.clone(), wal: root.path().join(to.replace("data", "logs")).join("log") };
        let error = records(&own).expect_err("missing");
        assert!(matches!(error.kind(), ErrorKind::NoLogDirectory), "{to}: {error}");
        fs::create_dir_all(&own.wal).expect("made");
        write_and_close(&own, &[]);
        let found = Manifest::read(&OsFs, &data).expect("valid").expect("exists");
        assert_eq!(found.wal_directory(&data).expect("its own"), own.wal.canonicalize().expect("exists"));
        assert_eq!((records(&own).expect("its own"), records(&original).expect("untouched")), (1, 1));
    }
}

/// Story: the logs were moved to another disk, and the directory insisted on the old path.
#[test]
fn a_named_log_replaces_one_that_is_gone() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = influx_dirs(root.path());
    write_and_close(&dirs, &[]);
    let moved = Dirs { wal: root.path().join("disk"), ..dirs.clone() };
    fs::create_dir(&moved.wal).expect("made");
    let error = records(&moved).expect_err("its own log exists");
    assert!(matches!(error.kind(), ErrorKind::OtherLogDirectory { .. }), "{error}");
    fs::remove_dir(&moved.wal).expect("empty");
    OsFs.rename(&dirs.wal, &moved.wal).expect("moved");
    let error = records(&dirs).expect_err("gone");
    assert!(matches!(error.kind(), ErrorKind::NoLogDirectory), "{error}");
    assert_eq!(records(&moved).expect("named"), 1);
    let found = Manifest::read(&OsFs, &dirs.data).expect("valid").expect("exists");
    assert_eq!(found.wal, Path::new("../../../../disk"));
}
