//! One walk over the segments of a log. It finds the gaps and decides what each means in the chosen mode.
//!
//! ```text
//! segment ─► follows the one before? ─► its records ─► stop ─► verdict: end, torn tail, corruption, accepted by InfluxDB
//!                    │ no                     ▲                   │ Salvage: the next valid record
//!                    ▼                        └───────────────────┘
//!              Gap: missing segment                         Gap: torn tail, corruption
//! ```
//!
//! Opening, read-only replay, `verify` and repair all use this walk. `Strict` refuses every gap except a torn
//! tail.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::parallel::Team;
use super::records::{Count, OneByOne, ReadSegment, Replay};
use super::report::{Gap, GapKind, NotReplayed, Progress, Recovery, Unverified};
use super::sequence::{Discontinuity, Sequence, missing_between};
use crate::directory::{self, Recycled};
use crate::formats::refuse_other;
use crate::fs::{Fs, parent};
use crate::options::ReplayMode;
use crate::scan::{Follows, Invalid, Item, Later, Scan, SegmentFormat, Stop, Verdict, used_len};
use crate::{Error, ErrorKind, Position, Record, Result};

/// What a walk found.
#[derive(Debug)]
pub(crate) struct Found<T: SegmentFormat> {
    pub(crate) recovery: Recovery,
    pub(crate) segments: Vec<Segment<T::Name>>,
    /// What a segment after the last one would receive.
    pub(crate) carry: T::Carry,
    /// The number of the record after the last one.
    pub(crate) next: u64,
    /// What was truncated, up to the first retained record.
    pub(crate) recycled: Recycled,
}

/// What a segment holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<N> {
    pub(crate) name: N,
    pub(crate) len: u64,
    /// Where it ends after opening. 0 if nothing of it remains.
    pub(crate) end: u64,
    pub(crate) records: u64,
    /// What it states about the log before it.
    pub(crate) follows: Option<Follows>,
    /// Where the log ends after it, in the same unit.
    pub(crate) log_end: Option<u64>,
    /// The offset from which on its records were accepted by InfluxDB; see [`Scan::sealed`].
    pub(crate) accepted: Option<u64>,
    /// Whether it has gaps that no crash explains. Then it stays unchanged.
    pub(crate) is_corrupt: bool,
}

/// A walk over segments of a log.
#[derive(Debug)]
pub(crate) struct Walk<'a, T: SegmentFormat, F> {
    fs: &'a F,
    dir: &'a Path,
    mode: ReplayMode,
    /// All segments of the log.
    names: Vec<T::Name>,
    /// The only segment is this file, a copy outside a log.
    copy: Option<&'a Path>,
    /// The indexes of the segments to read.
    span: Range<usize>,
    recycled: Recycled,
    sequence: Sequence,
    carry: T::Carry,
    recovery: Recovery,
    segments: Vec<Segment<T::Name>>,
}

impl<'a, T: SegmentFormat, F: Fs> Walk<'a, T, F> {
    /// A walk over the log in `dir`, which can belong to another process.
    pub(crate) fn new(fs: &'a F, dir: &'a Path, mode: ReplayMode) -> Result<Self> {
        refuse_other::<T, F>(fs, dir)?;
        let names = directory::segments::<T, F>(fs, dir)?;
        let span = 0..names.len();
        let mut recycled = Recycled::list(fs, dir)?;
        if !T::RECYCLED {
            // In this format, recycled files' names mean nothing.
            (recycled.front, recycled.segment) = (0, 0);
        }
        let sequence = Sequence::from_front(recycled.front);
        Ok(Self { span, recycled, sequence, ..Self::one(fs, dir, mode, names, 0) })
    }

    /// A walk over the segment at index `at` alone. `names` are all segments of its log. Whether an earlier
    /// segment is missing is not checked.
    pub(crate) fn one(fs: &'a F, dir: &'a Path, mode: ReplayMode, names: Vec<T::Name>, at: usize) -> Self {
        Self {
            fs,
            dir,
            mode,
            names,
            copy: None,
            span: at..at + 1,
            recycled: Recycled::default(),
            sequence: Sequence::from_front(u64::MAX),
            carry: T::Carry::default(),
            recovery: Recovery::default(),
            segments: Vec::new(),
        }
    }

    /// A walk over the file at `path`, a copy of the segment `name`.
    pub(crate) fn copy(fs: &'a F, path: &'a Path, mode: ReplayMode, name: T::Name) -> Self {
        Self { copy: Some(path), ..Self::one(fs, parent(path), mode, vec![name], 0) }
    }

