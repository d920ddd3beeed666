//! A replica in a group of one, without a network.

use std::path::Path;

use tsmith_engine::ErrorKind;
use tsmith_engine::replica::{Applied, Error, Replica, Result, Settings};
use tsmith_wal::etcd::WalOptions;
use tsmith_wal::fs::{Fs, FsFile, OsFs};
use tsmith_wal::testing::SimFs;

const DIR: &str = "/r";

fn settings(id: u64) -> Settings {
    let mut settings = Settings::new(id, &[id]);
    settings.snapshot_entries = 12;
    settings.catch_up_entries = 3;
    settings.wal = WalOptions { segment_bytes: 4096, ..WalOptions::default() };
    settings.background = false;
    settings
}

fn open(fs: &SimFs) -> Replica<SimFs> {
    let is_new = fs.list(Path::new("/r/wal")).is_err();
    let begin = if is_new { Replica::create } else { Replica::open };
    let mut replica = begin(fs.clone(), Path::new(DIR), settings(1)).expect("opens");
    while !replica.is_leader() {
        replica.tick();
        replica.run(&mut |_, _| {}).expect("runs");
    }
    replica
}

/// Proposes lines and returns the result.
fn write(replica: &mut Replica<SimFs>, lines: &[u8]) -> Applied {
    let ticket = replica.propose(lines, 0).expect("leads");
    replica.run(&mut |_, _| {}).expect("runs");
    let done = replica.take_done().into_iter().find(|(of, _)| *of == ticket);
    done.expect("one vote is a majority").1
}

/// Story: a group of one commits without a Ready that carries the commit index. Its log had no commit, so it
/// ignored its own snapshots, although the entries before them were gone. After a clean close the replica did
/// not open.
#[test]
fn a_group_of_one_opens_after_its_snapshots() {
    let fs = SimFs::default();
    for round in 0..3 {
        let mut replica = open(&fs);
        for i in 0..40 {
            write(&mut replica, format!("m v={i} {}", round * 100 + i).as_bytes());
        }
        assert!(replica.snapshot_index() > 0, "no snapshot was taken");
    }
    assert!(open(&fs).applied() > 120);
}

/// Story: in the engine's log record, every field repeats the key of its series. A line of 60 KB became a
/// record of 100 MB. It was committed, could not be applied, and stopped every replica at every start.
#[test]
fn a_rejected_line_stops_no_replica() {
    let fs = SimFs::default();
    let mut replica = open(&fs);
    let tags: Vec<String> = (0..5000).map(|i| format!("a{i}=b")).collect();
    let fields: Vec<String> = (0..2500).map(|i| format!("f{i}=1i")).collect();
    let wide = format!("m,{} {} 1", tags.join(","), fields.join(","));
    assert_eq!(write(&mut replica, wide.as_bytes()), Applied { points: 0, rejected: 1 });
    assert_eq!(write(&mut replica, b"m v=1 2"), Applied { points: 1, rejected: 0 });
    drop(replica);
    assert_eq!(write(&mut open(&fs), b"m v=1 3"), Applied { points: 1, rejected: 0 });
}

/// Story: a replica started on another replica's directory would vote with that one's state. The error named
/// neither the owner nor the directory.
#[test]
fn the_directory_of_another_replica_is_refused() {
    let fs = SimFs::default();
    drop(open(&fs));
    let error = Replica::open(fs, Path::new(DIR), settings(2)).expect_err("replica 1's");
    let Error::OtherReplica { dir, found: 1, id: 2 } = &error else { panic!("{error}") };
    assert_eq!(dir, Path::new(DIR));
}

