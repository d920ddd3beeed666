//! A fault at any operation of a script: an I/O error, a full disk, or no file handle.

use std::path::Path;

use tsmith_wal::testing::open_keeping;
use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::{Advice, Durability, Log, Position, Record};

use crate::script::{DIR, Etcd, File, Mmap, Native, Run, SEEDS, options, payload, recover, script};

/// Appends, rolls and truncates, and continues after errors as a server does.
fn continue_after_errors<L: Log<Fs = SimFs>>(fs: &SimFs) -> Run {
    let mut run = Run::default();
    let opened = L::open(fs.clone(), Path::new(DIR), options(Durability::Group), |_, _| Ok(()));
    let Ok((log, _)) = opened else { return run };
    let mut broken = false;
    let mut cut = (Position::ZERO, 0);
    for number in 0..24 {
        let Ok(at) = log.append(Record::write(&payload(number))) else { continue };
        run.appended.push((number, false));
        match log.sync(at) {
            Ok(durable) => {
                assert!(!broken, "acknowledged {:?} after a failure that cannot be retried", durable.at());
                run.acknowledge_all();
            }
            Err(error) if error.advice() == Advice::RetryLater => {
                run.appended.pop();
                run.taken_back.push(number);
            }
            Err(error) => {
                assert_eq!(error.advice(), Advice::Reopen, "{error}");
                broken = true;
            }
        }
        if number % 8 == 5
            && let Ok(at) = log.cut()
        {
            cut = (at, run.appended.len());
        }
        if number % 8 == 7 && cut.1 > 0 {
            run.may_truncate = cut.1;
            if log.truncate_front(cut.0).is_ok() {
                run.truncated = cut.1;
            }
        }
    }
    drop(log);
    run
}

fn fault_sweep<L: Log<Fs = SimFs>>(fault: Fault) {
    let complete = SimFs::default();
    assert_eq!(continue_after_errors::<L>(&complete).appended.len(), 24, "runs without faults");
    for at in 1..=complete.operations() {
        let fs = SimFs::default();
        fs.fail_at(at, fault);
        let run = continue_after_errors::<L>(&fs);
        let name = fs.operation(at).unwrap_or("?");
        if matches!(fault, Fault::Short | Fault::Interrupted) {
            let acknowledged = run.appended.iter().filter(|(_, durable)| *durable).count();
            assert_eq!(acknowledged, 24, "{fault:?} at {at} ({name}) fails no record");
        }
        for seed in 0..SEEDS {
            let image = if seed == 0 { fs.kill() } else { fs.crash(seed) };
            let checked = recover::<L>(&image.kill()).and_then(|(log, recovered)| {
                drop(log);
                run.check(&recovered)?;
                match run.taken_back.iter().find(|number| recovered.contains(number)) {
                    Some(number) => Err(format!("{number} was taken back and is there")),
                    None => Ok(()),
                }
            });
            checked.unwrap_or_else(|error| panic!("{fault:?} at {at} ({name}), seed {seed}: {error}"));
        }
    }
}

