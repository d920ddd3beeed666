//! Three replicas on a network that loses, delays and parts, on disks that lose what was not synced.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use tsmith_engine::replica::transport::{FRAME_BYTES_MAX, Faults, Network, read_frame, write_frame};
use tsmith_engine::replica::{Applied, Error, Replica, Settings, Ticket};
use tsmith_wal::etcd::WalOptions;
use tsmith_wal::fs::{Fs, FsFile as _, SimFs};

const VOTERS: [u64; 3] = [1, 2, 3];
const DIR: &str = "/r";

fn settings(id: u64) -> Settings {
    let mut settings = Settings::new(id, &VOTERS);
    settings.snapshot_entries = 12;
    settings.catch_up_entries = 3;
    // Several to a file.
    settings.chunk_bytes = 300;
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

/// A group whose third member was away until the others had nothing but files for it; and the snapshot it needs.
fn with_one_behind(seed: u64) -> (Group, u64) {
    let mut group = Group::new(seed, Faults::default());
    (0..80).for_each(|_| group.step());
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
    (group, behind)
}

/// What stands below a directory that begins with `prefix`, by the rest of its path.
fn files_below(disk: &SimFs, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let below = |path: &Path| Some(path.to_str()?.strip_prefix(DIR)?.strip_prefix('/')?.to_owned());
    let files = disk.snapshot().into_iter().filter_map(|(path, bytes)| Some((below(&path)?, bytes)));
    files.filter(|(path, _)| path.starts_with(prefix)).collect()
}

/// Who was away for long gets files, not entries, and then the entries after them; also when the power goes while it
/// takes them over, at any operation: files under a name are whole.
#[test]
fn who_fell_behind_gets_a_snapshot() {
    let (mut group, behind) = with_one_behind(7);
    let mut crashes = 0;
    for stop in 1..1500 {
        let disk = group.disks[&3].clone();
        disk.stop_at(disk.operations() + stop);
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
        for (path, bytes) in files_below(&group.disks[&3], "files-") {
            let is_whole = |disk: &SimFs| files_below(disk, &path).get(&path) == Some(&bytes);
            let whole = path.contains(".tmp/") || is_whole(&group.disks[&1]) || is_whole(&group.disks[&2]);
            assert!(whole, "crash {crashes}: {path} has {} bytes", bytes.len());
        }
        group.start(3);
        let names = group.disks[&3].list(Path::new(DIR)).expect("lists");
        let unfinished = |name: &OsString| Path::new(name).extension() == Some("tmp".as_ref());
        assert!(!names.iter().any(unfinished), "{names:?}");
    }
    assert!(crashes > 40, "{crashes} crashes");
    group.disks[&3].heal();
    group.check();
    assert!(group.running[&3].snapshot_index() >= behind);
    let names = group.disks[&3].list(Path::new(DIR)).expect("lists");
    let base = |name: &OsString| u64::from_str_radix(name.to_str()?.strip_prefix("engine-")?, 16).ok();
    assert!(names.iter().filter_map(base).all(|base| base > 0), "{names:?}");
}

/// The kinds of messages, by their first byte; and what one about a file says before its last part.
const ASK: u8 = 1;
const CHUNK: u8 = 2;
const CHUNK_HEAD: usize = 5 + 48;

/// The message with its number `at` (from, to, index, generation, sequence, offset) and its end changed, and a checksum
/// that says it is meant so.
fn forged(message: &[u8], at: usize, number: u64, end: &[u8]) -> Vec<u8> {
    let mut out = message[..CHUNK_HEAD].to_vec();
    out[5 + 8 * at..][..8].copy_from_slice(&number.to_le_bytes());
    out.extend_from_slice(end);
    let checksum = crc32fast::hash(&out[5..]);
    out[1..5].copy_from_slice(&checksum.to_le_bytes());
    out
}

fn refused(replica: &mut Replica<SimFs>, bytes: &[u8]) -> &'static str {
    match replica.step(bytes) {
        Err(Error::Corrupt(what)) => what,
        other => panic!("{bytes:?}: {other:?}"),
    }
}

/// What a chunk on its way might become.
fn spoil_chunk(replica: &mut Replica<SimFs>, message: &[u8]) {
    for len in 0..message.len() {
        refused(replica, &message[..len]);
    }
    for bit in 8..8 * message.len() {
        let mut bytes = message.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        refused(replica, &bytes);
    }
    for (end, number) in [(0, 9), (1, 2)] {
        let said = refused(replica, &forged(message, end, number, b"x"));
        assert_eq!(said, "a message of this group for this replica");
    }
    let offset = u64::from_le_bytes(message[45..CHUNK_HEAD].try_into().expect("eight"));
    // Another sender, snapshot, file, place: passed over, whatever they hold.
    for (at, number) in [(0, 3), (2, u64::MAX), (3, u64::MAX), (4, 0), (5, offset + 1)] {
        replica.step(&forged(message, at, number, &[7; 9000])).expect("passed over");
    }
}

