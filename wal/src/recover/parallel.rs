//! Replay with several threads: the bounds of records are found one after the other, the rest is done side by side.
//!
//! ```text
//! segment ──► items ───┬─► worker: unpack, decode to columns ──┐
//!      one claims a    ├─► worker: unpack, decode to columns ──┼─► applied in order, each by who decoded it
//!      run of them     └─► ...                                 ┘
//! main    ──► reads the next segment meanwhile
//! ```
//!
//! Threads hand each other nothing but the turn: columns borrow from the payload of the worker that decoded them. Memory is
//! two segments and, for each worker, what it holds of a run: as much as [`AHEAD_BYTES`] and [`AHEAD_VALUES`] say and a
//! record more. What a run has beyond that waits for its turn, and is read one by one.

use std::num::NonZero;
use std::ops::Range;

use parking_lot::{Condvar, Mutex};

use super::records::{Count, Failed, OneByOne, ReadSegment, Replay, Stretch, as_refusal};
use super::report::Progress;
use crate::entry::{self, Decoder, Entry};
use crate::scan::{Item, Scan, SegmentFormat, Stop};
use crate::{Record, RecordKind, Result};

/// A worker takes records of about so many bytes on disk at a time.
const RUN_BYTES: u64 = 64 << 10;

/// So much of a run is unpacked before its turn, and decoded: compressed, a few bytes can say a lot.
const AHEAD_BYTES: usize = 4 << 20;
const AHEAD_VALUES: usize = 1 << 19;

/// Shorter segments are read by one thread.
const SIDE_BY_SIDE_BYTES: usize = 4 * RUN_BYTES as usize;

/// More threads only wait for their turn.
const WORKERS_MAX: usize = 8;

/// Decodes the records of segments, one segment after the other, and gives them to a [`Replay`].
pub(super) struct Team<'r> {
    workers: usize,
    skips_refused: bool,
    replay: Mutex<&'r mut dyn Replay>,
    /// What workers fill. Those of the next segment take it over: memory that is new costs more than what is put there.
    buffers: Mutex<Vec<Buffers>>,
}

#[derive(Default)]
struct Buffers {
    payloads: Vec<u8>,
    decoder: Decoder,
}

impl<'r> Team<'r> {
    pub(super) fn new(replay: &'r mut dyn Replay, skips_refused: bool) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS_MAX);
        Self { workers, skips_refused, replay: Mutex::new(replay), buffers: Mutex::default() }
    }

    fn side_by_side<'s, T: SegmentFormat>(
        &self,
        bytes: &'s [u8],
        scan: T::Scan<'s>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Stretch<T::Scan<'s>>, Failed> {
        let feed = Mutex::new(Feed { scan, next: 0, ended: false });
        let line = Line::new(self.skips_refused);
        let work = || {
            let abandoned = Abandoned(&line);
            let mut buffers = self.buffers.lock().pop().unwrap_or_default();
            loop {
                let Some(run) = feed.lock().claim::<T>() else {
                    self.buffers.lock().push(buffers);
                    return std::mem::forget(abandoned);
                };
                match self.replay_run::<T>(bytes, run, &mut buffers, &line) {
                    Some(Next::Run) => {}
                    Some(Next::Nothing) => feed.lock().ended = true,
                    None => return,
                }
            }
        };
        std::thread::scope(|scope| {
            // Each takes whatever is next, so any number of them will do; where the system gives none this one is it.
            let begin = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
            let given = (0..self.workers).map_while(begin).count();
            meanwhile();
            if given == 0 {
                work();
            }
        });
        let (count, stop) = line.turn.into_inner().done?;
        Ok(Stretch { count, stop, scan: feed.into_inner().scan })
    }

    /// Decodes a run, waits for its turn and applies it. `None` if its turn never comes.
    fn replay_run<T: SegmentFormat>(
        &self,
        bytes: &[u8],
        mut run: Run,
        Buffers { payloads, decoder }: &mut Buffers,
        line: &Line,
    ) -> Option<Next> {
        let mut items = std::mem::take(&mut run.items).into_iter();
        let (mut ahead, mut from) = (Vec::new(), 0);
        while from < AHEAD_BYTES
            && let Some(item) = items.next()
        {
            match Unpacked::new::<T>(bytes, item, from, payloads) {
                Ok(record) => {
                    from = record.span.end;
                    ahead.push(record);
                }
                Err(stop) => (run.stop, items) = (Some(stop), Vec::new().into_iter()),
            }
        }
        let (mut decoded, mut values) = (Vec::new(), 0);
        for record in &ahead {
            if values >= AHEAD_VALUES {
                break;
            }
            let entry = record.decode(payloads, decoder);
            values += entry.as_ref().map_or(0, Entry::value_count);
            decoded.push(entry);
        }
        let mut turn = line.turn.lock();
        while turn.next != run.index {
            if turn.abandoned {
                return None;
            }
            line.passed.wait(&mut turn);
        }
        if let Ok((count, stop)) = &mut turn.done
            && stop.is_none()
        {
            let mut replay = self.replay.lock();
            let mut applied = apply(count, &ahead, decoded, payloads, decoder, &mut **replay);
            for item in items {
                if applied.is_err() {
                    break;
                }
                match Unpacked::new::<T>(bytes, item, 0, payloads) {
                    Ok(one) => {
                        applied = apply(count, &[one], Vec::new(), payloads, decoder, &mut **replay);
                    }
                    Err(stop) => {
                        run.stop = Some(stop);
                        break;
                    }
                }
            }
            *stop = run.stop;
            if let Err(failed) = applied {
                turn.done = Err(failed);
            }
        }
        let over = turn.done.as_ref().map_or(true, |(_, stop)| stop.is_some());
        turn.next += 1;
        line.passed.notify_all();
        drop(turn);
        if payloads.len() > 2 * AHEAD_BYTES {
            *payloads = Vec::new();
        }
        Some(if over { Next::Nothing } else { Next::Run })
    }
}

