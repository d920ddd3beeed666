//! The log of a member: create, open, append, cut, sync, release, close.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::allocate::remove_unused;
use super::create::{self, FIRST};
use super::fold::{Entries, Fold};
use super::frame::kind;
use super::framer::WalFramer;
use super::names;
use super::options::WalOptions;
use super::walk::walk;
use super::writer::{Segment, WalWriter, lock_segments};
use super::{Contents, Entry, EtcdError, HardState, SnapshotRecord, SyncLatencies};
use crate::error::{AtPath, Poison};
use crate::fs::{Fs, FsFile, LockKind, NotRegular, OsFs, parent};
use crate::{Error, Result};

/// An open log. Its owner is the only writer of the directory, which excludes a running etcd too.
#[derive(Debug)]
pub struct Wal<F: Fs = OsFs> {
    options: WalOptions,
    framer: WalFramer,
    writer: WalWriter<F>,
    /// The segment with the last state, saved by a caller or by a cut.
    state_seq: Option<u64>,
    poison: Poison,
}

impl<F: Fs> Wal<F> {
    /// Creates a log in `dir`, durably. It is built under a temporary name and renamed, so it is complete or
    /// absent.
    ///
    /// `dir` must be absent or empty. If several processes try at once, one succeeds and the others get an
    /// error.
    #[expect(clippy::needless_pass_by_value, reason = "a handle, taken like everywhere else")]
    pub fn create(fs: F, dir: &Path, metadata: Option<&[u8]>, options: WalOptions) -> Result<Self> {
        // Without a trailing slash, which would place the temporary directory inside `dir`.
        let dir = &dir.components().collect::<PathBuf>();
        create::refuse_taken(&fs, dir)?;
        // Another process may create it meanwhile and rename what was begun here.
        let refused = |error| create::refuse_taken(&fs, dir).err().unwrap_or(error);
        let bytes = options.segment_bytes;
        let (temporary, file) = create::first_segment(&fs, dir, bytes).map_err(refused)?;
        let first = vec![Segment { name: FIRST, file }];
        let writer = WalWriter::new(fs.clone(), &temporary, (bytes, bytes), first, bytes);
        let framer = WalFramer::new(0, 0, metadata, 0);
        let mut wal = Self { options, framer, writer, state_seq: None, poison: Poison::default() };
        if let Err(error) = wal.begin(&fs, dir) {
            drop(create::remove(&fs, &temporary));
            wal.poison.close();
            return Err(refused(error));
        }
        Ok(wal)
    }

