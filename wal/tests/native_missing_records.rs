//! Missing records of the native log: recovery detects a missing or emptied segment, and no crash looks like one.

mod support;

use std::path::{Path, PathBuf};

use tsmith_wal::testing::native::{HEAD_BYTES, RECORD_BYTES};
use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::{
    ErrorKind, GapKind, Log, LogOptions, NativeLog, Recovery, RecoveryMode, ReplayMode, replay_segment,
};

use support::{Files, disk_with, files_with, is_sync, open_numbered, put_numbered as put};

const DIR: &str = "/wal";

fn open(sim: &SimFs, mode: RecoveryMode) -> tsmith_wal::Result<(NativeLog<SimFs>, Vec<u64>, Recovery)> {
    open_numbered(
        sim,
        Path::new(DIR),
        LogOptions { segment_bytes: 2048, recovery: mode, ..LogOptions::default() },
    )
}

/// The segments of a closed log: five with three records each, numbered 0 to 14.
fn five() -> Files {
    let sim = SimFs::default();
    let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
    for number in 0..15 {
        put(&log, number).expect("puts");
        if number % 3 == 2 {
            let _ = log.cut().expect("cuts");
        }
    }
    log.close().expect("closes");
    files(&sim)
}

fn files(sim: &SimFs) -> Files {
    files_with(sim, &["tlog", "free"])
}

fn segment(number: u32) -> PathBuf {
    Path::new(DIR).join(format!("{number:08}.tlog"))
}

type Lose = fn(&mut Files, &Path);

/// Ways to lose the records of a segment.
const WAYS: [(&str, Lose); 5] = [
    ("removed", |files, path| drop(files.remove(path))),
    ("emptied", |files, path| files.get_mut(path).expect("is there").clear()),
    ("cut to its head", |files, path| files.get_mut(path).expect("is there").truncate(HEAD_BYTES)),
    ("zeroed after its head", |files, path| files.get_mut(path).expect("is there")[HEAD_BYTES..].fill(0)),
    ("zeroed", |files, path| files.get_mut(path).expect("is there").fill(0)),
];

/// Opens in strict mode and expects that records `first` to `last` are missing before the segment `path`.
fn refuses(sim: &SimFs, first: u64, last: u64, path: &Path) {
    let before = files(sim);
    let error = open(sim, RecoveryMode::Strict).map(drop).expect_err("records are missing");
    assert!(
        matches!(error.kind(), ErrorKind::Missing { first: a, last: b } if (*a, *b) == (first, last)),
        "{error}"
    );
    assert_eq!(error.path(), Some(path), "{error}");
    assert_eq!(files(sim), before, "nothing was changed");
}

/// Story: a segment in the middle was emptied, cut to its head, or missing. The log opened without an error, and the next
/// snapshot made the loss permanent.
#[test]
fn a_segment_that_lost_its_records_is_detected() {
    let complete = five();
    for (number, (what, lose)) in (1..5).flat_map(|number| WAYS.map(|loss| (number, loss))) {
        let mut lost = complete.clone();
        lose(&mut lost, &segment(number));
        let first = u64::from(number - 1) * 3;
        refuses(&disk_with(&lost), first, first + 2, &segment(number + 1));
        {
            let sim = disk_with(&lost);
            let (log, seen, recovery) = open(&sim, RecoveryMode::Salvage).expect("opens");
            let rest: Vec<u64> = (0..15).filter(|n| !(first..first + 3).contains(n)).collect();
            assert_eq!(seen, rest, "segment {number} {what}");
            assert!(recovery.missing().eq(std::iter::once(first..first + 3)), "segment {number} {what}");
            assert!(recovery.gaps.len() == 1 && recovery.gaps[0].kind != GapKind::TornTail, "{recovery:?}");
            assert_eq!(recovery.gaps[0].path, segment(number + 1));
            // The log continues after the last record. The gap is reported until it is truncated.
            put(&log, 15).expect("puts");
            let cut = log.cut().expect("cuts");
            refuses(&sim.kill(), first, first + 2, &segment(number + 1));
            log.truncate_front(cut).expect("truncates");
            put(&log, 16).expect("puts");
            log.close().expect("closes");
            let (_, seen, recovery) = open(&sim, RecoveryMode::Strict).expect("opens");
            assert!(seen == [16] && recovery.missing().next().is_none(), "segment {number} {what}: {seen:?}");
        }
    }
}

