//! An opening that fails, or that comes after something did.

use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::{Durability, Log, Record};

use crate::script::{Etcd, File, Mmap, Native, SEEDS, payload, recover, script};

/// Puts one record more, durably.
fn put<L: Log>(log: &L, number: u32) -> tsmith_wal::Result<()> {
    log.append(Record::write(&payload(number))).and_then(|at| log.sync(at)).map(drop)
}

/// Opens the log with a fault at each operation of the opening in turn, then without; and puts a record. What a power cut
/// leaves of that must be what was there before, and the record.
fn openings_that_fail<L: Log<Fs = SimFs>>(image: &SimFs, what: &str) {
    let whole = image.kill();
    let (log, mut numbers) = recover::<L>(&whole).unwrap_or_else(|error| panic!("{what}: {error}"));
    drop(log);
    let operations = whole.operations();
    numbers.push(1000);
    for fault in [Fault::Io, Fault::Full, Fault::NoHandle] {
        for at in 1..=operations {
            let what =
                format!("{what}, {fault:?} at {at} of opening ({})", whole.operation(at).unwrap_or("?"));
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

fn every_opening_that_fails<L: Log<Fs = SimFs>>() {
    let whole = SimFs::default();
    script::<L>(&whole, Durability::None);
    for stop in (1..=whole.operations() + 1).step_by(5) {
        let fs = SimFs::default();
        fs.stop_at(stop);
        script::<L>(&fs, Durability::None);
        for seed in 0..2 {
            openings_that_fail::<L>(&fs.crash(seed * 1000 + stop), &format!("stop {stop}, seed {seed}"));
        }
    }
}

/// If an opening reports records as truncated, later openings do not replay them.
fn forgetting_that_was_killed<L: Log<Fs = SimFs>>() {
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
    log.truncate_front(cut).expect("forgets");
    for stop in 1..=fs.operations() - before {
        let (fs, log, cut) = begin();
        fs.stop_at(before + stop);
        drop(log.truncate_front(cut));
        drop(log);
        let fs = fs.kill();
        let (log, _) = recover::<L>(&fs).expect("opens");
        log.truncate_front(cut).expect("forgets");
        for seed in 0..SEEDS {
            let (_, recovered) = recover::<L>(&fs.crash(seed)).expect("opens");
            assert_eq!(recovered, [1], "died at {stop} of forgetting, seed {seed}");
        }
    }
}

of_every_log! {
    /// Stories: a directory that could not be listed was an empty one, and the first segment replaced, in etcd's framing. A
    /// torn tail was cut, and the sync of that failed: the next opening found it cut, and a power cut brought it back.
    fn an_opening_that_fails_takes_nothing_along() {
        every_opening_that_fails::<L>();
    }

    fn what_is_forgotten_after_a_kill_stays_so() {
        forgetting_that_was_killed::<L>();
    }
}
