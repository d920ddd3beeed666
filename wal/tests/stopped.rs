//! Logs that stop, for good or until there is space again.

use std::path::Path;
use std::time::Duration;

use tsmith_wal::fs::{Fault, SimFs};
use tsmith_wal::testing::{noise, open_keeping};
use tsmith_wal::{
    Durability, ErrorKind, EtcdLog, FileLog, Log, LogOptions, MmapLog, NativeLog, Record, segment_names,
};

const DIR: &str = "/wal";

fn open<L: Log<Fs = SimFs>>(sim: &SimFs, options: LogOptions) -> (L, usize) {
    let (log, seen, _) = open_keeping::<L>(sim.clone(), Path::new(DIR), options).expect("opens");
    (log, seen.len())
}

/// Story: with `Interval` and `None` a record counts as confirmed once it is written. A sync then failed, the log stopped,
/// and records that the failed sync had dropped were confirmed all the same, by who asked late.
#[test]
fn a_stopped_log_confirms_only_what_is_durable() {
    late::<FileLog<SimFs>>();
    late::<MmapLog<SimFs>>();
    late::<NativeLog<SimFs>>();
    late::<EtcdLog<SimFs>>();
}

fn late<L: Log<Fs = SimFs>>() {
    for durability in [Durability::None, Durability::Interval(Duration::from_hours(1))] {
        let sim = SimFs::default();
        let (log, _) = open::<L>(&sim, LogOptions::default().durability(durability));
        let durable = log.append(Record::write(b"before a cut")).expect("appends");
        let _ = log.cut().expect("cuts");
        let written = log.append(Record::write(b"written")).expect("appends");
        let _ = log.sync(written).expect("the operating system has it");
        // Whatever the cut syncs first fails.
        let next = sim.operations() + 1;
        (next..next + 20).for_each(|number| sim.fail_at(number, Fault::Io));
        let _ = log.cut().expect_err("the sync failed");
        sim.heal();
        let error = log.sync(written).expect_err("nobody knows whether it is there");
        assert!(matches!(error.kind(), ErrorKind::Poisoned(_)), "{error}");
        let _ = log.sync(durable).expect("was durable before");
    }
}

/// Story: every group that a full disk refused used a segment's number up. Five seconds of trying took 48,000 of them; past
/// 99,999 InfluxDB reads segments in the wrong order.
#[test]
fn a_full_disk_uses_no_numbers_up() {
    full::<FileLog<SimFs>>();
    full::<MmapLog<SimFs>>();
    full::<NativeLog<SimFs>>();
    full::<EtcdLog<SimFs>>();
}

fn full<L: Log<Fs = SimFs>>() {
    let sim = SimFs::default();
    let options = LogOptions::default().segment_bytes(4096);
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