/// Two lost segments and a corrupt record are three gaps.
#[test]
fn salvage_reports_missing_records() {
    let mut files = five();
    files.remove(&segment(2));
    let of_third = files.get_mut(&segment(3)).expect("is there");
    of_third[HEAD_BYTES + RECORD_BYTES + 48 + RECORD_BYTES + 20] ^= 1;
    files.get_mut(&segment(4)).expect("is there").clear();
    let (_, seen, recovery) = open(&disk_with(&files), RecoveryMode::Salvage).expect("opens");
    assert_eq!(seen, [0, 1, 2, 6, 8, 12, 13, 14]);
    assert!(recovery.missing().eq([3..6, 7..8, 9..12]), "{recovery:?}");
    assert_eq!(recovery.gaps.len(), 3);
}

/// Only the newest segment says where the log ends, so its loss cannot be detected.
#[test]
fn the_newest_segment_may_be_empty() {
    for (what, lose) in WAYS {
        let mut lost = five();
        lose(&mut lost, &segment(5));
        let sim = disk_with(&lost);
        for _ in 0..3 {
            let (log, seen, _) = open(&sim, RecoveryMode::Strict).expect("opens");
            assert_eq!(seen, (0..12).collect::<Vec<_>>(), "{what}");
            log.close().expect("closes");
        }
        let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
        put(&log, 12).expect("puts");
        log.close().expect("closes");
        let (_, seen, _) = open(&sim, RecoveryMode::Strict).expect("opens");
        assert_eq!(seen, (0..13).collect::<Vec<_>>(), "{what}");
    }
}

/// A copy of a segment under another number has the wrong head. A segment of another log repeats record numbers.
#[test]
fn a_segment_of_another_log_is_refused() {
    let complete = five();
    let mut copied = complete.clone();
    copied.insert(segment(9), complete[&segment(3)].clone());
    let mut repeated = complete.clone();
    let sim = SimFs::default();
    for _ in 0..2 {
        let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
        put(&log, 0).expect("puts");
        log.close().expect("closes");
    }
    repeated.insert(segment(2), files(&sim)[&segment(2)].clone());
    for (files, bad) in [(copied, 9), (repeated, 2)] {
        let sim = disk_with(&files);
        let error = open(&sim, RecoveryMode::Strict).map(drop).expect_err("is corrupt");
        assert!(matches!(error.kind(), ErrorKind::CorruptSegment { .. }), "{error}");
        assert_eq!(error.path(), Some(&*segment(bad)), "{error}");
        assert_eq!(self::files(&sim), files);
        let (_, _, recovery) = open(&sim, RecoveryMode::Salvage).expect("opens");
        assert_eq!(recovery.gaps[0].path, segment(bad));
    }
    // This is also detected as corruption, not a torn tail, if the file is read alone.
    let sim = disk_with(&Files::from([(segment(9), complete[&segment(3)].clone())]));
    let recovery = replay_segment(&sim, &segment(9), ReplayMode::InfluxDb, |_| Ok(())).expect("reads");
    assert!(recovery.records == 0 && recovery.gaps[0].kind != GapKind::TornTail, "{recovery:?}");
}

/// Truncated records are not missing, even if few files are left that say so. Records after them are.
#[test]
fn the_truncated_front_is_not_missing() {
    let sim = disk_with(&five());
    let mut next = 15;
    for round in 0..12u32 {
        let (log, seen, _) = open(&sim, RecoveryMode::Strict).expect("opens");
        let cut = log.cut().expect("cuts");
        for _ in 0..2 {
            put(&log, next).expect("puts");
            next += 1;
        }
        log.truncate_front(cut).expect("truncates");
        log.close().expect("closes");
        let (log, rest, _) = open(&sim, RecoveryMode::Strict).expect("opens");
        assert_eq!(rest, [next - 2, next - 1], "round {round} after {seen:?}");
        // A further segment, so that there is one in the middle.
        put(&log, next).expect("puts");
        next += 1;
        log.close().expect("closes");
        let mut lost = files(&sim);
        let tlog = |path: &&PathBuf| path.extension().is_some_and(|end| end == "tlog");
        let tlogs: Vec<PathBuf> = lost.keys().filter(tlog).cloned().collect();
        lost.remove(&tlogs[0]);
        refuses(&disk_with(&lost), next - 3, next - 2, &tlogs[1]);
        assert!(files(&sim).len() < 8, "surplus files are removed");
    }
}

/// Story: on a full disk the log removes its recycled segments. Only their names said that the first records had been
/// truncated, so these records were reported as missing.
#[test]
fn a_full_disk_makes_no_record_missing() {
    for space in (0..9_000).step_by(250) {
        let sim = disk_with(&five());
        let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
        let cut = log.cut().expect("cuts");
        put(&log, 15).expect("puts");
        log.truncate_front(cut).expect("truncates");
        sim.set_space(Some(space));
        let mut kept = vec![15];
        for number in 16..120 {
            match put(&log, number) {
                Ok(()) => kept.push(number),
                Err(error) => assert!(error.is_full(), "{error}"),
            }
        }
        for seed in 0..4 {
            let (_, seen, _) = open(&sim.crash(seed), RecoveryMode::Strict).expect("opens");
            assert_eq!(seen, kept, "space {space}");
        }
    }
}

