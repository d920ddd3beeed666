//! Cuts a log back to its last valid record: removes a torn tail, or everything after a corrupt record.

use std::path::{Path, PathBuf};

use super::fold::{Entries, Fold};
use super::frame::kind;
use super::salvage::{index_of, pairs_behind, state_of};
use super::snap::{SNAPSHOT_BYTES_MAX, Snapshotter};
use super::storage::newest_snapshot;
use super::walk::{Walk, walk};
use super::writer::lock_segments;
use super::{EtcdError, EtcdSegments, RawRecords, SegmentName, Strictness, Tail, allocate, names};
use crate::directory::read_segment;
use crate::fs::{Fs, FsFile, quarantine_as, quarantine_copy};
use crate::scan::used_len;
use crate::{Error, Result};

/// The result of [`cut_back`].
#[derive(Clone, Debug)]
pub struct CutBack {
    /// The segment where the log now ends.
    pub path: PathBuf,
    /// The end of its last valid record.
    pub offset: u64,
    /// The number of valid records in it. The next one is the first lost record.
    pub records: u64,
    /// The index of the last remaining entry or snapshot.
    pub last: u64,
    /// Why reading stopped, with file and offset.
    pub reason: Error,
    /// Bytes cut off the segment, without trailing zeros.
    pub lost_bytes: u64,
    /// The first and last index of the lost entries, as far as the records after the cut show.
    pub lost_entries: Option<(u64, u64)>,
    /// The copy of the original segment, if it was cut.
    pub copy: Option<PathBuf>,
    /// The segments after it, renamed.
    pub segments: Vec<Renamed>,
    /// The snapshots of lost entries, renamed.
    pub snapshots: Vec<Renamed>,
    /// Only an empty last segment is lost. etcd itself starts on such a log and continues after the earlier
    /// entries.
    pub is_empty_segment: bool,
}

/// A quarantined file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// Its old name.
    pub path: PathBuf,
    /// Its new name.
    pub copy: PathBuf,
    /// Its size in bytes; for a segment, the used bytes.
    pub bytes: u64,
}

/// Cuts a torn tail off the last segment, after copying the segment to `<name>.broken`, and reports it. Does
/// nothing if the log ends cleanly. Removes preallocated files first, so that the copy can use their space on
/// a full disk.
///
/// Only the last segment is checked, because a crash tears no other.
///
/// # Errors
///
/// The last segment is corrupt. Use [`cut_back`] then.
pub fn repair<F: Fs>(fs: &F, dir: &Path) -> Result<Option<Tail>> {
    let names = names::segments(fs, dir)?;
    let last = &names[names.len() - 1..];
    let held = lock_segments(fs, dir, last)?;
    let end = walk(fs, dir, last, &mut Fold::new(Entries::Ignore, last[0]))?;
    let tail = end.tail().filter(|_| end.stop.is_some());
    if let Some(error) = end.corruption(Strictness::default()).filter(|_| end.stop.is_some()) {
        return Err(error);
    }
    let Some(mut tail) = tail else { return Ok(None) };
    allocate::remove_unused(fs, dir)?;
    tail.copy = Some(cut(fs, &end, &held[0].file)?);
    tracing::warn!(?tail, "cut the torn tail");
    Ok(Some(tail))
}

/// Cuts the log in `dir` back to its last valid record, whatever follows it. Copies the original segment to
/// `<name>.broken`. Renames later segments, and snapshots of lost entries, in the same way. With `dry_run` it
/// changes nothing. Returns `None` if opening the log needs no cut, or [`repair`] suffices.
///
/// The bytes cut off may have been acknowledged. In a group, remove the member and add it again instead.
///
/// # Errors
///
/// No segment has a valid head, or no snapshot exists at which the shortened log can be opened. Nothing is
/// changed then.
pub fn cut_back<F: Fs>(
    fs: &F,
    dir: &Path,
    snap_dir: Option<&Path>,
    dry_run: bool,
) -> Result<Option<CutBack>> {
    let names = names::segments(fs, dir)?;
    let held = if dry_run { Vec::new() } else { lock_segments(fs, dir, &names)? };
    let Some((end, fold, kept, reason)) = find_end(fs, dir, &names)? else { return Ok(None) };
    let last = fold.last_index().max(fold.last_snapshot());
    let snapshots = match snap_dir {
        Some(snap_dir) => snapshots_beyond(fs, snap_dir, &fold, last, names[0])?,
        None => Vec::new(),
    };
    let (lost, segments) = Lost::behind(fs, &end, last, &names[kept..], dir)?;
    let tail = end.tail();
    let is_cut = end.stop.is_some() || tail.is_some();
    let found = CutBack {
        path: end.path.clone(),
        offset: end.offset,
        records: end.in_segment,
        last,
        reason,
        lost_bytes: tail.map_or(0, |tail| tail.bytes),
        lost_entries: (lost.first <= lost.last).then_some((lost.first, lost.last)),
        copy: is_cut.then(|| broken(&end.path)),
        is_empty_segment: !is_cut
            && snapshots.is_empty()
            && matches!(&segments[..], [only] if only.bytes == 0),
        segments,
        snapshots,
    };
    if dry_run {
        return Ok(Some(found));
    }
    allocate::remove_unused(fs, dir)?;
    // Newest files first, and the segment with the cut last: after a crash, the same call completes the work.
    for Renamed { path, copy, .. } in found.snapshots.iter().chain(found.segments.iter().rev()) {
        quarantine_as(fs, path, copy).map_err(|error| Error::io("rename", error).at_path(path))?;
    }
    if is_cut {
        cut(fs, &end, &held[kept - 1].file)?;
    }
    tracing::warn!(path = %found.path.display(), found.offset, ?found.lost_entries, "cut the log back");
    Ok(Some(found))
}

