//! What holds the segments of the native log together: a missing or emptied one is detected, and a crash never looks like one.

mod support;

use std::path::{Path, PathBuf};

use tsmith_wal::native::{HEAD_BYTES, RECORD_BYTES};
use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::{
    ErrorKind, GapKind, Log, LogOptions, NativeLog, Recovery, RecoveryMode, ReplayMode, replay_segment,
};

use support::{Files, disk_with, files_with, is_sync, open_numbered, put_numbered as put};

const DIR: &str = "/wal";

fn open(sim: &SimFs, mode: RecoveryMode) -> tsmith_wal::Result<(NativeLog<SimFs>, Vec<u64>, Recovery)> {
    open_numbered(sim, Path::new(DIR), LogOptions::default().segment_bytes(2048).recovery(mode))
}

/// Records 0 to 14, three in each of five segments, closed.
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

/// Ways to lose what a segment holds.
const WAYS: [(&str, Lose); 5] = [
    ("removed", |files, path| drop(files.remove(path))),
    ("emptied", |files, path| files.get_mut(path).expect("is there").clear()),
    ("cut to its head", |files, path| files.get_mut(path).expect("is there").truncate(HEAD_BYTES)),
    ("zeroed behind its head", |files, path| files.get_mut(path).expect("is there")[HEAD_BYTES..].fill(0)),
    ("zeroed", |files, path| files.get_mut(path).expect("is there").fill(0)),
];

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

/// Story: a segment in the middle that was emptied, cut to its head or gone was not noticed: the log opened, and the
/// next snapshot made the loss permanent.
#[test]
fn a_segment_that_lost_its_records_is_detected() {
    let whole = five();
    for (number, (what, lose)) in (1..5).flat_map(|number| WAYS.map(|loss| (number, loss))) {
        let mut lost = whole.clone();
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
            log.truncate_front(cut).expect("forgets");
            put(&log, 16).expect("puts");
            log.close().expect("closes");
            let (_, seen, recovery) = open(&sim, RecoveryMode::Strict).expect("opens");
            assert!(seen == [16] && recovery.missing().next().is_none(), "segment {number} {what}: {seen:?}");
        }
    }
}

/// Two gaps, and one within a segment: each is reported separately.
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

/// Where a log ends is nowhere else said.
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

/// A file from elsewhere: under another number its head is not right, and an older one repeats records.
#[test]
fn a_segment_from_elsewhere_is_no_part_of_the_log() {
    let whole = five();
    let mut copied = whole.clone();
    copied.insert(segment(9), whole[&segment(3)].clone());
    let mut repeated = whole.clone();
    let sim = SimFs::default();
    for _ in 0..2 {
        let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
        put(&log, 0).expect("puts");
        log.close().expect("closes");
    }
    repeated.insert(segment(2), files(&sim)[&segment(2)].clone());
    for (files, bad) in [(copied, 9), (repeated, 2)] {
        let sim = disk_with(&files);
        let error = open(&sim, RecoveryMode::Strict).map(drop).expect_err("damage");
        assert!(matches!(error.kind(), ErrorKind::CorruptSegment { .. }), "{error}");
        assert_eq!(error.path(), Some(&*segment(bad)), "{error}");
        assert_eq!(self::files(&sim), files);
        let (_, _, recovery) = open(&sim, RecoveryMode::Salvage).expect("opens");
        assert_eq!(recovery.gaps[0].path, segment(bad));
    }
    // A single file also shows that it is corruption and not a torn write.
    let sim = disk_with(&Files::from([(segment(9), whole[&segment(3)].clone())]));
    let recovery = replay_segment(&sim, &segment(9), ReplayMode::InfluxDb, |_| Ok(())).expect("reads");
    assert!(recovery.records == 0 && recovery.gaps[0].kind != GapKind::TornTail, "{recovery:?}");
}

