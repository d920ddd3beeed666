//! Repair: rewrites corrupt segments with the records that a salvage replays.
//!
//! ```text
//! salvage all segments ─▶ list the corrupt ones
//! for each: write its valid records to a temporary file ─▶ read it back
//!           ─▶ give the corrupt file a second name, *.bad (quarantine) ─▶ rename the temporary file
//! ```
//!
//! The rewritten segment has the number and format of the corrupt one. A torn tail is not corruption; opening
//! the log cuts it off. Records that InfluxDB accepted after a crash are not corruption either. Repair adds
//! checksums to them and keeps no copy of the old segment. If the replay callback refuses a valid record, repair drops
//! the record, or replaces it as [`Refusal`] says.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::directory::{self, LOCK_NAME};
use crate::encoder::FrameEncoder;
use crate::entry::Layout;
use crate::error::AtPath;
use crate::fs::{Fs, quarantine, quarantine_name, replace_corrupt_by};
use crate::kind::{Format, Link};
use crate::native::Native;
use crate::options::ReplayMode;
use crate::recover::{Found, Gap, GapKind, NotReplayed, Unverified, Walk, seal};
use crate::scan::{Follows, position};
use crate::segment::Influx;
use crate::{Compression, Error, ErrorKind, Position, Record, Result};

/// What [`repair`] found in one segment with a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRepair {
    /// The segment.
    pub path: PathBuf,
    /// Records kept, including those kept in part.
    pub kept_records: u64,
    /// Ranges that could not be read, in order.
    pub gaps: Vec<Gap>,
    /// Valid records that the callback refused, in order.
    pub refused: Vec<Refused>,
    /// Records kept although no checksum covers them. Repair adds checksums, as opening does.
    pub unverified: Option<Unverified>,
    /// Where the corrupt segment is now, or would be in a dry run. `None` if the segment is not corrupt: it
    /// stays, and opening the log cuts off a torn tail.
    pub quarantined: Option<PathBuf>,
}

/// A valid record that the replay callback refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its offset in the segment.
    pub offset: u64,
    /// Whether a part of the record is kept.
    pub in_part: bool,
    /// The reason, and what is dropped.
    pub reason: String,
}

/// Why a record cannot be replayed, and what replaces it.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The payload that replaces it. `None` to drop the record.
    pub instead: Option<Vec<u8>>,
    /// The reason, and what is dropped.
    pub reason: String,
}

/// Rewrites every corrupt segment of the InfluxDB or native log in `dir`, or only the segment named `only`.
/// Returns every segment with a problem. With `dry_run` it changes nothing, and the result says what it would
/// do.
///
/// # Errors
///
/// The log is open elsewhere, or has another format. A record exceeds the limit, which is not corruption. A
/// file cannot be read or written. Segments are repaired one by one, so those before the error are repaired.
pub fn repair<F: Fs>(fs: &F, dir: &Path, only: Option<&str>, dry_run: bool) -> Result<Vec<SegmentRepair>> {
    repair_for(fs, dir, only, dry_run, |_, _, _| Ok(()))
}

/// Like [`repair`], and drops the valid records that `replay` refuses. `replay` receives every valid record
/// in order, with the layout of the log. It receives the records of all segments even if only one segment is
/// repaired.
pub fn repair_for<F: Fs>(
    fs: &F,
    dir: &Path,
    only: Option<&str>,
    dry_run: bool,
    replay: impl FnMut(Position, Record<'_>, Layout) -> Result<(), Refusal>,
) -> Result<Vec<SegmentRepair>> {
    let names = fs.list(dir).at("list", dir)?;
    // Take no new lock file in a dry run, or when a single file is repaired in a directory without one:
    // there, no log of ours has the directory open.
    let has_lock = names.iter().any(|name| name == LOCK_NAME);
    let _lock = match (dry_run, only) {
        (true, _) => directory::hold(fs, dir)?,
        (false, Some(_)) if !has_lock => None,
        (false, _) => Some(directory::take(fs, dir)?),
    };
    if directory::segments::<Native, F>(fs, dir)?.is_empty() {
        Repair::<Influx, F>::of(fs, dir, replay)?.run(only, dry_run)
    } else {
        Repair::<Native, F>::of(fs, dir, replay)?.run(only, dry_run)
    }
}

/// A directory whose segments are repaired.
struct Repair<'a, T: Format, F> {
    fs: &'a F,
    dir: &'a Path,
    found: Found<T>,
    /// The replacements of refused records, by position.
    instead: BTreeMap<Position, Option<Vec<u8>>>,
}

