//! Reading a log: one walk over the records of its segments, and what different readers make of it.

use std::path::{Path, PathBuf};

use super::frame::{RawRecord, SEGMENT_BYTES_MAX, Scan, kind};
use super::names::{self, SegmentName};
use super::proto::Fields;
use super::raw::RawRecords;
use super::salvage::{self, Behind};
use super::{Entry, EtcdError, HardState, SnapshotRecord, Strictness};
use crate::fs::Fs;
use crate::{Error, Result};

/// What a log holds from the snapshot on at which it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// What was given to [`Wal::create`](super::Wal::create).
    pub metadata: Option<Vec<u8>>,
    /// The last hard state.
    pub state: HardState,
    /// The entries after the snapshot. Of entries with the same index the last one counts, and ends the list.
    pub entries: Vec<Entry>,
    /// Where the log is torn, when it was read without being opened for writing: what follows is not in `entries`.
    pub torn: Option<Place>,
    /// What was wiped behind the end of the log when it was opened for writing.
    pub wiped: Option<Wiped>,
}

/// A place in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub path: PathBuf,
    /// The end of the last whole record.
    pub offset: u64,
}

/// Bytes behind the end of a log that were no zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wiped {
    /// Where they began to be wiped.
    pub place: Place,
    /// How many, up to the last that was not zero.
    pub bytes: u64,
    /// How many whole records were among them, at least. Unless the write before a crash was of several
    /// records, this is damage that took records with it.
    pub records: u64,
    /// Whether they show that more was durable than can be read: then it is damage for certain.
    pub acknowledged: bool,
}

/// A log that is only looked at, without lock; somebody may be writing to it.
#[derive(Debug)]
pub struct Reader<F> {
    pub(super) fs: F,
    pub(super) dir: PathBuf,
    pub(super) names: Vec<SegmentName>,
    pub(super) start: SnapshotRecord,
}

impl<F: Fs> Reader<F> {
    /// Looks for the segments that hold what comes after the snapshot `start`.
    pub fn open(fs: F, dir: &Path, start: &SnapshotRecord) -> Result<Self> {
        let names = names::from_index(&fs, dir, start.index)?;
        Ok(Self { fs, dir: dir.to_path_buf(), names, start: start.clone() })
    }

    /// What the log holds. A torn tail ends it without being an error.
    pub fn read_all(&self) -> Result<Contents> {
        let (contents, stopped) = self.read()?;
        stopped.map_or(Ok(contents), Err)
    }

    /// What the log holds up to the first flaw, and that flaw, if it is one for etcd.
    pub fn read(&self) -> Result<(Contents, Option<Error>)> {
        let mut fold = Fold::new(&self.start, true);
        let walk = self.walk(&mut fold)?;
        let mut contents = fold.contents;
        let stopped = match walk.flaw {
            None => None,
            Some(EtcdError::Torn) => {
                contents.torn = Some(walk.place());
                None
            }
            Some(_) => walk.error(),
        };
        let found = fold.matched || stopped.is_some();
        Ok((contents, if found { stopped } else { Some(self.not_found()) }))
    }

    pub(super) fn walk(&self, fold: &mut Fold<'_>) -> Result<Walk> {
        walk(&self.fs, &self.dir, &self.names, |name, record| fold.take(name, record))
    }

    pub(super) fn not_found(&self) -> Error {
        let (index, term) = (self.start.index, self.start.term);
        Error::from(EtcdError::SnapshotNotFound { index, term }).at_path(&self.dir)
    }
}

/// Whose log it is, as its first segment says: what was given to [`Wal::create`](super::Wal::create). Nothing is checked,
/// locked or changed.
pub fn metadata<F: Fs>(fs: &F, dir: &Path) -> Result<Option<Vec<u8>>> {
    let path = dir.join(names::segments(fs, dir)?[0].file_name());
    let bytes = fs.read_segment(&path, SEGMENT_BYTES_MAX);
    let bytes = bytes.map_err(|error| Error::io("read", error).at_path(&path))?;
    for record in RawRecords::new(&bytes) {
        let record = record.map_err(|flaw| Error::from(flaw).at_path(&path))?;
        if record.kind == kind::METADATA {
            return Ok(record.data.map(<[u8]>::to_vec));
        }
    }
    Err(Error::from(EtcdError::Headless).at_path(&path))
}

/// Whether the log in `dir` is that of a member of etcd itself, which has a database beside its snapshots: its metadata
/// holds the numbers of the member and of its cluster, and nothing else.
pub fn is_member<F: Fs>(fs: &F, dir: &Path) -> bool {
    metadata(fs, dir).is_ok_and(|found| found.is_some_and(|found| is_of_member(&found)))
}

pub(super) fn is_of_member(metadata: &[u8]) -> bool {
    let (mut node, mut cluster) = (0, 0);
    let read = Fields::each("metadata", metadata, |number, value| {
        match number {
            1 => node = value.number()?,
            2 => cluster = value.number()?,
            _ => return None,
        }
        Some(())
    });
    read.is_ok() && node != 0 && cluster != 0
}

