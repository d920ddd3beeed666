//! Damaged segments written anew from the records that check out.
//!
//! ```text
//! replay all, in the way of a salvage ─▶ which segments are damaged ─▶ each once more: its records to a temporary file,
//! read back ─▶ the damaged one gets a second name, *.bad ─▶ rename
//! ```
//!
//! The repaired segment has the number and kind of the damaged one. A torn tail is no damage: opening the log cuts it off.
//! Records that InfluxDB accepted behind a crash are none either; they get checksums, and no second copy of the segment stays.
//! A record that checks out and that whoever replays the log refuses, so that the log cannot be opened, is left out too.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{
    End, Found, Gap, GapKind, LOCK_NAME, Reader, SEGMENT_FILE_BYTES_MAX, Unverified, hold_directory, seal,
    segments, take_directory,
};
use crate::entry::Layout;
use crate::fs::{Fs, FsFile, aside_name, create_temporary, replace_damaged, take_away};
use crate::kind::{Format, FrameEncoder, Link, Scan};
use crate::native::Native;
use crate::segment::{Influx, Stop};
use crate::{Compression, Error, ErrorKind, Position, Record, RecoveryMode, Result};

/// What [`repair`] found in one segment that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRepair {
    /// The segment.
    pub path: PathBuf,
    /// Its records that are kept, those of which a part is included.
    pub kept_records: u64,
    /// What is left out because it does not check out, in order.
    pub gaps: Vec<Gap>,
    /// Records that check out and are refused all the same, in order.
    pub refused: Vec<Refused>,
    /// Records that are kept although no checksum covers them. The repair puts them under checksums, as opening does.
    pub unverified: Option<Unverified>,
    /// Where the segment as it was is now, or would be. `None` when it is not damaged: it stays as it is, and
    /// opening the log cuts a torn tail.
    pub set_aside: Option<PathBuf>,
}

/// A record that checks out, and that nobody takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where it begins in the segment.
    pub offset: u64,
    /// Whether a part of it is kept.
    pub in_part: bool,
    /// Why, and what of it is left out.
    pub reason: String,
}

/// Why a record cannot be replayed, and what can in its place.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The payload of what is left of it, if anything is.
    pub instead: Option<Vec<u8>>,
    /// Why, and what is left out.
    pub reason: String,
}

/// Writes every damaged segment of the InfluxDB or native log in `dir` anew, or only the one of the name `only`; tells of
/// all that are not whole. With `dry_run` nothing is changed or written, and told is what would be.
///
/// # Errors
/// The log is open elsewhere; it is of another kind; a record above the limit, which is not damage; a file cannot be read
/// or written. Segments are repaired one by one: those before the error are.
pub fn repair<F: Fs>(fs: &F, dir: &Path, only: Option<&str>, dry_run: bool) -> Result<Vec<SegmentRepair>> {
    repair_for(fs, dir, only, dry_run, |_, _, _| Ok(()))
}

