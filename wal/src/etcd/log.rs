//! `EtcdLog`: etcd's framing as an ordinary log.
//!
//! ```text
//! group:   state{commit: durable before}  entry  entry  ...     one write, one fdatasync
//! entry:   term 1, index 1, 2, 3, ..., data: kind of the record, payload
//! close:   state{commit: all}, and the file is cut to its length
//! ```
//!
//! A real etcd reads these segments. The position of a record is twice its index; a cut is between two of them.
//!
//! A crash may leave any sector of a group that nobody was told of, so that whole records can stand behind a torn one.
//! The state at the head of each group tells that from damage: it says how far the log was durable when it was written,
//! and a bad record that it covers is no torn one.

mod open;

pub(crate) use open::{holds_segments, replay_only, segment_names};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::encoder::{Appender, Pending, observed};
use super::frame::kind;
use super::names::SegmentName;
use super::proto::Head;
use super::repair::lock;
use super::{EntryKind, HardState, Histogram, SnapshotRecord};
use crate::error::is_full;
use crate::fs::{Fs, FsFile, OsFs};
use crate::group::Done;
use crate::recover::Records;
use crate::{
    Durability, Durable, ENTRY_BYTES_MAX, Error, ErrorKind, Log, LogOptions, Metrics, Position, Record,
    Recovery, Replay, Result,
};

/// Says whose log it is: a member's own entries would mean nothing here.
const METADATA: &[u8] = b"tsmith-log";
/// Every entry is of this term; a real etcd would find a log of one leader.
const TERM: u64 = 1;
/// A group that has grown to this is written by who wants to append to it.
const GROUP_BYTES: usize = 4 << 20;
/// What an entry takes beside its payload, with the states before it and behind it, and a snapshot's record.
const OVERHEAD_BYTES: u64 = 256;
/// The space of a segment of which there is only the head: a block of most file systems.
const HEAD_BYTES: u64 = 4096;
/// The next segment, while it is made.
const TEMPORARY: &str = "0.tmp";

/// A log in etcd's segments, with group commit.
///
/// In [`RecoveryMode::InfluxDb`](crate::RecoveryMode::InfluxDb) the last segment is cut at its first bad record,
/// whatever follows; damage in an earlier one is an error, for the checksums of what follows depend on it. In
/// [`RecoveryMode::Salvage`](crate::RecoveryMode::Salvage) the replay goes on at the next record that the one before it
/// proves, so that up to two are missing where one is damaged. A missing segment is an error in every mode.
///
/// A segment has all its space before anything is appended to it. A disk too full for that refuses appends until there
/// is space again. Cuts and forgetting need none: the next segment begins with a head only, or later.
#[derive(Debug)]
pub struct EtcdLog<F: Fs = OsFs> {
    shared: Arc<Shared<F>>,
    ticker: Mutex<Option<JoinHandle<()>>>,
    /// Held until the log is closed.
    lock: Mutex<Option<F::Lock>>,
}

#[derive(Debug)]
struct Shared<F: Fs> {
    fs: F,
    dir: PathBuf,
    durability: Durability,
    segment_bytes: u64,
    syncs: Histogram,
    state: Mutex<State<F>>,
    /// Somebody stopped leading, or the log closes.
    changed: Condvar,
}

#[derive(Debug)]
struct State<F: Fs> {
    /// Oldest first, with the handles that hold their locks; the last one is written to.
    segments: Vec<(SegmentName, Arc<F::File>)>,
    /// None when the log has ended: the file is locked as long as it is open.
    appender: Option<Appender<F::File>>,
    /// The last segment has ended, and there was no space yet for the next one.
    over: bool,
    /// The other buffer.
    spare: Vec<u8>,
    /// The last entry, and how far the system and the disk have them.
    last: u64,
    written: u64,
    durable: u64,
    /// What the last state record says.
    marked: u64,
    /// The last entry of the groups that were counted.
    grouped: u64,
    metrics: Metrics,
    /// Somebody writes.
    leading: bool,
    poison: Option<Error>,
    /// Nothing new is taken.
    closed: bool,
    /// Closing is over: the directory may be another log's by now.
    ended: bool,
}

