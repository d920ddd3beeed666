//! Every sync of an open is needed, and so is the sync that seals a segment. The tests leave out one sync at a time, and some
//! power cut must show it. `crash/missing_syncs.rs` does the same for appends.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::testing::{Replayed, noise, open_keeping};
use tsmith_wal::{FileLog, Log, LogOptions, MmapLog, NativeLog, Record, Result};

use support::is_sync;

const DIR: &str = "/data/wal";
const SEEDS: u64 = 8;

fn open<L: Log<Fs = SimFs>>(fs: &SimFs) -> Result<(L, Vec<u32>)> {
    let (log, seen, _) = open_keeping(fs.clone(), Path::new(DIR), options())?;
    Ok((log, numbers(&seen)))
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 4096, ..LogOptions::default() }
}

fn numbers(seen: &[Replayed]) -> Vec<u32> {
    let number = |payload: &[u8]| u32::from_be_bytes(payload[..4].try_into().expect("a number"));
    seen.iter().map(|(.., payload)| number(payload)).collect()
}

fn put<L: Log>(log: &L, number: u32, len: usize) -> Result<()> {
    let payload = [&number.to_be_bytes()[..], &noise(number.into(), len)].concat();
    let at = log.append(Record::write(&payload))?;
    log.sync(at).map(drop)
}

/// Appends, truncates and appends, until something fails.
fn first_process<L: Log<Fs = SimFs>>(fs: &SimFs) {
    let write = || -> Result<()> {
        let (log, _) = open::<L>(fs)?;
        put(&log, 0, 900)?;
        let cut = log.cut()?;
        put(&log, 1, 700)?;
        log.truncate_front(cut)?;
        // The mark at the end of the segment crosses into another sector.
        put(&log, 2, 1250)
    };
    drop(write());
}

/// What the log confirmed to the second process.
#[derive(Default)]
struct Confirmed {
    /// The records that are durable: the replayed ones and further ones.
    records: Vec<u32>,
    /// Whether the first record is truncated.
    truncated: bool,
    /// The operations of the open.
    operations: u64,
}

impl Confirmed {
    fn is_kept(&self, found: &[u32]) -> bool {
        found.starts_with(&self.records) && !(self.truncated && found.contains(&0))
    }
}

fn second_process<L: Log<Fs = SimFs>>(fs: &SimFs) -> Confirmed {
    let opened = open_keeping::<L>(fs.clone(), Path::new(DIR), options());
    let Ok((log, seen, _)) = opened else { return Confirmed::default() };
    let operations = fs.operations();
    let mut records = numbers(&seen);
    let replayed = records.len();
    // The first process has truncated record 0. This truncation makes it durable.
    let truncated = seen.first().is_some_and(|(at, ..)| records[0] == 1 && log.truncate_front(*at).is_ok());
    for number in [10, 11] {
        if put(&log, number, 600).is_err() {
            break;
        }
        records.push(number);
    }
    // The first new record confirms the replayed ones.
    if records.len() == replayed {
        records.clear();
    }
    Confirmed { records, truncated, operations }
}

/// Every kind of sync of an open, with the operation before it, and whether some power cut shows that it is left out.
fn syncs_of_opening<L: Log<Fs = SimFs>>() -> BTreeMap<(String, String), bool> {
    let mut kinds = BTreeMap::new();
    let complete = SimFs::default();
    first_process::<L>(&complete);
    for died in 1..=complete.operations() + 1 {
        let fs = SimFs::default();
        fs.stop_at(died);
        first_process::<L>(&fs);
        for image in [fs.kill(), fs.crash(died), fs.crash(died + 1000)] {
            let trial = image.kill();
            let opened = second_process::<L>(&trial).operations;
            let name = |at: u64| trial.operation(at).unwrap_or("none").to_owned();
            for sync in (1..=opened).filter(|at| is_sync(&name(*at))) {
                let detected = kinds.entry((name(sync - 1), name(sync))).or_insert(false);
                let mut stops = opened + 1..=trial.operations() + 1;
                *detected = *detected
                    || stops.any(|stop| {
                        let fs = image.kill();
                        fs.fail_at(sync, Fault::IgnoredSync);
                        fs.stop_at(stop);
                        let confirmed = second_process::<L>(&fs);
                        (0..SEEDS).any(|seed| {
                            !open::<L>(&fs.crash(seed * 1000 + stop))
                                .is_ok_and(|(_, found)| confirmed.is_kept(&found))
                        })
                    });
            }
        }
    }
    kinds
}

/// The sync of an emptied segment before its removal matters only if the sync of the directory fails. `crash/openings.rs`
/// tests that.
#[test]
fn a_missing_sync_of_an_open_is_detected() {
    let logs = [
        ("file", syncs_of_opening::<FileLog<SimFs>>()),
        ("mmap", syncs_of_opening::<MmapLog<SimFs>>()),
        ("native", syncs_of_opening::<NativeLog<SimFs>>()),
    ];
    for (log, kinds) in logs {
        assert!(kinds.len() >= 3, "{log}: {kinds:?}");
        let is_emptied = |(before, sync): &(String, String)| before == "set_len" && sync == "sync_all";
        let undetected: Vec<_> =
            kinds.iter().filter(|(kind, detected)| !**detected && !is_emptied(kind)).collect();
        assert!(undetected.is_empty(), "{log}: no power cut shows {undetected:?} of {kinds:?}");
    }
}

/// Whether some power cut shows that the sync of a sealed segment is left out. The mark at the end of the segment crosses into
/// its last sector. If that sector is lost and a later segment exists, this is corruption and the log does not open.
fn detects_a_missing_sync_of_a_sealed_segment<L: Log<Fs = SimFs>>() -> bool {
    let run = |len, fs: &SimFs| {
        let (log, _) = open::<L>(fs).expect("opens");
        put(&log, 0, len).expect("puts");
        let _ = log.cut().expect("cuts");
        put(&log, 1, 10).expect("puts");
        std::mem::forget(log);
    };
    let complete = SimFs::default();
    run(400, &complete);
    let name = |at: u64| complete.operation(at).unwrap_or_default();
    let sync = (2..=complete.operations()).rfind(|at| name(at - 1) == "set_len" && name(*at) == "sync_all");
    let sync = sync.expect("the sealed segment is synced");
    (400..470).any(|len| {
        let fs = SimFs::default();
        fs.fail_at(sync, Fault::IgnoredSync);
        run(len, &fs);
        let seeds = (0..SEEDS).map(|seed| len as u64 * 1000 + seed);
        seeds.into_iter().any(|seed| !open::<L>(&fs.crash(seed)).is_ok_and(|(_, found)| found == [0, 1]))
    })
}

#[test]
fn a_missing_sync_of_a_sealed_segment_is_detected() {
    assert!(detects_a_missing_sync_of_a_sealed_segment::<FileLog<SimFs>>(), "file");
    assert!(detects_a_missing_sync_of_a_sealed_segment::<MmapLog<SimFs>>(), "mmap");
    assert!(detects_a_missing_sync_of_a_sealed_segment::<NativeLog<SimFs>>(), "native");
}
