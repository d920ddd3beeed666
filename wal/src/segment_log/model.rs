//! Models of group commit and its poisoning: every order of two or three threads (`loom`), and many orders of
//! eight (`shuttle`).
//!
//! The models run the code of this module with other locks. Below it is the simulated file system, whose
//! state after a power cut shows whether an acknowledged record was durable.
//!
//! ```text
//! RUSTFLAGS="--cfg loom"    cargo test --release -p tsmith-wal --lib model
//! RUSTFLAGS="--cfg shuttle" cargo test --release -p tsmith-wal --lib model
//! ```

use std::path::Path;
use std::sync::Arc;

#[cfg(loom)]
use loom::thread;
#[cfg(shuttle)]
use shuttle::thread;

use super::*;
use crate::file::PlainFile;
use crate::replay_only;
use crate::segment::Influx;
use crate::testing::{Fault, SimFs};
use crate::{ErrorKind, RecoveryMode};

type Simulated = SegmentLog<PlainFile<SimFs>, Influx>;

const DIR: &str = "/wal";

fn open(fs: &SimFs) -> Arc<Simulated> {
    let options = LogOptions { segment_bytes: 4096, ..LogOptions::default() };
    let opened = Simulated::open(fs.clone(), Path::new(DIR), options, |_, _| Ok(()));
    Arc::new(opened.expect("opens").0)
}

/// Whether the record survives every power cut now.
fn survives(fs: &SimFs, payload: &[u8]) -> bool {
    (0..8).all(|seed| {
        let mut found = false;
        let read = replay_only(&fs.crash(seed), Path::new(DIR), RecoveryMode::Strict, |_, record| {
            found |= record.payload == payload;
            Ok(())
        });
        read.is_ok() && found
    })
}

/// Appends and waits.
fn put(log: &Simulated, payload: &[u8]) -> Result<Durable> {
    log.append(Record::write(payload)).and_then(|at| log.sync(at))
}

/// The number of the first sync of a group. Up to there a single leader does the same in every order.
fn first_sync() -> u64 {
    let fs = SimFs::default();
    let log = open(&fs);
    let _ = put(&log, b"alone").expect("syncs");
    (1..).find(|&at| fs.operation(at) == Some("sync_data")).expect("there is one")
}

/// Each thread appends and syncs `records` records and checks the receipts.
fn writers(threads: u8, records: u8) {
    let fs = SimFs::default();
    let log = open(&fs);
    let write = |thread: u8| {
        let (log, fs) = (Arc::clone(&log), fs.clone());
        move || {
            for record in 0..records {
                let payload = [thread, record, 7];
                let _ = put(&log, &payload).expect("no fault");
                assert!(survives(&fs, &payload), "acknowledged, and not durable");
            }
        }
    };
    let handles: Vec<_> = (1..threads).map(|thread| thread::spawn(write(thread))).collect();
    write(0)();
    handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
    let metrics = log.metrics();
    assert_eq!(metrics.appends, u64::from(threads) * u64::from(records));
    assert_eq!(metrics.group_records.sum, metrics.appends, "every record in one group");
}

/// The first sync fails. After that nothing is acknowledged, then or later.
fn failing_writers(threads: u8, at: u64) {
    let fs = SimFs::default();
    fs.fail_at(at, Fault::Io);
    let log = open(&fs);
    let write = |thread: u8| {
        let log = Arc::clone(&log);
        move || {
            let error = put(&log, &[thread]).expect_err("the sync failed, or an earlier one did");
            assert!(matches!(error.kind(), ErrorKind::Io { .. } | ErrorKind::Poisoned(_)), "{error}");
            put(&log, &[thread, 2]).expect_err("the log is poisoned");
        }
    };
    let handles: Vec<_> = (1..threads).map(|thread| thread::spawn(write(thread))).collect();
    write(0)();
    handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
}

/// One thread closes the log while others write. Each write is refused or durable, and no thread waits
/// forever.
fn writers_and_a_closer(threads: u8) {
    let fs = SimFs::default();
    let log = open(&fs);
    let write = |thread: u8| {
        let (log, fs) = (Arc::clone(&log), fs.clone());
        move || match put(&log, &[thread]) {
            Ok(_) => assert!(survives(&fs, &[thread]), "acknowledged, and not durable"),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Closed), "{error}"),
        }
    };
    let handles: Vec<_> = (1..threads).map(|thread| thread::spawn(write(thread))).collect();
    log.close().expect("closes");
    handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
}

#[cfg(loom)]
fn every_order(check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.max_branches = 20_000;
    model.check(check);
}

#[cfg(loom)]
#[test]
fn two_writers_in_every_order() {
    every_order(|| writers(2, 2));
}

#[cfg(loom)]
#[test]
fn three_writers_in_every_order() {
    every_order(|| writers(3, 1));
}

#[cfg(loom)]
#[test]
fn a_failed_sync_in_every_order() {
    // These locks exist only inside a model, so the number is determined in one.
    let at = Arc::new(std::sync::OnceLock::new());
    let found = Arc::clone(&at);
    loom::model(move || {
        let _ = found.set(first_sync());
    });
    let at = *at.get().expect("was found");
    every_order(move || failing_writers(2, at));
    every_order(move || failing_writers(3, at));
}

#[cfg(loom)]
#[test]
fn a_close_in_every_order() {
    every_order(|| writers_and_a_closer(2));
    every_order(|| writers_and_a_closer(3));
}

/// Random orders, and orders chosen by PCT with three priority changes.
#[cfg(shuttle)]
fn many_orders(check: fn()) {
    const SCHEDULES: usize = 2_500;
    shuttle::check_random(check, SCHEDULES);
    shuttle::check_pct(check, SCHEDULES, 3);
}

#[cfg(shuttle)]
#[test]
fn eight_writers_in_many_orders() {
    many_orders(|| writers(8, 2));
}

#[cfg(shuttle)]
#[test]
fn a_failed_sync_of_eight_in_many_orders() {
    many_orders(|| failing_writers(8, first_sync()));
}

#[cfg(shuttle)]
#[test]
fn a_close_beside_seven_in_many_orders() {
    many_orders(|| writers_and_a_closer(8));
}
