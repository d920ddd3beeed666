//! Power cuts and faults at every operation of a member's storage, and `EtcdLog` on a full disk. `crash/` tests `EtcdLog` too.

mod sample;
mod support;

use std::path::Path;

use bytes::Bytes;
use tsmith_wal::etcd::{DiskStorage, Entry, EtcdLog, HardState, Snapshot, Storage};
use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::testing::{noise, open_keeping};
use tsmith_wal::{Log, LogOptions, Record};

use sample::{DIR, entry, options};
use support::mixed_payload as payload;

const SNAP: &str = "/m/snap";

/// What a raft member saved, and what the storage acknowledged.
#[derive(Debug, Default)]
struct Run {
    created: bool,
    /// The expected log: entries of index 1, 2, ...
    log: Vec<Entry>,
    /// The number of acknowledged entries in it.
    durable: usize,
    /// The log as of the last acknowledged save. A later overwrite may be recovered or not.
    before: Vec<Entry>,
    state: HardState,
    durable_state: HardState,
    snapshot: u64,
}

fn script(fs: &SimFs) -> Run {
    let mut run = Run::default();
    drop(play(fs, &mut run));
    run
}

fn play(fs: &SimFs, run: &mut Run) -> tsmith_wal::Result<()> {
    let mut storage =
        DiskStorage::create(fs.clone(), Path::new(DIR), Path::new(SNAP), Some(b"m"), options())?;
    run.created = true;
    let mut term = 1;
    for round in 0..14u64 {
        let mut next = run.log.len() as u64 + 1;
        run.before = run.log.clone();
        if round % 5 == 4 {
            // A new leader overwrites uncommitted entries.
            term += 1;
            next -= 2;
            run.log.truncate(next as usize - 1);
        }
        let entries: Vec<_> = (next..next + 1 + round % 4).map(|index| entry(term, index)).collect();
        run.log.extend(entries.iter().cloned());
        run.state = HardState { term, vote: 1, commit: next.saturating_sub(3).max(run.state.commit) };
        storage.save(&run.state, &entries)?;
        (run.durable, run.durable_state) = (run.log.len(), run.state);
        run.before = run.log.clone();
        if round % 6 == 3 {
            let index = run.state.commit;
            let snapshot = Snapshot {
                data: Some(Bytes::from(noise(index, 900))),
                index,
                term: run.log[index as usize - 1].term,
                ..Snapshot::default()
            };
            storage.save_snap(&snapshot)?;
            run.snapshot = index;
            storage.release(&snapshot)?;
            tsmith_wal::etcd::purge(fs, Path::new(DIR), ".wal", 2)?;
        }
    }
    storage.close()
}

fn recover(fs: &SimFs, run: &Run) -> Result<u64, String> {
    let opened = DiskStorage::open(fs.clone(), Path::new(DIR), Path::new(SNAP), options());
    let (storage, restored) = match opened {
        Ok(opened) => opened,
        Err(_) if !run.created => return Ok(0),
        Err(error) => return Err(format!("does not open: {error}")),
    };
    storage.close().map_err(|error| format!("does not close: {error}"))?;
    let start = restored.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    if start < run.snapshot {
        return Err(format!("snapshot {start}, acknowledged {}", run.snapshot));
    }
    let found = &restored.contents.entries;
    let end = start as usize + found.len();
    let is = |log: &[Entry]| log.get(start as usize..end) == Some(found);
    // A part of the unacknowledged entries may follow a prefix of the entries before.
    let mixed = found.iter().all(|entry| run.log.contains(entry) || run.before.contains(entry));
    let part = mixed && end < run.log.len().max(run.before.len());
    if !(is(&run.log) || is(&run.before) || part) {
        return Err(format!("{end} entries are no prefix"));
    }
    if end < run.durable.min(run.log.len()) && !is(&run.log[..end]) {
        return Err(format!("{end} of {} acknowledged", run.durable));
    }
    let acknowledged = run.durable.min(run.before.len());
    if run.log == run.before && end < acknowledged {
        return Err(format!("{end} entries, {acknowledged} acknowledged"));
    }
    let (state, durable) = (restored.contents.state, run.durable_state);
    if state != durable && state != run.state && (state.term, state.vote) < (durable.term, durable.vote) {
        return Err(format!("state {state:?}, acknowledged {durable:?}"));
    }
    Ok(end as u64)
}

