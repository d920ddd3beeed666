//! What an opening of a member would find, with nothing changed.

use std::path::{Path, PathBuf};

use super::frame::{RawRecord, kind};
use super::log::constants::METADATA;
use super::read::{Place, Reader, Snapshots, Wiped, is_of_member, walk};
use super::snap::Snapshotter;
use super::storage::{check_commit, check_start};
use super::{Entry, EtcdError, HardState, SegmentName, SnapshotRecord, names};
use crate::fs::{Fs, parent};
use crate::{Error, Result};

/// What [`check`] found in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Its segments, oldest first.
    pub segments: Vec<SegmentName>,
    /// How many records they have, those of the checksum included.
    pub records: u64,
    /// How many of those are entries, overwritten ones included.
    pub entries: u64,
    /// The last hard state.
    pub state: HardState,
    /// Where the log is torn.
    pub torn: Option<Place>,
    /// What stands behind its end and is no zero.
    pub behind: Option<Wiped>,
    /// The snapshot at which an opening begins, if one was looked for.
    pub start: Option<SnapshotRecord>,
    /// The file of a snapshot beyond the end of the log, which a crash may leave: the newest, received from another member,
    /// and its record in the log was still to come.
    pub remnant: Option<PathBuf>,
}

/// Checks every record of every segment there is, from whichever snapshot on: checksums, their chain, messages. With the
/// directory of the snapshots also that the member can be opened: that one of those the log knows is there, that no entry
/// is missing from it up to what was committed, and that no intact snapshot has entries that the log lost. Changes nothing;
/// the error is the first damage.
///
/// Without that directory entries that are missing are told where no snapshot of the log's can stand for them.
///
/// What no reader can tell is a last segment that is gone together with what was committed in it.
pub fn check<F: Fs>(fs: &F, dir: &Path, snap_dir: Option<&Path>) -> Result<Checked> {
    let mut found = Checked { segments: names::segments(fs, dir)?, ..Checked::default() };
    for pair in found.segments.windows(2) {
        if pair[0].seq.checked_add(1) != Some(pair[1].seq) {
            return Err(Error::from(EtcdError::SegmentMissing { index: pair[1].index }).at_path(dir));
        }
    }
    let snapshots = found.records(fs, dir)?;
    if let Some(snap_dir) = snap_dir {
        let (first, last_snapshot) = (found.segments[0], snapshots.last_index());
        let known = snapshots.committed();
        let snapshotter = Snapshotter::new(fs.clone(), snap_dir);
        let snapshot = snapshotter.newest_readable(&known)?;
        check_start(first, &known, snapshot.as_ref()).map_err(|flaw| Error::from(flaw).at_path(snap_dir))?;
        let start = snapshot.map_or(SnapshotRecord::default(), |snapshot| snapshot.record());
        let (contents, stopped) = Reader::open(fs.clone(), dir, &start)?.read()?;
        stopped.map_or(Ok(()), Err)?;
        check_commit(&start, &contents).map_err(|flaw| Error::from(flaw).at_path(dir))?;
        let last = contents.entries.last().map_or(start.index, |entry| entry.index).max(last_snapshot);
        let has_databases = contents.metadata.is_some_and(|metadata| is_of_member(&metadata));
        found.remnant = remnant(&snapshotter, last, has_databases)?;
        found.start = Some(start);
    }
    Ok(found)
}

/// The one snapshot file beyond the end of the log, `last`, that a crash may leave. A member saves its own snapshots of what
/// its log has, so one beyond was received, and of etcd's members its database came first. It is an error when there are more,
/// or when it cannot be a received one.
fn remnant<F: Fs>(snapshotter: &Snapshotter<F>, last: u64, has_databases: bool) -> Result<Option<PathBuf>> {
    let mut beyond = snapshotter.intact_beyond(last)?;
    let Some((index, path)) = beyond.pop() else { return Ok(None) };
    if beyond.is_empty() && (!has_databases || snapshotter.snap_db(index)?.is_some()) {
        return Ok(Some(path));
    }
    // The first that was lost says most.
    let (index, path) = beyond.into_iter().next().unwrap_or((index, path));
    Err(Error::from(EtcdError::SnapshotBeyondLog { index, last }).at_path(&path))
}

