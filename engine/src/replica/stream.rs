//! Transfers snapshot files between replicas in chunks, each on request.
//!
//! ```text
//! leader                                   follower that is behind
//!   raft's snapshot: the list of files ──▶   stores it, links local files
//!                    ◀── request 4 chunks    writes them to files-<index>.tmp
//!   reads one chunk ──▶ chunk                requests the next; after a timeout again those that are missing
//!                                            all complete: syncs the files and checks them in parts
//!                                            all valid: renames the directory, gives raft the list
//! ```
//!
//! If files are corrupt at the sender, they arrive corrupt again. The follower requests them again after a
//! pause that doubles each time. Files of a later snapshot are requested at once.
//!
//! The sender keeps no state except that the files are still needed. Chunks may be lost, repeated or late,
//! and connections may end: received chunks are kept, and the next ones are requested again.

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

/// Maximum number of waiting requests. Further ones are dropped and will be repeated.
const ASKS_MAX: usize = 32;
/// Requested files are kept for this many ticks, even if the snapshot is old.
const LENT_TICKS: u64 = 200;
/// Bytes of received files checked per call: a few milliseconds.
const CHECK_BYTES: u64 = 8 << 20;

/// Pause in ticks before a snapshot with corrupt files is fetched again, and the maximum pause.
const PAUSE_TICKS: u64 = 20;
const PAUSE_TICKS_MAX: u64 = 1000;

/// A snapshot with corrupt files.
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
    /// The last refused snapshot of each sender.
    refused: BTreeMap<u64, Refused>,
    asks: VecDeque<(Part, u32)>,
    /// The tick at which a chunk of each snapshot was last read.
    lent: BTreeMap<u64, u64>,
    /// Limits warnings about requested files.
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

    /// Takes raft's snapshot message. Returns it if its files are here.
    pub(super) fn offer(&mut self, message: eraftpb::Message) -> Result<Option<eraftpb::Message>> {
        let snapshot = message.get_snapshot();
        let list = List::decode(&snapshot.data)?;
        let index = snapshot.get_metadata().index;
        let to = files::directory(&self.dir, index);
        if files::are_complete(&self.fs, &to, &list) {
            self.stop();
            return Ok(Some(message));
        }
        if let Some(fetch) = &mut self.fetch {
            // Complete a running fetch before a later snapshot of the same sender; otherwise a busy leader's
            // snapshots would never complete. Ignore a former leader.
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
            return Err(Error::Corrupt("a chunk of at most the requested length"));
        }
        if bytes.is_empty() {
            let pause_ticks = self.refuse(part.from, part.index);
            tracing::warn!(
                part.from,
                part.index,
                pause_ticks,
                "the sender lacks files of its snapshot, or they have another length"
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

    /// Takes a request. [`run`](Self::run) answers it.
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

    /// Answers requests, sends requests, and checks a part of the received files. Returns raft's message when
    /// all are valid. A snapshot below `committed` is obsolete.
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
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.is_complete()) else { return Ok(None) };
        match fetch.check(&self.fs, CHECK_BYTES) {
            Ok(false) => Ok(None),
            Ok(true) => self.fetch.take().map(|fetch| fetch.finish(&self.fs)).transpose(),
            Err(error) => {
                // All files are here, so the error can name the corrupt one.
                let (from, index) = (fetch.message.from, fetch.index());
                let error = fetch.blame(error);
                let pause_ticks = self.refuse(from, index);
                tracing::warn!(%error, pause_ticks, "refused the files of a snapshot");
                self.stop();
                Ok(None)
            }
        }
    }

    /// Records that a snapshot has corrupt files. Returns the pause in ticks.
    fn refuse(&mut self, from: u64, index: u64) -> u64 {
        let before = self.refused.get(&from).filter(|refused| refused.index == index);
        let pause = before.map_or(PAUSE_TICKS, |refused| (2 * refused.pause).min(PAUSE_TICKS_MAX));
        self.refused.insert(from, Refused { index, pause, until: self.ticks + pause });
        pause
    }

    /// Whether received files are being checked.
    pub(super) fn is_checking(&self) -> bool {
        self.fetch.as_ref().is_some_and(Fetch::is_complete)
    }

    /// The requested bytes, at most one chunk. Empty if the file cannot be read.
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
                    tracing::warn!(%path, %error, suppressed, "cannot read a requested file");
                }
                Vec::new()
            }
        }
    }

    /// Drops the running fetch.
    pub(super) fn stop(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            fetch.abandon(&self.fs);
        }
    }

    /// Whether other replicas are reading the files of a snapshot.
    pub(super) fn is_lent(&self, index: u64) -> bool {
        self.lent.get(&index).is_some_and(|at| self.ticks - *at < LENT_TICKS)
    }
}
