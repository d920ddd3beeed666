//! etcd's own tests of its WAL, run on Tsmith, and cases where Tsmith does better.

use std::path::{Path, PathBuf};

use tsmith_wal::ErrorKind;
use tsmith_wal::etcd::{
    DiskStorage, Entry, EtcdError, HardState, SnapshotRecord, Wal, WalOptions, purge, read, repair,
};
use tsmith_wal::fs::{Fs, FsFile, OsFs};
use tsmith_wal::testing::etcd::held;
use tsmith_wal::testing::{Fault, SimFs};

#[path = "etcd/scratch.rs"]
mod scratch;

use scratch::{Scratch, ZERO, entries, entry, etcd_error, options, state};

/// `TestNew`. A second create is refused.
#[test]
fn a_log_is_created_only_once() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.root.path().join("wal.tmp")).expect("a leftover");
    std::fs::write(scratch.root.path().join("wal.tmp/garbage"), b"x").expect("a leftover");
    scratch.create().close().expect("closes");
    assert_eq!(scratch.names(), ["0000000000000000-0000000000000000.wal"]);
    assert!(!scratch.root.path().join("wal.tmp").exists());
    let again = Wal::create(OsFs, &scratch.wal(), None, options()).expect_err("a log exists");
    assert_eq!(*etcd_error(&again), EtcdError::Exists);
}

/// etcd removes all files of the directory. Tsmith refuses such a directory.
#[test]
fn creating_a_log_removes_no_foreign_files() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.wal()).expect("a directory");
    std::fs::write(scratch.wal().join("precious"), b"x").expect("a file");
    let error = Wal::create(OsFs, &scratch.wal(), None, options()).expect_err("refused");
    assert_eq!(*etcd_error(&error), EtcdError::NotEmpty);
    assert!(scratch.wal().join("precious").exists());
    let (link, empty) = (scratch.root.path().join("link"), scratch.root.path().join("empty"));
    std::fs::create_dir(&empty).expect("a directory");
    std::os::unix::fs::symlink(&empty, &link).expect("a link");
    for dir in [&*link, Path::new(".."), Path::new("")] {
        let error = Wal::create(OsFs, dir, None, options()).expect_err("refused");
        assert_eq!(*etcd_error(&error), EtcdError::NotNamed, "{}", dir.display());
    }
    assert_eq!(OsFs.list(scratch.root.path()).expect("lists"), ["empty", "link", "wal"]);
}

/// `TestCut`, `TestSaveEmpty`, `TestRecover`.
#[test]
fn cuts_carry_metadata_and_state() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    wal.save(&HardState::default(), &[]).expect("saves nothing");
    wal.save(&state(1), &[]).expect("saves");
    wal.cut().expect("cuts");
    wal.save(&HardState::default(), &entries(1..=1)).expect("saves");
    wal.cut().expect("cuts");
    wal.save_snapshot(&SnapshotRecord::new(2, 1)).expect("saves");
    wal.cut().expect("cuts");
    let names = held(&wal);
    assert_eq!(names, [(0, 0), (1, 1), (2, 2), (3, 3)]);
    assert!(wal.syncs().count() > 8);
    wal.close().expect("closes");
    let (wal, contents) = scratch.open(&SnapshotRecord::new(2, 1)).expect("opens");
    assert_eq!((contents.state, contents.metadata.as_deref()), (state(1), Some(&b"metadata"[..])));
    assert!(contents.entries.is_empty());
    wal.close().expect("closes");
}

/// `TestSaveWithCut`.
#[test]
fn segments_roll_at_their_size() {
    let scratch = Scratch::new();
    let mut wal = Wal::create(OsFs, &scratch.wal(), None, WalOptions { segment_bytes: 2048, ..options() })
        .expect("creates");
    for index in 1..=60 {
        wal.save(&state(index - 1), &[entry(index, 200)]).expect("saves");
    }
    wal.close().expect("closes");
    assert!(scratch.names().len() > 4);
    let contents = read(&OsFs, &scratch.wal(), &ZERO).expect("reads");
    assert_eq!(contents.entries, (1..=60).map(|index| entry(index, 200)).collect::<Vec<_>>());
    assert_eq!(contents.state, state(59));
}

