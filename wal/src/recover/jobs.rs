//! Replay: the bounds of records are found one after the other, the rest is done side by side.
//!
//! ```text
//! segment ──► places ──┬─► worker: unpack, decode to columns ──┐
//!      one claims a    ├─► worker: unpack, decode to columns ──┼─► applied in order, each by who decoded it
//!      run of them     └─► ...                                 ┘
//! main    ──► reads the next segment meanwhile
//! ```
//!
//! Nothing is handed from thread to thread but the turn: columns borrow from the payload of the worker that decoded
//! them. Memory is two segments and, for each worker, what it holds of a run: as much as [`AHEAD_BYTES`] and
//! [`AHEAD_VALUES`] say and a record more. What a run has beyond that waits for its turn, and is read one by one.

use std::num::NonZero;
use std::ops::Range;

use parking_lot::{Condvar, Mutex};

use super::chain::missing;
use super::reader::{Next, Reader};
use super::{End, Found, Gap, NotReplayed, Progress, Replay, as_refusal, reason_of};
use crate::entry::{self, Decoder, Entry};
use crate::fs::Fs;
use crate::kind::{Format, Place, Scan, position};
use crate::segment::Stop;
use crate::{Error, Position, Record, RecordKind, RecoveryMode, Result, Unverified};

/// A worker takes records of about so many bytes on disk at a time.
const RUN_BYTES: u64 = 64 << 10;

/// So much of a run is unpacked before its turn, and decoded: compressed, a few bytes can say a lot.
const AHEAD_BYTES: usize = 4 << 20;
const AHEAD_VALUES: usize = 1 << 19;

/// Shorter segments are read by one thread.
const SIDE_BY_SIDE_BYTES: usize = 4 * RUN_BYTES as usize;

/// More threads only wait for their turn.
const WORKERS_MAX: usize = 8;

/// A function that takes records as they are.
#[derive(Debug)]
pub(crate) struct Records<R>(pub(crate) R);

