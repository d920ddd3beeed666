//! Corrupt etcd logs: segments of every length, and with every byte changed.

mod sample;
mod support;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tsmith_wal::etcd::{
    Entry, EtcdLog, HardState, Snapshot, SnapshotRecord, Wal, WalOptions, records, repair,
    valid_snapshot_entries,
};
use tsmith_wal::fs::Fs;
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::etcd::snapshot_file;
use tsmith_wal::testing::{noise, open_keeping};
use tsmith_wal::{ErrorKind, Log, LogOptions, Record, RecoveryMode};

use sample::{DIR, entry, options};
use support::disk_with;

const ZERO: SnapshotRecord = SnapshotRecord { index: 0, term: 0, conf_state: None };

type Segments = Vec<(PathBuf, Vec<u8>)>;

/// The numbers of entries in the logs of these tests.
const COUNT: u64 = 18;
const SMALL_COUNT: u64 = 7;
const RECORD_COUNT: usize = 8;

/// A log of three segments.
fn sample() -> Segments {
    let fs = SimFs::default();
    let mut wal = Wal::create(fs.clone(), Path::new(DIR), Some(b"meta"), options()).expect("creates");
    for index in 1..=COUNT {
        let state = HardState { term: 1, vote: 2, commit: index - 1 };
        wal.save(&state, &[entry(1, index)]).expect("saves");
    }
    wal.close().expect("closes");
    segments(&fs)
}

/// A log whose segments have about two entries each.
fn small() -> Segments {
    let fs = SimFs::default();
    let mut wal =
        Wal::create(fs.clone(), Path::new(DIR), Some(b"m"), WalOptions { segment_bytes: 150, ..options() })
            .expect("creates");
    for index in 1..=SMALL_COUNT {
        let state = HardState { term: 1, vote: 2, commit: index - 1 };
        wal.save(&state, &[short_entry(index)]).expect("saves");
    }
    wal.close().expect("closes");
    segments(&fs)
}

fn short_entry(index: u64) -> Entry {
    let mut entry = entry(1, index);
    entry.data = entry.data.map(|data| data.slice(..data.len().min(5)));
    entry
}

fn segments(fs: &SimFs) -> Segments {
    fs.snapshot().into_iter().filter(|(path, _)| path.extension() == Some("wal".as_ref())).collect()
}

/// The bytes before the zeros at the end.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).expect("not empty") + 1
}

fn with(files: &[(PathBuf, Vec<u8>)], changed: usize, bytes: &[u8]) -> SimFs {
    let content = |at: usize, intact| if at == changed { bytes } else { intact };
    disk_with(files.iter().enumerate().map(|(at, (path, intact))| (path, content(at, intact))))
}

/// Reads a log, whose entries must be a prefix of the written ones. Returns their number, or `None` if the log is refused.
fn read_of(fs: &SimFs, entry: impl Fn(u64) -> Entry) -> Option<usize> {
    Some(prefix(&tsmith_wal::etcd::read(fs, Path::new(DIR), &ZERO).ok()?.entries, entry))
}

/// The same, but opens the log for appends.
fn opened(fs: &SimFs, entry: impl Fn(u64) -> Entry) -> Option<usize> {
    let opened = Wal::open(fs.clone(), Path::new(DIR), &ZERO, options());
    Some(prefix(&opened.ok()?.1.entries, entry))
}

fn prefix(entries: &[Entry], entry: impl Fn(u64) -> Entry) -> usize {
    for (at, found) in entries.iter().enumerate() {
        assert_eq!(*found, entry(at as u64 + 1));
    }
    entries.len()
}

fn read(fs: &SimFs) -> Option<usize> {
    read_of(fs, |index| entry(1, index))
}

/// Runs every reader, which must end for any bytes. A log that opens, also after a repair, accepts an entry.
fn run_every_reader(fs: &SimFs) {
    let dir = Path::new(DIR);
    drop(tsmith_wal::etcd::read(fs, dir, &ZERO));
    drop(tsmith_wal::etcd::check(fs, dir, None));
    drop(valid_snapshot_entries(fs, dir));
    let open = || Wal::open(fs.clone(), dir, &ZERO, options());
    let opened = match open() {
        Err(error) if matches!(error.kind(), ErrorKind::Etcd(why) if why.is_torn()) => {
            repair(fs, dir).and_then(|_| open())
        }
        opened => opened,
    };
    if let Ok((mut wal, contents)) = opened {
        let next = contents.entries.len() as u64 + 1;
        wal.save(&HardState::default(), &[entry(1, next)]).expect("saves");
        drop(wal);
        let (_, again) = open().expect("opens again");
        assert_eq!(again.entries.len() as u64, next);
    }
}

