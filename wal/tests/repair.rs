//! Repair: a repaired segment holds the records that a salvage keeps, and the corrupt segment is quarantined.

use std::path::Path;

use tsmith_wal::fs::{Fs, FsFile};
use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::testing::{Replayed, noise, open_keeping};
use tsmith_wal::{
    ErrorKind, FileLog, Log, LogOptions, NativeLog, Record, RecordKind, RecoveryMode, Refusal, repair,
    repair_for,
};

const DIR: &str = "/wal";

fn options(mode: RecoveryMode) -> LogOptions {
    LogOptions { recovery: mode, segment_bytes: 4096, ..LogOptions::default() }
}

fn open<L: Log<Fs = SimFs>>(fs: &SimFs, mode: RecoveryMode) -> tsmith_wal::Result<(L, Vec<Replayed>)> {
    open_keeping(fs.clone(), Path::new(DIR), options(mode)).map(|(log, seen, _)| (log, seen))
}

/// Kinds and payloads. Positions change when a record is skipped.
fn records(seen: &[Replayed]) -> Vec<(RecordKind, Vec<u8>)> {
    seen.iter().map(|(_, kind, payload)| (*kind, payload.clone())).collect()
}

/// A closed log of two segments. The first has three groups.
fn two_segments<L: Log<Fs = SimFs>>() -> SimFs {
    let fs = SimFs::default();
    let (log, _) = open::<L>(&fs, RecoveryMode::Strict).expect("opens");
    for number in 0..4_u64 {
        for len in 0..=number % 3 {
            let _ = log.append(Record::write(&noise(number * 10 + len, 30))).expect("appends");
        }
        let at = log.append(Record::delete_range(&noise(number, 24))).expect("appends");
        let _ = log.sync(at).expect("syncs");
        if number == 2 {
            let _ = log.cut().expect("cuts");
        }
    }
    log.close().expect("closes");
    fs
}

fn with(fs: &SimFs, path: &Path, bytes: &[u8]) -> SimFs {
    let fs = fs.kill();
    let file = fs.open(path).expect("exists");
    file.set_len(0)
        .and_then(|()| file.write_all_at(bytes, 0))
        .and_then(|()| file.sync_all())
        .expect("writes");
    fs
}

/// Repairs the first segment with a flipped bit at each byte.
fn sweep<L: Log<Fs = SimFs>>(first: &str) {
    let intact = two_segments::<L>();
    let path = Path::new(DIR).join(first);
    let good = intact.read(&path).expect("exists");
    let mut repaired = 0;
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        let fs = with(&intact, &path, &bytes);
        let Ok((log, wanted)) = open::<L>(&fs.kill(), RecoveryMode::Salvage) else { continue };
        drop(log);
        let before = fs.snapshot();
        let planned = repair(&fs, Path::new(DIR), None, true).expect("repairs");
        assert_eq!(fs.snapshot(), before, "byte {at}: a dry run changes nothing");
        let done = repair(&fs, Path::new(DIR), None, false).expect("repairs");
        assert_eq!(done, planned, "byte {at}: the dry run reports what repair does");
        let (log, seen) = open::<L>(&fs, RecoveryMode::Strict).unwrap_or_else(|e| panic!("byte {at}: {e}"));
        drop(log);
        assert_eq!(records(&seen), records(&wanted), "byte {at}");
        let Some(copy) = done.first().and_then(|repair| repair.quarantined.as_ref()) else { continue };
        repaired += 1;
        assert_eq!(fs.read(copy).expect("reads"), bytes, "byte {at}: the corrupt segment is kept");
        let again = repair(&fs, Path::new(DIR), None, false).expect("repairs");
        assert_eq!(again, [], "byte {at}: nothing is left to repair");
    }
    assert!(repaired > good.len() / 2, "{repaired} of {}", good.len());
}

#[test]
fn influxdb_segments_are_repaired_at_any_byte() {
    sweep::<FileLog<SimFs>>("_00001.wal");
}

#[test]
fn native_segments_are_repaired_at_any_byte() {
    sweep::<NativeLog<SimFs>>("00000001.tlog");
}