/// Story: a log in InfluxDB's format created a segment and the empty one behind it, and the sync of the directory failed. The
/// next log wrote to the empty one, although its name was not durable. After a power cut the confirmed records were lost.
///
/// Story: a log truncated a segment, and the sync of the directory failed. The next log truncated the segment after it. After a
/// power cut the first segment was there again, without the second.
fn append_after_a_failure<L: Log<Fs = SimFs>>(fault: Fault) {
    let next = |fs: &SimFs| -> Result<(Vec<u32>, usize), String> {
        let (log, mut numbers) = recover::<L>(fs)?;
        let mut put = |number: u32| {
            numbers.push(number);
            log.append(Record::write(&payload(number))).and_then(|at| log.sync(at)).map(drop)
        };
        let done = (100..103).try_for_each(&mut put).and_then(|()| log.cut()).and_then(|cut| {
            (103..106).try_for_each(put)?;
            log.truncate_front(cut)
        });
        done.map_err(|error| error.to_string())?;
        let may_truncate = numbers.len() - 3;
        Ok((numbers, may_truncate))
    };
    let complete = SimFs::default();
    drop(script::<L>(&complete, Durability::Group));
    for at in 1..=complete.operations() {
        let fs = SimFs::default();
        fs.fail_at(at, fault);
        drop(script::<L>(&fs, Durability::Group));
        let what = format!("{fault:?} at {at} ({})", fs.operation(at).unwrap_or("?"));
        let fs = fs.kill();
        let (numbers, may_truncate) = next(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
        for seed in 0..SEEDS {
            let opened = recover::<L>(&fs.crash(seed));
            let (_, recovered) = opened.unwrap_or_else(|error| panic!("{what}, seed {seed}: {error}"));
            let right = numbers.ends_with(&recovered) && recovered.ends_with(&numbers[may_truncate..]);
            assert!(right, "{what}, seed {seed}: {recovered:?} of {numbers:?}");
        }
    }
}

/// A full disk refuses writes with `RetryLater`. After a truncation the log accepts writes again.
fn fill_and_truncate<L: Log<Fs = SimFs>>() {
    let fs = SimFs::default();
    fs.set_space(Some(20_000));
    let open = || open_keeping::<L>(fs.clone(), Path::new(DIR), options(Durability::Group));
    let (log, ..) = open().expect("opens");
    let mut kept = Vec::new();
    let (mut refused, mut rounds) = (0, 0);
    for number in 0..200 {
        match log.append(Record::write(&payload(number))).and_then(|at| log.sync(at)) {
            Ok(_) => kept.push(number),
            Err(error) => {
                assert!(error.is_full() && error.advice() == Advice::RetryLater, "{error}");
                refused += 1;
            }
        }
        if refused == 10 {
            let cut = log.cut().expect("cuts");
            log.truncate_front(cut).expect("truncates");
            assert!(!kept.is_empty() || rounds == 0, "truncation frees space");
            kept.clear();
            (refused, rounds) = (0, rounds + 1);
        }
    }
    assert!(rounds > 0, "the disk was full at least once");
    drop(log);
    let image = fs.crash(1);
    let (_, recovered) = recover::<L>(&image).expect("recovers");
    assert_eq!(recovered, kept);
    assert!(!kept.is_empty());
}

/// Story: the log `native` renamed a segment and then had no file handle to sync the directory. The next attempt took the
/// segment for the file of another program, and the log stopped until it was reopened.
fn run_out_of_handles<L: Log<Fs = SimFs>>() {
    let puts = |fs: &SimFs| -> Option<(Vec<u32>, Vec<u32>)> {
        let (log, ..) = open_keeping::<L>(fs.clone(), Path::new(DIR), options(Durability::Group)).ok()?;
        let put = |number: &u32| {
            let done = log.append(Record::write(&payload(*number))).and_then(|at| log.sync(at));
            done.map_err(|error| assert_eq!(error.advice(), Advice::RetryLater, "{error}")).is_ok()
        };
        Some((0..24).partition(put))
    };
    let complete = SimFs::default();
    assert_eq!(puts(&complete).expect("opens").0.len(), 24);
    for at in 1..=complete.operations() {
        let fs = SimFs::default();
        fs.fail_at(at, Fault::NoHandle);
        let Some((kept, refused)) = puts(&fs) else { continue };
        let name = fs.operation(at).unwrap_or("?");
        assert!(kept.ends_with(&[23]) && refused.len() < 2, "{at} ({name}): {refused:?} refused");
        let (_, recovered) = recover::<L>(&fs.crash(at)).expect("recovers");
        assert_eq!(recovered, kept, "{at} ({name})");
    }
}

/// Story: the log `native` renamed a segment, had no file handle to sync the directory, and undid the rename. The file then
/// became another segment. After a power cut it had both names, but its head was right for only one of them.
fn power_cuts_after_a_missing_handle<L: Log<Fs = SimFs>>() {
    let complete = SimFs::default();
    continue_after_errors::<L>(&complete);
    for at in (1..=complete.operations()).filter(|at| complete.operation(*at) == Some("sync_dir")) {
        for stop in at + 1..=at + 25 {
            let fs = SimFs::default();
            fs.fail_at(at, Fault::NoHandle);
            fs.stop_at(stop);
            let run = continue_after_errors::<L>(&fs);
            for seed in 0..3 * SEEDS {
                let checked = recover::<L>(&fs.crash(seed)).and_then(|(_, found)| run.check(&found));
                checked.unwrap_or_else(|error| panic!("at {at}, stop {stop}, seed {seed}: {error}"));
            }
        }
    }
}

/// The call that confirms all records.
#[derive(Clone, Copy, Debug)]
enum All {
    Sync,
    Cut,
    Close,
}

/// Story: a caller appended several records and synced only the last. The disk was full for a short time, and no call reported
/// that an earlier record was not in the log.
fn lose_an_earlier_record<L: Log<Fs = SimFs>>() {
    let run = |fs: &SimFs, durability: Durability, all: All| -> tsmith_wal::Result<()> {
        let (log, ..) = open_keeping::<L>(fs.clone(), Path::new(DIR), options(durability))?;
        let mut last = Position::ZERO;
        for number in 0..4 {
            last = log.append(Record::write(&payload(number)))?;
        }
        match all {
            All::Sync => log.sync(last).map(drop),
            All::Cut => log.cut().map(drop),
            All::Close => log.close(),
        }
    };
    for durability in [Durability::Each, Durability::Group, Durability::None] {
        for all in [All::Sync, All::Cut, All::Close] {
            let complete = SimFs::default();
            run(&complete, durability, all).expect("no fault");
            for (at, fault) in
                (1..=complete.operations()).flat_map(|at| [(at, Fault::Full), (at, Fault::NoHandle)])
            {
                let fs = SimFs::default();
                fs.fail_at(at, fault);
                if run(&fs, durability, all).is_err() {
                    continue;
                }
                let (_, recovered) = recover::<L>(&fs.kill()).expect("opens");
                assert_eq!(recovered, [0, 1, 2, 3], "{durability:?}, {all:?}, {fault:?} at {at}");
            }
        }
    }
}

of_every_log! {
    fn a_full_disk_accepts_writes_after_truncation() {
        fill_and_truncate::<L>();
    }

    fn no_record_is_acknowledged_after_an_io_error() {
        fault_sweep::<L>(Fault::Io);
    }

    fn a_full_disk_takes_back_only_its_group() {
        fault_sweep::<L>(Fault::Full);
    }

    fn a_missing_handle_is_temporary() {
        run_out_of_handles::<L>();
    }

    fn a_missing_handle_before_a_power_cut_loses_nothing() {
        power_cuts_after_a_missing_handle::<L>();
    }

    fn a_lost_earlier_record_is_reported() {
        lose_an_earlier_record::<L>();
    }

    fn a_short_write_is_finished() {
        fault_sweep::<L>(Fault::Short);
    }

    fn an_interrupted_operation_is_repeated() {
        fault_sweep::<L>(Fault::Interrupted);
    }

    fn the_next_log_is_durable_after_an_io_error() {
        append_after_a_failure::<L>(Fault::Io);
    }

    fn the_next_log_is_durable_after_a_full_disk() {
        append_after_a_failure::<L>(Fault::Full);
    }
}