/// Checks every record from the snapshot `start` on without keeping any; a torn tail is no flaw. Gives the last hard
/// state.
pub fn verify<F: Fs>(fs: F, dir: &Path, start: &SnapshotRecord) -> Result<HardState> {
    let reader = Reader::open(fs, dir, start)?;
    let mut fold = Fold::new(start, false);
    let walk = reader.walk(&mut fold)?;
    match walk.flaw {
        None | Some(EtcdError::Torn) if fold.matched => Ok(fold.contents.state),
        None | Some(EtcdError::Torn) => Err(reader.not_found()),
        Some(_) => walk.error().map_or(Ok(fold.contents.state), Err),
    }
}

/// The snapshots that the log knows and that are committed, oldest first: a log may be opened at any of them whose
/// segments are there. Segments may be purged meanwhile. As to etcd, the log ends where it is torn, in whichever segment.
pub fn valid_snapshot_entries<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<SnapshotRecord>> {
    known_snapshots(fs, dir, Strictness::Etcd)
}

/// The same, with an error at what `strictness` takes for damage.
pub(super) fn known_snapshots<F: Fs>(
    fs: &F,
    dir: &Path,
    strictness: Strictness,
) -> Result<Vec<SnapshotRecord>> {
    loop {
        let names = names::segments(fs, dir)?;
        match snapshots_in(fs, dir, &names, strictness) {
            // Purging goes on from the front.
            Err(error) if error.is_missing() && names::segments(fs, dir)?.first() > names.first() => {}
            found => return found,
        }
    }
}

fn snapshots_in<F: Fs>(
    fs: &F,
    dir: &Path,
    names: &[SegmentName],
    strictness: Strictness,
) -> Result<Vec<SnapshotRecord>> {
    let mut found = Snapshots::default();
    let walk = walk(fs, dir, names, |_, record| found.take(record))?;
    if let Some(damage) = walk.damage().filter(|_| strictness != Strictness::Etcd) {
        return Err(damage);
    }
    match walk.flaw {
        None | Some(EtcdError::Torn) => {}
        Some(_) => walk.error().map_or(Ok(()), Err)?,
    }
    Ok(found.committed())
}

/// The snapshots of records.
#[derive(Default)]
pub(super) struct Snapshots {
    all: Vec<SnapshotRecord>,
    commit: u64,
}

impl Snapshots {
    pub(super) fn take(&mut self, record: &RawRecord<'_>) -> Result<(), EtcdError> {
        let data = record.data.unwrap_or_default();
        match record.kind {
            kind::SNAPSHOT => self.all.push(SnapshotRecord::decode(data)?),
            kind::STATE => self.commit = HardState::decode(data)?.commit,
            _ => {}
        }
        Ok(())
    }

    /// The greatest index of any.
    pub(super) fn last_index(&self) -> u64 {
        self.all.iter().map(|snapshot| snapshot.index).max().unwrap_or(0)
    }

    pub(super) fn committed(mut self) -> Vec<SnapshotRecord> {
        self.all.retain(|snapshot| snapshot.index <= self.commit);
        self.all
    }
}

/// Where a walk over segments ended.
pub(super) struct Walk {
    path: PathBuf,
    pub(super) name: SegmentName,
    /// It is the last segment.
    last: bool,
    /// Behind the last good record.
    pub(super) offset: u64,
    /// The running checksum there.
    pub(super) crc: u32,
    /// How many good records there are up to there, in all segments.
    pub(super) records: u64,
    /// And in this one.
    pub(super) of_last: u64,
    /// Why, unless it was the end.
    pub(super) flaw: Option<EtcdError>,
    /// The segment's bytes, without the last of more zeros than a record could have.
    pub(super) bytes: Vec<u8>,
}

impl Walk {
    pub(super) fn place(&self) -> Place {
        Place { path: self.path.clone(), offset: self.offset }
    }

    pub(super) fn error(&self) -> Option<Error> {
        let flaw = self.flaw.clone()?;
        Some(Error::from(flaw).at_path(&self.path).at_offset(self.offset))
    }

    /// Damage that etcd takes for the end of the log.
    pub(super) fn damage(&self) -> Option<Error> {
        let flaw = match self.flaw {
            Some(EtcdError::Torn) if !self.last => EtcdError::CutShort,
            None if self.name.seq > 0 && self.last && self.bytes.iter().all(|&byte| byte == 0) => {
                EtcdError::EmptySegment
            }
            None | Some(EtcdError::Torn) if self.of_last < head_records(self.name) => EtcdError::Headless,
            _ => return None,
        };
        Some(Error::from(flaw).at_path(&self.path).at_offset(self.offset))
    }

    /// The bytes of the segment up to there.
    pub(super) fn read(&self) -> &[u8] {
        self.bytes.get(..self.offset as usize).unwrap_or_default()
    }

