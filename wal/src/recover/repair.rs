//! Damaged segments written anew from the records that check out.
//!
//! What a salvage keeps is put into a segment of the same number and kind, which takes the name of the damaged one in one
//! step; that one stays beside it as `*.bad`. A torn tail is no damage: opening the log cuts it off.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{End, Found, LOCK_NAME, Reader, Records, Torn, segments, take_directory};
use crate::fs::{Fs, aside_name, publish_new, set_aside};
use crate::kind::{Format, Link, Scan};
use crate::native::Native;
use crate::segment::{Influx, Stop};
use crate::{Compression, Error, ErrorKind, Record, RecoveryMode, Result};

/// What [`repair`] found in one segment that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRepair {
    /// The segment.
    pub path: PathBuf,
    /// Its records that check out.
    pub kept_records: u64,
    /// What is left out, in order.
    pub gaps: Vec<Torn>,
    /// Where the segment as it was is now, or would be. `None` when its end is torn by a crash and nothing else: it stays
    /// as it is, and opening the log cuts it.
    pub set_aside: Option<PathBuf>,
}

/// Writes every damaged segment of the InfluxDB or native log in `dir` anew, or only the one of the name `only`; tells of
/// all that are not whole. With `dry_run` nothing is changed, and told is what would be.
///
/// # Errors
/// The log is open elsewhere; it is of another kind; a record above the limit, which is not damage; a file cannot be read
/// or written. Segments are repaired one by one: those before the error are.
pub fn repair<F: Fs>(fs: &F, dir: &Path, only: Option<&str>, dry_run: bool) -> Result<Vec<SegmentRepair>> {
    let names = fs.list(dir).map_err(|error| Error::io("list", error).at_path(dir))?;
    // A dry run does not even leave a lock behind; where there is none, nobody of ours has the log open.
    let _lock = if !dry_run || names.iter().any(|name| name == LOCK_NAME) {
        Some(take_directory(fs, dir)?)
    } else {
        None
    };
    if segments::<Native, F>(fs, dir)?.is_empty() {
        repair_of::<Influx, F>(fs, dir, only, dry_run)
    } else {
        repair_of::<Native, F>(fs, dir, only, dry_run)
    }
}

fn repair_of<T: Format, F: Fs>(
    fs: &F,
    dir: &Path,
    only: Option<&str>,
    dry_run: bool,
) -> Result<Vec<SegmentRepair>> {
    let reader = Reader::<T, F>::new(fs, dir, RecoveryMode::Salvage)?;
    let numbers = reader.numbers.clone();
    let asked = |number: u32| only.is_none_or(|name| name == T::file_name(number));
    if let Some(name) = only.filter(|_| !numbers.iter().any(|&number| asked(number))) {
        return Err(Error::new(ErrorKind::NotASegment).at_path(&dir.join(name)));
    }
    let mut kept: BTreeMap<u32, u64> = BTreeMap::new();
    let Found { recovery, ends, .. } = reader.records(Records(|at: crate::Position, _: Record<'_>| {
        *kept.entry(number_of(at)).or_default() += 1;
        Ok(())
    }))?;
    let mut found = Vec::new();
    for (at, (&number, end)) in
        numbers.iter().zip(&ends).enumerate().filter(|(_, (number, _))| asked(**number))
    {
        let path = dir.join(T::file_name(number));
        let gaps: Vec<Torn> = recovery.torn.iter().filter(|torn| torn.path == path).cloned().collect();
        if gaps.is_empty() {
            continue;
        }
        let kept_records = kept.get(&number).copied().unwrap_or(0);
        let mut repair = SegmentRepair { path, kept_records, gaps, set_aside: None };
        if is_damaged(&repair.gaps, end) {
            let failed = |error| Error::io("set aside", error).at_path(&repair.path);
            let aside = aside_name(fs, &repair.path).map_err(failed)?;
            if !dry_run {
                rewrite::<T, F>(fs, dir, (&numbers, at), &repair.path)?;
            }
            repair.set_aside = Some(aside);
        }
        found.push(repair);
    }
    Ok(found)
}

