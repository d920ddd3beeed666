//! `cut_back`: cuts the corrupt log of a member after its last valid record.

use std::path::{Path, PathBuf};

use tsmith_wal::etcd::{
    CutBack, DiskStorage, Entry, EtcdError, Message, Storage, WalOptions, check, cut_back, is_segment,
    records, repair,
};
use tsmith_wal::fs::{Fs, FsFile};
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::etcd::{segment_name, segment_numbers};
use tsmith_wal::{ErrorKind, Result};

#[path = "etcd/scratch.rs"]
mod scratch;

use scratch::{entry, options, snapshot, state};

const WAL: &str = "/m/wal";
const SNAP: &str = "/m/snap";
const LAST: u64 = 24;

/// Entries 1 to 24 in several segments, with snapshots at 8 and 16.
fn member() -> SimFs {
    let fs = SimFs::default();
    let options = WalOptions { segment_bytes: 640, ..options() };
    let created = DiskStorage::create(fs.clone(), Path::new(WAL), Path::new(SNAP), Some(b"m"), options);
    let mut storage = created.expect("creates");
    for index in 1..=LAST {
        storage.save(&state(index - 1), &[entry(index, 70)]).expect("saves");
        if index % 8 == 1 && index > 1 {
            storage.save_snap(&snapshot(1, index - 1)).expect("saves");
        }
    }
    storage.close().expect("closes");
    fs
}

fn segments(fs: &SimFs) -> Vec<PathBuf> {
    let names = fs.list(Path::new(WAL)).expect("lists");
    names.iter().filter(|name| is_segment(name)).map(|name| Path::new(WAL).join(name)).collect()
}

fn edit(fs: &SimFs, path: &Path, at: usize, change: impl Fn(&mut [u8])) {
    let mut bytes = fs.read(path).expect("reads");
    change(&mut bytes[at..]);
    fs.open(path).expect("opens").write_all_at(&bytes, 0).expect("writes");
}

fn files(fs: &SimFs) -> Vec<(PathBuf, Vec<u8>)> {
    let list = |dir: &str| {
        let names = fs.list(Path::new(dir)).expect("lists").into_iter().map(|name| Path::new(dir).join(name));
        names.map(|path| (path.clone(), fs.read(&path).expect("reads"))).collect::<Vec<_>>()
    };
    [list(WAL), list(SNAP)].concat()
}

fn cut(fs: &SimFs, dry_run: bool) -> Result<Option<CutBack>> {
    cut_back(fs, Path::new(WAL), Some(Path::new(SNAP)), dry_run)
}

/// Checks and opens the member. Returns its entries after the snapshot.
fn opened(fs: &SimFs, what: &str) -> Vec<Entry> {
    let checked = check(fs, Path::new(WAL), Some(Path::new(SNAP)));
    let checked = checked.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(checked.tail.is_none() && checked.remnant.is_none(), "{what}: {checked:?}");
    let opened = DiskStorage::open(fs.clone(), Path::new(WAL), Path::new(SNAP), options());
    let (storage, restored) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    storage.close().expect("closes");
    let start = restored.snapshot.map_or(0, |snapshot| snapshot.index);
    let entries = restored.contents.entries;
    assert!(entries.iter().zip(start + 1..).all(|(found, index)| *found == entry(index, 70)), "{what}");
    entries
}

/// The segment and the offset of entry `index`.
fn place_of(fs: &SimFs, index: u64) -> (PathBuf, usize) {
    for path in segments(fs) {
        let bytes = fs.read(&path).expect("reads");
        for record in records(&bytes).map_while(std::result::Result::ok) {
            if let Message::Entry(found) = record.message().expect("a message")
                && found.index == index
            {
                return (path, record.offset as usize);
            }
        }
    }
    panic!("no entry {index}");
}

