//! The log itself: create, open, append, cut, sync, let go, close.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::create::{self, FIRST};
use super::encoder::{Appender, observed};
use super::frame::kind;
use super::names::{self, SegmentName};
use super::options::{Strictness, WalOptions};
use super::pipeline::Pipeline;
use super::read::{Contents, Fold, Reader};
use super::repair::lock;
use super::{Entry, Flaw, HardState, Histogram, SnapshotRecord};
use crate::fs::{Fs, FsFile, NotRegular, OsFs, parent};
use crate::{Error, ErrorKind, Result};

/// A segment whose lock is held.
#[derive(Debug)]
struct Segment<F> {
    name: SegmentName,
    /// The lock goes with the last handle; that of the last segment is the appender's.
    _file: Arc<F>,
}

/// An open log. Whoever has it is the directory's only writer; a running etcd counts.
#[derive(Debug)]
pub struct Wal<F: Fs = OsFs> {
    fs: F,
    dir: PathBuf,
    options: WalOptions,
    metadata: Option<Vec<u8>>,
    /// Oldest first; the last one is written to.
    segments: Vec<Segment<F::File>>,
    appender: Appender<F::File>,
    pipeline: Option<Pipeline<F>>,
    /// The state that was saved through this handle.
    state: HardState,
    /// The segment with the last state, whoever saved it.
    state_seq: Option<u64>,
    /// The index of the entry or snapshot that was saved last.
    last_index: u64,
    syncs: Arc<Histogram>,
    poison: Option<Error>,
}

