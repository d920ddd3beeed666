//! Torn and corrupt tombstone files in the engine, also read by the real influxd 1.6.7.

#[path = "support/engine.rs"]
mod engine;
#[path = "support/influxd.rs"]
mod server;

use std::fs;
use std::path::Path;

use server::{Influxd, shard_dirs, start_with_database};
use tsmith_engine::files::tombstones_of;
use tsmith_engine::{
    BatchBuilder, Dirs, DynEngine, ErrorKind, FieldKey, LineOptions, Options, Result, Selection, TimeRange,
    Timestamp, Value,
};
use tsmith_tsm::{MEMBER_OPEN_AT, Tombstone, TombstoneFile, TombstoneWrite, member_open_mark};
use tsmith_wal::fs::{Fs, FsFile};
use tsmith_wal::testing::SimFs;

type Simulated = DynEngine<SimFs>;

const TOMBSTONE: &str = "/shard/000000001-000000001.tombstone";

fn open(fs: &SimFs) -> Result<Simulated> {
    let options = Options { background: false, encode_threads: 1, ..Options::default() };
    engine::open_on(fs.clone(), Dirs::under(Path::new("/shard")), options)
}

/// Writes points at 0..40 to a file.
fn write(shard: &Simulated) {
    let mut builder = BatchBuilder::new();
    for time in 0..40 {
        builder.begin(b"m,t=a".as_slice().into());
        builder.field(b"v".as_slice().into(), Value::Integer(time)).expect("one type");
        builder.commit(time);
    }
    let _ack = shard.write(&builder.finish()).expect("enough space");
    shard.snapshot().expect("enough space");
}

/// A file with points at 0..40 and three deletes that are no longer in the log, and the lengths of the
/// tombstones after each delete.
fn shard() -> (SimFs, Vec<u64>) {
    let fs = SimFs::default();
    let shard = open(&fs).expect("opens");
    write(&shard);
    let mut ends = vec![0];
    for n in 0..3 {
        let range = TimeRange::new(n * 10, n * 10 + 4);
        shard.delete(Selection::Measurement(b"m"), range).expect("deleted");
        ends.push(fs.read(Path::new(TOMBSTONE)).expect("exists").len() as u64);
    }
    shard.snapshot().expect("nothing to write, and the log goes");
    shard.close().expect("closes");
    (fs, ends)
}

/// The remaining times after this many deletes.
fn left(deletes: i64) -> Vec<i64> {
    (0..40).filter(|time| !(0..deletes).any(|n| (n * 10..=n * 10 + 4).contains(time))).collect()
}

fn times(shard: &Simulated) -> Vec<i64> {
    shard.read(FieldKey::new(b"m,t=a", b"v"), TimeRange::ALL).expect("readable").times().to_vec()
}

fn with(fs: &SimFs, bytes: &[u8]) -> SimFs {
    let fs = fs.kill();
    let file = fs.open(Path::new(TOMBSTONE)).expect("exists");
    file.set_len(0)
        .and_then(|()| file.write_all_at(bytes, 0))
        .and_then(|()| file.sync_all())
        .expect("written");
    fs
}

#[track_caller]
fn assert_names_the_file(error: &tsmith_engine::Error, what: &str) {
    assert_eq!(error.path(), Some(Path::new(TOMBSTONE)), "{what}: {error}");
}

/// Whether the tombstones are corrupt at a known offset, or of an unknown version.
fn is_corruption(error: &tsmith_engine::Error) -> bool {
    match error.kind() {
        ErrorKind::Tombstones(error) => error.offset().is_some(),
        ErrorKind::Tsm(error) => {
            matches!(error.kind(), tsmith_tsm::ErrorKind::TombstoneVersion { .. }) && error.offset().is_some()
        }
        ErrorKind::TornTombstones { .. } => true,
        _ => false,
    }
}