/// Story: after a power cut the only member of a cluster did not start. etcd reported "crc mismatch" or "max entry size limit
/// exceeded" and does not repair these, so the records before the corrupt one were lost too.
///
/// `cut_back` keeps the records before it, cuts the rest, and reports where and how much.
#[test]
fn a_corrupt_log_is_cut_at_its_last_valid_record() {
    type Corrupt = fn(&mut [u8]);
    let kinds: [(&str, Corrupt); 3] = [
        ("a wrong checksum", |record| record[40] ^= 1),
        ("an oversized length", |record| record[2..6].fill(0xff)),
        ("zeros", |record| record[..128].fill(0)),
    ];
    for (what, corrupt) in kinds {
        // In the last segment, and in an earlier one. There, later segments and newer snapshots are renamed too.
        for index in [LAST - 3, 13] {
            let fs = member();
            let (path, offset) = place_of(&fs, index);
            edit(&fs, &path, offset, corrupt);
            let what = format!("{what} at entry {index}");
            assert!(
                check(&fs, Path::new(WAL), Some(Path::new(SNAP))).is_err(),
                "{what}: the check reports no error"
            );
            let before = files(&fs);
            let plan = cut(&fs, true).expect("plans").expect("is needed");
            assert!(files(&fs) == before, "{what}: a dry run changed something");
            let done = cut(&fs, false).expect("cuts").expect("is needed");
            assert_eq!(format!("{plan:?}"), format!("{done:?}"), "{what}");
            assert_eq!((&done.path, done.offset), (&path, offset as u64), "{what}");
            let segment = before.iter().find(|(found, _)| *found == path).expect("the segment");
            let records = records(&segment.1[..offset]).count() as u64;
            assert_eq!(
                (done.records, done.last, done.lost_entries),
                (records, index - 1, Some((index, LAST))),
                "{what}"
            );
            assert!(!done.is_empty_segment && done.lost_bytes > 0);
            // Copies of all original files are there.
            let copies = done.segments.iter().chain(&done.snapshots).map(|gone| (&gone.path, &gone.copy));
            for (path, copy) in copies.chain(done.copy.as_ref().map(|copy| (&path, copy))) {
                let original = before.iter().find(|(found, _)| found == path).expect("the original");
                assert!(fs.read(copy).expect("a copy") == original.1, "{what}: {}", copy.display());
            }
            let has_newer_snapshot = index < 16;
            assert_eq!(done.snapshots.len(), usize::from(has_newer_snapshot), "{what}");
            assert_eq!(opened(&fs, &what).last().map(|entry| entry.index), Some(index - 1), "{what}");
            assert!(cut(&fs, false).expect("checks").is_none(), "{what}: cut twice");
        }
    }
}

/// A last segment that is empty or all zeros is renamed, so that etcd starts. No readable record is lost.
#[test]
fn an_empty_last_segment_is_renamed() {
    for len in [0, 4096] {
        let fs = member();
        let last = segments(&fs).pop().expect("a segment");
        let (seq, _) = segment_numbers(last.file_name().expect("a name")).expect("a segment's");
        let empty = segment_name(seq + 1, LAST + 1);
        fs.create_new(&Path::new(WAL).join(&empty)).expect("creates").set_len(len).expect("lengthens");
        let done = cut(&fs, false).expect("cuts").expect("is needed");
        assert!(done.is_empty_segment && done.copy.is_none() && done.lost_entries.is_none(), "{done:?}");
        assert!(fs.open(&Path::new(WAL).join(empty + ".broken")).is_ok());
        assert_eq!(opened(&fs, "without the empty segment").last().map(|entry| entry.index), Some(LAST));
    }
}

#[test]
fn segments_after_a_missing_one_are_renamed() {
    let fs = member();
    let all = segments(&fs);
    assert!(all.len() > 3, "{all:?}");
    let missing = &all[all.len() - 2];
    let (_, first_lost) = segment_numbers(missing.file_name().expect("a name")).expect("a segment's");
    fs.remove(missing).expect("removes");
    let done = cut(&fs, false).expect("cuts").expect("is needed");
    assert_eq!(done.segments.len(), 1);
    assert_eq!((done.last, done.lost_entries), (first_lost - 1, Some((first_lost, LAST))));
    opened(&fs, "without the renamed segment");
}