impl<F: Fs> Wal<F> {
    /// Makes a new log in `dir`, durably: under another name first, so that there is a whole one or none.
    ///
    /// `dir` must not be there, or be empty. Of several who try at once one makes it; the others are refused.
    #[expect(clippy::needless_pass_by_value, reason = "a handle, taken like everywhere else")]
    pub fn create(fs: F, dir: &Path, metadata: Option<&[u8]>, options: WalOptions) -> Result<Self> {
        // Without a slash at its end, which would make it the parent of what stands beside it.
        let dir = &dir.components().collect::<PathBuf>();
        create::refuse_taken(&fs, dir)?;
        // Somebody else may make it meanwhile, and clears away then what is begun here.
        let refused = |error| create::refuse_taken(&fs, dir).err().unwrap_or(error);
        let (temporary, first) = create::first_segment(&fs, dir).map_err(refused)?;
        let made = Self::begin(&fs, &temporary, first, dir, metadata, options).and_then(|wal| {
            // Never onto what holds something: who comes second fails here.
            fs.rename(&temporary, dir).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotADirectory => Error::from(Flaw::NotNamed).at_path(dir),
                _ => Error::io("rename", error).at_path(&temporary),
            })?;
            Ok(wal)
        });
        let mut wal = made.inspect_err(|_| drop(create::clear(&fs, &temporary))).map_err(refused)?;
        if let Err(error) = observed(&wal.syncs, || parent(dir).to_path_buf(), || fs.sync_dir(parent(dir))) {
            wal.poison = Some(error.clone());
            wal.set_aside();
            return Err(error);
        }
        create::clear_all(&fs, dir);
        wal.pipeline = Some(Pipeline::start(&fs, dir, options.segment_bytes, options.allocate_ahead)?);
        Ok(wal)
    }

    /// The first segment with its head, durably, in the directory `temporary` that is to be `dir`.
    fn begin(
        fs: &F,
        temporary: &Path,
        file: F::File,
        dir: &Path,
        metadata: Option<&[u8]>,
        options: WalOptions,
    ) -> Result<Self> {
        let path = temporary.join(FIRST.file_name());
        let at = |operation: &'static str| {
            let path = &path;
            move |error| Error::io(operation, error).at_path(path)
        };
        lock(&file, &path)?;
        file.allocate(0..options.segment_bytes).map_err(at("allocate"))?;
        let mut wal = Self {
            fs: fs.clone(),
            dir: dir.to_path_buf(),
            options,
            metadata: metadata.map(<[u8]>::to_vec),
            segments: Vec::new(),
            appender: Appender::new(Arc::new(file), options.segment_bytes, 0, 0),
            pipeline: None,
            state: HardState::default(),
            state_seq: None,
            last_index: 0,
            syncs: Arc::new(Histogram::wal_fsync()),
            poison: None,
        };
        wal.segments.push(Segment { name: FIRST, _file: Arc::clone(&wal.appender.file) });
        let head = wal.appender.head(metadata).and_then(|()| {
            wal.appender.record(kind::SNAPSHOT, Some(&SnapshotRecord::default().encode()))?;
            wal.appender.flush()
        });
        head.map_err(at("write"))?;
        observed(&wal.syncs, || path.clone(), || wal.appender.file.sync_data())?;
        fs.sync_dir(temporary).map_err(at("sync directory"))?;
        Ok(wal)
    }

    /// Nobody knows whether a half-made log is there: it must not be what the next start finds.
    fn set_aside(&self) {
        for number in 0..100 {
            let mut broken = self.dir.as_os_str().to_os_string();
            broken.push(format!(".broken.{number:02}"));
            if self.fs.list(Path::new(&broken)).is_err() {
                let moved = self.fs.rename(&self.dir, Path::new(&broken));
                tracing::warn!(dir = %self.dir.display(), ok = moved.is_ok(), "set a half-made log aside");
                return;
            }
        }
    }

    /// Finds and locks the segments that hold what comes after the snapshot `start`. Changes nothing yet.
    pub fn open(fs: F, dir: &Path, start: &SnapshotRecord, options: WalOptions) -> Result<Unread<F>> {
        let reader = Reader::open(fs, dir, start)?;
        let mut segments = Vec::new();
        for &name in &reader.names {
            let path = dir.join(name.file_name());
            let file = reader.fs.open(&path).map_err(|error| Error::io("open", error).at_path(&path))?;
            lock(&file, &path)?;
            segments.push((name, file));
        }
        Ok(Unread { reader, segments, options })
    }

    /// Saves entries and the state, in this order; a state that is empty is not written. Returns when it is on stable
    /// storage, unless only the commit index changed: raft does not need to remember that.
    ///
    /// The segment ends here if it is large enough.
    pub fn save(&mut self, state: &HardState, entries: &[Entry]) -> Result<()> {
        self.check()?;
        if state.is_empty() && entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            self.check_size(entry.data.as_ref().map_or(0, bytes::Bytes::len))?;
        }
        let must_sync = !entries.is_empty() || state.vote != self.state.vote || state.term != self.state.term;
        let done = self.append(state, entries);
        self.guard(done)?;
        if self.appender.etcd_offset() >= self.options.segment_bytes {
            self.cut()
        } else if must_sync {
            self.sync()
        } else {
            let done = self.appender.catch_up();
            self.guard(done.map_err(|error| self.at_tail(Error::io("write", error))))
        }
    }

    fn append(&mut self, state: &HardState, entries: &[Entry]) -> Result<()> {
        for entry in entries {
            let done = self.appender.entry(entry);
            done.map_err(|error| self.at_tail(Error::io("write", error)))?;
            self.last_index = entry.index;
        }
        self.append_state(state)
    }

    fn append_state(&mut self, state: &HardState) -> Result<()> {
        if state.is_empty() {
            return Ok(());
        }
        self.state = *state;
        self.state_seq = Some(self.tail().seq);
        let done = self.appender.state(state);
        done.map_err(|error| self.at_tail(Error::io("write", error)))
    }

    /// Says that a snapshot exists, durably. Its file must be there already.
    pub fn save_snapshot(&mut self, snapshot: &SnapshotRecord) -> Result<()> {
        self.check()?;
        let record = snapshot.encode();
        self.check_size(record.len())?;
        let done = self.appender.record(kind::SNAPSHOT, Some(&record));
        let done = done.map_err(|error| self.at_tail(Error::io("write", error)));
        self.guard(done)?;
        self.last_index = self.last_index.max(snapshot.index);
        self.sync()
    }

    /// Makes everything durable and goes on in a new segment.
    pub fn cut(&mut self) -> Result<()> {
        self.check()?;
        let done = self.try_cut();
        self.guard(done)
    }

    fn try_cut(&mut self) -> Result<()> {
        self.flush()?;
        let cut = self.appender.file.set_len(self.appender.end());
        cut.map_err(|error| self.at_tail(Error::io("cut", error)))?;
        observed(&self.syncs, || self.tail_path(), || self.appender.file.sync_data())?;
        let pipeline = self.pipeline.as_mut().ok_or_else(|| Error::new(ErrorKind::Closed))?;
        let ready = pipeline.take()?;
        let next = |number: u64| number.checked_add(1).ok_or_else(|| Error::new(ErrorKind::NumbersEnd));
        let name = SegmentName { seq: next(self.tail().seq)?, index: next(self.last_index)? };
        self.appender.move_to(ready.file, self.options.segment_bytes);
        let write = |error| Error::io("write", error).at_path(&ready.path);
        self.appender.head(self.metadata.as_deref()).map_err(write)?;
        if !self.state.is_empty() {
            self.appender.state(&self.state).map_err(write)?;
        }
        self.appender.flush().map_err(write)?;
        observed(&self.syncs, || ready.path.clone(), || self.appender.file.sync_data())?;
        let path = self.dir.join(name.file_name());
        let renamed = self.fs.rename(&ready.path, &path);
        renamed.map_err(|error| Error::io("rename", error).at_path(&ready.path))?;
        let named = observed(&self.syncs, || self.dir.clone(), || self.fs.sync_dir(&self.dir));
        // Whether the name is durable nobody would know, and who opens the log next would go on under it.
        named.inspect_err(|_| drop(self.fs.remove(&path)))?;
        self.segments.push(Segment { name, _file: Arc::clone(&self.appender.file) });
        if !self.state.is_empty() {
            self.state_seq = Some(name.seq);
        }
        Ok(())
    }

    /// Makes everything durable that was saved.
    pub fn sync(&mut self) -> Result<()> {
        self.check()?;
        let done = self.flush();
        let done =
            done.and_then(|()| observed(&self.syncs, || self.tail_path(), || self.appender.file.sync_data()));
        self.guard(done)
    }

    fn flush(&mut self) -> Result<()> {
        let done = self.appender.flush();
        done.map_err(|error| self.at_tail(Error::io("write", error)))
    }

    /// Lets go of segments that hold nothing after `index`: [`purge`] may then remove them. The segment before the
    /// first that begins at `index` or later stays, for it may hold what comes after; and so does the one with the last
    /// hard state.
    pub fn release_lock_to(&mut self, index: u64) {
        let first = self.segments.iter().position(|segment| segment.name.index >= index);
        let held = first.map_or(self.segments.len() - 1, |first| first.saturating_sub(1));
        let state = self.state_seq.and_then(|seq| self.segments.iter().position(|at| at.name.seq == seq));
        self.segments.drain(..held.min(state.unwrap_or(held)));
    }

    /// Makes everything durable, lets go of the directory and ends.
    pub fn close(mut self) -> Result<()> {
        self.pipeline = None;
        let flushed = self.check().and_then(|()| self.flush()).and_then(|()| {
            let trimmed = self.appender.trim();
            trimmed.map_err(|error| self.at_tail(Error::io("cut", error)))
        });
        let done = self.guard(flushed).and_then(|()| self.sync());
        // Dropping it has nothing more to do.
        self.poison.get_or_insert(Error::new(ErrorKind::Closed));
        done
    }

    /// The latencies of its syncs.
    pub fn syncs(&self) -> &Arc<Histogram> {
        &self.syncs
    }

    /// Bytes that went to files through this handle.
    pub fn written_bytes(&self) -> u64 {
        self.appender.total()
    }

    /// The segments it holds, oldest first.
    pub fn held(&self) -> impl Iterator<Item = SegmentName> {
        self.segments.iter().map(|segment| segment.name)
    }

    /// Where the log lives.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn tail(&self) -> SegmentName {
        self.segments[self.segments.len() - 1].name
    }

    fn tail_path(&self) -> PathBuf {
        self.dir.join(self.tail().file_name())
    }

    fn at_tail(&self, error: Error) -> Error {
        error.at_path(&self.tail_path())
    }

    /// Room for the fields around the data is left.
    fn check_size(&self, data: usize) -> Result<()> {
        let bytes = data as u64 + 64;
        let limit = self.options.record_bytes_max;
        if bytes < limit { Ok(()) } else { Err(Error::too_large("a record", bytes, limit)) }
    }

    fn check(&self) -> Result<()> {
        match &self.poison {
            Some(error) => Err(Error::new(ErrorKind::Poisoned(Arc::new(error.clone())))),
            None => Ok(()),
        }
    }

    /// After one failure nobody knows what is on disk.
    fn guard(&mut self, done: Result<()>) -> Result<()> {
        if let Err(error) = &done {
            tracing::error!(%error, "log stopped");
            self.poison.get_or_insert(error.clone());
        }
        done
    }
}

