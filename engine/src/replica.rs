//! A replicated engine (feature `raft`): raft-rs over etcd's storage, with a TSM engine as state machine.
//!
//! ```text
//! propose ─▶ raft ─▶ Ready ─┬ send messages that need no sync
//!                           ├ snapshot: file, record           DiskStorage: the steps of etcd's storage,
//!                           ├ entries, state: one fdatasync    in etcd's order
//!                           ├ send messages that needed the sync
//!                           └ apply committed entries ─▶ Engine<Ring, FileLog, Tsm1>
//! ```
//!
//! A proposal is a batch of line protocol, and a time for lines without one. Applying it writes the lines and
//! the entry's index as one record of the engine's log, so the applied index always matches the data. The
//! engine's log is not synced. If a power cut truncates it, the lost entries are applied again from raft's
//! log, which is synced. A snapshot makes the engine's files durable before raft's log is truncated. A
//! replica that is too far behind receives these files.
//!
//! [`Replica`] has no thread: its caller passes in time, messages and proposals, and a function that sends.
//! [`Node`] runs one in a thread. [`transport`] carries messages: over TCP, or through a simulated network
//! with losses, delays and partitions.
//!
//! The members of a group never change. Raft's snapshot message contains only the list of files. The follower
//! requests these files in chunks, a few at a time, checks them, and only then passes the message to raft. If
//! the sender's directory is on the same file system, files are linked instead ([`Settings::neighbours`]).
//!
//! A replica that lost its directory must not start empty: it could vote again, or acknowledge entries it no
//! longer has. So [`Replica::open`] creates nothing and refuses a log that lacks acknowledged entries. If
//! other replicas' messages show that entries are lost, the replica stops. [`Error::LostLog`] describes how
//! to restore it.
//!
//! ```
//! use std::time::Duration;
//! use tsmith_engine::replica::transport::Tcp;
//! use tsmith_engine::replica::{Node, Replica, Settings};
//! use tsmith_wal::fs::OsFs;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! // A group of one. The example `replicated` starts three and passes messages from TCP to `Node::deliver`.
//! let replica = Replica::create(OsFs, dir.path(), Settings::new(1, &[1]))?;
//! let node = Node::start(replica, Tcp::new([], 1 << 20)?, Duration::from_millis(5))?;
//! while node.status()?.leader == 0 {
//!     std::thread::sleep(Duration::from_millis(5));
//! }
//! // When this returns, a majority has the lines on disk and they are applied here.
//! assert_eq!(node.write(b"cpu,host=a usage=0.5", 1_000)?.points, 1);
//! node.stop()?;
//!
//! let replica = Replica::open(OsFs, dir.path(), Settings::new(1, &[1]))?;
//! assert!(replica.export()?.contains("cpu,host=a"));
//! # Ok(())
//! # }
//! ```

mod check;
mod convert;
mod error;
mod fetch;
mod files;
mod guard;
mod machine;
mod message;
mod node;
mod proposal;
mod reserved;
mod settings;
mod store;
mod stream;
pub mod transport;
mod warn_limit;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use raft::eraftpb::{self, EntryType, MessageType};
use raft::{Config, RawNode, SnapshotStatus, StateRole, Storage as _};
use tsmith_wal::etcd::{self, DiskStorage, Restored, Storage};
use tsmith_wal::fs::{Fs, OsFs};

pub use error::{Error, Result};
pub use node::{Node, Status};
pub use proposal::Ticket;
pub use reserved::APPLIED_MEASUREMENT;
pub use settings::Settings;

use convert::{entry_from, entry_to, snapshot_from};
use error::io;
use guard::Receiver;
use machine::Machine;
use message::Message;
use proposal::Proposal;
use store::Store;
use stream::Stream;

/// The result of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Lines that became points.
    pub points: usize,
    /// Lines that were rejected, the same on every replica.
    pub rejected: usize,
}

/// One member of a group. It has no thread and acts only when called.
pub struct Replica<F: Fs = OsFs> {
    settings: Settings,
    raft: RawNode<Store>,
    storage: DiskStorage<F>,
    machine: Machine<F>,
    stream: Stream<F>,
    fs: F,
    dir: PathBuf,
    /// Local proposals that are not applied yet, by ticket.
    waiting: BTreeMap<Ticket, Vec<u8>>,
    done: Vec<(Ticket, Applied)>,
    next_ticket: Ticket,
    snapshot_index: u64,
    /// Why the replica has stopped.
    stopped: Option<Error>,
}