/// A log that would not open after a cut stays unchanged: one without a valid segment, and one without its snapshots.
#[test]
fn a_log_that_would_not_open_is_not_cut() {
    let fs = member();
    edit(&fs, &segments(&fs)[0], 24, |metadata| metadata[..8].fill(0xee));
    let before = files(&fs);
    let error = cut(&fs, false).expect_err("no segment has a head");
    assert!(matches!(error.kind(), ErrorKind::Etcd(_)) && files(&fs) == before, "{error}");

    // The segments before entry 15 are purged. The record of snapshot 16 follows the corrupt entry.
    let fs = member();
    let (path, _) = place_of(&fs, 15);
    for old in segments(&fs).iter().take_while(|old| **old < path) {
        fs.remove(old).expect("removes");
    }
    let offset = place_of(&fs, 15).1;
    edit(&fs, &path, offset, |record| record[40] ^= 1);
    fs.remove(&Path::new(SNAP).join(snapshot(1, 8).record().file_name())).expect("removes");
    let before = files(&fs);
    let error = cut(&fs, false).expect_err("no snapshot to start at");
    let is_start = matches!(
        error.kind(),
        ErrorKind::Etcd(EtcdError::SnapshotsMissing { .. } | EtcdError::SegmentMissing { .. })
    );
    assert!(is_start && files(&fs) == before, "{error}");
}

/// A crash at any operation of the cut leaves a log that a second cut cuts at the same offset.
#[test]
fn an_interrupted_cut_can_be_repeated() {
    let corrupt = || {
        let fs = member();
        let (path, offset) = place_of(&fs, 13);
        edit(&fs, &path, offset, |record| record[40] ^= 1);
        let file = fs.open(&path).expect("opens");
        file.sync_all().expect("syncs");
        fs
    };
    let complete = corrupt();
    let begin = complete.operations();
    cut(&complete, false).expect("cuts");
    let (operations, expected) = (complete.operations(), opened(&complete, "without a crash"));
    for stop in begin + 1..=operations {
        for seed in 0..4 {
            let fs = corrupt();
            fs.stop_at(stop);
            drop(cut(&fs, false));
            let what = format!("stop {stop} ({:?}), seed {seed}", fs.operation(stop));
            let fs = fs.crash(seed);
            cut(&fs, false).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(opened(&fs, &what), expected, "{what}");
        }
    }
}

/// After a cut or repair of a log with any changed byte, its check reports no error. Only a corrupt head of the first segment
/// cannot be cut.
#[test]
fn any_changed_byte_leaves_a_log_that_can_be_cut() {
    let (dir, snap_dir) = (Path::new(WAL), Path::new(SNAP));
    let mut cuts = 0;
    for (number, path) in segments(&member()).into_iter().enumerate() {
        let len = member().read(&path).expect("reads").len();
        for at in (0..len).step_by(13) {
            let fs = member();
            edit(&fs, &path, at, |bytes| bytes[0] ^= 1 << (at % 8));
            let what = format!("{} at {at}", path.display());
            match cut(&fs, false) {
                Ok(done) => cuts += u32::from(done.is_some()),
                // The head of the first segment.
                Err(_) if number == 0 && at < 80 => continue,
                Err(error) => panic!("{what}: {error}"),
            }
            let _torn = repair(&fs, dir).unwrap_or_else(|error| panic!("{what}: {error}"));
            let fine = check(&fs, dir, Some(snap_dir)).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(fine.tail.is_none_or(|tail| !tail.is_torn), "{what}");
        }
    }
    assert!(cuts > 50, "{cuts}");
}
