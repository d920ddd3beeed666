//! Messages between replicas: raft's messages, and snapshot files in chunks.
//!
//! ```text
//! raft    0 │ eraftpb.Message
//! ask     1 │ CRC-32 <4B> │ from, to, index, generation, sequence, offset <8B each> │ length <4B>
//! chunk   2 │ CRC-32 <4B> │ the same six                                            │ the bytes
//! ```
//!
//! Each message ends with the 8-byte number of the group. Numbers are little-endian. The checksum covers the
//! bytes between it and the group number. A chunk answers one request with the requested number of bytes or
//! fewer. An empty chunk means that the file does not exist.

use protobuf::Message as _;
use raft::eraftpb;

use super::{Error, Result};
use crate::files::FileName;

const RAFT: u8 = 0;
const ASK: u8 = 1;
const CHUNK: u8 = 2;

/// Kind and checksum.
const HEAD_BYTES: usize = 5;
const PART_BYTES: usize = 48;
/// The group number at the end of a message.
const GROUP_BYTES: usize = 8;

/// A position in a snapshot file, with sender and receiver of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The index of the snapshot.
    pub(super) index: u64,
    pub(super) file: FileName,
    pub(super) offset: u64,
}

impl Part {
    fn encode(&self) -> [[u8; 8]; 6] {
        let FileName { generation, sequence } = self.file;
        [self.from, self.to, self.index, generation, sequence, self.offset].map(u64::to_le_bytes)
    }

    fn decode(bytes: &[u8; PART_BYTES]) -> Self {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[8 * at + byte]));
        let file = FileName { generation: number(3), sequence: number(4) };
        Self { from: number(0), to: number(1), index: number(2), file, offset: number(5) }
    }

    /// The same position with sender and receiver exchanged.
    pub(super) fn back(self) -> Self {
        Self { from: self.to, to: self.from, ..self }
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Message<'a> {
    Raft(eraftpb::Message),
    /// Requests this many bytes.
    Ask(Part, u32),
    Chunk(Part, &'a [u8]),
}

impl<'a> Message<'a> {
    /// Sender and receiver.
    pub(super) fn ends(&self) -> (u64, u64) {
        match self {
            Self::Raft(message) => (message.from, message.to),
            Self::Ask(part, _) | Self::Chunk(part, _) => (part.from, part.to),
        }
    }

    pub(super) fn encode(&self, group: u64) -> Result<Vec<u8>> {
        let mut out = self.content()?;
        out.extend_from_slice(&group.to_le_bytes());
        Ok(out)
    }

    fn content(&self) -> Result<Vec<u8>> {
        let (kind, part, rest) = match self {
            Self::Raft(message) => {
                let mut out = vec![RAFT];
                let written = message.write_to_vec(&mut out);
                written.map_err(|_| Error::Corrupt("a message that can be written"))?;
                return Ok(out);
            }
            Self::Ask(part, len) => (ASK, part, &len.to_le_bytes()[..]),
            Self::Chunk(part, bytes) => (CHUNK, part, *bytes),
        };
        let mut out = Vec::with_capacity(HEAD_BYTES + PART_BYTES + rest.len() + GROUP_BYTES);
        out.extend_from_slice(&[kind, 0, 0, 0, 0]);
        out.extend_from_slice(part.encode().as_flattened());
        out.extend_from_slice(rest);
        let checksum = crc32fast::hash(&out[HEAD_BYTES..]);
        out[1..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
        Ok(out)
    }

    /// Decodes a message of the group `group`.
    pub(super) fn decode(bytes: &'a [u8], group: u64) -> Result<Self> {
        let split = bytes.split_last_chunk::<GROUP_BYTES>();
        let (bytes, found) = split.ok_or(Error::Corrupt("a message with the number of its group"))?;
        let found = u64::from_le_bytes(*found);
        if found != group {
            return Err(Error::OtherGroup { found, group });
        }
        let (&kind, rest) = bytes.split_first().ok_or(Error::Corrupt("a message, found no bytes"))?;
        if kind == RAFT {
            let message = eraftpb::Message::parse_from_bytes(rest);
            return Ok(Self::Raft(message.map_err(|_| Error::Corrupt("a message of raft"))?));
        }
        if kind != ASK && kind != CHUNK {
            return Err(Error::Corrupt("a message of a known kind"));
        }
        let short = Error::Corrupt("a complete chunk or chunk request");
        let (checksum, rest) = rest.split_first_chunk().ok_or(short.clone())?;
        if crc32fast::hash(rest) != u32::from_le_bytes(*checksum) {
            return Err(Error::Corrupt("a chunk or chunk request with a valid checksum"));
        }
        let (part, rest) = rest.split_first_chunk().ok_or(short)?;
        let part = Part::decode(part);
        if kind == CHUNK {
            return Ok(Self::Chunk(part, rest));
        }
        let len = rest.try_into().map_err(|_| Error::Corrupt("a chunk request of the right length"))?;
        Ok(Self::Ask(part, u32::from_le_bytes(len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law: every bit flip and every truncation of a file message is refused.
    #[test]
    fn a_corrupt_file_message_is_refused() {
        let file = FileName { generation: 3, sequence: 1 };
        let part = Part { from: 1, to: 2, index: 77, file, offset: 1 << 40 };
        for message in [Message::Ask(part, 4096), Message::Chunk(part, b"content"), Message::Chunk(part, b"")]
        {
            let bytes = message.encode(7).expect("encodes");
            assert_eq!(Message::decode(&bytes, 7).expect("decodes"), message);
            for len in 0..bytes.len() {
                assert!(Message::decode(&bytes[..len], 7).is_err(), "{len} bytes of {message:?}");
            }
            for at in 8..8 * bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at / 8] ^= 1 << (at % 8);
                assert!(Message::decode(&flipped, 7).is_err(), "bit {at} of {message:?}");
            }
        }
        for kind in 3..=255 {
            assert!(Message::decode(&[&[kind][..], &7_u64.to_le_bytes()].concat(), 7).is_err());
        }
    }
}
