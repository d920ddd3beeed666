//! A group of three on a simulated network and simulated disks, and forged messages.

#![allow(dead_code, reason = "each test file uses some of these")]

mod network;

use std::collections::BTreeMap;
use std::path::Path;

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use tsmith_engine::replica::{Applied, Error, Replica, Settings, Ticket};
use tsmith_wal::etcd::WalOptions;
use tsmith_wal::testing::SimFs;

pub(crate) use network::{Faults, Network};

pub(crate) const VOTERS: [u64; 3] = [1, 2, 3];
pub(crate) const DIR: &str = "/r";

pub(crate) fn settings(id: u64) -> Settings {
    let mut settings = Settings::new(id, &VOTERS);
    settings.snapshot_entries = 12;
    settings.catch_up_entries = 3;
    // Several chunks per file.
    settings.chunk_bytes = 300;
    settings.wal = WalOptions { segment_bytes: 4096, ..WalOptions::default() };
    settings.background = false;
    settings
}

/// A group with its proposals and acknowledgements.
pub(crate) struct Group {
    pub(crate) disks: BTreeMap<u64, SimFs>,
    pub(crate) running: BTreeMap<u64, Replica<SimFs>>,
    pub(crate) network: Network,
    pub(crate) waiting: BTreeMap<(u64, Ticket), String>,
    pub(crate) acknowledged: Vec<String>,
    number: u64,
}

impl Group {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        let mut group = Self {
            disks: VOTERS.map(|id| (id, SimFs::default())).into(),
            running: BTreeMap::new(),
            network: Network::new(seed, faults),
            waiting: BTreeMap::new(),
            acknowledged: Vec::new(),
            number: 0,
        };
        for id in VOTERS {
            group.create(id);
        }
        group
    }

    pub(crate) fn create(&mut self, id: u64) {
        let made = Replica::create(self.disks[&id].clone(), Path::new(DIR), settings(id));
        self.running.insert(id, made.unwrap_or_else(|error| panic!("replica {id}: {error}")));
    }

    pub(crate) fn start(&mut self, id: u64) {
        let opened = Replica::open(self.disks[&id].clone(), Path::new(DIR), settings(id));
        let replica = opened.unwrap_or_else(|error| panic!("replica {id}: {error}"));
        self.running.insert(id, replica);
    }

    /// A power cut at `id`: a random part of unsynced data survives.
    pub(crate) fn crash(&mut self, id: u64) {
        let seed = self.network.below(1 << 40);
        // Nothing reaches the disk from here on, not even what drop would write.
        let disk = self.disks[&id].clone();
        disk.stop_at(0);
        drop(self.running.remove(&id));
        self.disks.insert(id, disk.crash(seed));
        self.waiting.retain(|(of, _), _| *of != id);
    }

    /// Every replica acts once.
    pub(crate) fn step(&mut self) {
        for (to, message) in self.network.step() {
            if let Some(replica) = self.running.get_mut(&to) {
                replica.step(&message).unwrap_or_else(|error| panic!("replica {to}: {error}"));
            }
        }
        let network = &mut self.network;
        for (&id, replica) in &mut self.running {
            replica.tick();
            let driven = replica.run(&mut |to, message| network.send(id, to, message));
            driven.unwrap_or_else(|error| panic!("replica {id}: {error}"));
            for (ticket, applied) in replica.take_done() {
                let Some(line) = self.waiting.remove(&(id, ticket)) else { continue };
                assert_eq!(applied, Applied { points: 1, rejected: 0 });
                self.acknowledged.push(line);
            }
        }
    }

    pub(crate) fn propose(&mut self, id: u64) {
        self.number += 1;
        let line = format!("m,n={} v={} {}", self.number % 5, self.number, self.number);
        let Some(replica) = self.running.get_mut(&id) else { return };
        match replica.propose(line.as_bytes(), 0) {
            Ok(ticket) => drop(self.waiting.insert((id, ticket), line)),
            Err(Error::NoLeader) => {}
            Err(error) => panic!("replica {id}: {error}"),
        }
    }

    /// Runs all replicas without faults until all have applied the same.
    pub(crate) fn settle(&mut self) -> String {
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
                // A proposal in the current leader's term.
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

    pub(crate) fn check(&mut self) {
        let export = self.settle();
        for line in &self.acknowledged {
            let (series, rest) = line.split_once(" v=").expect("a line");
            let (value, time) = rest.split_once(' ').expect("a line");
            let row = export.lines().find(|row| row.starts_with(&format!("{series}#!~#v ")));
            let row = row.unwrap_or_else(|| panic!("{series} is lost:\n{export}"));
            let (times, values) = row.split_once("] ").expect("two lists");
            let times: Vec<&str> = times.split_once('[').expect("a list").1.split(", ").collect();
            let at = times.iter().position(|known| known == &time);
            let at = at.unwrap_or_else(|| panic!("acknowledged but lost: {line}\n{row}"));
            let values: Vec<&str> =
                values.split_once('[').expect("a list").1.trim_end_matches([']', ')']).split(", ").collect();
            assert_eq!(values[at].parse::<f64>(), value.parse::<f64>(), "{line}");
        }
    }
}

