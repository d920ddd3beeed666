//! What a message must be before raft sees it.
//!
//! Raft-rs takes the messages of its peers for true and panics where they cannot be: at a commit beyond the log, at
//! entries with a gap, at a membership that it does not know. Here such a message is an error, and raft is as before.
//!
//! One case is not the sender's fault. Who leads tells a follower to commit no more than what that follower has
//! acknowledged to it; when this is beyond the follower's log, the log was lost, and with it the votes that were in it.
//! Then the replica must stop ([`Error::LostLog`]). To go on from an empty log would be worse than a panic: it could elect
//! somebody without entries that it had acknowledged itself.

use raft::eraftpb::{EntryType, Message, MessageType, Snapshot};
use raft::{RaftLog, StateRole, Storage};

use super::proposal::Proposal;
use super::{Error, Result};

/// Terms and indexes from here on nobody reaches by counting; added to, they would overflow.
const NUMBER_MAX: u64 = 1 << 62;

/// What a replica is when a message comes.
pub(super) struct Receiver<'r, S: Storage> {
    pub(super) term: u64,
    pub(super) role: StateRole,
    pub(super) log: &'r RaftLog<S>,
    pub(super) voters: &'r [u64],
    /// The longest entry that the log takes.
    pub(super) entry_bytes_max: u64,
}

impl<S: Storage> Receiver<'_, S> {
    /// Whether raft can take the message.
    pub(super) fn check(&self, message: &Message) -> Result<()> {
        let numbers = [message.term, message.index, message.log_term, message.commit, message.reject_hint];
        let of_entries = message.entries.iter().flat_map(|entry| [entry.term, entry.index]);
        if numbers.into_iter().chain(of_entries).any(|number| number >= NUMBER_MAX) {
            return Err(Error::Corrupt("a message with terms and indexes that were counted"));
        }
        let wants_more =
            message.request_snapshot != 0 || message.priority != 0 || message.deprecated_priority != 0;
        if wants_more || !message.context.is_empty() {
            return Err(Error::Corrupt(
                "a message of replicas, which hand no leadership over and know no priority",
            ));
        }
        let kind = message.get_msg_type();
        // A proposal may have gone round: who led, and got it, follows by now.
        if message.from == message.to && kind != MessageType::MsgPropose {
            return Err(Error::Corrupt("a message of another replica"));
        }
        // A proposal is handed on without a term; raft takes anything else without one for its own.
        if (message.term == 0) != (kind == MessageType::MsgPropose) {
            return Err(Error::Corrupt("a message with a term, or a proposal without"));
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
            _ => Err(Error::Corrupt("a message of a kind that replicas send")),
        }
    }

    /// What is agreed on stops whoever cannot apply it, at every start anew.
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

    /// Its membership becomes raft's.
    fn snapshot(&self, message: &Message) -> Result<()> {
        let metadata = message.get_snapshot().get_metadata();
        if metadata.index == 0 || metadata.index >= NUMBER_MAX || !(1..=message.term).contains(&metadata.term)
        {
            return Err(Error::Corrupt("a snapshot of an entry of the sender"));
        }
        let mut voters = metadata.get_conf_state().voters.clone();
        voters.sort_unstable();
        if !has_only_voters(message.get_snapshot()) || voters != self.voters {
            return Err(Error::Corrupt("a snapshot of this group"));
        }
        if metadata.index == self.log.committed && !self.log.match_term(metadata.index, metadata.term) {
            return Err(Error::Corrupt("a snapshot that agrees with what is committed here"));
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

    /// Who leads has all that was committed, so that what others acknowledge to it is from its own log.
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

/// Entries come without a gap, in terms that rise up to the sender's. Beyond its log raft knows the term 0, which is
/// no entry's.
fn append(message: &Message) -> Result<()> {
    let (mut index, mut term) = (message.index, message.log_term);
    let mut rises = (index == 0) == (term == 0) && term <= message.term;
    for entry in &message.entries {
        rises &= entry.index == index + 1 && entry.term >= term.max(1) && entry.term <= message.term;
        (index, term) = (entry.index, entry.term);
    }
    if rises { Ok(()) } else { Err(Error::Corrupt("entries one after the other")) }
}
