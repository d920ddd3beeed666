//! All live points of a key have one type: opening, checking and repairing directories with two.

#[path = "support/engine.rs"]
mod engine;

use std::path::Path;

use tsmith_codecs::Decoders;
use tsmith_engine::parts::FileLog;
use tsmith_engine::repair::{self, LogCheck};
use tsmith_engine::{
    BatchBuilder, Column, Dirs, DynEngine, ErrorKind, FieldKey, FieldType, FieldTyping, LineOptions,
    LogOptions, Options, Registry, Selection, TimeRange, Timestamp, Value,
};
use tsmith_wal::fs::{Fs, publish_new};
use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::{Log, Record, entry};

type Shard = DynEngine<SimFs>;

const DIR: &str = "/shard";
const LOG: &str = "/shard/wal";
const FIRST: &str = "/shard/000000001-000000001.tsm";
const SECOND: &str = "/shard/000000002-000000001.tsm";

fn try_open(fs: &SimFs) -> tsmith_engine::Result<Shard> {
    let options = Options { background: false, encode_threads: 1, ..Options::default() };
    engine::open_on(fs.clone(), Dirs::under(Path::new(DIR)), options)
}

fn write(fs: &SimFs, lines: &str, snapshot: bool) {
    let shard = try_open(fs).expect("opens");
    let report = shard.write_lines(lines.as_bytes(), &LineOptions::new(Timestamp(0))).expect("enough space");
    assert!(report.rejected.is_empty(), "{:?}", report.rejected);
    if snapshot {
        shard.snapshot().expect("enough space");
    }
    shard.close().expect("closes");
}