/// `TestOpenAtIndex`, `TestRecoverAfterCut`: segments before the snapshot may be gone.
#[test]
fn a_log_opens_at_any_snapshot_with_its_segments() {
    let scratch = Scratch::new();
    assert!(matches!(
        etcd_error(&scratch.open(&ZERO).expect_err("there is no segment")),
        EtcdError::SegmentMissing { .. }
    ));
    let mut wal = scratch.create();
    for index in 1..=10 {
        wal.save_snapshot(&SnapshotRecord::new(index, 1)).expect("saves");
        wal.save(&HardState { term: 1, ..HardState::default() }, &[entry(index, 8)]).expect("saves");
        wal.cut().expect("cuts");
    }
    wal.close().expect("closes");
    for gone in [0, 4] {
        for name in scratch.names().iter().take(gone) {
            std::fs::remove_file(scratch.wal().join(name)).expect("removes");
        }
        // The first remaining segment begins at 5.
        let first = if gone > 0 { 5 } else { 0 };
        for index in 0..=10u64 {
            let start = SnapshotRecord::new(index, u64::from(index > 0));
            let opened = scratch.open(&start);
            if index < first {
                assert!(
                    matches!(etcd_error(&opened.expect_err("gone")), EtcdError::SegmentMissing { .. }),
                    "{index}"
                );
            } else {
                let (wal, contents) = opened.unwrap_or_else(|error| panic!("{index}: {error}"));
                let found: Vec<u64> = contents.entries.iter().map(|entry| entry.index).collect();
                assert_eq!(found, (index + 1..=10).collect::<Vec<_>>());
                wal.close().expect("closes");
            }
        }
    }
}

/// `TestOpenAtUncommittedIndex`, `TestOpenForRead`, `TestOpenWithMaxIndex`.
#[test]
fn unusual_logs_are_read_or_refused() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    wal.save(&state(0), &[]).expect("saves");
    wal.save(&HardState::default(), &entries(1..=1)).expect("saves");
    // The writer holds the locks, but a reader needs none.
    assert_eq!(read(&OsFs, &scratch.wal(), &ZERO).expect("reads").entries.len(), 1);
    let second = Wal::open(OsFs, &scratch.wal(), &ZERO, options()).expect_err("is locked");
    assert!(matches!(second.kind(), ErrorKind::InUse));
    wal.save(&HardState::default(), &[entry(u64::MAX, 3)]).expect("saves");
    wal.close().expect("closes");
    assert!(matches!(
        etcd_error(&scratch.open(&ZERO).expect_err("a gap")),
        EtcdError::Gap { index: u64::MAX, last: 1 }
    ));
}

/// Story: a second process opened a member that was in use. It was refused, but only after it had removed the unfinished
/// snapshot of the first process, which then stopped.
#[test]
fn a_refused_open_changes_nothing() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    wal.save(&state(0), &entries(1..=3)).expect("saves");
    let snap = scratch.wal().with_file_name("snap");
    std::fs::create_dir_all(&snap).expect("creates");
    let names =
        ["0000000000000001-0000000000000002.snap", "0000000000000001-0000000000000002.snap.tmp", "db.tmp7"];
    for name in names {
        std::fs::write(snap.join(name), b"half of it").expect("writes");
    }
    let open = || DiskStorage::open(OsFs, &scratch.wal(), &snap, options()).map(drop);
    assert!(matches!(open().expect_err("is locked").kind(), ErrorKind::InUse));
    let there = OsFs.list(&snap).expect("lists");
    assert_eq!(there, names);
    wal.close().expect("closes");
    open().expect("opens and cleans up");
    assert_ne!(OsFs.list(&snap).expect("lists"), there);
}

/// `TestReleaseLockTo`.
#[test]
fn only_released_segments_are_purged() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    for index in 1..=10 {
        wal.save(&HardState::default(), &[entry(index, 8)]).expect("saves");
        wal.cut().expect("cuts");
    }
    assert_eq!(purge(&OsFs, &scratch.wal(), ".wal", 3).expect("purges"), Vec::<PathBuf>::new());
    wal.release_lock_to(5);
    let seqs = |wal: &Wal| held(wal).into_iter().map(|(seq, _)| seq).collect::<Vec<_>>();
    assert_eq!(seqs(&wal), (3..=10).collect::<Vec<_>>());
    assert_eq!(purge(&OsFs, &scratch.wal(), ".wal", 3).expect("purges").len(), 3);
    wal.release_lock_to(15);
    assert_eq!(seqs(&wal), [10]);
    assert_eq!(purge(&OsFs, &scratch.wal(), ".wal", 5).expect("purges").len(), 3);
    assert_eq!(scratch.names().len(), 5);
    wal.close().expect("closes");
}

