//! Group commit: many threads append, one of them writes and syncs for all.
//!
//! ```text
//! append: frame, compressed outside the lock ──► pending ──┐ position drawn
//! append: frame ───────────────────────────────► pending ──┤
//! sync:   nobody leads: takes all that is pending, writes it with marks, syncs ──► wakes the others
//! sync:   somebody leads: waits; the next group forms meanwhile, however many join it
//! ```
//!
//! A leader whose predecessor had many followers waits a moment for them to come back, half a sync at most, unless their
//! records are large; the last of them leads in its place. Those whose records are safe are woken at once, and with them
//! one of the next group, who leads it: see `waiters`.
//!
//! A position is `segment << 32 | offset after the frame`, and is drawn when the frame is copied to the pending group:
//! where a group will stand is known before it is written, because the one before it has its length by then. When a
//! write fails for want of space, the group is taken back and the segment ends there; later records go to the next
//! one, so that no position is drawn twice. After any other failed write or sync nothing is acknowledged again.

mod gather;
mod spares;
mod state;
pub(crate) mod ticker;
mod tip;
mod waiters;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread::JoinHandle;
use std::{io, mem};

use crate::fs::Fs;
use crate::kind::{Encoders, Format, FrameEncoder};
use crate::metrics::Metrics;
use crate::recover::{self, Records, Start, position, recover};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::{
    Batch, Durability, Durable, Error, ErrorKind, Log, LogOptions, Position, Record, Recovery, Replay,
    Result, entry,
};

pub(crate) use spares::Spares;
pub(crate) use state::Stage;
use state::{Goal, Group, State};
use ticker::ticker;
pub(crate) use tip::{Done, Sink};
use tip::{Failure, Tip};
use waiters::{Waiters, Woken};

/// A group that has grown to this is written by who wants to append to it, even if nobody waits for it yet.
const GROUP_BYTES: usize = 4 << 20;

/// So much of a group has a mark of its own, where groups have marks: damage costs what stands under one, and what its
/// neighbours were appended with is not lost along with them.
const MARKED_BYTES: usize = 4 << 10;

/// A log in segments of the kind `T`, which are written through the sink `S`: [`FileLog`](crate::FileLog),
/// [`MmapLog`](crate::MmapLog) and [`NativeLog`](crate::NativeLog) are this type.
#[derive(Debug)]
pub struct SegmentLog<S: Sink, T: Format> {
    shared: Arc<Shared<S, T>>,
    encoders: Encoders<T::Encoder>,
    ticker: Mutex<Option<JoinHandle<()>>>,
    /// Held until the log is closed.
    lock: Mutex<Option<<S::Fs as Fs>::Lock>>,
}

#[derive(Debug)]
struct Shared<S: Sink, T> {
    fs: S::Fs,
    dir: PathBuf,
    durability: Durability,
    segment_bytes: u32,
    preallocate: bool,
    state: Mutex<State<S, T>>,
    /// Somebody stopped leading, or the log closes: for those who want to lead, whatever their records.
    changed: Condvar,
    /// A leader sleeps here until a time, while records come; nobody wakes it. See [`Shared::gather`].
    gathered: Condvar,
    /// Files whose space the next segments take.
    spares: Mutex<Spares>,
    /// The last segment with records; the leader's.
    held: AtomicU32,
}

impl<S: Sink, T: Format> Log for SegmentLog<S, T> {
    type Fs = S::Fs;

    const LAYOUT: entry::Layout = T::LAYOUT;