/// Opens, appends, rolls and truncates, until something fails. Returns the numbers of the records that must be recovered.
fn script(sim: &SimFs, from: u64) -> Vec<u64> {
    let Ok((log, mut acknowledged, _)) = open(sim, RecoveryMode::Strict) else { return Vec::new() };
    let mut go = || -> tsmith_wal::Result<()> {
        for number in from..from + 4 {
            put(&log, number)?;
            acknowledged.push(number);
        }
        let cut = log.cut()?;
        put(&log, from + 4)?;
        acknowledged.push(from + 4);
        // A record that may be truncated need not be recovered.
        let _ = acknowledged.drain(..acknowledged.len() - 1);
        log.truncate_front(cut)
    };
    drop(go());
    acknowledged
}

/// A process is killed at any operation, and a second one continues until a power cut at any of its operations. The renames
/// of the first process are not durable yet when the second one writes to the renamed files.
#[test]
fn a_power_cut_after_a_kill_makes_no_record_missing() {
    let complete = SimFs::default();
    drop(script(&complete, 0));
    drop(script(&complete, 5));
    for died in 1..=complete.operations() {
        let sim = SimFs::default();
        sim.stop_at(died);
        drop(script(&sim, 0));
        drop(script(&sim, 5));
        let died_image = sim.kill();
        let second = died_image.kill();
        drop(script(&second, 10));
        for stop in 1..=second.operations() + 1 {
            let sim = died_image.kill();
            sim.stop_at(stop);
            let acknowledged = script(&sim, 10);
            for seed in 0..3 {
                let image = sim.crash(seed * 1000 + stop);
                let opened = open(&image, RecoveryMode::Strict);
                let (_, seen, _) =
                    opened.unwrap_or_else(|error| panic!("died {died}, stop {stop}, seed {seed}: {error}"));
                assert!(
                    acknowledged.iter().all(|number| seen.contains(number)),
                    "died {died}, stop {stop}, seed {seed}: {acknowledged:?} in {seen:?}"
                );
                assert!(seen.is_sorted(), "died {died}, stop {stop}, seed {seed}: {seen:?}");
            }
        }
    }
}

/// After a fault during a truncation, the log opens with or without the truncated records.
#[test]
fn a_fault_while_truncating_makes_no_record_missing() {
    let complete = disk_with(&five());
    drop(script(&complete, 15));
    for (at, fault) in (1..=complete.operations()).flat_map(|at| [(at, Fault::Io), (at, Fault::Full)]) {
        let sim = disk_with(&five());
        sim.fail_at(at, fault);
        drop(script(&sim, 15));
        for seed in 0..3 {
            let opened = open(&sim.crash(seed), RecoveryMode::Strict);
            assert!(opened.is_ok(), "{fault:?} at {at}, seed {seed}: {:?}", opened.err());
        }
    }
}

/// Checks `a_power_cut_after_a_kill_makes_no_record_missing`: it detects every missing sync of an open after a kill.
#[test]
fn a_missing_sync_of_an_open_is_detected() {
    let complete = SimFs::default();
    drop(script(&complete, 0));
    drop(script(&complete, 5));
    let (mut seen, mut detected) = (Vec::new(), Vec::new());
    for died in 1..=complete.operations() {
        let sim = SimFs::default();
        sim.stop_at(died);
        drop(script(&sim, 0));
        drop(script(&sim, 5));
        let second = sim.kill();
        drop(open(&second, RecoveryMode::Strict).expect("opens"));
        for sync in (1..=second.operations()).filter(|at| second.operation(*at).is_some_and(is_sync)) {
            let kind = (second.operation(sync - 1), second.operation(sync));
            if detected.contains(&kind) {
                continue;
            }
            seen.push(kind);
            let is_lost = |stop, seed| {
                let sim = sim.kill();
                sim.fail_at(sync, Fault::IgnoredSync);
                sim.stop_at(stop);
                let acknowledged = script(&sim, 10);
                let opened = open(&sim.crash(seed), RecoveryMode::Strict);
                opened.map_or(true, |(_, seen, _)| !acknowledged.iter().all(|number| seen.contains(number)))
            };
            if (sync + 1..sync + 25).any(|stop| (0..8).any(|seed| is_lost(stop, seed * 1000 + stop))) {
                detected.push(kind);
            }
        }
    }
    seen.sort_unstable();
    seen.dedup();
    detected.sort_unstable();
    assert_eq!(seen, detected);
}
