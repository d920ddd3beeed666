//! Messages that a replica must refuse or ignore: forged, late and impossible ones.

mod group;

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use tsmith_engine::replica::{Error, Replica};
use tsmith_wal::testing::SimFs;

use group::{
    ASK, CHUNK, CHUNK_HEAD, Faults, Group, OF_GROUP, VOTERS, forged, raft_message, refused, said,
    until_it_asks, with_one_behind,
};

/// Corrupts a chunk in every way.
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
    // Chunks from another sender, snapshot, file or offset are ignored, whatever they contain.
    for (at, number) in [(0, 3), (2, u64::MAX), (3, u64::MAX), (4, 0), (5, offset + 1)] {
        replica.step(&forged(message, at, number, &[7; 9000])).expect("is ignored");
    }
}

/// Strange requests get an empty or a short answer.
fn ask_strangely(replica: &mut Replica<SimFs>, message: &[u8]) {
    let most = u32::MAX.to_le_bytes();
    for (at, number) in [(2, u64::MAX), (3, u64::MAX), (5, u64::MAX), (5, 1 << 40), (5, 0)] {
        replica.step(&forged(message, at, number, &most)).expect("answers");
    }
    refused(replica, &forged(message, 5, 0, b"five."));
    let mut given = Vec::new();
    replica.run(&mut |_, message| given.push(message)).expect("goes on");
    let answers = given.iter().filter(|message| message[0] == CHUNK);
    let lens: Vec<_> = answers.map(|message| message.len() - CHUNK_HEAD - OF_GROUP.len()).collect();
    // These follow earlier, regular requests.
    assert!(lens.ends_with(&[0, 0, 0, 0, 300]), "{lens:?}");
}

