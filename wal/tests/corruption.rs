//! Segments in InfluxDB's format: cut at every length, with every bit flipped, and under unusual names.

mod support;

use std::path::Path;

use tsmith_wal::fs::Fs;
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::influx::{MARK_BYTES, file_name, mark_len, parse_name};
use tsmith_wal::testing::{Replayed, ScrambledFs, noise, open_keeping};
use tsmith_wal::{
    ErrorKind, FileLog, Log, LogOptions, Record, RecordKind, Recovery, RecoveryMode, ReplayMode, replay_only,
};

use support::{influxdb_segment as theirs, put_file};

const DIR: &str = "/wal";

/// A sealed segment of ours with three groups of several records.
fn ours() -> Vec<u8> {
    let sim = SimFs::default();
    let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
    for number in 0..3u64 {
        for len in 0..=number {
            let _ = log.append(Record::write(&noise(number * 10 + len, 30))).expect("appends");
        }
        let at = log.append(Record::delete_range(b"abc")).expect("appends");
        let _ = log.sync(at).expect("syncs");
    }
    log.close().expect("closes");
    sim.read(&Path::new(DIR).join("_00001.wal")).expect("reads")
}

fn put(sim: &SimFs, name: &str, bytes: &[u8]) {
    put_file(sim, &Path::new(DIR).join(name), bytes);
}

fn open<F: Fs>(fs: &F, mode: RecoveryMode) -> tsmith_wal::Result<(FileLog<F>, Vec<Replayed>, Recovery)> {
    open_keeping(
        fs.clone(),
        Path::new(DIR),
        LogOptions { recovery: mode, segment_bytes: 4096, ..LogOptions::default() },
    )
}

fn load(bytes: &[u8], mode: RecoveryMode) -> tsmith_wal::Result<(Vec<Replayed>, Recovery)> {
    let sim = SimFs::default();
    put(&sim, "_00001.wal", bytes);
    let (log, seen, recovery) = open(&sim, mode)?;
    drop(log);
    let (_, again, second) = open(&sim, mode)?;
    assert_eq!(again, seen, "a second recovery gives the same records");
    assert!(second.gaps.is_empty(), "the torn tail is cut");
    Ok((seen, recovery))
}

fn as_influxdb(bytes: &[u8]) -> tsmith_wal::Result<Recovery> {
    let sim = SimFs::default();
    put(&sim, "_00001.wal", bytes);
    replay_only(&sim, Path::new(DIR), ReplayMode::InfluxDb, |_, _| Ok(()))
}

#[test]
fn a_cut_segment_gives_the_frames_before_the_cut() {
    for intact in [ours(), theirs()] {
        let (all, _) = load(&intact, RecoveryMode::Strict).expect("opens");
        for len in 0..intact.len() {
            let (seen, recovery) = load(&intact[..len], RecoveryMode::Strict).expect("a torn tail");
            assert_eq!(seen, all[..seen.len()], "cut at {len}");
            let last = seen.last().map_or(0, |(at, ..)| at.0 & 0xffff_ffff);
            assert!(last <= len as u64);
            let cut = recovery.gaps.first().map_or(len as u64, |gap| gap.offset);
            assert!(cut >= last, "no intact frame is cut");
        }
    }
}

#[test]
fn a_bit_flip_in_ours_gives_no_other_record() {
    let intact = ours();
    let (all, _) = load(&intact, RecoveryMode::Strict).expect("opens");
    for (at, bit) in (0..intact.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bytes = intact.clone();
        bytes[at] ^= 1 << bit;
        match load(&bytes, RecoveryMode::Strict) {
            Ok((seen, recovery)) => {
                assert_eq!(seen, all[..seen.len()], "byte {at} bit {bit}");
                assert!(
                    seen.len() == all.len() || recovery.gaps.len() == 1,
                    "byte {at} bit {bit}: the loss is not reported"
                );
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::CorruptSegment { .. }), "{error}");
                assert!(error.offset().is_some_and(|offset| offset <= at as u64), "{error}");
            }
        }
        drop(as_influxdb(&bytes));
    }
}

/// Story: after a clean close, nothing in the last segment said that its last group was synced. So recovery took a flipped
/// bit in that group for a torn write and cut the group.
#[test]
fn a_flip_at_the_end_of_a_closed_log_is_corruption() {
    let intact = ours();
    let (mut at, mut groups) = (0, Vec::new());
    while let Some(len) = mark_len(&intact[at..]) {
        let end = at + MARK_BYTES + len;
        groups.push(at..end);
        at = end;
    }
    let [.., group, end] = &groups[..] else { panic!("expected a group and the mark at the end") };
    assert_eq!((end.len(), end.end), (MARK_BYTES, intact.len()));
    for (at, bit) in group.clone().flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bytes = intact.clone();
        bytes[at] ^= 1 << bit;
        let sim = SimFs::default();
        put(&sim, "_00001.wal", &bytes);
        let error = open(&sim, RecoveryMode::Strict).map(drop).expect_err("is corrupt");
        assert!(matches!(error.kind(), ErrorKind::CorruptSegment { .. }), "byte {at} bit {bit}: {error}");
        assert_eq!(error.path(), Some(Path::new("/wal/_00001.wal")));
        let offset = error.offset().expect("an offset");
        assert!((group.start as u64..=at as u64).contains(&offset), "byte {at} bit {bit}: {error}");
        assert_eq!(sim.read(Path::new("/wal/_00001.wal")).expect("reads"), bytes);
    }
}