/// A crash at any operation of a repair leaves the segment repaired or unchanged, and the repair can be repeated.
#[test]
fn a_crash_in_a_repair_loses_nothing() {
    let intact = two_segments::<FileLog<SimFs>>();
    let path = Path::new(DIR).join("_00001.wal");
    let mut bytes = intact.read(&path).expect("exists");
    bytes[60] ^= 4;
    let corrupt = with(&intact, &path, &bytes);
    let (log, wanted) = open::<FileLog<SimFs>>(&corrupt.kill(), RecoveryMode::Salvage).expect("opens");
    drop(log);
    let run = corrupt.kill();
    repair(&run, Path::new(DIR), None, false).expect("repairs");
    for stop in 1..=run.operations() {
        for seed in 0..4 {
            let fs = corrupt.kill();
            fs.stop_at(stop);
            let _ended = repair(&fs, Path::new(DIR), None, false);
            let fs = fs.crash(seed);
            repair(&fs, Path::new(DIR), None, false).expect("repairs again");
            let (log, seen) = open::<FileLog<SimFs>>(&fs, RecoveryMode::Strict).expect("opens");
            drop(log);
            assert_eq!(records(&seen), records(&wanted), "stopped at {stop}, seed {seed}");
            let kept = fs
                .snapshot()
                .into_iter()
                .any(|(name, content)| name.to_string_lossy().ends_with(".bad") && content == bytes);
            assert!(kept, "stopped at {stop}, seed {seed}: the corrupt segment is kept");
        }
        // Story: a repair was killed, or the disk was full. The next repair left a temporary file or a second copy of the
        // corrupt segment.
        let fs = corrupt.kill();
        fs.stop_at(stop);
        let _ended = repair(&fs, Path::new(DIR), None, false);
        let fs = fs.kill();
        repair(&fs, Path::new(DIR), None, false).expect("repairs again");
        assert_eq!(fs.snapshot(), run.snapshot(), "killed at {stop}");
        for fault in [Fault::Io, Fault::Full] {
            let fs = corrupt.kill();
            fs.fail_at(stop, fault);
            let done = repair(&fs, Path::new(DIR), None, false);
            if done.is_err() {
                let left = fs.snapshot();
                assert!(
                    left == corrupt.snapshot() || left == run.snapshot(),
                    "{fault:?} at {stop}: {left:?}"
                );
            }
            fs.heal();
            repair(&fs, Path::new(DIR), None, false).expect("repairs again");
            assert_eq!(fs.snapshot(), run.snapshot(), "{fault:?} at {stop}");
        }
    }
}

/// Story: a copy of a shard was on a read-only file system and still had its lock file. A dry run tried to write to that file.
#[test]
fn a_dry_run_does_not_write_the_lock_file() {
    for lock in [true, false] {
        let fs = two_segments::<FileLog<SimFs>>();
        if !lock {
            fs.remove(&Path::new(DIR).join("wal.lock")).expect("exists");
        }
        let path = Path::new(DIR).join("_00001.wal");
        let mut bytes = fs.read(&path).expect("exists");
        bytes[60] ^= 4;
        let fs = with(&fs, &path, &bytes);
        let before = fs.operations();
        assert_eq!(repair(&fs, Path::new(DIR), None, true).expect("repairs").len(), 1);
        for number in before + 1..=fs.operations() {
            let operation = fs.operation(number).expect("an operation");
            assert!(["list", "open_read", "read_at", "try_lock"].contains(&operation), "{operation}");
        }
    }
}

/// A single segment, copied from its log, is repaired without a new lock file beside it.
#[test]
fn repair_of_one_segment_creates_no_lock_file() {
    let fs = two_segments::<FileLog<SimFs>>();
    fs.remove(&Path::new(DIR).join("wal.lock")).expect("exists");
    let path = Path::new(DIR).join("_00001.wal");
    let mut bytes = fs.read(&path).expect("exists");
    bytes[60] ^= 4;
    let fs = with(&fs, &path, &bytes);
    assert_eq!(repair(&fs, Path::new(DIR), Some("_00001.wal"), false).expect("repairs").len(), 1);
    let names = fs.list(Path::new(DIR)).expect("lists");
    assert!(names.contains(&"_00001.wal.bad".into()) && !names.contains(&"wal.lock".into()), "{names:?}");
}

/// Story: every record of a log passed its checks, but no engine could replay two of them. Repair reported no problem.
#[test]
fn repair_drops_and_reports_refused_records() {
    fn check<L: Log<Fs = SimFs>>() {
        let fs = two_segments::<L>();
        let (log, seen) = open::<L>(&fs, RecoveryMode::Strict).expect("opens");
        drop(log);
        let fs = fs.kill();
        let refuse_two = || {
            let mut number = 0;
            move |_, _: Record<'_>, _| {
                number += 1;
                let refusal = |instead| Refusal { instead, reason: format!("number {number}") };
                match number {
                    2 => Err(refusal(None)),
                    4 => Err(refusal(Some(noise(99, 24)))),
                    _ => Ok(()),
                }
            }
        };
        let before = fs.snapshot();
        let planned = repair_for(&fs, Path::new(DIR), None, true, refuse_two()).expect("repairs");
        assert_eq!(fs.snapshot(), before);
        let done = repair_for(&fs, Path::new(DIR), None, false, refuse_two()).expect("repairs");
        assert_eq!(done, planned);
        assert_eq!((done.len(), done[0].gaps.len(), done[0].refused.len()), (1, 0, 2));
        assert_eq!((done[0].refused[0].in_part, done[0].refused[1].in_part), (false, true));
        assert_eq!(done[0].refused[1].reason, "number 4");
        let (_log, left) = open::<L>(&fs, RecoveryMode::Strict).expect("opens");
        let mut wanted = records(&seen);
        wanted[3].1 = noise(99, 24);
        wanted.remove(1);
        assert_eq!(records(&left), wanted);
    }
    check::<FileLog<SimFs>>();
    check::<NativeLog<SimFs>>();
}

