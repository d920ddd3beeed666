//! File names with the largest possible numbers: the log opens or returns an error, and no number overflows.

use std::path::{Path, PathBuf};

use tsmith_wal::etcd::EtcdLog;
use tsmith_wal::fs::{Fs, FsFile};
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::{noise, open_keeping};
use tsmith_wal::{ErrorKind, FileLog, Log, LogOptions, NativeLog, Record, RecoveryMode, Result};

const DIR: &str = "/wal";
const MODES: [RecoveryMode; 2] = [RecoveryMode::Strict, RecoveryMode::Salvage];

fn options(mode: RecoveryMode) -> LogOptions {
    LogOptions { segment_bytes: 2048, recovery: mode, ..LogOptions::default() }
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// Opens, appends, rolls, truncates and closes. Stops at the first error.
fn use_log<L: Log<Fs = SimFs>>(sim: &SimFs, mode: RecoveryMode) -> Result<usize> {
    let (log, seen, _) = open_keeping::<L>(sim.clone(), Path::new(DIR), options(mode))?;
    for number in 0..9 {
        let at = log.append(Record::write(&noise(number, 400)))?;
        let _ = log.sync(at)?;
        if number % 3 == 1 {
            let cut = log.cut()?;
            log.truncate_front(cut)?;
        }
    }
    log.close()?;
    Ok(seen.len())
}

/// Tries each name for a file that is empty or has the content of a real segment.
fn any_name<L: Log<Fs = SimFs>>(real: &str, names: &[String]) {
    let complete = SimFs::default();
    use_log::<L>(&complete, RecoveryMode::Strict).expect("works");
    let files = complete.snapshot();
    let last = files.keys().rfind(|path| path.extension() == Some(real.as_ref())).expect("a segment").clone();
    for name in names {
        for (content, beside) in
            [(&files[&last][..], false), (&files[&last], true), (b"", true), (b"", false)]
        {
            for mode in MODES {
                let sim = SimFs::default();
                sim.create_dir_all(Path::new(DIR)).expect("creates");
                let kept = files.iter().filter(|(path, _)| beside && **path != last);
                for (path, bytes) in
                    kept.map(|(path, bytes)| (path.clone(), &bytes[..])).chain([(path(name), content)])
                {
                    let made = sim.create_new(&path).and_then(|file| file.write_all_at(bytes, 0));
                    made.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                }
                for _ in 0..3 {
                    // An error is allowed; a panic is not.
                    drop(use_log::<L>(&sim, mode));
                }
            }
        }
    }
}

const NUMBERS: [u64; 7] =
    [u64::MAX, u64::MAX - 1, (1 << 63) + 1, 1 << 63, (1 << 63) - 1, (1 << 62) + 1, u32::MAX as u64];

#[test]
fn no_file_name_overflows_a_number() {
    let native = NUMBERS.map(|number| format!("{number:020}-00000001.free"));
    any_name::<NativeLog<SimFs>>("tlog", &native);
    any_name::<NativeLog<SimFs>>("tlog", &["4294967295.tlog", "4294967294.tlog"].map(String::from));
    any_name::<FileLog<SimFs>>("wal", &["_4294967295.wal", "_4294967294.wal"].map(String::from));
    let pairs = NUMBERS
        .iter()
        .chain(&[0, 1])
        .flat_map(|seq| NUMBERS.map(|index| (*seq, index)).into_iter().chain([(*seq, 0)]));
    let etcd: Vec<String> = pairs.map(|(seq, index)| format!("{seq:016x}-{index:016x}.wal")).collect();
    any_name::<EtcdLog<SimFs>>("wal", &etcd);
}

/// Story: the file name `18446744073709551615-00000001.free` says that all possible records are truncated. So recovery
/// detected no missing record, and the next number overflowed.
#[test]
fn an_impossible_file_name_truncates_nothing() {
    for number in [u64::MAX, u64::MAX - 1, (1 << 63) + 1] {
        let sim = SimFs::default();
        let open =
            || open_keeping::<NativeLog<SimFs>>(sim.clone(), Path::new(DIR), options(RecoveryMode::Strict));
        let (log, ..) = open().expect("opens");
        for number in 0..3 {
            let at = log.append(Record::write(&noise(number, 40))).expect("appends");
            let _ = log.sync(at).expect("syncs");
            let _ = log.cut().expect("cuts");
        }
        log.close().expect("closes");
        let stranger = path(&format!("{number:020}-00000001.free"));
        sim.create_new(&stranger).expect("creates");
        let (log, seen, _) = open().expect("opens");
        assert_eq!(seen.len(), 3);
        log.close().expect("closes");
        sim.remove(&path("00000001.tlog")).expect("removes");
        let error = open().map(drop).expect_err("a record is missing");
        assert!(matches!(error.kind(), ErrorKind::Missing { first: 0, last: 0 }), "{error}");
        assert!(sim.open(&stranger).is_ok(), "the foreign file stays");
    }
}

/// The name of an etcd segment contains its number and the index of its first record. If one index is left, the segment takes
/// one record.
#[test]
fn the_last_index_and_segment_number_are_limits() {
    let fresh = |name: &str| {
        let sim = SimFs::default();
        let (log, ..) = open_keeping::<EtcdLog<SimFs>>(sim.clone(), Path::new(DIR), LogOptions::default())
            .expect("opens");
        log.close().expect("closes");
        sim.rename(&path("0000000000000000-0000000000000000.wal"), &path(name)).expect("renames");
        sim
    };
    let open =
        |sim: &SimFs| open_keeping::<EtcdLog<SimFs>>(sim.clone(), Path::new(DIR), LogOptions::default());
    let is_end = |error: &tsmith_wal::Error| matches!(error.kind(), ErrorKind::NumbersEnd);
    let sim = fresh("0000000000000000-7fffffffffffffff.wal");
    let (log, ..) = open(&sim).expect("opens");
    let at = log.append(Record::write(b"the last")).expect("one index is left");
    let _ = log.sync(at).expect("syncs");
    assert!(is_end(&log.append(Record::write(b"one more")).expect_err("no index is left")));
    log.close().expect("closes");
    let (log, seen, _) = open(&sim).expect("opens");
    assert_eq!((seen.len(), seen[0].0), (1, at));
    log.close().expect("closes");
    let error =
        open(&fresh("0000000000000000-8000000000000000.wal")).map(drop).expect_err("no index is left");
    assert!(
        is_end(&error)
            && error.path().is_some_and(|path| path.ends_with("0000000000000000-8000000000000000.wal"))
    );
    let sim = fresh("ffffffffffffffff-0000000000000000.wal");
    let (log, ..) = open(&sim).expect("opens");
    let at = log.append(Record::write(b"in the last segment")).expect("appends");
    let _ = log.sync(at).expect("syncs");
    let _ = log.cut().expect("cuts");
    assert!(is_end(&log.append(Record::write(b"one more")).expect_err("no segment number is left")));
}