impl<'a, T: Format, F: Fs> Repair<'a, T, F> {
    /// Salvages all segments.
    fn of(
        fs: &'a F,
        dir: &'a Path,
        mut replay: impl FnMut(Position, Record<'_>, Layout) -> Result<(), Refusal>,
    ) -> Result<Self> {
        let mut instead = BTreeMap::new();
        let found = Walk::<T, F>::new(fs, dir, ReplayMode::Salvage)?.records(&mut |at, record| {
            replay(at, record, T::LAYOUT).map_err(|Refusal { instead: left, reason }| {
                instead.insert(at, left);
                Error::refused(io::Error::other(reason))
            })
        })?;
        Ok(Self { fs, dir, found, instead })
    }

    fn run(&mut self, only: Option<&str>, dry_run: bool) -> Result<Vec<SegmentRepair>> {
        let numbers: Vec<u32> = self.found.segments.iter().map(|segment| segment.name).collect();
        let asked = |number: u32| only.is_none_or(|name| name == T::file_name(number));
        if let Some(name) = only.filter(|_| !numbers.iter().any(|&number| asked(number))) {
            return Err(Error::new(ErrorKind::NotASegment).at_path(&self.dir.join(name)));
        }
        let asked = (0..numbers.len()).filter(|&at| asked(numbers[at]));
        // In order, because each rewritten segment must follow those rewritten before it.
        asked.filter_map(|at| self.segment(at, dry_run).transpose()).collect()
    }

    /// Repairs one segment. `None` if it has no problem.
    fn segment(&mut self, at: usize, dry_run: bool) -> Result<Option<SegmentRepair>> {
        let segment = self.found.segments[at];
        let path = self.dir.join(T::file_name(segment.name));
        let recovery = &self.found.recovery;
        let gaps: Vec<Gap> = recovery.gaps.iter().filter(|gap| gap.path == path).cloned().collect();
        let unverified = recovery.unverified.iter().find(|records| records.path == path).cloned();
        let instead = self.instead.range(position(segment.name, 0)..=position(segment.name, u32::MAX));
        let refused = recovery.refused.iter().filter(|refused| refused.path == path).zip(instead);
        let refused: Vec<Refused> = refused
            .map(|(NotReplayed { offset, reason, .. }, (_, instead))| Refused {
                offset: *offset,
                in_part: instead.is_some(),
                reason: reason.clone(),
            })
            .collect();
        if gaps.is_empty() && refused.is_empty() && segment.accepted.is_none() {
            return Ok(None);
        }
        let kept_records = segment.records - refused.iter().filter(|refused| !refused.in_part).count() as u64;
        let mut quarantined = None;
        if !refused.is_empty() || gaps.iter().any(|gap| gap.kind != GapKind::TornTail) {
            quarantined = Some(if dry_run {
                quarantine_name(self.fs, &path).at("quarantine", &path)?
            } else {
                self.rewrite(at, &path, kept_records)?
            });
        } else if let Some(from) = segment.accepted.filter(|_| !dry_run) {
            // A later segment that is rewritten gets our marks, which hide that InfluxDB was here.
            seal::<T, F>(self.fs, &path, segment.name, from..segment.end)?;
        }
        Ok(Some(SegmentRepair { path, kept_records, gaps, refused, unverified, quarantined }))
    }

    /// Rewrites the segment at index `at` with its `kept` valid records. Returns the quarantine name of the
    /// old file. If records are numbered, the new segment begins where the one before it ends, and states
    /// that it ends where the next one begins. The report names the missing records, so the next open must
    /// not report them again.
    fn rewrite(&mut self, at: usize, path: &Path, kept: u64) -> Result<PathBuf> {
        let failed = |error| Error::io("repair", error).at_path(path);
        if kept == 0 && !self.is_named(at) {
            let quarantined = quarantine(self.fs, path).map_err(failed)?;
            let segment = &mut self.found.segments[at];
            (segment.follows, segment.log_end) = (None, None);
            return Ok(quarantined);
        }
        let number = self.found.segments[at].name;
        let names = self.found.segments.iter().map(|segment| segment.name).collect();
        let mut frames = vec![0; T::GROUP_BYTES as usize];
        let (mut encoder, mut encoded) = (T::Encoder::new(Compression::default()), 0);
        let walk = Walk::<T, F>::one(self.fs, self.dir, ReplayMode::Salvage, names, at);
        walk.records(&mut |at, record| {
            let record = match self.instead.get(&at) {
                Some(None) => return Ok(()),
                Some(Some(payload)) => Record { payload, ..record },
                None => record,
            };
            frames.extend_from_slice(encoder.encode(record)?);
            encoded += 1;
            Ok(())
        })?;
        if encoded != kept {
            return Err(failed(io::Error::other("the segment changed while it was repaired")));
        }
        let (link, next) = self.bounds(at, kept);
        let bytes = segment_of::<T>(number, link, next, frames, kept).map_err(|error| error.at_path(path))?;
        let quarantined = replace_corrupt_by(self.fs, path, &bytes).map_err(failed)?;
        if T::NUMBERED {
            let Link { first, front, .. } = link;
            let segment = &mut self.found.segments[at];
            (segment.follows, segment.log_end) = (Some(Follows { end: first, front }), Some(next));
        }
        Ok(quarantined)
    }

    /// Whether opening would report this segment as missing if it were removed.
    fn is_named(&self, at: usize) -> bool {
        let segments = &self.found.segments;
        if T::NUMBERED {
            segments.iter().any(|segment| segment.follows.is_some())
        } else {
            at + 1 < segments.len()
        }
    }

    /// How the segment at index `at` must begin, and the number of the record after it, so that it follows
    /// the segment before it and the segment after it follows it. `records` records are kept.
    fn bounds(&self, at: usize, records: u64) -> (Link, u64) {
        let (before, behind) = self.found.segments.split_at(at);
        let own = behind.first();
        let before = before.iter().rev().find_map(|segment| segment.log_end);
        let after = behind.iter().skip(1).find_map(|segment| segment.follows);
        let own_first = own.and_then(|own| own.follows).map(|follows| follows.end);
        // If no segment has a head, only the names of truncated segments say where the log begins.
        let first = before.or(own_first).unwrap_or(self.found.recycled.front);
        let kept_end = first.saturating_add(records);
        let next = after.map(|after| after.end).or(own.and_then(|own| own.log_end));
        // So that nothing counts as missing before the first segment.
        let front = if before.is_some() { self.found.recycled.front.min(first) } else { first };
        (Link { first, front, before: 0 }, next.unwrap_or(kept_end).max(kept_end))
    }
}

/// The bytes of a segment with these frames. `frames` begins with space for the seal.
fn segment_of<T: Format>(
    number: u32,
    link: Link,
    next: u64,
    mut frames: Vec<u8>,
    records: u64,
) -> Result<Vec<u8>> {
    let mut segment = T::begin(number, link);
    let mut bytes = segment.head();
    let begin = bytes.len() as u32;
    if records > 0 {
        segment.seal(begin, begin, &mut frames);
        bytes.extend_from_slice(&frames);
    }
    let end = u32::try_from(bytes.len())
        .map_err(|_| Error::too_large("a segment", bytes.len() as u64, u32::MAX.into()))?;
    segment.skip_to(next);
    bytes.extend(segment.end(end));
    Ok(bytes)
}