#[test]
fn a_power_cut_loses_no_acknowledged_entry() {
    let complete = SimFs::default();
    script(&complete);
    for stop in 1..=complete.operations() + 1 {
        let fs = SimFs::default();
        fs.stop_at(stop);
        let run = script(&fs);
        for seed in 0..6 {
            let image = if seed == 0 { fs.kill() } else { fs.crash(seed * 1000 + stop) };
            let name = complete.operation(stop).unwrap_or("end");
            let at = format!("stop {stop} ({name}), seed {seed}");
            let recovering = |fs: &SimFs| recover(fs, &run).unwrap_or_else(|error| panic!("{at}: {error}"));
            // A crash during recovery, then a second recovery. Recovered entries stay.
            let again = image.kill();
            again.stop_at(3 + seed * 7);
            drop(DiskStorage::open(again.clone(), Path::new(DIR), Path::new(SNAP), options()));
            recovering(&again.crash(seed));
            let first = recovering(&image);
            assert_eq!(first, recovering(&image.crash(seed)), "{at}");
        }
    }
}

/// A fault at any operation is an error, and no entry is acknowledged after it.
#[test]
fn no_entry_is_acknowledged_after_a_fault() {
    let complete = SimFs::default();
    script(&complete);
    for fault in [Fault::Io, Fault::Full] {
        for at in 1..=complete.operations() {
            let fs = SimFs::default();
            fs.fail_at(at, fault);
            let run = script(&fs);
            for seed in 0..3 {
                let name = complete.operation(at).unwrap_or("?");
                recover(&fs.crash(seed), &run)
                    .unwrap_or_else(|error| panic!("{fault:?} at {at} ({name}), seed {seed}: {error}"));
            }
        }
    }
}

/// Story: a segment was renamed, and the sync of the directory failed. The next process continued in that segment. After a
/// power cut the new name was gone, and with it the acknowledged entries.
#[test]
fn the_next_process_is_durable_after_a_fault() {
    let complete = SimFs::default();
    script(&complete);
    let open = |fs: &SimFs| DiskStorage::open(fs.clone(), Path::new(DIR), Path::new(SNAP), options());
    for fault in [Fault::Io, Fault::Full] {
        for at in 1..=complete.operations() {
            let fs = SimFs::default();
            fs.fail_at(at, fault);
            if !script(&fs).created {
                continue;
            }
            let (next, name) = (fs.kill(), complete.operation(at).unwrap_or("?"));
            let (mut storage, restored) = open(&next).expect("opens");
            let start = restored.snapshot.map_or(0, |snapshot| snapshot.index);
            let index = start + restored.contents.entries.len() as u64 + 1;
            let saved = entry(9, index);
            let state = HardState { term: 9, ..restored.contents.state };
            storage.save(&state, std::slice::from_ref(&saved)).expect("saves");
            drop(storage);
            for seed in 0..3 {
                let opened = open(&next.crash(seed));
                let (_, restored) =
                    opened.unwrap_or_else(|error| panic!("{fault:?} at {at} ({name}), seed {seed}: {error}"));
                assert_eq!(
                    restored.contents.entries.last(),
                    Some(&saved),
                    "{fault:?} at {at} ({name}), seed {seed}"
                );
            }
        }
    }
}

/// On a full disk `EtcdLog` opens, replays, cuts and truncates, but refuses records. It accepts records again when there is
/// space: that of truncated segments, or of other files if the log has only one segment.
#[test]
fn an_etcd_log_opens_and_cuts_on_a_full_disk() {
    for count in [2, 9] {
        let fs = SimFs::default();
        let options = LogOptions { segment_bytes: 2048, ..LogOptions::default() };
        let open = || open_keeping::<EtcdLog<SimFs>>(fs.clone(), Path::new(DIR), options).expect("opens");
        let put = |log: &EtcdLog<SimFs>, number| {
            log.append(Record::write(&payload(number))).and_then(|at| log.sync(at))
        };
        let (log, ..) = open();
        (0..count).for_each(|number| drop(put(&log, number).expect("there is space")));
        log.close().expect("closes");
        let used = fs.snapshot().values().map(|bytes| bytes.len() as u64).sum();
        fs.set_space(Some(used));
        let (log, seen, recovery) = open();
        assert!(recovery.gaps.is_empty());
        assert!(seen.into_iter().map(|(_, _, bytes)| bytes).eq((0..count).map(payload)));
        let is_refused = |log: &EtcdLog<SimFs>| put(log, count).expect_err("no space").is_full();
        assert!(is_refused(&log));
        let cut = log.cut().expect("cuts");
        assert!(is_refused(&log));
        log.truncate_front(cut).expect("truncates");
        if count == 2 {
            assert!(is_refused(&log));
            fs.set_space(None);
        }
        assert!(put(&log, count).expect("there is space").at() > cut);
        log.truncate_front(cut).expect("truncates");
        drop(log);
        let (_, seen, _) = open();
        assert_eq!(seen.into_iter().map(|(_, _, bytes)| bytes).collect::<Vec<_>>(), [payload(count)]);
    }
}