/// No segment consists of marks only, however often the log is opened and closed.
#[test]
fn an_empty_segment_stays_empty() {
    let sim = SimFs::default();
    for round in 0..6 {
        let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
        if round == 2 {
            let _ = log.append(Record::write(b"one")).expect("appends");
        }
        let _ = log.cut().expect("cuts");
        let _ = log.cut().expect("cuts");
        log.close().expect("closes");
    }
    let files = sim.snapshot();
    let files = files.iter().filter(|(path, _)| path.extension().is_some_and(|extension| extension == "wal"));
    let lens: Vec<usize> = files.map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(lens.iter().filter(|len| **len > 0).count(), 1, "{lens:?}");
    assert!(lens.len() <= 2, "{lens:?}");
}

#[test]
fn a_bit_flip_in_influxdbs_keeps_earlier_frames() {
    let intact = theirs();
    let (all, _) = load(&intact, RecoveryMode::Strict).expect("opens");
    for (at, bit) in (0..intact.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bytes = intact.clone();
        bytes[at] ^= 1 << bit;
        let intact = all.iter().take_while(|(end, ..)| (end.0 & 0xffff_ffff) <= at as u64).count();
        match load(&bytes, RecoveryMode::Strict) {
            Ok((seen, recovery)) => {
                assert_eq!(seen[..intact], all[..intact], "byte {at} bit {bit}");
                assert!(
                    seen.len() == all.len() || recovery.gaps.len() == 1,
                    "byte {at} bit {bit}: the loss is not reported"
                );
            }
            Err(error) => assert!(matches!(error.kind(), ErrorKind::CorruptSegment { .. }), "{error}"),
        }
    }
}

/// Law: reading any bytes ends, and uses no more memory than the bytes justify.
#[test]
fn any_bytes_are_read_or_refused() {
    for seed in 0..300u64 {
        let mut bytes = noise(seed, (seed * 7 % 900) as usize);
        // Valid kinds and lengths, so that reading continues after the first byte.
        for at in (0..bytes.len().saturating_sub(5)).step_by(37) {
            bytes[at..at + 5].copy_from_slice(&[(at % 3) as u8 + 1, 0, 0, 0, (at % 50) as u8]);
        }
        drop(load(&bytes, RecoveryMode::Strict));
        drop(as_influxdb(&bytes));
    }
    // A snappy block of seven bytes that claims four gigabytes.
    let bomb = [1, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let (seen, recovery) = load(&bomb, RecoveryMode::Strict).expect("a torn tail");
    assert!(seen.is_empty() && recovery.gaps.len() == 1);
}

/// Story: InfluxDB sorts segments as strings. So it reads `_100000` before `_99999` and applies deletes before earlier writes.
#[test]
fn segments_are_in_order_of_their_numbers() {
    assert_eq!(file_name(7), "_00007.wal");
    assert_eq!(parse_name(file_name(123_456).as_ref()), Some(123_456));
    for strange in [
        "_7.wal",
        "_000007.wal",
        "_0000a.wal",
        "_4294967296.wal",
        "00007.wal",
        "_00007.wal.tmp",
        "_+0007.wal",
    ] {
        assert_eq!(parse_name(strange.as_ref()), None, "{strange}");
    }
    let sim = SimFs::default();
    put(&sim, "_100000.wal", &theirs());
    let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
    let at = log.append(Record { kind: RecordKind::Write, payload: b"last" }).expect("appends");
    assert_eq!(at.0 >> 32, 100_001);
    log.close().expect("closes");
    put(&sim, "_99999.wal", &ours());
    let error =
        open(&sim, RecoveryMode::Strict).map(drop).expect_err("the group of number 1 is not valid in 99999");
    assert_eq!(error.path(), Some(Path::new("/wal/_99999.wal")));
}

/// A copy of a group in another segment is not valid, although its mark is copied too.
#[test]
fn a_group_is_valid_only_in_its_own_segment() {
    let bytes = ours();
    let count = |name| {
        let sim = SimFs::default();
        put(&sim, name, &bytes);
        let read = replay_only(&sim, Path::new(DIR), ReplayMode::InfluxDb, |_, _| Ok(()));
        read.expect("reads").records
    };
    assert!(count("_00001.wal") > 3);
    assert_eq!(count("_00002.wal"), 0);
}

/// All bytes pass through the given `Fs`: they are scrambled on disk.
#[test]
fn the_log_uses_only_the_given_file_system() {
    let (sim, payload) = (SimFs::default(), noise(1, 500));
    let scrambled = ScrambledFs::new(sim.clone());
    for round in 0..3 {
        let (log, seen, _) = open(&scrambled, RecoveryMode::Strict).expect("opens");
        assert_eq!(seen.len(), round);
        assert!(seen.iter().all(|(_, _, back)| *back == payload));
        let at = log.append(Record::write(&payload)).expect("appends");
        let _ = log.sync(at).expect("syncs");
    }
    assert!(sim.snapshot().values().all(|bytes| !bytes.windows(50).any(|window| window == &payload[..50])));
}