/// As [`repair`]; and each record that checks out is shown to `replay`, in order, with the layout of the log: those that it
/// refuses are left out as well. Of the others of a log all are shown when only one segment is repaired.
pub fn repair_for<F: Fs>(
    fs: &F,
    dir: &Path,
    only: Option<&str>,
    dry_run: bool,
    replay: impl FnMut(Position, Record<'_>, Layout) -> Result<(), Refusal>,
) -> Result<Vec<SegmentRepair>> {
    let names = fs.list(dir).map_err(|error| Error::io("list", error).at_path(dir))?;
    // A lock is left behind neither by a dry run nor beside a file that somebody put somewhere: where there is none, nobody
    // of ours has the log open.
    let has_lock = names.iter().any(|name| name == LOCK_NAME);
    let _lock = match (dry_run, only) {
        (true, _) => hold_directory(fs, dir)?,
        (false, Some(_)) if !has_lock => None,
        (false, _) => Some(take_directory(fs, dir)?),
    };
    if segments::<Native, F>(fs, dir)?.is_empty() {
        repair_of::<Influx, F>(fs, dir, only, dry_run, replay)
    } else {
        repair_of::<Native, F>(fs, dir, only, dry_run, replay)
    }
}

/// What is left of a refused record, by its place.
type Instead = BTreeMap<Position, Option<Vec<u8>>>;

/// What a segment has besides damage.
#[derive(Default)]
struct Records {
    kept: u64,
    refused: Vec<Refused>,
}

fn repair_of<T: Format, F: Fs>(
    fs: &F,
    dir: &Path,
    only: Option<&str>,
    dry_run: bool,
    mut replay: impl FnMut(Position, Record<'_>, Layout) -> Result<(), Refusal>,
) -> Result<Vec<SegmentRepair>> {
    let reader = Reader::<T, F>::new(fs, dir, RecoveryMode::Salvage)?;
    let numbers = reader.numbers.clone();
    let asked = |number: u32| only.is_none_or(|name| name == T::file_name(number));
    if let Some(name) = only.filter(|_| !numbers.iter().any(|&number| asked(number))) {
        return Err(Error::new(ErrorKind::NotASegment).at_path(&dir.join(name)));
    }
    let mut records: BTreeMap<u32, Records> = BTreeMap::new();
    let mut instead = Instead::new();
    let Found { recovery, ends, .. } = reader.placed(|at, offset, record| {
        let of = records.entry(number_of(at)).or_default();
        match replay(at, record, T::LAYOUT) {
            Ok(()) => of.kept += 1,
            Err(Refusal { instead: left, reason }) => {
                of.kept += u64::from(left.is_some());
                of.refused.push(Refused { offset, in_part: left.is_some(), reason });
                instead.insert(at, left);
            }
        }
        Ok(())
    })?;
    let mut found = Vec::new();
    for (at, (&number, end)) in
        numbers.iter().zip(&ends).enumerate().filter(|(_, (number, _))| asked(**number))
    {
        let path = dir.join(T::file_name(number));
        let gaps: Vec<Gap> = recovery.gaps.iter().filter(|gap| gap.path == path).cloned().collect();
        let Records { kept, refused } = records.remove(&number).unwrap_or_default();
        let unverified = recovery.unverified.iter().find(|records| records.path == path).cloned();
        if gaps.is_empty() && refused.is_empty() && end.accepted.is_none() {
            continue;
        }
        let kept_records = kept;
        let mut repair = SegmentRepair { path, kept_records, gaps, refused, unverified, set_aside: None };
        if !repair.refused.is_empty() || is_damaged(&repair.gaps, end) {
            let failed = |error| Error::io("set aside", error).at_path(&repair.path);
            let mut aside = aside_name(fs, &repair.path).map_err(failed)?;
            if !dry_run {
                aside = rewrite::<T, F>(fs, dir, (&numbers, at), (&repair.path, &instead))?;
            }
            repair.set_aside = Some(aside);
        } else if let Some(from) = end.accepted.filter(|_| !dry_run) {
            // A later segment that is rewritten becomes ours.
            seal::<T, F>(fs, &repair.path, number, from..end.cut)?;
        }
        found.push(repair);
    }
    Ok(found)
}

fn number_of(at: Position) -> u32 {
    (at.0 >> 32) as u32
}

/// Whether the segment is more than torn: a salvage goes on behind the place, or leaves it.
fn is_damaged(gaps: &[Gap], end: &End) -> bool {
    gaps.iter().any(|gap| gap.kind != GapKind::TornTail || gap.resumed_at.is_some())
        || (!gaps.is_empty() && end.cut == end.len)
}

/// Puts the sound records of segment `numbers[at]` in the place of the segment; gives the name that it has then. Where
/// records are numbered it begins where the one before ends and says that it ends where the next begins: what is missing
/// was told, and is missed no more.
fn rewrite<T: Format, F: Fs>(
    fs: &F,
    dir: &Path,
    (numbers, at): (&[u32], usize),
    (path, instead): (&Path, &Instead),
) -> Result<PathBuf> {
    let number = numbers[at];
    let mut frames = vec![0; T::GROUP_BYTES as usize];
    let mut encoder = T::Encoder::new(Compression::default());
    let mut kept = Kept::default();
    let reader = Reader::<T, F>::among(fs, dir, RecoveryMode::Salvage, (numbers, at));
    reader.placed(|at, _, record| {
        let record = match instead.get(&at) {
            Some(None) => return Ok(()),
            Some(Some(payload)) => Record { payload, ..record },
            None => record,
        };
        kept.add(record);
        frames.extend_from_slice(encoder.encode(record)?);
        Ok(())
    })?;
    let ends = bounds::<T, F>(fs, dir, (numbers, at), kept.records)?;
    let failed = |error| Error::io("repair", error).at_path(path);
    // A later segment may name it: then its head stays, or the log would not open.
    if kept.records == 0 && ends.is_none() && !(T::GUARDED && at + 1 < numbers.len()) {
        return take_away(fs, path).map_err(failed);
    }
    let (link, next) = if let Some(ends) = ends {
        ends
    } else {
        // No head is left. Only the names of forgotten segments can say where the log begins.
        let front = Reader::<T, F>::new(fs, dir, RecoveryMode::Salvage)?.chain.front;
        (Link { first: front, front, before: 0 }, front.saturating_add(kept.records))
    };
    let mut segment = T::begin(number, link);
    let mut bytes = segment.head();
    let begin = bytes.len() as u32;
    if kept.records > 0 {
        segment.seal(begin, begin, &mut frames);
        bytes.extend_from_slice(&frames);
    }
    let end = u32::try_from(bytes.len());
    let end =
        end.map_err(|_| Error::too_large("a segment", bytes.len() as u64, u32::MAX.into()).at_path(path))?;
    segment.skip_to(next);
    bytes.extend(segment.end(end));
    let (temporary, file) = create_temporary(fs, path).map_err(failed)?;
    let replaced = || {
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        // Read back before anything depends on it.
        if Kept::of::<T>(number, &fs.read(&temporary)?) != Some(kept) {
            return Err(io::Error::other("other records are read back than were written"));
        }
        replace_damaged(fs, &file, &temporary, path)
    };
    replaced().inspect_err(|_| drop(fs.remove(&temporary))).map_err(failed)
}

/// The records of a segment, to compare with those that were to be in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kept {
    records: u64,
    crc: u32,
}

impl Kept {
    fn add(&mut self, record: Record<'_>) {
        self.records += 1;
        let mut crc = crc32fast::Hasher::new_with_initial(self.crc);
        crc.update(&[record.kind.tag()]);
        crc.update(&record.payload.len().to_le_bytes());
        crc.update(record.payload);
        self.crc = crc.finalize();
    }

    /// Those of these bytes; `None` when not all checks out.
    fn of<T: Format>(number: u32, bytes: &[u8]) -> Option<Self> {
        let (mut found, mut payload) = (Self::default(), Vec::new());
        let mut scan = T::Scan::new(number, bytes);
        while let Some(place) = scan.place().ok()? {
            let (kind, len) = T::unpack(bytes, place, 0, &mut payload).ok()?;
            found.add(Record { kind, payload: payload.get(..len)? });
        }
        Some(found)
    }
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
        let bytes = match fs.read_segment(&path, SEGMENT_FILE_BYTES_MAX) {
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
