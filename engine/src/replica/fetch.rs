//! The files of one snapshot on their way here.

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

/// Chunks that are asked for and have not come.
const WINDOW: u64 = 4;
/// When nothing has come for so many ticks it is asked for again; the next time after twice as many.
const RETRY_TICKS: u32 = 20;
/// So often, then the sender is taken for gone.
const TRIES_MAX: u32 = 5;
/// After so many chunks of the length that was asked for, longer ones are asked for, up to our own length.
const GROWS_AFTER: u32 = 16;

/// Receives files one after the other, each from its first byte to its last, into a directory that gets its name when
/// it has them all.
pub(super) struct Fetch<F: Fs> {
    /// What raft gets then.
    pub(super) message: eraftpb::Message,
    to: PathBuf,
    temporary: PathBuf,
    list: List,
    /// Those that are not there yet; the first is being written.
    missing: VecDeque<(FileName, u64)>,
    /// What is asked for at once, and what would be if the sender gave as much.
    chunk_bytes: u32,
    chunk_bytes_max: u32,
    /// Chunks of that length in a row.
    full_chunks: u32,
    file: Option<F::File>,
    /// How much of it has come, and how far it was asked for.
    have: u64,
    asked: u64,
    /// Ticks since something came, and how often it was asked for again since.
    waited: u32,
    tries: u32,
    /// When all have come.
    check: Option<Check>,
}

impl<F: Fs> Fetch<F> {
    /// Begins with what can be linked from `near`, the sender's directory if it is on our file system.
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
                    // What is there of the sender's is of another time; the sender itself has what it listed.
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

    pub(super) fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    /// Ends the file that has all its bytes, and begins the next.
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

    /// Whether a chunk is the next one. Those that come twice, or before others, are not; they are asked for again.
    pub(super) fn is_next(&self, part: &Part) -> bool {
        let file = self.missing.front().map(|(name, _)| *name);
        (part.from, part.index) == (self.message.from, self.index())
            && (Some(part.file), part.offset) == (file, self.have)
    }

    /// Takes the next chunk. The fetch is of no more use after an error.
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
            // The sender's chunks are smaller than ours; or this one was, and says little of the others.
            self.chunk_bytes = len.max(self.chunk_bytes / 2);
            self.asked = self.have;
            self.full_chunks = 0;
        } else if self.full_chunks >= GROWS_AFTER {
            self.chunk_bytes = self.chunk_bytes.saturating_mul(2).min(self.chunk_bytes_max);
            self.full_chunks = 0;
        }
        self.advance(fs)
    }

    /// How many bytes the next chunk has, if the sender gives as many at once.
    pub(super) fn expected(&self) -> u32 {
        let left = self.missing.front().map_or(0, |(_, len)| len - self.have);
        u32::try_from(left).map_or(self.chunk_bytes, |left| left.min(self.chunk_bytes))
    }

    /// What is to be asked for now.
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

    /// Time passes. False when the sender is gone.
    pub(super) fn tick(&mut self) -> bool {
        if self.is_whole() {
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

    /// Whether every block is as it was once written, and all else as it was listed, wherever the files came from: the
    /// checksum of a chunk says only that it is what the sender has. False when more than about `bytes` bytes are left to
    /// look at.
    pub(super) fn check(&mut self, fs: &F, bytes: u64) -> Result<bool> {
        let check = match &mut self.check {
            Some(check) => check,
            None => self.check.insert(Check::begin(&self.temporary, &self.list)),
        };
        check.go_on(fs, bytes)
    }

    /// Of corruption that was found here: whose file it is. What the sender has came over as it is.
    pub(super) fn told(&self, error: Error) -> Error {
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

    /// Leaves nothing.
    pub(super) fn abandon(self, fs: &F) {
        drop(self.file);
        // What cannot be removed now is when the replica is opened.
        drop(files::clear(fs, &self.temporary));
    }
}