/// Truncated, corrupt, too long or misdirected chunks are refused or ignored. Only regular chunks count.
#[test]
fn forged_chunks_do_no_harm() {
    let (mut group, behind) = with_one_behind(9);
    let (mut chunks, mut asks, mut too_long) = (0, 0, 0);
    for _ in 0..400 {
        for (to, message) in group.network.step() {
            let replica = group.running.get_mut(&to).expect("runs");
            if message[0] == CHUNK && chunks < 6 {
                chunks += 1;
                spoil_chunk(replica, &message);
                let offset = u64::from_le_bytes(message[45..CHUNK_HEAD].try_into().expect("eight"));
                // Refused if it is the next chunk; a repeated one is ignored.
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
            replica.run(&mut |to, message| network.send(id, to, message)).expect("goes on");
        }
    }
    assert!(chunks == 6 && asks == 6 && too_long > 0, "{chunks} chunks, {too_long} too long, {asks} asks");
    assert!(group.running[&3].snapshot_index() >= behind);
    group.check();
}

/// A malformed list, or one that names a file twice, is refused. A list of unavailable files blocks nothing.
#[test]
fn forged_file_lists_do_no_harm() {
    let (mut group, behind) = with_one_behind(11);
    let offer = |list: &str| {
        let mut message = Message { from: 1, to: 3, term: 1 << 60, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapshot);
        let snapshot = message.mut_snapshot();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (1 << 60, 1);
        metadata.mut_conf_state().voters = VOTERS.to_vec();
        snapshot.data = list.as_bytes().to_vec().into();
        [&[0][..], &message.write_to_bytes().expect("encodes"), &OF_GROUP].concat()
    };
    let name = "000000001-000000001.tsm";
    let replica = group.running.get_mut(&3).expect("runs");
    for list in [
        "",
        "applied x",
        "applied 1\n../../x 5 0",
        &format!("applied 1\n{name} -1 0"),
        &format!("applied 1\n{name} 5"),
    ] {
        let refused = replica.step(&offer(list));
        assert!(matches!(refused, Err(Error::Corrupt("a list of files"))), "{list}: {refused:?}");
    }
    let twice = replica.step(&offer(&format!("applied 1\n{name} 0 0\n{name} 0 0")));
    assert!(matches!(twice, Err(Error::Io { .. })), "{twice:?}");
    // More bytes than any disk has: only received bytes are written.
    replica.step(&offer(&format!("applied 1\n{name} {} 0", u64::MAX))).expect("asks for it");
    for _ in 0..400 {
        group.step();
    }
    assert!(group.running[&3].snapshot_index() >= behind);
    group.check();
}

/// Story: a late offer of the former leader restarted the transfer from a replica that no longer answered.
#[test]
fn a_former_leaders_offer_is_ignored() {
    let (mut group, _) = with_one_behind(19);
    // Change the leader first.
    group.crash(3);
    for id in [1, 2] {
        group.crash(id);
        (0..100).for_each(|_| group.step());
        group.start(id);
        (0..100).for_each(|_| group.step());
    }
    group.start(3);
    let (leader, offer) = until_it_asks(&mut group);
    assert!(offer.term > 1 && offer.from == leader, "{offer:?}");
    let other = 3 - leader;
    let late = raft_message(other, 3, MessageType::MsgSnapshot, |late| {
        late.set_snapshot(offer.get_snapshot().clone());
        late.term = offer.term - 1;
    });
    group.running.get_mut(&3).expect("runs").step(&late).expect("is ignored");
    let asked = said(&mut group, 3).into_iter().filter(|(_, message)| message[0] == ASK);
    assert_eq!(asked.map(|(to, _)| to).find(|&to| to != leader), None, "asks the former leader");
    group.check();
}

/// Story: after a chunk of a single byte, all later chunks were as short. A snapshot took as many messages as
/// bytes.
#[test]
fn chunks_grow_again_after_a_short_one() {
    let (mut group, behind) = with_one_behind(23);
    let (mut was_short, mut asked) = (false, Vec::new());
    for _ in 0..400 {
        for (to, message) in group.network.step() {
            let message = if message[0] == CHUNK && !was_short {
                was_short = true;
                let offset = u64::from_le_bytes(message[45..CHUNK_HEAD].try_into().expect("eight"));
                forged(&message, 5, offset, &message[CHUNK_HEAD..][..1])
            } else {
                message
            };
            if message[0] == ASK && was_short {
                asked.push(u32::from_le_bytes(message[CHUNK_HEAD..][..4].try_into().expect("four")));
            }
            group.running.get_mut(&to).expect("runs").step(&message).expect("takes it");
        }
        for id in VOTERS {
            group.running.get_mut(&id).expect("runs").tick();
            for (to, message) in said(&mut group, id) {
                group.network.send(id, to, message);
            }
        }
    }
    assert!(group.running[&3].snapshot_index() >= behind);
    let places =
        asked.iter().position(|&bytes| bytes == 150).zip(asked.iter().rposition(|&bytes| bytes == 300));
    assert!(places.is_some_and(|(half, full)| half < full), "{asked:?}");
    group.check();
}

/// Story: a replica with an empty directory had acknowledged entries before. The leader told it to commit
/// them, and raft panicked at every start. The replica must stop, and the error says how to restore it.
#[test]
fn a_replica_that_lost_its_log_stops() {
    let mut group = Group::new(29, Faults::default());
    for round in 0..400 {
        group.step();
        if round > 60 && round % 5 == 0 {
            group.propose(round / 5 % 3 + 1);
        }
    }
    let leader =
        group.running.iter().find(|(_, replica)| replica.is_leader()).map(|(id, _)| *id).expect("leads");
    let lost = leader % 3 + 1;
    drop(group.running.remove(&lost));
    group.waiting.retain(|(of, _), _| *of != lost);
    group.disks.insert(lost, SimFs::default());
    group.create(lost);
    let mut stopped = None;
    for _ in 0..100 {
        for (to, message) in group.network.step() {
            match group.running.get_mut(&to).map_or(Ok(()), |replica| replica.step(&message)) {
                Err(error @ Error::LostLog { .. }) if to == lost => stopped = Some(error),
                done => done.expect("takes it"),
            }
        }
        if stopped.is_some() {
            break;
        }
        for id in VOTERS {
            group.running.get_mut(&id).expect("runs").tick();
            for (to, message) in said(&mut group, id) {
                group.network.send(id, to, message);
            }
        }
    }
    let stopped = stopped.expect("stops");
    assert!(matches!(stopped, Error::LostLog { last: 0, .. }), "{stopped}");
    let replica = group.running.get_mut(&lost).expect("is there");
    let vote = raft_message(leader, lost, MessageType::MsgRequestVote, |vote| {
        (vote.term, vote.index, vote.log_term) = (50, 500, 50);
    });
    assert!(matches!(replica.step(&vote), Err(Error::LostLog { .. })));
    assert!(matches!(replica.run(&mut |_, _| panic!("says something")), Err(Error::LostLog { .. })));
    // The procedure in the error: the others alone, the leader restarted, then the replica created again.
    drop(group.running.remove(&lost));
    drop(group.running.remove(&leader));
    group.waiting.retain(|(of, _), _| *of != leader);
    group.start(leader);
    for round in 0..300 {
        group.step();
        if round > 100 && round % 5 == 0 {
            group.propose(leader);
        }
    }
    (0..30).for_each(|_| group.step());
    let applied: Vec<u64> = group.running.values().map(Replica::applied).collect();
    assert!(applied[0] == applied[1], "{applied:?}");
    group.disks.insert(lost, SimFs::default());
    group.create(lost);
    group.check();
}

/// Messages that no replica sends. Raft panics at some; others would be committed and stop every replica, or
/// change the group.
#[test]
fn impossible_raft_messages_are_refused() {
    let (mut group, _) = with_one_behind(31);
    let (leader, offer) = until_it_asks(&mut group);
    let term = offer.term;
    let entry = |index: u64, term: u64| raft::eraftpb::Entry { index, term, ..Default::default() };
    let append = |index: u64, log_term: u64, entries: Vec<raft::eraftpb::Entry>| {
        raft_message(leader, 3, MessageType::MsgAppend, |message| {
            (message.term, message.index, message.log_term, message.commit) =
                (term, index, log_term, 1 << 40);
            message.set_entries(entries.into());
        })
    };
    let with_term = |kind, term| raft_message(leader, 3, kind, |message| message.term = term);
    let proposal = |entries: Vec<raft::eraftpb::Entry>| {
        raft_message(leader, 3, MessageType::MsgPropose, |message| message.set_entries(entries.into()))
    };
    let mut change = entry(0, 0);
    change.set_entry_type(raft::eraftpb::EntryType::EntryConfChange);
    let short = raft::eraftpb::Entry { data: b"short".to_vec().into(), ..Default::default() };
    let snapshot = |spoil: fn(&mut raft::eraftpb::SnapshotMetadata)| {
        raft_message(leader, 3, MessageType::MsgSnapshot, |message| {
            message.term = term;
            message.set_snapshot(offer.get_snapshot().clone());
            spoil(message.mut_snapshot().mut_metadata());
        })
    };
    let refused_ones = [
        append(1 << 30, 0, Vec::new()),
        append(1 << 30, 0, vec![entry((1 << 30) + 1, term)]),
        append(0, 0, vec![entry(1 << 30, term)]),
        append(0, 0, vec![entry(1, 0)]),
        append(0, 0, vec![entry(1, term + 1)]),
        append(u64::MAX, term, Vec::new()),
        with_term(MessageType::MsgAppend, 0),
        with_term(MessageType::MsgHeartbeat, 0),
        with_term(MessageType::MsgHeartbeat, u64::MAX),
        with_term(MessageType::MsgTimeoutNow, term),
        with_term(MessageType::MsgTransferLeader, term),
        with_term(MessageType::MsgReadIndex, 0),
        with_term(MessageType::MsgReadIndexResp, term),
        with_term(MessageType::MsgHup, term),
        with_term(MessageType::MsgPropose, term),
        raft_message(3, 3, MessageType::MsgHeartbeat, |message| message.term = term),
        raft_message(leader, 3, MessageType::MsgRequestPreVote, |message| {
            (message.term, message.priority) = (term + 1, -1);
        }),
        proposal(Vec::new()),
        proposal(vec![change]),
        proposal(vec![short]),
        snapshot(|metadata| metadata.mut_conf_state().voters = vec![1, 2, 3, 4]),
        snapshot(|metadata| metadata.mut_conf_state().learners = vec![4]),
        snapshot(|metadata| metadata.mut_conf_state().voters = vec![1, 3]),
        snapshot(|metadata| metadata.term = 0),
        snapshot(|metadata| metadata.index = u64::MAX),
    ];
    for message in &refused_ones {
        refused(group.running.get_mut(&3).expect("runs"), message);
        // A leader handles other kinds of messages, so send them to it, too.
        let mut parsed = Message::parse_from_bytes(&message[1..message.len() - 8]).expect("raft's");
        (parsed.from, parsed.to) = (if parsed.from == 3 { leader } else { 3 }, leader);
        let message = [&[0][..], &parsed.write_to_bytes().expect("encodes"), &OF_GROUP].concat();
        refused(group.running.get_mut(&leader).expect("runs"), &message);
    }
    group.check();
}

#[test]
fn invalid_proposals_are_refused() {
    let mut group = Group::new(3, Faults::default());
    let replica = group.running.get_mut(&1).expect("runs");
    assert!(matches!(replica.propose(b"_tsmith_raft applied=9i 0", 0), Err(Error::Reserved)));
    assert!(matches!(replica.step(b"\xff\xff"), Err(Error::Corrupt(_))));
    assert!(matches!(replica.propose(&b"x".repeat(11 << 20), 0), Err(Error::TooLarge { .. })));
    assert!(matches!(replica.propose(b"m v=1", 0), Err(Error::NoLeader)));
}
