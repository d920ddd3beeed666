//! Three replicas on a network that loses, delays and parts, on disks that lose what was not synced.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Cursor;
use std::path::Path;

use tsmith_engine::replica::transport::{FRAME_BYTES_MAX, Faults, Network, read_frame, write_frame};
use tsmith_engine::replica::{Applied, Error, Replica, Settings, Ticket};
use tsmith_wal::etcd::WalOptions;
use tsmith_wal::fs::{Fs, FsFile, SimFs};

const VOTERS: [u64; 3] = [1, 2, 3];
const DIR: &str = "/r";

fn settings(id: u64) -> Settings {
    let mut settings = Settings::new(id, &VOTERS);
    settings.snapshot_entries = 12;
    settings.catch_up_entries = 3;
    settings.wal = WalOptions::default().segment_bytes(4096).allocate_ahead(false);
    settings
}

/// A group, with what it was told and what it has acknowledged.
struct Group {
    disks: BTreeMap<u64, SimFs>,
    running: BTreeMap<u64, Replica<SimFs>>,
    network: Network,
    waiting: BTreeMap<(u64, Ticket), String>,
    acknowledged: Vec<String>,
    number: u64,
}

impl Group {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut group = Self {
            disks: VOTERS.map(|id| (id, SimFs::default())).into(),
            running: BTreeMap::new(),
            network: Network::new(seed, faults),
            waiting: BTreeMap::new(),
            acknowledged: Vec::new(),
            number: 0,
        };
        for id in VOTERS {
            group.start(id);
        }
        group
    }

    fn start(&mut self, id: u64) {
        let opened = Replica::open(self.disks[&id].clone(), Path::new(DIR), settings(id));
        let replica = opened.unwrap_or_else(|error| panic!("replica {id}: {error}"));
        self.running.insert(id, replica);
    }

    /// The power goes at `id`: of what was not synced, chance keeps a part.
    fn crash(&mut self, id: u64) {
        let seed = self.network.below(1 << 40);
        // From here on nothing reaches the disk, not even what dropping would write.
        let disk = self.disks[&id].clone();
        disk.stop_at(0);
        drop(self.running.remove(&id));
        self.disks.insert(id, disk.crash(seed));
        self.waiting.retain(|(of, _), _| *of != id);
    }

    /// Everybody acts once.
    fn step(&mut self) {
        for (to, message) in self.network.step() {
            if let Some(replica) = self.running.get_mut(&to) {
                replica.step(&message).unwrap_or_else(|error| panic!("replica {to}: {error}"));
            }
        }
        let network = &mut self.network;
        for (&id, replica) in &mut self.running {
            replica.tick();
            let driven = replica.drive(&mut |to, message| network.send(id, to, message));
            driven.unwrap_or_else(|error| panic!("replica {id}: {error}"));
            for (ticket, applied) in replica.take_done() {
                let Some(line) = self.waiting.remove(&(id, ticket)) else { continue };
                assert_eq!(applied, Applied { points: 1, rejected: 0 });
                self.acknowledged.push(line);
            }
        }
    }

    fn propose(&mut self, id: u64) {
        self.number += 1;
        let line = format!("m,n={} v={} {}", self.number % 5, self.number, self.number);
        let Some(replica) = self.running.get_mut(&id) else { return };
        match replica.propose(line.as_bytes(), 0) {
            Ok(ticket) => drop(self.waiting.insert((id, ticket), line)),
            Err(Error::NoLeader) => {}
            Err(error) => panic!("replica {id}: {error}"),
        }
    }

    /// Peace: all run, nothing is lost, and in the end all have applied the same.
    fn settle(&mut self) -> String {
        self.network.set_faults(Faults::default());
        self.network.cut_off(&[]);
        for id in VOTERS {
            if !self.running.contains_key(&id) {
                self.start(id);
            }
        }
        for round in 0..600 {
            self.step();
            if round % 50 == 49 {
                // Something to agree on, in the term of who leads now.
                self.propose(round / 50 % 3 + 1);
            }
            let applied: Vec<u64> = self.running.values().map(Replica::applied).collect();
            if round > 150 && applied.windows(2).all(|pair| pair[0] == pair[1]) && round % 50 == 40 {
                break;
            }
        }
        let exports: Vec<String> =
            self.running.values().map(|replica| replica.export().expect("exports")).collect();
        assert!(exports.windows(2).all(|pair| pair[0] == pair[1]), "replicas differ:\n{exports:#?}");
        exports.into_iter().next().expect("three")
    }

    fn check(&mut self) {
        let export = self.settle();
        for line in &self.acknowledged {
            let (series, rest) = line.split_once(" v=").expect("a line");
            let (value, time) = rest.split_once(' ').expect("a line");
            let row = export.lines().find(|row| row.starts_with(&format!("{series}#!~#v ")));
            let row = row.unwrap_or_else(|| panic!("{series} is lost:\n{export}"));
            let (times, values) = row.split_once("] ").expect("two lists");
            let times: Vec<&str> = times.split_once('[').expect("a list").1.split(", ").collect();
            let at = times.iter().position(|known| known == &time);
            let at = at.unwrap_or_else(|| panic!("acknowledged, and lost: {line}\n{row}"));
            let values: Vec<&str> =
                values.split_once('[').expect("a list").1.trim_end_matches([']', ')']).split(", ").collect();
            assert_eq!(values[at].parse::<f64>(), value.parse::<f64>(), "{line}");
        }
    }
}

