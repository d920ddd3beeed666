//! Receives the files of one snapshot.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use raft::eraftpb;
use tsmith_wal::fs::{Fs, FsFile};

use super::check::Check;
use super::error::{corruption, io};
use super::files::{self, List, Listed};
use super::message::Part;
use super::{Error, Result};
use crate::files::FileName;

/// Chunks that are requested and not received yet.
const WINDOW: u64 = 4;
/// Ticks without a chunk until it is requested again. The interval doubles each time.
const RETRY_TICKS: u32 = 20;
/// After this many repeated requests the sender counts as gone.
const TRIES_MAX: u32 = 5;
/// After this many chunks of the full requested length, longer ones are requested, up to the configured
/// length.
const GROWS_AFTER: u32 = 16;

/// Receives files one after the other, each from start to end, into a temporary directory. The directory gets
/// its name when all files are complete.
pub(super) struct Fetch<F: Fs> {
    /// The message that raft gets at the end.
    pub(super) message: eraftpb::Message,
    to: PathBuf,
    temporary: PathBuf,
    list: List,
    /// Files that are incomplete; the first one is being written.
    missing: VecDeque<(FileName, u64)>,
    /// The length requested now, and the configured maximum.
    chunk_bytes: u32,
    chunk_bytes_max: u32,
    /// Consecutive chunks of that length.
    full_chunks: u32,
    file: Option<F::File>,
    /// Bytes of it received, and bytes requested.
    have: u64,
    asked: u64,
    /// Ticks since the last chunk, and repeated requests since then.
    waited: u32,
    tries: u32,
    /// Runs when all files are complete.
    check: Option<Check>,
}

impl<F: Fs> Fetch<F> {
    /// Starts with files that can be linked from `near`, the sender's directory on the same file system.
    pub(super) fn begin(
        fs: &F,
        to: &Path,
        near: Option<&Path>,
        list: List,
        message: eraftpb::Message,
        chunk_bytes: u32,
    ) -> Result<Self> {
        let temporary = files::begin(fs, to)?;
        let mut missing = VecDeque::new();
        for &Listed { name, bytes: len, .. } in &list.files {
            let (old, new) = (near.map(|near| near.join(name.to_string())), temporary.join(name.to_string()));
            let linked = old.is_some_and(|old| fs.link(&old, &new).is_ok());
            let is_it = linked && fs.open(&new).and_then(|file| file.len()).is_ok_and(|there| there == len);
            if !is_it {
                if linked {
                    // The linked file belongs to another snapshot. Request it from the sender instead.
                    fs.remove(&new).map_err(|error| io(&new, error))?;
                }
                missing.push_back((name, len));
            }
        }
        let mut fetch = Self {
            message,
            to: to.to_path_buf(),
            temporary,
            list,
            missing,
            chunk_bytes,
            chunk_bytes_max: chunk_bytes,
            full_chunks: 0,
            file: None,
            have: 0,
            asked: 0,
            waited: 0,
            tries: 0,
            check: None,
        };
        fetch.advance(fs)?;
        Ok(fetch)
    }

