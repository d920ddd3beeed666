//! Damaged logs: every length of a segment, every byte flipped, power cuts at every operation.

use std::path::Path;

use bytes::Bytes;
use tsmith_wal::etcd::{
    DiskStorage, Entry, EntryKind, EtcdLog, HardState, RawRecords, Reader, Snapshot, SnapshotRecord, Storage,
    Unread, Wal, WalOptions, repair, snap, valid_snapshot_entries, verify,
};
use tsmith_wal::fs::{Fault, Fs, FsFile, SimFs};
use tsmith_wal::testing::{noise, open_keeping};
use tsmith_wal::{Durability, ErrorKind, Log, LogOptions, Position, Record};

const DIR: &str = "/m/wal";
const SNAP: &str = "/m/snap";
const ZERO: SnapshotRecord = SnapshotRecord { index: 0, term: 0, conf_state: None };

fn options() -> WalOptions {
    WalOptions::default().segment_bytes(4096).allocate_ahead(false)
}

/// The content is a function of index and term, so that whatever comes back can be checked.
fn entry(term: u64, index: u64) -> Entry {
    let len = [3, 40, 700, 1300, 0, 150, 2600][index as usize % 7];
    let data = (!index.is_multiple_of(11)).then(|| Bytes::from(noise(index * 31 + term, len)));
    Entry { kind: EntryKind::NORMAL, term, index, data }
}

fn put(fs: &SimFs, path: &Path, bytes: &[u8]) {
    fs.create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs.create_new(path).and_then(|file| file.write_all_at(bytes, 0)).expect("writes");
}

/// A log of three segments.
fn sample() -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let fs = SimFs::default();
    let mut wal = Wal::create(fs.clone(), Path::new(DIR), Some(b"meta"), options()).expect("creates");
    for index in 1..=14 {
        let state = HardState { term: 1, vote: 2, commit: index - 1 };
        wal.save(&state, &[entry(1, index)]).expect("saves");
    }
    wal.close().expect("closes");
    fs.snapshot().into_iter().filter(|(path, _)| path.extension() == Some("wal".as_ref())).collect()
}

fn with(files: &[(std::path::PathBuf, Vec<u8>)], changed: usize, bytes: &[u8]) -> SimFs {
    let fs = SimFs::default();
    for (at, (path, whole)) in files.iter().enumerate() {
        put(&fs, path, if at == changed { bytes } else { whole });
    }
    fs
}

/// What is read must be a prefix of what was written. Gives how much.
fn read(fs: &SimFs) -> Option<usize> {
    let contents =
        Reader::open(fs.clone(), Path::new(DIR), &ZERO).and_then(|reader| reader.read_all()).ok()?;
    for (at, found) in contents.entries.iter().enumerate() {
        assert_eq!(*found, entry(1, at as u64 + 1));
    }
    Some(contents.entries.len())
}