#[test]
fn a_quiet_group_elects_writes_and_agrees() {
    let mut group = Group::new(1, Faults::default());
    for round in 0..400 {
        group.step();
        if round > 60 && round % 5 == 0 {
            group.propose(round / 5 % 3 + 1);
        }
    }
    assert!(group.acknowledged.len() > 50, "{} acknowledged", group.acknowledged.len());
    assert!(group.running.values().any(|replica| replica.snapshot_index() > 0));
    group.check();
}

/// Loss, delay, partitions and power cuts at random; nothing acknowledged is lost, and all agree in the end.
#[test]
fn nothing_acknowledged_is_lost_whatever_fails() {
    let seeds = std::env::var("TSMITH_REPLICA_SEEDS").map_or(12, |seeds| seeds.parse().expect("a number"));
    let mut acknowledged = 0;
    for seed in 1..=seeds {
        let faults = Faults { lost_percent: seed % 4 * 5, doubled_percent: 5, delay_steps: seed % 5 };
        let mut group = Group::new(seed, faults);
        for round in 0..900u64 {
            group.step();
            match group.network.below(100) {
                0..=24 => {
                    let id = group.network.below(3) + 1;
                    group.propose(id);
                }
                25 if round > 100 => {
                    let id = group.network.below(4);
                    group.network.cut_off(&[id]);
                }
                26 if group.running.len() == 3 => {
                    let id = group.network.below(3) + 1;
                    group.crash(id);
                }
                27..=29 => {
                    let missing = VOTERS.into_iter().find(|id| !group.running.contains_key(id));
                    if let Some(id) = missing {
                        group.start(id);
                    }
                }
                _ => {}
            }
        }
        group.check();
        acknowledged += group.acknowledged.len();
    }
    assert!(acknowledged > 300, "only {acknowledged} acknowledged: the scripts prove little");
}

/// Who was away for long gets files, not entries, and then the entries after them; also when the power goes while it
/// takes them over, at any operation.
#[test]
fn who_fell_behind_gets_a_snapshot() {
    let mut group = Group::new(7, Faults::default());
    for _ in 0..80 {
        group.step();
    }
    group.crash(3);
    for round in 0..400 {
        group.step();
        if round % 4 == 0 {
            group.propose(1);
        }
    }
    let behind = group.running.values().map(Replica::snapshot_index).max().expect("two");
    assert!(behind > 24, "{behind}");
    group.start(3);
    let begin = group.disks[&3].operations();
    let mut crashes = 0;
    for stop in (1..400).step_by(13) {
        let disk = group.disks[&3].clone();
        disk.stop_at(begin + stop);
        for _ in 0..60 {
            for (to, message) in group.network.step() {
                if let Some(replica) = group.running.get_mut(&to) {
                    let done = replica.step(&message);
                    assert!(done.is_ok() || to == 3, "{done:?}");
                }
            }
            let network = &mut group.network;
            for (&id, replica) in &mut group.running {
                replica.tick();
                let driven = replica.drive(&mut |to, message| network.send(id, to, message));
                assert!(driven.is_ok() || id == 3, "{driven:?}");
            }
            if group.running[&3].snapshot_index() >= behind {
                break;
            }
        }
        if group.running[&3].snapshot_index() >= behind {
            break;
        }
        crashes += 1;
        group.crash(3);
        group.start(3);
    }
    assert!(crashes > 2, "{crashes} crashes");
    group.disks[&3].heal();
    group.check();
    assert!(group.running[&3].snapshot_index() >= behind);
    let names = group.disks[&3].list(Path::new(DIR)).expect("lists");
    let base = |name: &OsString| u64::from_str_radix(name.to_str()?.strip_prefix("engine-")?, 16).ok();
    assert!(names.iter().filter_map(base).all(|base| base > 0), "{names:?}");
}

