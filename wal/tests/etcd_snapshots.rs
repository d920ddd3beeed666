//! etcd's own tests of snapshots, run on Tsmith: the snapshot records in the log, and the snapshot files.

use std::sync::atomic::{AtomicBool, Ordering};

use tsmith_wal::etcd::{
    DiskStorage, EtcdError, SnapshotRecord, Snapshotter, Storage, Wal, WalOptions, purge,
    valid_snapshot_entries,
};
use tsmith_wal::fs::OsFs;

#[path = "etcd/scratch.rs"]
mod scratch;

use scratch::{Scratch, entries, entry, etcd_error, options, snapshot, state};

/// `TestValidSnapshotEntries`.
#[test]
fn snapshots_beyond_the_commit_index_are_not_valid() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    wal.save_snapshot(&SnapshotRecord::new(1, 1)).expect("saves");
    wal.save(&state(1), &[]).expect("saves");
    wal.save_snapshot(&SnapshotRecord::new(2, 1)).expect("saves");
    wal.save(&state(3), &[]).expect("saves");
    wal.save_snapshot(&SnapshotRecord::new(4, 1)).expect("saves");
    wal.close().expect("closes");
    let known = valid_snapshot_entries(&OsFs, &scratch.wal()).expect("reads");
    assert_eq!(known.iter().map(|known| known.index).collect::<Vec<_>>(), [0, 1, 2]);
    let error = scratch.open(&SnapshotRecord::new(3, 1)).expect_err("etcd ignores this error");
    assert!(matches!(etcd_error(&error), EtcdError::SnapshotNotFound { index: 3, term: 1 }));
}

/// `TestValidSnapshotEntriesAfterPurgeWal`: the snapshot records are listed after the first segments are purged, and also while
/// a purge runs.
#[test]
fn snapshots_are_listed_during_and_after_a_purge() {
    let scratch = Scratch::new();
    let mut wal = Wal::create(OsFs, &scratch.wal(), None, WalOptions { segment_bytes: 1024, ..options() })
        .expect("creates");
    for index in 1..=200 {
        wal.save(&state(index), &[entry(index, 300)]).expect("saves");
        wal.save_snapshot(&SnapshotRecord::new(index, 1)).expect("saves");
    }
    wal.release_lock_to(200);
    let (count, purging) = (scratch.names().len(), AtomicBool::new(true));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for keep in (1..count).rev() {
                purge(&OsFs, &scratch.wal(), ".wal", keep).expect("purges");
            }
            purging.store(false, Ordering::Relaxed);
        });
        while purging.load(Ordering::Relaxed) {
            let known = valid_snapshot_entries(&OsFs, &scratch.wal()).expect("reads");
            assert_eq!(known.last().map(|known| known.index), Some(200));
        }
    });
    wal.close().expect("closes");
    assert!(!scratch.names()[0].starts_with("0000000000000000"), "{:?}", scratch.names());
    let known = valid_snapshot_entries(&OsFs, &scratch.wal()).expect("reads");
    assert_eq!(known.last().map(|known| known.index), Some(200));
    assert!(known.len() < 20, "{}", known.len());
}

/// The storage saves a snapshot's file first, then its record in the log. A file without a record is skipped.
#[test]
fn a_storage_starts_at_the_newest_recorded_snapshot() {
    let scratch = Scratch::new();
    let (wal_dir, snap_dir) = (scratch.wal(), scratch.root.path().join("snap"));
    let mut storage = DiskStorage::create(OsFs, &wal_dir, &snap_dir, Some(b"m"), options()).expect("creates");
    storage.save(&state(4), &entries(1..=5)).expect("saves");
    storage.save_snap(&snapshot(1, 3)).expect("saves");
    storage.save_snap(&snapshot(0, 0)).expect("an empty snapshot is not saved");
    // A crash between file and record, and a torn newest file.
    storage.snapshotter().save_snap(&snapshot(1, 4)).expect("saves");
    std::fs::write(snap_dir.join("0000000000000001-0000000000000009.snap"), b"\x08\x01\x12").expect("writes");
    storage.release(&snapshot(1, 3)).expect("releases");
    storage.close().expect("closes");
    let (storage, restored) = DiskStorage::open(OsFs, &wal_dir, &snap_dir, options()).expect("opens");
    assert_eq!(restored.snapshot, Some(snapshot(1, 3)));
    assert_eq!(restored.contents.entries, entries(4..=5));
    assert!(snap_dir.join("0000000000000001-0000000000000009.snap.broken").exists());
    storage.close().expect("closes");
}

/// `purge` removes old snapshots and keeps the newest ones. `load` removes unfinished ones.
#[test]
fn old_snapshots_are_purged() {
    let scratch = Scratch::new();
    let snapshotter = Snapshotter::new(OsFs, &scratch.wal());
    for index in 1..=8 {
        snapshotter.save_snap(&snapshot(1, index)).expect("saves");
    }
    std::fs::write(scratch.wal().join("0000000000000002-0000000000000009.snap.tmp"), b"x").expect("writes");
    assert_eq!(snapshotter.purge(5).expect("purges").len(), 3);
    assert_eq!(snapshotter.load().expect("loads"), Some(snapshot(1, 8)));
    assert_eq!(scratch.names().len(), 5);
    assert_eq!(snapshotter.syncs().count(), 8);
    assert!(snapshotter.syncs().to_string().contains("etcd_snap_fsync_duration_seconds_count 8"));
}

/// Story: a directory or a link with the name of a snapshot stopped a member. Also, `purge` counted it as a snapshot to keep.
#[test]
fn files_that_are_not_snapshots_are_skipped() {
    let scratch = Scratch::new();
    let dir = scratch.wal();
    let snapshotter = Snapshotter::new(OsFs, &dir);
    for index in 1..=4 {
        snapshotter.save_snap(&snapshot(1, index)).expect("saves");
    }
    let [directory, link] = [0x10, 0x11].map(|index| dir.join(format!("{:016x}-{index:016x}.snap", 1)));
    std::fs::create_dir(&directory).expect("a directory");
    std::os::unix::fs::symlink("0000000000000001-0000000000000002.snap", &link).expect("a link");
    let own = dir.join("before-the-upgrade.snap");
    std::fs::write(&own, b"foreign").expect("writes");
    assert_eq!(snapshotter.purge(3).expect("purges").len(), 1);
    assert!(own.exists(), "etcd would have purged it");
    assert_eq!(snapshotter.load().expect("loads"), Some(snapshot(1, 4)));
    assert!(directory.is_dir() && link.is_symlink());
}