#[test]
fn a_torn_tail_is_left_to_opening() {
    let fs = two_segments::<FileLog<SimFs>>();
    let path = Path::new(DIR).join("_00002.wal");
    let bytes = fs.read(&path).expect("exists");
    // Cuts the mark at the end, and half of the last record.
    let fs = with(&fs, &path, &bytes[..bytes.len() - 30]);
    let before = fs.snapshot();
    let found = repair(&fs, Path::new(DIR), None, false).expect("repairs");
    assert_eq!((found.len(), found[0].quarantined.as_ref()), (1, None));
    assert_eq!(found[0].path, path);
    assert_eq!(fs.snapshot(), before);
}

#[test]
fn a_log_that_is_open_is_refused() {
    let fs = two_segments::<FileLog<SimFs>>();
    let (_log, _) = open::<FileLog<SimFs>>(&fs, RecoveryMode::Strict).expect("opens");
    for dry_run in [true, false] {
        let error = repair(&fs, Path::new(DIR), None, dry_run).expect_err("in use");
        assert!(matches!(error.kind(), ErrorKind::InUse), "{error}");
    }
    let error =
        repair(&two_segments::<FileLog<SimFs>>(), Path::new(DIR), Some("x"), true).expect_err("no segment");
    assert!(matches!(error.kind(), ErrorKind::NotASegment), "{error}");
}

/// A missing segment cannot be rewritten. After a repair the next segment says that it is missing, and the log opens.
#[test]
fn repair_accepts_a_missing_segment() {
    for (number, emptied) in [(1, false), (1, true), (2, false), (2, true)] {
        let fs = SimFs::default();
        let (log, _) = open::<NativeLog<SimFs>>(&fs, RecoveryMode::Strict).expect("opens");
        for number in 0..4_u64 {
            for part in 0..2 {
                let at = log.append(Record::delete_range(&noise(number * 2 + part, 24))).expect("appends");
                let _ = log.sync(at).expect("syncs");
            }
            let _ = log.cut().expect("cuts");
        }
        log.close().expect("closes");
        let gone = Path::new(DIR).join(format!("{number:08}.tlog"));
        if emptied {
            fs.open(&gone).and_then(|file| file.set_len(0)).expect("empties");
        } else {
            fs.remove(&gone).expect("removes");
        }
        let fs = fs.kill();
        let Err(error) = open::<NativeLog<SimFs>>(&fs, RecoveryMode::Strict) else {
            panic!("the missing records are not detected")
        };
        let lost = 2 * (number - 1);
        let named =
            matches!(error.kind(), ErrorKind::Missing { first, last } if (*first, *last) == (lost, lost + 1));
        assert!(named, "{error}");
        let (log, wanted) = open::<NativeLog<SimFs>>(&fs.kill(), RecoveryMode::Salvage).expect("opens");
        drop(log);
        assert_eq!(wanted.len(), 6);
        assert_eq!(repair(&fs, Path::new(DIR), None, false).expect("repairs").len(), 1);
        let (log, seen) = open::<NativeLog<SimFs>>(&fs, RecoveryMode::Strict).expect("opens");
        drop(log);
        assert_eq!(records(&seen), records(&wanted));
        assert_eq!(repair(&fs, Path::new(DIR), None, false).expect("repairs"), []);
    }
}