    /// Passes every record to `replay` on the calling thread.
    pub(crate) fn records(
        self,
        replay: &mut dyn FnMut(Position, Record<'_>) -> Result<()>,
    ) -> Result<Found<T>> {
        self.items(&mut |item, record| replay(item.at, record))
    }

    /// Like [`Walk::records`], with the bounds of each record.
    pub(crate) fn items(self, replay: &mut dyn FnMut(Item, Record<'_>) -> Result<()>) -> Result<Found<T>> {
        self.read_with(&mut OneByOne(replay))
    }

    /// Decodes every record and passes it to `replay`.
    pub(crate) fn entries(self, replay: &mut dyn Replay) -> Result<Found<T>> {
        self.read_with(&mut Team::new(replay))
    }

    fn read_with(mut self, reader: &mut impl ReadSegment<T>) -> Result<Found<T>> {
        let mut ahead = None;
        for at in self.span.clone() {
            let bytes = match ahead.take() {
                Some(bytes) => bytes,
                None => self.bytes(at),
            }?;
            self.segment(at, &bytes, reader, &mut ahead)?;
            let Recovery { records, bytes, .. } = self.recovery;
            let (segments, segments_total) = (at as u64 + 1, self.names.len() as u64);
            reader.progress(Progress { segments, segments_total, records, bytes });
        }
        if let Some((at, missing)) = self.sequence.missing_before() {
            let gap = self.discontinuity(at, Discontinuity::Missing(missing))?;
            self.recovery.gaps.insert(0, gap);
        }
        reader.end()?;
        let held = self.segments.iter().rposition(|segment| segment.end > 0).unwrap_or(0);
        for segment in self.segments.iter_mut().take(held) {
            // A later segment can name one that holds only a head.
            if segment.end == 0 && segment.follows.is_some() {
                segment.end = segment.len;
            }
        }
        let Self { recovery, segments, carry, sequence, mut recycled, .. } = self;
        recycled.front = sequence.front();
        Ok(Found { recovery, segments, carry, next: sequence.next(), recycled })
    }

    /// Reads one segment. During its replay, also reads the bytes of the next one.
    fn segment(
        &mut self,
        at: usize,
        bytes: &[u8],
        reader: &mut impl ReadSegment<T>,
        ahead: &mut Option<Result<Vec<u8>>>,
    ) -> Result<()> {
        let path = self.path(at);
        let mut scan = T::Scan::new(self.names[at], bytes, self.carry);
        let (name, len, follows) = (self.names[at], bytes.len() as u64, scan.follows());
        let (records, log_end, accepted, is_corrupt) = (0, None, None, false);
        let mut segment = Segment { name, len, end: len, records, follows, log_end, accepted, is_corrupt };
        let gaps_before = self.recovery.gaps.len();
        self.begin(at, follows)?;
        let mut count = Count::new(self.mode == ReplayMode::Salvage);
        let (mut later, mut is_whole) = (None, false);
        loop {
            let start = scan.clone();
            let mut meanwhile = || {
                if at + 1 < self.span.end {
                    ahead.get_or_insert_with(|| self.bytes(at + 1));
                }
            };
            let read = reader.read(bytes, &mut scan, &mut count, &mut meanwhile);
            let stop = read.map_err(|error| error.at_path(&path))?;
            segment.records = count.records;
            let invalid = match stop {
                None => {
                    is_whole = true;
                    break;
                }
                Some(Stop::Refused(error)) => return Err(error.at_path(&path)),
                Some(Stop::Invalid(invalid)) => invalid,
            };
            scan = start;
            // A worker may have found this stop after the scan had already passed it.
            scan.seek(invalid.offset);
            let later = match later {
                Some(later) => later,
                None if self.copy.is_some() => Later::default(),
                None => *later.insert(directory::later::<T, F>(self.fs, self.dir, self.names[at])?),
            };
            if !self.stop(at, bytes, (&mut scan, invalid), later, &mut segment)? {
                break;
            }
        }
        self.recovery.bytes += count.bytes;
        let not_replayed = |(offset, reason)| NotReplayed { path: path.clone(), offset, reason };
        self.recovery.refused.extend(count.refused.into_iter().map(not_replayed));
        segment.log_end = scan.end();
        self.sequence.end(segment.log_end, segment.records);
        self.carry = scan.carry(is_whole || !segment.is_corrupt);
        if segment.is_corrupt {
            // It stays unchanged until it is truncated, so that it can be examined.
            (segment.end, segment.accepted) = (segment.len, None);
        } else if segment.records == 0
            && (follows.is_none() || !T::NUMBERED)
            && (segment.end < segment.len || gaps_before == self.recovery.gaps.len())
        {
            segment.end = 0;
        }
        self.recovery.segments += u64::from(segment.records > 0);
        self.recovery.records += segment.records;
        self.segments.push(segment);
        Ok(())
    }

    /// Checks that the segment at index `at`, which comes next, follows the segments before it.
    fn begin(&mut self, at: usize, follows: Option<Follows>) -> Result<()> {
        let follows = follows.map(|follows| {
            // A segment that still exists was not truncated.
            let is_there = !T::NUMBERED && self.names.iter().any(|&name| T::number(name) == follows.end);
            Follows { front: if is_there { 0 } else { follows.front }, ..follows }
        });
        match self.sequence.begin(at, follows) {
            None => {}
            // Segments without records can stand between the named segment and this one.
            Some(Discontinuity::Repeated) if !T::NUMBERED => {}
            Some(discontinuity) => {
                let gap = self.discontinuity(at, discontinuity)?;
                self.recovery.gaps.push(gap);
            }
        }
        Ok(())
    }

    /// The gap before the segment at index `at`, or an error in modes that accept no gaps.
    fn discontinuity(&self, at: usize, discontinuity: Discontinuity) -> Result<Gap> {
        let (kind, found, missing) = match discontinuity {
            Discontinuity::Repeated => {
                (GapKind::Corruption, "records that an earlier segment also holds", None)
            }
            Discontinuity::Missing(missing) if T::NUMBERED => {
                (GapKind::MissingSegment, "records before this segment are missing", Some(missing))
            }
            Discontinuity::Missing(_) => {
                (GapKind::MissingSegment, "a segment with records is missing before this one", None)
            }
        };
        let path = self.path(at);
        if self.mode == ReplayMode::Strict {
            return Err(match missing {
                Some(missing) => {
                    Error::new(ErrorKind::Missing { first: missing.start, last: missing.end - 1 })
                }
                None if kind == GapKind::MissingSegment => Error::new(ErrorKind::MissingSegment).at_offset(0),
                None => Error::new(ErrorKind::CorruptSegment { found }).at_offset(0),
            }
            .at_path(&path));
        }
        tracing::warn!(path = %path.display(), found, "the segment does not continue the previous one");
        let (offset, kept_records, dropped_bytes) = (0, 0, 0);
        Ok(Gap { kind, path, offset, kept_records, dropped_bytes, resumed_at: Some(0), missing, found })
    }

    /// Handles a stop of the scan at an invalid place of the segment at index `at`. Returns whether the scan
    /// continues after it.
    fn stop(
        &mut self,
        at: usize,
        bytes: &[u8],
        (scan, invalid): (&mut T::Scan<'_>, Invalid),
        later: Later,
        segment: &mut Segment<T::Name>,
    ) -> Result<bool> {
        let Invalid { offset, found } = invalid;
        let path = self.path(at);
        let salvages = self.mode == ReplayMode::Salvage;
        let kind = match scan.judge(invalid, later) {
            Verdict::End => {
                segment.end = offset;
                return Ok(false);
            }
            Verdict::Accepted { records } => {
                segment.accepted = Some(offset);
                if records > 0 {
                    self.recovery.unverified.push(Unverified { path, offset, records });
                }
                return Ok(true);
            }
            // Do not cut this tail off: it is the evidence of the corruption before it.
            Verdict::TornTail if salvages && segment.is_corrupt => GapKind::Corruption,
            Verdict::TornTail => GapKind::TornTail,
            Verdict::Corruption => GapKind::Corruption,
        };
        let is_corrupt = kind == GapKind::Corruption;
        if is_corrupt && self.mode == ReplayMode::Strict {
            return Err(Error::new(ErrorKind::CorruptSegment { found }).at_path(&path).at_offset(offset));
        }
        segment.is_corrupt |= is_corrupt;
        segment.end = offset;
        let due = scan.end();
        let resumed_at = if is_corrupt && salvages { scan.resume(invalid) } else { None };
        let dropped_bytes = resumed_at.unwrap_or_else(|| used_len(bytes)).saturating_sub(offset);
        let missing = due.zip(scan.end()).filter(|_| T::NUMBERED);
        let missing = missing.and_then(|(due, next)| missing_between(due, next));
        let kept_records = segment.records;
        tracing::warn!(path = %path.display(), offset, dropped_bytes, found, "skipped a gap");
        self.recovery.gaps.push(Gap {
            kind,
            path,
            offset,
            kept_records,
            dropped_bytes,
            resumed_at,
            missing,
            found,
        });
        Ok(resumed_at.is_some())
    }

    fn path(&self, at: usize) -> PathBuf {
        self.copy.map_or_else(|| self.dir.join(T::file_name(self.names[at])), Path::to_owned)
    }

    fn bytes(&self, at: usize) -> Result<Vec<u8>> {
        directory::read_segment::<T, F>(self.fs, &self.path(at))
    }
}
