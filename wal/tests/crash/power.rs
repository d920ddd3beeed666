//! The power goes.

use std::path::Path;
use std::time::Duration;

use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::open_keeping;
use tsmith_wal::{Durability, Log, LogOptions, Record, RecordKind};

use crate::missing_syncs::is_guarded;
use crate::script::{
    DIR, Etcd, File, Mmap, Native, Run, SEEDS, go_on, options, payload, recover, script, script_of,
};

/// P5: recovering again, also after a power cut during recovery, gives the same; and the log goes on.
fn recover_again<L: Log<Fs = SimFs>>(image: &SimFs, seed: u64, first: &[u32]) -> Result<(), String> {
    let twice = image.kill();
    drop(recover::<L>(&twice)?);
    let operations = twice.operations();
    let (log, again) = recover::<L>(&twice.kill())?;
    if again != first {
        return Err(format!("first {first:?}, then {again:?}"));
    }
    drop(log);
    for stop in 1..=operations {
        let interrupted = image.kill();
        interrupted.stop_at(stop);
        drop(recover::<L>(&interrupted));
        let (_, again) = recover::<L>(&interrupted.crash(seed ^ stop))?;
        if again != first {
            return Err(format!(
                "after a cut at operation {stop} of recovery: first {first:?}, then {again:?}"
            ));
        }
    }
    let going_on = image.kill();
    let (log, _) = recover::<L>(&going_on)?;
    let at = log.append(Record::write(&payload(1000))).map_err(|error| error.to_string())?;
    let _ = log.sync(at).map_err(|error| error.to_string())?;
    let (_, last) = recover::<L>(&going_on.crash(seed))?;
    if last.split_last() != Some((&1000, first)) {
        return Err(format!("a record after recovery: {last:?} after {first:?}"));
    }
    Ok(())
}

fn sweep<L: Log<Fs = SimFs>>(durability: Durability) {
    let whole = SimFs::default();
    let run = script::<L>(&whole, durability);
    assert_eq!(run.appended.len(), 26, "the script runs without faults");
    for stop in 1..=whole.operations() + 1 {
        let fs = SimFs::default();
        fs.stop_at(stop);
        let run = script::<L>(&fs, durability);
        for seed in 0..SEEDS {
            let image = fs.crash(seed * 1000 + stop);
            let checked = recover::<L>(&image.kill()).and_then(|(log, recovered)| {
                drop(log);
                run.check(&recovered)?;
                recover_again::<L>(&image, seed, &recovered)
            });
            let name = whole.operation(stop).unwrap_or("end");
            checked
                .unwrap_or_else(|error| panic!("{durability:?}, stop {stop} ({name}), seed {seed}: {error}"));
        }
    }
}

of_every_log! {
    fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
        sweep::<L>(Durability::Group);
    }

    fn a_power_cut_with_one_sync_a_record_loses_nothing_acknowledged() {
        sweep::<L>(Durability::Each);
    }

    /// Without syncs several groups are incomplete at once; only what a cut confirmed must be there, and no holes.
    fn a_power_cut_without_syncs_leaves_no_holes() {
        sweep::<L>(Durability::None);
    }
}

/// The same without space taken ahead.
fn sweep_without_preallocation<L: Log<Fs = SimFs>>() {
    let options = || options(Durability::Group).preallocate(false);
    let script = |fs: &SimFs| -> Run { script_of::<L>(fs, options(), true) };
    let whole = SimFs::default();
    assert_eq!(script(&whole).appended.len(), 26, "the script runs without faults");
    assert!((1..=whole.operations()).all(|at| whole.operation(at) != Some("allocate")));
    for stop in 1..=whole.operations() + 1 {
        let fs = SimFs::default();
        fs.stop_at(stop);
        let run = script(&fs);
        for seed in 0..SEEDS {
            let recovered = recover::<L>(&fs.crash(seed * 1000 + stop));
            let checked = recovered.and_then(|(_, recovered)| run.check(&recovered));
            checked.unwrap_or_else(|error| panic!("stop {stop}, seed {seed}: {error}"));
        }
    }
}

#[test]
fn a_power_cut_without_preallocation_loses_nothing_acknowledged() {
    sweep_without_preallocation::<File>();
    sweep_without_preallocation::<Native>();
}

/// Story: a segment's head was synced together with the space of the segment. A power cut between the two left junk of
/// megabytes, in which the search for records found no end, and what never held a record was called damaged.
fn sweep_of_long_segments<L: Log<Fs = SimFs>>() {
    let options = || LogOptions::default().segment_bytes(3 << 20);
    let script = |fs: &SimFs| -> tsmith_wal::Result<Vec<u32>> {
        let (log, _) = L::open(fs.clone(), Path::new(DIR), options(), |_, _| Ok(()))?;
        let mut confirmed = Vec::new();
        for number in 0..2 {
            let at = log.append(Record::write(&payload(number)))?;
            if log.sync(at).is_ok() {
                confirmed.push(number);
            }
            drop(log.cut());
        }
        Ok(confirmed)
    };
    let whole = SimFs::default();
    assert_eq!(script(&whole).expect("no fault"), [0, 1]);
    for stop in 1..=whole.operations() + 1 {
        let fs = SimFs::default();
        fs.stop_at(stop);
        let confirmed = script(&fs).unwrap_or_default();
        for seed in 0..SEEDS {
            let recovered = recover::<L>(&fs.crash(seed * 1000 + stop));
            let (_, recovered) =
                recovered.unwrap_or_else(|error| panic!("stop {stop}, seed {seed}: {error}"));
            assert!(recovered.starts_with(&confirmed), "stop {stop}, seed {seed}: {recovered:?}");
        }
    }
}

