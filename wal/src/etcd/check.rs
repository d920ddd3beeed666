//! What an opening of a member would find, with nothing changed.

use std::path::Path;

use super::frame::{RawRecord, kind};
use super::read::{Place, Reader, Snapshots, Wiped, walk};
use super::snap::Snapshotter;
use super::storage::{check_commit, check_start};
use super::{Entry, Flaw, HardState, SegmentName, SnapshotRecord, names};
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
}

/// Checks every record of every segment there is, from whichever snapshot on: checksums, their chain, messages. With the
/// directory of the snapshots also that the member can be opened: that one of those the log knows is there, and that no entry
/// is missing from it up to what was committed. Changes nothing; the error is the first damage.
///
/// Without that directory entries that are missing are told where no snapshot of the log's can stand for them.
///
/// What no reader can tell is a last segment that is gone together with what was committed in it.
pub fn check<F: Fs>(fs: &F, dir: &Path, snap_dir: Option<&Path>) -> Result<Checked> {
    let mut found = Checked { segments: names::segments(fs, dir)?, ..Checked::default() };
    for pair in found.segments.windows(2) {
        if pair[0].seq.checked_add(1) != Some(pair[1].seq) {
            return Err(Error::from(Flaw::SegmentMissing { index: pair[1].index }).at_path(dir));
        }
    }
    let known = found.records(fs, dir)?;
    if let Some(snap_dir) = snap_dir {
        let first = found.segments[0];
        let snapshot = Snapshotter::new(fs.clone(), snap_dir).newest_readable(&known)?;
        check_start(first, &known, snapshot.as_ref()).map_err(|flaw| Error::from(flaw).at_path(snap_dir))?;
        let start = snapshot.map_or(SnapshotRecord::default(), |snapshot| snapshot.record());
        let (contents, stopped) = Reader::open(fs.clone(), dir, &start)?.read()?;
        stopped.map_or(Ok(()), Err)?;
        check_commit(&start, &contents).map_err(|flaw| Error::from(flaw).at_path(dir))?;
        found.start = Some(start);
    }
    Ok(found)
}

/// The same of one segment alone: what came before is taken from its first record.
pub fn check_segment<F: Fs>(fs: &F, path: &Path) -> Result<Checked> {
    let name = path.file_name().and_then(SegmentName::parse);
    let name = name.ok_or_else(|| Error::from(Flaw::Parse("the name of a segment")).at_path(path))?;
    let mut found = Checked { segments: vec![name], ..Checked::default() };
    found.records(fs, parent(path))?;
    Ok(found)
}

impl Checked {
    /// Reads its segments. Gives the snapshots that the log knows.
    fn records<F: Fs>(&mut self, fs: &F, dir: &Path) -> Result<Vec<SnapshotRecord>> {
        let names = self.segments.clone();
        let (mut metadata, mut snapshots) = (None, Snapshots::default());
        let mut gaps = Gaps::new(names[0]);
        let walk = walk(fs, dir, &names, |name, record| {
            snapshots.take(record)?;
            self.take(record, &mut metadata, |index| gaps.take(*name, record.offset, index))
        })?;
        if let Some(damage) = walk.damage() {
            return Err(damage);
        }
        match walk.flaw {
            None => {}
            Some(Flaw::Torn) => self.torn = Some(walk.place()),
            Some(_) => walk.error().map_or(Ok(()), Err)?,
        }
        self.records = walk.records;
        if walk.flaw.is_none()
            && let Some((name, offset, flaw)) = gaps.after(snapshots.last_index())
        {
            return Err(Error::from(flaw).at_path(&dir.join(name.file_name())).at_offset(offset));
        }
        self.behind = walk.behind();
        Ok(snapshots.committed())
    }

    fn take(
        &mut self,
        record: &RawRecord<'_>,
        metadata: &mut Option<Vec<u8>>,
        entry: impl FnOnce(u64),
    ) -> Result<(), Flaw> {
        let data = record.data.unwrap_or_default();
        match record.kind {
            kind::ENTRY => {
                entry(Entry::decode(data)?.index);
                self.entries += 1;
            }
            kind::STATE => self.state = HardState::decode(data)?,
            kind::SNAPSHOT => {}
            kind::METADATA if metadata.as_deref().is_none_or(|known| known == data) => {
                *metadata = Some(data.to_vec());
            }
            kind::METADATA => return Err(Flaw::MetadataConflict),
            unknown => return Err(Flaw::RecordKind(unknown)),
        }
        Ok(())
    }
}

/// Entries that do not follow those before them. What is known of a snapshot only an opening can tell; where none comes
/// close to such an entry there is no opening.
struct Gaps {
    /// The index of the entry before, if it has to be there.
    last: Option<u64>,
    found: Vec<(SegmentName, u64, Flaw)>,
}

impl Gaps {
    /// Of a log that begins with the segment `first`; before the very first one there is no entry.
    fn new(first: SegmentName) -> Self {
        Self { last: (first.seq == 0).then_some(0), found: Vec::new() }
    }

    /// Takes the index of the entry at `offset` of a segment.
    fn take(&mut self, name: SegmentName, offset: u64, index: u64) {
        if let Some(last) = self.last.replace(index).filter(|last| index.saturating_sub(1) > *last) {
            self.found.push((name, offset, Flaw::Gap { index, last }));
        }
    }

    /// The first one behind `snapshot`.
    fn after(self, snapshot: u64) -> Option<(SegmentName, u64, Flaw)> {
        let open = |gap: &(_, _, Flaw)| matches!(gap.2, Flaw::Gap { index, .. } if snapshot < index.saturating_sub(1));
        self.found.into_iter().find(open)
    }
}