fn number_of(at: crate::Position) -> u32 {
    (at.0 >> 32) as u32
}

/// Whether the segment is more than torn: a salvage goes on behind the place, or leaves it.
fn is_damaged(gaps: &[Torn], end: &End) -> bool {
    gaps.iter().any(|gap| gap.valid_after || gap.resumed_at.is_some()) || end.cut == end.len
}

/// Puts the sound records of segment `numbers[at]` in the place of the segment. Where records are numbered it begins where
/// the one before ends and says that it ends where the next begins: what is missing was told, and is missed no more.
fn rewrite<T: Format, F: Fs>(fs: &F, dir: &Path, (numbers, at): (&[u32], usize), path: &Path) -> Result<()> {
    let number = numbers[at];
    let mut frames = vec![0; T::GROUP_BYTES as usize];
    let mut records = 0_u64;
    let reader = Reader::<T, F>::new(fs, dir, RecoveryMode::Salvage)?;
    reader.records(Records(|at: crate::Position, record: Record<'_>| {
        if number_of(at) == number {
            records += 1;
            T::frame(record, Compression::default(), |frame| {
                frames.extend_from_slice(frame);
                Ok(())
            })?;
        }
        Ok(())
    }))?;
    let ends = bounds::<T, F>(fs, dir, (numbers, at), records)?;
    let failed = |error| Error::io("repair", error).at_path(path);
    set_aside(fs, path).map_err(failed)?;
    fs.point("repair: set aside");
    if records == 0 && ends.is_none() {
        return fs.remove(path).and_then(|()| fs.sync_dir(dir)).map_err(failed);
    }
    let (link, next) = ends.unwrap_or_default();
    let mut segment = T::begin(number, link);
    let mut bytes = segment.head();
    let begin = bytes.len() as u32;
    if records > 0 {
        segment.seal(begin, begin, &mut frames);
        bytes.extend_from_slice(&frames);
    }
    let end = u32::try_from(bytes.len());
    let end =
        end.map_err(|_| Error::too_large("a segment", bytes.len() as u64, u32::MAX.into()).at_path(path))?;
    segment.skip_to(next);
    bytes.extend(segment.end(end));
    publish_new(fs, path, &bytes).map_err(failed)
}

/// Where segment `numbers[at]`, of which so many records are kept, has to begin and which record comes after it, such that
/// its neighbours follow; `None` where records are not numbered, or nobody knows their numbers any more.
fn bounds<T: Format, F: Fs>(
    fs: &F,
    dir: &Path,
    (numbers, at): (&[u32], usize),
    records: u64,
) -> Result<Option<(Link, u64)>> {
    let scanned = |number: u32| -> Result<(Option<Link>, Option<u64>)> {
        let path = dir.join(T::file_name(number));
        let bytes = match fs.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
            bytes => bytes.map_err(|error| Error::io("read", error).at_path(&path))?,
        };
        let mut scan = T::Scan::new(number, &bytes);
        loop {
            match scan.place() {
                Ok(Some(_)) => {}
                Err(Stop::Bad(bad)) if scan.resume(bad).is_some() => {}
                Ok(None) | Err(_) => return Ok((scan.link(), scan.number())),
            }
        }
    };
    let (own, own_end) = scanned(numbers[at])?;
    let mut before = None;
    for &number in numbers[..at].iter().rev() {
        before = scanned(number)?.1;
        if before.is_some() {
            break;
        }
    }
    let mut after = None;
    for &number in &numbers[at + 1..] {
        after = scanned(number)?.0;
        if after.is_some() {
            break;
        }
    }
    let front = own.or(after).map(|link| link.front);
    let Some(first) = before.or(own.map(|own| own.first)).or(front) else { return Ok(None) };
    let kept_end = first.saturating_add(records);
    let next = after.map(|after| after.first).or(own_end).unwrap_or(kept_end).max(kept_end);
    // Nothing before the first segment is to be missed either.
    let front = if before.is_some() { front.unwrap_or(0).min(first) } else { first };
    Ok(Some((Link { first, front, before: 0 }, next)))
}
