//! Power cuts and I/O errors while several threads wait for one sync.

use std::path::Path;
use std::sync::Mutex;

use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::{Durability, Log, Record};

use crate::script::{DIR, Etcd, File, Mmap, Native, Run, SEEDS, options, payload, recover};

/// Several threads sync their own records in common groups, until a power cut stops all of them.
fn power_cuts_among_threads<L: Log<Fs = SimFs>>() {
    for stop in 1..120 {
        let fs = SimFs::default();
        fs.stop_at(stop);
        let written = Mutex::new(Vec::new());
        let opened = L::open(fs.clone(), Path::new(DIR), options(Durability::Group), |_, _| Ok(()));
        let Ok((log, _)) = opened else { continue };
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (log, written) = (&log, &written);
                scope.spawn(move || {
                    for number in thread * 100..thread * 100 + 12 {
                        let Ok(at) = log.append(Record::write(&payload(number))) else { return };
                        let durable = log.sync(at).is_ok();
                        written.lock().expect("no panic").push((at, number, durable));
                    }
                });
            }
        });
        drop(log);
        let mut written = written.into_inner().expect("no panic");
        written.sort_unstable();
        let appended = written.into_iter().map(|(_, number, durable)| (number, durable)).collect();
        let run = Run { appended, ..Run::default() };
        for seed in 0..SEEDS {
            let image = fs.crash(seed * 1000 + stop);
            let checked = recover::<L>(&image.kill()).and_then(|(log, recovered)| {
                drop(log);
                run.check(&recovered)
            });
            checked.unwrap_or_else(|error| panic!("stop {stop}, seed {seed}: {error}"));
        }
    }
}

/// Every thread of a failed group gets the error. The log recovers the records of all other groups.
fn errors_among_threads<L: Log<Fs = SimFs>>() {
    for at in 8..70 {
        let fs = SimFs::default();
        fs.fail_at(at, Fault::Io);
        let opened = L::open(fs.clone(), Path::new(DIR), options(Durability::Group), |_, _| Ok(()));
        let Ok((log, _)) = opened else { continue };
        let acknowledged = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (log, acknowledged) = (&log, &acknowledged);
                scope.spawn(move || {
                    for number in thread * 100..thread * 100 + 10 {
                        let Ok(at) = log.append(Record::write(&payload(number))) else { return };
                        if log.sync(at).is_ok() {
                            acknowledged.lock().expect("no panic").push(number);
                        }
                    }
                });
            }
        });
        drop(log);
        for seed in 0..SEEDS {
            let (_, recovered) = recover::<L>(&fs.crash(seed)).expect("recovers");
            let acknowledged = acknowledged.lock().expect("no panic");
            let lost: Vec<_> = acknowledged.iter().filter(|number| !recovered.contains(number)).collect();
            assert!(lost.is_empty(), "error at {at}, seed {seed}: lost {lost:?}");
        }
    }
}

of_every_log! {
    fn a_power_cut_among_threads_leaves_a_prefix() {
        power_cuts_among_threads::<L>();
    }

    fn an_io_error_reaches_every_thread_of_the_group() {
        errors_among_threads::<L>();
    }
}
