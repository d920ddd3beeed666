//! Lost records of an etcd log. If a loss of acknowledged records can be detected, the log does not open and its check fails.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use tsmith_wal::etcd::{
    DiskStorage, EtcdError, HardState, SnapshotRecord, Storage, Strictness, Wal, WalOptions, check, purge,
};
use tsmith_wal::fs::{Fs, OsFs};
use tsmith_wal::{ErrorKind, Result};

#[path = "etcd/scratch.rs"]
mod scratch;

use scratch::{Scratch, ZERO, entries, entry, etcd_error, options, snapshot, state};

/// Story: the length of a record in the middle of the log becomes zero. etcd silently takes this for the end of the log, and
/// zeros everything after it.
#[test]
fn records_after_the_end_are_reported_or_refused() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    for index in 1..=6 {
        wal.save(&state(index - 1), &[entry(index, 100)]).expect("saves");
    }
    wal.close().expect("closes");
    let mut bytes = std::fs::read(scratch.last()).expect("reads");
    let fourth = bytes.windows(100).position(|at| at.iter().all(|&byte| byte == 5)).expect("entry 4");
    let length =
        (fourth - 40..fourth).rfind(|at| at % 8 == 0 && bytes[at + 7] & 0x80 != 0 && bytes[at + 6] == 0);
    bytes[length.expect("a length")..][..8].fill(0);
    std::fs::write(scratch.last(), &bytes).expect("writes");
    let open = |strictness| {
        let options = WalOptions { strictness, ..options() };
        Wal::open(OsFs, &scratch.wal(), &ZERO, options)
    };
    let refused = open(Strictness::default()).expect_err("records follow");
    let is_lost = matches!(etcd_error(&refused), EtcdError::AcknowledgedLost { records } if *records >= 5);
    assert!(is_lost && refused.offset().is_some(), "{refused}");
    assert_eq!(std::fs::read(scratch.last()).expect("reads"), bytes);
    let (wal, contents) = open(Strictness::Etcd).expect("opens as etcd does");
    let wiped = contents.tail.expect("a report");
    assert!(contents.entries.len() == 3 && wiped.records >= 5 && wiped.bytes > 300, "{wiped:?}");
    wal.close().expect("closes");
}

/// A record after a hole proves that the hole is corruption only if it belongs to a later write. A crash may keep any sectors
/// of one write.
#[test]
fn only_a_later_write_proves_the_one_before() {
    type Save = fn(&mut Wal);
    let one: Save = |wal| wal.save(&state(3), &entries(4..=9)).expect("saves");
    let commits: Save = |wal| {
        (2..=3).for_each(|commit| wal.save(&state(commit), &[]).expect("saves"));
        wal.save(&state(7), &entries(4..=7)).expect("saves");
    };
    let entries_after: Save = |wal| {
        wal.save(&state(3), &entries(4..=6)).expect("saves");
        wal.save(&HardState::default(), &entries(7..=8)).expect("saves");
    };
    let commit_after: Save = |wal| {
        wal.save(&state(3), &entries(4..=6)).expect("saves");
        wal.save(&state(4), &[]).expect("saves");
    };
    let entry_after: Save = |wal| {
        wal.save(&state(3), &entries(4..=4)).expect("saves");
        wal.save(&state(4), &entries(5..=5)).expect("saves");
    };
    let commits_before: Save = |wal| {
        (2..=3).for_each(|commit| wal.save(&state(commit), &[]).expect("saves"));
        wal.save(&state(3), &entries(4..=4)).expect("saves");
    };
    let snapshot_after: Save = |wal| {
        wal.save(&HardState::default(), &entries(4..=6)).expect("saves");
        wal.save_snapshot(&SnapshotRecord::new(2, 1)).expect("saves");
    };
    let snapshot_before: Save = |wal| {
        wal.save(&state(3), &[]).expect("saves");
        wal.save_snapshot(&SnapshotRecord::new(2, 1)).expect("saves");
        wal.save(&state(4), &[]).expect("saves");
    };
    let vote: Save = |wal| {
        wal.save(&HardState { term: 2, vote: 3, commit: 1 }, &[]).expect("saves");
        (2..=3).for_each(|commit| wal.save(&HardState { term: 2, vote: 3, commit }, &[]).expect("saves"));
    };
    let vote_last: Save = |wal| {
        (2..=3).for_each(|commit| wal.save(&state(commit), &[]).expect("saves"));
        wal.save(&HardState { term: 2, vote: 3, commit: 3 }, &[]).expect("saves");
    };
    let overwrite: Save = |wal| {
        wal.save(&HardState::default(), &entries(4..=7)).expect("saves");
        wal.save(&HardState::default(), &entries(6..=6)).expect("saves");
    };
    let cases = [
        // A save with a new vote is synced, so the vote was durable before the states after it.
        (vote, true),
        (vote_last, false),
        (overwrite, true),
        (one, false),
        (commits, false),
        (entries_after, true),
        (commit_after, true),
        // A state after the hole may belong to the same write, but not if an entry is missing before the next entry.
        (entry_after, true),
        (commits_before, false),
        (snapshot_after, true),
        (snapshot_before, true),
    ];
    for (number, (save, is_lost)) in cases.into_iter().enumerate() {
        let scratch = Scratch::new();
        let mut wal = scratch.create();
        wal.save(&state(1), &entries(1..=3)).expect("saves");
        let at = wal.written_bytes() as usize;
        save(&mut wal);
        wal.close().expect("closes");
        let mut bytes = std::fs::read(scratch.last()).expect("reads");
        bytes[at..at + 8].fill(0);
        std::fs::write(scratch.last(), &bytes).expect("writes");
        let tail = check(&OsFs, &scratch.wal(), None).expect("reads").tail.expect("records");
        assert_eq!(tail.acknowledged, is_lost, "case {number}: {tail:?}");
        assert_eq!(scratch.open(&ZERO).is_err(), is_lost, "case {number}");
    }
}

