//! The syncs that opening a log does, and the one that ends a segment: each is left out in turn, and a power cut must
//! show it. Those of appending are in `crash/`.

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
    LogOptions::default().segment_bytes(4096)
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

/// Writes, forgets and writes, until something fails.
fn first<L: Log<Fs = SimFs>>(fs: &SimFs) {
    let write = || -> Result<()> {
        let (log, _) = open::<L>(fs)?;
        put(&log, 0, 900)?;
        let cut = log.cut()?;
        put(&log, 1, 700)?;
        log.truncate_front(cut)?;
        // The mark of the end crosses into another sector.
        put(&log, 2, 1250)
    };
    drop(write());
}

/// What the next process was told.
#[derive(Default)]
struct Told {
    /// It finds these, and adds some; as far as that is confirmed.
    confirmed: Vec<u32>,
    /// The first record is forgotten.
    forgotten: bool,
    /// So many operations opening took.
    opened: u64,
}

impl Told {
    fn is_kept(&self, found: &[u32]) -> bool {
        found.starts_with(&self.confirmed) && !(self.forgotten && found.contains(&0))
    }
}

fn second<L: Log<Fs = SimFs>>(fs: &SimFs) -> Told {
    let opened = open_keeping::<L>(fs.clone(), Path::new(DIR), options());
    let Ok((log, seen, _)) = opened else { return Told::default() };
    let opened = fs.operations();
    let mut confirmed = numbers(&seen);
    let found = confirmed.len();
    // Somebody has forgotten it already.
    let forgotten = seen.first().is_some_and(|(at, ..)| confirmed[0] == 1 && log.truncate_front(*at).is_ok());
    for number in [10, 11] {
        if put(&log, number, 600).is_err() {
            break;
        }
        confirmed.push(number);
    }
    // What was found is confirmed with the first record behind it.
    if confirmed.len() == found {
        confirmed.clear();
    }
    Told { confirmed, forgotten, opened }
}

/// Every kind of sync of an opening, by what precedes it, and whether a power cut showed its absence.
fn syncs_of_opening<L: Log<Fs = SimFs>>() -> BTreeMap<(String, String), bool> {
    let mut kinds = BTreeMap::new();
    let whole = SimFs::default();
    first::<L>(&whole);
    for died in 1..=whole.operations() + 1 {
        let fs = SimFs::default();
        fs.stop_at(died);
        first::<L>(&fs);
        for image in [fs.kill(), fs.crash(died), fs.crash(died + 1000)] {
            let trial = image.kill();
            let Told { opened, .. } = second::<L>(&trial);
            let name = |at: u64| trial.operation(at).unwrap_or("none").to_owned();
            for sync in (1..=opened).filter(|at| is_sync(&name(*at))) {
                let noticed = kinds.entry((name(sync - 1), name(sync))).or_insert(false);
                let mut stops = opened + 1..=trial.operations() + 1;
                *noticed = *noticed
                    || stops.any(|stop| {
                        let fs = image.kill();
                        fs.fail_at(sync, Fault::IgnoredSync);
                        fs.stop_at(stop);
                        let told = second::<L>(&fs);
                        (0..SEEDS).any(|seed| {
                            !open::<L>(&fs.crash(seed * 1000 + stop))
                                .is_ok_and(|(_, found)| told.is_kept(&found))
                        })
                    });
            }
        }
    }
    kinds
}

/// The sync of an emptied segment before its removal matters only if the sync of the directory fails. `openings.rs` tests that.
#[test]
fn every_sync_of_an_opening_is_noticed_when_missing() {
    let logs = [
        ("file", syncs_of_opening::<FileLog<SimFs>>()),
        ("mmap", syncs_of_opening::<MmapLog<SimFs>>()),
        ("native", syncs_of_opening::<NativeLog<SimFs>>()),
    ];
    for (log, kinds) in logs {
        assert!(kinds.len() >= 3, "{log}: {kinds:?}");
        let is_emptied = |(before, sync): &(String, String)| before == "set_len" && sync == "sync_all";
        let unnoticed: Vec<_> =
            kinds.iter().filter(|(kind, noticed)| !**noticed && !is_emptied(kind)).collect();
        assert!(unnoticed.is_empty(), "{log}: no test detects {unnoticed:?} of {kinds:?}");
    }
}

/// Whether some power cut shows that the sync at the end of a segment was left out. Its last sector is torn where the mark
/// of the end crosses into it, and behind a later segment that is damage: the log does not open.
fn the_sync_of_an_ended_segment_is_noticed<L: Log<Fs = SimFs>>() -> bool {
    let run = |len, fs: &SimFs| {
        let (log, _) = open::<L>(fs).expect("opens");
        put(&log, 0, len).expect("puts");
        let _ = log.cut().expect("cuts");
        put(&log, 1, 10).expect("puts");
        std::mem::forget(log);
    };
    let sound = SimFs::default();
    run(400, &sound);
    let name = |at: u64| sound.operation(at).unwrap_or_default();
    let sync = (2..=sound.operations()).rfind(|at| name(at - 1) == "set_len" && name(*at) == "sync_all");
    let sync = sync.expect("a segment that ends is synced");
    (400..470).any(|len| {
        let fs = SimFs::default();
        fs.fail_at(sync, Fault::IgnoredSync);
        run(len, &fs);
        let seeds = (0..SEEDS).map(|seed| len as u64 * 1000 + seed);
        seeds.into_iter().any(|seed| !open::<L>(&fs.crash(seed)).is_ok_and(|(_, found)| found == [0, 1]))
    })
}

#[test]
fn the_sync_that_ends_a_segment_is_noticed_when_missing() {
    assert!(the_sync_of_an_ended_segment_is_noticed::<FileLog<SimFs>>(), "file");
    assert!(the_sync_of_an_ended_segment_is_noticed::<MmapLog<SimFs>>(), "mmap");
    assert!(the_sync_of_an_ended_segment_is_noticed::<NativeLog<SimFs>>(), "native");
}