/// Story: a member restarts, saves entries without a new state, rolls, saves a snapshot and purges the segments before it.
/// After a restart etcd does not write the old state into a new segment. So no remaining segment has a state, and the member
/// loses its term and vote.
#[test]
fn the_last_hard_state_is_never_purged() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    wal.save(&HardState { term: 7, vote: 2, commit: 1 }, &[entry(1, 8)]).expect("saves");
    wal.close().expect("closes");
    let (mut wal, _) = scratch.open(&ZERO).expect("opens");
    wal.save(&HardState::default(), &[entry(2, 8)]).expect("saves");
    wal.cut().expect("cuts");
    wal.save_snapshot(&SnapshotRecord::new(2, 1)).expect("saves");
    wal.release_lock_to(4);
    assert_eq!(purge(&OsFs, &scratch.wal(), ".wal", 1).expect("purges"), Vec::<PathBuf>::new());
    wal.save(&HardState { term: 7, vote: 2, commit: 2 }, &[]).expect("saves");
    wal.save_snapshot(&SnapshotRecord::new(3, 1)).expect("saves");
    wal.release_lock_to(4);
    assert_eq!(purge(&OsFs, &scratch.wal(), ".wal", 1).expect("purges").len(), 1);
    wal.close().expect("closes");
    let (_, contents) = scratch.open(&SnapshotRecord::new(3, 1)).expect("opens");
    assert_eq!(contents.state, HardState { term: 7, vote: 2, commit: 2 });
}

/// `TestOpenOnTornWrite`: an entry in the middle is lost, and shorter entries overwrite the rest.
#[test]
fn no_stale_record_follows_an_overwritten_tail() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    for index in 1..=10 {
        wal.save(&HardState::default(), &[entry(index, 200)]).expect("saves");
    }
    wal.close().expect("closes");
    let mut bytes = std::fs::read(scratch.last()).expect("reads");
    let records = tsmith_wal::etcd::records(&bytes).flatten().filter(|record| record.kind == 2);
    let sixth = records.map(|record| record.offset as usize..record.end() as usize).nth(5).expect("entry 6");
    bytes[sixth].fill(0);
    std::fs::write(scratch.last(), &bytes).expect("writes");
    let (mut wal, contents) = scratch.open(&ZERO).expect("opens");
    assert_eq!(contents.entries.len(), 5);
    for index in 6..=10 {
        wal.save(&HardState::default(), &[entry(index, 3)]).expect("saves");
    }
    wal.close().expect("closes");
    let (_, contents) = scratch.open(&ZERO).expect("opens");
    assert_eq!(contents.entries.len(), 10);
    assert_eq!(contents.tail, None);
}

/// `TestTailWriteNoSlackSpace`.
#[test]
fn appends_to_a_file_without_space_are_read_back() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    for index in 1..=5 {
        wal.save(&state(index - 1), &[entry(index, 600)]).expect("saves");
    }
    wal.close().expect("closes");
    let bytes = std::fs::read(scratch.last()).expect("reads");
    let end = bytes.iter().rposition(|&byte| byte != 0).expect("not empty") + 1;
    // No preallocated space after the last record.
    std::fs::write(scratch.last(), &bytes[..end.next_multiple_of(8)]).expect("cuts");
    let (mut wal, contents) = scratch.open(&ZERO).expect("opens");
    assert_eq!(contents.entries.len(), 5);
    for index in 6..=10 {
        wal.save(&state(index - 1), &[entry(index, 600)]).expect("saves");
    }
    wal.close().expect("closes");
    assert_eq!(scratch.open(&ZERO).expect("opens").1.entries.len(), 10);
}

