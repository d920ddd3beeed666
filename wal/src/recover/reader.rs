//! Reading a directory of segments: what a bad place and a missing record mean in each mode.

use std::cell::Cell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::chain::{Chain, Row, missing};
use super::{
    End, Found, Gap, GapKind, Recovery, SEGMENT_FILE_BYTES_MAX, following_of, is_segment,
    parse_recycled_name, segments,
};
use crate::fs::{Fs, parent};
use crate::kind::{self, Format, Link, Scan};
use crate::segment::{Bad, Later, Verdict};
use crate::{Error, ErrorKind, RecoveryMode, Result};

/// Goes through the segments of a directory.
#[derive(Debug)]
pub(crate) struct Reader<'a, T, F> {
    pub(super) fs: &'a F,
    dir: &'a Path,
    pub(super) mode: RecoveryMode,
    pub(super) numbers: Vec<u32>,
    /// Those of them that are read.
    pub(super) span: Range<usize>,
    pub(super) recycled: Vec<PathBuf>,
    /// The last segment whose file is one of them; 0 if there is none.
    pub(super) forgotten: u32,
    /// A segment, and what follows it: a salvage asks at each bad place.
    later: Cell<Option<(usize, Later)>>,
    pub(super) recovery: Recovery,
    pub(super) chain: Chain,
    row: Row,
    format: std::marker::PhantomData<fn() -> T>,
}

impl<'a, T: Format, F: Fs> Reader<'a, T, F> {
    pub(super) fn new(fs: &'a F, dir: &'a Path, mode: RecoveryMode) -> Result<Self> {
        // Taken for an empty directory, the records of the other log would be lost from sight.
        let names = fs.list(dir).map_err(|error| Error::io("list", error).at_path(dir))?;
        if let Some(other) = names.iter().find(|name| is_segment(name) && T::parse_name(name).is_none()) {
            return Err(Error::new(ErrorKind::OtherLog).at_path(&dir.join(other)));
        }
        let numbers = segments::<T, F>(fs, dir)?;
        let span = 0..numbers.len();
        let mut reader = Self { numbers, span, ..Self::over(fs, dir, mode) };
        reader.chain = Chain::new(0);
        let recycled = || names.iter().filter_map(|name| Some((dir.join(name), parse_recycled_name(name)?)));
        reader.recycled = recycled().map(|(path, _)| path).collect();
        if T::RECYCLED {
            let said = || recycled().map(|(_, said)| said);
            reader.chain = Chain::new(said().map(|(front, _)| front).max().unwrap_or(0));
            reader.forgotten = said().map(|(_, segment)| segment).max().unwrap_or(0);
        }
        Ok(reader)
    }

    pub(super) fn one(fs: &'a F, path: &'a Path, mode: RecoveryMode, number: u32) -> Self {
        let dir = path.parent().unwrap_or(Path::new(""));
        Self { numbers: vec![number], span: 0..1, ..Self::over(fs, dir, mode) }
    }

    /// Reads the segment at this place among others, knowing of those.
    pub(super) fn among(
        fs: &'a F,
        dir: &'a Path,
        mode: RecoveryMode,
        (numbers, at): (&[u32], usize),
    ) -> Self {
        Self { numbers: numbers.to_vec(), span: at..at + 1, ..Self::over(fs, dir, mode) }
    }

    fn over(fs: &'a F, dir: &'a Path, mode: RecoveryMode) -> Self {
        let (numbers, recycled, span) = (Vec::new(), Vec::new(), 0..0);
        // Of a single segment nobody knows what should come before it.
        let (recovery, chain) = (Recovery::default(), Chain::new(u64::MAX));
        let format = std::marker::PhantomData;
        let (forgotten, later, row) = (0, Cell::new(None), Row::default());
        Self { fs, dir, mode, numbers, span, recycled, forgotten, later, recovery, chain, row, format }
    }

    pub(super) fn path(&self, at: usize) -> PathBuf {
        self.dir.join(T::file_name(self.numbers[at]))
    }

    pub(super) fn read(&self, at: usize) -> Result<Vec<u8>> {
        let path = self.path(at);
        let bytes = self.fs.read_segment(&path, SEGMENT_FILE_BYTES_MAX);
        bytes.map_err(|error| Error::io("read", error).at_path(&path))
    }

    /// Segment `at` is read next: whether it is its turn.
    pub(super) fn join(&mut self, at: usize, link: Link) -> Result<Option<Gap>> {
        self.chain.front = self.chain.front.max(link.front);
        let due = self.chain.due.replace(link.first);
        match due {
            // What comes before the first is judged when all that was forgotten is known.
            None => {
                self.chain.begin = Some((at, link.first));
                Ok(None)
            }
            Some(due) if link.first < due => {
                let found = "records that an earlier segment holds, too";
                if self.mode == RecoveryMode::Strict {
                    let error = Error::new(ErrorKind::Damaged { found });
                    return Err(error.at_path(&self.path(at)).at_offset(0));
                }
                Ok(Some(self.joint(at, GapKind::Corruption, found)))
            }
            Some(due) => self.gap(at, due, link.first),
        }
    }

    /// What it means that segment `at` begins with this record when that one is due.
    fn gap(&mut self, at: usize, due: u64, first: u64) -> Result<Option<Gap>> {
        let Some(gap) = missing(due, first) else { return Ok(None) };
        if self.mode == RecoveryMode::Strict {
            let error = ErrorKind::Missing { first: gap.start, last: gap.end - 1 };
            return Err(Error::new(error).at_path(&self.path(at)));
        }
        Ok(Some(Gap {
            missing: Some(gap),
            ..self.joint(at, GapKind::MissingSegment, "records are missing before it")
        }))
    }