impl<F: Fs> Drop for Wal<F> {
    fn drop(&mut self) {
        if self.poison.is_none()
            && let Err(error) = self.sync()
        {
            tracing::warn!(%error, "log dropped without being closed");
        }
    }
}

/// A log that was opened and locked, and must be read before it can be appended to.
#[derive(Debug)]
pub struct Unread<F: Fs = OsFs> {
    reader: Reader<F>,
    segments: Vec<(SegmentName, F::File)>,
    options: WalOptions,
}

impl<F: Fs> Unread<F> {
    /// Reads all of it, wipes what stands behind its end, and makes it ready for more.
    ///
    /// A torn tail is an error here ([`Flaw::Torn`]): [`repair`](super::repair()) first, then open again.
    pub fn read_all(self) -> Result<(Wal<F>, Contents)> {
        let mut fold = Fold::new(&self.reader.start, true);
        let walk = self.reader.walk(&mut fold)?;
        if self.options.strictness != Strictness::Etcd
            && let Some(damage) = walk.damage()
        {
            return Err(damage);
        }
        let behind = walk.behind();
        if walk.flaw.as_ref().is_none_or(Flaw::is_torn)
            && let Some(behind) = &behind
            && let Some(flaw) = self.options.strictness.refuses(behind)
        {
            return Err(Error::from(flaw).at_path(&behind.place.path).at_offset(walk.offset));
        }
        if let Some(error) = walk.error() {
            return Err(error);
        }
        if !fold.matched {
            return Err(self.reader.not_found());
        }
        let Fold { mut contents, last_index, state_seq, .. } = fold;
        contents.wiped = behind;
        let Self { segments, options, reader } = self;
        let (fs, dir) = (reader.fs, reader.dir);
        let mut files: Vec<_> = segments.into_iter().map(|(name, file)| (name, Arc::new(file))).collect();
        let Some((tail, file)) = files.pop() else {
            return Err(Error::from(Flaw::SegmentMissing { index: 0 }).at_path(&dir));
        };
        let at = |operation| {
            let path = dir.join(tail.file_name());
            move |error| Error::io(operation, error).at_path(&path)
        };
        let len = file.len().map_err(at("look at"))?;
        wipe(&*file, len, walk.read(), contents.wiped.is_some()).map_err(at("wipe"))?;
        // Who made the directory or its last segment may have died before their names were durable.
        for dir in [&*dir, parent(&dir)] {
            fs.sync_dir(dir).map_err(|error| Error::io("sync directory", error).at_path(dir))?;
        }
        let pipeline = Pipeline::start(&fs, &dir, options.segment_bytes, options.allocate_ahead)?;
        let mut segments: Vec<_> =
            files.into_iter().map(|(name, file)| Segment { name, _file: file }).collect();
        segments.push(Segment { name: tail, _file: Arc::clone(&file) });
        let wal = Wal {
            fs,
            dir,
            options,
            metadata: contents.metadata.clone(),
            segments,
            appender: Appender::new(file, len, walk.offset, walk.crc),
            pipeline: Some(pipeline),
            state: HardState::default(),
            state_seq,
            last_index,
            syncs: Arc::new(Histogram::wal_fsync()),
            poison: None,
        };
        Ok((wal, contents))
    }
}