/// `TestRepairTruncate`, `TestRepairWriteTearLast`, `TestRepairWriteTearMiddle`.
#[test]
fn repair_cuts_only_the_torn_tail() {
    type Tear = fn(&Path);
    let cut_4: Tear = |path| {
        let bytes = std::fs::read(path).expect("reads");
        let end = bytes.iter().rposition(|&byte| byte != 0).expect("not empty") + 1;
        std::fs::write(path, &bytes[..end.next_multiple_of(8) - 4]).expect("writes");
    };
    let last: Tear = |path| {
        let mut bytes = std::fs::read(path).expect("reads");
        let len = bytes.len();
        bytes.truncate(1024);
        bytes.resize(len, 0);
        std::fs::write(path, &bytes).expect("writes");
    };
    let middle: Tear = |path| {
        let mut bytes = std::fs::read(path).expect("reads");
        bytes[4096 + 512..4096 + 1024].fill(0);
        std::fs::write(path, &bytes).expect("writes");
    };
    for (tear, count, len, left) in [(cut_4, 10, 4, 9), (last, 50, 4, 0), (middle, 5, 4096, 1)] {
        let scratch = Scratch::new();
        let mut wal = scratch.create();
        for index in 1..=count {
            wal.save(&HardState::default(), &[entry(index, len)]).expect("saves");
        }
        wal.close().expect("closes");
        tear(&scratch.last());
        let before = std::fs::read(scratch.last()).expect("reads");
        let error = scratch.open(&ZERO).err();
        if let Some(error) = &error {
            assert!(etcd_error(error).is_torn(), "{error}");
            let report = repair(&OsFs, &scratch.wal()).expect("repairs").expect("is torn");
            let copy = report.copy.expect("a copy");
            assert_eq!(std::fs::read(&copy).expect("reads"), before);
            assert!(copy.to_string_lossy().ends_with(".wal.broken"));
            assert_eq!(report.records > 0, len == 4096, "{}", report.records);
        }
        let (mut wal, contents) = scratch.open(&ZERO).expect("opens");
        let have = contents.entries.len() as u64;
        assert!(if left == 0 { have > 10 && have < count } else { have == left }, "{have} of {count}");
        for index in have + 1..=have + 10 {
            wal.save(&HardState::default(), &[entry(index, len)]).expect("saves");
        }
        wal.close().expect("closes");
        assert_eq!(scratch.open(&ZERO).expect("opens").1.entries.len() as u64, have + 10);
    }
    assert!(repair(&OsFs, Path::new("/nonexistent/wal")).is_err());
}

/// Story: on a full disk, a repair left an incomplete copy of the segment and had removed the copy of the previous repair. It
/// did not free the preallocated file of the next segment, although that has enough space for the copy.
#[test]
fn a_repair_on_a_full_disk_uses_preallocated_space() {
    let (fs, dir) = (SimFs::default(), Path::new("/m/wal"));
    let mut wal = Wal::create(fs.clone(), dir, None, options()).expect("creates");
    wal.save(&state(1), &entries(1..=50)).expect("saves");
    wal.close().expect("closes");
    let segment = dir.join("0000000000000000-0000000000000000.wal");
    let torn = fs.read(&segment).expect("reads");
    let file = fs.open(&segment).expect("opens");
    let end = torn.iter().rposition(|&byte| byte != 0).expect("not empty") as u64 / 8 * 8;
    file.set_len(end - 4).expect("cuts");
    let torn = fs.read(&segment).expect("reads");
    let copy = dir.join("0000000000000000-0000000000000000.wal.broken");
    fs.create_new(&copy).and_then(|file| file.write_all_at(b"earlier", 0)).expect("a copy");
    let before = fs.snapshot();
    fs.set_space(Some(1000));
    assert!(repair(&fs, dir).expect_err("no space").is_full());
    assert_eq!(fs.snapshot(), before);
    fs.set_space(Some(70_000));
    let preallocated = fs.create_new(&dir.join("0.tmp")).expect("creates");
    preallocated.allocate(0..64 << 10).expect("allocates");
    let report = repair(&fs, dir).expect("repairs").expect("is torn");
    assert_eq!(report.copy.as_ref(), Some(&copy));
    assert!(fs.read(&copy).expect("reads") == torn);
    assert!(fs.read(&segment).expect("reads") == torn[..report.offset as usize]);
}

/// `TestCreateFailFromNoSpaceLeft`.
#[test]
fn a_log_is_not_created_on_a_full_disk() {
    let fs = SimFs::default();
    fs.set_space(Some(30_000));
    let create = || Wal::create(fs.clone(), Path::new("/w"), None, options());
    assert!(create().expect_err("no space").is_full());
    assert!(fs.snapshot().is_empty(), "{:?}", fs.snapshot().keys());
    fs.set_space(None);
    create().expect("creates").close().expect("closes");
}