impl<T: Format, F: Fs> Reader<'_, T, F> {
    /// Gives every record to `replay`, on this thread.
    pub(crate) fn records<R>(self, mut replay: Records<R>) -> Result<Found>
    where
        R: FnMut(Position, Record<'_>) -> Result<()>,
    {
        let salvage = self.mode == RecoveryMode::Salvage;
        self.each(salvage, |at, _, record| (replay.0)(at, record))
    }

    /// Gives every record to `replay`, on this thread, and where its first byte is. An error of `replay` ends it.
    pub(crate) fn placed(self, replay: impl FnMut(Position, u64, Record<'_>) -> Result<()>) -> Result<Found> {
        self.each(false, replay)
    }

    /// Gives every record to `replay`. `go_on` says that one which is refused is noted, and the next one is read.
    fn each(
        self,
        go_on: bool,
        mut replay: impl FnMut(Position, u64, Record<'_>) -> Result<()>,
    ) -> Result<Found> {
        self.all(|number, bytes, scan, _| one_by_one::<T>(number, bytes, scan, go_on, &mut replay), |_| {})
    }

    /// Gives every record, decoded, to `replay`.
    pub(crate) fn entries(self, replay: &mut dyn Replay) -> Result<Found> {
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS_MAX);
        let (shared, buffers) = (Mutex::new(replay), Mutex::new(Vec::new()));
        let go_on = self.mode == RecoveryMode::Salvage;
        let found = self.all(
            |number, bytes, scan, meanwhile| {
                if workers > 1 && bytes.len() >= SIDE_BY_SIDE_BYTES {
                    let team = Team { workers, buffers: &buffers, go_on };
                    return side_by_side::<T>(number, bytes, scan, team, &shared, meanwhile);
                }
                let mut replay = shared.lock();
                one_by_one::<T>(number, bytes, scan, go_on, &mut |at, _, record: Record<'_>| {
                    replay.entry(at, &entry::decode(record.kind, record.payload)?)
                })
            },
            |progress| shared.lock().progress(progress),
        )?;
        shared.into_inner().end().map_err(as_refusal)?;
        Ok(found)
    }

    /// Goes through all segments. `read` takes the number and the bytes of one, a scan of it, and something to do
    /// meanwhile.
    fn all(
        mut self,
        mut read: impl FnMut(u32, &[u8], T::Scan<'_>, &mut dyn FnMut()) -> Result<Stretch, Failed>,
        mut progress: impl FnMut(Progress),
    ) -> Result<Found> {
        let mut ends = Vec::new();
        let mut ahead = None;
        for at in self.span.clone() {
            let bytes = match ahead.take() {
                Some(read) => read,
                None => self.read(at),
            }?;
            let mut scan = T::Scan::new(self.numbers[at], &bytes);
            let link = scan.link();
            let before = scan.before();
            let holds = bytes.iter().any(|&byte| byte != 0);
            let mut gaps: Vec<Gap> = self.follow(at, holds, before)?.into_iter().collect();
            if let Some(link) = link {
                gaps.extend(self.join(at, link)?);
            }
            let mut due = self.chain.due;
            let mut meanwhile = || {
                if at + 1 < self.span.end {
                    ahead.get_or_insert_with(|| self.read(at + 1));
                }
            };
            let (mut kept, mut payload_bytes, mut refused) = (0, 0, Vec::new());
            let (mut resumed, mut proof) = (false, Vec::new());
            let (mut accepted, mut unverified) = (None, None);
            let cut = loop {
                let mut start = scan.clone();
                let stretch = read(self.numbers[at], &bytes, scan, &mut meanwhile)
                    .map_err(|Failed { error, offset }| error.at_path(&self.path(at)).at_offset(offset))?;
                kept += stretch.records;
                payload_bytes += stretch.bytes;
                refused.extend(stretch.refused);
                let bad = match stretch.stop {
                    None => {
                        // Without a head nobody can say more than how many records were read.
                        let counted =
                            due.map(|due| if link.is_none() { due.saturating_add(kept) } else { due });
                        due = stretch.next.or(counted);
                        break bytes.len() as u64;
                    }
                    Some(Stop::TooLarge(error)) => return Err(error.at_path(&self.path(at))),
                    Some(Stop::Bad(bad)) => bad,
                };
                // A worker may have found it, when the bounds of records behind it were known already.
                start.go_to(bad.offset);
                due = start.number().or(due);
                let (next, found) = self.judge(at, &bytes, &mut start, bad, kept)?;
                gaps.extend(found);
                match next {
                    Next::Cut(at) => {
                        if resumed {
                            proof = start.proof(at);
                        }
                        break at;
                    }
                    Next::Leave => {
                        accepted = None;
                        break bytes.len() as u64;
                    }
                    Next::Accept(records) => {
                        accepted = Some(bad.offset);
                        let (path, offset) = (self.path(at), bad.offset);
                        unverified = (records > 0).then_some(Unverified { path, offset, records });
                        scan = start;
                    }
                    Next::Resume => {
                        if let Some(gap) = gaps.last_mut() {
                            gap.missing = due.zip(start.number()).and_then(|(due, next)| missing(due, next));
                        }
                        scan = start;
                        resumed = true;
                    }
                }
            };
            if link.is_none() && due.is_none() {
                self.chain.unplaced = self.chain.unplaced.saturating_add(kept);
            }
            self.chain.due = due;
            self.recovery.unverified.extend(unverified);
            self.recovery.segments += u64::from(kept > 0);
            self.recovery.records += kept;
            self.recovery.bytes += payload_bytes;
            let path = self.path(at);
            let refused = refused.into_iter();
            let named = refused.map(|(offset, reason)| NotReplayed { path: path.clone(), offset, reason });
            self.recovery.refused.extend(named);
            // A salvaged segment is never taken for an empty one, nor one whose head says what was forgotten.
            let empty = kept == 0 && link.is_none() && (cut < bytes.len() as u64 || gaps.is_empty());
            self.recovery.gaps.append(&mut gaps);
            let cut = if empty { 0 } else { cut };
            let (len, headed) = (bytes.len() as u64, before.is_some());
            ends.push(End { len, cut, records: kept, headed, proof, accepted });
            progress(Progress {
                segments: at as u64 + 1,
                segments_total: self.numbers.len() as u64,
                records: self.recovery.records,
                bytes: self.recovery.bytes,
            });
        }
        self.found(ends)
    }
}

/// What was replayed up to a bad place, or to the end.
struct Stretch {
    records: u64,
    bytes: u64,
    /// At the end of a segment: the number of the record after it.
    next: Option<u64>,
    stop: Option<Stop>,
    /// Where records begin that were refused, and why.
    refused: Vec<(u64, String)>,
}

impl Stretch {
    fn new() -> Self {
        Self { records: 0, bytes: 0, next: None, stop: None, refused: Vec::new() }
    }

    /// Counts a record of so many bytes that was given to `replay`.
    fn count(&mut self, offset: u64, bytes: usize, taken: Result<()>, go_on: bool) -> Result<(), Failed> {
        match taken.map_err(as_refusal) {
            Err(error) if go_on => self.refused.push((offset, reason_of(&error))),
            taken => taken.map_err(|error| Failed { error, offset })?,
        }
        self.records += 1;
        self.bytes += bytes as u64;
        Ok(())
    }
}

/// The reader of the records failed, at this one.
struct Failed {
    error: Error,
    offset: u64,
}

fn one_by_one<T: Format>(
    number: u32,
    bytes: &[u8],
    mut scan: T::Scan<'_>,
    go_on: bool,
    replay: &mut impl FnMut(Position, u64, Record<'_>) -> Result<()>,
) -> Result<Stretch, Failed> {
    let mut stretch = Stretch::new();
    let mut payload = Vec::new();
    loop {
        let unpacked = match scan.place() {
            Ok(None) => {
                stretch.next = scan.number();
                return Ok(stretch);
            }
            Ok(Some(place)) => T::unpack(bytes, place, 0, &mut payload).map(|unpacked| (place, unpacked)),
            Err(stop) => Err(stop),
        };
        match unpacked {
            Ok((place, (kind, len))) => {
                let payload = payload.get(..len).unwrap_or_default();
                let at = position(number, place.end as u32);
                let taken = replay(at, place.offset, Record { kind, payload });
                stretch.count(place.offset, len, taken, go_on)?;
            }
            Err(stop) => {
                stretch.stop = Some(stop);
                return Ok(stretch);
            }
        }
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
    places: Vec<Place>,
    stop: Option<Stop>,
}

/// Whose turn it is.
struct Turn {
    next: u64,
    /// A worker panicked: its turn never ends.
    abandoned: bool,
    /// What came of the turns so far; once it is an error or a stop the rest is not wanted.
    result: Result<Stretch, Failed>,
}

impl Turn {
    fn is_over(&self) -> bool {
        self.result.as_ref().map_or(true, |stretch| stretch.stop.is_some())
    }
}

impl<'s, S: Scan<'s>> Feed<S> {
    fn claim(&mut self) -> Option<Run> {
        if self.ended {
            return None;
        }
        let mut run = Run { index: self.next, places: Vec::new(), stop: None };
        self.next += 1;
        let mut bytes = 0;
        while bytes < RUN_BYTES {
            match self.scan.place() {
                Ok(Some(place)) => {
                    bytes += place.end - place.offset;
                    run.places.push(place);
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

fn side_by_side<T: Format>(
    number: u32,
    bytes: &[u8],
    scan: T::Scan<'_>,
    Team { workers, buffers: kept, go_on }: Team<'_>,
    replay: &Mutex<&mut dyn Replay>,
    meanwhile: &mut dyn FnMut(),
) -> Result<Stretch, Failed> {
    let feed = Mutex::new(Feed { scan, next: 0, ended: false });
    let turn = Mutex::new(Turn { next: 0, abandoned: false, result: Ok(Stretch::new()) });
    let passed = Condvar::new();
    let work = || {
        let abandoned = Abandoned { turn: &turn, passed: &passed };
        let Buffers { mut payloads, mut decoder } = kept.lock().pop().unwrap_or_default();
        loop {
            let Some(mut run) = feed.lock().claim() else {
                kept.lock().push(Buffers { payloads, decoder });
                return std::mem::forget(abandoned);
            };
            let mut places = std::mem::take(&mut run.places).into_iter();
            let (mut ahead, mut from) = (Vec::new(), 0);
            while from < AHEAD_BYTES
                && let Some(place) = places.next()
            {
                match Unpacked::new::<T>(bytes, place, from, &mut payloads) {
                    Ok(record) => {
                        from = record.span.end;
                        ahead.push(record);
                    }
                    Err(stop) => (run.stop, places) = (Some(stop), Vec::new().into_iter()),
                }
            }
            let (mut decoded, mut values) = (Vec::new(), 0);
            for record in &ahead {
                if values >= AHEAD_VALUES {
                    break;
                }
                let entry = record.decode(&payloads, &mut decoder);
                values += entry.as_ref().map_or(0, Entry::value_count);
                decoded.push(entry);
            }
            let mut turn = turn.lock();
            while turn.next != run.index {
                if turn.abandoned {
                    return;
                }
                passed.wait(&mut turn);
            }
            if let Ok(stretch) = &mut turn.result
                && stretch.stop.is_none()
            {
                let mut replay = replay.lock();
                let to = (number, go_on);
                let mut done = take(to, stretch, &ahead, decoded, &payloads, &mut decoder, &mut **replay);
                for place in places {
                    if done.is_err() {
                        break;
                    }
                    match Unpacked::new::<T>(bytes, place, 0, &mut payloads) {
                        Ok(one) => {
                            let none = Vec::new();
                            done = take(to, stretch, &[one], none, &payloads, &mut decoder, &mut **replay);
                        }
                        Err(stop) => {
                            run.stop = Some(stop);
                            break;
                        }
                    }
                }
                stretch.stop = run.stop;
                if let Err(failed) = done {
                    turn.result = Err(failed);
                }
            }
            if payloads.len() > 2 * AHEAD_BYTES {
                payloads = Vec::new();
            }
            if turn.is_over() {
                feed.lock().ended = true;
            }
            turn.next += 1;
            passed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        // Each takes whatever is next, so any number of them will do; where the system gives none this one is it.
        let begin = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let given = (0..workers).map_while(begin).count();
        meanwhile();
        if given == 0 {
            work();
        }
    });
    let mut stretch = turn.into_inner().result?;
    if stretch.stop.is_none() {
        stretch.next = feed.into_inner().scan.number();
    }
    Ok(stretch)
}

/// The threads that read a segment side by side.
#[derive(Clone, Copy)]
struct Team<'a> {
    workers: usize,
    buffers: &'a Mutex<Vec<Buffers>>,
    /// A record that is refused is noted, and the next one is read.
    go_on: bool,
}

/// What a worker fills. The next segment's take it over: memory that is new costs more than what is put there.
#[derive(Default)]
struct Buffers {
    payloads: Vec<u8>,
    decoder: Decoder,
}

/// Lets the others go when a worker panics; the scope passes the panic on.
struct Abandoned<'a> {
    turn: &'a Mutex<Turn>,
    passed: &'a Condvar,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        self.turn.lock().abandoned = true;
        self.passed.notify_all();
    }
}

/// A record in the buffer of a worker.
struct Unpacked {
    place: Place,
    kind: RecordKind,
    span: Range<usize>,
}

impl Unpacked {
    /// Puts the payload of the record at `place` into `payloads`, from `from` on.
    fn new<T: Format>(bytes: &[u8], place: Place, from: usize, payloads: &mut Vec<u8>) -> Result<Self, Stop> {
        let (kind, len) = T::unpack(bytes, place, from, payloads)?;
        Ok(Self { place, kind, span: from..from + len })
    }

    fn decode<'p>(&self, payloads: &'p [u8], decoder: &mut Decoder) -> Result<Entry<'p>> {
        decoder.decode(self.kind, payloads.get(self.span.clone()).unwrap_or_default())
    }
}

/// Applies records in their order; those that are not decoded yet are now.
fn take<'p>(
    (number, go_on): (u32, bool),
    stretch: &mut Stretch,
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
            let taken = replay.entry(position(number, record.place.end as u32), &entry);
            decoder.recycle(entry, record.span.len());
            taken
        });
        stretch.count(record.place.offset, record.span.len(), taken, go_on)?;
    }
    Ok(())
}
