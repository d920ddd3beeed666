//! Missing records of `EtcdLog`: recovery reports them if a segment is corrupt, cut or gone. After truncation the log opens
//! in strict mode again.

mod support;

use std::path::{Path, PathBuf};

use tsmith_wal::testing::{SimFs, noise};
use tsmith_wal::{ErrorKind, EtcdLog, GapKind, Log, LogOptions, Recovery, RecoveryMode};

use support::{Files, disk_with, files_with, open_numbered, put_numbered};

const DIR: &str = "/wal";

fn open(sim: &SimFs, mode: RecoveryMode) -> tsmith_wal::Result<(EtcdLog<SimFs>, Vec<u64>, Recovery)> {
    open_numbered(
        sim,
        Path::new(DIR),
        LogOptions { segment_bytes: 4096, recovery: mode, ..LogOptions::default() },
    )
}

fn put(log: &EtcdLog<SimFs>, number: u64) {
    put_numbered(log, number).expect("puts");
}

/// The segments of a closed log: five with three records each. The records have the numbers 1 to 15, which are also their
/// indices.
fn five() -> Files {
    let sim = SimFs::default();
    let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
    for number in 1..=15 {
        put(&log, number);
        if number % 3 == 0 && number < 15 {
            let _ = log.cut().expect("cuts");
        }
    }
    log.close().expect("closes");
    files(&sim)
}

fn files(sim: &SimFs) -> Files {
    files_with(sim, &["wal"])
}

/// The path of a segment of `five`. The first number is 1.
fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!(
        "{:016x}-{:016x}.wal",
        number - 1,
        3 * (number - 1) + 1 - u64::from(number == 1)
    ))
}

/// The offset of a record's payload in its segment.
fn place(bytes: &[u8], number: u64) -> usize {
    let payload = noise(number, 40);
    bytes.windows(40).position(|window| window == payload).expect("is there")
}

/// Zeros records 11 and 12, as if they had never been written.
fn lose_the_end(files: &mut Files) {
    let bytes = files.get_mut(&segment(4)).expect("is there");
    let end = (place(bytes, 10) + 40).next_multiple_of(8);
    bytes[end..].fill(0);
}

/// Salvages the log, whose last record is `last`. Returns the numbers that the salvage reports as missing.
fn missing_after_salvage(sim: &SimFs, what: &str, last: u64) -> Vec<u64> {
    let before = files(sim);
    open(sim, RecoveryMode::Strict).map(drop).expect_err(what);
    assert_eq!(files(sim), before, "{what}: nothing was changed");
    let (log, seen, recovery) = open(sim, RecoveryMode::Salvage).expect(what);
    let missing: Vec<u64> = recovery.missing().flatten().collect();
    let rest: Vec<u64> = (1..=last).filter(|number| !missing.contains(number)).collect();
    assert_eq!(seen, rest, "{what}: missing records are reported");
    assert!(recovery.gaps.iter().all(|gap| gap.kind != GapKind::TornTail), "{what}: {recovery:?}");
    // The gap stays until it is truncated. Then the log opens in strict mode.
    put(&log, 16);
    let cut = log.cut().expect("cuts");
    put(&log, 17);
    open(&sim.kill(), RecoveryMode::Strict).map(drop).expect_err(what);
    log.truncate_front(cut).expect("truncates");
    log.close().expect("closes");
    let (_, seen, recovery) = open(sim, RecoveryMode::Strict).expect(what);
    assert!(seen == [17] && recovery.gaps.is_empty(), "{what}: {seen:?}, {recovery:?}");
    missing
}

/// Story: if a segment was missing, the log did not open in any mode. If a segment was cut, recovery reported one missing
/// byte.
#[test]
fn a_segment_that_lost_its_records_is_detected() {
    let intact = five();
    for number in 1..5 {
        let path = segment(number);
        let all = [3 * number - 2, 3 * number - 1, 3 * number];
        if number > 1 {
            let mut gone = intact.clone();
            gone.remove(&path).expect("is there");
            assert_eq!(missing_after_salvage(&disk_with(&gone), "gone", 15), all, "segment {number}");
        }
        let mut zeroed = intact.clone();
        zeroed.get_mut(&path).expect("is there").fill(0);
        assert_eq!(missing_after_salvage(&disk_with(&zeroed), "zeroed", 15), all, "segment {number}");
        let mut emptied = intact.clone();
        emptied.get_mut(&path).expect("is there").clear();
        assert_eq!(missing_after_salvage(&disk_with(&emptied), "emptied", 15), all, "segment {number}");
        let mut cut = intact.clone();
        let bytes = cut.get_mut(&path).expect("is there");
        bytes.truncate(place(bytes, all[1]));
        assert_eq!(missing_after_salvage(&disk_with(&cut), "cut", 15), all[1..], "segment {number}");
    }
}