/// No acknowledged delete is undone silently. A file truncated at the end of a member looks like a complete
/// one.
#[test]
fn tombstones_cut_anywhere_are_refused() {
    let (fs, ends) = shard();
    let complete = fs.read(Path::new(TOMBSTONE)).expect("exists");
    let mut refused = 0;
    for len in 0..=complete.len() {
        let what = format!("{len} of {} bytes", complete.len());
        let fs = with(&fs, &complete[..len]);
        let before = fs.snapshot();
        // A header alone holds no member, and the end of a member may be cut without effect on its records.
        let deletes = ends.iter().filter(|&&end| end <= len as u64).count() as i64 - 1;
        match open(&fs) {
            Ok(shard) => {
                let (times, more) = (times(&shard), left(deletes + 1));
                assert!(times == left(deletes) || times == more, "{what}: {times:?}");
            }
            Err(error) => {
                assert!(!ends.contains(&(len as u64)), "{what}: {error}");
                assert_names_the_file(&error, &what);
                assert_eq!(
                    fs.read(Path::new(TOMBSTONE)).expect("exists"),
                    before[Path::new(TOMBSTONE)],
                    "{what}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused > complete.len() - 10, "{refused} of {}", complete.len());
}

#[test]
fn a_bit_flip_in_tombstones_is_refused_or_harmless() {
    let (fs, _) = shard();
    let complete = fs.read(Path::new(TOMBSTONE)).expect("exists");
    let mut refused = 0;
    for bit in 0..complete.len() * 8 {
        let mut bytes = complete.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match open(&with(&fs, &bytes)) {
            Ok(shard) => assert_eq!(times(&shard), left(3), "bit {bit}"),
            Err(error) => {
                refused += 1;
                assert_names_the_file(&error, &format!("bit {bit}"));
            }
        }
    }
    assert!(refused > 1000, "{refused} of {}: every bit of a record counts", complete.len() * 8);
}

/// Story: our delete was in the log, but influxd's was not, because it logs no delete of keys outside its
/// cache. After a bit flip, influxd's tombstones looked like a torn batch of ours and were cut off.
/// Compaction then wrote the deleted points back. A torn batch that the log explains is still rewritten.
#[test]
fn a_corrupt_influxd_delete_behind_ours_is_refused() {
    let fs = SimFs::default();
    let shard = open(&fs).expect("opens");
    write(&shard);
    let delete = |from| {
        let range = TimeRange::new(from, from + 4);
        shard.delete(Selection::Measurement(b"m"), range).expect("deleted");
        fs.read(Path::new(TOMBSTONE)).expect("exists")
    };
    let (before, ours) = (delete(0).len(), delete(10));
    shard.close().expect("closes");
    let theirs = Tombstone::new(b"m,t=a#!~#v", TimeRange::new(20, 24));
    let TombstoneWrite::Replace { bytes: theirs } = TombstoneFile::default().plan(&[theirs]) else {
        panic!("a new file")
    };
    // InfluxDB writes a member without an extra field.
    let both = [&ours[..], &[0x1f, 0x8b, 8, 0, 0, 9, 0x6e, 0x88, 0, 0xff], &theirs[4 + 24..]].concat();
    assert_eq!(times(&open(&with(&fs, &both)).expect("opens")), left(3));
    let mut refused = 0;
    for bit in 0..both.len() * 8 {
        let mut bytes = both.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match open(&with(&fs, &bytes)) {
            Ok(shard) => assert_eq!(times(&shard), left(3), "bit {bit}"),
            Err(error) => {
                refused += 1;
                assert!(is_corruption(&error), "bit {bit}: {error}");
                assert_names_the_file(&error, &format!("bit {bit}"));
            }
        }
    }
    assert!(refused > 300, "{refused}");
    let mut torn = ours.clone();
    torn[before + MEMBER_OPEN_AT] = member_open_mark(&ours[before..]);
    for len in before..ours.len() {
        let shard = open(&with(&fs, &torn[..len])).expect("the log has it");
        assert_eq!(times(&shard), left(2), "{len}");
    }
    for len in before + 1..before + 100 {
        let error = open(&with(&fs, &[&torn[..len], &both[ours.len()..]].concat()))
            .expect_err("corruption before the end");
        assert_names_the_file(&error, &format!("{len}"));
    }
}

#[test]
fn garbage_is_refused() {
    let (fs, _) = shard();
    let noise = |seed: u64, len: usize| -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    };
    for seed in 0..200 {
        let mut bytes = noise(seed, 1 + seed as usize * 3);
        // With and without a header of each version, so that every reader runs.
        if let Some(version) = (seed % 6).checked_sub(1) {
            bytes.splice(0..0, [0, 0, 0x15, version as u8]);
        }
        let error = open(&with(&fs, &bytes)).map(|shard| times(&shard)).expect_err("garbage");
        assert_names_the_file(&error, &format!("seed {seed}"));
    }
}

/// Story: a crash while we appended tombstones left a truncated gzip member. influxd treated it as
/// corruption, renamed the TSM file and did not open the shard. Now influxd ignores an incomplete member.
#[test]
fn influxd_reads_tombstones_after_our_crash() {
    const KEYS: usize = 3000;
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let Some(server) = start_with_database(root) else { return };
    server.write("seed v=1 1600000000000000000");
    server.end("-TERM");
    let dirs = shard_dirs(root);
    let options = || Options { background: false, ..Options::default() };
    let shard = engine::open(dirs.clone(), options()).expect("opens");
    let time = 1_600_000_000_000_000_000_i64;
    let line = |n: usize| format!("m,t=a,long={n:030} v={n}i {}\n", time + n as i64);
    let text: String = (0..KEYS).map(line).collect();
    let written = shard.write_lines(text.as_bytes(), &LineOptions::new(Timestamp(0))).expect("written");
    assert!(written.ack.is_some());
    shard.snapshot().expect("a file");
    let all: Vec<Vec<u8>> = shard.keys().into_iter().filter(|key| key.starts_with(b"m,")).collect();
    shard.delete(Selection::Keys(&all[..500]), TimeRange::ALL).expect("deleted");
    let with_keys =
        shard.files().iter().find(|file| file.reader().find(&all[0]).is_some()).map(|file| file.name());
    let path = tombstones_of(&dirs.data.join(with_keys.expect("their file").to_string()));
    let mut valid = fs::read(&path).expect("tombstones");
    shard.delete(Selection::Keys(&all[500..2000]), TimeRange::ALL).expect("deleted");
    let complete = fs::read(&path).expect("tombstones");
    // The delete is in the log but only partly in the tombstones.
    drop(shard);

    let batch: Vec<Tombstone> =
        all[500..2000].iter().map(|key| Tombstone::new(key, TimeRange::ALL)).collect();
    let planned = TombstoneFile::read(&valid).expect("complete").plan(&batch);
    let TombstoneWrite::Append { members, .. } = planned else { panic!("a copy") };
    assert!(members.len() > 1 && [&valid[..], &members.concat()].concat() == complete, "the same bytes");
    for (number, member) in members.iter().enumerate() {
        let mut open = member.clone();
        open[MEMBER_OPEN_AT] = member_open_mark(member);
        let some = [1, 11, 12, 24, 600, member.len() / 2, member.len() - 1, member.len()];
        for there in &some[if number == 0 { 0 } else { 5 }..] {
            fs::write(&path, [&valid, &open[..*there]].concat()).expect("written");
            let deleted = TombstoneFile::read(&valid).expect("complete").deletions().len();
            let server = Influxd::start(root).expect("is installed");
            let answer = server.query("SELECT count(v) FROM m");
            let left = answer["results"][0]["series"][0]["values"][0][1].as_u64();
            let what = format!("{there} of {} bytes of member {number}: {answer}", member.len());
            assert_eq!(left, Some((KEYS - deleted) as u64), "{what}");
            server.end("-TERM");
            if number == 0 && *there == member.len() {
                influxd_deletes_behind(root, "an open member", (KEYS - deleted) as u64);
            }
        }
        valid.extend(member);
    }
    // Then our engine completes the delete from its log.
    let shard = engine::open(dirs.clone(), options()).expect("opens");
    assert_eq!(shard.keys().iter().filter(|key| key.starts_with(b"m,")).count(), KEYS - 2000);
    shard.close().expect("closes");
    let server = Influxd::start(root).expect("is installed");
    let answer = server.query("SELECT count(v) FROM m");
    assert_eq!(answer["results"][0]["series"][0]["values"][0][1], KEYS - 2000, "{answer}");
    server.end("-TERM");
}

/// influxd appends its deletes behind the leftovers of our crash, and they stay deleted.
fn influxd_deletes_behind(root: &Path, what: &str, left: u64) {
    let server = Influxd::start(root).expect("is installed");
    server.query(&format!("DELETE FROM m WHERE long = '{:030}'", 2999));
    server.end("-TERM");
    let server = Influxd::start(root).expect("is installed");
    let answer = server.query("SELECT count(v) FROM m");
    assert_eq!(answer["results"][0]["series"][0]["values"][0][1], left - 1, "{what}: {answer}");
    server.end("-TERM");
}
