use super::*;

/// The zero values of etcd's own messages.
#[test]
fn zero_values_have_the_bytes_of_etcd() {
    assert_eq!(Entry::default().encode(), [8, 0, 0x10, 0, 0x18, 0]);
    assert_eq!(*HardState::default().head().encode(), [8, 0, 0x10, 0, 0x18, 0]);
    assert_eq!(ConfState::default().encode(), [0x28, 0]);
    assert_eq!(SnapshotRecord::default().encode(), [8, 0, 0x10, 0]);
    let snapshot = Snapshot::default().encode();
    assert_eq!(snapshot, [0x12, 8, 0x0a, 2, 0x28, 0, 0x10, 0, 0x18, 0]);
}

fn entries() -> Vec<Entry> {
    let max =
        Entry { kind: EntryKind(-1), term: u64::MAX, index: u64::MAX, data: Some(Bytes::from_static(b"x")) };
    let empty = Entry { data: Some(Bytes::new()), ..Entry::default() };
    vec![Entry::default(), empty, max]
}

#[test]
fn messages_round_trip() {
    for entry in entries() {
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }
    let conf_state = ConfState {
        voters: vec![1, 1 << 40, u64::MAX],
        learners: vec![7],
        voters_outgoing: vec![4, 5],
        learners_next: vec![6],
        auto_leave: true,
    };
    let snapshot = Snapshot {
        data: Some(Bytes::from_static(b"data")),
        conf_state: conf_state.clone(),
        index: 9,
        term: 3,
    };
    assert_eq!(Snapshot::decode(&snapshot.encode()), Ok(snapshot));
    let record = SnapshotRecord { index: 9, term: 3, conf_state: Some(conf_state) };
    assert_eq!(SnapshotRecord::decode(&record.encode()), Ok(record));
}

/// Other writers pack lists, change the order, repeat fields, leave zeros out and add fields.
#[test]
fn other_encodings_of_a_message_are_read() {
    let packed = ConfState::decode(&[0x0a, 3, 1, 0x80, 1, 0x28, 1]).expect("packed");
    assert_eq!((packed.voters, packed.auto_leave), (vec![1, 128], true));
    let odd = [0x18, 5, 0x22, 1, b'a', 0x22, 1, b'b', 0x52, 2, 9, 9, 0x65, 0, 0, 0, 0, 0x10, 2];
    let entry = Entry::decode(&odd).expect("an entry");
    assert_eq!((entry.term, entry.index, entry.data.as_deref()), (2, 5, Some(&b"b"[..])));
}

#[test]
fn invalid_messages_are_an_error() {
    let bad: [&[u8]; 9] = [
        &[0],
        &[0x0a, 1, 1],
        &[0x0f],
        &[0x0c],
        &[0x22, 5, 1],
        &[0x10],
        &[0x10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        &[0x5b, 8],
        // A group: no version of etcd has one.
        &[0x5b, 8, 1, 0x5c],
    ];
    for bytes in bad {
        assert!(Entry::decode(bytes).is_err(), "{bytes:x?}");
    }
    assert_eq!(Entry::decode(&[0x22, 5, 1]), Err(EtcdError::Short("an entry")));
}

/// The smallest and the largest numbers of every length.
#[test]
fn varints_round_trip_with_the_computed_length() {
    let ends = (0..64).flat_map(|bits| [(1u64 << bits) - 1, 1 << bits, u64::MAX >> bits, u64::MAX << bits]);
    for value in ends.chain([0, 300, 0x0123_4567_89ab_cdef]) {
        let bytes = Head([(0x10, value)]).encode();
        let state = HardState { vote: value, ..HardState::default() };
        assert_eq!(
            (HardState::decode(&bytes), bytes.len()),
            (Ok(state), 1 + varint_len(value)),
            "{value:#x}"
        );
    }
}