#[test]
fn a_cut_last_segment_gives_the_entries_before() {
    let files = sample();
    assert!(files.len() >= 3, "{} segments", files.len());
    let last = files.len() - 1;
    let intact = &files[last].1;
    let mut before = 0;
    for len in 0..used(intact) {
        let fs = with(&files, last, &intact[..len]);
        let count = read(&fs).expect("a torn tail is no error to a reader");
        assert!(count >= before && count <= COUNT as usize, "{len}: {count} after {before}");
        before = count;
        run_every_reader(&fs);
    }
    assert!(before + 1 >= COUNT as usize && kinds(intact).len() > 6, "the last segment has records");
    assert_eq!(read(&with(&files, last, intact)), Some(COUNT as usize));
}

/// A reader gets the entries before the cut or an error, as in etcd. Opening for appends always fails, and repair does not
/// shorten the log: only the last segment can have a torn tail.
#[test]
fn a_cut_earlier_segment_is_not_opened_for_appends() {
    let files = sample();
    for changed in 0..files.len() - 1 {
        let intact = &files[changed].1;
        let (mut prefixes, mut before) = (0, 0);
        for len in 0..used(intact) {
            let fs = with(&files, changed, &intact[..len]);
            if let Some(count) = read(&fs) {
                assert!(count >= before && count < COUNT as usize, "{len}: {count} after {before}");
                (prefixes, before) = (prefixes + 1, count);
            }
            let opened_at = |fs: &SimFs| opened(fs, |index| entry(1, index));
            assert_eq!(opened_at(&fs), None, "segment {changed}, {len} bytes");
            run_every_reader(&fs);
            assert_eq!(opened_at(&fs), None, "segment {changed}, {len} bytes, repaired");
            assert_eq!(fs.read(&files[changed].0).expect("reads"), intact[..len]);
        }
        assert!(prefixes > 0 && before > 0, "{prefixes} of {} lengths", intact.len());
    }
}

/// No flip gives another entry, and most flips are errors. Padding and bytes after the end do not matter. The checksum of a
/// record does not cover its kind, so a state can become an entry. The test skips that byte.
#[test]
fn no_flipped_byte_gives_another_entry() {
    let files = sample();
    for changed in [0, files.len() - 1] {
        let intact = &files[changed].1;
        let used = used(intact);
        let mut errors = 0;
        let kinds = kinds(intact);
        for at in (0..used).filter(|at| !kinds.contains(at)) {
            for flip in [0x01, 0x10, 0x80, 0xff] {
                let mut bytes = intact.clone();
                bytes[at] ^= flip;
                errors += usize::from(read(&with(&files, changed, &bytes)).is_none());
            }
        }
        assert!(errors > 2 * used, "{errors} errors of {} flips", 4 * used);
    }
}

/// Each byte of each segment becomes every other value. Reading and opening give a prefix of the entries or an error. Opening
/// for appends also reads an earlier segment completely or refuses it, because its records were durable.
#[test]
fn no_changed_byte_gives_another_entry() {
    let files = small();
    assert!(files.len() >= 3, "{} segments", files.len());
    let last = files.len() - 1;
    assert!(kinds(&files[last].1).len() > 4, "the last segment has records");
    for (changed, (_, intact)) in files.iter().enumerate() {
        let kinds = kinds(intact);
        for at in 0..used(intact) {
            for flip in 1..=255 {
                let mut bytes = intact.clone();
                bytes[at] ^= flip;
                let fs = with(&files, changed, &bytes);
                if kinds.contains(&at) {
                    // The kind of a record, see above. Reading must end.
                    run_every_reader(&fs);
                    continue;
                }
                let (read, opened) = (read_of(&fs, short_entry), opened(&fs, short_entry));
                let complete_or_refused =
                    opened.is_none_or(|count| changed == last || count == SMALL_COUNT as usize);
                assert!(complete_or_refused, "segment {changed}, byte {at} ^ {flip:#x}: {opened:?}");
                assert!(opened.is_none() || opened == read, "segment {changed}, byte {at} ^ {flip:#x}");
            }
        }
    }
}