    /// Segment `at` is read next, where segments only name one another: whether one before it is missed.
    pub(super) fn follow(&mut self, at: usize, holds: bool, before: Option<u32>) -> Result<Option<Gap>> {
        if !T::GUARDED || !holds {
            return Ok(None);
        }
        let row = &mut self.row;
        row.named.extend(before);
        // It may have been forgotten with all before it; but then it has no file any more. One that names none tells
        // nothing: of the two empty segments that a crash of ours leaves, influxd takes one away and goes on behind the
        // other.
        let missed = before.is_some_and(|before| {
            let forgotten = row.held.first().is_none_or(|&first| before <= first);
            before > 0 && !row.held.contains(&before) && (!forgotten || self.numbers.contains(&before))
        });
        row.lost.extend(before.filter(|_| missed));
        row.held.push(self.numbers[at]);
        if !missed {
            return Ok(None);
        }
        let found = "the segment before it, which held records, is missing or empty";
        if self.mode == RecoveryMode::Strict {
            let error = Error::new(ErrorKind::Damaged { found });
            return Err(error.at_path(&self.path(at)).at_offset(0));
        }
        Ok(Some(self.joint(at, GapKind::MissingSegment, found)))
    }

    pub(super) fn joint(&self, at: usize, kind: GapKind, found: &'static str) -> Gap {
        let path = self.path(at);
        tracing::warn!(path = %path.display(), found, "does not follow");
        Gap {
            kind,
            path,
            offset: 0,
            kept_records: 0,
            dropped_bytes: 0,
            resumed_at: Some(0),
            missing: None,
            found,
        }
    }

    /// All was read.
    pub(super) fn found(mut self, mut ends: Vec<End>) -> Result<Found> {
        for (&number, end) in self.numbers.iter().zip(&mut ends) {
            // What a later segment names is not to be gone.
            if !end.is_empty() || !self.row.named.contains(&number) {
                continue;
            }
            if end.headed {
                end.cut = u64::from(T::HEAD_BYTES);
            } else {
                self.row.lost.push(number);
            }
        }
        let left = |number: &u32| {
            let at = self.numbers.binary_search(number).ok();
            at.and_then(|at| ends.get(at)).is_some_and(|end| !end.is_empty())
        };
        self.row.held.retain(left);
        let lost = self.row.lost(self.mode);
        let front = self.chain.front;
        if let Some((at, first)) = self.chain.begin
            && let Some(gap) = self.gap(at, front.saturating_add(self.chain.unplaced), first)?
        {
            self.recovery.gaps.insert(0, gap);
        }
        Ok(Found { recovery: self.recovery, ends, next_record: self.chain.due.unwrap_or(front), front, lost })
    }

    /// What to do about a bad place of segment `at`, where `scan` stands, after so many records; and what to report.
    pub(super) fn judge<'s>(
        &self,
        at: usize,
        bytes: &'s [u8],
        scan: &mut T::Scan<'s>,
        bad: Bad,
        kept: u64,
    ) -> Result<(Next, Option<Gap>)> {
        let later = self.later(at)?;
        let damaged = match scan.judge(bad, later) {
            Verdict::End => return Ok((Next::Cut(bad.offset), None)),
            Verdict::Accepted { records } => return Ok((Next::Accept(records), None)),
            Verdict::Torn => false,
            Verdict::Damaged => true,
        };
        if damaged && self.mode == RecoveryMode::Strict {
            let error = Error::new(ErrorKind::Damaged { found: bad.found });
            return Err(error.at_path(&self.path(at)).at_offset(bad.offset));
        }
        let behind = if damaged { scan.resume(bad) } else { None };
        let resumed = behind.filter(|_| self.mode == RecoveryMode::Salvage);
        let end = resumed.unwrap_or_else(|| kind::used_len(bytes));
        let gap = Gap {
            kind: if damaged { GapKind::Corruption } else { GapKind::TornTail },
            path: self.path(at),
            offset: bad.offset,
            kept_records: kept,
            dropped_bytes: end.saturating_sub(bad.offset),
            resumed_at: resumed,
            missing: None,
            found: bad.found,
        };
        tracing::warn!(path = %gap.path.display(), gap.offset, gap.dropped_bytes, gap.found, "left out");
        let next = match resumed {
            Some(_) => Next::Resume,
            // What a salvage leaves out may be wanted.
            None if damaged && self.mode == RecoveryMode::Salvage => Next::Leave,
            None => Next::Cut(bad.offset),
        };
        Ok((next, Some(gap)))
    }

    /// What the directory holds behind segment `at`.
    fn later(&self, at: usize) -> Result<Later> {
        if let Some((of, later)) = self.later.get()
            && of == at
        {
            return Ok(later);
        }
        let later = following_of::<T, F>(self.fs, parent(&self.path(at)), self.numbers[at])?;
        self.later.set(Some((at, later)));
        Ok(later)
    }
}

/// What follows a bad place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// Nothing: the segment is to end there.
    Cut(u64),
    /// Nothing, but the segment stays as it is.
    Leave,
    /// Records, from where the scan stands now.
    Resume,
    /// So many records that InfluxDB accepted, from where the scan stands now.
    Accept(u64),
}
