//! Damaged logs: every length of every segment, every byte flipped.

mod sample;
mod support;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tsmith_wal::etcd::{
    Entry, EtcdLog, HardState, RawRecords, Snapshot, SnapshotRecord, Wal, repair, snap,
    valid_snapshot_entries,
};
use tsmith_wal::fs::Fs;
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::{noise, open_keeping};
use tsmith_wal::{ErrorKind, Log, LogOptions, Record, RecoveryMode};

use sample::{DIR, entry, options};
use support::disk_with;

const ZERO: SnapshotRecord = SnapshotRecord { index: 0, term: 0, conf_state: None };

type Segments = Vec<(PathBuf, Vec<u8>)>;

/// Entries of the logs here.
const COUNT: u64 = 18;
const SMALL_COUNT: u64 = 7;
const ORDINARY_COUNT: usize = 8;

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

/// One whose segments have two entries or so each.
fn small() -> Segments {
    let fs = SimFs::default();
    let mut wal =
        Wal::create(fs.clone(), Path::new(DIR), Some(b"m"), options().segment_bytes(150)).expect("creates");
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
    let content = |at: usize, whole| if at == changed { bytes } else { whole };
    disk_with(files.iter().enumerate().map(|(at, (path, whole))| (path, content(at, whole))))
}

/// What is read must be a prefix of what was written. Gives how much.
fn read_of(fs: &SimFs, entry: impl Fn(u64) -> Entry) -> Option<usize> {
    Some(prefix(&tsmith_wal::etcd::read(fs, Path::new(DIR), &ZERO).ok()?.entries, entry))
}

/// The same for a log that is opened for appends.
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