    pub(super) fn index(&self) -> u64 {
        self.message.get_snapshot().get_metadata().index
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Finishes the current file when it has all bytes, and starts the next.
    fn advance(&mut self, fs: &F) -> Result<()> {
        while let Some(&(name, len)) = self.missing.front() {
            let path = self.temporary.join(name.to_string());
            let file = match self.file.take() {
                Some(file) => file,
                None => fs.create_new(&path).map_err(|error| io(&path, error))?,
            };
            if self.have < len {
                self.file = Some(file);
                return Ok(());
            }
            file.sync_all().map_err(|error| io(&path, error))?;
            self.missing.pop_front();
            (self.have, self.asked) = (0, 0);
        }
        Ok(())
    }

    /// Whether a chunk is the next one. Repeated or early chunks are ignored and requested again.
    pub(super) fn is_next(&self, part: &Part) -> bool {
        let file = self.missing.front().map(|(name, _)| *name);
        (part.from, part.index) == (self.message.from, self.index())
            && (Some(part.file), part.offset) == (file, self.have)
    }

    /// Takes the next chunk. After an error the fetch cannot continue.
    pub(super) fn take(&mut self, fs: &F, bytes: &[u8]) -> Result<()> {
        let (Some(file), Some((name, _))) = (&self.file, self.missing.front()) else { return Ok(()) };
        let expected = self.expected();
        let written = file.write_all_at(bytes, self.have);
        written.map_err(|error| io(&self.temporary.join(name.to_string()), error))?;
        self.have += bytes.len() as u64;
        (self.waited, self.tries) = (0, 0);
        let len = bytes.len() as u32;
        self.full_chunks += 1;
        if len < expected {
            // The sender's chunk length is smaller than ours, or only this chunk was short.
            self.chunk_bytes = len.max(self.chunk_bytes / 2);
            self.asked = self.have;
            self.full_chunks = 0;
        } else if self.full_chunks >= GROWS_AFTER {
            self.chunk_bytes = self.chunk_bytes.saturating_mul(2).min(self.chunk_bytes_max);
            self.full_chunks = 0;
        }
        self.advance(fs)
    }

    /// Length of the next chunk if the sender sends the requested length.
    pub(super) fn expected(&self) -> u32 {
        let left = self.missing.front().map_or(0, |(_, len)| len - self.have);
        u32::try_from(left).map_or(self.chunk_bytes, |left| left.min(self.chunk_bytes))
    }

    /// The requests to send now.
    pub(super) fn asks(&mut self) -> Vec<(Part, u32)> {
        let Some(&(file, len)) = self.missing.front() else { return Vec::new() };
        let (from, to, index) = (self.message.to, self.message.from, self.index());
        let end = len.min(self.have.saturating_add(WINDOW * u64::from(self.chunk_bytes)));
        let mut asks = Vec::new();
        while self.asked < end {
            let left = u32::try_from(len - self.asked).unwrap_or(u32::MAX);
            let bytes = left.min(self.chunk_bytes);
            asks.push((Part { from, to, index, file, offset: self.asked }, bytes));
            self.asked += u64::from(bytes);
        }
        asks
    }

    /// Advances time by one tick. Returns false when the sender counts as gone.
    pub(super) fn tick(&mut self) -> bool {
        if self.is_complete() {
            return true;
        }
        self.waited += 1;
        if self.waited >= RETRY_TICKS << self.tries {
            self.waited = 0;
            self.tries += 1;
            self.asked = self.have;
        }
        self.tries <= TRIES_MAX
    }

    /// Checks every block, and header and index against the list. A chunk's checksum only proves that the
    /// bytes match the sender's. Reads about `bytes` and returns false if more are left.
    pub(super) fn check(&mut self, fs: &F, bytes: u64) -> Result<bool> {
        let check = match &mut self.check {
            Some(check) => check,
            None => self.check.insert(Check::begin(&self.temporary, &self.list)),
        };
        check.go_on(fs, bytes)
    }

    /// Turns corruption found here into an error that names the sender, because the bytes arrived as the
    /// sender has them.
    pub(super) fn blame(&self, error: Error) -> Error {
        let found = match &error {
            Error::Engine(error) => corruption(error),
            Error::Corrupt(expected) => Some(format!("expected {expected}")),
            _ => None,
        };
        let file = self.check.as_ref().and_then(Check::file);
        let (Some(found), Some(file)) = (found, file) else { return error };
        Error::CorruptThere { from: self.message.from, index: self.index(), file, found }
    }

    /// Publishes the directory.
    pub(super) fn finish(self, fs: &F) -> Result<eraftpb::Message> {
        files::finish(fs, &self.temporary, &self.to)?;
        Ok(self.message)
    }

    /// Removes everything received.
    pub(super) fn abandon(self, fs: &F) {
        drop(self.file);
        // If this fails, opening the replica removes it.
        drop(files::clear(fs, &self.temporary));
    }
}