/// Story: the files of a snapshot are more than a message carries. Who fell behind is told what to do, the others go on,
/// and when the files have been copied it takes them.
#[test]
fn files_that_no_message_carries_are_copied_by_hand() {
    let mut group = Group::new(5, Faults::default());
    for id in VOTERS {
        group.running.remove(&id).expect("runs").close().expect("closes");
        let small = Settings { snapshot_bytes_max: 10, ..settings(id) };
        let replica = Replica::open(group.disks[&id].clone(), Path::new(DIR), small).expect("opens");
        group.running.insert(id, replica);
    }
    (0..80).for_each(|_| group.step());
    group.crash(3);
    for round in 0..300 {
        group.step();
        if round % 4 == 0 {
            group.propose(1);
        }
    }
    group.start(3);
    let mut told = 0;
    for _ in 0..200 {
        for (to, message) in group.network.step() {
            let Some(replica) = group.running.get_mut(&to) else { continue };
            match replica.step(&message) {
                Ok(()) => {}
                Err(Error::FilesElsewhere { index, bytes, to }) => {
                    assert!(bytes > 10, "{bytes}");
                    told += 1;
                    let leader = group.running.values().find(|replica| replica.is_leader());
                    let leader = leader.expect("somebody sent it").id();
                    let from = &group.disks[&leader];
                    let disk = &group.disks[&3];
                    if told == 3 {
                        disk.create_dir_all(&to).expect("a directory");
                        for name in from.list(&to).unwrap_or_else(|error| panic!("{index}: {error}")) {
                            let bytes = from.read(&to.join(&name)).expect("reads");
                            let file = disk.create_new(&to.join(&name)).expect("creates");
                            file.write_all_at(&bytes, 0).and_then(|()| file.sync_all()).expect("writes");
                        }
                    }
                }
                Err(error) => panic!("replica {to}: {error}"),
            }
        }
        let network = &mut group.network;
        for (&id, replica) in &mut group.running {
            replica.tick();
            replica.drive(&mut |to, message| network.send(id, to, message)).expect("goes on");
        }
    }
    assert!(told >= 3, "told {told} times");
    assert!(group.running[&3].snapshot_index() > 0);
    group.check();
}

#[test]
fn what_is_the_replicas_own_is_refused() {
    let mut group = Group::new(3, Faults::default());
    let replica = group.running.get_mut(&1).expect("runs");
    assert!(matches!(replica.propose(b"_tsmith_raft applied=9i 0", 0), Err(Error::Reserved)));
    assert!(matches!(replica.step(b"\xff\xff"), Err(Error::Corrupt(_))));
    assert!(matches!(replica.propose(&b"x".repeat(11 << 20), 0), Err(Error::TooLarge { .. })));
    assert!(matches!(replica.propose(b"m v=1", 0), Err(Error::NoLeader)));
}

#[test]
fn frames_are_whole_or_an_error() {
    let mut stream = Vec::new();
    for message in [&b"one"[..], b"", &[7; 5000]] {
        write_frame(&mut stream, message).expect("writes");
    }
    let mut all = Cursor::new(&stream);
    for len in [3, 0, 5000] {
        assert_eq!(read_frame(&mut all).expect("reads").map(|message| message.len()), Some(len));
    }
    assert!(read_frame(&mut all).expect("ends").is_none());
    for len in 1..15 {
        assert!(read_frame(&mut Cursor::new(&stream[..len])).is_err(), "cut at {len}");
    }
    for at in 0..15 {
        let mut bytes = stream[..15].to_vec();
        bytes[at] ^= 4;
        assert!(read_frame(&mut Cursor::new(&bytes)).is_err(), "byte {at}");
    }
    // A length that there is no memory for is refused, one that there are no bytes for takes none.
    for claimed in [FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, u32::MAX] {
        let bytes = [&b"TSR1"[..], &claimed.to_le_bytes(), &[0; 4], b"short"].concat();
        assert!(read_frame(&mut Cursor::new(&bytes)).is_err());
    }
}
