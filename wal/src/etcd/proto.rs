//! The messages in etcd's files, in handwritten proto2 code that matches etcd 3.0 to 3.6 byte for byte.
//!
//! Writing emits every number, even zero, in field order. It emits a byte string only if present (empty
//! differs from absent), and lists unpacked. Reading treats absent numbers as zero, accepts fields in any
//! order and packed lists, takes the last of repeated fields, and skips unknown fields: later versions write
//! fewer fields and add new ones. It refuses groups, an obsolete form of nesting.

use std::ops::Deref;

use bytes::Bytes;

use super::EtcdError;

/// The kind of an entry, as a number, because later versions may add kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntryKind(pub i32);

impl EntryKind {
    /// A proposal of the application.
    pub const NORMAL: Self = Self(0);
    /// A change of the membership.
    pub const CONF_CHANGE: Self = Self(1);
    /// A change of the membership by joint consensus.
    pub const CONF_CHANGE_V2: Self = Self(2);
}

/// An entry of the raft log (`raftpb.Entry`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its kind.
    pub kind: EntryKind,
    /// The leader's term.
    pub term: u64,
    /// Its index in the log.
    pub index: u64,
    /// Its content. A leader's first entry has none, which differs from an empty one.
    pub data: Option<Bytes>,
}

/// State that a member must keep across restarts (`raftpb.HardState`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// Its current term.
    pub term: u64,
    /// The member it voted for in that term. 0 if none.
    pub vote: u64,
    /// The commit index, as far as the member knows.
    pub commit: u64,
}

impl HardState {
    /// Whether all fields are zero. Such a state is not written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The members of the group (`raftpb.ConfState`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// Voting members.
    pub voters: Vec<u64>,
    /// Members that do not vote.
    pub learners: Vec<u64>,
    /// Members that vote until a joint change ends.
    pub voters_outgoing: Vec<u64>,
    /// Members that stop voting when it ends.
    pub learners_next: Vec<u64>,
    /// Whether a joint change ends automatically.
    pub auto_leave: bool,
}

/// A snapshot of the state machine (`raftpb.Snapshot`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The content of the state machine.
    pub data: Option<Bytes>,
    /// The membership at `index`.
    pub conf_state: ConfState,
    /// The index of the last entry it contains. 0 for an empty snapshot, which is not written.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
}

/// A log record stating that a snapshot exists (`walpb.Snapshot`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// The snapshot's index.
    pub index: u64,
    /// The snapshot's term.
    pub term: u64,
    /// The membership. etcd writes it since 3.5.
    pub conf_state: Option<ConfState>,
}

impl SnapshotRecord {
    /// A record without membership, as etcd 3.4 writes it.
    pub fn new(index: u64, term: u64) -> Self {
        Self { index, term, conf_state: None }
    }
}

/// Number fields with tags of one byte, in the order written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<const FIELDS: usize>(pub(super) [(u8, u64); FIELDS]);

/// The most fields that a head has.
const FIELDS_MAX: usize = 4;

/// The bytes of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadBytes {
    bytes: [u8; FIELDS_MAX * (1 + 10)],
    len: usize,
}

impl Deref for HeadBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<const FIELDS: usize> Head<FIELDS> {
    #[inline]
    pub(super) fn encode(&self) -> HeadBytes {
        const { assert!(FIELDS <= FIELDS_MAX) };
        let mut out = HeadBytes { bytes: [0; _], len: 0 };
        let mut put = |byte: u8| {
            out.bytes[out.len] = byte;
            out.len += 1;
        };
        for &(tag, mut value) in &self.0 {
            put(tag);
            while value >= 0x80 {
                put(value as u8 | 0x80);
                value >>= 7;
            }
            put(value as u8);
        }
        out
    }
}

impl Head<3> {
    /// An entry's fields without its content.
    #[inline]
    pub(super) fn of_entry(kind: EntryKind, term: u64, index: u64) -> Self {
        Self([(0x08, i64::from(kind.0) as u64), (0x10, term), (0x18, index)])
    }

    /// The same before a content of `len` bytes.
    #[inline]
    pub(super) fn before(self, len: usize) -> Head<4> {
        let [kind, term, index] = self.0;
        Head([kind, term, index, (0x22, len as u64)])
    }
}

