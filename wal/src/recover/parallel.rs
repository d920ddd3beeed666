//! Parallel replay: the bounds of records are found in sequence; unpacking and decoding run in parallel.
//!
//! ```text
//! segment ──► items ───┬─► worker: unpack, decode to columns ──┐
//!      a worker takes    ├─► worker: unpack, decode to columns ──┼─► applied in order, by the same worker
//!      a run of them    └─► ...                                 ┘
//! main    ──► reads the next segment, then works too
//! ```
//!
//! The only thing that threads pass on is the turn to apply; columns borrow from the payload of the worker
//! that decoded them. Memory use is two segments plus one decoded batch per worker. A batch is limited by
//! [`AHEAD_BYTES`] and [`AHEAD_VALUES`], plus one record. A worker decodes the other batches of its run once
//! it has the turn.

use std::num::NonZero;
use std::ops::Range;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::records::{Count, ReadSegment, Replay, as_refusal};
use super::report::Progress;
use crate::entry::{Decoder, Entry};
use crate::scan::{Item, Scan, SegmentFormat, Stop};
use crate::{Record, RecordKind, Result};

/// A worker takes records of about this many bytes on disk at a time.
const RUN_BYTES: u64 = 64 << 10;

/// Limits how much of a run is unpacked and decoded ahead, because a few compressed bytes can hold many
/// values.
const AHEAD_BYTES: usize = 4 << 20;
const AHEAD_VALUES: usize = 1 << 19;

/// Shorter segments are read by one thread.
const SIDE_BY_SIDE_BYTES: usize = 4 * RUN_BYTES as usize;

/// More threads would only wait for their turn.
const WORKERS_MAX: usize = 8;

/// Decodes the records of segments and passes them to a [`Replay`].
pub(super) struct Team<'r> {
    replay: &'r mut dyn Replay,
    /// Buffers of each worker, reused for all segments: allocating memory costs more than filling it.
    buffers: Vec<Buffers>,
}

#[derive(Default)]
struct Buffers {
    payloads: Vec<u8>,
    decoder: Decoder,
}

impl<'r> Team<'r> {
    pub(super) fn new(replay: &'r mut dyn Replay) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS_MAX);
        Self { replay, buffers: (0..workers).map(|_| Buffers::default()).collect() }
    }
}

impl<T: SegmentFormat> ReadSegment<T> for Team<'_> {
    fn read<'s>(
        &mut self,
        bytes: &'s [u8],
        scan: &mut T::Scan<'s>,
        count: &mut Count,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Option<Stop>> {
        let feed = Mutex::new(Feed { scan, next: 0, ended: false });
        let turn = Turn { next: 0, over: false, replay: &mut *self.replay, count, stop: Ok(None) };
        let line = Line { turn: Mutex::new(turn), passed: Condvar::new() };
        let work = &|buffers: &mut Buffers| {
            let _over = OverOnPanic(&line);
            loop {
                let Some(run) = feed.lock().claim::<T>() else { return };
                if !replay_run::<T>(bytes, run, buffers, &line) {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            let Some((own, others)) = self.buffers.split_first_mut() else { return };
            if bytes.len() >= SIDE_BY_SIDE_BYTES && !others.is_empty() {
                // Each worker takes the next run, so any number of workers will do.
                for buffers in others {
                    if std::thread::Builder::new().spawn_scoped(scope, move || work(buffers)).is_err() {
                        break;
                    }
                }
                meanwhile();
            }
            work(own);
        });
        line.turn.into_inner().stop
    }

    fn progress(&mut self, progress: Progress) {
        self.replay.progress(progress);
    }

    fn end(&mut self) -> Result<()> {
        self.replay.end().map_err(as_refusal)
    }
}

/// Hands out the runs of a segment.
struct Feed<'f, S> {
    scan: &'f mut S,
    next: u64,
    ended: bool,
}

/// Records that one worker decodes.
struct Run {
    index: u64,
    items: Vec<Item>,
    stop: Option<Stop>,
}

