//! Losses in a member's log that its check must report, although every checksum is right.

use std::path::Path;

use tsmith_wal::etcd::{DiskStorage, EtcdError, HardState, Storage, check};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{ErrorKind, Result};

#[path = "etcd/scratch.rs"]
mod scratch;

use scratch::{Scratch, entries, entry, etcd_error, options, snapshot, state};

/// Metadata as etcd writes them: the numbers of a member and its cluster.
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

/// Story: a log lost its end at the boundary of a record, but intact snapshots of later entries were there. The check reported
/// no error, and etcd started without those entries.
#[test]
fn snapshots_of_lost_entries_are_reported() {
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
        assert_eq!(checked(root).expect("is intact"), None);
        let file = std::fs::File::options().write(true).open(scratch.last()).expect("opens");
        file.set_len(len).expect("cuts");
        let error = checked(root).expect_err("snapshots 20 and 30 are beyond the end");
        assert_eq!(*etcd_error(&error), EtcdError::SnapshotBeyondLog { index: 20, last: 11 });
        assert!(error.path().is_some_and(|path| path.ends_with("0000000000000001-0000000000000014.snap")));
    }
}

/// A member saves a received snapshot in this order: the database, the file, the record in the log. A crash before the record
/// leaves one file beyond the end of the log, the newest one. In etcd its database is beside it.
#[test]
fn a_crash_may_leave_one_received_snapshot() {
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
            assert_eq!(found.expect("is allowed"), Some(name));
        } else {
            found.expect_err("the member's own snapshot, whose entries are lost");
        }
        // If there are two, the older one had a record in the log.
        storage.snapshotter().save_snap(&snapshot(2, 98)).expect("saves");
        let error = checked(root).expect_err("two snapshots are beyond the log");
        assert_eq!(*etcd_error(&error), EtcdError::SnapshotBeyondLog { index: 98, last: 5 });
        // A torn snapshot file is reported as such.
        for index in [98, 99] {
            let name = format!("snap/0000000000000002-{index:016x}.snap");
            std::fs::write(root.join(name), b"\x08\x01\x12").expect("writes");
        }
        assert_eq!(checked(root).expect("none is intact"), None);
    }
}

/// Story: the commit index or the term went back in a log. The log passed every check, because its checksums were right.
#[test]
fn a_commit_index_or_term_does_not_go_back() {
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
    // The term of consecutive entries does not go back. If entries are overwritten, it may.
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