/// Cuts a segment where a walk stopped, after copying it. Returns the path of the copy.
fn cut<F: Fs>(fs: &F, end: &Walk, file: &F::File) -> Result<PathBuf> {
    let copy = broken(&end.path);
    let len = file.len().map_err(|error| Error::io("look at", error).at_path(&end.path))?;
    let copied = quarantine_copy(fs, &end.bytes, len, &copy);
    copied.map_err(|error| Error::io("copy", error).at_path(&copy))?;
    let done = file.set_len(end.offset).and_then(|()| file.sync_all());
    done.map_err(|error| Error::io("cut", error).at_path(&end.path))?;
    Ok(copy)
}

fn broken(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".broken");
    name.into()
}

/// Where the valid records of a log end, how many segments remain, and why reading stopped. `None` if the log
/// is valid or only has a torn tail.
fn find_end<F: Fs>(
    fs: &F,
    dir: &Path,
    names: &[SegmentName],
) -> Result<Option<(Walk, Fold<'static>, usize, Error)>> {
    let mut kept = names::consecutive(names);
    let missing = names.get(kept).map(|next| EtcdError::SegmentMissing { index: next.index });
    let mut reason = missing.map(|error| Error::from(error).at_path(dir));
    loop {
        let mut fold = Fold::new(Entries::Check, names[0]);
        let end = walk(fs, dir, &names[..kept], &mut fold)?;
        kept = names.iter().position(|name| *name == end.name).map_or(kept, |at| at + 1);
        let refused = || end.tail()?.refused(Strictness::default());
        let Some(found) = end.corruption(Strictness::default()).or_else(refused).or(reason) else {
            return Ok(None);
        };
        if end.has_head() {
            return Ok(Some((end, fold, kept, found)));
        }
        // A segment without a valid head counts as empty.
        kept -= 1;
        if kept == 0 {
            return Err(found);
        }
        reason = Some(found);
    }
}

/// The intact snapshots beyond index `last`. Fails if the log cannot be opened without them.
fn snapshots_beyond<F: Fs>(
    fs: &F,
    snap_dir: &Path,
    fold: &Fold<'_>,
    last: u64,
    first: SegmentName,
) -> Result<Vec<Renamed>> {
    let snapshotter = Snapshotter::new(fs.clone(), snap_dir);
    let start = newest_snapshot(&snapshotter, first, &fold.committed())?.map_or(0, |snapshot| snapshot.index);
    if first.index > start {
        return Err(Error::from(EtcdError::SegmentMissing { index: start }).at_path(snap_dir));
    }
    let renamed = |path: PathBuf| {
        let read = fs.read_within(&path, SNAPSHOT_BYTES_MAX);
        let bytes = read.map_err(|error| Error::io("read", error).at_path(&path))?.len() as u64;
        Ok(Renamed { copy: broken(&path), path, bytes })
    };
    snapshotter.intact_beyond(last)?.into_iter().map(|(_, path)| renamed(path)).collect()
}

/// The entries after the end.
struct Lost {
    first: u64,
    last: u64,
}

impl Lost {
    /// Collects them from the last segment that remains and from later segments.
    fn behind<F: Fs>(
        fs: &F,
        end: &Walk,
        last: u64,
        later: &[SegmentName],
        dir: &Path,
    ) -> Result<(Self, Vec<Renamed>)> {
        let mut lost = Self { first: last.saturating_add(1), last };
        lost.take(&end.bytes, end.offset);
        let mut segments = Vec::new();
        for name in later {
            // Its name states the index before it.
            lost.last = lost.last.max(name.index.saturating_sub(1));
            let path = dir.join(name.file_name());
            let content = read_segment::<EtcdSegments, F>(fs, &path)?;
            lost.take(&content, 0);
            segments.push(Renamed { copy: broken(&path), path, bytes: used_len(&content) });
        }
        Ok((lost, segments))
    }

    /// Collects records after `offset` that prove each other, and entries with consecutive indexes.
    fn take(&mut self, bytes: &[u8], offset: u64) {
        for record in pairs_behind(bytes, offset).flat_map(|(first, second, _)| [first, second]) {
            match record.kind {
                kind::ENTRY => {
                    let index = index_of(&record).unwrap_or(self.last);
                    (self.first, self.last) = (self.first.min(index), self.last.max(index));
                }
                kind::STATE => self.last = self.last.max(state_of(&record).map_or(0, |state| state.commit)),
                _ => {}
            }
        }
        let records = RawRecords::starting_at(bytes, offset).map_while(std::result::Result::ok);
        for record in records.filter(|record| record.kind == kind::ENTRY) {
            if index_of(&record).is_some_and(|index| self.last.checked_add(1) == Some(index)) {
                self.last += 1;
            }
        }
    }
}