/// Story: replica 3 of one group was started in place of replica 3 of another group with the same voters and
/// terms. It followed the leader and acknowledged entries, with other data.
#[test]
fn groups_with_the_same_voters_are_separate() {
    let of_group = |group: u64| {
        let mut settings = settings(1);
        settings.voters = vec![1, 2, 3];
        settings.group = group;
        settings
    };
    let fs = SimFs::default();
    let mut replica = Replica::create(fs.clone(), Path::new(DIR), of_group(5)).expect("is made");
    let message = |group: u64| {
        let mut message = raft::eraftpb::Message { from: 2, to: 1, term: 9, ..Default::default() };
        message.set_msg_type(raft::eraftpb::MessageType::MsgHeartbeat);
        let bytes = protobuf::Message::write_to_bytes(&message).expect("encodes");
        [&[0][..], &bytes, &group.to_le_bytes()].concat()
    };
    let refused = replica.step(&message(6)).expect_err("of another group");
    assert!(matches!(refused, Error::OtherGroup { found: 6, group: 5 }), "{refused}");
    assert_eq!(replica.leader(), 0);
    replica.step(&message(5)).expect("is of this group");
    assert_eq!(replica.leader(), 2);
    replica.close().expect("closes");
    let before = fs.snapshot();
    let error = Replica::open(fs.clone(), Path::new(DIR), of_group(6)).expect_err("of another group");
    let Error::OtherGroupsDirectory { dir, found: 5, group: 6 } = &error else { panic!("{error}") };
    assert_eq!(dir, Path::new(DIR));
    assert!(fs.snapshot() == before);
    Replica::open(fs, Path::new(DIR), of_group(5)).expect("opens");
}

/// The names of the engine's TSM files.
fn tsm_files(fs: &SimFs) -> Vec<String> {
    let is_engine = |path: &Path| path.to_str().is_some_and(|path| path.starts_with("/r/engine-"));
    let files = fs.snapshot().into_keys().filter(|path| is_engine(path));
    let files = files.filter(|path| path.extension() == Some("tsm".as_ref()));
    files.map(|path| path.file_name().expect("a name").to_string_lossy().into_owned()).collect()
}

/// Story: every snapshot added a file, and none was ever merged.
#[test]
fn files_of_snapshots_are_merged() {
    let fs = SimFs::default();
    let mut replica = open(&fs);
    for i in 0..100 * 12 {
        write(&mut replica, format!("m,n={} v={i} {i}", i % 3).as_bytes());
    }
    let files = tsm_files(&fs);
    assert!(files.len() < 20, "{files:?}");
    let before = replica.export().expect("exports");
    drop(replica);
    assert_eq!(open(&fs).export().expect("exports"), before);
}

/// A power cut at every operation of a snapshot that merges files. After reopening, every acknowledged point
/// exists exactly once.
#[test]
fn an_interrupted_merge_loses_nothing() {
    let (mut merged, mut stop) = (0, 0);
    loop {
        let fs = SimFs::default();
        let mut replica = open(&fs);
        for i in 0..7 * 12 + 6 {
            write(&mut replica, format!("m,n={} v={i} {i}", i % 3).as_bytes());
        }
        let before = replica.export().expect("exports");
        let applied = replica.applied();
        stop += 1;
        fs.stop_at(fs.operations() + stop);
        let done = replica.snapshot();
        drop(replica);
        let fs = fs.crash(stop);
        let replica = open(&fs);
        assert!(replica.applied() > applied, "stop {stop}: {} of {applied}", replica.applied());
        assert_eq!(replica.export().expect("exports"), before, "stop {stop}");
        merged += u64::from(tsm_files(&fs).iter().any(|name| name.ends_with("-000000002.tsm")));
        if done.is_ok() {
            break;
        }
    }
    assert!(merged > 5 && stop > merged + 20, "{merged} of {stop} had merged files");
}

/// A background thread merges files while they are linked for followers.
#[test]
fn files_are_merged_in_the_background() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut settings = settings(1);
    settings.background = true;
    settings.snapshot_entries = 2;
    let mut replica = Replica::create(OsFs, scratch.path(), settings).expect("is made");
    while !replica.is_leader() {
        replica.tick();
        replica.run(&mut |_, _| {}).expect("runs");
    }
    let files = || {
        let engine = scratch.path().join("engine-0000000000000000");
        let names =
            std::fs::read_dir(engine).expect("is there").map(|entry| entry.expect("an entry").file_name());
        names.map(|name| name.into_string().expect("ASCII")).collect::<Vec<_>>()
    };
    let is_merged = || files().iter().any(|name| name.ends_with("-000000003.tsm"));
    let mut written = 0;
    while written < 100 || !is_merged() {
        assert!(written < 2000, "{:?}", files());
        let line = format!("m,n={} v={written} {written}", written % 3);
        let ticket = replica.propose(line.as_bytes(), 0).expect("leads");
        replica.run(&mut |_, _| {}).expect("links what is there");
        assert!(replica.take_done().iter().any(|(of, _)| *of == ticket));
        written += 1;
    }
    replica.close().expect("closes");
}

