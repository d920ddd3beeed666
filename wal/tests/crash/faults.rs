//! A disk that fails, or is full, at any operation.

use std::path::Path;

use tsmith_wal::testing::open_keeping;
use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::{Advice, Durability, Log, Position, Record};

use crate::script::{DIR, Etcd, File, Mmap, Native, Run, SEEDS, options, payload, recover, script};

/// Goes on after errors, as a server would.
fn stubborn<L: Log<Fs = SimFs>>(fs: &SimFs) -> Run {
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
            run.may_forget = cut.1;
            if log.truncate_front(cut.0).is_ok() {
                run.forgotten = cut.1;
            }
        }
    }
    drop(log);
    run
}

fn fault_sweep<L: Log<Fs = SimFs>>(fault: Fault) {
    let whole = SimFs::default();
    assert_eq!(stubborn::<L>(&whole).appended.len(), 24, "runs without faults");
    for at in 1..=whole.operations() {
        let fs = SimFs::default();
        fs.fail_at(at, fault);
        let run = stubborn::<L>(&fs);
        let name = fs.operation(at).unwrap_or("?");
        if matches!(fault, Fault::Short | Fault::Interrupted) {
            let acknowledged = run.appended.iter().filter(|(_, durable)| *durable).count();
            assert_eq!(acknowledged, 24, "{fault:?} at {at} ({name}) is no failure");
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

/// Story: the sync of the directory had failed when a segment of InfluxDB's format and the empty one behind it were begun.
/// The next log took the empty one, whose name the system believed to be on disk, and what it confirmed in it was gone
/// after a power cut. Or it had failed when a segment was forgotten: the next log forgot the one behind it, and after a
/// power cut the first was there again without the second.
fn go_on_after_a_failure<L: Log<Fs = SimFs>>(fault: Fault) {
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
        let may_go = numbers.len() - 3;
        Ok((numbers, may_go))
    };
    let whole = SimFs::default();
    drop(script::<L>(&whole, Durability::Group));
    for at in 1..=whole.operations() {
        let fs = SimFs::default();
        fs.fail_at(at, fault);
        drop(script::<L>(&fs, Durability::Group));
        let what = format!("{fault:?} at {at} ({})", fs.operation(at).unwrap_or("?"));
        let fs = fs.kill();
        let (numbers, may_go) = next(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
        for seed in 0..SEEDS {
            let opened = recover::<L>(&fs.crash(seed));
            let (_, recovered) = opened.unwrap_or_else(|error| panic!("{what}, seed {seed}: {error}"));
            let right = numbers.ends_with(&recovered) && recovered.ends_with(&numbers[may_go..]);
            assert!(right, "{what}, seed {seed}: {recovered:?} of {numbers:?}");
        }
    }
}

/// Story: a disk fills up; writes are refused with "retry later"; a snapshot lets the front go; writes go on.
fn fill_and_go_on<L: Log<Fs = SimFs>>() {
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
            log.truncate_front(cut).expect("forgets");
            assert!(!kept.is_empty() || rounds == 0, "the space came back");
            kept.clear();
            (refused, rounds) = (0, rounds + 1);
        }
    }
    assert!(rounds > 0, "the disk was full once");
    drop(log);
    let image = fs.crash(1);
    let (_, recovered) = recover::<L>(&image).expect("recovers");
    assert_eq!(recovered, kept);
    assert!(!kept.is_empty());
}

/// Story: a segment of `native` had its name already when there was no file handle to sync the directory with; the next
/// attempt took it for somebody else's, and the log had stopped for good.
fn run_out_of_handles<L: Log<Fs = SimFs>>() {
    let puts = |fs: &SimFs| -> Option<(Vec<u32>, Vec<u32>)> {
        let (log, ..) = open_keeping::<L>(fs.clone(), Path::new(DIR), options(Durability::Group)).ok()?;
        let put = |number: &u32| {
            let done = log.append(Record::write(&payload(*number))).and_then(|at| log.sync(at));
            done.map_err(|error| assert_eq!(error.advice(), Advice::RetryLater, "{error}")).is_ok()
        };
        Some((0..24).partition(put))
    };
    let whole = SimFs::default();
    assert_eq!(puts(&whole).expect("opens").0.len(), 24);
    for at in 1..=whole.operations() {
        let fs = SimFs::default();
        fs.fail_at(at, Fault::NoHandle);
        let Some((kept, refused)) = puts(&fs) else { continue };
        let name = fs.operation(at).unwrap_or("?");
        assert!(kept.ends_with(&[23]) && refused.len() < 2, "{at} ({name}): {refused:?} refused");
        let (_, recovered) = recover::<L>(&fs.crash(at)).expect("recovers");
        assert_eq!(recovered, kept, "{at} ({name})");
    }
}

/// Story: a segment of `native` had its name when there was no file handle to sync the directory with, and gave it back. Its
/// file became another segment, and after a power cut it had both names, and the head of one.
fn power_cuts_after_a_missing_handle<L: Log<Fs = SimFs>>() {
    let whole = SimFs::default();
    stubborn::<L>(&whole);
    for at in (1..=whole.operations()).filter(|at| whole.operation(*at) == Some("sync_dir")) {
        for stop in at + 1..=at + 25 {
            let fs = SimFs::default();
            fs.fail_at(at, Fault::NoHandle);
            fs.stop_at(stop);
            let run = stubborn::<L>(&fs);
            for seed in 0..3 * SEEDS {
                let checked = recover::<L>(&fs.crash(seed)).and_then(|(_, found)| run.check(&found));
                checked.unwrap_or_else(|error| panic!("at {at}, stop {stop}, seed {seed}: {error}"));
            }
        }
    }
}

/// What must be durable when a call says that all is.
#[derive(Clone, Copy, Debug)]
enum All {
    Sync,
    Cut,
    Close,
}

/// Story: a caller appended several records and waited for the last. The disk had been full for a moment, and no call
/// reported that an earlier record was not in the log.
fn records_that_nobody_waits_for<L: Log<Fs = SimFs>>() {
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
            let whole = SimFs::default();
            run(&whole, durability, all).expect("no fault");
            for (at, fault) in
                (1..=whole.operations()).flat_map(|at| [(at, Fault::Full), (at, Fault::NoHandle)])
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
    fn a_full_disk_is_written_again_when_there_is_space() {
        fill_and_go_on::<L>();
    }

    fn an_io_error_at_any_operation_is_never_acknowledged_over() {
        fault_sweep::<L>(Fault::Io);
    }

    fn a_full_disk_at_any_operation_takes_its_group_back_and_no_more() {
        fault_sweep::<L>(Fault::Full);
    }

    fn a_missing_handle_passes() {
        run_out_of_handles::<L>();
    }

    fn a_missing_handle_before_a_power_cut_loses_nothing() {
        power_cuts_after_a_missing_handle::<L>();
    }

    fn a_record_that_is_not_in_the_log_is_told_of() {
        records_that_nobody_waits_for::<L>();
    }

    fn a_short_write_at_any_operation_is_finished() {
        fault_sweep::<L>(Fault::Short);
    }

    fn an_interruption_at_any_operation_is_gone_over() {
        fault_sweep::<L>(Fault::Interrupted);
    }

    fn after_an_io_error_at_any_operation_the_next_log_keeps_what_it_confirms() {
        go_on_after_a_failure::<L>(Fault::Io);
    }

    fn after_a_full_disk_at_any_operation_the_next_log_keeps_what_it_confirms() {
        go_on_after_a_failure::<L>(Fault::Full);
    }
}
