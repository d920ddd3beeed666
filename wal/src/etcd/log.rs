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
mod replay;
mod segments;

pub(crate) use open::{holds_segments, segment_names};
pub(crate) use replay::replay_only;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::encoder::{Appender, Pending, observed};
use super::frame::kind;
use super::names::SegmentName;
use super::proto::Head;
use super::{EntryKind, HardState, Histogram};
use crate::fs::{Fs, FsFile, OsFs};
use crate::group::{Done, Stage, ticker};
use crate::recover::Records;
use crate::{
    Durability, Durable, ENTRY_BYTES_MAX, Error, ErrorKind, Log, LogOptions, Metrics, Position, Record,
    Recovery, Replay, Result,
};

/// Says whose log it is: a member's own entries would mean nothing here.
pub(super) const METADATA: &[u8] = b"tsmith-log";
/// Every entry is of this term; a real etcd would find a log of one leader.
const TERM: u64 = 1;
/// No record has a greater index: its position, and the cut behind it, are numbers too.
const INDEX_MAX: u64 = u64::MAX / 2;
/// A group that has grown to this is written by who wants to append to it.
const GROUP_BYTES: usize = 4 << 20;
/// What an entry takes beside its payload, with the states before it and behind it, and a snapshot's record.
const OVERHEAD_BYTES: u64 = 256;
/// The next segment, while it is made.
const TEMPORARY: &str = "0.tmp";

/// Whether the segments in `dir` are those of an [`EtcdLog`], by their metadata, and not a member's.
pub fn is_log<F: Fs>(fs: &F, dir: &Path) -> bool {
    super::metadata(fs, dir).is_ok_and(|found| found.as_deref() == Some(METADATA))
}

/// A log in etcd's segments, with group commit.
///
/// In [`RecoveryMode::InfluxDb`](crate::RecoveryMode::InfluxDb) the last segment is cut at its first bad record,
/// whatever follows; damage in an earlier one is an error, for the checksums of what follows depend on it. In
/// [`RecoveryMode::Salvage`](crate::RecoveryMode::Salvage) the replay goes on at the next record that the one before it
/// proves, so that up to two are missing where one is damaged, and behind a segment that is gone; which records are
/// missing is told by their index. Any other mode refuses when a segment between others is gone. At the front nothing tells
/// one that is gone from one that was forgotten.
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
    /// Whoever leads next is to sync: the interval is over.
    sync_due: bool,
    /// Somebody writes.
    leading: bool,
    poison: Option<Error>,
    stage: Stage,
}

impl<F: Fs> EtcdLog<F> {
    fn open_with(
        fs: F,
        dir: &Path,
        options: &LogOptions,
        sink: impl replay::Sink,
    ) -> Result<(Self, Recovery)> {
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
        Self::open_with(fs, dir, &options, replay::Entries(replay))
    }

    fn append(&self, record: Record<'_>) -> Result<Position> {
        self.shared.append(record)
    }

    fn sync(&self, at: Position) -> Result<Durable> {
        self.shared.sync(at)
    }

    fn cut(&self) -> Result<Position> {
        let mut state = self.shared.idle()?;
        state.open(&self.shared.dir)?;
        self.shared.finish(&mut state)?;
        self.shared.advance_if_there_is_space(&mut state)?;
        Ok(Position(2 * state.last + 1))
    }

    fn truncate_front(&self, before: Position) -> Result<()> {
        let _lock = self.lock.lock();
        self.shared.truncate_front(before)
    }