    /// What stands behind the end that is no zero.
    pub(super) fn behind(&self) -> Option<Wiped> {
        let rest = self.bytes.get(self.offset as usize..).unwrap_or_default();
        let bytes = rest.iter().rposition(|&byte| byte != 0)? as u64 + 1;
        let Behind { records, acknowledged } = salvage::behind(&self.bytes, self.offset, self.name);
        Some(Wiped { place: self.place(), bytes, records, acknowledged })
    }
}

/// The records that a segment has durably before it has its name: the checksum, metadata, in the first one a snapshot's
/// record, in the others a state, if there is one.
pub(super) fn head_records(name: SegmentName) -> u64 {
    if name.seq == 0 { 3 } else { 2 }
}

/// Gives every record to `take`, checksums and their chain checked.
pub(super) fn walk<F: Fs>(
    fs: &F,
    dir: &Path,
    names: &[SegmentName],
    mut take: impl FnMut(&SegmentName, &RawRecord<'_>) -> Result<(), EtcdError>,
) -> Result<Walk> {
    let (mut crc, mut records) = (0, 0);
    for (at, name) in names.iter().enumerate() {
        let path = dir.join(name.file_name());
        let bytes = fs
            .read_segment(&path, SEGMENT_BYTES_MAX)
            .map_err(|error| Error::io("read", error).at_path(&path))?;
        let last = at + 1 == names.len();
        let mut scan = Scan::new(&bytes, crc, last);
        let mut of_last = 0;
        let (offset, mut flaw) = loop {
            let offset = scan.at;
            let taken = match scan.next() {
                Ok(None) => break (offset, None),
                Ok(Some(record)) if record.kind == kind::CRC => scan.chain(&record),
                Ok(Some(record)) => take(name, &record),
                Err(flaw) => Err(flaw),
            };
            if let Err(flaw) = taken {
                break (offset, Some(flaw));
            }
            of_last += 1;
        };
        records += of_last;
        if flaw.is_none() && offset == 0 && !last {
            flaw = Some(EtcdError::Headless);
        }
        crc = scan.crc;
        if flaw.is_some() || last {
            return Ok(Walk { path, name: *name, last, offset, crc, records, of_last, flaw, bytes });
        }
    }
    Err(Error::from(EtcdError::SegmentMissing { index: 0 }).at_path(dir))
}

/// What a reader makes of the records.
pub(super) struct Fold<'a> {
    start: &'a SnapshotRecord,
    /// Otherwise they are only checked.
    keep: bool,
    pub(super) contents: Contents,
    /// The snapshot that the log is opened at is in it.
    pub(super) matched: bool,
    /// The index of the entry that was saved last.
    pub(super) last_index: u64,
    /// The segment with the last hard state.
    pub(super) state_seq: Option<u64>,
}

impl<'a> Fold<'a> {
    pub(super) fn new(start: &'a SnapshotRecord, keep: bool) -> Self {
        let contents = Contents::default();
        Self { start, keep, contents, matched: false, last_index: 0, state_seq: None }
    }

    fn take(&mut self, name: &SegmentName, record: &RawRecord<'_>) -> Result<(), EtcdError> {
        let data = record.data.unwrap_or_default();
        match record.kind {
            kind::ENTRY if self.keep => self.entry(Entry::decode(data)?),
            kind::ENTRY => Ok(()),
            kind::STATE => {
                self.contents.state = HardState::decode(data)?;
                self.state_seq = Some(name.seq);
                Ok(())
            }
            kind::METADATA => match (&self.contents.metadata, record.data) {
                (Some(known), found) if found.unwrap_or_default() != known => {
                    Err(EtcdError::MetadataConflict)
                }
                (_, found) => {
                    self.contents.metadata = found.map(<[u8]>::to_vec);
                    Ok(())
                }
            },
            kind::SNAPSHOT => self.snapshot(&SnapshotRecord::decode(data)?),
            unknown => Err(EtcdError::RecordKind(unknown)),
        }
    }

    fn entry(&mut self, entry: Entry) -> Result<(), EtcdError> {
        let index = entry.index;
        if let Some(after) = index.checked_sub(self.start.index).and_then(|after| after.checked_sub(1)) {
            let entries = &mut self.contents.entries;
            let have = entries.len() as u64;
            if after > have {
                return Err(EtcdError::Gap { index, last: self.start.index.saturating_add(have) });
            }
            entries.truncate(after as usize);
            entries.push(entry);
        }
        self.last_index = index;
        Ok(())
    }

    fn snapshot(&mut self, found: &SnapshotRecord) -> Result<(), EtcdError> {
        let SnapshotRecord { index, term, .. } = *self.start;
        if found.index == index {
            if found.term != term {
                return Err(EtcdError::SnapshotMismatch { index, found: found.term, expected: term });
            }
            self.matched = true;
        }
        Ok(())
    }
}