/// Every reader gets through, whatever the bytes; and what is repaired opens and can be appended to.
fn everything(fs: &SimFs) {
    let dir = Path::new(DIR);
    drop(verify(fs.clone(), dir, &ZERO));
    drop(valid_snapshot_entries(fs, dir));
    let open = || Wal::open(fs.clone(), dir, &ZERO, options()).and_then(Unread::read_all);
    let opened = match open() {
        Err(error) if matches!(error.kind(), ErrorKind::Etcd(flaw) if flaw.is_torn()) => {
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
fn a_segment_of_any_length_gives_the_entries_before_its_end() {
    let files = sample();
    assert!(files.len() >= 3, "{} segments", files.len());
    let last = files.len() - 1;
    let whole = &files[last].1;
    let used = whole.iter().rposition(|&byte| byte != 0).expect("not empty") + 1;
    let mut before = 0;
    for len in 0..used {
        let fs = with(&files, last, &whole[..len]);
        let count = read(&fs).expect("a torn tail is no error to a reader");
        assert!(count >= before && count <= 14, "{len}: {count} after {before}");
        before = count;
        everything(&fs);
    }
    assert_eq!(read(&with(&files, last, whole)), Some(14));
}

/// No flip gives another entry; most are errors. Padding, and what follows the end, do not matter. The kind of a record
/// is not covered by its checksum: that one byte in each is left out, for a state can become an entry.
#[test]
fn no_flipped_byte_gives_another_entry() {
    let files = sample();
    for changed in [0, files.len() - 1] {
        let whole = &files[changed].1;
        let used = whole.iter().rposition(|&byte| byte != 0).expect("not empty") + 1;
        let mut errors = 0;
        let kinds: Vec<_> =
            RawRecords::new(whole).flatten().map(|record| record.offset as usize + 9).collect();
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
        drop(Reader::open(fs.clone(), Path::new(DIR), &ZERO).and_then(|reader| reader.read_all()));
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

/// What a raft member did, and what it was told is done.
#[derive(Debug, Default)]
struct Run {
    created: bool,
    /// The log as it should be: entries of index 1, 2, ..., and how many of them are known to be durable.
    log: Vec<Entry>,
    durable: usize,
    /// What the log was when it was durable last: an overwrite that was not acknowledged may be there or not.
    before: Vec<Entry>,
    state: HardState,
    durable_state: HardState,
    snapshot: u64,
}

fn script(fs: &SimFs) -> Run {
    let mut run = Run::default();
    drop(play(fs, &mut run));
    run
}

fn play(fs: &SimFs, run: &mut Run) -> tsmith_wal::Result<()> {
    let mut storage =
        DiskStorage::create(fs.clone(), Path::new(DIR), Path::new(SNAP), Some(b"m"), options())?;
    run.created = true;
    let mut term = 1;
    for round in 0..14u64 {
        let mut next = run.log.len() as u64 + 1;
        run.before = run.log.clone();
        if round % 5 == 4 {
            // A new leader overwrites what was not committed.
            term += 1;
            next -= 2;
            run.log.truncate(next as usize - 1);
        }
        let entries: Vec<_> = (next..next + 1 + round % 4).map(|index| entry(term, index)).collect();
        run.log.extend(entries.iter().cloned());
        run.state = HardState { term, vote: 1, commit: next.saturating_sub(3).max(run.state.commit) };
        storage.save(&run.state, &entries)?;
        (run.durable, run.durable_state) = (run.log.len(), run.state);
        run.before = run.log.clone();
        if round % 6 == 3 {
            let index = run.state.commit;
            let snapshot = Snapshot {
                data: Some(Bytes::from(noise(index, 900))),
                index,
                term: run.log[index as usize - 1].term,
                ..Snapshot::default()
            };
            storage.save_snap(&snapshot)?;
            run.snapshot = index;
            storage.release(&snapshot)?;
            tsmith_wal::etcd::purge(fs, Path::new(DIR), ".wal", 2)?;
        }
    }
    storage.close()
}

fn recover(fs: &SimFs, run: &Run) -> Result<u64, String> {
    let opened = DiskStorage::open(fs.clone(), Path::new(DIR), Path::new(SNAP), options());
    let (storage, restored) = match opened {
        Ok(opened) => opened,
        Err(_) if !run.created => return Ok(0),
        Err(error) => return Err(format!("does not open: {error}")),
    };
    storage.close().map_err(|error| format!("does not close: {error}"))?;
    let start = restored.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    if start < run.snapshot {
        return Err(format!("snapshot {start}, acknowledged {}", run.snapshot));
    }
    let found = &restored.contents.entries;
    let end = start as usize + found.len();
    let is = |log: &[Entry]| log.get(start as usize..end) == Some(found);
    // Entries that were never acknowledged may be there in part, behind a prefix of those before.
    let mixed = found.iter().all(|entry| run.log.contains(entry) || run.before.contains(entry));
    let part = mixed && end < run.log.len().max(run.before.len());
    if !(is(&run.log) || is(&run.before) || part) {
        return Err(format!("{end} entries are no prefix"));
    }
    if end < run.durable.min(run.log.len()) && !is(&run.log[..end]) {
        return Err(format!("{end} of {} acknowledged", run.durable));
    }
    let acknowledged = run.durable.min(run.before.len());
    if run.log == run.before && end < acknowledged {
        return Err(format!("{end} entries, {acknowledged} acknowledged"));
    }
    let (state, durable) = (restored.contents.state, run.durable_state);
    if state != durable && state != run.state && (state.term, state.vote) < (durable.term, durable.vote) {
        return Err(format!("state {state:?}, acknowledged {durable:?}"));
    }
    Ok(end as u64)
}

#[test]
fn a_power_cut_at_any_operation_of_a_member_loses_nothing_acknowledged() {
    let whole = SimFs::default();
    script(&whole);
    for stop in 1..=whole.operations() + 1 {
        let fs = SimFs::default();
        fs.stop_at(stop);
        let run = script(&fs);
        for seed in 0..6 {
            let image = if seed == 0 { fs.kill() } else { fs.crash(seed * 1000 + stop) };
            let name = whole.operation(stop).unwrap_or("end");
            let at = format!("stop {stop} ({name}), seed {seed}");
            let recovering = |fs: &SimFs| recover(fs, &run).unwrap_or_else(|error| panic!("{at}: {error}"));
            // A crash in the midst of recovery, and recovery again; what was recovered once stays.
            let again = image.kill();
            again.stop_at(3 + seed * 7);
            drop(DiskStorage::open(again.clone(), Path::new(DIR), Path::new(SNAP), options()));
            recovering(&again.crash(seed));
            let first = recovering(&image);
            assert_eq!(first, recovering(&image.crash(seed)), "{at}");
        }
    }
}

/// A fault of one operation is an error, and nothing is acknowledged over it.
#[test]
fn a_fault_at_any_operation_of_a_member_is_never_acknowledged_over() {
    let whole = SimFs::default();
    script(&whole);
    for fault in [Fault::Io, Fault::Full] {
        for at in 1..=whole.operations() {
            let fs = SimFs::default();
            fs.fail_at(at, fault);
            let run = script(&fs);
            for seed in 0..3 {
                let name = whole.operation(at).unwrap_or("?");
                recover(&fs.crash(seed), &run)
                    .unwrap_or_else(|error| panic!("{fault:?} at {at} ({name}), seed {seed}: {error}"));
            }
        }
    }
}

fn log_options(durability: Durability) -> LogOptions {
    LogOptions::default().segment_bytes(2048).durability(durability)
}

fn payload(number: u32) -> Vec<u8> {
    let len = [3, 40, 700, 1300, 0, 150, 2600][number as usize % 7];
    [&number.to_be_bytes()[..], &noise(number.into(), len)].concat()
}

/// What the log of the matrix was told: numbers, and how many of them are acknowledged and may be forgotten.
fn log_script(fs: &SimFs, durability: Durability) -> (u32, u32, u32) {
    let (mut appended, mut acknowledged, mut forgotten) = (0, 0, 0);
    let opened = EtcdLog::open(fs.clone(), Path::new(DIR), log_options(durability), |_, _| Ok(()));
    let Ok((log, _)) = opened else { return (0, 0, 0) };
    let mut go = || -> tsmith_wal::Result<()> {
        let mut cut = (Position::ZERO, 0);
        for number in 0..26 {
            let at = log.append(Record::write(&payload(number)))?;
            appended = number + 1;
            if number % 3 != 1 {
                let _ = log.sync(at)?;
                if durability != Durability::None {
                    acknowledged = appended;
                }
            }
            if number % 8 == 5 {
                cut = (log.cut()?, appended);
                acknowledged = appended;
            }
            if number % 8 == 7 {
                forgotten = cut.1;
                log.truncate_front(cut.0)?;
            }
        }
        Ok(())
    };
    drop(go());
    drop(log);
    (appended, acknowledged, forgotten)
}

fn log_check(fs: &SimFs, (appended, acknowledged, forgotten): (u32, u32, u32)) -> Result<(), String> {
    let opened = open_keeping::<EtcdLog<SimFs>>(fs.clone(), Path::new(DIR), log_options(Durability::Group));
    let (_, seen, _) = opened.map_err(|error| format!("does not open: {error}"))?;
    let number = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let numbers: Vec<u32> = seen.iter().map(|(_, _, bytes)| number(bytes)).collect();
    let first = numbers.first().copied().unwrap_or(forgotten);
    let end = first + numbers.len() as u32;
    if !numbers.iter().copied().eq(first..end) || first > forgotten || end > appended {
        return Err(format!("{numbers:?} of {appended}, {forgotten} may be forgotten"));
    }
    if seen.iter().any(|(_, _, bytes)| *bytes != payload(number(bytes))) {
        return Err("other bytes".into());
    }
    if end < acknowledged { Err(format!("{end}, acknowledged {acknowledged}")) } else { Ok(()) }
}

#[test]
fn a_power_cut_at_any_operation_of_the_ordinary_log_loses_nothing_acknowledged() {
    for durability in [Durability::Group, Durability::Each, Durability::None] {
        let whole = SimFs::default();
        log_script(&whole, durability);
        for stop in 1..=whole.operations() + 1 {
            let fs = SimFs::default();
            fs.stop_at(stop);
            let run = log_script(&fs, durability);
            for seed in 0..6 {
                let image = fs.crash(seed * 1000 + stop);
                let name = whole.operation(stop).unwrap_or("end");
                log_check(&image.kill(), run).and_then(|()| log_check(&image, run)).unwrap_or_else(|error| {
                    panic!("{durability:?}, stop {stop} ({name}), seed {seed}: {error}")
                });
            }
        }
    }
}

#[test]
fn a_fault_at_any_operation_of_the_ordinary_log_is_never_acknowledged_over() {
    let whole = SimFs::default();
    log_script(&whole, Durability::Group);
    for fault in [Fault::Io, Fault::Full] {
        for at in 1..=whole.operations() {
            let fs = SimFs::default();
            fs.fail_at(at, fault);
            let run = log_script(&fs, Durability::Group);
            for seed in 0..4 {
                let name = whole.operation(at).unwrap_or("?");
                log_check(&fs.crash(seed), run)
                    .unwrap_or_else(|error| panic!("{fault:?} at {at} ({name}), seed {seed}: {error}"));
            }
        }
    }
}

/// Story: a disk has not one block left when the log is opened, cut and let go of. It is read, refuses records with
/// "retry later", and goes on when there is space: that of the segments that are let go of, or, where there is only one,
/// somebody else's.
#[test]
fn without_any_space_the_ordinary_log_is_read_and_cut() {
    for count in [2, 9] {
        let fs = SimFs::default();
        let options = log_options(Durability::Group);
        let open = || open_keeping::<EtcdLog<SimFs>>(fs.clone(), Path::new(DIR), options).expect("opens");
        let put = |log: &EtcdLog<SimFs>, number| {
            log.append(Record::write(&payload(number))).and_then(|at| log.sync(at))
        };
        let (log, ..) = open();
        (0..count).for_each(|number| drop(put(&log, number).expect("there is space")));
        log.close().expect("closes");
        let used = fs.snapshot().values().map(|bytes| bytes.len() as u64).sum();
        fs.set_space(Some(used));
        let (log, seen, recovery) = open();
        assert!(recovery.torn.is_empty());
        assert!(seen.into_iter().map(|(_, _, bytes)| bytes).eq((0..count).map(payload)));
        let is_refused = |log: &EtcdLog<SimFs>| put(log, count).expect_err("no space").is_full();
        assert!(is_refused(&log));
        let cut = log.cut().expect("cuts");
        assert!(is_refused(&log));
        log.truncate_front(cut).expect("forgets what it can");
        if count == 2 {
            assert!(is_refused(&log));
            fs.set_space(None);
        }
        assert!(put(&log, count).expect("there is space").at() > cut);
        log.truncate_front(cut).expect("forgets");
        drop(log);
        let (_, seen, _) = open();
        assert_eq!(seen.into_iter().map(|(_, _, bytes)| bytes).collect::<Vec<_>>(), [payload(count)]);
    }
}
