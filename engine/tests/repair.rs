//! Repair of files on a simulated disk: what is whole is kept, and no crash loses more.

use std::path::Path;

use tsmith_engine::parts::{FileLog, Ring, Tsm1};
use tsmith_engine::repair::{self, Owned};
use tsmith_engine::{
    BatchBuilder, Column, Dirs, Engine, ErrorKind, FieldKey, Options, Selection, TimeRange, Value,
};
use tsmith_wal::fs::{Fs, FsFile, SimFs};

type Shard = Engine<Ring, FileLog<SimFs>, Tsm1>;

const DIR: &str = "/shard";
const TSM: &str = "/shard/000000001-000000001.tsm";
const TOMBSTONE: &str = "/shard/000000001-000000001.tombstone";

fn open(fs: &SimFs) -> Shard {
    let options = Options { background: false, encode_threads: 1, ..Options::default() };
    Shard::open_on(fs.clone(), Dirs::under(Path::new(DIR)), options).expect("opens")
}

/// One file: `a` with three blocks, `b` with one; of `b` two points are deleted, in two deletes.
fn shard() -> SimFs {
    let fs = SimFs::default();
    let shard = open(&fs);
    let mut builder = BatchBuilder::new();
    for time in 0..2500_i64 {
        for series in [&b"a"[..], b"b"].into_iter().take(if time < 10 { 2 } else { 1 }) {
            builder.begin(series.into());
            builder.field(b"v".as_slice().into(), Value::Integer(time * time % 977)).expect("one type");
            builder.commit(time);
        }
    }
    let _ack = shard.write(&builder.finish()).expect("room");
    shard.snapshot().expect("room");
    for time in [3, 5] {
        let key = Selection::Key(FieldKey::new(b"b", b"v"));
        shard.delete(key, TimeRange::new(time, time)).expect("deleted");
    }
    shard.snapshot().expect("nothing to write, and the log goes");
    shard.close().expect("in order");
    fs
}

fn damage(fs: &SimFs, path: &str, at: u64) -> Vec<u8> {
    let file = fs.open(Path::new(path)).expect("there");
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, at).expect("readable"), 1);
    file.write_all_at(&[byte[0] ^ 0x10], at).and_then(|()| file.sync_all()).expect("written");
    fs.read(Path::new(path)).expect("readable")
}

fn read(shard: &Shard, series: &[u8]) -> Column {
    shard.read(FieldKey::new(series, b"v"), TimeRange::ALL).expect("readable")
}

/// The first block of `a` is damaged.
fn assert_repaired(fs: &SimFs, damaged: &[u8], what: &str) {
    let shard = open(fs);
    let times: Vec<i64> = (1000..2500).collect();
    assert_eq!(read(&shard, b"a").times(), times, "{what}");
    assert_eq!(read(&shard, b"b").times(), [0, 1, 2, 4, 6, 7, 8, 9], "{what}: its tombstones stay");
    let files = fs.snapshot();
    let kept = files.iter().any(|(name, bytes)| name.to_string_lossy().contains(".tsm.") && bytes == damaged);
    assert!(kept, "{what}: the damaged file is kept");
}

#[test]
fn a_damaged_block_goes_and_the_rest_stays() {
    let fs = shard();
    let damaged = damage(&fs, TSM, 20);
    let before = fs.snapshot();
    let planned = repair::tsm_file(&fs, Path::new(TSM), true).expect("looked at");
    assert_eq!(fs.snapshot(), before, "a dry run changes nothing");
    let done = repair::tsm_file(&fs, Path::new(TSM), false).expect("repaired");
    assert_eq!(done.set_aside, planned.set_aside);
    assert_eq!(done.set_aside.as_deref(), Some(Path::new("/shard/000000001-000000001.tsm.bad")));
    assert_eq!((done.salvage.kept_blocks, done.salvage.dropped_blocks(), done.gone), (3, 1, false));
    let key = &done.salvage.damaged[0];
    assert_eq!((&key.key[..], key.kept_range), (&b"a#!~#v"[..], Some(TimeRange::new(1000, 2499))));
    assert_eq!(key.dropped[0].entry.range, TimeRange::new(0, 999));
    assert_repaired(&fs, &damaged, "repaired");
    let again = repair::tsm_file(&fs, Path::new(TSM), false).expect("looked at");
    assert!(again.salvage.is_whole() && again.set_aside.is_none());
}