/// The offsets of the bytes with the kinds of records.
fn kinds(segment: &[u8]) -> Vec<usize> {
    records(segment).flatten().map(|record| record.offset as usize + 9).collect()
}

/// The same for a closed `EtcdLog`. It gives all records of an earlier segment or an error, and no record that was not written.
/// It may cut only the end of the last segment.
#[test]
fn a_corrupt_etcd_log_gives_no_other_record() {
    let open = |fs: &SimFs| {
        let options =
            LogOptions { segment_bytes: 480, recovery: RecoveryMode::Strict, ..LogOptions::default() };
        open_keeping::<EtcdLog<SimFs>>(fs.clone(), Path::new(DIR), options)
    };
    let payload = |number: usize| noise(number as u64, 9);
    let fs = SimFs::default();
    let (log, ..) = open(&fs).expect("opens");
    for number in 0..RECORD_COUNT {
        let at = log.append(Record::write(&payload(number))).expect("appends");
        let _ = log.sync(at).expect("syncs");
    }
    log.close().expect("closes");
    let files = segments(&fs);
    let last = files.len() - 1;
    assert!(last >= 2 && kinds(&files[last].1).len() > 4, "{last}: the last segment has records");
    let count = |changed: usize, bytes: &[u8]| {
        let (.., seen, _) = open(&with(&files, changed, bytes)).ok()?;
        assert!(seen.iter().enumerate().all(|(at, (.., found))| *found == payload(at)), "segment {changed}");
        Some(seen.len())
    };
    for (changed, (_, intact)) in files.iter().enumerate() {
        for len in 0..used(intact) {
            assert!(
                count(changed, &intact[..len]).is_none_or(|count| changed == last && count <= RECORD_COUNT),
                "{len}"
            );
        }
        let kinds = kinds(intact);
        // The first segment has no part that the second does not have.
        for at in (0..used(intact)).filter(|at| changed > 0 && !kinds.contains(at)) {
            for flip in 1..=255 {
                let mut bytes = intact.clone();
                bytes[at] ^= flip;
                let count = count(changed, &bytes);
                assert!(
                    count.is_none_or(|count| changed == last || count == RECORD_COUNT),
                    "byte {at} ^ {flip:#x}"
                );
            }
        }
    }
}

#[test]
fn every_reader_ends_for_any_bytes() {
    let files = sample();
    let last = files.len() - 1;
    for seed in 0..400 {
        let mut bytes = files[last].1.clone();
        let junk = noise(seed, 64);
        for part in junk.chunks(8) {
            let at = usize::from(part[0]) * 16 + usize::from(part[1]) % 64;
            let len = bytes.len();
            bytes[at % len] = part[2];
            if part[3] > 200 {
                bytes.truncate(at + 100);
            }
        }
        let fs = with(&files, last, &bytes);
        drop(tsmith_wal::etcd::read(&fs, Path::new(DIR), &ZERO));
        run_every_reader(&fs);
        drop(EtcdLog::open(fs, Path::new(DIR), LogOptions::default(), |_, _| Ok(())));
        drop(Snapshot::from_file(&bytes));
    }
}

#[test]
fn a_snapshot_file_is_intact_or_refused() {
    let snapshot =
        Snapshot { data: Some(Bytes::from(noise(1, 300))), index: 5, term: 2, ..Snapshot::default() };
    let bytes = snapshot_file(&snapshot);
    assert_eq!(Snapshot::from_file(&bytes), Ok(snapshot.clone()));
    for len in 0..bytes.len() {
        assert!(Snapshot::from_file(&bytes[..len]).is_err(), "{len} bytes");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            // A field with a changed number is skipped, so the checksum or the data is absent.
            assert!(
                Snapshot::from_file(&flipped).map_or(true, |found| found == snapshot),
                "byte {at}, bit {bit}"
            );
        }
    }
}
