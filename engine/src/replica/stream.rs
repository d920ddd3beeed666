//! Snapshot files between replicas, in chunks, each of which was asked for.
//!
//! ```text
//! leader                                   follower that fell behind
//!   raft's snapshot: the list of files ──▶   keeps it, links what is near
//!                     ◀── ask for 4 chunks   writes them to files-<index>.tmp
//!   reads one chunk ──▶ chunk                asks for the next; after a while again for what did not come
//!                                            all there: files synced, and checked a part at a time
//!                                            all whole: the directory gets its name, raft the list
//! ```
//!
//! Files that are corrupt where they come from come corrupt again: after a pause they are asked for once more, and each
//! pause is twice as long as the one before. Those of a later snapshot are asked for at once.
//!
//! Who is asked remembers nothing but that the files are still wanted. Chunks may get lost, come twice or late like
//! all messages, and a connection may end: what has come is kept, and the next is asked for again.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Instant;

use raft::eraftpb;
use tsmith_wal::fs::Fs;

use super::fetch::Fetch;
use super::files::{self, List};
use super::message::{Message, Part};
use super::warn_limit::WarnLimit;
use super::{Error, Result, Settings};

/// Requests that wait for their answer; more are dropped, and come again.
const ASKS_MAX: usize = 32;
/// Files that somebody asked for are kept for so many ticks, though the snapshot is old.
const LENT_TICKS: u64 = 200;
/// Of files that have come so much is checked at once: some milliseconds.
const CHECK_BYTES: u64 = 8 << 20;

/// After corrupt files of a snapshot so many ticks pass until it is taken again, and at most so many.
const PAUSE_TICKS: u64 = 20;
const PAUSE_TICKS_MAX: u64 = 1000;

/// A snapshot of which files are corrupt.
struct Refused {
    index: u64,
    pause: u64,
    until: u64,
}

pub(super) struct Stream<F: Fs> {
    fs: F,
    dir: PathBuf,
    group: u64,
    chunk_bytes: u32,
    neighbours: BTreeMap<u64, PathBuf>,
    ticks: u64,
    fetch: Option<Fetch<F>>,
    /// The last of each sender.
    refused: BTreeMap<u64, Refused>,
    asks: VecDeque<(Part, u32)>,
    /// When a chunk of the snapshot of an index was read last.
    lent: BTreeMap<u64, u64>,
    /// Warnings about what was asked for.
    missing: WarnLimit,
}

impl<F: Fs> Stream<F> {
    pub(super) fn new(fs: F, dir: PathBuf, settings: &Settings) -> Self {
        Self {
            fs,
            dir,
            group: settings.group,
            chunk_bytes: settings.chunk_bytes.max(1),
            neighbours: settings.neighbours.clone(),
            ticks: 0,
            fetch: None,
            refused: BTreeMap::new(),
            asks: VecDeque::new(),
            lent: BTreeMap::new(),
            missing: WarnLimit::default(),
        }
    }

    /// Takes raft's message of a snapshot. Gives it back if its files are there.
    pub(super) fn offer(&mut self, message: eraftpb::Message) -> Result<Option<eraftpb::Message>> {
        let snapshot = message.get_snapshot();
        let list = List::decode(&snapshot.data)?;
        let index = snapshot.get_metadata().index;
        let to = files::directory(&self.dir, index);
        if files::are_whole(&self.fs, &to, &list) {
            self.stop();
            return Ok(Some(message));
        }
        if let Some(fetch) = &mut self.fetch {
            // One that is on its way is taken before a later one of the same sender: else a busy leader's would never
            // end. Who led before has nothing to say any more.
            if fetch.message.from == message.from || message.term < fetch.message.term {
                fetch.message.term = fetch.message.term.max(message.term);
                return Ok(None);
            }
        }
        let refused = self.refused.get(&message.from).filter(|refused| refused.index == index);
        if refused.is_some_and(|refused| self.ticks < refused.until) {
            return Ok(None);
        }
        self.stop();
        let near = self.neighbours.get(&message.from).map(|dir| files::directory(dir, index));
        self.fetch = Some(Fetch::begin(&self.fs, &to, near.as_deref(), list, message, self.chunk_bytes)?);
        Ok(None)
    }