    fn open(
        fs: S::Fs,
        dir: &Path,
        options: LogOptions,
        replay: impl FnMut(Position, Record<'_>) -> Result<()>,
    ) -> Result<(Self, Recovery)> {
        let lock = recover::take_directory(&fs, dir)?;
        let (recovery, start) =
            recover::<T, _>(&fs, dir, &options, |reader| reader.records(Records(replay)))?;
        Ok((Self::begin(fs, dir, options, lock, start)?, recovery))
    }

    fn open_replaying(
        fs: S::Fs,
        dir: &Path,
        options: LogOptions,
        replay: &mut impl Replay,
    ) -> Result<(Self, Recovery)> {
        let lock = recover::take_directory(&fs, dir)?;
        let (recovery, start) = recover::<T, _>(&fs, dir, &options, |reader| reader.entries(replay))?;
        Ok((Self::begin(fs, dir, options, lock, start)?, recovery))
    }

    fn append(&self, record: Record<'_>) -> Result<Position> {
        let mut encoder = self.encoders.take();
        let at = encoder.encode(record).and_then(|frame| self.shared.append(frame));
        self.encoders.put_back(encoder);
        at
    }

    fn append_write(&self, batch: &Batch<'_>) -> Result<Position> {
        let mut encoder = self.encoders.take();
        let at = encoder.encode_write(batch).and_then(|frame| self.shared.append(frame));
        self.encoders.put_back(encoder);
        at
    }

    fn sync(&self, at: Position) -> Result<Durable> {
        self.shared.sync(at)
    }

    fn cut(&self) -> Result<Position> {
        self.shared.cut(false)
    }

    fn truncate_front(&self, before: Position) -> Result<()> {
        // Held to the end, so that nothing is removed from a directory that was given up meanwhile.
        let _lock = self.lock.lock();
        self.shared.truncate_front(before)
    }

    fn close(&self) -> Result<()> {
        {
            let mut state = self.shared.state.lock();
            state.open(&self.shared.dir)?;
            state.stage = Stage::Closing;
        }
        self.shared.changed.notify_all();
        if let Some(ticker) = self.ticker.lock().take() {
            // A panic of the ticker has poisoned the log, and the cut says so.
            drop(ticker.join());
        }
        let ended = self.shared.cut(true).map(drop);
        let mut state = self.shared.state.lock();
        state.stage = Stage::Ended;
        drop(self.shared.let_go(state, Waiters::all));
        self.lock.lock().take();
        ended
    }

    fn metrics(&self) -> Metrics {
        self.shared.state.lock().metrics.clone()
    }
}

impl<S: Sink, T: Format> SegmentLog<S, T> {
    /// A log that goes on at `start`.
    fn begin(
        fs: S::Fs,
        dir: &Path,
        options: LogOptions,
        lock: <S::Fs as Fs>::Lock,
        start: Start,
    ) -> Result<Self> {
        let encoders = Encoders::new(options.compression);
        let shared = Arc::new(Shared::new(fs, dir, options, start));
        let ticker = match options.durability {
            Durability::Interval(interval) => Some(ticker(&shared, interval)?),
            _ => None,
        };
        Ok(Self { shared, encoders, ticker: Mutex::new(ticker), lock: Mutex::new(Some(lock)) })
    }
}

impl<S: Sink, T: Format> Drop for SegmentLog<S, T> {
    fn drop(&mut self) {
        if self.shared.state.lock().stage != Stage::Open {
            return;
        }
        if let Err(error) = self.close() {
            tracing::warn!(%error, "log dropped without being closed");
        }
    }
}

impl<S: Sink, T: Format> Shared<S, T> {
    fn new(
        fs: S::Fs,
        dir: &Path,
        options: LogOptions,
        Start { segment, held, record, spares }: Start,
    ) -> Self {
        let start = position(segment, T::HEAD_BYTES);
        let state = State {
            pending: Vec::new(),
            spare: Vec::new(),
            pending_records: 0,
            pending_parts: Vec::new(),
            pending_mark: 0,
            wanted_records: u64::MAX,
            gatherings: 0,
            last_group: Group::default(),
            tail: start,
            full: false,
            capacity: u32::MAX,
            written: start,
            durable: start,
            sync_due: false,
            leading: false,
            tip: None,
            waiters: Waiters::default(),
            next_record: record,
            open_from: segment,
            failed: Vec::new(),
            untold: None,
            poison: None,
            stage: Stage::Open,
            metrics: Metrics::default(),
        };
        Self {
            fs,
            dir: dir.to_path_buf(),
            durability: options.durability,
            segment_bytes: options.segment_bytes,
            preallocate: options.preallocate,
            state: Mutex::new(state),
            changed: Condvar::new(),
            gathered: Condvar::new(),
            spares: Mutex::new(spares),
            held: AtomicU32::new(held),
        }
    }