    /// Writes the head of the first segment, durably, and renames the directory to `dir`.
    fn begin(&mut self, fs: &F, dir: &Path) -> Result<()> {
        self.framer.head(FIRST);
        self.writer.flush(&mut self.framer)?;
        self.writer.sync()?;
        let temporary = &self.writer.dir;
        fs.sync_dir(temporary).at("sync directory", temporary)?;
        // Never replace a directory that holds anything.
        fs.rename(temporary, dir).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotADirectory => Error::from(EtcdError::NotNamed).at_path(dir),
            _ => Error::io("rename", error).at_path(temporary),
        })?;
        // The next start must not find a name that may not be durable.
        let synced = self.syncs().observe(|| parent(dir).to_path_buf(), || fs.sync_dir(parent(dir)));
        synced.inspect_err(|_| drop(fs.rename(dir, temporary)))?;
        self.writer.dir = dir.to_path_buf();
        Ok(())
    }

    /// Locks and reads the segments after the snapshot `start`, wipes bytes after the end, and prepares the
    /// log for appends.
    ///
    /// A torn tail is an error ([`EtcdError::Torn`]): call [`repair`](super::repair()), then open again. An
    /// error changes nothing, unless it is an I/O error.
    pub fn open(fs: F, dir: &Path, start: &SnapshotRecord, options: WalOptions) -> Result<(Self, Contents)> {
        let names = names::from_index(&fs, dir, start.index)?;
        let segments = lock_segments(&fs, dir, &names)?;
        let mut fold = Fold::new(Entries::Keep(start), names[0]);
        let walk = walk(&fs, dir, &names, &mut fold)?;
        let tail = walk.tail();
        let refused = walk
            .corruption(options.strictness)
            .or_else(|| tail.as_ref()?.refused(options.strictness))
            .or_else(|| walk.stopped())
            .or_else(|| fold.refuses_start(start).map(|error| Error::from(error).at_path(dir)));
        if let Some(error) = refused {
            return Err(error);
        }
        let (last_index, state_seq) = (fold.last_index(), fold.state_seq);
        let contents = Contents { tail, ..fold.contents };
        remove_unused(&fs, dir)?;
        let bytes = options.segment_bytes;
        let mut writer = WalWriter::new(fs, dir, (bytes, bytes), segments, 0);
        writer.resume(walk.read(), contents.tail.is_some(), 0)?;
        let framer = WalFramer::new(walk.offset, walk.crc, contents.metadata.as_deref(), last_index);
        Ok((Self { options, framer, writer, state_seq, poison: Poison::default() }, contents))
    }

    /// Saves entries, then the state. An empty state is not written. On return both are on stable storage,
    /// unless only the commit index changed, which raft need not remember.
    ///
    /// Ends the segment if it is large enough.
    pub fn save(&mut self, state: &HardState, entries: &[Entry]) -> Result<()> {
        self.poison.check()?;
        if state.is_empty() && entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            self.check_size(entry.data.as_ref().map_or(0, bytes::Bytes::len))?;
        }
        let last = self.framer.state;
        let must_sync = !entries.is_empty() || state.vote != last.vote || state.term != last.term;
        let done = self.append(state, entries);
        self.guard(done)?;
        if self.framer.watermark.flushed >= self.options.segment_bytes {
            self.cut()
        } else if must_sync {
            self.sync()
        } else {
            Ok(())
        }
    }

    fn append(&mut self, state: &HardState, entries: &[Entry]) -> Result<()> {
        for entry in entries {
            self.framer.entry(entry);
            self.writer.write_early(&mut self.framer)?;
        }
        if state.is_empty() {
            return Ok(());
        }
        self.framer.state(*state);
        self.state_seq = Some(self.writer.name().seq);
        self.writer.write_early(&mut self.framer)
    }

    /// Records that a snapshot exists, durably. Its file must exist already.
    pub fn save_snapshot(&mut self, snapshot: &SnapshotRecord) -> Result<()> {
        self.poison.check()?;
        let record = snapshot.encode();
        self.check_size(record.len())?;
        self.framer.record(kind::SNAPSHOT, Some(&record));
        self.framer.last_index = self.framer.last_index.max(snapshot.index);
        self.sync()
    }

    /// Makes everything durable and continues in a new segment.
    pub fn cut(&mut self) -> Result<()> {
        self.poison.check()?;
        let done = self.try_cut();
        self.guard(done)
    }

    fn try_cut(&mut self) -> Result<()> {
        self.writer.flush(&mut self.framer)?;
        self.writer.end()?;
        self.writer.begin_next(&mut self.framer)?;
        if !self.framer.state.is_empty() {
            self.state_seq = Some(self.writer.name().seq);
        }
        Ok(())
    }

    /// Makes everything saved durable.
    pub fn sync(&mut self) -> Result<()> {
        self.poison.check()?;
        let done = self.writer.flush(&mut self.framer).and_then(|()| self.writer.sync());
        self.guard(done)
    }

    /// Releases segments without entries after `index`, so that [`purge`] may remove them. Two segments stay:
    /// the one before the first segment that begins at `index` or later, because it can hold later entries,
    /// and the one with the last hard state.
    pub fn release_lock_to(&mut self, index: u64) {
        let segments = &mut self.writer.segments;
        let first = segments.iter().position(|segment| segment.name.index >= index);
        let held = first.map_or(segments.len() - 1, |first| first.saturating_sub(1));
        let state = self.state_seq.and_then(|seq| segments.iter().position(|at| at.name.seq == seq));
        segments.drain(..held.min(state.unwrap_or(held)));
    }

    /// Makes everything durable, releases the directory and closes the log.
    pub fn close(mut self) -> Result<()> {
        self.poison.check()?;
        let trimmed = self.writer.flush(&mut self.framer).and_then(|()| self.writer.trim());
        let done = self.guard(trimmed).and_then(|()| self.sync());
        // Dropping it does nothing more.
        self.poison.close();
        done
    }

    /// Latencies of its syncs.
    pub fn syncs(&self) -> &Arc<SyncLatencies> {
        &self.writer.latencies
    }

    /// Bytes written to files through this handle.
    pub fn written_bytes(&self) -> u64 {
        self.writer.total
    }

    /// The segments it holds, oldest first.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn held(&self) -> impl Iterator<Item = names::SegmentName> {
        self.writer.segments.iter().map(|segment| segment.name)
    }

    /// Keeps space for the fields around the data.
    fn check_size(&self, data: usize) -> Result<()> {
        let bytes = data as u64 + 64;
        let limit = self.options.record_bytes_max;
        if bytes < limit { Ok(()) } else { Err(Error::too_large("a record", bytes, limit)) }
    }

    /// After a failure the state on disk is unknown.
    fn guard(&mut self, done: Result<()>) -> Result<()> {
        done.inspect_err(|error| self.poison.set(error))
    }
}

impl<F: Fs> Drop for Wal<F> {
    fn drop(&mut self) {
        if !self.poison.is_set()
            && let Err(error) = self.sync()
        {
            tracing::warn!(%error, "log dropped without being closed");
        }
    }
}

/// Removes the oldest files of `dir` named by numbers before `suffix`, as etcd names them, until `keep`
/// remain or one is locked. Returns the removed paths. etcd keeps 5 segments and 5 snapshots, and removes any
/// file with the suffix.
pub fn purge<F: Fs>(fs: &F, dir: &Path, suffix: &str, keep: usize) -> Result<Vec<PathBuf>> {
    let mut names = fs.list(dir).at("list", dir)?;
    let is_file = |name: &OsString| !fs.open(&dir.join(name)).is_err_and(|error| NotRegular::is(&error));
    names.retain(|name| names::is_numbered(name, suffix) && is_file(name));
    names.truncate(names.len().saturating_sub(keep));
    let mut removed = Vec::new();
    for name in names {
        let path = dir.join(name);
        let file = fs.open(&path).at("open", &path)?;
        if file.try_lock(LockKind::Etcd).is_err() {
            break;
        }
        fs.remove(&path).at("remove", &path)?;
        removed.push(path);
    }
    if !removed.is_empty() {
        fs.sync_dir(dir).at("sync directory", dir)?;
    }
    Ok(removed)
}
