//! Opens that fail, and opens after a failure.

use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::{Durability, Log, Record};

use crate::script::{Etcd, File, Mmap, Native, SEEDS, payload, recover, script};

/// Appends one more record and syncs it.
fn put<L: Log>(log: &L, number: u32) -> tsmith_wal::Result<()> {
    log.append(Record::write(&payload(number))).and_then(|at| log.sync(at)).map(drop)
}

/// Opens the log with a fault at each operation of the open. Then opens it without a fault, appends a record and cuts the
/// power. The log must hold its earlier records and the new one.
fn failing_opens<L: Log<Fs = SimFs>>(image: &SimFs, what: &str) {
    let complete = image.kill();
    let (log, mut numbers) = recover::<L>(&complete).unwrap_or_else(|error| panic!("{what}: {error}"));
    drop(log);
    let operations = complete.operations();
    numbers.push(1000);
    for fault in [Fault::Io, Fault::Full, Fault::NoHandle] {
        for at in 1..=operations {
            let what =
                format!("{what}, {fault:?} at {at} of the open ({})", complete.operation(at).unwrap_or("?"));
            let fs = image.kill();
            fs.fail_at(at, fault);
            drop(recover::<L>(&fs));
            let fs = fs.kill();
            let (log, _) = recover::<L>(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
            put(&log, 1000).unwrap_or_else(|error| panic!("{what}: {error}"));
            drop(log);
            for seed in 0..3 {
                let opened = recover::<L>(&fs.crash(seed));
                let (_, recovered) = opened.unwrap_or_else(|error| panic!("{what}, seed {seed}: {error}"));
                assert_eq!(recovered, numbers, "{what}, seed {seed}");
            }
        }
    }
}

fn every_failing_open<L: Log<Fs = SimFs>>() {
    let complete = SimFs::default();
    script::<L>(&complete, Durability::None);
    for stop in (1..=complete.operations() + 1).step_by(5) {
        let fs = SimFs::default();
        fs.stop_at(stop);
        script::<L>(&fs, Durability::None);
        for seed in 0..2 {
            failing_opens::<L>(&fs.crash(seed * 1000 + stop), &format!("stop {stop}, seed {seed}"));
        }
    }
}

/// A truncation is killed at any operation, and the next process repeats it. A power cut does not bring back the records.
fn killed_truncation<L: Log<Fs = SimFs>>() {
    let begin = || {
        let fs = SimFs::default();
        let (log, _) = recover::<L>(&fs).expect("opens");
        put(&log, 0).expect("puts");
        let cut = log.cut().expect("cuts");
        put(&log, 1).expect("puts");
        (fs, log, cut)
    };
    let (fs, log, cut) = begin();
    let before = fs.operations();
    log.truncate_front(cut).expect("truncates");
    for stop in 1..=fs.operations() - before {
        let (fs, log, cut) = begin();
        fs.stop_at(before + stop);
        drop(log.truncate_front(cut));
        drop(log);
        let fs = fs.kill();
        let (log, _) = recover::<L>(&fs).expect("opens");
        log.truncate_front(cut).expect("truncates");
        for seed in 0..SEEDS {
            let (_, recovered) = recover::<L>(&fs.crash(seed)).expect("opens");
            assert_eq!(recovered, [1], "killed at {stop} of the truncation, seed {seed}");
        }
    }
}

of_every_log! {
    /// Story: the log `etcd` took a directory that could not be listed for an empty one, and replaced its first segment.
    ///
    /// Story: an open cut a torn tail, and the sync of the cut failed. The next open found no torn tail, and a power cut
    /// restored it.
    fn a_failed_open_loses_nothing() {
        every_failing_open::<L>();
    }

    fn truncated_records_do_not_come_back() {
        killed_truncation::<L>();
    }
}