/// Whoever asks for strange things gets nothing, or little.
fn ask_strangely(replica: &mut Replica<SimFs>, message: &[u8]) {
    let most = u32::MAX.to_le_bytes();
    for (at, number) in [(2, u64::MAX), (3, u64::MAX), (5, u64::MAX), (5, 1 << 40), (5, 0)] {
        replica.step(&forged(message, at, number, &most)).expect("answers");
    }
    refused(replica, &forged(message, 5, 0, b"five."));
    let mut given = Vec::new();
    replica.drive(&mut |_, message| given.push(message)).expect("goes on");
    let answers = given.iter().filter(|message| message[0] == CHUNK);
    let lens: Vec<_> = answers.map(|message| message.len() - CHUNK_HEAD).collect();
    // Behind what was asked for before, in good faith.
    assert!(lens.ends_with(&[0, 0, 0, 0, 300]), "{lens:?}");
}

/// Chunks that are cut, flipped, too long, of other places or other people are refused or passed over, and what came in
/// good order is what counts.
#[test]
fn bytes_of_files_that_nobody_sent_do_no_harm() {
    let (mut group, behind) = with_one_behind(9);
    let (mut chunks, mut asks, mut too_long) = (0, 0, 0);
    for _ in 0..400 {
        for (to, message) in group.network.step() {
            let replica = group.running.get_mut(&to).expect("runs");
            if message[0] == CHUNK && chunks < 6 {
                chunks += 1;
                spoil_chunk(replica, &message);
                let offset = u64::from_le_bytes(message[45..CHUNK_HEAD].try_into().expect("eight"));
                // Refused if it is the next one; one that comes once more is passed over.
                too_long += u64::from(replica.step(&forged(&message, 5, offset, &[7; 301])).is_err());
            } else if message[0] == ASK && asks < 6 {
                asks += 1;
                ask_strangely(replica, &message);
            }
            replica.step(&message).unwrap_or_else(|error| panic!("replica {to}: {error}"));
        }
        let network = &mut group.network;
        for (&id, replica) in &mut group.running {
            replica.tick();
            replica.drive(&mut |to, message| network.send(id, to, message)).expect("goes on");
        }
    }
    assert!(chunks == 6 && asks == 6 && too_long > 0, "{chunks} chunks, {too_long} too long, {asks} asks");
    assert!(group.running[&3].snapshot_index() >= behind);
    group.check();
}

/// A list that is none, or names a file twice, is refused; one of files that nobody has holds nothing up.
#[test]
fn a_list_of_files_that_nobody_sent_does_no_harm() {
    let (mut group, behind) = with_one_behind(11);
    let offer = |list: &str| {
        let mut message = Message { from: 1, to: 3, term: 1, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapshot);
        let snapshot = message.mut_snapshot();
        snapshot.mut_metadata().index = u64::MAX - 7;
        snapshot.data = list.as_bytes().to_vec().into();
        [&[0][..], &message.write_to_bytes().expect("encodes")].concat()
    };
    let name = "000000001-000000001.tsm";
    let replica = group.running.get_mut(&3).expect("runs");
    for list in ["", "applied x", "applied 1\n../../x 5", &format!("applied 1\n{name} -1")] {
        let refused = replica.step(&offer(list));
        assert!(matches!(refused, Err(Error::Corrupt("a list of files"))), "{list}: {refused:?}");
    }
    let twice = replica.step(&offer(&format!("applied 1\n{name} 0\n{name} 0")));
    assert!(matches!(twice, Err(Error::Io { .. })), "{twice:?}");
    // More than any disk has: only what comes is written.
    replica.step(&offer(&format!("applied 1\n{name} {}", u64::MAX))).expect("asks for it");
    for _ in 0..400 {
        group.step();
    }
    assert!(group.running[&3].snapshot_index() >= behind);
    group.check();
}

