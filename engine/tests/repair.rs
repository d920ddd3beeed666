//! Repair of files on a simulated disk: valid parts are kept, and no crash loses more.

#[path = "support/engine.rs"]
mod engine;

use std::path::Path;

use tsmith_codecs::Decoders;
use tsmith_engine::parts::{FileLog, NativeLog};
use tsmith_engine::repair::{self, Owned};
use tsmith_engine::{
    BatchBuilder, Column, Dirs, DynEngine, ErrorKind, FieldKey, FieldType, FieldTyping, LineOptions,
    LogOptions, Manifest, Options, Registry, Selection, TimeRange, Timestamp, Value,
};
use tsmith_wal::fs::{Fs, FsFile, publish_new};
use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::{Log, Record, entry};

type Shard = DynEngine<SimFs>;

const DIR: &str = "/shard";
const TSM: &str = "/shard/000000001-000000001.tsm";
const TOMBSTONE: &str = "/shard/000000001-000000001.tombstone";

fn open(fs: &SimFs) -> Shard {
    let options = Options { background: false, encode_threads: 1, ..Options::default() };
    engine::open_on(fs.clone(), Dirs::under(Path::new(DIR)), options).expect("opens")
}

/// One file: `a` with three blocks, `b` with one. Two deletes removed two points of `b`.
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
    let _ack = shard.write(&builder.finish()).expect("enough space");
    shard.snapshot().expect("enough space");
    for time in [3, 5] {
        let key = Selection::Key(FieldKey::new(b"b", b"v"));
        shard.delete(key, TimeRange::new(time, time)).expect("deleted");
    }
    shard.snapshot().expect("nothing to write, and the log goes");
    shard.close().expect("closes");
    fs
}

fn corruption(fs: &SimFs, path: &str, at: u64) -> Vec<u8> {
    let file = fs.open(Path::new(path)).expect("exists");
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, at).expect("readable"), 1);
    file.write_all_at(&[byte[0] ^ 0x10], at).and_then(|()| file.sync_all()).expect("written");
    fs.read(Path::new(path)).expect("readable")
}

fn read(shard: &Shard, series: &[u8]) -> Column {
    shard.read(FieldKey::new(series, b"v"), TimeRange::ALL).expect("readable")
}

/// Checks a repair after the first block of `a` was corrupt.
fn assert_repaired(fs: &SimFs, corrupt: &[u8], what: &str) {
    let shard = open(fs);
    let times: Vec<i64> = (1000..2500).collect();
    assert_eq!(read(&shard, b"a").times(), times, "{what}");
    assert_eq!(read(&shard, b"b").times(), [0, 1, 2, 4, 6, 7, 8, 9], "{what}: its tombstones stay");
    let files = fs.snapshot();
    let kept = files.iter().any(|(name, bytes)| name.to_string_lossy().contains(".tsm.") && bytes == corrupt);
    assert!(kept, "{what}: the corrupt file is kept");
}

#[test]
fn only_the_corrupt_block_is_dropped() {
    let fs = shard();
    let corrupt = corruption(&fs, TSM, 20);
    let before = fs.snapshot();
    let planned = repair::tsm_file(&fs, Path::new(TSM), &[], &Decoders::standard(), true).expect("looked at");
    assert_eq!(fs.snapshot(), before, "a dry run changes nothing");
    let done = repair::tsm_file(&fs, Path::new(TSM), &[], &Decoders::standard(), false).expect("repaired");
    assert_eq!(done.quarantined, planned.quarantined);
    assert_eq!(done.quarantined.as_deref(), Some(Path::new("/shard/000000001-000000001.tsm.bad")));
    assert_eq!((done.salvage.kept_blocks, done.salvage.dropped_blocks(), done.gone), (3, 1, false));
    let key = &done.salvage.corrupt[0];
    assert_eq!((&key.key[..], key.kept_range), (&b"a#!~#v"[..], Some(TimeRange::new(1000, 2499))));
    assert_eq!(key.dropped[0].entry.range, TimeRange::new(0, 999));
    assert_repaired(&fs, &corrupt, "repaired");
    let again = repair::tsm_file(&fs, Path::new(TSM), &[], &Decoders::standard(), false).expect("looked at");
    assert!(again.salvage.is_whole() && again.quarantined.is_none());
}