    fn append(&self, frame: &[u8]) -> Result<Position> {
        let mut state = self.state.lock();
        loop {
            // Asked again after every wait: what came after the last cut of a closing log would be in no file.
            state.open(&self.dir)?;
            state.check()?;
            let (number, offset) = parts(state.tail);
            let first = state.pending.is_empty();
            let marked = first || state.pending.len() - state.pending_mark >= MARKED_BYTES;
            let head = if marked { T::GROUP_BYTES } else { 0 };
            let end = u64::from(offset) + u64::from(head) + frame.len() as u64;
            let alone = offset == T::HEAD_BYTES && first;
            if alone && state.full {
                // Drawn first, positions would be used up by every attempt, and with them the numbers of segments.
                let needed = u32::try_from(end).unwrap_or(u32::MAX).saturating_add(T::END_BYTES);
                let begun;
                (state, begun) = self.step(state, Goal::Begin(needed));
                begun?;
                continue;
            }
            // Room for what ends the segment, too.
            let fits =
                end + u64::from(T::END_BYTES) <= self.segment_bytes.min(state.capacity).into() || alone;
            if first && !fits {
                state.advance(&self.dir)?;
            } else if !first && (!fits || state.pending.len() > GROUP_BYTES || self.one_by_one()) {
                (state, _) = self.step(state, self.goal());
            } else {
                let end = u32::try_from(end).ok().filter(|end| end.checked_add(T::END_BYTES).is_some());
                let end =
                    end.ok_or_else(|| Error::too_large("a frame", frame.len() as u64, u32::MAX.into()))?;
                let begin = state.pending.len();
                if marked {
                    state.begin_part(begin);
                }
                state.pending.resize(begin + head as usize, 0);
                state.pending.extend_from_slice(frame);
                state.pending_records += 1;
                state.metrics.appends += 1;
                state.metrics.append_bytes += frame.len() as u64;
                state.tail = position(number, end);
                return Ok(state.tail);
            }
        }
    }

    fn sync(&self, at: Position) -> Result<Durable> {
        let mut state = self.state.lock();
        // A position from elsewhere cannot be waited for.
        let at = at.min(state.tail);
        loop {
            if let Some(error) = state.failure_of(at) {
                return Err(error);
            }
            if state.done(self.goal()) >= at {
                return Ok(Durable::promise(at));
            }
            state.check()?;
            if state.stage == Stage::Ended {
                return Err(Error::new(ErrorKind::Closed).at_path(&self.dir));
            } else if state.stage == Stage::Closing || state.is_led() {
                // When the log closes the last cut writes it.
                let latch = state.waiters.join(at);
                drop(state);
                if latch.wait() {
                    return Ok(Durable::promise(at));
                }
                state = self.state.lock();
            } else {
                (state, _) = self.step(state, self.goal());
            }
        }
    }

    fn cut(&self, closing: bool) -> Result<Position> {
        let mut state = self.state.lock();
        loop {
            if !closing {
                state.open(&self.dir)?;
            }
            state.check()?;
            if !state.leading {
                break;
            }
            self.changed.wait(&mut state);
        }
        // A segment that was begun for a record to come stays: its number is that record's.
        let awaits = !closing && state.pending.is_empty() && state.tip.as_ref().is_some_and(Tip::is_empty);
        let (mut state, done) = if awaits { (state, Ok(())) } else { self.step(state, Goal::EndSegment) };
        let tail = state.tail;
        let failed = state.failure_of(tail);
        done?;
        state.check()?;
        if let Some(error) = failed {
            return Err(error);
        }
        let (number, _) = parts(state.written);
        Ok(Position(u64::from(number) << 32))
    }

    fn goal(&self) -> Goal {
        match self.durability {
            Durability::Each | Durability::Group => Goal::Sync,
            Durability::Interval(_) | Durability::None => Goal::Write,
        }
    }

    fn one_by_one(&self) -> bool {
        self.durability == Durability::Each
    }