#[test]
fn a_crash_in_a_repair_loses_nothing() {
    let original = shard();
    let damaged = damage(&original, TSM, 20);
    let counted = original.kill();
    repair::tsm_file(&counted, Path::new(TSM), false).expect("repaired");
    for stop in 1..=counted.operations() {
        for seed in 0..6 {
            let fs = original.kill();
            fs.stop_at(stop);
            let _ended = repair::tsm_file(&fs, Path::new(TSM), false);
            let fs = fs.crash(seed);
            let what = format!("stopped at {stop}, seed {seed}");
            let done = repair::tsm_file(&fs, Path::new(TSM), false);
            let done = done.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!((done.salvage.kept_keys, done.salvage.kept_blocks), (2, 3), "{what}");
            assert_repaired(&fs, &damaged, &what);
        }
    }
}

#[test]
fn a_file_of_which_nothing_is_whole_is_set_aside() {
    let fs = shard();
    let reader = tsmith_tsm::Reader::new(fs.read(Path::new(TSM)).expect("there").into()).expect("sound");
    for entry in reader.keys().flat_map(tsmith_tsm::KeyEntry::entries) {
        damage(&fs, TSM, entry.offset);
    }
    let done = repair::tsm_file(&fs, Path::new(TSM), false).expect("repaired");
    assert!(done.gone);
    let shard = open(&fs);
    assert!(shard.files().is_empty() && shard.keys().is_empty());
}

/// A full disk, or a broken one, leaves the damaged file as it was, under its name.
#[test]
fn a_repair_that_fails_changes_nothing() {
    let fs = shard();
    damage(&fs, TSM, 20);
    let before = fs.snapshot();
    fs.set_space(Some(0));
    repair::tsm_file(&fs, Path::new(TSM), false).expect_err("no space");
    assert_eq!(fs.snapshot(), before);
}

#[test]
fn without_an_index_nothing_is_guessed() {
    let fs = shard();
    let len = fs.read(Path::new(TSM)).expect("there").len() as u64;
    damage(&fs, TSM, len - 5);
    let before = fs.snapshot();
    for dry_run in [true, false] {
        let error = repair::tsm_file(&fs, Path::new(TSM), dry_run).expect_err("no index");
        assert!(matches!(error.kind(), ErrorKind::NoIndex(_)), "{error}");
        assert!(error.to_string().contains("the keys are nowhere else"), "{error}");
        assert_eq!(fs.snapshot(), before);
    }
}

/// Deletes whose tombstones are damaged come undone, and no others; it is told which.
#[test]
fn tombstones_that_are_whole_are_kept() {
    let fs = shard();
    // The second gzip member; its length stands behind sixteen bytes of header.
    let bytes = fs.read(Path::new(TOMBSTONE)).expect("there");
    let members = bytes.windows(4).enumerate().filter(|(_, window)| *window == [0x1f, 0x8b, 8, 4]);
    let second = members.map(|(at, _)| at).nth(1).expect("two deletes");
    let len = u32::from_be_bytes(bytes[second + 16..second + 20].try_into().expect("four bytes"));
    let end = second as u64 + u64::from(len);
    damage(&fs, TOMBSTONE, end - 2);
    let error =
        Shard::open_on(fs.clone(), Dirs::under(Path::new(DIR)), Options::default()).expect_err("damaged");
    assert!(error.to_string().contains("000000001-000000001.tombstone"), "{error}");
    let done = repair::tombstones(&fs, Path::new(TOMBSTONE), false).expect("repaired");
    assert_eq!((done.salvage.salvage.kept_records, done.salvage.salvage.lost.len()), (1, 1));
    assert_eq!(read(&open(&fs), b"b").times(), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert!(fs.read(Path::new("/shard/000000001-000000001.tombstone.bad")).is_ok());

    let fs = shard();
    let file = fs.open(Path::new(TOMBSTONE)).expect("there");
    file.set_len(end - 6).and_then(|()| file.sync_all()).expect("cut");
    let done = repair::tombstones(&fs, Path::new(TOMBSTONE), false).expect("repaired");
    assert_eq!((done.salvage.believed, done.salvage.salvage.lost.len()), (1, 1), "its key is in the file");
    assert_eq!(read(&open(&fs), b"b").times(), [0, 1, 2, 4, 6, 7, 8, 9]);
}

#[test]
fn a_directory_that_is_open_is_refused() {
    let fs = shard();
    let shard = open(&fs);
    let error = Owned::take(&fs, Path::new(DIR)).expect_err("in use");
    assert!(matches!(error.kind(), ErrorKind::InUse), "{error}");
    drop(shard);
    let _owned = Owned::take(&fs, Path::new(DIR)).expect("free");
    let again = Shard::open_on(fs.clone(), Dirs::under(Path::new(DIR)), Options::default());
    assert!(matches!(again.expect_err("in use").kind(), ErrorKind::InUse));
}
