//! Cutting a corrupt log back to its last valid record, where there is no other copy of what follows.

use std::path::{Path, PathBuf};

use super::check::{Checked, Gaps};
use super::raw::RawRecords;
use super::read::{Place, Snapshots, Walk, Wiped, head_records, walk};
use super::repair::copy_durably;
use super::salvage::{index_of, pairs_behind, state_of};
use super::snap::{SNAPSHOT_BYTES_MAX, Snapshotter};
use super::storage::check_start;
use super::{EtcdError, SegmentName, SnapshotRecord, names, pipeline};
use crate::directory::lock;
use crate::etcd::frame::{SEGMENT_BYTES_MAX, kind};
use crate::fs::{Fs, FsFile, parent};
use crate::scan::used_len;
use crate::{Error, Result};

/// What [`cut_back`] cuts off a log.
#[derive(Clone, Debug)]
pub struct CutBack {
    /// Where the log ends now: the end of its last valid record.
    pub place: Place,
    /// How many valid records the segment there has: the first one that is lost is the next.
    pub records: u64,
    /// The index of the last entry or snapshot that is left.
    pub last: u64,
    /// Why reading stopped, with file and offset.
    pub reason: Error,
    /// Bytes that are cut off the segment, zeros at the end not counted.
    pub lost_bytes: u64,
    /// The first and the last index of the entries that are lost, as far as the records behind the place tell.
    pub lost_entries: Option<(u64, u64)>,
    /// The copy of the segment as it was, if something is cut off it.
    pub copy: Option<PathBuf>,
    /// The segments behind it.
    pub segments: Vec<Renamed>,
    /// The snapshots of lost entries.
    pub snapshots: Vec<Renamed>,
    /// All that is lost is a last segment without a byte: etcd starts on such a log too, and goes on behind what was before.
    pub is_empty_segment: bool,
}

/// A file that is left out as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// Its name before.
    pub path: PathBuf,
    /// The name it gets.
    pub copy: PathBuf,
    /// Its bytes, of a segment those that are used.
    pub bytes: u64,
}

/// Cuts the log in `dir` back to its last valid record, whatever is wrong behind it, and keeps the segment as it was as
/// `<name>.broken`. Later segments, and snapshots of entries that are lost, get such a name too. With `dry_run` nothing is
/// changed. `None` when opening the log needs no cut, or [`repair`](super::repair()) does it.
///
/// What is cut off may have been acknowledged. A member of a group does better to be removed and added again.
///
/// # Errors
/// No segment has a valid head, or the log cannot be opened at any snapshot afterwards. Nothing is changed then.
pub fn cut_back<F: Fs>(
    fs: &F,
    dir: &Path,
    snap_dir: Option<&Path>,
    dry_run: bool,
) -> Result<Option<CutBack>> {
    let names = names::segments(fs, dir)?;
    let held = if dry_run { Vec::new() } else { hold(fs, dir, &names)? };
    let Some(end) = End::find(fs, dir, &names)? else { return Ok(None) };
    let snapshots = match snap_dir {
        Some(snap_dir) => end.snapshots_beyond(fs, dir, snap_dir, names[0])?,
        None => Vec::new(),
    };
    let place = end.walk.place();
    let behind = end.walk.behind();
    let lost_bytes = behind.as_ref().map_or(0, |behind| behind.bytes);
    let is_cut = end.walk.flaw.is_some() || lost_bytes > 0;
    let (lost, segments) = Lost::behind(fs, &end, &names[end.kept..], dir)?;
    let cut = CutBack {
        records: end.walk.of_last,
        last: end.last,
        reason: end.reason,
        lost_bytes,
        lost_entries: lost.entries(),
        copy: is_cut.then(|| broken(&place.path)),
        is_empty_segment: !is_cut
            && snapshots.is_empty()
            && matches!(&segments[..], [Renamed { bytes: 0, .. }]),
        segments,
        snapshots,
        place,
    };
    if dry_run {
        return Ok(Some(cut));
    }
    pipeline::remove_unused(fs, dir)?;
    // The end last, and the newest first: run again after a crash, the same is left to do.
    for Renamed { path, copy, .. } in cut.snapshots.iter().chain(cut.segments.iter().rev()) {
        let renamed = fs.rename(path, copy).and_then(|()| fs.sync_dir(parent(path)));
        renamed.map_err(|error| Error::io("rename", error).at_path(path))?;
    }
    if let (Some(copy), Some(file)) = (&cut.copy, held.get(end.kept - 1)) {
        let path = &cut.place.path;
        let len = file.len().map_err(|error| Error::io("look at", error).at_path(path))?;
        copy_durably(fs, &end.walk, len, copy).map_err(|error| Error::io("copy", error).at_path(copy))?;
        let done = file.set_len(cut.place.offset).and_then(|()| file.sync_all());
        done.map_err(|error| Error::io("cut", error).at_path(path))?;
    }
    tracing::warn!(path = %cut.place.path.display(), cut.place.offset, ?cut.lost_entries, "cut the log back");
    Ok(Some(cut))
}

/// Locks every segment, as a member that is open does.
fn hold<F: Fs>(fs: &F, dir: &Path, names: &[SegmentName]) -> Result<Vec<F::File>> {
    let hold = |name: &SegmentName| {
        let path = dir.join(name.file_name());
        let file = fs.open(&path).map_err(|error| Error::io("open", error).at_path(&path))?;
        lock(&file, &path).map(|()| file)
    };
    names.iter().map(hold).collect()
}

fn broken(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".broken");
    name.into()
}