impl<F: Fs> EtcdLog<F> {
    fn open_with(fs: F, dir: &Path, options: &LogOptions, sink: impl open::Sink) -> Result<(Self, Recovery)> {
        let lock = crate::recover::take_directory(&fs, dir)?;
        let (state, recovery) = open::open(&fs, dir, options, sink)?;
        let shared = Arc::new(Shared {
            fs,
            dir: dir.to_path_buf(),
            durability: options.durability,
            segment_bytes: options.segment_bytes.into(),
            syncs: Histogram::wal_fsync(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let ticker = match options.durability {
            Durability::Interval(interval) => Some(ticker(&shared, interval)?),
            _ => None,
        };
        Ok((Self { shared, ticker: Mutex::new(ticker), lock: Mutex::new(Some(lock)) }, recovery))
    }
}

impl<F: Fs> Log for EtcdLog<F> {
    type Fs = F;

    fn open(
        fs: F,
        dir: &Path,
        options: LogOptions,
        replay: impl FnMut(Position, Record<'_>) -> Result<()>,
    ) -> Result<(Self, Recovery)> {
        Self::open_with(fs, dir, &options, Records(replay))
    }

    fn open_replaying(
        fs: F,
        dir: &Path,
        options: LogOptions,
        replay: &mut impl Replay,
    ) -> Result<(Self, Recovery)> {
        Self::open_with(fs, dir, &options, open::Entries(replay))
    }

    fn append(&self, record: Record<'_>) -> Result<Position> {
        self.shared.append(record)
    }

    fn sync(&self, at: Position) -> Result<Durable> {
        self.shared.sync(at)
    }

    fn cut(&self) -> Result<Position> {
        let mut state = self.shared.idle()?;
        state.open()?;
        self.shared.finish(&mut state)?;
        self.shared.advance_if_there_is_space(&mut state)?;
        Ok(Position(2 * state.last + 1))
    }

    fn truncate_front(&self, before: Position) -> Result<()> {
        let _lock = self.lock.lock();
        self.shared.truncate_front(before)
    }

    fn close(&self) -> Result<()> {
        if std::mem::replace(&mut self.shared.state.lock().closed, true) {
            return Err(Error::new(ErrorKind::Closed).at_path(&self.shared.dir));
        }
        self.shared.changed.notify_all();
        if let Some(ticker) = self.ticker.lock().take() {
            drop(ticker.join());
        }
        let ended = self.shared.idle().and_then(|mut state| self.shared.end(&mut state));
        let mut state = self.shared.state.lock();
        state.ended = true;
        state.segments.clear();
        state.appender = None;
        drop(state);
        self.shared.changed.notify_all();
        self.lock.lock().take();
        ended
    }

    fn metrics(&self) -> Metrics {
        self.shared.state.lock().metrics.clone()
    }
}

impl<F: Fs> Drop for EtcdLog<F> {
    fn drop(&mut self) {
        if self.shared.state.lock().closed {
            return;
        }
        if let Err(error) = self.close() {
            tracing::warn!(%error, "log dropped without being closed");
        }
    }
}

/// Syncs at an interval, until the log closes.
fn ticker<F: Fs>(shared: &Arc<Shared<F>>, interval: std::time::Duration) -> Result<JoinHandle<()>> {
    let ticking = Arc::clone(shared);
    let run = move || {
        let mut state = ticking.state.lock();
        loop {
            let tick = Instant::now() + interval;
            while !state.closed && !ticking.changed.wait_until(&mut state, tick).timed_out() {}
            if state.closed || state.poison.is_some() {
                return;
            }
            if state.durable < state.written {
                state = ticking.step(state, true);
            }
        }
    };
    let thread = std::thread::Builder::new().name("wal-sync".into());
    thread.spawn(run).map_err(|error| Error::io("start thread", error).at_path(&shared.dir))
}

impl<F: Fs> Shared<F> {
    fn append(&self, record: Record<'_>) -> Result<Position> {
        let len = record.payload.len();
        if len > ENTRY_BYTES_MAX {
            return Err(Error::too_large("a payload", len as u64, ENTRY_BYTES_MAX as u64));
        }
        let mut state = self.state.lock();
        loop {
            state.open()?;
            state.check()?;
            let appender = state.appender()?;
            let (waiting, allocated) = (appender.waiting(), appender.allocated());
            let end = appender.end() + len as u64 + OVERHEAD_BYTES;
            let ends = state.over || (end > self.segment_bytes && state.has_records());
            if ends || end > allocated {
                if state.leading {
                    self.changed.wait(&mut state);
                } else if ends {
                    self.finish(&mut state)?;
                    self.advance(&mut state)?;
                } else {
                    self.grow(&mut state, end)?;
                }
            } else if waiting > GROUP_BYTES || (waiting > 0 && self.durability == Durability::Each) {
                state = self.step(state, self.syncs());
            } else {
                break;
            }
        }
        let index = state.last + 1;
        if state.appender()?.waiting() == 0 && state.durable > state.marked {
            state.mark()?;
        }
        let head = Head::of_entry(EntryKind::NORMAL, TERM, index, Some(len + 1)).byte(record.kind.tag());
        let appender = state.appender()?;
        let before = appender.waiting();
        appender.buffer(kind::ENTRY, [head.bytes(), record.payload]);
        let frame = appender.waiting() - before;
        state.metrics.appends += 1;
        state.metrics.append_bytes += frame as u64;
        state.last = index;
        Ok(Position(2 * index))
    }

    /// Whether who waits for a record waits for the disk.
    fn syncs(&self) -> bool {
        matches!(self.durability, Durability::Each | Durability::Group)
    }

    fn sync(&self, at: Position) -> Result<Durable> {
        let mut state = self.state.lock();
        // A position from elsewhere cannot be waited for.
        let at = Position(at.0.min(2 * state.last + 1));
        loop {
            let done = if self.syncs() { state.durable } else { state.written };
            if done >= at.0 / 2 {
                return Ok(Durable::promise(at));
            }
            state.check()?;
            if state.ended {
                return Err(Error::new(ErrorKind::Closed));
            } else if state.closed {
                // Closing writes it.
                self.changed.wait(&mut state);
            } else {
                state = self.step(state, self.syncs());
            }
        }
    }

    /// Leads: writes what waits, and syncs if asked to. Or waits for who leads already.
    fn step<'a>(&'a self, mut state: MutexGuard<'a, State<F>>, sync: bool) -> MutexGuard<'a, State<F>> {
        if state.leading {
            self.changed.wait(&mut state);
            return state;
        }
        let target = state.last;
        let spare = std::mem::take(&mut state.spare);
        // Only who closes takes it away, and nobody leads after that.
        let Some(appender) = &mut state.appender else { return state };
        let mut pending = appender.take(spare);
        state.leading = true;
        let path = self.dir.join(state.tail().file_name());
        drop(state);
        let mut done_by = Done::default();
        let done = self.write(&pending, &path, sync, &mut done_by);
        let mut state = self.state.lock();
        state.count(target, pending.bytes.len(), &done_by);
        pending.bytes.clear();
        state.spare = pending.bytes;
        state.leading = false;
        match done {
            Ok(()) => {
                state.written = target;
                if sync {
                    state.durable = target;
                }
            }
            Err(error) => state.stop(error),
        }
        self.changed.notify_all();
        state
    }

    fn write(&self, pending: &Pending<F::File>, path: &Path, sync: bool, done: &mut Done) -> Result<()> {
        if !pending.bytes.is_empty() {
            let written = pending.file.write_all_at(&pending.bytes, pending.offset);
            written.map_err(|error| broken("write", error).at_path(path).at_offset(pending.offset))?;
        }
        if !sync {
            return Ok(());
        }
        let start = Instant::now();
        let synced = observed(&self.syncs, path, || pending.file.sync_data());
        done.syncs.push(start.elapsed());
        synced
    }

    /// The state when nobody writes.
    fn idle(&self) -> Result<MutexGuard<'_, State<F>>> {
        let mut state = self.state.lock();
        while state.leading {
            self.changed.wait(&mut state);
        }
        state.check()?;
        Ok(state)
    }

    /// Writes and syncs with the state locked, for what is rare.
    fn settle(&self, state: &mut State<F>) -> Result<()> {
        let spare = std::mem::take(&mut state.spare);
        let pending = state.appender()?.take(spare);
        let path = self.dir.join(state.tail().file_name());
        let mut done_by = Done::default();
        let done = self.write(&pending, &path, true, &mut done_by);
        state.count(state.last, pending.bytes.len(), &done_by);
        state.guard(done)?;
        (state.written, state.durable) = (state.last, state.last);
        Ok(())
    }

    /// Makes everything durable and ends the last segment, if it has records. Needs no space.
    fn finish(&self, state: &mut State<F>) -> Result<()> {
        self.settle(state)?;
        if state.over || !state.has_records() {
            return Ok(());
        }
        if state.durable > state.marked {
            // So that damage at the end of the segment does not pass for torn if the next one gets lost.
            state.mark()?;
            self.settle(state)?;
        }
        let appender = state.appender()?;
        let cut = appender.cut().and_then(|()| appender.file.sync_all());
        state.guard(cut.map_err(|error| broken("cut", error).at_path(&self.dir)))?;
        state.over = true;
        Ok(())
    }

    /// Begins the next segment, if the last one has ended.
    fn advance(&self, state: &mut State<F>) -> Result<()> {
        if !state.over {
            return Ok(());
        }
        let name = SegmentName { seq: state.tail().seq + 1, index: state.last + 1 };
        let (commit, crc) = (state.marked, state.appender()?.crc());
        match begin(&self.fs, &self.dir, name, crc, commit, self.segment_bytes) {
            Ok(appender) => {
                state.metrics.segments += 1;
                state.segments.push((name, Arc::clone(&appender.file)));
                state.appender = Some(appender);
                state.over = false;
                Ok(())
            }
            // Nothing has changed: there may be space later.
            Err(error) if error.is_full() => Err(error),
            Err(error) => state.guard(Err(error)),
        }
    }

    fn advance_if_there_is_space(&self, state: &mut State<F>) -> Result<()> {
        self.advance(state).or_else(|error| if error.is_full() { Ok(()) } else { Err(error) })
    }

    /// Gives the last segment the space of one, or of `end` bytes. Space first: a file that grows while it is written
    /// may be anything after a crash.
    fn grow(&self, state: &mut State<F>, end: u64) -> Result<()> {
        let path = self.dir.join(state.tail().file_name());
        let bytes = end.max(self.segment_bytes);
        match state.appender()?.grow(bytes) {
            Err(error) => {
                let error = Error::io("allocate", error).at_path(&path);
                if error.is_full() { Err(error) } else { state.guard(Err(error)) }
            }
            Ok(()) => {
                let synced = state.appender()?.file.sync_all();
                state.guard(synced.map_err(|error| broken("sync", error).at_path(&path)))
            }
        }
    }

    fn truncate_front(&self, before: Position) -> Result<()> {
        let mut state = self.idle()?;
        state.open()?;
        let mut noted = true;
        loop {
            self.advance_if_there_is_space(&mut state)?;
            let goes = |pair: &[(SegmentName, Arc<F::File>)]| 2 * (pair[1].0.index - 1) < before.0;
            let count = state.segments.windows(2).take_while(|pair| goes(pair)).count();
            let begins = state.segments[count].0.index.saturating_sub(1);
            if count > 0 || !noted {
                noted = self.note(&mut state, begins)?;
            }
            if count == 0 {
                return Ok(());
            }
            for (name, file) in state.segments.drain(..count).collect::<Vec<_>>() {
                let path = self.dir.join(name.file_name());
                // One by one: an older segment that came back without a newer one would leave a hole.
                let removed = self.fs.remove(&path).and_then(|()| self.fs.sync_dir(&self.dir));
                drop(file);
                state.guard(removed.map_err(|error| broken("remove", error).at_path(&path)))?;
            }
        }
    }

    /// Says that what is up to `index` is elsewhere: a real etcd opens the rest at this snapshot. Whether there was
    /// space to say it.
    fn note(&self, state: &mut State<F>, index: u64) -> Result<bool> {
        let appender = state.appender()?;
        let end = appender.end() + OVERHEAD_BYTES;
        if end > appender.allocated()
            && let Err(error) = self.grow(state, end)
        {
            return if error.is_full() { Ok(false) } else { Err(error) };
        }
        let record = SnapshotRecord::new(index, TERM).encode();
        state.appender()?.buffer(kind::SNAPSHOT, [&record, &[]]);
        self.settle(state).map(|()| true)
    }

    fn end(&self, state: &mut State<F>) -> Result<()> {
        self.settle(state)?;
        if state.durable > state.marked {
            // Without it nothing would prove the last group durable.
            state.mark()?;
            self.settle(state)?;
        }
        let appender = state.appender()?;
        let cut = appender.cut().and_then(|()| appender.file.sync_all());
        cut.map_err(|error| broken("cut", error).at_path(&self.dir.join(state.tail().file_name())))
    }
}

impl<F: Fs> State<F> {
    fn tail(&self) -> SegmentName {
        self.segments[self.segments.len() - 1].0
    }

    fn has_records(&self) -> bool {
        self.last >= self.tail().index.max(1)
    }

    /// Counts a write up to the entry `last`. One of marks only is no group.
    fn count(&mut self, last: u64, bytes: usize, done: &Done) {
        let (records, bytes) = (last - self.grouped, bytes as u64);
        self.grouped = last;
        if records == 0 {
            self.metrics.written_bytes += bytes;
        }
        self.metrics.led(records, if records == 0 { 0 } else { bytes }, done);
    }

    /// A record that says how far the log is durable.
    fn mark(&mut self) -> Result<()> {
        let state = HardState { term: TERM, vote: TERM, commit: self.durable };
        self.appender()?.buffer(kind::STATE, [state.head().bytes(), &[]]);
        self.marked = self.durable;
        Ok(())
    }

    fn appender(&mut self) -> Result<&mut Appender<F::File>> {
        self.appender.as_mut().ok_or_else(|| Error::new(ErrorKind::Closed))
    }

    fn open(&self) -> Result<()> {
        if self.closed { Err(Error::new(ErrorKind::Closed)) } else { Ok(()) }
    }

    fn check(&self) -> Result<()> {
        match &self.poison {
            Some(error) => Err(Error::new(ErrorKind::Poisoned(Arc::new(error.clone())))),
            None => Ok(()),
        }
    }

    fn stop(&mut self, error: Error) {
        tracing::error!(%error, "log stopped");
        self.poison.get_or_insert(error);
    }

    fn guard(&mut self, done: Result<()>) -> Result<()> {
        if let Err(error) = &done {
            self.stop(error.clone());
        }
        done
    }
}

/// An error after which nobody knows what is on disk, also when the disk was full.
fn broken(operation: &'static str, source: std::io::Error) -> Error {
    Error::new(ErrorKind::Io { operation, source: Arc::new(source) })
}

/// Begins a segment: allocated, or its head alone where there is no space for more; then its head durable, then its
/// name.
fn begin<F: Fs>(
    fs: &F,
    dir: &Path,
    name: SegmentName,
    crc: u32,
    commit: u64,
    bytes: u64,
) -> Result<Appender<F::File>> {
    let temporary = dir.join(TEMPORARY);
    drop(fs.remove(&temporary));
    let file = fs.create_new(&temporary).map_err(|error| Error::io("create", error).at_path(&temporary))?;
    lock(&file, &temporary)?;
    let mut appender = Appender::new(Arc::new(file), 0, 0, crc);
    let allocated = match appender.grow(bytes) {
        Err(error) if is_full(&error) => appender.grow(HEAD_BYTES.min(bytes)),
        done => done,
    };
    let written = allocated.and_then(|()| {
        appender.head(Some(METADATA))?;
        if name.seq == 0 {
            appender.record(kind::SNAPSHOT, Some(&SnapshotRecord::default().encode()))?;
        }
        if commit > 0 {
            appender.state(&HardState { term: TERM, vote: TERM, commit })?;
        }
        appender.flush()
    });
    if let Err(error) = written {
        drop(fs.remove(&temporary));
        return Err(Error::io("write", error).at_path(&temporary));
    }
    let path = dir.join(name.file_name());
    let published = fs.publish(&appender.file, &temporary, &path);
    published.map_err(|error| broken("publish", error).at_path(&path))?;
    Ok(appender)
}