/// A group whose third member was down until the others needed a snapshot for it, and the index of that
/// snapshot.
pub(crate) fn with_one_behind(seed: u64) -> (Group, u64) {
    // Seven snapshots: the eighth would merge all files into one.
    with_one_behind_for(seed, 360)
}

/// The same after this many rounds.
pub(crate) fn with_one_behind_for(seed: u64, rounds: u32) -> (Group, u64) {
    let mut group = Group::new(seed, Faults::default());
    (0..80).for_each(|_| group.step());
    group.crash(3);
    for round in 0..rounds {
        group.step();
        if round % 4 == 0 {
            group.propose(1);
        }
    }
    let behind = group.running.values().map(Replica::snapshot_index).max().expect("two");
    assert!(behind > 24, "{behind}");
    group.start(3);
    (group, behind)
}

/// The files below directories that begin with `prefix`, by their path in the replica.
pub(crate) fn files_below(disk: &SimFs, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let below = |path: &Path| Some(path.to_str()?.strip_prefix(DIR)?.strip_prefix('/')?.to_owned());
    let files = disk.snapshot().into_iter().filter_map(|(path, bytes)| Some((below(&path)?, bytes)));
    files.filter(|(path, _)| path.starts_with(prefix)).collect()
}

/// The first byte of each kind of message, and the length of a file message's header.
pub(crate) const ASK: u8 = 1;
pub(crate) const CHUNK: u8 = 2;
pub(crate) const CHUNK_HEAD: usize = 5 + 48;
/// The group number at the end of a message.
pub(crate) const OF_GROUP: [u8; 8] = [0; 8];

/// The message with one number (from, to, index, generation, sequence or offset, by position) and its end
/// replaced, and a valid checksum.
pub(crate) fn forged(message: &[u8], at: usize, number: u64, end: &[u8]) -> Vec<u8> {
    let mut out = message[..CHUNK_HEAD].to_vec();
    out[5 + 8 * at..][..8].copy_from_slice(&number.to_le_bytes());
    out.extend_from_slice(end);
    let checksum = crc32fast::hash(&out[5..]);
    out[1..5].copy_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&OF_GROUP);
    out
}

pub(crate) fn refused(replica: &mut Replica<SimFs>, bytes: &[u8]) -> &'static str {
    match replica.step(bytes) {
        Err(Error::Corrupt(what)) => what,
        Err(Error::OtherGroup { .. }) => "a message of this group",
        other => panic!("{bytes:?}: {other:?}"),
    }
}

/// The messages that replica `id` sends when it runs.
pub(crate) fn said(group: &mut Group, id: u64) -> Vec<(u64, Vec<u8>)> {
    let mut said = Vec::new();
    let replica = group.running.get_mut(&id).expect("runs");
    replica.run(&mut |to, message| said.push((to, message))).expect("goes on");
    said
}

/// A message of raft between two replicas, as the transport carries it.
pub(crate) fn raft_message(
    from: u64,
    to: u64,
    kind: MessageType,
    fill: impl FnOnce(&mut Message),
) -> Vec<u8> {
    let mut message = Message { from, to, ..Message::default() };
    message.set_msg_type(kind);
    fill(&mut message);
    [&[0][..], &message.write_to_bytes().expect("encodes"), &OF_GROUP].concat()
}

/// Runs until the third replica requests files. Returns the replica it asked and the offered snapshot.
pub(crate) fn until_it_asks(group: &mut Group) -> (u64, Message) {
    let mut offered = None;
    for _ in 0..200 {
        for (to, message) in group.network.step() {
            if to == 3 && message[0] == 0 {
                let parsed =
                    Message::parse_from_bytes(&message[1..message.len() - OF_GROUP.len()]).expect("raft's");
                offered =
                    Some(parsed).filter(|offer| offer.get_msg_type() == MessageType::MsgSnapshot).or(offered);
            }
            if message[0] == ASK {
                return (to, offered.expect("an offer comes first"));
            }
            group.running.get_mut(&to).expect("runs").step(&message).expect("takes it");
        }
        for id in VOTERS {
            group.running.get_mut(&id).expect("runs").tick();
            for (to, message) in said(group, id) {
                group.network.send(id, to, message);
            }
        }
    }
    panic!("no request was sent");
}
