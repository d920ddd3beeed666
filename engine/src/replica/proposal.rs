//! A proposal: lines, and the replica they come from.
//!
//! ```text
//! │ replica <8B, LE> │ ticket <8B, LE> │ time of lines without one <8B, LE> │ line protocol │
//! ```

use super::{Error, Result};

const HEAD_BYTES: usize = 24;

/// Identifies a proposal; see [`Replica::take_done`](super::Replica::take_done).
pub type Ticket = u64;

/// The content of an entry in raft's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposal<'a> {
    /// The replica that proposed it.
    pub(super) replica: u64,
    pub(super) ticket: Ticket,
    pub(super) time: i64,
    pub(super) lines: &'a [u8],
}

impl<'a> Proposal<'a> {
    /// Length of the entry for `lines` bytes of lines.
    pub(super) fn bytes(lines: u64) -> u64 {
        lines.saturating_add(HEAD_BYTES as u64)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { replica, ticket, time, lines } = self;
        [&replica.to_le_bytes()[..], &ticket.to_le_bytes(), &time.to_le_bytes(), lines].concat()
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self> {
        let short = Error::Corrupt("a proposal");
        let (head, lines) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(short)?;
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[8 * at + byte]));
        Ok(Self { replica: number(0), ticket: number(1), time: number(2) as i64, lines })
    }
}