/// Appends records that no engine would have accepted.
fn log(fs: &SimFs, points: &[(&str, Value<'_>, i64)]) {
    let (log, _) =
        FileLog::open(fs.clone(), Path::new(LOG), LogOptions::default(), |_, _| Ok(())).expect("opens");
    for (series, value, time) in points {
        let mut builder = BatchBuilder::new();
        builder.begin(series.as_bytes().into());
        builder.field(b"v".as_slice().into(), *value).expect("one type");
        builder.commit(*time);
        let mut payload = Vec::new();
        entry::encode_write(&builder.finish(), &mut payload).expect("short keys");
        let at = log.append(Record::write(&payload)).expect("enough space");
        let _durable = log.sync(at).expect("synced");
    }
    log.close().expect("closes");
}

fn read(shard: &Shard, series: &str) -> Column {
    shard.read(FieldKey::new(series.as_bytes(), b"v"), TimeRange::ALL).expect("readable")
}

fn check(fs: &SimFs) -> LogCheck {
    let registry = Registry::standard_on(fs);
    LogCheck::with_files(fs, Path::new(DIR), Some(&registry.log_reader(fs, Path::new(DIR), Path::new(LOG))))
}

fn found(fs: &SimFs) -> usize {
    check(fs).two_types().len()
}

/// Asserts that opening is refused with this key and these files, and changes nothing.
#[track_caller]
fn assert_refused(fs: &SimFs, expected_key: &str, newer: &str) {
    let before = fs.snapshot();
    let error = try_open(fs).expect_err("two types");
    let ErrorKind::TwoTypes { key, existing, incoming, older } = error.kind() else { panic!("{error}") };
    assert_eq!((&**key, &**older), (expected_key, Path::new(FIRST)), "{error}");
    assert_eq!(error.path(), Some(Path::new(newer)), "{error}");
    assert!(existing != incoming, "{error}");
    let after = fs.snapshot();
    let locks = |path: &Path| path.extension().is_some_and(|end| end == "lock");
    assert!(
        before.iter().filter(|(path, _)| !locks(path)).eq(after.iter().filter(|(path, _)| !locks(path))),
        "something was changed"
    );
}

/// Story: a file had a field as an integer and the log as a float. `verify` reported it, but the engine
/// opened the directory and accepted writes. Its reads and compactions then failed.
#[test]
fn a_log_that_contradicts_a_file_is_repaired() {
    let fs = SimFs::default();
    write(&fs, "a v=1i 1\nb v=2i 1", true);
    log(&fs, &[("a", Value::Float(0.5), 2), ("b", Value::Integer(3), 2), ("c", Value::Float(0.5), 2)]);
    assert_refused(&fs, "a#!~#v", LOG);
    assert_eq!(found(&fs), 1);
    let done = repair::log(&fs, Some(Path::new(DIR)), Path::new(LOG), None, false).expect("repaired");
    let refused: Vec<_> = done.iter().flat_map(|repair| &repair.refused).collect();
    assert_eq!(refused.len(), 1, "{done:?}");
    assert!(refused[0].reason.contains("a#!~#v"));
    let shard = try_open(&fs).expect("opens");
    assert_eq!(read(&shard, "a").times(), [1]);
    assert_eq!((read(&shard, "b").len(), read(&shard, "c").field_type()), (2, FieldType::Float));
}

/// Story: two files gave a field two types. `verify` said BAD but `repair` found no problem. The field could
/// not be read, and no compaction got past it.
#[test]
fn a_file_that_contradicts_an_older_one_is_repaired() {
    let other = SimFs::default();
    write(&other, "a v=0.5 1\na v=0.75 2\nb v=3i 3", true);
    let newer = other.read(Path::new(FIRST)).expect("exists");
    let fs = SimFs::default();
    write(&fs, "a v=1i 1\nb v=2i 1", true);
    publish_new(&fs, Path::new(SECOND), &newer).expect("written");
    assert_refused(&fs, "a#!~#v", SECOND);
    let check = check(&fs);
    assert_eq!(check.two_types().len(), 1);
    let before = fs.snapshot();
    let planned = repair::tsm_file(&fs, Path::new(SECOND), check.two_types(), &Decoders::standard(), true)
        .expect("looked at");
    assert_eq!(fs.snapshot(), before, "a dry run changes nothing");
    let older = repair::tsm_file(&fs, Path::new(FIRST), check.two_types(), &Decoders::standard(), false)
        .expect("looked at");
    assert!(older.salvage.is_whole());
    let done = repair::tsm_file(&fs, Path::new(SECOND), check.two_types(), &Decoders::standard(), false)
        .expect("repaired");
    assert_eq!(done.quarantined, planned.quarantined);
    let salvage = done.salvage;
    assert_eq!((salvage.kept_keys, salvage.kept_values, salvage.dropped_blocks()), (1, 1, 1));
    assert_eq!(salvage.corrupt[0].key, b"a#!~#v");
    assert_eq!(fs.read(Path::new("/shard/000000002-000000001.tsm.bad")).expect("kept"), newer);
    let shard = try_open(&fs).expect("opens");
    assert_eq!((read(&shard, "a").times(), read(&shard, "b").times()), (&[1][..], &[1, 3][..]));
    assert_eq!(found(&fs), 0);
}

/// A file with only points of the other type is quarantined.
#[test]
fn a_file_of_only_the_other_type_is_quarantined() {
    let other = SimFs::default();
    write(&other, "a v=0.5 1", true);
    let fs = SimFs::default();
    write(&fs, "a v=1i 1", true);
    publish_new(&fs, Path::new(SECOND), &other.read(Path::new(FIRST)).expect("exists")).expect("written");
    let check = LogCheck::with_files(&fs, Path::new(DIR), None);
    let done = repair::tsm_file(&fs, Path::new(SECOND), check.two_types(), &Decoders::standard(), false)
        .expect("repaired");
    assert!(done.gone);
    assert_eq!(read(&try_open(&fs).expect("opens"), "a").times(), [1]);
}

/// After a delete a field may have any type, wherever a crash interrupted the delete. Opening and checking
/// agree.
#[test]
fn deleted_points_have_no_type() {
    let original = SimFs::default();
    write(&original, "a v=1i 1\nb v=2i 1", true);
    let (mut unfinished, mut is_complete, mut stop) = (0, false, 0);
    while !is_complete {
        let fs = original.kill();
        let shard = try_open(&fs).expect("opens");
        stop += 1;
        fs.stop_at(fs.operations() + stop);
        let key = FieldKey::new(b"a", b"v");
        is_complete = shard.delete(Selection::Key(key), TimeRange::ALL).is_ok();
        drop(shard);
        let fs = fs.kill();
        log(&fs, &[("a", Value::Boolean(true), 5)]);
        let is_deleted = found(&fs) == 0;
        assert!(is_deleted || !is_complete, "stopped at {stop}");
        let done = repair::log(&fs, Some(Path::new(DIR)), Path::new(LOG), None, true).expect("looked at");
        assert_eq!(done.is_empty(), is_deleted, "stopped at {stop}");
        if !is_deleted {
            assert_refused(&fs, "a#!~#v", LOG);
            continue;
        }
        unfinished += u32::from(fs.read(&Path::new(FIRST).with_extension("tombstone")).is_err());
        let shard = try_open(&fs).expect("opens");
        let column = read(&shard, "a");
        assert_eq!(
            (column.times(), column.field_type()),
            (&[5][..], FieldType::Boolean),
            "stopped at {stop}"
        );
        shard.snapshot().expect("enough space");
        shard.close().expect("closes");
        assert_eq!(read(&try_open(&fs).expect("opens"), "a").times(), [5], "stopped at {stop}");
    }
    assert!(unfinished > 0, "no delete was interrupted");
}

/// Story: `fields.idx` held the type of a field without points. A write of another type was accepted, and
/// then influxd, which trusts that file, did not open the shard.
#[test]
fn fields_idx_is_removed_before_the_first_write() {
    let path = Path::new("/shard/fields.idx");
    let mut unwritten = 0;
    for seed in 0..40 {
        let fs = SimFs::default();
        write(&fs, "a v=1 1", true);
        publish_new(&fs, path, b"types").expect("written");
        let shard = try_open(&fs).expect("opens");
        assert!(fs.read(path).is_ok(), "opening removes nothing");
        fs.stop_at(fs.operations() + seed);
        let written = shard.write_lines(b"b v=1i 1", &LineOptions::new(Timestamp(0)));
        drop(shard);
        // A kill, or a power cut.
        let fs = if seed % 2 == 0 { fs.kill() } else { fs.crash(seed) };
        let is_there = !read(&try_open(&fs).expect("opens"), "b").is_empty();
        assert!(is_there || written.is_err(), "stopped at {seed}");
        assert!(!is_there || fs.crash(seed).read(path).is_err(), "stopped at {seed}");
        unwritten += u32::from(!is_there);
    }
    assert!((1..40).contains(&unwritten), "{unwritten}");
}

/// The same if the removal of the file was not durable: the next writer does not see the file.
#[test]
fn a_removed_fields_idx_does_not_reappear() {
    let path = Path::new("/shard/fields.idx");
    let options = LineOptions::new(Timestamp(0));
    for at in 1..20 {
        let fs = SimFs::default();
        write(&fs, "a v=1 1", true);
        publish_new(&fs, path, b"types").expect("written");
        let shard = try_open(&fs).expect("opens");
        fs.fail_at(fs.operations() + at, Fault::Io);
        drop(shard.write_lines(b"b v=1i 1", &options));
        drop(shard);
        let fs = fs.kill();
        let shard = try_open(&fs).expect("opens");
        let report = shard.write_lines(b"b v=1i 1", &options).expect("written");
        assert_eq!(report.points, 1);
        drop(shard);
        assert!((0..8).all(|seed| fs.crash(seed).read(path).is_err()), "failed at {at}");
    }
}

/// Story: a manifest was repaired without its line of types and got `measurement`, because no file
/// contradicted it. But the log did, so every write to that field was refused.
#[test]
fn a_repaired_manifest_considers_the_log() {
    let fs = SimFs::default();
    write(&fs, "a,h=1 v=1 1\na,h=2 v=1i 1", false);
    publish_new(&fs, Path::new("/shard/tsmith.manifest"), b"tsmith 1\n").expect("written");
    let done = repair::manifest(&Registry::standard_on(&fs), &fs, Path::new(DIR), None, true)
        .expect("looked at")
        .expect("it is there");
    assert!(done.salvage.inferred.contains(&"types"));
    assert_eq!(done.salvage.manifest.typing, FieldTyping::Series);
    // Deleted points do not count.
    let fs = SimFs::default();
    write(&fs, "a,h=1 v=1 1\na,h=2 v=1i 1", false);
    let shard = try_open(&fs).expect("opens");
    shard.delete(Selection::Key(FieldKey::new(b"a,h=1", b"v")), TimeRange::ALL).expect("deleted");
    shard.close().expect("closes");
    publish_new(&fs, Path::new("/shard/tsmith.manifest"), b"tsmith 1\n").expect("written");
    let done = repair::manifest(&Registry::standard_on(&fs), &fs, Path::new(DIR), None, true)
        .expect("looked at")
        .expect("it is there");
    assert_eq!(done.salvage.manifest.typing, FieldTyping::Measurement);
}