#[test]
fn a_power_cut_while_a_long_segment_is_begun_is_no_damage() {
    sweep_of_long_segments::<File>();
    sweep_of_long_segments::<Mmap>();
    sweep_of_long_segments::<Native>();
}

/// Story: a process was killed between a write and its sync. The next one read what the system still had, and began
/// another segment; a power cut then left the old one torn, which behind a later segment is damage: the log did not
/// open. In the same way a directory was taken for durable because it was there.
fn power_cuts_after_a_kill<L: Log<Fs = SimFs>>() {
    let whole = SimFs::default();
    assert_eq!(go_on::<L>(&whole, 0..5).len(), 5);
    for died in 1..=whole.operations() + 1 {
        let first = SimFs::default();
        first.stop_at(died);
        drop(go_on::<L>(&first, 0..5));
        let second = first.kill();
        drop(go_on::<L>(&second, 100..103));
        for stop in 1..=second.operations() + 1 {
            let fs = first.kill();
            fs.stop_at(stop);
            let acknowledged = go_on::<L>(&fs, 100..103);
            for seed in 0..SEEDS {
                let opened = recover::<L>(&fs.crash(seed * 1000 + stop));
                let (_, recovered) =
                    opened.unwrap_or_else(|error| panic!("died {died}, stop {stop}, seed {seed}: {error}"));
                // What the first one left is confirmed with the first record of the second.
                let confirmed = acknowledged.iter().any(|number| *number >= 100);
                assert!(
                    !confirmed || recovered.starts_with(&acknowledged),
                    "died {died}, stop {stop}, seed {seed}: {acknowledged:?}, then {recovered:?}"
                );
            }
        }
    }
}

of_every_log! {
    fn a_power_cut_after_a_kill_loses_nothing_acknowledged() {
        power_cuts_after_a_kill::<L>();
    }
}

of_every_log! {
    /// `Interval` loses no more than its interval, even if no more records arrive.
    fn the_last_record_is_synced_at_the_interval() {
        let fs = SimFs::default();
        let durability = Durability::Interval(Duration::from_millis(2));
        let (log, ..) = open_keeping::<L>(fs.clone(), Path::new(DIR), options(durability)).expect("opens");
        let at = log.append(Record::write(&payload(1))).expect("appends");
        let _ = log.sync(at).expect("is with the system");
        let synced = |_| {
            std::thread::sleep(Duration::from_millis(5));
            (0..20).all(|seed| recover::<L>(&fs.crash(seed)).is_ok_and(|(_, recovered)| recovered == [1]))
        };
        assert!((0..400).any(synced), "synced within two seconds");
    }
}

/// Story: InfluxDB 1.x opens the last segment for appending, at its end, before it cuts a torn tail or unused space
/// off: the next acknowledged write lands behind a hole and is lost at the restart after. While a segment of ours is
/// open, or was when the power went, the last segment of the directory is therefore an empty one, which InfluxDB
/// removes to begin its own.
#[test]
fn the_last_segment_is_empty_so_that_influxdb_does_not_continue_ours() {
    let whole = SimFs::default();
    drop(script::<File>(&whole, Durability::Group));
    for stop in 1..=whole.operations() {
        let fs = SimFs::default();
        fs.stop_at(stop);
        drop(script::<File>(&fs, Durability::Group));
        for seed in 0..SEEDS {
            let image = fs.crash(seed);
            assert!(is_guarded(&image), "stop {stop}, seed {seed}: {:?}", image.snapshot().keys());
        }
    }
}

/// Kinds are kept too; scripts above write one kind only.
#[test]
fn kinds_survive() {
    let fs = SimFs::default();
    let (log, ..) =
        open_keeping::<File>(fs.clone(), Path::new(DIR), options(Durability::Group)).expect("opens");
    for kind in RecordKind::ALL {
        let at = log.append(Record { kind, payload: b"opaque" }).expect("appends");
        let _ = log.sync(at).expect("syncs");
    }
    let image = fs.crash(3);
    drop(log);
    let opened = open_keeping::<File>(image, Path::new(DIR), options(Durability::Group));
    let (_, seen, _) = opened.expect("opens");
    assert_eq!(seen.iter().map(|(_, kind, _)| *kind).collect::<Vec<_>>(), RecordKind::ALL);
}
