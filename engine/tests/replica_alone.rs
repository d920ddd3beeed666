//! A group of one: what a replica owes to itself, without a network.

use std::path::Path;

use tsmith_engine::replica::{Applied, Replica, Settings};
use tsmith_wal::etcd::WalOptions;
use tsmith_wal::fs::SimFs;

const DIR: &str = "/r";

fn settings(id: u64) -> Settings {
    let mut settings = Settings::new(id, &[id]);
    settings.snapshot_entries = 12;
    settings.catch_up_entries = 3;
    settings.wal = WalOptions::default().segment_bytes(4096).allocate_ahead(false);
    settings
}

fn open(fs: &SimFs) -> Replica<SimFs> {
    let mut replica = Replica::open(fs.clone(), Path::new(DIR), settings(1)).expect("opens");
    while !replica.is_leader() {
        replica.tick();
        replica.drive(&mut |_, _| {}).expect("runs");
    }
    replica
}

/// Proposes lines, and what came of them.
fn write(replica: &mut Replica<SimFs>, lines: &[u8]) -> Applied {
    let ticket = replica.propose(lines, 0).expect("leads");
    replica.drive(&mut |_, _| {}).expect("runs");
    let done = replica.take_done().into_iter().find(|(of, _)| *of == ticket);
    done.expect("one vote is a majority").1
}

/// One voter commits without a Ready that says so. The log knew of no commit, took its snapshots for ones that came too
/// early, and had let go of the entries before them: after a clean close nothing opened any more.
#[test]
fn a_group_of_one_opens_after_its_snapshots() {
    let fs = SimFs::default();
    for round in 0..3 {
        let mut replica = open(&fs);
        for i in 0..40 {
            write(&mut replica, format!("m v={i} {}", round * 100 + i).as_bytes());
        }
        assert!(replica.snapshot_index() > 0, "none was taken");
    }
    assert!(open(&fs).applied() > 120);
}

/// Every field repeats the key of its series in the record of the engine's log: this line of 60 KB makes one of 100 MB.
/// It was agreed on, applied nowhere, and stopped every replica, at each start anew.
#[test]
fn a_line_that_no_engine_takes_is_rejected_and_stops_nobody() {
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

/// Started on the directory of another, a replica would vote with the memory of that one.
#[test]
fn the_directory_of_another_replica_is_refused() {
    let fs = SimFs::default();
    drop(open(&fs));
    let error = Replica::open(fs, Path::new(DIR), settings(2)).expect_err("replica 1's");
    assert_eq!(error.to_string(), "replica: expected the directory of the replica with this id");
}