/// Chunks carry the checksum of what the sender has. A byte that had rotted there came over whole, its file was published,
/// and the follower, sound until then, never opened again.
#[test]
fn files_that_rotted_at_the_sender_are_not_taken() {
    for place in 0..6 {
        let (mut group, behind) = with_one_behind(40 + place);
        for id in [1, 2] {
            let disk = group.disks[&id].clone();
            for (path, bytes) in disk.snapshot() {
                if path.extension() == Some("tsm".as_ref()) && path.to_string_lossy().contains("files-") {
                    let at = [5, 20, bytes.len() / 2, bytes.len() * 3 / 4, bytes.len() - 20, bytes.len() - 4];
                    let at = at[place as usize];
                    let file = disk.open(&path).expect("is there");
                    file.write_all_at(&[bytes[at] ^ 0x5a], at as u64).expect("written");
                }
            }
        }
        for _ in 0..300 {
            group.step();
        }
        assert!(group.running[&3].snapshot_index() < behind, "byte {place}: it took what it cannot read");
        drop(group.running.remove(&3));
        group.start(3);
    }
}

/// Story: the others snapshot faster than files travel, and the files on their way were old before they arrived. They
/// are kept for as long as they are asked for, and taken though there are newer ones.
#[test]
fn files_on_their_way_outlive_later_snapshots() {
    let (mut group, behind) = with_one_behind(13);
    group.network.set_faults(Faults { lost_percent: 0, doubled_percent: 0, delay_steps: 3 });
    let newest = |group: &Group| group.running.values().map(Replica::snapshot_index).max().expect("three");
    let mut rounds = 0;
    while group.running[&3].snapshot_index() < behind {
        group.propose(1);
        group.step();
        rounds += 1;
        assert!(rounds < 2000, "the newest snapshot is {}", newest(&group));
    }
    assert!(newest(&group) > behind + 24, "{} is too slow a leader to prove anything", newest(&group));
    group.check();
}

/// Replicas on one file system: the files of a snapshot are linked, and none of their bytes travels.
#[test]
fn files_of_a_neighbour_are_linked() {
    let disk = SimFs::default();
    let dir = |id: u64| PathBuf::from(format!("/r{id}"));
    let open = |id| {
        let mut settings = settings(id);
        settings.neighbours = VOTERS.map(|id| (id, dir(id))).into();
        Replica::open(disk.clone(), &dir(id), settings).expect("opens")
    };
    let mut network = Network::new(3, Faults::default());
    let mut running: BTreeMap<u64, Replica<SimFs>> = [1, 2].map(|id| (id, open(id))).into();
    let mut about_files = 0;
    for round in 0..800 {
        for (to, message) in network.step() {
            about_files += u64::from(message[0] != 0);
            if let Some(replica) = running.get_mut(&to) {
                replica.step(&message).expect("takes it");
            }
        }
        for (&id, replica) in &mut running {
            replica.tick();
            replica.drive(&mut |to, message| network.send(id, to, message)).expect("goes on");
            if round > 60 && round < 500 && round % 4 == 0 && replica.is_leader() {
                replica.propose(format!("m v={round} {round}").as_bytes(), 0).expect("leads");
            }
        }
        if round == 500 {
            running.insert(3, open(3));
        }
    }
    assert!(running[&3].snapshot_index() > 24, "{}", running[&3].snapshot_index());
    assert_eq!(about_files, 0);
    let exports: Vec<String> = running.values().map(|replica| replica.export().expect("exports")).collect();
    assert!(exports[0].len() > 100 && exports.windows(2).all(|pair| pair[0] == pair[1]), "{exports:#?}");
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
        write_frame(&mut stream, message, FRAME_BYTES_MAX).expect("writes");
    }
    let mut all = Cursor::new(&stream);
    for len in [3, 0, 5000] {
        assert_eq!(
            read_frame(&mut all, FRAME_BYTES_MAX).expect("reads").map(|message| message.len()),
            Some(len)
        );
    }
    assert!(read_frame(&mut all, FRAME_BYTES_MAX).expect("ends").is_none());
    for len in 1..15 {
        assert!(read_frame(&mut Cursor::new(&stream[..len]), FRAME_BYTES_MAX).is_err(), "cut at {len}");
    }
    for at in 0..15 {
        let mut bytes = stream[..15].to_vec();
        bytes[at] ^= 4;
        assert!(read_frame(&mut Cursor::new(&bytes), FRAME_BYTES_MAX).is_err(), "byte {at}");
    }
    // A length that there is no memory for is refused, one that there are no bytes for takes none.
    for claimed in [FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, u32::MAX] {
        let bytes = [&b"TSR2"[..], &claimed.to_le_bytes(), &[0; 4], b"short"].concat();
        assert!(read_frame(&mut Cursor::new(&bytes), FRAME_BYTES_MAX).is_err());
    }
    // The bound is the reader's, and the writer's.
    let error = read_frame(&mut Cursor::new(&stream[12 + 3 + 12..]), 4999).expect_err("too large");
    assert!(error.to_string().contains("a message of 5000 bytes, a frame takes 4999"), "{error}");
    assert!(write_frame(&mut Vec::new(), &[7; 5000], 4999).is_err());
}