#[test]
fn a_crash_in_a_repair_loses_nothing() {
    let original = shard();
    let corrupt = corruption(&original, TSM, 20);
    let counted = original.kill();
    repair::tsm_file(&counted, Path::new(TSM), &[], &Decoders::standard(), false).expect("repaired");
    for stop in 1..=counted.operations() {
        for seed in 0..6 {
            let fs = original.kill();
            fs.stop_at(stop);
            let _ended = repair::tsm_file(&fs, Path::new(TSM), &[], &Decoders::standard(), false);
            let fs = fs.crash(seed);
            let what = format!("stopped at {stop}, seed {seed}");
            let done = repair::tsm_file(&fs, Path::new(TSM), &[], &Decoders::standard(), false);
            let done = done.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!((done.salvage.kept_keys, done.salvage.kept_blocks), (2, 3), "{what}");
            assert_repaired(&fs, &corrupt, &what);
        }
    }
}

/// Story: a repair that was killed or met a full disk left a second name of the corrupt file, or a temporary
/// file. The next repair added another one.
#[test]
fn an_interrupted_repair_can_be_repeated() {
    let original = shard();
    corruption(&original, TSM, 20);
    // Inside the second gzip member.
    corruption(&original, TOMBSTONE, 90);
    corruption(&original, "/shard/tsmith.manifest", 10);
    type Repair = fn(&SimFs) -> tsmith_engine::Result<()>;
    let repairs: [Repair; 3] = [
        |fs| repair::tsm_file(fs, Path::new(TSM), &[], &Decoders::standard(), false).map(drop),
        |fs| repair::tombstones(fs, Path::new(TOMBSTONE), false).map(drop),
        |fs| repair::manifest(&Registry::standard_on(fs), fs, Path::new(DIR), None, false).map(drop),
    ];
    for (which, repair) in repairs.into_iter().enumerate() {
        let undisturbed = original.kill();
        repair(&undisturbed).expect("repaired");
        assert!(undisturbed.snapshot() != original.snapshot(), "repair {which}");
        for at in 1..=undisturbed.operations() {
            let what = format!("repair {which}, operation {at}");
            let fs = original.kill();
            fs.stop_at(at);
            let _ended = repair(&fs);
            let fs = fs.kill();
            repair(&fs).expect("repaired");
            assert!(fs.snapshot() == undisturbed.snapshot(), "{what}: killed");
            for fault in [Fault::Io, Fault::Full] {
                let fs = original.kill();
                fs.fail_at(at, fault);
                if repair(&fs).is_err() {
                    let left = fs.snapshot();
                    assert!(
                        left == original.snapshot() || left == undisturbed.snapshot(),
                        "{what}: {fault:?}"
                    );
                }
                fs.heal();
                repair(&fs).expect("repaired");
                assert!(fs.snapshot() == undisturbed.snapshot(), "{what}: after {fault:?}");
            }
        }
    }
}

#[test]
fn a_file_without_a_valid_block_is_quarantined() {
    let fs = shard();
    let reader = tsmith_tsm::Reader::new(fs.read(Path::new(TSM)).expect("exists").into()).expect("valid");
    for entry in reader.keys().flat_map(tsmith_tsm::KeyEntry::entries) {
        corruption(&fs, TSM, entry.offset);
    }
    let done = repair::tsm_file(&fs, Path::new(TSM), &[], &Decoders::standard(), false).expect("repaired");
    assert!(done.gone);
    let shard = open(&fs);
    assert!(shard.files().is_empty() && shard.keys().is_empty());
}

/// A full or broken disk leaves the corrupt file unchanged.
#[test]
fn a_repair_that_fails_changes_nothing() {
    let fs = shard();
    corruption(&fs, TSM, 20);
    let before = fs.snapshot();
    fs.set_space(Some(0));
    repair::tsm_file(&fs, Path::new(TSM), &[], &Decoders::standard(), false).expect_err("no space");
    assert_eq!(fs.snapshot(), before);
}