/// Bytes of a varint, with 7 bits in each.
#[inline]
pub(super) fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

impl Entry {
    /// The fields before the content.
    #[inline]
    pub(super) fn head(&self) -> Head<3> {
        Head::of_entry(self.kind, self.term, self.index)
    }

    /// Encodes the entry. A log writes head and content without joining them.
    #[cfg(test)]
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.data {
            Some(data) => {
                out.extend_from_slice(&self.head().before(data.len()).encode());
                out.extend_from_slice(data);
            }
            None => out.extend_from_slice(&self.head().encode()),
        }
        out
    }

    /// Kind, term, index and content.
    #[inline]
    pub(super) fn fields(bytes: &[u8]) -> Result<[Value<'_>; 4], EtcdError> {
        message("an entry", [NUMBER, NUMBER, NUMBER, BYTES], bytes)
    }

    /// Decodes an entry.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, EtcdError> {
        let [kind, term, index, data] = Self::fields(bytes)?;
        Ok(Self {
            kind: EntryKind(kind.or_zero() as i32),
            term: term.or_zero(),
            index: index.or_zero(),
            data: data.bytes().map(Bytes::copy_from_slice),
        })
    }
}

impl HardState {
    pub(super) fn head(&self) -> Head<3> {
        Head([(0x08, self.term), (0x10, self.vote), (0x18, self.commit)])
    }

    /// Decodes a state.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, EtcdError> {
        let [term, vote, commit] = message("a hard state", [NUMBER; 3], bytes)?;
        Ok(Self { term: term.or_zero(), vote: vote.or_zero(), commit: commit.or_zero() })
    }
}

impl ConfState {
    /// Encodes the membership.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let lists = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        for (tag, list) in [0x08, 0x10, 0x18, 0x20].into_iter().zip(lists) {
            for &id in list {
                out.extend_from_slice(&Head([(tag, id)]).encode());
            }
        }
        out.extend_from_slice(&[0x28, u8::from(self.auto_leave)]);
        out
    }

    /// Decodes a membership.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, EtcdError> {
        let mut conf = Self::default();
        Fields::each("a membership", bytes, |number, value| {
            match number {
                1 => value.numbers(&mut conf.voters)?,
                2 => value.numbers(&mut conf.learners)?,
                3 => value.numbers(&mut conf.voters_outgoing)?,
                4 => value.numbers(&mut conf.learners_next)?,
                5 => conf.auto_leave = value.number()? != 0,
                _ => {}
            }
            Some(())
        })?;
        Ok(conf)
    }
}

impl Snapshot {
    /// Encodes the snapshot.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(data) = &self.data {
            push_bytes(&mut out, 0x0a, data);
        }
        let mut metadata = Vec::new();
        push_bytes(&mut metadata, 0x0a, &self.conf_state.encode());
        metadata.extend_from_slice(&Head([(0x10, self.index), (0x18, self.term)]).encode());
        push_bytes(&mut out, 0x12, &metadata);
        out
    }

    /// Decodes a snapshot.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, EtcdError> {
        let [data, metadata] = message("a snapshot", [BYTES; 2], bytes)?;
        let metadata = metadata.bytes().unwrap_or_default();
        let [conf_state, index, term] = message("a snapshot's metadata", [BYTES, NUMBER, NUMBER], metadata)?;
        Ok(Self {
            data: data.bytes().map(Bytes::copy_from_slice),
            conf_state: ConfState::decode(conf_state.bytes().unwrap_or_default())?,
            index: index.or_zero(),
            term: term.or_zero(),
        })
    }

    /// The log's record of this snapshot, without membership.
    pub fn record(&self) -> SnapshotRecord {
        SnapshotRecord::new(self.index, self.term)
    }
}

impl SnapshotRecord {
    /// Encodes the record.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&Head([(0x08, self.index), (0x10, self.term)]).encode());
        if let Some(conf_state) = &self.conf_state {
            push_bytes(&mut out, 0x1a, &conf_state.encode());
        }
        out
    }

    /// Decodes a record.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, EtcdError> {
        let [index, term, conf_state] = message("a snapshot record", [NUMBER, NUMBER, BYTES], bytes)?;
        let conf_state = conf_state.bytes().map(ConfState::decode).transpose()?;
        Ok(Self { index: index.or_zero(), term: term.or_zero(), conf_state })
    }
}