/// The same of one segment alone: what came before is taken from its first record.
pub fn check_segment<F: Fs>(fs: &F, path: &Path) -> Result<Checked> {
    let name = path.file_name().and_then(SegmentName::parse);
    let name = name.ok_or_else(|| Error::from(EtcdError::Parse("the name of a segment")).at_path(path))?;
    let mut found = Checked { segments: vec![name], ..Checked::default() };
    found.records(fs, parent(path))?;
    Ok(found)
}

impl Checked {
    /// Reads its segments. Gives the snapshots that the log knows.
    fn records<F: Fs>(&mut self, fs: &F, dir: &Path) -> Result<Snapshots> {
        let names = self.segments.clone();
        let (mut metadata, mut snapshots) = (None, Snapshots::default());
        let mut gaps = Gaps::new(names[0]);
        let walk = walk(fs, dir, &names, |name, record| {
            snapshots.take(record)?;
            self.take(record, &mut metadata, |entry| gaps.take(*name, record.offset, entry))
        })?;
        if let Some(damage) = walk.damage() {
            return Err(damage);
        }
        match walk.flaw {
            None => {}
            Some(EtcdError::Torn) => self.torn = Some(walk.place()),
            Some(_) => walk.error().map_or(Ok(()), Err)?,
        }
        self.records = walk.records;
        if walk.flaw.is_none()
            && let Some((name, offset, flaw)) = gaps.after(snapshots.last_index())
        {
            return Err(Error::from(flaw).at_path(&dir.join(name.file_name())).at_offset(offset));
        }
        self.behind = walk.behind();
        Ok(snapshots)
    }

    pub(super) fn take(
        &mut self,
        record: &RawRecord<'_>,
        metadata: &mut Option<Vec<u8>>,
        entry: impl FnOnce(&Entry) -> Result<(), EtcdError>,
    ) -> Result<(), EtcdError> {
        let data = record.data.unwrap_or_default();
        match record.kind {
            kind::ENTRY => {
                entry(&Entry::decode(data)?)?;
                self.entries += 1;
            }
            kind::STATE => {
                let state = HardState::decode(data)?;
                // A log of ours that was cut at damage may go on below what it had said.
                if metadata.as_deref() != Some(METADATA) {
                    grows("term", self.state.term, state.term)?;
                    grows("commit index", self.state.commit, state.commit)?;
                }
                self.state = state;
            }
            kind::SNAPSHOT => {}
            kind::METADATA if metadata.as_deref().is_none_or(|known| known == data) => {
                *metadata = Some(data.to_vec());
            }
            kind::METADATA => return Err(EtcdError::MetadataConflict),
            unknown => return Err(EtcdError::RecordKind(unknown)),
        }
        Ok(())
    }
}

/// Refuses a number that is smaller than before, and cannot be.
fn grows(what: &'static str, before: u64, now: u64) -> Result<(), EtcdError> {
    if now < before { Err(EtcdError::GoesBack { what, before, now }) } else { Ok(()) }
}

/// Entries that do not follow those before them: indexes are missing, or the term goes back. What is known of a snapshot only an opening can tell; where none comes
/// close to such an entry there is no opening.
pub(super) struct Gaps {
    /// The index of the entry before, if it has to be there.
    last: Option<u64>,
    /// And its term.
    term: u64,
    found: Vec<(SegmentName, u64, EtcdError)>,
}

impl Gaps {
    /// Of a log that begins with the segment `first`; before the very first one there is no entry.
    pub(super) fn new(first: SegmentName) -> Self {
        Self { last: (first.seq == 0).then_some(0), term: 0, found: Vec::new() }
    }

    /// Takes the entry at `offset` of a segment.
    pub(super) fn take(&mut self, name: SegmentName, offset: u64, entry: &Entry) -> Result<(), EtcdError> {
        let Entry { index, term, .. } = *entry;
        let (last, before) = (self.last.replace(index), std::mem::replace(&mut self.term, term));
        let Some(last) = last else { return Ok(()) };
        if index.saturating_sub(1) > last {
            self.found.push((name, offset, EtcdError::Gap { index, last }));
        }
        // Where an entry is written over another one, its term may be older than that of the record before.
        if last.checked_add(1) == Some(index) { grows("term of the entries", before, term) } else { Ok(()) }
    }

    /// The first one behind `snapshot`.
    fn after(self, snapshot: u64) -> Option<(SegmentName, u64, EtcdError)> {
        let open = |gap: &(_, _, EtcdError)| matches!(gap.2, EtcdError::Gap { index, .. } if snapshot < index.saturating_sub(1));
        self.found.into_iter().find(open)
    }
}