/// Zeros from the end of the log to the end of the file, whose length stays. Durable before anything is written
/// there: else records of before the crash could come back behind newer ones. So is what was read, before anybody acts
/// on it: after a crash of the process alone it may be known to the operating system only. It is written again for that:
/// where a sync failed the system takes pages for written that are not.
fn wipe<F: FsFile>(file: &F, len: u64, read: &[u8], dirty: bool) -> std::io::Result<()> {
    let end = read.len() as u64;
    if dirty {
        tracing::warn!(offset = end, "wiped what stood behind the end of the log");
        file.set_len(end)?;
        file.allocate(end..len)?;
    }
    file.write_all_at(read, 0)?;
    file.sync_all()
}

/// Removes the oldest files of `dir` whose names are numbers before `suffix`, as etcd's are, until `keep` are left or one
/// is locked. Gives what was removed. etcd keeps 5 segments and 5 snapshots, and removes whatever ends in the suffix.
pub fn purge<F: Fs>(fs: &F, dir: &Path, suffix: &str, keep: usize) -> Result<Vec<PathBuf>> {
    let at = |operation, path: &Path, error| Error::io(operation, error).at_path(path);
    let mut names = fs.list(dir).map_err(|error| at("list", dir, error))?;
    let is_file = |name: &OsString| match fs.open(&dir.join(name)) {
        Err(error) => !NotRegular::is(&error),
        Ok(_) => true,
    };
    names.retain(|name| names::is_numbered(name, suffix) && is_file(name));
    names.truncate(names.len().saturating_sub(keep));
    let mut removed = Vec::new();
    for name in names {
        let path = dir.join(name);
        let file = fs.open(&path).map_err(|error| at("open", &path, error))?;
        if file.try_lock().is_err() {
            break;
        }
        fs.remove(&path).map_err(|error| at("remove", &path, error))?;
        removed.push(path);
    }
    if !removed.is_empty() {
        fs.sync_dir(dir).map_err(|error| at("sync directory", dir, error))?;
    }
    Ok(removed)
}