/// The frame of a snapshot file (`snappb.Snapshot`): a checksum and the bytes it covers.
pub(super) fn encode_checked(crc: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 16);
    out.extend_from_slice(&Head([(0x08, crc.into())]).encode());
    push_bytes(&mut out, 0x12, data);
    out
}

/// The two fields of a snapshot file.
pub(super) fn decode_checked(bytes: &[u8]) -> Result<(u32, &[u8]), EtcdError> {
    let [crc, data] = message("a snapshot file", [NUMBER, BYTES], bytes)?;
    Ok((crc.or_zero() as u32, data.bytes().unwrap_or_default()))
}

fn push_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.extend_from_slice(&Head([(tag, bytes.len() as u64)]).encode());
    out.extend_from_slice(bytes);
}

/// The value of a field.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Absent, or of a wire type that no message here uses.
    Other,
}

/// The expected type of a field.
#[derive(Clone, Copy)]
pub(super) enum FieldKind {
    Number,
    Bytes,
}

pub(super) const NUMBER: FieldKind = FieldKind::Number;
pub(super) const BYTES: FieldKind = FieldKind::Bytes;

/// The fields 1 to `N` of a message, each with its last value.
#[inline]
pub(super) fn message<'a, const N: usize>(
    what: &'static str,
    kinds: [FieldKind; N],
    bytes: &'a [u8],
) -> Result<[Value<'a>; N], EtcdError> {
    let mut values = [Value::Other; N];
    Fields::each(what, bytes, |number, value| {
        let at = number as usize - 1;
        if let (Some(kind), Some(known)) = (kinds.get(at), values.get_mut(at)) {
            *known = match (kind, value) {
                (FieldKind::Number, Value::Number(_)) | (FieldKind::Bytes, Value::Bytes(_)) => value,
                _ => return None,
            };
        }
        Some(())
    })?;
    Ok(values)
}

impl<'a> Value<'a> {
    fn number(self) -> Option<u64> {
        if let Self::Number(value) = self { Some(value) } else { None }
    }

    /// The number, or 0 if absent.
    pub(super) fn or_zero(self) -> u64 {
        self.number().unwrap_or_default()
    }

    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    fn numbers(self, out: &mut Vec<u64>) -> Option<()> {
        match self {
            Self::Number(value) => out.push(value),
            Self::Bytes(packed) => {
                let mut fields = Fields::new(packed);
                while !fields.rest.is_empty() {
                    out.push(fields.varint()?);
                }
            }
            Self::Other => return None,
        }
        Some(())
    }
}

/// Iterates over the fields of a message.
struct Fields<'a> {
    rest: &'a [u8],
    /// Whether the bytes ended within a field.
    ran_out: bool,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, ran_out: false }
    }

    /// Passes every field to `take`, which returns `None` for a value of the wrong type.
    fn each(
        what: &'static str,
        bytes: &'a [u8],
        mut take: impl FnMut(u64, Value<'a>) -> Option<()>,
    ) -> Result<(), EtcdError> {
        let mut fields = Self::new(bytes);
        while !fields.rest.is_empty() {
            let Some((number, value)) = fields.next() else {
                return Err(if fields.ran_out { EtcdError::Short(what) } else { EtcdError::Parse(what) });
            };
            take(number, value).ok_or(EtcdError::Parse(what))?;
        }
        Ok(())
    }

    fn next(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        // In the original the field number is a signed 32-bit integer.
        let number = tag >> 3 & 0xffff_ffff;
        if number == 0 || number > i32::MAX as u64 {
            return None;
        }
        Some((number, self.value(tag & 7)?))
    }

    /// A value of this wire type.
    fn value(&mut self, wire_type: u64) -> Option<Value<'a>> {
        match wire_type {
            0 => self.varint().map(Value::Number),
            1 => self.take(8).map(|_| Value::Other),
            2 => {
                let len = self.varint()?;
                self.take(usize::try_from(len).ok()?).map(Value::Bytes)
            }
            5 => self.take(4).map(|_| Value::Other),
            _ => None,
        }
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.rest.split_at_checked(len);
        self.ran_out |= taken.is_none();
        let (taken, rest) = taken?;
        self.rest = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
