//! Validates messages before raft sees them.
//!
//! Raft-rs trusts the messages of its peers. It panics on impossible ones: a commit index beyond the log,
//! entries with a gap, an unknown membership. Here such a message is an error and raft is unchanged.
//!
//! In one case the sender is right. A leader never tells a follower to commit more than that follower has
//! acknowledged. If that index is beyond the follower's log, the follower lost its log and its votes. It must
//! stop ([`Error::LostLog`]). To continue with an empty log would be worse than a panic: it could help to
//! elect a leader that lacks entries it had acknowledged.

use raft::eraftpb::{EntryType, Message, MessageType, Snapshot};
use raft::{RaftLog, StateRole, Storage};

use super::proposal::Proposal;
use super::{Error, Result};

/// No term or index reaches this value by counting. Arithmetic on larger values could overflow.
const NUMBER_MAX: u64 = 1 << 62;

/// The state of the replica that receives a message.
pub(super) struct Receiver<'r, S: Storage> {
    pub(super) term: u64,
    pub(super) role: StateRole,
    pub(super) log: &'r RaftLog<S>,
    pub(super) voters: &'r [u64],
    /// Maximum length of a log entry.
    pub(super) entry_bytes_max: u64,
}

impl<S: Storage> Receiver<'_, S> {
    /// Checks whether raft can take the message.
    pub(super) fn check(&self, message: &Message) -> Result<()> {
        let numbers = [message.term, message.index, message.log_term, message.commit, message.reject_hint];
        let of_entries = message.entries.iter().flat_map(|entry| [entry.term, entry.index]);
        if numbers.into_iter().chain(of_entries).any(|number| number >= NUMBER_MAX) {
            return Err(Error::Corrupt("a message with plausible terms and indexes"));
        }
        let wants_more =
            message.request_snapshot != 0 || message.priority != 0 || message.deprecated_priority != 0;
        if wants_more || !message.context.is_empty() {
            return Err(Error::Corrupt("a message without leadership transfer or priority"));
        }
        let kind = message.get_msg_type();
        // A proposal may return to its sender: the leader that should get it has become a follower.
        if message.from == message.to && kind != MessageType::MsgPropose {
            return Err(Error::Corrupt("a message of another replica"));
        }
        // A forwarded proposal has no term. Raft treats any other message without a term as its own.
        if (message.term == 0) != (kind == MessageType::MsgPropose) {
            return Err(Error::Corrupt("a message with a term, or a proposal without one"));
        }
        match kind {
            MessageType::MsgPropose => self.proposal(message),
            MessageType::MsgAppend => append(message),
            MessageType::MsgSnapshot => self.snapshot(message),
            MessageType::MsgHeartbeat => self.heartbeat(message),
            MessageType::MsgAppendResponse => self.appended(message),
            MessageType::MsgHeartbeatResponse
            | MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse => Ok(()),
            _ => Err(Error::Corrupt("a known kind of message")),
        }
    }

    /// A committed entry that cannot be applied would stop every replica at every start.
    fn proposal(&self, message: &Message) -> Result<()> {
        let is_ours = |entry: &raft::eraftpb::Entry| {
            let is_normal = entry.get_entry_type() == EntryType::EntryNormal;
            let fits = entry.data.len() as u64 <= self.entry_bytes_max;
            is_normal && fits && Proposal::decode(&entry.data).is_ok()
        };
        if message.entries.is_empty() || !message.entries.iter().all(is_ours) {
            return Err(Error::Corrupt("a proposal of lines"));
        }
        Ok(())
    }

    /// Raft adopts its membership.
    fn snapshot(&self, message: &Message) -> Result<()> {
        let metadata = message.get_snapshot().get_metadata();
        if metadata.index == 0 || metadata.index >= NUMBER_MAX || !(1..=message.term).contains(&metadata.term)
        {
            return Err(Error::Corrupt("a snapshot at an entry of the sender"));
        }
        let mut voters = metadata.get_conf_state().voters.clone();
        voters.sort_unstable();
        if !has_only_voters(message.get_snapshot()) || voters != self.voters {
            return Err(Error::Corrupt("a snapshot of this group"));
        }
        if metadata.index == self.log.committed && !self.log.match_term(metadata.index, metadata.term) {
            return Err(Error::Corrupt("a snapshot that matches the committed log"));
        }
        Ok(())
    }

    fn heartbeat(&self, message: &Message) -> Result<()> {
        let counts = message.term > self.term || message.term == self.term && self.role != StateRole::Leader;
        let last = self.log.last_index();
        if counts && message.commit > last.max(self.log.committed) {
            return Err(Error::LostLog { known: message.commit, last });
        }
        Ok(())
    }

    /// A leader has all committed entries, so followers only acknowledge entries of its own log.
    fn appended(&self, message: &Message) -> Result<()> {
        let counts = message.term == self.term && self.role == StateRole::Leader && !message.reject;
        let last = self.log.last_index();
        if counts && message.index > last {
            return Err(Error::LostLog { known: message.index, last });
        }
        Ok(())
    }
}

fn has_only_voters(snapshot: &Snapshot) -> bool {
    let state = snapshot.get_metadata().get_conf_state();
    let others = [&state.learners, &state.voters_outgoing, &state.learners_next];
    others.into_iter().all(Vec::is_empty) && !state.auto_leave
}

/// Entries have no gap, and terms that rise up to the sender's term. Beyond its log raft reports the term 0,
/// which no entry has.
fn append(message: &Message) -> Result<()> {
    let (mut index, mut term) = (message.index, message.log_term);
    let mut rises = (index == 0) == (term == 0) && term <= message.term;
    for entry in &message.entries {
        rises &= entry.index == index + 1 && entry.term >= term.max(1) && entry.term <= message.term;
        (index, term) = (entry.index, entry.term);
    }
    if rises { Ok(()) } else { Err(Error::Corrupt("consecutive entries")) }
}