/// Story: because of one corrupt byte in the footer, repair gave up all blocks.
#[test]
fn a_corrupt_footer_loses_no_block() {
    let fs = shard();
    let len = fs.read(Path::new(TSM)).expect("exists").len() as u64;
    corruption(&fs, TSM, len - 5);
    let done = repair::tsm_file(&fs, Path::new(TSM), &[], &Decoders::standard(), false).expect("repaired");
    assert_eq!((done.salvage.kept_blocks, done.salvage.dropped_blocks(), done.gone), (4, 0, false));
    let shard = open(&fs);
    assert_eq!(read(&shard, b"a").len(), 2500);
    assert_eq!(read(&shard, b"b").times(), [0, 1, 2, 4, 6, 7, 8, 9], "its tombstones stay");
}

#[test]
fn without_an_index_nothing_is_guessed() {
    let fs = shard();
    let bytes = fs.read(Path::new(TSM)).expect("exists");
    let index_at = u64::from_be_bytes(*bytes.last_chunk().expect("a footer"));
    fs.open(Path::new(TSM)).and_then(|file| file.set_len(index_at)).expect("cut");
    let before = fs.snapshot();
    for dry_run in [true, false] {
        let error =
            repair::tsm_file(&fs, Path::new(TSM), &[], &Decoders::standard(), dry_run).expect_err("no index");
        assert!(matches!(error.kind(), ErrorKind::NoIndex(_)), "{error}");
        assert_eq!(fs.snapshot(), before);
    }
}