/// Every reader gets through, whatever the bytes; and what is repaired opens and can be appended to.
fn everything(fs: &SimFs) {
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
fn the_last_segment_of_any_length_gives_the_entries_before_its_end() {
    let files = sample();
    assert!(files.len() >= 3, "{} segments", files.len());
    let last = files.len() - 1;
    let whole = &files[last].1;
    let mut before = 0;
    for len in 0..used(whole) {
        let fs = with(&files, last, &whole[..len]);
        let count = read(&fs).expect("a torn tail is no error to a reader");
        assert!(count >= before && count <= COUNT as usize, "{len}: {count} after {before}");
        before = count;
        everything(&fs);
    }
    assert!(before + 1 >= COUNT as usize && kinds(whole).len() > 6, "the last segment holds something");
    assert_eq!(read(&with(&files, last, whole)), Some(COUNT as usize));
}

/// A reader gets the entries before the cut or an error, as in etcd. Opening for appends always fails, and repair does not
/// shorten the log: only the last segment can have a torn tail.
#[test]
fn an_earlier_segment_of_any_length_is_never_appended_to() {
    let files = sample();
    for changed in 0..files.len() - 1 {
        let whole = &files[changed].1;
        let (mut prefixes, mut before) = (0, 0);
        for len in 0..used(whole) {
            let fs = with(&files, changed, &whole[..len]);
            if let Some(count) = read(&fs) {
                assert!(count >= before && count < COUNT as usize, "{len}: {count} after {before}");
                (prefixes, before) = (prefixes + 1, count);
            }
            let opened_at = |fs: &SimFs| opened(fs, |index| entry(1, index));
            assert_eq!(opened_at(&fs), None, "segment {changed}, {len} bytes");
            everything(&fs);
            assert_eq!(opened_at(&fs), None, "segment {changed}, {len} bytes, repaired");
            assert_eq!(fs.read(&files[changed].0).expect("reads"), whole[..len]);
        }
        assert!(prefixes > 0 && before > 0, "{prefixes} of {} lengths", whole.len());
    }
}

/// No flip gives another entry; most are errors. Padding, and what follows the end, do not matter. The kind of a record
/// is not covered by its checksum: that one byte in each is left out, for a state can become an entry.
#[test]
fn no_flipped_byte_gives_another_entry() {
    let files = sample();
    for changed in [0, files.len() - 1] {
        let whole = &files[changed].1;
        let used = used(whole);
        let mut errors = 0;
        let kinds = kinds(whole);
        for at in (0..used).filter(|at| !kinds.contains(at)) {
            for flip in [0x01, 0x10, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                errors += usize::from(read(&with(&files, changed, &bytes)).is_none());
            }
        }
        assert!(errors > 2 * used, "{errors} errors of {} flips", 4 * used);
    }
}

/// Every byte of every segment becomes every other byte. Reading gives a prefix or an error. Opening for appends does, too, but
/// an earlier segment is read completely or refused, because its records were durable.
#[test]
fn no_byte_that_became_another_gives_another_entry() {
    let files = small();
    assert!(files.len() >= 3, "{} segments", files.len());
    let last = files.len() - 1;
    assert!(kinds(&files[last].1).len() > 4, "the last segment holds something");
    for (changed, (_, whole)) in files.iter().enumerate() {
        let kinds = kinds(whole);
        for at in 0..used(whole) {
            for flip in 1..=255 {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                let fs = with(&files, changed, &bytes);
                if kinds.contains(&at) {
                    // See above; but whatever it becomes, it is read to its end.
                    everything(&fs);
                    continue;
                }
                let (read, opened) = (read_of(&fs, short_entry), opened(&fs, short_entry));
                let whole_or_not =
                    opened.is_none_or(|count| changed == last || count == SMALL_COUNT as usize);
                assert!(whole_or_not, "segment {changed}, byte {at} ^ {flip:#x}: {opened:?}");
                assert!(opened.is_none() || opened == read, "segment {changed}, byte {at} ^ {flip:#x}");
            }
        }
    }
}

/// Where the kinds of records stand.
fn kinds(segment: &[u8]) -> Vec<usize> {
    RawRecords::new(segment).flatten().map(|record| record.offset as usize + 9).collect()
}

/// The same of the ordinary log in this framing, which was closed: of an earlier segment all or an error, and no record
/// that was not written. Only the last one's end may be cut off.
#[test]
fn the_ordinary_log_of_any_length_and_bytes_gives_no_other_record() {
    let open = |fs: &SimFs| {
        let options = LogOptions::default().segment_bytes(480).recovery(RecoveryMode::Strict);
        open_keeping::<EtcdLog<SimFs>>(fs.clone(), Path::new(DIR), options)
    };
    let payload = |number: usize| noise(number as u64, 9);
    let fs = SimFs::default();
    let (log, ..) = open(&fs).expect("opens");
    for number in 0..ORDINARY_COUNT {
        let at = log.append(Record::write(&payload(number))).expect("appends");
        let _ = log.sync(at).expect("syncs");
    }
    log.close().expect("closes");
    let files = segments(&fs);
    let last = files.len() - 1;
    assert!(last >= 2 && kinds(&files[last].1).len() > 4, "{last}, and the last holds something");
    let count = |changed: usize, bytes: &[u8]| {
        let (.., seen, _) = open(&with(&files, changed, bytes)).ok()?;
        assert!(seen.iter().enumerate().all(|(at, (.., found))| *found == payload(at)), "segment {changed}");
        Some(seen.len())
    };
    for (changed, (_, whole)) in files.iter().enumerate() {
        for len in 0..used(whole) {
            assert!(
                count(changed, &whole[..len]).is_none_or(|count| changed == last && count <= ORDINARY_COUNT),
                "{len}"
            );
        }
        let kinds = kinds(whole);
        // The first has nothing that the second has not.
        for at in (0..used(whole)).filter(|at| changed > 0 && !kinds.contains(at)) {
            for flip in 1..=255 {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                let count = count(changed, &bytes);
                assert!(
                    count.is_none_or(|count| changed == last || count == ORDINARY_COUNT),
                    "byte {at} ^ {flip:#x}"
                );
            }
        }
    }
}

#[test]
fn whatever_the_bytes_every_reader_comes_back() {
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
        everything(&fs);
        drop(EtcdLog::open(fs, Path::new(DIR), LogOptions::default(), |_, _| Ok(())));
        drop(snap::decode(&bytes));
    }
}

#[test]
fn a_snapshot_file_is_whole_or_refused() {
    let snapshot =
        Snapshot { data: Some(Bytes::from(noise(1, 300))), index: 5, term: 2, ..Snapshot::default() };
    let bytes = snap::encode(&snapshot);
    assert_eq!(snap::decode(&bytes), Ok(snapshot.clone()));
    for len in 0..bytes.len() {
        assert!(snap::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            // The field's number may change to one that is skipped; then there is no checksum or no data.
            assert!(snap::decode(&flipped).map_or(true, |found| found == snapshot), "byte {at}, bit {bit}");
        }
    }
}