/// Story: with four voters in the settings instead of three, the replica would have counted majorities of
/// another group.
#[test]
fn other_voters_than_before_are_refused() {
    for snapshots in [false, true] {
        let fs = SimFs::default();
        let mut replica = open(&fs);
        for i in 0..if snapshots { 40 } else { 1 } {
            write(&mut replica, format!("m v={i} {i}").as_bytes());
        }
        drop(replica);
        let mut others = settings(1);
        others.voters = vec![1, 2, 3];
        let error = Replica::open(fs.clone(), Path::new(DIR), others).expect_err("of a group of one");
        let Error::OtherVoters { was, now } = &error else { panic!("{error}") };
        assert_eq!((&was[..], &now[..]), (&[1][..], &[1, 2, 3][..]));
        // Order and repetition of voters do not matter.
        let mut same = settings(1);
        same.voters = vec![1, 1];
        Replica::open(fs, Path::new(DIR), same).expect("opens");
    }
    for voters in [&[2, 3][..], &[0, 1], &[]] {
        let mut none = settings(1);
        none.voters = voters.to_vec();
        let error = Replica::create(SimFs::default(), Path::new(DIR), none).expect_err("no voter");
        assert!(matches!(error, Error::NoVoter { id: 1, .. }), "{error}");
    }
}

/// Story: `create` on a running replica said that its log was lost and advised to remove its directory.
#[test]
fn a_running_replica_is_not_recreated() {
    let fs = SimFs::default();
    let replica = open(&fs);
    let create = || Replica::create(fs.clone(), Path::new(DIR), settings(1)).expect_err("is there");
    let error = create();
    assert!(matches!(&error, Error::InUse { dir } if dir == Path::new(DIR)), "{error}");
    replica.close().expect("closes");
    let error = create();
    assert!(matches!(error, Error::NotNew { .. }), "{error}");
}

/// Story: a replica without its log, or with a part of it, would start again, vote a second time, and help to
/// elect a leader that lacks entries it had acknowledged.
#[test]
fn a_replica_that_lost_its_log_does_not_start() {
    let dir = Path::new(DIR);
    let refused = |fs: &SimFs, begin: fn(SimFs, &Path, Settings) -> Result<Replica<SimFs>>| {
        let before = fs.snapshot();
        let error = begin(fs.clone(), dir, settings(1)).expect_err("lost");
        assert!(fs.snapshot() == before, "{error}: changed something");
        error
    };
    let fs = SimFs::default();
    fs.create_dir_all(dir).expect("made");
    assert!(matches!(refused(&fs, Replica::open), Error::NotThere { .. }));
    let mut replica = open(&fs);
    for i in 0..8 {
        write(&mut replica, format!("m,host={} v={i} {i}", "a".repeat(200)).as_bytes());
    }
    replica.snapshot().expect("is made");
    write(&mut replica, b"m v=8 8");
    replica.close().expect("closes");
    assert!(matches!(refused(&fs, Replica::create), Error::NotNew { .. }));

    // One sector in the middle of the log is lost. Opening would have truncated the log there.
    let holed = fs.kill();
    let segment = Path::new("/r/wal/0000000000000000-0000000000000000.wal");
    let file = holed.open(segment).expect("is there");
    file.write_all_at(&[0; 512], 512).expect("writes");
    assert!(matches!(refused(&holed, Replica::open), Error::CorruptLog(_)));

    // The log is gone, but the data is not.
    let segments = fs.list(Path::new("/r/wal")).expect("lists");
    for name in segments {
        fs.remove(&Path::new("/r/wal").join(name)).expect("removes");
    }
    assert!(matches!(refused(&fs, Replica::open), Error::CorruptLog(_)));
    fs.remove_dir(Path::new("/r/wal")).expect("removes");
    assert!(matches!(refused(&fs, Replica::open), Error::NotThere { .. }));
    assert!(matches!(refused(&fs, Replica::create), Error::NotNew { .. }));
}