    /// Leads: writes what is pending and does what `goal` asks. Or, when somebody leads already, waits for the end of
    /// that.
    fn step<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<S, T>>,
        goal: Goal,
    ) -> (MutexGuard<'a, State<S, T>>, Result<()>) {
        if state.is_led() || state.leading && goal != Goal::Sync {
            self.changed.wait(&mut state);
            return (state, Ok(()));
        }
        state.waiters.led();
        if mem::replace(&mut state.leading, true) {
            state.end_gathering();
        } else if goal == Goal::Sync && !self.gather(&mut state) {
            return (state, Ok(()));
        }
        let due = mem::take(&mut state.sync_due);
        let goal = if due && goal == Goal::Write { Goal::Sync } else { goal };
        let spare = mem::take(&mut state.spare);
        let mut group = mem::replace(&mut state.pending, spare);
        let start = Position(state.tail.0 - group.len() as u64);
        if goal == Goal::EndSegment
            && parts(state.tail).1 > T::HEAD_BYTES
            && let Err(error) = state.advance(&self.dir)
        {
            state.spare = mem::replace(&mut state.pending, group);
            state.leading = false;
            return (self.let_go(state, Waiters::all), Err(error));
        }
        let records = mem::take(&mut state.pending_records);
        let parts_at = mem::take(&mut state.pending_parts);
        let (target, first) = (state.tail, state.next_record);
        state.waiters.begin(target);
        let mut tip = state.tip.take();
        let abandoned = Abandoned(self);
        drop(state);
        let mut done_by = Done::default();
        let done = self.work(&mut tip, (&mut group, &parts_at), start, first, goal, &mut done_by);
        mem::forget(abandoned);
        let bytes = group.len() as u64;
        group.clear();
        let mut state = self.state.lock();
        state.metrics.led(records, bytes, &done_by);
        state.last_group = Group { records, bytes, sync: done_by.syncs.last().copied().unwrap_or_default() };
        state.leading = false;
        state.spare = group;
        state.open_from = tip.as_ref().map_or(parts(target).0, |tip| tip.number);
        if let Some(tip) = &tip
            && tip.number == parts(state.tail).0
        {
            state.capacity = tip.capacity;
        }
        let all_durable = tip.as_ref().is_none_or(Tip::is_durable);
        state.tip = tip;
        let result = match done {
            Ok(()) => {
                state.full = false;
                state.written = target;
                state.next_record = first.saturating_add(records);
                if all_durable {
                    state.durable = target;
                }
                Ok(())
            }
            Err(Failure::Full(error)) => {
                state.take_back(&error, &self.dir);
                Err(error)
            }
            Err(Failure::Broken(error)) => {
                tracing::error!(%error, "log stopped");
                state.poison.get_or_insert(error.clone());
                Err(error)
            }
        };
        let whole = result.is_ok() && state.poison.is_none();
        let done = state.done(self.goal());
        let who = |all: &mut Waiters| if whole { all.served(done) } else { all.all() };
        if goal == Goal::EndSegment {
            // The lock is kept: where the segment ended is still to be read.
            who(&mut state.waiters).wake();
            self.changed.notify_all();
            return (state, result);
        }
        (self.let_go(state, who), result)
    }

    /// Something has changed: lets those go whom it concerns, without the lock, which they will want.
    fn let_go<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<S, T>>,
        who: impl FnOnce(&mut Waiters) -> Woken,
    ) -> MutexGuard<'a, State<S, T>> {
        let woken = who(&mut state.waiters);
        self.changed.notify_all();
        MutexGuard::unlocked(&mut state, || woken.wake());
        state
    }
}

/// Poisons the log when its leader panics, so that nobody waits for it for ever.
struct Abandoned<'a, S: Sink, T: Format>(&'a Shared<S, T>);

impl<S: Sink, T: Format> Drop for Abandoned<'_, S, T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.leading = false;
        let panicked = io::Error::other("the thread that wrote for the others panicked");
        state.poison.get_or_insert(Error::io("write", panicked).at_path(&self.0.dir));
        drop(self.0.let_go(state, Waiters::all));
    }
}

/// Segment and offset of a position.
fn parts(at: Position) -> (u32, u32) {
    ((at.0 >> 32) as u32, at.0 as u32)
}

#[cfg(all(test, any(loom, shuttle)))]
mod model;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
