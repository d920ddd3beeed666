//! Logs after a failed sync, and on a full disk.

use std::path::Path;
use std::time::Duration;

use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::testing::{noise, open_keeping};
use tsmith_wal::{
    Durability, ErrorKind, EtcdLog, FileLog, Log, LogOptions, MmapLog, NativeLog, Record, RecoveryMode,
    segment_names,
};

const DIR: &str = "/wal";

fn open<L: Log<Fs = SimFs>>(sim: &SimFs, options: LogOptions) -> (L, usize) {
    let (log, seen, _) = open_keeping::<L>(sim.clone(), Path::new(DIR), options).expect("opens");
    (log, seen.len())
}

/// Story: with `Interval` and `None`, `sync` confirms a record as soon as it is written. Then a sync to disk failed and the log
/// stopped. A later `sync` still confirmed the records that were lost.
#[test]
fn a_stopped_log_confirms_only_what_is_durable() {
    confirm_after_failure::<FileLog<SimFs>>();
    confirm_after_failure::<MmapLog<SimFs>>();
    confirm_after_failure::<NativeLog<SimFs>>();
    confirm_after_failure::<EtcdLog<SimFs>>();
}

fn confirm_after_failure<L: Log<Fs = SimFs>>() {
    for durability in [Durability::None, Durability::Interval(Duration::from_secs(3600))] {
        let sim = SimFs::default();
        let (log, _) = open::<L>(&sim, LogOptions { durability, ..LogOptions::default() });
        let durable = log.append(Record::write(b"before a cut")).expect("appends");
        let _ = log.cut().expect("cuts");
        let written = log.append(Record::write(b"written")).expect("appends");
        let _ = log.sync(written).expect("is written");
        // The first sync of the cut fails.
        let next = sim.operations() + 1;
        (next..next + 20).for_each(|number| sim.fail_at(number, Fault::Io));
        let _ = log.cut().expect_err("the sync failed");
        sim.heal();
        let error = log.sync(written).expect_err("the record may be lost");
        assert!(matches!(error.kind(), ErrorKind::Poisoned(_)), "{error}");
        let _ = log.sync(durable).expect("was durable before the failure");
    }
}

/// Story: a sync failed and the log stopped. The next open replayed the records of that sync, because the page cache still had
/// them, and acknowledged further records after them. After a power cut all of these were gone.
#[test]
fn records_of_a_failed_sync_are_rewritten() {
    reopen_after_failure::<FileLog<SimFs>>();
    reopen_after_failure::<MmapLog<SimFs>>();
    reopen_after_failure::<NativeLog<SimFs>>();
    reopen_after_failure::<EtcdLog<SimFs>>();
}

fn reopen_after_failure<L: Log<Fs = SimFs>>() {
    let put = |log: &L, number: u64, len: usize| {
        let at = log.append(Record::write(&noise(number, len)))?;
        log.sync(at).map(drop)
    };
    let options = || LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
    for fault in 1..8 {
        let sim = SimFs::default();
        let (log, _) = open::<L>(&sim, options());
        put(&log, 1, 50).expect("is durable");
        sim.fail_at(sim.operations() + fault, Fault::Io);
        let failed = put(&log, 2, 20_000).is_err();
        drop(log);
        let sim = sim.kill();
        let (log, replayed) = open::<L>(&sim, options());
        put(&log, 3, 50).expect("is durable");
        for seed in 0..8 {
            let sim = sim.crash(seed);
            let (_log, seen) = open::<L>(&sim, LogOptions { recovery: RecoveryMode::Strict, ..options() });
            assert_eq!(seen, replayed + 1, "fault {fault}, seed {seed}, failed {failed}");
        }
    }
}

/// If the entry of a new directory is not durable because a sync failed, the next open makes it durable.
#[test]
fn a_directory_is_durable_or_recreated() {
    for fault in 1..=4 {
        let sim = SimFs::default();
        sim.fail_at(fault, Fault::Io);
        let attempt = |sim: &SimFs| {
            FileLog::open(sim.clone(), Path::new("/a/b/wal"), LogOptions::default(), |_, _| Ok(()))
        };
        let first = attempt(&sim).is_err();
        sim.heal();
        let (log, _) = attempt(&sim).expect("opens");
        let at = log.append(Record::write(b"kept")).expect("appends");
        let _ = log.sync(at).expect("is durable");
        for seed in 0..8 {
            let mut seen = 0;
            let opened =
                FileLog::open(sim.crash(seed), Path::new("/a/b/wal"), LogOptions::default(), |_, _| {
                    seen += 1;
                    Ok(())
                });
            assert!(opened.is_ok() && seen == 1, "fault {fault}, seed {seed}, failed {first}");
        }
    }
}

/// Story: each group that failed on a full disk used up a segment number. Five seconds of retries used 48,000 of them. Above
/// 99,999, InfluxDB reads segments in the wrong order.
#[test]
fn a_full_disk_uses_up_no_segment_numbers() {
    retry_on_a_full_disk::<FileLog<SimFs>>();
    retry_on_a_full_disk::<MmapLog<SimFs>>();
    retry_on_a_full_disk::<NativeLog<SimFs>>();
    retry_on_a_full_disk::<EtcdLog<SimFs>>();
}

fn retry_on_a_full_disk<L: Log<Fs = SimFs>>() {
    let sim = SimFs::default();
    let options = LogOptions { segment_bytes: 4096, ..LogOptions::default() };
    let (log, _) = open::<L>(&sim, options);
    let put = |number: u64| log.append(Record::write(&noise(number, 300))).and_then(|at| log.sync(at));
    sim.set_space(Some(20_000));
    let (mut kept, mut refused) = (0, 0);
    for number in 0..1000 {
        match put(number) {
            Ok(_) => kept += 1,
            Err(error) => {
                assert!(error.is_full(), "{error}");
                refused += 1;
            }
        }
    }
    assert!(kept > 10 && refused > 900, "{kept} kept, {refused} refused");
    sim.set_space(None);
    let _ = put(1000).expect("there is space again");
    log.close().expect("closes");
    let names = segment_names(&sim, Path::new(DIR)).expect("lists");
    let last = names.last().expect("a segment");
    let digits: String = last.chars().filter(char::is_ascii_digit).take(16).collect();
    let number: u64 = digits.parse().expect("a number");
    assert!(number < 20, "{names:?}");
    let (_log, seen) = open::<L>(&sim, options);
    assert_eq!(seen, kept + 1);
}