/// Story: one flipped bit in its head lost a segment, although all its records passed their checks.
#[test]
fn a_corrupt_head_loses_no_record() {
    let intact = two_segments::<NativeLog<SimFs>>();
    let (log, wanted) = open::<NativeLog<SimFs>>(&intact.kill(), RecoveryMode::Strict).expect("opens");
    drop(log);
    let signature = 8..16;
    for name in ["00000001.tlog", "00000002.tlog"] {
        let path = Path::new(DIR).join(name);
        let good = intact.read(&path).expect("exists");
        for at in (0..tsmith_wal::testing::native::HEAD_BYTES).filter(|at| !signature.contains(at)) {
            let mut bytes = good.clone();
            bytes[at] ^= 4;
            let fs = with(&intact, &path, &bytes);
            assert_eq!(repair(&fs, Path::new(DIR), None, false).expect("repairs").len(), 1);
            let (log, seen) = open::<NativeLog<SimFs>>(&fs, RecoveryMode::Strict).expect("opens");
            drop(log);
            assert_eq!(records(&seen), records(&wanted), "{name}: byte {at}");
        }
        // A copy of the other segment is not corrupt, but its records must not be replayed twice.
        let other = if name.starts_with("00000001") { "00000002.tlog" } else { "00000001.tlog" };
        let fs = with(&intact, &path, &intact.read(&Path::new(DIR).join(other)).expect("exists"));
        let (log, seen) = open::<NativeLog<SimFs>>(&fs, RecoveryMode::Salvage).expect("opens");
        drop(log);
        assert!(seen.len() < wanted.len(), "{name}");
    }
}

/// Story: the head of the only segment was corrupt, and all its records were intact. Repair wrote a wrong number into the
/// record at the end, and then refused its own result. Every other command advised to run repair.
#[test]
fn a_corrupt_head_of_the_only_segment_is_repaired() {
    for truncated in [false, true] {
        let intact = two_segments::<NativeLog<SimFs>>();
        let (log, _) = open::<NativeLog<SimFs>>(&intact, RecoveryMode::Strict).expect("opens");
        let cut = log.cut().expect("cuts");
        if truncated {
            log.truncate_front(cut).expect("truncates");
        }
        for number in 0..5 {
            let at = log.append(Record::write(&noise(number, 30))).expect("appends");
            let _ = log.sync(at).expect("syncs");
        }
        log.close().expect("closes");
        // Without truncation it is the newest of several.
        let path = Path::new(DIR).join("00000003.tlog");
        let (log, wanted) = open::<NativeLog<SimFs>>(&intact.kill(), RecoveryMode::Strict).expect("opens");
        drop(log);
        let segments = intact.list(Path::new(DIR)).expect("lists");
        let segments = segments.iter().filter(|name| tsmith_wal::is_segment(name)).count();
        assert_eq!(segments, if truncated { 1 } else { 3 });
        let good = intact.read(&path).expect("exists");
        // All but the signature, which is part of every checksum.
        for at in (0..8).chain(16..tsmith_wal::testing::native::HEAD_BYTES) {
            let mut bytes = good.clone();
            bytes[at] ^= 4;
            let fs = with(&intact, &path, &bytes);
            let done = repair(&fs, Path::new(DIR), None, false).expect("repairs");
            assert_eq!((done.len(), done[0].kept_records), (1, 5), "byte {at}");
            let (log, seen) = open::<NativeLog<SimFs>>(&fs, RecoveryMode::Strict).expect("opens");
            assert_eq!(records(&seen), records(&wanted), "byte {at}");
            let at = log.append(Record::write(b"later")).expect("appends");
            let _ = log.sync(at).expect("syncs");
            log.close().expect("closes");
            let (_log, seen) = open::<NativeLog<SimFs>>(&fs, RecoveryMode::Strict).expect("opens");
            assert_eq!(seen.len(), wanted.len() + 1);
        }
    }
}

/// Story: a segment lost its tail, so records were missing before the next segment. Repair rewrote both from the state before
/// the repair, and their record numbers overlapped.
#[test]
fn repair_of_two_neighbours_keeps_their_sequence() {
    let intact = two_segments::<NativeLog<SimFs>>();
    let (log, _) = open::<NativeLog<SimFs>>(&intact, RecoveryMode::Strict).expect("opens");
    let at = log.append(Record::write(&noise(9, 30))).expect("appends");
    let _ = log.sync(at).expect("syncs");
    log.close().expect("closes");
    for name in ["00000001.tlog", "00000002.tlog"] {
        let path = Path::new(DIR).join(name);
        let good = intact.read(&path).expect("exists");
        for len in (0..good.len()).step_by(3) {
            let fs = with(&intact, &path, &good[..len]);
            let (log, salvaged) = open::<NativeLog<SimFs>>(&fs.kill(), RecoveryMode::Salvage).expect("opens");
            drop(log);
            repair(&fs, Path::new(DIR), None, false).expect("repairs");
            let (_log, seen) = open::<NativeLog<SimFs>>(&fs, RecoveryMode::Strict)
                .unwrap_or_else(|error| panic!("{name} of {len} bytes: {error}"));
            assert_eq!(records(&seen), records(&salvaged), "{name} of {len} bytes");
        }
    }
}
