//! Which records of `EtcdLog` are reported missing when a segment is corrupt or gone, and how the log opens strictly again.

mod support;

use std::path::{Path, PathBuf};

use tsmith_wal::testing::{SimFs, noise};
use tsmith_wal::{ErrorKind, EtcdLog, GapKind, Log, LogOptions, Recovery, RecoveryMode};

use support::{Files, disk_with, files_with, open_numbered, put_numbered};

const DIR: &str = "/wal";

fn open(sim: &SimFs, mode: RecoveryMode) -> tsmith_wal::Result<(EtcdLog<SimFs>, Vec<u64>, Recovery)> {
    open_numbered(sim, Path::new(DIR), LogOptions::default().segment_bytes(4096).recovery(mode))
}

fn put(log: &EtcdLog<SimFs>, number: u64) {
    put_numbered(log, number).expect("puts");
}

/// Records 1 to 15, which are their indices too, three in each of five segments, closed.
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

/// The segment of this number, of five.
fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!(
        "{:016x}-{:016x}.wal",
        number - 1,
        3 * (number - 1) + 1 - u64::from(number == 1)
    ))
}

/// Where the payload of a record is in its segment.
fn place(bytes: &[u8], number: u64) -> usize {
    let payload = noise(number, 40);
    bytes.windows(40).position(|window| window == payload).expect("is there")
}

/// Records 11 and 12 become zeros, as if they had never been written.
fn lose_the_end(files: &mut Files) {
    let bytes = files.get_mut(&segment(4)).expect("is there");
    let end = (place(bytes, 10) + 40).next_multiple_of(8);
    bytes[end..].fill(0);
}

/// The numbers of the records that a salvage misses of those up to `last`.
fn salvaged(sim: &SimFs, what: &str, last: u64) -> Vec<u64> {
    let before = files(sim);
    open(sim, RecoveryMode::Strict).map(drop).expect_err(what);
    assert_eq!(files(sim), before, "{what}: nothing was changed");
    let (log, seen, recovery) = open(sim, RecoveryMode::Salvage).expect(what);
    let missing: Vec<u64> = recovery.missing().flatten().collect();
    let rest: Vec<u64> = (1..=last).filter(|number| !missing.contains(number)).collect();
    assert_eq!(seen, rest, "{what}: missing records are reported");
    assert!(recovery.gaps.iter().all(|gap| gap.kind != GapKind::TornTail), "{what}: {recovery:?}");
    // What was left out stays until it is forgotten, and then the log opens strictly.
    put(&log, 16);
    let cut = log.cut().expect("cuts");
    put(&log, 17);
    open(&sim.kill(), RecoveryMode::Strict).map(drop).expect_err(what);
    log.truncate_front(cut).expect("forgets");
    log.close().expect("closes");
    let (_, seen, recovery) = open(sim, RecoveryMode::Strict).expect(what);
    assert!(seen == [17] && recovery.gaps.is_empty(), "{what}: {seen:?}, {recovery:?}");
    missing
}

/// Story: a segment that was gone refused in every mode, and one that was cut was said to have lost a byte.
#[test]
fn a_segment_that_lost_its_records_is_detected() {
    let whole = five();
    for number in 1..5 {
        let path = segment(number);
        let all = [3 * number - 2, 3 * number - 1, 3 * number];
        if number > 1 {
            let mut gone = whole.clone();
            gone.remove(&path).expect("is there");
            assert_eq!(salvaged(&disk_with(&gone), "gone", 15), all, "segment {number}");
        }
        let mut zeroed = whole.clone();
        zeroed.get_mut(&path).expect("is there").fill(0);
        assert_eq!(salvaged(&disk_with(&zeroed), "zeroed", 15), all, "segment {number}");
        let mut emptied = whole.clone();
        emptied.get_mut(&path).expect("is there").clear();
        assert_eq!(salvaged(&disk_with(&emptied), "emptied", 15), all, "segment {number}");
        let mut cut = whole.clone();
        let bytes = cut.get_mut(&path).expect("is there");
        bytes.truncate(place(bytes, all[1]));
        assert_eq!(salvaged(&disk_with(&cut), "cut", 15), all[1..], "segment {number}");
    }
}

#[test]
fn a_corrupt_record_is_reported_by_its_number() {
    for number in 1..=14 {
        let mut files = five();
        let bytes = files.get_mut(&segment((number - 1) / 3 + 1)).expect("is there");
        let at = place(bytes, number);
        bytes[at] ^= 1;
        assert_eq!(salvaged(&disk_with(&files), "flipped", 15), [number]);
    }
}

/// `Strict` says which records are gone, with their segment or from its end.
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

/// Story: the segment after one that had lost its last records began at an older index than the one before it, and the log
/// did not open strictly when the older ones were forgotten.
#[test]
fn the_name_of_an_empty_segment_shows_missing_records() {
    let mut files = five();
    lose_the_end(&mut files);
    let bytes = files.get_mut(&segment(5)).expect("is there");
    let entry = (0..bytes.len()).step_by(8).find(|&at| bytes[at + 8..].starts_with(&[0x08, 0x02]));
    bytes.truncate(entry.expect("an entry"));
    assert_eq!(salvaged(&disk_with(&files), "lost its end", 12), [11, 12]);
}

/// Story: what was missing was told as one range, over the records between two places.
#[test]
fn two_gaps_are_reported_apart() {
    let mut files = five();
    let bytes = files.get_mut(&segment(1)).expect("is there");
    let at = place(bytes, 2);
    bytes[at] ^= 1;
    lose_the_end(&mut files);
    assert_eq!(salvaged(&disk_with(&files), "a flip and a lost end", 15), [2, 11, 12]);
}

/// Story: the checksum does not cover the kind, and metadata that are none of the log's refused in every mode.
#[test]
fn a_state_that_became_metadata_is_left_out() {
    let mut files = five();
    let bytes = files.get_mut(&segment(2)).expect("is there");
    let state = bytes.windows(2).position(|window| window == [0x08, 0x03]).expect("a state");
    bytes[state + 1] = 0x01;
    assert_eq!(salvaged(&disk_with(&files), "a state", 15), []);
}

/// Story: the last entry became a state by one bit, which no checksum covers, and was not missed: the log opened strictly.
#[test]
fn a_last_entry_that_became_a_state_is_detected() {
    let mut files = five();
    let bytes = files.get_mut(&segment(5)).expect("is there");
    let begins = (0..bytes.len() - 10).step_by(8);
    let last = begins.rev().find(|at| bytes[at + 8..].starts_with(&[0x08, 0x02])).expect("an entry");
    bytes[last + 9] = 0x03;
    assert_eq!(salvaged(&disk_with(&files), "a state", 15), [15]);
    let sim = disk_with(&files);
    let (log, seen, recovery) = open(&sim, RecoveryMode::Salvage).expect("opens");
    assert!(seen.len() == 14 && recovery.gaps.len() == 1, "{recovery:?}");
    put(&log, 16);
    log.close().expect("closes");
    assert_eq!(open(&sim, RecoveryMode::Salvage).expect("opens").1.last(), Some(&16), "goes on");
}
