//! Checks the crash tests themselves: they detect every missing sync.

use std::path::Path;

use tsmith_wal::testing::{Fault, SimFs};
use tsmith_wal::{Durability, Log, Record};

use crate::script::{DIR, Etcd, File, Mmap, Native, SEEDS, options, recover, script};
use crate::support::is_sync;

/// Leaves out one sync of a file, a map or a directory. A power cut soon after must show it: a record is lost, or InfluxDB
/// would continue a segment of ours.
///
/// Two kinds of syncs are exceptions. When a segment is sealed, all its groups are already synced. The last sync keeps only the
/// mark that distinguishes corruption from a torn write; `needed_syncs.rs` tests it. The other exception is the sync of a head
/// before its segment grows; `a_missing_sync_before_growth_is_detected` tests it.
fn every_sync_is_needed<L: Log<Fs = SimFs>>() {
    let complete = SimFs::default();
    let operations = script::<L>(&complete, Durability::Group).operations;
    let name = |at: u64| complete.operation(at).unwrap_or("?");
    let syncs: Vec<u64> = (1..=operations)
        .filter(|at| is_sync(name(*at)) && name(at - 1) != "set_len" && !before_growth(&complete, *at))
        .collect();
    assert!(syncs.len() > 20, "the script syncs often");
    let kind = |at: u64| (name(at - 1).to_owned(), name(at).to_owned());
    let mut found = std::collections::BTreeSet::new();
    let mut undetected = Vec::new();
    for sync in syncs {
        let is_detected = |seeds: std::ops::Range<u64>, stop| {
            let fs = SimFs::default();
            fs.fail_at(sync, Fault::IgnoredSync);
            fs.stop_at(stop);
            let run = script::<L>(&fs, Durability::Group);
            seeds.into_iter().any(|seed| {
                let image = fs.crash(seed);
                let unguarded = !is_guarded(&image);
                unguarded || recover::<L>(&image).and_then(|(_, recovered)| run.check(&recovered)).is_err()
            })
        };
        // Begin with few seeds at every operation: they detect most missing syncs.
        let detected = (0..8).any(|round| {
            let seeds = round * SEEDS..(round + 1) * SEEDS;
            (sync + 1..=operations + 1).any(|stop| is_detected(seeds.clone(), stop))
        });
        if detected {
            found.insert(kind(sync));
        } else {
            undetected.push(sync);
        }
    }
    // Few seeds detect the missing sync of a head before a large first group: all of the group must survive, and the head must
    // be lost. So it is enough to detect it for one segment.
    undetected.retain(|at| name(*at) != "sync_all" || !found.contains(&kind(*at)));
    let undetected: Vec<_> = undetected.into_iter().map(|at| (at, kind(at))).collect();
    assert!(undetected.is_empty(), "no power cut shows {undetected:?}");
}

of_every_log! {
    fn a_missing_sync_is_detected() {
        every_sync_is_needed::<L>();
    }
}

/// If a segment grows before its head is durable, a power cut may replace the head with old bytes of the disk, also with
/// records of an earlier segment.
fn grow_after_the_head<L: Log<Fs = SimFs>>() {
    let write = |fs: &SimFs| {
        let opened = L::open(fs.clone(), Path::new(DIR), options(Durability::Group), |_, _| Ok(()));
        let (log, _) = opened.expect("opens");
        drop(log.append(Record::write(b"first")).and_then(|at| log.sync(at)));
    };
    let complete = SimFs::default();
    write(&complete);
    let segment = Path::new(DIR).join("_00001.wal");
    let head = complete.snapshot()[&segment][..23].to_vec();
    let sync =
        (1..=complete.operations()).find(|at| before_growth(&complete, *at)).expect("a segment is created");
    for ignored in [false, true] {
        let lost = |seed| {
            let fs = SimFs::default();
            if ignored {
                fs.fail_at(sync, Fault::IgnoredSync);
            }
            // After the growth.
            fs.stop_at(sync + 2);
            write(&fs);
            let found = fs.crash(seed).snapshot().remove(&segment).unwrap_or_default();
            found.len() > head.len() && !found.starts_with(&head)
        };
        assert_eq!((0..400).any(lost), ignored, "a segment has grown without its head");
    }
}

#[test]
fn a_missing_sync_before_growth_is_detected() {
    grow_after_the_head::<File>();
    grow_after_the_head::<Mmap>();
}

/// Whether operation `at` syncs the head of a segment just before the segment grows.
fn before_growth(fs: &SimFs, at: u64) -> bool {
    fs.operation(at) == Some("sync_all") && fs.operation(at + 1) == Some("allocate")
}

/// Whether the last segment is empty, or all of them are.
pub(crate) fn is_guarded(image: &SimFs) -> bool {
    let files = image.snapshot();
    let last = files.iter().rfind(|(path, _)| path.extension().is_some_and(|extension| extension == "wal"));
    last.is_none_or(|(_, bytes)| bytes.is_empty()) || files.values().all(Vec::is_empty)
}