    fn close(&self) -> Result<()> {
        let mut state = self.shared.state.lock();
        if state.stage != Stage::Open {
            return Err(Error::new(ErrorKind::Closed).at_path(&self.shared.dir));
        }
        state.stage = Stage::Closing;
        drop(state);
        self.shared.changed.notify_all();
        if let Some(ticker) = self.ticker.lock().take() {
            drop(ticker.join());
        }
        let ended = self.shared.idle().and_then(|mut state| self.shared.end(&mut state));
        let mut state = self.shared.state.lock();
        state.stage = Stage::Ended;
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
        if self.shared.state.lock().stage != Stage::Open {
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
            let tick = ticker::tick_after(interval);
            while state.stage == Stage::Open && !ticking.changed.wait_until(&mut state, tick).timed_out() {}
            if state.stage != Stage::Open || state.poison.is_some() {
                return;
            }
            state.sync_due = state.durable < state.written;
            while state.sync_due && state.stage == Stage::Open && state.poison.is_none() {
                // Where writers lead all the time, one of them syncs.
                state = ticking.step(state, true);
            }
        }
    };
    ticker::start(&shared.dir, run)
}

impl<F: Fs> Shared<F> {
    fn append(&self, record: Record<'_>) -> Result<Position> {
        let len = record.payload.len();
        if len > ENTRY_BYTES_MAX {
            return Err(Error::too_large("a payload", len as u64, ENTRY_BYTES_MAX as u64));
        }
        let mut state = self.state.lock();
        loop {
            state.open(&self.dir)?;
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
        if state.last >= INDEX_MAX {
            return Err(Error::new(ErrorKind::NumbersEnd).at_path(&self.dir));
        }
        let index = state.last + 1;
        if state.appender()?.waiting() == 0 && state.durable > state.marked {
            state.mark()?;
        }
        let head = Head::of_entry(EntryKind::NORMAL, TERM, index).before(len + 1);
        let appender = state.appender()?;
        let before = appender.waiting();
        appender.buffer(kind::ENTRY, head, [&[record.kind.tag()], record.payload]);
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
            // Of a log that stopped nobody knows what the operating system still has.
            let synced = self.syncs() || state.poison.is_some();
            let done = if synced { state.durable } else { state.written };
            if done >= at.0 / 2 {
                return Ok(Durable::promise(at));
            }
            state.check()?;
            match state.stage {
                Stage::Open => state = self.step(state, self.syncs()),
                // Closing writes it.
                Stage::Closing => self.changed.wait(&mut state),
                Stage::Ended => return Err(Error::new(ErrorKind::Closed).at_path(&self.dir)),
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
        let sync = std::mem::take(&mut state.sync_due) || sync;
        let name = state.tail();
        drop(state);
        let mut done_by = Done::default();
        let done = self.write(&pending, name, sync, &mut done_by);
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

    fn write(
        &self,
        pending: &Pending<F::File>,
        name: SegmentName,
        sync: bool,
        done: &mut Done,
    ) -> Result<()> {
        let path = || self.dir.join(name.file_name());
        if !pending.bytes.is_empty() {
            let written = pending.file.write_all_at(&pending.bytes, pending.offset);
            written.map_err(|error| broken("write", error).at_path(&path()).at_offset(pending.offset))?;
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
        let mut done_by = Done::default();
        let done = self.write(&pending, state.tail(), true, &mut done_by);
        state.count(state.last, pending.bytes.len(), &done_by);
        state.guard(done)?;
        (state.written, state.durable) = (state.last, state.last);
        Ok(())
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
        self.appender()?.buffer(kind::STATE, state.head(), []);
        self.marked = self.durable;
        Ok(())
    }

    fn appender(&mut self) -> Result<&mut Appender<F::File>> {
        self.appender.as_mut().ok_or_else(|| Error::new(ErrorKind::Closed))
    }

    fn open(&self, dir: &Path) -> Result<()> {
        if self.stage == Stage::Open { Ok(()) } else { Err(Error::new(ErrorKind::Closed).at_path(dir)) }
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
        done.or_else(|error| {
            self.stop(error);
            self.check()
        })
    }
}

/// An error after which nobody knows what is on disk, also when the disk was full.
fn broken(operation: &'static str, source: std::io::Error) -> Error {
    Error::new(ErrorKind::Io { operation, source: Arc::new(source) })
}