/// etcd counts bytes twice: when it encodes them and when it flushes them.
#[test]
fn bytes_written_are_counted_once() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    for index in 1..=9 {
        wal.save(&state(index), &[entry(index, 50_000)]).expect("saves");
    }
    let written = wal.written_bytes();
    wal.close().expect("closes");
    let end_of = |name: String| {
        let bytes = std::fs::read(scratch.wal().join(name)).expect("reads");
        tsmith_wal::etcd::records(&bytes).flatten().last().map_or(0, |record| record.end())
    };
    let names = scratch.names();
    assert!(names.len() > 2);
    assert_eq!(names.into_iter().map(end_of).sum::<u64>(), written);
}

/// Story: a crash during a cut leaves `0.tmp`. etcd reuses that file with its content. The next segment then has stale bytes
/// after its head, and the directory cannot be read.
#[test]
fn leftovers_of_a_cut_are_not_reused() {
    let scratch = Scratch::new();
    scratch.create().close().expect("closes");
    std::fs::write(scratch.wal().join("0.tmp"), vec![0xff; 70_000]).expect("a leftover");
    let (mut wal, _) = scratch.open(&ZERO).expect("opens");
    wal.cut().expect("cuts");
    wal.save(&state(1), &entries(1..=2)).expect("saves");
    wal.close().expect("closes");
    assert_eq!(scratch.open(&ZERO).expect("opens").1.entries.len(), 2);
    assert!(!scratch.wal().join("0.tmp").exists());
}

/// etcd 3.4 writes an entry of 10 MiB but cannot read it back; later versions can. Tsmith reads it but does not write it.
#[test]
fn an_entry_that_etcd_cannot_read_is_refused() {
    let scratch = Scratch::new();
    let mut wal = scratch.create();
    let large = entry(1, 10 << 20);
    let error = wal.save(&HardState::default(), std::slice::from_ref(&large)).expect_err("refused");
    assert!(matches!(error.kind(), ErrorKind::TooLarge { .. }), "{error}");
    wal.save(&HardState::default(), &entries(1..=1)).expect("saves");
    wal.close().expect("closes");
    let mut generous = options();
    generous.record_bytes_max = 1 << 30;
    let opened = Wal::open(OsFs, &scratch.wal(), &ZERO, generous);
    let (mut wal, _) = opened.expect("opens");
    wal.save(&HardState::default(), &[Entry { index: 2, ..large.clone() }]).expect("saves");
    wal.close().expect("closes");
    assert_eq!(scratch.open(&ZERO).expect("reads").1.entries[1].data, large.data);
}

/// After a failed sync the log acknowledges nothing, even if the next sync would succeed.
#[test]
fn a_log_stops_at_the_first_failed_sync() {
    let fs = SimFs::default();
    let sync = WalOptions { segment_bytes: 4096, ..options() };
    let mut wal = Wal::create(fs.clone(), Path::new("/w"), None, sync).expect("creates");
    // The next two operations are the write and the sync.
    fs.fail_at(fs.operations() + 2, Fault::Io);
    let error = wal.save(&state(0), &entries(1..=1)).expect_err("the sync failed");
    assert!(matches!(error.kind(), ErrorKind::Io { operation: "sync", .. }), "{error}");
    let error = wal.save(&state(1), &entries(2..=2)).expect_err("the log has stopped");
    assert!(matches!(error.kind(), ErrorKind::Poisoned(_)));
}

/// `TestCleanupWAL`: a failed create removes its files, and the next create succeeds.
#[test]
fn a_failed_create_removes_its_files() {
    let fs = SimFs::default();
    let sync = WalOptions { segment_bytes: 4096, ..options() };
    drop(Wal::create(fs.clone(), Path::new("/data/w"), None, sync).expect("creates"));
    let name = |at: &u64| fs.operation(*at) == Some("rename");
    let rename = (1..=fs.operations()).find(name).expect("a rename");
    let fs = SimFs::default();
    fs.fail_at(rename + 1, Fault::Io);
    Wal::create(fs.clone(), Path::new("/data/w"), None, sync).expect_err("the directory was not synced");
    assert!(fs.snapshot().is_empty(), "{:?}", fs.snapshot().keys());
    drop(Wal::create(fs, Path::new("/data/w"), None, sync).expect("creates"));
}