/// Story: the sectors of the last entries became zero, and only states followed. The last state said that these entries were
/// committed, so they had been saved before.
#[test]
fn a_second_state_proves_the_committed_entries() {
    for (commits, is_lost) in [(&[3, 4][..], true), (&[3, 5], true), (&[5], false), (&[2, 3], false)] {
        let scratch = Scratch::new();
        let mut wal = scratch.create();
        wal.save(&state(1), &entries(1..=3)).expect("saves");
        let at = wal.written_bytes() as usize;
        wal.save(&HardState::default(), &entries(4..=5)).expect("saves");
        let end = wal.written_bytes() as usize;
        for &commit in commits {
            wal.save(&state(commit), &[]).expect("saves");
        }
        wal.close().expect("closes");
        let mut bytes = std::fs::read(scratch.last()).expect("reads");
        bytes[at..end].fill(0);
        std::fs::write(scratch.last(), &bytes).expect("writes");
        let tail = check(&OsFs, &scratch.wal(), None).expect("reads").tail.expect("a tail");
        assert_eq!(tail.acknowledged, is_lost, "{commits:?}: {tail:?}");
    }
}

/// Story: a power cut left a hole in states that need not be durable, and a second hole in the first entries after them. An
/// open took these entries for acknowledged.
#[test]
fn missing_entries_in_a_second_hole_prove_nothing() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    wal.save(&state(1), &entries(1..=5)).expect("saves");
    let first = wal.written_bytes() as usize;
    (2..=4).for_each(|commit| wal.save(&state(commit), &[]).expect("saves"));
    let second = wal.written_bytes() as usize;
    wal.save(&state(5), &entries(6..=12)).expect("saves");
    wal.close().expect("closes");
    let mut bytes = std::fs::read(scratch.last()).expect("reads");
    bytes[first..first + 8].fill(0);
    bytes[second..second + 64].fill(0);
    std::fs::write(scratch.last(), &bytes).expect("writes");
    let (wal, contents) = scratch.open(&ZERO).expect("opens");
    let wiped = contents.tail.expect("a report");
    assert!(contents.entries.len() == 5 && wiped.records >= 5, "{wiped:?}");
    wal.close().expect("closes");
}