/// Story: a byte of a TSM file was corrupt, and `?export` advised `tsmith repair`. That quarantined the file,
/// and the replica opened without a thousand acknowledged points. When it became the leader, it sent its
/// snapshot to the others.
#[test]
fn a_replica_without_a_quarantined_file_is_refused() {
    // `repair` would drop points that other replicas count on.
    let names_no_repair = |error: &Error| assert!(!error.to_string().contains("repair"), "{error}");
    let fs = SimFs::default();
    let mut replica = open(&fs);
    for i in 0..14 {
        write(&mut replica, format!("m v={i} {i}").as_bytes());
    }
    let engine = Path::new("/r/engine-0000000000000000");
    let file = engine.join(&tsm_files(&fs)[0]);
    let (open_file, bytes) = (fs.open(&file).expect("is there"), fs.read(&file).expect("reads"));
    // The footer holds the offset of the index, which follows the last block.
    let index = u64::from_be_bytes(*bytes.last_chunk().expect("a footer"));
    replica.close().expect("closes");
    open_file.write_all_at(&[!bytes[index as usize - 1]], index - 1).expect("written");
    let replica = open(&fs);
    let error = replica.export().expect_err("corrupt");
    names_no_repair(&error);
    let Error::Engine(corrupt) = &error else { panic!("{error}") };
    assert_eq!(corrupt.path(), Some(&*file), "{error}");
    assert!(matches!(corrupt.kind(), ErrorKind::Tsm(_)), "{error}");
    replica.close().expect("closes");
    for quarantined in ["000000001-000000001.tsm.bad", "000000001-000000001.tsm.2.bad", "wal/_00001.wal.bad"]
    {
        let (fs, quarantined) = (fs.kill(), engine.join(quarantined));
        fs.create_new(&quarantined).expect("new");
        let before = fs.snapshot();
        let error = Replica::open(fs.clone(), Path::new(DIR), settings(1)).expect_err("was quarantined");
        assert!(matches!(&error, Error::Quarantined { path } if *path == quarantined), "{error}");
        names_no_repair(&error);
        assert!(fs.snapshot() == before);
    }
    // Without its index the engine cannot open the file.
    open_file.set_len(40).expect("cut");
    let error = Replica::open(fs, Path::new(DIR), settings(1)).expect_err("cut short");
    names_no_repair(&error);
    let Error::Engine(corrupt) = &error else { panic!("{error}") };
    assert_eq!(corrupt.path(), Some(&*file), "{error}");
}

/// Story: a snapshot was on disk, but its engine was not created yet, and `repair` dropped a block from one
/// of the snapshot's files. The files were installed without a check, and the points were missing on this
/// replica alone.
#[test]
fn snapshot_files_are_checked_before_they_are_used() {
    let fs = SimFs::default();
    let mut replica = open(&fs);
    for i in 0..40 {
        write(&mut replica, format!("m v={i} {i}").as_bytes());
    }
    replica.close().expect("closes");
    let below = |dir: &Path, prefix: &str| {
        let names = fs.list(dir).expect("a directory").into_iter();
        names.filter(|name| name.to_string_lossy().starts_with(prefix)).map(|name| dir.join(name)).max()
    };
    let remove_all = |dir: &Path| {
        for name in fs.list(dir).expect("a directory") {
            if fs.list(&dir.join(&name)).is_err() {
                fs.remove(&dir.join(name)).expect("removes");
            }
        }
    };
    let engine = below(Path::new(DIR), "engine-").expect("an engine");
    remove_all(&engine.join("wal"));
    remove_all(&engine);
    let intact = fs.kill();
    let files = below(Path::new(DIR), "files-").expect("files of a snapshot");
    let tsm = below(&files, "0").expect("a file");
    let bytes = fs.read(&tsm).expect("reads");
    let index = u64::from_be_bytes(*bytes.last_chunk().expect("a footer"));
    for (name, at) in [("the last block", index - 2), ("the index", bytes.len() as u64 - 20)] {
        let fs = fs.kill();
        fs.open(&tsm).and_then(|file| file.write_all_at(b"!", at)).expect("writes");
        let error = Replica::open(fs, Path::new(DIR), settings(1)).expect_err(name);
        assert!(!error.to_string().contains("tsmith repair"), "{name}: {error}");
    }
    let replica = Replica::open(intact, Path::new(DIR), settings(1)).expect("opens");
    assert!(replica.applied() > 30);
}