/// Only the deletes with corrupt tombstones are undone, and the report names them.
#[test]
fn valid_tombstones_are_kept() {
    let fs = shard();
    // The second gzip member. Its length follows sixteen bytes of header.
    let bytes = fs.read(Path::new(TOMBSTONE)).expect("exists");
    let members = bytes.windows(4).enumerate().filter(|(_, window)| *window == [0x1f, 0x8b, 8, 4]);
    let second = members.map(|(at, _)| at).nth(1).expect("two deletes");
    let len = u32::from_be_bytes(bytes[second + 16..second + 20].try_into().expect("four bytes"));
    let end = second as u64 + u64::from(len);
    corruption(&fs, TOMBSTONE, end - 2);
    let error =
        engine::open_on(fs.clone(), Dirs::under(Path::new(DIR)), Options::default()).expect_err("corrupt");
    assert_eq!(error.path(), Some(Path::new(TOMBSTONE)), "{error}");
    let done = repair::tombstones(&fs, Path::new(TOMBSTONE), false).expect("repaired");
    assert_eq!((done.salvage.salvage.kept_records, done.salvage.salvage.lost.len()), (1, 1));
    assert_eq!(read(&open(&fs), b"b").times(), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert!(fs.read(Path::new("/shard/000000001-000000001.tombstone.bad")).is_ok());

    let fs = shard();
    let file = fs.open(Path::new(TOMBSTONE)).expect("exists");
    file.set_len(end - 6).and_then(|()| file.sync_all()).expect("cut");
    let done = repair::tombstones(&fs, Path::new(TOMBSTONE), false).expect("repaired");
    assert_eq!((done.salvage.believed, done.salvage.salvage.lost.len()), (1, 1), "its key is in the file");
    assert_eq!(read(&open(&fs), b"b").times(), [0, 1, 2, 4, 6, 7, 8, 9]);
}

/// Story: because of one corrupt byte in the manifest, the directory did not open. The other lines and the
/// directory have the same information.
#[test]
fn a_corrupt_manifest_is_rewritten() {
    let fs = shard();
    let path = Path::new("/shard/tsmith.manifest");
    // These names are registered for the simulated file system.
    let parts = "hashmap/mmap/snappy".parse().expect("three names");
    let manifest = Manifest { parts, wal: "wal".into(), data: None, typing: FieldTyping::Series };
    manifest.write(&fs, Path::new(DIR)).expect("written");
    let good = fs.read(path).expect("exists");
    let lines: Vec<&str> = std::str::from_utf8(&good).expect("text").lines().collect();
    for at in 0..good.len() {
        let fs = fs.kill();
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        publish_new(&fs, path, &bytes).expect("written");
        let before = fs.snapshot();
        let planned = repair::manifest(&Registry::standard_on(&fs), &fs, Path::new(DIR), None, true);
        assert_eq!(fs.snapshot(), before, "a dry run changes nothing");
        let done = repair::manifest(&Registry::standard_on(&fs), &fs, Path::new(DIR), None, false);
        let hit = good[..at].split(|&byte| byte == b'\n').count() - 1;
        if lines[hit] == "wal wal" && good[at] != b'\n' && bytes[..at].ends_with(b"wal ") {
            // This path may belong to another engine.
            let error = done.map(drop).expect_err("not trusted");
            assert!(matches!(error.kind(), ErrorKind::ManifestLog { .. }) && planned.is_err(), "{error}");
            continue;
        }
        let Ok(Some(done)) = done else {
            assert!(lines[hit] == "wal wal", "byte {at}: {done:?}");
            continue;
        };
        assert_eq!(fs.read(&done.quarantined.expect("quarantined")).expect("exists"), bytes);
        let (inferred, written) = (done.salvage.inferred, done.salvage.manifest);
        let read = Manifest::read(&fs, Path::new(DIR)).expect("valid").expect("exists");
        assert_eq!(read, written, "byte {at}");
        assert!(!inferred.is_empty() || read == manifest, "byte {at}: {inferred:?}");
        // An unreadable line affects no other line.
        let name = |line: &str| line.split(' ').next().map(str::to_owned);
        let broken = [name(lines[hit]), lines.get(hit + 1).and_then(|next| name(next))];
        assert!(
            inferred.iter().all(|line| broken.contains(&Some((*line).to_owned()))),
            "byte {at}: {inferred:?}"
        );
        // If the types are unknown, the stricter scope is used.
        assert!(!inferred.contains(&"types") || read.typing == FieldTyping::Measurement);
    }
}

#[test]
fn a_lost_manifest_is_recreated_from_the_directory() {
    let fs = SimFs::default();
    let options = Options { background: false, encode_threads: 1, ..Options::default() };
    let dirs = Dirs { data: DIR.into(), wal: "/elsewhere".into() };
    for dirs in [Dirs::under(Path::new(DIR)), dirs] {
        let fs = fs.kill();
        let shard =
            engine::open_parts(fs.clone(), "ring/native/zstd", dirs.clone(), options.clone()).expect("opens");
        let lines = LineOptions::new(Timestamp(0));
        let _report = shard.write_lines(b"a,h=1 v=1 1\na,h=2 v=1i 1", &lines).expect("enough space");
        shard.snapshot().expect("enough space");
        let _report = shard.write_lines(b"a,h=1 v=2 2", &lines).expect("enough space");
        shard.close().expect("closes");
        publish_new(&fs, Path::new("/shard/tsmith.manifest"), b"").expect("written");
        let is_inside = dirs.wal.starts_with(DIR);
        if !is_inside {
            let error = repair::manifest(&Registry::standard_on(&fs), &fs, Path::new(DIR), None, false)
                .expect_err("the log is unknown");
            assert!(matches!(error.kind(), ErrorKind::ManifestLog { .. }), "{error}");
        }
        let named = (!is_inside).then_some(dirs.wal.as_path());
        let done = repair::manifest(&Registry::standard_on(&fs), &fs, Path::new(DIR), named, false)
            .expect("repaired")
            .expect("it is there");
        let Manifest { parts, wal, typing, .. } = done.salvage.manifest;
        assert_eq!(parts.to_string(), "ring/native/zstd");
        // Two series have the field with two types.
        assert_eq!(typing, FieldTyping::Series);
        assert_eq!(wal, if is_inside { Path::new("wal") } else { Path::new("../elsewhere") });
        let read = Manifest::read(&fs, Path::new(DIR)).expect("valid").expect("exists");
        assert_eq!(read.parts, parts);
    }
}

/// Story: a log wrote a field first as a float and then as an integer. Each record was valid, no engine
/// opened the log, and repair reported no problem.
#[test]
fn a_log_that_contradicts_itself_is_repaired() {
    fn check<L: Log<Fs = SimFs>>(names: &str) {
        let fs = SimFs::default();
        let dir = Path::new("/shard/wal");
        let write = |log: &L, parts: &[(&[u8], Value<'_>)]| {
            let mut builder = BatchBuilder::new();
            for (series, value) in parts {
                builder.begin((*series).into());
                builder.field(b"v".as_slice().into(), *value).expect("one type");
                builder.commit(1);
            }
            let mut payload = Vec::new();
            log.layout().encode_write(&builder.finish(), &mut payload).expect("short keys");
            let at = log.append(Record::write(&payload)).expect("enough space");
            let _durable = log.sync(at).expect("synced");
        };
        let open = |fs: &SimFs| {
            let options = Options { background: false, ..Options::default() };
            engine::open_parts(fs.clone(), names, Dirs::under(Path::new(DIR)), options)
        };
        open(&fs).and_then(DynEngine::close).expect("leaves a manifest");
        let (log, _) = L::open(fs.clone(), dir, LogOptions::default(), |_, _| Ok(())).expect("opens");
        write(&log, &[(b"a", Value::Float(1.0))]);
        write(&log, &[(b"a", Value::Integer(1)), (b"b", Value::Integer(2))]);
        write(&log, &[(b"a", Value::Integer(3))]);
        let mut payload = Vec::new();
        let key = FieldKey::new(b"b", b"v");
        entry::encode_delete_range(TimeRange::ALL, &[key], &mut payload).expect("short keys");
        let _ = log.append(Record::delete_range(&payload)).expect("enough space");
        // After a delete the field may have any type.
        write(&log, &[(b"b", Value::Boolean(true))]);
        log.close().expect("closes");
        let fs = fs.kill();
        open(&fs.kill()).expect_err("it contradicts itself");
        let before = fs.snapshot();
        let planned = repair::log(&fs, Some(Path::new(DIR)), dir, None, true).expect("looked at");
        assert_eq!(fs.snapshot(), before, "a dry run changes nothing");
        let done = repair::log(&fs, Some(Path::new(DIR)), dir, None, false).expect("repaired");
        assert_eq!(done, planned);
        let refused: Vec<_> = done[0].refused.iter().map(|refused| refused.in_part).collect();
        assert_eq!((done.len(), refused, done[0].kept_records), (1, vec![true, false], 4));
        let reason = &done[0].refused[0].reason;
        assert!(reason.contains("a#!~#v"), "{reason}");
        let shard = open(&fs).expect("opens");
        let read = |series: &[u8]| shard.read(FieldKey::new(series, b"v"), TimeRange::ALL).expect("readable");
        assert_eq!(read(b"a").field_type(), FieldType::Float);
        assert_eq!((read(b"b").len(), read(b"b").field_type()), (1, FieldType::Boolean));
        shard.snapshot().expect("enough space");
        shard.close().expect("closes");
        assert_eq!(repair::log(&fs, Some(Path::new(DIR)), dir, None, false).expect("looked at"), []);
    }
    check::<FileLog<SimFs>>("ring/file/tsm1");
    check::<NativeLog<SimFs>>("ring/native/tsm1");
}

#[test]
fn an_open_directory_is_refused() {
    let fs = shard();
    let shard = open(&fs);
    let error = Owned::take(&fs, Path::new(DIR)).expect_err("in use");
    assert!(matches!(error.kind(), ErrorKind::InUse), "{error}");
    drop(shard);
    let _owned = Owned::take(&fs, Path::new(DIR)).expect("free");
    let again = engine::open_on(fs.clone(), Dirs::under(Path::new(DIR)), Options::default());
    assert!(matches!(again.expect_err("in use").kind(), ErrorKind::InUse));
}