impl<T: SegmentFormat> ReadSegment<T> for Team<'_> {
    fn read<'s>(
        &mut self,
        bytes: &'s [u8],
        scan: T::Scan<'s>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Stretch<T::Scan<'s>>, Failed> {
        if self.workers > 1 && bytes.len() >= SIDE_BY_SIDE_BYTES {
            return self.side_by_side::<T>(bytes, scan, meanwhile);
        }
        let replay = self.replay.get_mut();
        let replay =
            &mut |at, _, record: Record<'_>| replay.entry(at, &entry::decode(record.kind, record.payload)?);
        let mut alone = OneByOne { replay, skips_refused: self.skips_refused };
        ReadSegment::<T>::read(&mut alone, bytes, scan, meanwhile)
    }

    fn progress(&mut self, progress: Progress) {
        self.replay.get_mut().progress(progress);
    }

    fn end(&mut self) -> Result<()> {
        self.replay.get_mut().end().map_err(as_refusal)
    }
}

/// Where the runs of a segment come from.
struct Feed<S> {
    scan: S,
    next: u64,
    ended: bool,
}

/// Records that one worker decodes.
struct Run {
    index: u64,
    items: Vec<Item>,
    stop: Option<Stop>,
}

impl<S> Feed<S> {
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
        while bytes < RUN_BYTES {
            match self.scan.next_item() {
                Ok(Some(item)) => {
                    bytes += item.end - item.offset;
                    run.items.push(item);
                }
                Ok(None) => {
                    self.ended = true;
                    break;
                }
                Err(stop) => {
                    (self.ended, run.stop) = (true, Some(stop));
                    break;
                }
            }
        }
        Some(run)
    }
}

/// What a worker does after a run.
enum Next {
    Run,
    Nothing,
}

/// Who applies the next run.
struct Line {
    turn: Mutex<Turn>,
    passed: Condvar,
}

struct Turn {
    next: u64,
    /// A worker panicked: its turn never ends.
    abandoned: bool,
    /// What came of the turns so far; after an error or a stop the rest is not wanted.
    done: Result<(Count, Option<Stop>), Failed>,
}

impl Line {
    fn new(skips_refused: bool) -> Self {
        let done = Ok((Count::new(skips_refused), None));
        Self { turn: Mutex::new(Turn { next: 0, abandoned: false, done }), passed: Condvar::new() }
    }
}

/// Ends the others' waiting when a worker panics; the scope passes the panic on.
struct Abandoned<'a>(&'a Line);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        self.0.turn.lock().abandoned = true;
        self.0.passed.notify_all();
    }
}

/// A record in the buffer of a worker.
struct Unpacked {
    item: Item,
    kind: RecordKind,
    span: Range<usize>,
}

impl Unpacked {
    /// Puts the payload of `item` into `payloads`, from `from` on.
    fn new<T: SegmentFormat>(
        bytes: &[u8],
        item: Item,
        from: usize,
        payloads: &mut Vec<u8>,
    ) -> Result<Self, Stop> {
        let (kind, len) = T::unpack(bytes, item, from, payloads)?;
        Ok(Self { item, kind, span: from..from + len })
    }

    fn decode<'p>(&self, payloads: &'p [u8], decoder: &mut Decoder) -> Result<Entry<'p>> {
        decoder.decode(self.kind, payloads.get(self.span.clone()).unwrap_or_default())
    }
}

/// Applies records in their order; those that are not decoded yet are now.
fn apply<'p>(
    count: &mut Count,
    records: &[Unpacked],
    decoded: Vec<Result<Entry<'p>>>,
    payloads: &'p [u8],
    decoder: &mut Decoder,
    replay: &mut dyn Replay,
) -> Result<(), Failed> {
    let mut decoded = decoded.into_iter();
    for record in records {
        let entry = decoded.next().unwrap_or_else(|| record.decode(payloads, decoder));
        let taken = entry.and_then(|entry| {
            let taken = replay.entry(record.item.at, &entry);
            decoder.recycle(entry, record.span.len());
            taken
        });
        count.add(record.item.offset, record.span.len(), taken)?;
    }
    Ok(())
}
