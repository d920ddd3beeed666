//! Laws of every log, whether or not it stores its records.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Scratch, open, put};
use crate::fs::OsFs;
use crate::{Durability, ErrorKind, Log, LogOptions, Position, Record};

/// Law: each record's position is above the one before, whatever its size.
pub fn positions_strictly_increase<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions { segment_bytes: 4096, ..LogOptions::default() });
    let mut last = Position::ZERO;
    for len in (0..300).chain([5000, 0, 100_000, 1]) {
        let at = log.append(Record::write(&vec![7; len])).expect("appends");
        assert!(at > last);
        last = at;
    }
    let _ = log.sync(last).expect("syncs");
    log.close().expect("closes");
}

/// Law: every record before a cut is below its position, every later one above.
pub fn a_cut_divides_the_positions<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions::default());
    let mut last = log.cut().expect("cuts an empty log");
    for _ in 0..3 {
        let before = put(&log, b"before");
        let unsynced = log.append(Record::write(b"unsynced")).expect("appends");
        let cut = log.cut().expect("cuts");
        assert!(last <= before && before < unsynced && unsynced < cut);
        last = cut;
    }
    assert!(put(&log, b"after") > last);
    log.close().expect("closes");
}

/// Law: threads that append concurrently never get the same position, and each thread sees its positions increase.
pub fn concurrent_appends_get_distinct_positions<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions { segment_bytes: 16 << 10, ..LogOptions::default() });
    let write = |thread: u8| -> Vec<Position> { (0..50).map(|n| put(&log, &[thread, n])).collect() };
    let all: Vec<Vec<Position>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(move || write(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(all.iter().all(|of_one| of_one.is_sorted_by(|a, b| a < b)));
    assert_eq!(all.iter().flatten().collect::<BTreeSet<_>>().len(), 400);
    log.close().expect("closes");
}

/// Law: while a log is open, its directory cannot be opened again, in this process or another. After the close it can.
pub fn a_directory_has_one_owner<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let open = || L::open(OsFs, &scratch.log_dir(), LogOptions::default(), |_, _| Ok(()));
    let (log, _) = open().expect("opens");
    let _ = put(&log, b"mine");
    let Err(error) = open() else { panic!("the directory has two owners") };
    assert!(matches!(error.kind(), ErrorKind::InUse), "{error}");
    let name = scratch.log_dir().display().to_string();
    assert!(
        error.path().is_some_and(|path| path.display().to_string() == name),
        "names the directory: {error}"
    );
    log.close().expect("closes");
    let (log, _) = open().expect("opens after close");
    drop(log);
    let (log, _) = open().expect("opens after drop");
    log.close().expect("closes");
}

/// Law: a closed log refuses appends, truncation and a second close. A sync of confirmed records still succeeds.
pub fn a_closed_log_does_nothing<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions::default());
    let at = put(&log, b"before");
    log.close().expect("closes");
    let answers = [
        log.append(Record::write(b"after")).map(drop),
        log.cut().map(drop),
        log.truncate_front(at),
        log.close(),
    ];
    for answer in answers {
        assert!(matches!(answer.expect_err("closed").kind(), ErrorKind::Closed));
    }
    let _ = log.sync(at).expect("was confirmed before");
}

/// Law: files that are not segments are not read, changed or removed, even if their names look similar.
pub fn foreign_files_are_left_alone<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    std::fs::create_dir_all(scratch.log_dir()).expect("creates");
    let names = [
        "_1.wal",
        "_000001.wal",
        "_00001.wal.tmp",
        "00001.wal",
        "_0000x.wal",
        "_+0001.wal",
        "notes",
        "_.wal",
    ];
    for name in names {
        std::fs::write(scratch.log_dir().join(name), b"not a segment").expect("writes");
    }
    let (log, seen, _) = open::<L>(scratch, LogOptions::default());
    assert!(seen.is_empty());
    let _ = put(&log, b"a record");
    let cut = log.cut().expect("cuts");
    log.truncate_front(cut).expect("truncates");
    log.close().expect("closes");
    for name in names {
        assert_eq!(std::fs::read(scratch.log_dir().join(name)).expect("is there"), b"not a segment");
    }
}

/// Law: truncating is allowed at any position, even one that no record has, and the log continues.
pub fn truncating_at_any_position_is_allowed<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions { segment_bytes: 2048, ..LogOptions::default() });
    let mut last = Position::ZERO;
    for round in 0..40 {
        let at = put(&log, &[round; 300]);
        assert!(at > last);
        last = at;
        let anywhere = [Position::ZERO, at, Position(at.0 / 2), Position(u64::MAX)];
        log.truncate_front(anywhere[usize::from(round) % 4]).expect("truncates");
    }
    log.close().expect("closes");
}

/// Law: in every durability mode that the log supports, `sync` returns even if no further record is appended. With another
/// mode the log does not open.
pub fn every_durability_confirms<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let intervals = [Duration::from_millis(1), Duration::ZERO, Duration::MAX].map(Durability::Interval);
    for durability in [Durability::Each, Durability::Group, Durability::None].into_iter().chain(intervals) {
        let options = LogOptions { durability, ..LogOptions::default() };
        if !L::supports(durability) {
            assert!(L::open(OsFs, &scratch.log_dir(), options, |_, _| Ok(())).is_err());
            continue;
        }
        let (log, ..) = open::<L>(scratch, options);
        let first = log.append(Record::write(b"one")).expect("appends");
        let second = log.append(Record::write(b"two")).expect("appends");
        assert!(log.sync(second).expect("syncs").at() >= second);
        assert!(log.sync(first).expect("syncs").at() >= first);
        log.close().expect("closes");
    }
}