/// Story: the head of a segment was corrupt. Opening or repair took this for a torn write, cut the segment to zero bytes with
/// its acknowledged entries, and then refused it.
#[test]
fn a_corrupt_head_is_no_torn_tail() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    wal.save(&state(1), &entries(1..=3)).expect("saves");
    wal.cut().expect("cuts");
    wal.save(&state(3), &entries(4..=6)).expect("saves");
    wal.close().expect("closes");
    let intact = std::fs::read(scratch.last()).expect("reads");
    // The data and the length of the checksum record, then those of the metadata record.
    for at in [8, 0, 24, 16] {
        let mut bytes = intact.clone();
        bytes[at..at + 8].fill(0);
        std::fs::write(scratch.last(), &bytes).expect("writes");
        let opened = scratch.open(&ZERO).map(drop);
        let repaired = tsmith_wal::etcd::repair(&OsFs, &scratch.wal()).map(drop);
        assert!(opened.is_err(), "{at}: opened");
        assert!(at % 16 == 0 || repaired.is_err(), "{at}: repaired");
        assert!(check(&OsFs, &scratch.wal(), None).is_err(), "{at}: the check reports no error");
        assert!(std::fs::read(scratch.last()).expect("reads") == bytes, "{at}: changed");
    }
}

/// Story: without the directory of snapshots, `verify` checked only the checksums of a log. Only opening it reported entries
/// that were missing in the middle.
#[test]
fn missing_entries_without_a_snapshot_are_detected() {
    for (snapshot, is_complete) in [(0, false), (1, false), (2, true), (5, true)] {
        let scratch = Scratch::new();
        let mut wal = scratch.create();
        wal.save(&state(1), &entries(1..=1)).expect("saves");
        if snapshot > 0 {
            wal.save_snapshot(&SnapshotRecord::new(snapshot, 1)).expect("saves");
        }
        wal.save(&state(3), &entries(3..=4)).expect("saves");
        wal.close().expect("closes");
        let checked = check(&OsFs, &scratch.wal(), None);
        assert_eq!(checked.is_ok(), is_complete, "snapshot {snapshot}");
        if let Err(error) = checked {
            let is_gap = *etcd_error(&error) == EtcdError::Gap { index: 3, last: 1 };
            assert!(is_gap && error.offset().is_some() && error.path().is_some(), "{error}");
        }
    }
}

/// After a snapshot from the leader, a follower's entries continue at its index, so none is missing before them.
#[test]
fn entries_after_a_snapshot_prove_nothing() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    wal.save(&state(1), &entries(1..=3)).expect("saves");
    wal.save_snapshot(&SnapshotRecord::new(20, 1)).expect("saves");
    let at = wal.written_bytes() as usize;
    (0..3).for_each(|_| wal.save(&state(20), &[]).expect("saves"));
    wal.save(&state(21), &entries(21..=21)).expect("saves");
    wal.close().expect("closes");
    let mut bytes = std::fs::read(scratch.last()).expect("reads");
    bytes[at..at + 8].fill(0);
    std::fs::write(scratch.last(), &bytes).expect("writes");
    let tail = check(&OsFs, &scratch.wal(), None).expect("reads").tail.expect("records");
    assert!(!tail.acknowledged && tail.records >= 3, "{tail:?}");
}

/// Story: for a path with a trailing slash, `dir/`, the temporary directory was created inside `dir`, and its rename failed.
#[test]
fn a_log_is_created_at_a_path_with_a_slash() {
    let scratch = Scratch::new();
    let copy = scratch.root.path().join("wal.20261122.tmp");
    std::fs::create_dir_all(copy).expect("a directory");
    let slash = scratch.root.path().join("wal/");
    Wal::create(OsFs, &slash, None, options()).and_then(Wal::close).expect("a log");
    assert_eq!(OsFs.list(scratch.root.path()).expect("lists"), ["wal", "wal.20261122.tmp"]);
    assert!(scratch.open(&ZERO).is_ok());
}

