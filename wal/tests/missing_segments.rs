//! Missing segments in InfluxDB's format. Each segment of ours names the one before it, so recovery detects a segment that is
//! missing, emptied or zeroed. No normal event looks like a missing segment.

mod support;

use std::path::{Path, PathBuf};

use tsmith_wal::testing::influx::{MARK_BYTES, file_name};
use tsmith_wal::testing::{SimFs, open_keeping};
use tsmith_wal::{ErrorKind, FileLog, GapKind, Log, LogOptions, Recovery, RecoveryMode, repair};

use support::{Files, disk_with, files_with, influxdb_segment, open_numbered, put_numbered};

const DIR: &str = "/wal";

fn path(number: u32) -> PathBuf {
    Path::new(DIR).join(file_name(number))
}

fn open(sim: &SimFs, mode: RecoveryMode) -> tsmith_wal::Result<(FileLog<SimFs>, Vec<u64>, Recovery)> {
    open_numbered(
        sim,
        Path::new(DIR),
        LogOptions { segment_bytes: 2048, recovery: mode, ..LogOptions::default() },
    )
}

fn put(log: &FileLog<SimFs>, number: u64) {
    put_numbered(log, number).expect("puts");
}

/// The segments of a closed log: five with three records each, numbered 0 to 14. The log was reopened before the last one.
fn five() -> Files {
    let sim = SimFs::default();
    for numbers in [0..12, 12..15] {
        let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
        for number in numbers {
            put(&log, number);
            if number % 3 == 2 {
                let _ = log.cut().expect("cuts");
            }
        }
        log.close().expect("closes");
    }
    let files = files_with(&sim, &["wal"]);
    assert_eq!(files.values().filter(|bytes| !bytes.is_empty()).count(), 5);
    files
}

/// Ways to lose all records of a segment.
const WAYS: [fn(&mut Files, u32); 3] = [
    |files, number| drop(files.remove(&path(number))),
    |files, number| files.get_mut(&path(number)).expect("is there").clear(),
    |files, number| files.get_mut(&path(number)).expect("is there").fill(0),
];

/// Opens in strict mode and expects a missing segment. Returns the file and offset of the error.
fn refusal(sim: &SimFs) -> (PathBuf, u64) {
    let before = sim.snapshot();
    let error = open(sim, RecoveryMode::Strict).map(drop).expect_err("a segment is missing");
    assert!(matches!(error.kind(), ErrorKind::MissingSegment), "{error}");
    let after: Files = sim.snapshot().into_iter().filter(|(path, _)| before.contains_key(path)).collect();
    assert_eq!(after, before, "nothing is changed");
    (error.path().expect("a path").to_owned(), error.offset().expect("an offset"))
}

/// Story: a segment in the middle of a log was missing, emptied or zeroed. The log opened without its records and reported
/// nothing.
#[test]
fn a_missing_segment_in_the_middle_is_detected() {
    let files = five();
    for (lost, way) in (2..=4).flat_map(|lost| WAYS.map(|way| (lost, way))) {
        let mut left = files.clone();
        way(&mut left, lost);
        assert_eq!(refusal(&disk_with(&left)), (path(lost + 1), 0));
        let kept: Vec<u64> = (0..15).filter(|number| number / 3 + 1 != u64::from(lost)).collect();
        {
            let sim = disk_with(&left);
            let (log, seen, recovery) = open(&sim, RecoveryMode::Salvage).expect("opens");
            assert_eq!(seen, kept);
            let [gap] = &recovery.gaps[..] else { panic!("expected one gap: {recovery:?}") };
            assert_eq!((&gap.path, gap.offset, gap.kind), (&path(lost + 1), 0, GapKind::MissingSegment));
            put(&log, 15);
            log.close().expect("closes");
        }
        let sim = disk_with(&left);
        let repaired = repair(&sim, Path::new(DIR), None, false).expect("repairs");
        assert!(!repaired.is_empty());
        let (_log, seen, recovery) = open(&sim, RecoveryMode::Strict).expect("opens after the repair");
        assert_eq!(seen, kept);
        assert!(recovery.gaps.is_empty());
    }
}

/// If the first segment is gone, it may have been truncated. If its file is there without its records, they are missing.
#[test]
fn a_truncated_segment_is_not_missing() {
    let files = five();
    for first in 2..=5 {
        let mut left = files.clone();
        left.retain(|path, _| *path >= self::path(first));
        let (log, seen, recovery) = open(&disk_with(&left), RecoveryMode::Strict).expect("opens");
        assert_eq!(seen, (u64::from(first - 1) * 3..15).collect::<Vec<_>>());
        assert!(recovery.gaps.is_empty());
        log.close().expect("closes");
    }
    for way in &WAYS[1..] {
        let mut left = files.clone();
        way(&mut left, 1);
        assert_eq!(refusal(&disk_with(&left)), (path(2), 0));
    }
}

/// InfluxDB's own segments do not name each other, so recovery cannot detect that one is missing.
///
/// Story: a crash of ours left two empty segments. influxd removed the last one and continued after the other. Recovery took
/// the empty segment in the middle for a loss, and the log did not open.
#[test]
fn influxdb_segments_may_skip_numbers_or_be_empty() {
    let theirs = influxdb_segment();
    let files: Files = (1..=3).map(|number| (path(number), theirs.clone())).collect();
    let count = |files: &Files, mode| {
        let (sim, options) = (disk_with(files), LogOptions { recovery: mode, ..LogOptions::default() });
        let (_, seen, recovery) =
            open_keeping::<FileLog<SimFs>>(sim, Path::new(DIR), options).expect("opens");
        (seen.len(), recovery.gaps)
    };
    let (all, _) = count(&files, RecoveryMode::Strict);
    for lose in WAYS {
        let mut left = files.clone();
        lose(&mut left, 2);
        for mode in [RecoveryMode::Strict, RecoveryMode::Salvage] {
            assert_eq!(count(&left, mode), (all / 3 * 2, Vec::new()), "{mode:?}");
        }
    }
}

/// Story: if no record of a segment could be kept, repair removed its file. The next segment names that file, so the log did
/// not open.
#[test]
fn a_segment_that_repair_emptied_is_not_missing() {
    for lost in 1..=4 {
        let mut files = five();
        let bytes = files.get_mut(&path(lost)).expect("is there");
        bytes[MARK_BYTES..].fill(0xff);
        let sim = disk_with(&files);
        assert!(!repair(&sim, Path::new(DIR), None, false).expect("repairs").is_empty());
        for _ in 0..2 {
            let (log, seen, recovery) = open(&sim, RecoveryMode::Strict).expect("opens");
            assert_eq!((seen.len(), recovery.gaps.len()), (12, 0), "{lost}");
            log.close().expect("closes");
        }
    }
}