/// Where the valid records of a log end.
struct End {
    walk: Walk,
    /// How many segments are kept.
    kept: usize,
    reason: Error,
    /// The last index of an entry or a snapshot's record.
    last: u64,
    snapshots: Vec<SnapshotRecord>,
}

impl End {
    /// Reads the segments up to the first bad place. `None` when nothing is wrong, or only the end is torn.
    fn find<F: Fs>(fs: &F, dir: &Path, names: &[SegmentName]) -> Result<Option<Self>> {
        let follows = |pair: &&[SegmentName]| pair[0].seq.checked_add(1) == Some(pair[1].seq);
        let mut kept = names.windows(2).take_while(follows).count() + 1;
        let missing = names.get(kept).map(|next| EtcdError::SegmentMissing { index: next.index });
        let mut reason = missing.map(|flaw| Error::from(flaw).at_path(dir));
        loop {
            let (mut checked, mut snapshots) = (Checked::default(), Snapshots::default());
            let (mut metadata, mut gaps, mut last) = (None, Gaps::new(names[0]), 0);
            let walk = walk(fs, dir, &names[..kept], |name, record| {
                snapshots.take(record)?;
                checked.take(record, &mut metadata, |entry| {
                    last = entry.index;
                    gaps.take(*name, record.offset, entry)
                })
            })?;
            kept = names.iter().position(|name| *name == walk.name).map_or(kept, |at| at + 1);
            reason = lost(&walk).or(reason);
            let Some(found) = reason.clone().filter(|_| walk.of_last >= head_records(walk.name)) else {
                // Without its head nothing of a segment counts.
                kept -= 1;
                match reason {
                    None => return Ok(None),
                    Some(reason) if kept == 0 => return Err(reason),
                    Some(_) => continue,
                }
            };
            last = last.max(snapshots.last_index());
            let snapshots = snapshots.committed();
            return Ok(Some(Self { walk, kept, reason: found, last, snapshots }));
        }
    }

    /// The intact snapshots that the log has no entries of any more; and an error if it cannot be opened without them.
    fn snapshots_beyond<F: Fs>(
        &self,
        fs: &F,
        dir: &Path,
        snap_dir: &Path,
        first: SegmentName,
    ) -> Result<Vec<Renamed>> {
        let snapshotter = Snapshotter::new(fs.clone(), snap_dir);
        let snapshot = snapshotter.newest_readable(&self.snapshots)?;
        check_start(first, &self.snapshots, snapshot.as_ref())
            .map_err(|flaw| Error::from(flaw).at_path(snap_dir))?;
        let start = snapshot.map_or(0, |snapshot| snapshot.index);
        if first.index > start {
            return Err(Error::from(EtcdError::SegmentMissing { index: start }).at_path(dir));
        }
        let renamed = |path: PathBuf| {
            let read = fs.read_within(&path, SNAPSHOT_BYTES_MAX);
            let bytes = read.map_err(|error| Error::io("read", error).at_path(&path))?.len() as u64;
            Ok(Renamed { copy: broken(&path), path, bytes })
        };
        snapshotter.intact_beyond(self.last)?.into_iter().map(|(_, path)| renamed(path)).collect()
    }
}

/// Why a log does not end well where a walk ended; `None` where it does, or where a crash can have torn it.
fn lost(walk: &Walk) -> Option<Error> {
    let behind = walk.behind().filter(|behind| behind.acknowledged);
    let acknowledged = behind.map(|Wiped { place, records, .. }| {
        Error::from(EtcdError::AcknowledgedLost { records }).at_path(&place.path).at_offset(place.offset)
    });
    match &walk.flaw {
        None | Some(EtcdError::Torn) => walk.damage().or(acknowledged),
        Some(_) => walk.error(),
    }
}

/// Which entries stand behind the end.
struct Lost {
    first: u64,
    last: u64,
}

impl Lost {
    /// Of the end of the last segment that is kept, and of those behind it.
    fn behind<F: Fs>(fs: &F, end: &End, later: &[SegmentName], dir: &Path) -> Result<(Self, Vec<Renamed>)> {
        let mut lost = Self { first: end.last.saturating_add(1), last: end.last };
        lost.take(&end.walk.bytes, end.walk.offset);
        let mut segments = Vec::new();
        for name in later {
            // Its name says what came before it.
            lost.last = lost.last.max(name.index.saturating_sub(1));
            let path = dir.join(name.file_name());
            let read = fs.read_segment(&path, SEGMENT_BYTES_MAX);
            let content = read.map_err(|error| Error::io("read", error).at_path(&path))?;
            lost.take(&content, 0);
            segments.push(Renamed { copy: broken(&path), path, bytes: used_len(&content) });
        }
        Ok((lost, segments))
    }

    /// Takes what stands behind `offset`: records that prove each other, and entries that go on with the next index.
    fn take(&mut self, bytes: &[u8], offset: u64) {
        pairs_behind(bytes, offset, |first, second, _| {
            for record in [first, second] {
                let index = index_of(record).filter(|_| record.kind == kind::ENTRY);
                let state = state_of(record).filter(|_| record.kind == kind::STATE);
                self.first = self.first.min(index.unwrap_or(self.first));
                self.last = self.last.max(index.or(state.map(|state| state.commit)).unwrap_or(0));
            }
            true
        });
        let entries = RawRecords::starting_at(bytes, offset).map_while(Result::ok);
        for record in entries.filter(|record| record.kind == kind::ENTRY) {
            if index_of(&record).is_some_and(|index| self.last.checked_add(1) == Some(index)) {
                self.last += 1;
            }
        }
    }

    fn entries(&self) -> Option<(u64, u64)> {
        (self.first <= self.last).then_some((self.first, self.last))
    }
}