/// Story: two processes created the same log at once. One removed the temporary files of the other, which still acknowledged
/// its entries. Or both were refused.
#[test]
fn one_of_many_concurrent_creates_succeeds() {
    for round in 0..20 {
        let scratch = Scratch::new();
        if round % 2 == 1 {
            std::fs::create_dir_all(scratch.wal()).expect("an empty directory");
        }
        let start = Barrier::new(4);
        let results: Vec<Result<Wal>> = std::thread::scope(|scope| {
            let create = || {
                start.wait();
                let mut wal = Wal::create(OsFs, &scratch.wal(), None, options())?;
                wal.save(&state(0), &entries(1..=3))?;
                Ok(wal)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let (created, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(created.len(), 1, "{refused:?}");
        for error in refused.into_iter().filter_map(Result::err) {
            let is_in_use = matches!(error.kind(), ErrorKind::InUse | ErrorKind::Etcd(EtcdError::Exists));
            assert!(is_in_use, "{error}");
        }
        drop(created);
        assert_eq!(OsFs.list(scratch.root.path()).expect("lists"), ["wal"]);
        assert_eq!(scratch.open(&ZERO).expect("opens").1.entries, entries(1..=3));
    }
}

/// A member with lost records does not open, and its check fails. The error says what is lost and names the file.
#[test]
fn a_member_with_lost_records_fails_its_check() {
    let member = |root: &Path| {
        let options = WalOptions { segment_bytes: 2048, ..options() };
        let created = DiskStorage::create(OsFs, &root.join("wal"), &root.join("snap"), None, options);
        let mut storage = created.expect("creates");
        for index in 1..=30 {
            storage.save(&state(index - 1), &[entry(index, 300)]).expect("saves");
        }
        storage.save_snap(&snapshot(1, 20)).expect("saves");
        storage.release(&snapshot(1, 20)).expect("releases");
        purge(&OsFs, &root.join("wal"), ".wal", 1).expect("purges");
        storage.close().expect("closes");
    };
    let look = |root: &Path| {
        let (wal, snap) = (root.join("wal"), root.join("snap"));
        let checked = check(&OsFs, &wal, Some(&snap));
        let opened = DiskStorage::open(OsFs, &wal, &snap, options());
        assert_eq!(checked.is_ok(), opened.is_ok(), "{checked:?}");
        opened.err().inspect(|error| assert!(error.path().is_some(), "{error}"))
    };
    type Lose = fn(&[PathBuf], &Path);
    let cut_short: Lose = |segments, _| {
        let len = std::fs::metadata(&segments[0]).expect("exists").len();
        File::options().write(true).open(&segments[0]).expect("opens").set_len(len - 5).expect("cuts");
    };
    let emptied: Lose = |segments, _| drop(File::create(&segments[segments.len() - 1]).expect("empties"));
    let first_emptied: Lose = |segments, _| drop(File::create(&segments[0]).expect("empties"));
    let first_gone: Lose = |segments, _| std::fs::remove_file(&segments[0]).expect("removes");
    let no_snapshots: Lose = |_, snap| std::fs::remove_dir_all(snap).expect("removes");
    type IsExpected = fn(&EtcdError) -> bool;
    let cases: [(Lose, IsExpected); 5] = [
        (cut_short, |error| *error == EtcdError::CutShort),
        (emptied, |error| *error == EtcdError::EmptySegment),
        (first_emptied, |error| *error == EtcdError::Headless),
        (first_gone, |error| matches!(error, EtcdError::SegmentMissing { index: 20 })),
        (no_snapshots, |error| matches!(error, EtcdError::SnapshotsMissing { known: 20, .. })),
    ];
    for (number, (lose, is_expected)) in cases.into_iter().enumerate() {
        let scratch = Scratch::new();
        member(scratch.root.path());
        assert!(look(scratch.root.path()).is_none());
        let segments: Vec<_> = scratch.names().iter().map(|name| scratch.wal().join(name)).collect();
        assert!(segments.len() > 2, "{segments:?}");
        lose(&segments, &scratch.root.path().join("snap"));
        let error = look(scratch.root.path()).unwrap_or_else(|| panic!("case {number} opens"));
        assert!(is_expected(etcd_error(&error)), "case {number}: {error}");
    }
}

/// Story: the end of a log was lost with committed entries. etcd panics when the commit index is above its last entry.
#[test]
fn a_commit_beyond_the_log_refuses_to_start() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    wal.save(&state(9), &entries(1..=5)).expect("saves");
    wal.close().expect("closes");
    let snap = scratch.root.path().join("snap");
    let opened = DiskStorage::open(OsFs, &scratch.wal(), &snap, options()).map(drop);
    for refused in [opened, check(&OsFs, &scratch.wal(), Some(&snap)).map(drop)] {
        let error = refused.expect_err("refused");
        assert_eq!(*etcd_error(&error), EtcdError::CommitBeyondLog { commit: 9, last: 5 });
    }
}