    /// Takes a chunk.
    pub(super) fn chunk(&mut self, part: &Part, bytes: &[u8]) -> Result<()> {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.is_next(part)) else { return Ok(()) };
        if bytes.len() as u64 > fetch.expected().into() {
            return Err(Error::Corrupt("a chunk of not more bytes than were asked for"));
        }
        if bytes.is_empty() {
            let pause_ticks = self.refuse(part.from, part.index);
            tracing::warn!(
                part.from,
                part.index,
                pause_ticks,
                "files of a snapshot are gone at the sender, or not as long as it said"
            );
            self.stop();
            return Ok(());
        }
        let taken = fetch.take(&self.fs, bytes);
        if taken.is_err() {
            self.stop();
        }
        taken
    }

    /// Takes a request, which is answered by [`run`](Self::run).
    pub(super) fn ask(&mut self, part: Part, len: u32) {
        if self.asks.len() < ASKS_MAX {
            self.asks.push_back((part, len));
        }
    }

    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        if self.fetch.as_mut().is_some_and(|fetch| !fetch.tick()) {
            self.stop();
        }
    }

    /// Answers and asks, and checks a part of what has come; gives raft's message when that was the last. A snapshot of
    /// what is `committed` here by now is of no use.
    pub(super) fn run(
        &mut self,
        committed: u64,
        send: &mut dyn FnMut(u64, Vec<u8>),
    ) -> Result<Option<eraftpb::Message>> {
        if self.fetch.as_ref().is_some_and(|fetch| fetch.index() <= committed) {
            self.stop();
        }
        while let Some((part, len)) = self.asks.pop_front() {
            let bytes = self.read(&part, len);
            send(part.from, Message::Chunk(part.back(), &bytes).encode(self.group)?);
        }
        for (part, len) in self.fetch.as_mut().map(Fetch::asks).unwrap_or_default() {
            send(part.to, Message::Ask(part, len).encode(self.group)?);
        }
        self.check()
    }

    fn check(&mut self) -> Result<Option<eraftpb::Message>> {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.is_whole()) else { return Ok(None) };
        match fetch.check(&self.fs, CHECK_BYTES) {
            Ok(false) => Ok(None),
            Ok(true) => self.fetch.take().map(|fetch| fetch.finish(&self.fs)).transpose(),
            Err(error) => {
                // What is here already can be read.
                let (from, index) = (fetch.message.from, fetch.index());
                let error = fetch.told(error);
                let pause_ticks = self.refuse(from, index);
                tracing::warn!(%error, pause_ticks, "files of a snapshot are not taken");
                self.stop();
                Ok(None)
            }
        }
    }

    /// Notes that a snapshot has corrupt files; gives how long it is not taken.
    fn refuse(&mut self, from: u64, index: u64) -> u64 {
        let before = self.refused.get(&from).filter(|refused| refused.index == index);
        let pause = before.map_or(PAUSE_TICKS, |refused| (2 * refused.pause).min(PAUSE_TICKS_MAX));
        self.refused.insert(from, Refused { index, pause, until: self.ticks + pause });
        pause
    }

    /// Whether files that have come are being checked.
    pub(super) fn is_checking(&self) -> bool {
        self.fetch.as_ref().is_some_and(Fetch::is_whole)
    }

    /// The bytes that were asked for, not more than a chunk; none when the file is not there.
    fn read(&mut self, part: &Part, len: u32) -> Vec<u8> {
        let path = files::directory(&self.dir, part.index).join(part.file.to_string());
        let len = len.min(self.chunk_bytes) as usize;
        match self.fs.open(&path).and_then(|file| files::read_at(&file, part.offset, len)) {
            Ok(bytes) => {
                self.lent.retain(|_, at| self.ticks - *at < LENT_TICKS);
                self.lent.insert(part.index, self.ticks);
                bytes
            }
            Err(error) => {
                if let Some(suppressed) = self.missing.allow(Instant::now()) {
                    let path = path.display();
                    tracing::warn!(%path, %error, suppressed, "asked for a file that cannot be read");
                }
                Vec::new()
            }
        }
    }

    /// Gives up what is on its way.
    pub(super) fn stop(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            fetch.abandon(&self.fs);
        }
    }

    /// Whether the files of a snapshot are being read by others.
    pub(super) fn is_lent(&self, index: u64) -> bool {
        self.lent.get(&index).is_some_and(|at| self.ticks - *at < LENT_TICKS)
    }
}