impl<F: Fs> Replica<F> {
    /// Creates a new replica in `dir`, which must be missing or empty.
    ///
    /// Do not use this to replace a lost replica: without its log it does not know its votes and
    /// acknowledgements, and the group could lose committed entries. [`Error::LostLog`] says when it is safe.
    pub fn create(fs: F, dir: &Path, settings: Settings) -> Result<Self> {
        let settings = settings.checked()?;
        fs.create_dir_all(dir).map_err(|error| io(dir, error))?;
        let names = fs.list(dir).map_err(|error| io(dir, error))?;
        // An interrupted `create` leaves only such files.
        let left = |name: &OsStr| {
            let is_log =
                name.as_encoded_bytes().starts_with(b"wal.") && name.as_encoded_bytes().ends_with(b".tmp");
            is_log || files::is_unfinished(name)
        };
        let mut names = names.iter().filter(|name| !left(name)).map(Path::new);
        if let Some(found) = names.clone().find(|name| files::is_of_replica(name)) {
            if machine::is_in_use(&fs, dir)? {
                return Err(Error::InUse { dir: dir.to_path_buf() });
            }
            return Err(Error::NotNew { dir: dir.to_path_buf(), found: found.to_path_buf() });
        }
        if let Some(found) = names.next() {
            return Err(Error::NotEmpty { dir: dir.to_path_buf(), found: found.to_path_buf() });
        }
        let (wal, snap) = (dir.join("wal"), dir.join("snap"));
        let metadata = settings.metadata();
        let storage = DiskStorage::create(fs.clone(), &wal, &snap, Some(&metadata), settings.wal)?;
        Self::begin(fs, dir, settings, storage, Restored::default())
    }

