//! What a check of a member's log must not call fine, though every checksum is right.

use std::path::Path;

use tsmith_wal::etcd::{DiskStorage, EtcdError, HardState, Storage, check};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{ErrorKind, Result};

#[path = "etcd/scratch.rs"]
mod scratch;

use scratch::{Scratch, entries, entry, etcd_error, options, snapshot, state};

/// Numbers of a member and of its cluster, as etcd writes them.
const OF_ETCD: &[u8] = &[0x08, 0x81, 0x02, 0x10, 0x07];
const OF_OTHERS: &[u8] = b"m";

fn create(root: &Path, metadata: &[u8]) -> DiskStorage {
    let created = DiskStorage::create(OsFs, &root.join("wal"), &root.join("snap"), Some(metadata), options());
    created.expect("creates")
}

fn checked(root: &Path) -> Result<Option<String>> {
    let found = check(&OsFs, &root.join("wal"), Some(&root.join("snap")))?;
    Ok(found.remnant.map(|path| path.file_name().expect("a name").to_string_lossy().into_owned()))
}

/// Story: the end of a log was lost, between two records, and intact snapshots of later entries lay beside it. The check
/// called such a member fine, and etcd started on it without those entries.
#[test]
fn snapshots_of_entries_that_the_log_lost_are_told() {
    for metadata in [OF_ETCD, OF_OTHERS] {
        let scratch = Scratch::new();
        let root = scratch.root.path();
        let mut storage = create(root, metadata);
        let mut len = 0;
        for first in [1, 11, 21] {
            storage.save(&state(first + 9), &entries(first..=first + 9)).expect("saves");
            storage.save_snap(&snapshot(1, first + 9)).expect("saves");
            if first == 1 {
                storage.save(&state(10), &[entry(11, 20)]).expect("saves");
                len = storage.wal().written_bytes();
            }
        }
        storage.close().expect("closes");
        assert_eq!(checked(root).expect("is whole"), None);
        let file = std::fs::File::options().write(true).open(scratch.last()).expect("opens");
        file.set_len(len).expect("cuts");
        let error = checked(root).expect_err("snapshots 20 and 30 are beyond the end");
        assert_eq!(*etcd_error(&error), EtcdError::SnapshotBeyondLog { index: 20, last: 11 });
        assert!(error.path().is_some_and(|path| path.ends_with("0000000000000001-0000000000000014.snap")));
    }
}

/// A member that gets a snapshot saves its database, then its file, then its record in the log. A crash before the record
/// leaves one file beyond the end of the log: the newest one, and with etcd its database beside it.
#[test]
fn one_received_snapshot_may_be_left_by_a_crash() {
    for (metadata, with_database, is_remnant) in
        [(OF_OTHERS, false, true), (OF_ETCD, true, true), (OF_ETCD, false, false)]
    {
        let scratch = Scratch::new();
        let root = scratch.root.path();
        let mut storage = create(root, metadata);
        storage.save(&state(5), &entries(1..=5)).expect("saves");
        storage.save_snap(&snapshot(1, 5)).expect("saves");
        if with_database {
            storage.snapshotter().save_snap_db(99, &mut &b"a database"[..]).expect("saves");
        }
        storage.snapshotter().save_snap(&snapshot(2, 99)).expect("saves");
        let found = checked(root);
        let name = "0000000000000002-0000000000000063.snap".to_owned();
        if is_remnant {
            assert_eq!(found.expect("may be"), Some(name));
        } else {
            found.expect_err("its own, of entries that are lost");
        }
        // Of two the older one had its record.
        storage.snapshotter().save_snap(&snapshot(2, 98)).expect("saves");
        let error = checked(root).expect_err("two");
        assert_eq!(*etcd_error(&error), EtcdError::SnapshotBeyondLog { index: 98, last: 5 });
        // A torn snapshot file is reported as such.
        for index in [98, 99] {
            let name = format!("snap/0000000000000002-{index:016x}.snap");
            std::fs::write(root.join(name), b"\x08\x01\x12").expect("writes");
        }
        assert_eq!(checked(root).expect("none is intact"), None);
    }
}

/// Story: a log in which the commit index, or the term, went back passed every check: its checksums were right.
#[test]
fn numbers_that_only_grow_do_not_go_back() {
    let later = |commit, term| HardState { term, vote: 1, commit };
    let states = [
        ("commit index", later(4, 2), later(3, 2)),
        ("term", later(4, 2), later(4, 1)),
        ("commit index", later(4, 2), later(0, 3)),
    ];
    for (what, first, second) in states {
        let scratch = Scratch::new();
        let mut storage = create(scratch.root.path(), OF_OTHERS);
        storage.save(&first, &entries(1..=5)).expect("saves");
        let offset = storage.wal().written_bytes();
        storage.save(&second, &[]).expect("saves");
        storage.close().expect("closes");
        let error = checked(scratch.root.path()).expect_err(what);
        assert!(
            matches!(etcd_error(&error), EtcdError::GoesBack { what: found, .. } if *found == what),
            "{error}"
        );
        assert_eq!(error.offset(), Some(offset), "where the record begins");
    }
    // Entries: in a row the term does not go back; where some are written over, it may.
    for (next, is_fine) in [(6, false), (5, true)] {
        let scratch = Scratch::new();
        let mut storage = create(scratch.root.path(), OF_OTHERS);
        let of = |index, term| tsmith_wal::etcd::Entry { term, ..entry(index, 20) };
        storage.save(&later(3, 3), &[of(1, 1), of(2, 1), of(3, 1), of(4, 2), of(5, 3)]).expect("saves");
        storage.save(&later(3, 4), &[of(next, 2), of(next + 1, 4)]).expect("saves");
        storage.close().expect("closes");
        let found = checked(scratch.root.path());
        let is_back = |error: &tsmith_wal::Error| {
            matches!(
                error.kind(),
                ErrorKind::Etcd(EtcdError::GoesBack { what: "term of the entries", before: 3, now: 2 })
            )
        };
        assert_eq!(found.is_ok(), is_fine, "{found:?}");
        assert!(found.err().is_none_or(|error| is_back(&error)));
    }
}