#[test]
fn a_corrupt_record_is_reported_by_its_number() {
    for number in 1..=14 {
        let mut files = five();
        let bytes = files.get_mut(&segment((number - 1) / 3 + 1)).expect("is there");
        let at = place(bytes, number);
        bytes[at] ^= 1;
        assert_eq!(missing_after_salvage(&disk_with(&files), "flipped", 15), [number]);
    }
}

/// `Strict` reports which records are missing: those of a missing segment, or those at the end of a segment.
#[test]
fn missing_records_are_refused_with_their_numbers() {
    let mut gone = five();
    gone.remove(&segment(3)).expect("is there");
    let mut ended = five();
    lose_the_end(&mut ended);
    let error = open(&disk_with(&gone), RecoveryMode::Strict).map(drop).expect_err("records are missing");
    assert!(matches!(error.kind(), ErrorKind::Missing { first: 7, last: 9 }), "{error}");
    assert_eq!(error.path(), Some(&*segment(4)));
    let error = open(&disk_with(&ended), RecoveryMode::Strict).map(drop).expect_err("records are missing");
    assert!(matches!(error.kind(), ErrorKind::Missing { first: 11, last: 12 }), "{error}");
    assert_eq!(error.path(), Some(&*segment(5)));
}

/// Story: a segment lost its last records, and the segment after it was empty. The next segment began at an index below that
/// of the empty one, so the log did not open in strict mode after truncation.
#[test]
fn the_name_of_an_empty_segment_shows_missing_records() {
    let mut files = five();
    lose_the_end(&mut files);
    let bytes = files.get_mut(&segment(5)).expect("is there");
    let entry = (0..bytes.len()).step_by(8).find(|&at| bytes[at + 8..].starts_with(&[0x08, 0x02]));
    bytes.truncate(entry.expect("an entry"));
    assert_eq!(missing_after_salvage(&disk_with(&files), "lost its end", 12), [11, 12]);
}

/// Story: recovery reported two gaps as one range, which included the records between them.
#[test]
fn two_gaps_are_reported_separately() {
    let mut files = five();
    let bytes = files.get_mut(&segment(1)).expect("is there");
    let at = place(bytes, 2);
    bytes[at] ^= 1;
    lose_the_end(&mut files);
    assert_eq!(missing_after_salvage(&disk_with(&files), "a bit flip and a lost end", 15), [2, 11, 12]);
}

/// Story: a flipped bit turned a state into metadata, because the checksum does not cover the kind. These metadata differed
/// from the log's, so the log did not open in any mode.
#[test]
fn a_state_that_became_metadata_is_skipped() {
    let mut files = five();
    let bytes = files.get_mut(&segment(2)).expect("is there");
    let state = bytes.windows(2).position(|window| window == [0x08, 0x03]).expect("a state");
    bytes[state + 1] = 0x01;
    assert_eq!(missing_after_salvage(&disk_with(&files), "a state", 15), []);
}

/// Story: a flipped bit turned the last entry into a state, because no checksum covers the kind. The log opened in strict mode
/// without that entry.
#[test]
fn a_last_entry_that_became_a_state_is_detected() {
    let mut files = five();
    let bytes = files.get_mut(&segment(5)).expect("is there");
    let begins = (0..bytes.len() - 10).step_by(8);
    let last = begins.rev().find(|at| bytes[at + 8..].starts_with(&[0x08, 0x02])).expect("an entry");
    bytes[last + 9] = 0x03;
    assert_eq!(missing_after_salvage(&disk_with(&files), "a state", 15), [15]);
    let sim = disk_with(&files);
    let (log, seen, recovery) = open(&sim, RecoveryMode::Salvage).expect("opens");
    assert!(seen.len() == 14 && recovery.gaps.len() == 1, "{recovery:?}");
    put(&log, 16);
    log.close().expect("closes");
    assert_eq!(open(&sim, RecoveryMode::Salvage).expect("opens").1.last(), Some(&16), "continues");
}