impl<S> Feed<'_, S> {
    fn claim<'s, T: SegmentFormat<Scan<'s> = S>>(&mut self) -> Option<Run>
    where
        S: Scan<'s, T>,
    {
        if self.ended {
            return None;
        }
        let mut run = Run { index: self.next, items: Vec::new(), stop: None };
        self.next += 1;
        let mut bytes = 0;
        while bytes < RUN_BYTES && !self.ended {
            match self.scan.next_item() {
                Ok(Some(item)) => {
                    bytes += item.end - item.offset;
                    run.items.push(item);
                }
                end => (self.ended, run.stop) = (true, end.err()),
            }
        }
        Some(run)
    }
}

/// Whose turn it is to apply a run.
struct Line<'r> {
    turn: Mutex<Turn<'r>>,
    passed: Condvar,
}

struct Turn<'r> {
    /// The index of the run to apply next.
    next: u64,
    /// No further run is applied.
    over: bool,
    replay: &'r mut dyn Replay,
    count: &'r mut Count,
    stop: Result<Option<Stop>>,
}

impl<'r> Line<'r> {
    /// Waits for the turn of run `index`. `None` if it never comes.
    fn wait(&self, index: u64) -> Option<MutexGuard<'_, Turn<'r>>> {
        let mut turn = self.turn.lock();
        while turn.next != index && !turn.over {
            self.passed.wait(&mut turn);
        }
        (!turn.over).then_some(turn)
    }
}

/// Ends the waiting of other workers when one panics. The scope propagates the panic.
struct OverOnPanic<'a, 'r>(&'a Line<'r>);

impl Drop for OverOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.turn.lock().over = true;
            self.0.passed.notify_all();
        }
    }
}

/// Decodes a run, waits for its turn and applies it. False if no further run is applied.
fn replay_run<T: SegmentFormat>(bytes: &[u8], run: Run, buffers: &mut Buffers, line: &Line<'_>) -> bool {
    let Buffers { payloads, decoder } = buffers;
    let Run { index, items, mut stop } = run;
    let (mut items, mut own_turn) = (items.into_iter(), None);
    loop {
        let (mut batch, mut from) = (Vec::new(), 0);
        while from < AHEAD_BYTES
            && let Some(item) = items.next()
        {
            match T::unpack(bytes, item, from, payloads) {
                Ok((kind, len)) => {
                    batch.push((item, kind, from..from + len));
                    from += len;
                }
                Err(invalid) => (stop, items) = (Some(invalid), Vec::new().into_iter()),
            }
        }
        let record = |(item, kind, span): (Item, RecordKind, Range<usize>)| {
            (item, Record { kind, payload: payloads.get(span).unwrap_or_default() })
        };
        let mut records = batch.into_iter().map(record);
        let (mut decoded, mut values) = (Vec::new(), 0);
        while values < AHEAD_VALUES
            && let Some((item, record)) = records.next()
        {
            let entry = decoder.decode(record.kind, record.payload);
            values += entry.as_ref().map_or(0, Entry::value_count);
            decoded.push((item, record, Some(entry)));
        }
        if own_turn.is_none() {
            own_turn = line.wait(index);
        }
        let Some(turn) = own_turn.as_deref_mut() else { return false };
        let records = decoded.into_iter().chain(records.map(|(item, record)| (item, record, None)));
        let applied = apply(records, decoder, turn);
        if applied.is_ok() && items.len() > 0 {
            continue;
        }
        turn.stop = applied.map(|()| stop);
        turn.over = !matches!(turn.stop, Ok(None));
        turn.next += 1;
        line.passed.notify_all();
        if payloads.len() > 2 * AHEAD_BYTES {
            *payloads = Vec::new();
        }
        return !turn.over;
    }
}

/// Applies records in order, decoding those that are not decoded yet.
fn apply<'p>(
    records: impl Iterator<Item = (Item, Record<'p>, Option<Result<Entry<'p>>>)>,
    decoder: &mut Decoder,
    turn: &mut Turn<'_>,
) -> Result<()> {
    for (item, Record { kind, payload }, entry) in records {
        let entry = entry.unwrap_or_else(|| decoder.decode(kind, payload));
        let taken = entry.and_then(|entry| {
            let taken = turn.replay.entry(item.at, &entry);
            decoder.recycle(entry, payload.len());
            taken
        });
        turn.count.add(item.offset, payload.len(), taken)?;
    }
    Ok(())
}