    /// Opens the replica in `dir`, also after a crash. Refuses a replica whose log lacks acknowledged
    /// entries, or whose engine has a quarantined file.
    pub fn open(fs: F, dir: &Path, settings: Settings) -> Result<Self> {
        let settings = settings.checked()?;
        let (wal, snap) = (dir.join("wal"), dir.join("snap"));
        match fs.list(&wal) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotThere { dir: dir.to_path_buf() });
            }
            found => drop(found.map_err(|error| io(&wal, error))?),
        }
        // Check the owner first, because opening repairs and removes files.
        settings.check(
            dir,
            etcd::metadata(&fs, &wal).map_err(refused)?.as_deref(),
            &etcd::Snapshot::default(),
        )?;
        machine::refuse_quarantined(&fs, dir)?;
        let opened = DiskStorage::open(fs.clone(), &wal, &snap, settings.wal);
        let (storage, restored) = opened.map_err(refused)?;
        let snapshot = restored.snapshot.clone().unwrap_or_default();
        settings.check(dir, restored.contents.metadata.as_deref(), &snapshot)?;
        Self::begin(fs, dir, settings, storage, restored)
    }

    fn begin(
        fs: F,
        dir: &Path,
        settings: Settings,
        storage: DiskStorage<F>,
        restored: Restored,
    ) -> Result<Self> {
        let snapshot = restored.snapshot.unwrap_or_default();
        let machine = Machine::open(fs.clone(), dir, settings.background, &snapshot)?;
        let mut store = Store::new(&settings.voters, &snapshot);
        store.append(restored.contents.entries.iter().map(entry_from).collect());
        let (applied, last) = (machine.applied().max(snapshot.index), store.last());
        if applied > last {
            return Err(Error::AheadOfLog { dir: dir.to_path_buf(), applied, last });
        }
        let state = restored.contents.state;
        // Applied entries are committed, even if the commit index was not synced.
        store.set_state(state.term, state.vote, state.commit.max(applied));
        let config = Config {
            id: settings.id,
            election_tick: 10,
            heartbeat_tick: 2,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            applied,
            check_quorum: true,
            pre_vote: true,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raft = RawNode::new(&config, store, &logger)?;
        Ok(Self {
            raft,
            storage,
            machine,
            stream: Stream::new(fs.clone(), dir.to_path_buf(), &settings),
            fs,
            dir: dir.to_path_buf(),
            waiting: BTreeMap::new(),
            done: Vec::new(),
            next_ticket: (last + 1) << 32,
            snapshot_index: snapshot.index,
            stopped: None,
            settings,
        })
    }

    /// Advances time by one tick: a tenth of the shortest election timeout.
    pub fn tick(&mut self) {
        self.raft.tick();
        self.stream.tick();
    }

    /// Takes a message of another replica. An invalid message is refused and changes nothing. After
    /// [`Error::LostLog`] the replica stays stopped.
    pub fn step(&mut self, message: &[u8]) -> Result<()> {
        self.check_running()?;
        let message = Message::decode(message, self.settings.group)?;
        let (from, to) = message.ends();
        if to != self.settings.id || !self.settings.voters.contains(&from) {
            return Err(Error::Corrupt("a message of this group for this replica"));
        }
        match message {
            Message::Ask(part, len) => self.stream.ask(part, len),
            Message::Chunk(part, bytes) => self.stream.chunk(&part, bytes)?,
            Message::Raft(message) => self.step_raft(message)?,
        }
        Ok(())
    }

    fn step_raft(&mut self, message: eraftpb::Message) -> Result<()> {
        let raft = &self.raft.raft;
        let receiver = Receiver {
            term: raft.term,
            role: raft.state,
            log: &raft.raft_log,
            voters: &self.settings.voters,
            entry_bytes_max: Proposal::bytes(self.settings.lines_bytes_max()),
        };
        if let Err(error) = receiver.check(&message) {
            self.stopped = error.stops().then(|| error.clone());
            return Err(error);
        }
        let index = message.get_snapshot().get_metadata().index;
        let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        // Raft sees a snapshot only when its files are here. Obsolete snapshots need no files: their entries
        // are committed, or their leader is no longer the leader.
        let message = if is_snapshot && index > self.committed() && message.term >= self.raft.raft.term {
            self.stream.offer(message)?
        } else {
            Some(message)
        };
        match message.map_or(Ok(()), |message| self.raft.step(message)) {
            // Raft's own loop ignores these errors, too.
            Ok(()) | Err(raft::Error::StepPeerNotFound | raft::Error::ProposalDropped) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn check_running(&self) -> Result<()> {
        self.stopped.clone().map_or(Ok(()), Err)
    }

    fn committed(&self) -> u64 {
        self.raft.raft.raft_log.committed
    }

    /// Proposes lines; lines without a time get `time`. The lines are written when
    /// [`take_done`](Self::take_done) returns the ticket. This works on any replica: a follower forwards them
    /// to the leader.
    pub fn propose(&mut self, lines: &[u8], time: i64) -> Result<Ticket> {
        self.check_running()?;
        if reserved::is_named_in(lines) {
            return Err(Error::Reserved);
        }
        // A longer entry in the log would stop every replica.
        let (bytes, limit) = (lines.len() as u64, self.settings.lines_bytes_max());
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
        let ticket = self.next_ticket;
        let data = Proposal { replica: self.settings.id, ticket, time, lines }.encode();
        self.raft.propose(Vec::new(), data.clone())?;
        self.next_ticket += 1;
        self.waiting.insert(ticket, data);
        Ok(ticket)
    }

    /// Proposals made here that were applied since the last call.
    pub fn take_done(&mut self) -> Vec<(Ticket, Applied)> {
        std::mem::take(&mut self.done)
    }

    /// The caller no longer waits for this proposal.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// Does what raft's Ready asks for, in etcd's order: send, save, apply. After an error, drop the replica
    /// and open it again.
    pub fn run(&mut self, send: &mut dyn FnMut(u64, Vec<u8>)) -> Result<()> {
        self.check_running()?;
        if let Some(message) = self.stream.run(self.committed(), send)? {
            // All files of a snapshot are here. Raft ignores the message if it is obsolete by now.
            self.step_raft(message)?;
        }
        while self.raft.has_ready() {
            let mut ready = self.raft.ready();
            let messages = ready.take_messages();
            self.send(messages, send)?;
            let received = ready.snapshot().clone();
            let received = (received.get_metadata().index > 0).then(|| snapshot_from(&received));
            if let Some(snapshot) = &received {
                self.storage.save_snap(snapshot)?;
            }
            let state = ready.hs().map_or(etcd::HardState::default(), |state| etcd::HardState {
                term: state.term,
                vote: state.vote,
                commit: state.commit,
            });
            let entries: Vec<_> = ready.entries().iter().map(entry_to).collect();
            self.storage.save(&state, &entries)?;
            if let Some(snapshot) = &received {
                // The state may contain only a commit index, which is not synced, but the log must not be
                // behind the snapshot.
                self.storage.sync()?;
                // Installing removes unfinished directories.
                self.stream.stop();
                self.machine.install(snapshot)?;
                self.raft.mut_store().install(snapshot);
                self.storage.release(snapshot)?;
                self.snapshot_index = snapshot.index;
            }
            let entries = ready.take_entries();
            let store = self.raft.mut_store();
            store.append(entries);
            if !state.is_empty() {
                store.set_state(state.term, state.vote, state.commit);
            }
            let messages = ready.take_persisted_messages();
            self.send(messages, send)?;
            let committed = ready.take_committed_entries();
            self.apply(committed)?;
            let mut light = self.raft.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.raft.mut_store().commit(commit);
            }
            let messages = light.take_messages();
            self.send(messages, send)?;
            let committed = light.take_committed_entries();
            self.apply(committed)?;
            self.raft.advance_apply();
        }
        if self.applied() >= self.snapshot_index + self.settings.snapshot_entries {
            self.snapshot()?;
        }
        Ok(())
    }

    fn send(&mut self, messages: Vec<eraftpb::Message>, send: &mut dyn FnMut(u64, Vec<u8>)) -> Result<()> {
        for message in messages {
            let to = message.to;
            let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
            send(to, Message::Raft(message).encode(self.settings.group)?);
            if is_snapshot {
                // Raft sends it again until the follower has installed it or caught up.
                self.raft.report_snapshot(to, SnapshotStatus::Finish);
            }
        }
        Ok(())
    }

    fn apply(&mut self, entries: Vec<eraftpb::Entry>) -> Result<()> {
        for entry in entries {
            if entry.data.is_empty() || entry.get_entry_type() != EntryType::EntryNormal {
                self.machine.skip(entry.index);
                continue;
            }
            let Proposal { replica, ticket, time, lines } = Proposal::decode(&entry.data)?;
            let applied = self.machine.apply(entry.index, time, lines)?;
            // Tickets may repeat after a restart, so compare the bytes, too.
            let mine = replica == self.settings.id
                && self.waiting.get(&ticket).is_some_and(|data| *data == entry.data[..]);
            if mine {
                self.waiting.remove(&ticket);
                self.done.push((ticket, applied));
            }
        }
        Ok(())
    }

    /// Makes the applied state durable in files, records it in the log, and truncates the log before it.
    pub fn snapshot(&mut self) -> Result<()> {
        let index = self.applied();
        if index <= self.snapshot_index {
            return Ok(());
        }
        let list = self.machine.snapshot(index)?;
        let store = self.raft.store();
        let conf_state = etcd::ConfState { voters: self.settings.voters.clone(), ..Default::default() };
        let term = store.term_of(index).ok_or(Error::Corrupt("the term of the last applied entry"))?;
        let snapshot = etcd::Snapshot { data: Some(list.into()), conf_state, index, term };
        // In a group of one, no Ready carries the commit index, and a snapshot must not be above the log's
        // commit.
        let state = self.raft.store().initial_state()?.hard_state;
        let state = etcd::HardState { term: state.term, vote: state.vote, commit: state.commit };
        self.storage.save(&state, &[])?;
        self.storage.save_snap(&snapshot)?;
        self.storage.release(&snapshot)?;
        etcd::purge(&self.fs, &self.dir.join("wal"), ".wal", 1)?;
        self.storage.snapshotter().purge(2)?;
        let old = |of| of < self.snapshot_index && !self.stream.is_lent(of);
        files::purge(&self.fs, &self.dir, old)?;
        let keep = self.settings.catch_up_entries;
        self.raft.mut_store().compact(snapshot, keep);
        self.snapshot_index = index;
        Ok(())
    }

    /// Whether [`run`](Self::run) has more work without new messages or ticks.
    pub fn is_busy(&self) -> bool {
        self.stream.is_checking()
    }

    /// Its id.
    pub fn id(&self) -> u64 {
        self.settings.id
    }

    /// The index of the last applied entry.
    pub fn applied(&self) -> u64 {
        self.machine.applied()
    }

    /// The index of its last snapshot.
    pub fn snapshot_index(&self) -> u64 {
        self.snapshot_index
    }

    /// Whether it is the leader.
    pub fn is_leader(&self) -> bool {
        self.raft.raft.state == StateRole::Leader
    }

    /// The id of the leader as far as it knows; 0 if there is none.
    pub fn leader(&self) -> u64 {
        self.raft.raft.leader_id
    }

    /// Every key with its values as text, in key order. Replicas with the same applied index return the same
    /// text.
    pub fn export(&self) -> Result<String> {
        self.machine.export()
    }

    /// Makes everything durable and closes the replica.
    pub fn close(self) -> Result<()> {
        self.machine.close()?;
        Ok(self.storage.close()?)
    }
}

/// Distinguishes corrupt files from system errors when opening fails.
fn refused(error: tsmith_wal::Error) -> Error {
    match error.kind() {
        tsmith_wal::ErrorKind::Etcd(_) => Error::CorruptLog(error),
        _ => Error::Storage(error),
    }
}

impl<F: Fs> std::fmt::Debug for Replica<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("id", &self.settings.id)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}