/// What was forgotten is not missed, however few files are left to say so; what comes next is.
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
        log.truncate_front(cut).expect("forgets");
        log.close().expect("closes");
        let (log, rest, _) = open(&sim, RecoveryMode::Strict).expect("opens");
        assert_eq!(rest, [next - 2, next - 1], "round {round} after {seen:?}");
        // A segment of its own, so that there is one in the middle.
        put(&log, next).expect("puts");
        next += 1;
        log.close().expect("closes");
        let mut lost = files(&sim);
        let tlog = |path: &&PathBuf| path.extension().is_some_and(|end| end == "tlog");
        let tlogs: Vec<PathBuf> = lost.keys().filter(tlog).cloned().collect();
        lost.remove(&tlogs[0]);
        refuses(&disk_with(&lost), next - 3, next - 2, &tlogs[1]);
        assert!(files(&sim).len() < 8, "surplus files go");
    }
}

/// Story: on a full disk the files that are kept for later segments go, and with them went what told that the front had
/// been forgotten.
#[test]
fn a_full_disk_makes_no_record_missing() {
    for space in (0..9_000).step_by(250) {
        let sim = disk_with(&five());
        let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
        let cut = log.cut().expect("cuts");
        put(&log, 15).expect("puts");
        log.truncate_front(cut).expect("forgets");
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

/// Opens, writes, ends segments and forgets twice, until something fails; gives what must be there, at least.
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
        // What may be forgotten need not be there.
        let _ = acknowledged.drain(..acknowledged.len() - 1);
        log.truncate_front(cut)
    };
    drop(go());
    acknowledged
}

/// A process dies at any operation, another one goes on in its files, and at any operation of that the power goes: what
/// the first had done to names is not durable when the second writes to the space they stand for.
#[test]
fn a_power_cut_after_a_kill_makes_no_record_missing() {
    let whole = SimFs::default();
    drop(script(&whole, 0));
    drop(script(&whole, 5));
    for died in 1..=whole.operations() {
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

/// A fault while the front is forgotten leaves it forgotten or not.
#[test]
fn a_fault_while_truncating_makes_no_record_missing() {
    let whole = disk_with(&five());
    drop(script(&whole, 15));
    for (at, fault) in (1..=whole.operations()).flat_map(|at| [(at, Fault::Io), (at, Fault::Full)]) {
        let sim = disk_with(&five());
        sim.fail_at(at, fault);
        drop(script(&sim, 15));
        for seed in 0..3 {
            let opened = open(&sim.crash(seed), RecoveryMode::Strict);
            assert!(opened.is_ok(), "{fault:?} at {at}, seed {seed}: {:?}", opened.err());
        }
    }
}

/// Checks the test before the last: it detects a missing sync when a log is opened after a process died.
#[test]
fn what_opening_syncs_is_noticed_when_missing() {
    let whole = SimFs::default();
    drop(script(&whole, 0));
    drop(script(&whole, 5));
    let (mut seen, mut noticed) = (Vec::new(), Vec::new());
    for died in 1..=whole.operations() {
        let sim = SimFs::default();
        sim.stop_at(died);
        drop(script(&sim, 0));
        drop(script(&sim, 5));
        let second = sim.kill();
        drop(open(&second, RecoveryMode::Strict).expect("opens"));
        for sync in (1..=second.operations()).filter(|at| second.operation(*at).is_some_and(is_sync)) {
            let kind = (second.operation(sync - 1), second.operation(sync));
            if noticed.contains(&kind) {
                continue;
            }
            seen.push(kind);
            let missed = |stop, seed| {
                let sim = sim.kill();
                sim.fail_at(sync, Fault::IgnoredSync);
                sim.stop_at(stop);
                let acknowledged = script(&sim, 10);
                let opened = open(&sim.crash(seed), RecoveryMode::Strict);
                opened.map_or(true, |(_, seen, _)| !acknowledged.iter().all(|number| seen.contains(number)))
            };
            if (sync + 1..sync + 25).any(|stop| (0..8).any(|seed| missed(stop, seed * 1000 + stop))) {
                noticed.push(kind);
            }
        }
    }
    seen.sort_unstable();
    seen.dedup();
    noticed.sort_unstable();
    assert_eq!(seen, noticed);
}
