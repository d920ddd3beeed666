//! Replaying: the segments one after the other, and around what of them is damaged.

use std::path::{Path, PathBuf};

use super::format::{INDEX_MAX, METADATA};
use super::open::numbers_end;
use crate::entry;
use crate::etcd::frame::{RawRecord, SEGMENT_BYTES_MAX, Scan, kind};
use crate::etcd::names::{self, SegmentName};
use crate::etcd::proto::{EntryKind, HardState};
use crate::etcd::{Entry, Flaw, salvage};
use crate::fs::Fs;
use crate::kind::used_len;
use crate::recover::{Records, as_refusal, reason_of};
use crate::{
    Error, ErrorKind, Gap, GapKind, NotReplayed, Position, Progress, Record, RecordKind, Recovery,
    RecoveryMode, Replay, Result,
};

const HEADLESS: &str = "a segment without a head";
const BEYOND: &str = "a state of more entries than there are";
const GONE: &str = "a segment before it is gone";

/// Who takes what the log holds.
pub(super) trait Sink {
    fn record(&mut self, at: Position, record: Record<'_>) -> Result<()>;

    fn progress(&mut self, _: Progress) {}

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

impl<R: FnMut(Position, Record<'_>) -> Result<()>> Sink for Records<R> {
    fn record(&mut self, at: Position, record: Record<'_>) -> Result<()> {
        (self.0)(at, record)
    }
}

/// Decodes the payloads. The checksums of all records are one chain, so that there is little to do side by side.
pub(super) struct Entries<'a>(pub(super) &'a mut dyn Replay);

impl Sink for Entries<'_> {
    fn record(&mut self, at: Position, record: Record<'_>) -> Result<()> {
        self.0.entry(at, &entry::decode(record.kind, record.payload)?)
    }

    fn progress(&mut self, progress: Progress) {
        self.0.progress(progress);
    }

    fn end(&mut self) -> Result<()> {
        self.0.end().map_err(as_refusal)
    }
}

/// Replays a log that belongs to somebody else, and changes nothing.
pub(crate) fn replay_only<F: Fs>(
    fs: &F,
    dir: &Path,
    mode: RecoveryMode,
    replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Recovery> {
    let names = names::segments(fs, dir)?;
    read(fs, dir, mode, &names, Records(replay)).map(|(found, _)| found.recovery)
}

/// What becomes of the last segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It ends here, and the log goes on in it.
    At(u64),
    /// It stays as it is, damaged.
    Left,
    /// Its head is damaged, and with it all of it.
    Headless,
}

/// The last segment, if there is one, and its bytes.
pub(super) type Last = Option<(End, Vec<u8>)>;

pub(super) fn read<F: Fs>(
    fs: &F,
    dir: &Path,
    mode: RecoveryMode,
    names: &[SegmentName],
    sink: impl Sink,
) -> Result<(Found, Last)> {
    let mut reader = Reader { dir, mode, sink, found: Found::default() };
    let mut end = None;
    for (at, &name) in names.iter().enumerate() {
        if name.index > INDEX_MAX {
            return Err(numbers_end(dir, name));
        }
        let path = dir.join(name.file_name());
        reader.follow(at.checked_sub(1).map(|before| names[before]), name, &path)?;
        let content = fs
            .read_within(&path, SEGMENT_BYTES_MAX)
            .map_err(|error| Error::io("read", error).at_path(&path))?;
        let last = at + 1 == names.len();
        end = Some((reader.segment(name, &path, &content, last)?, content));
        let Recovery { records, bytes, .. } = reader.found.recovery;
        let (segments, segments_total) = (at as u64 + 1, names.len() as u64);
        reader.sink.progress(Progress { segments, segments_total, records, bytes });
    }
    if let (Some(name), Some((end, _))) = (names.last(), &mut end) {
        reader.reach(&dir.join(name.file_name()), end)?;
    }
    reader.sink.end()?;
    Ok((reader.found, end))
}

/// What was read so far.
#[derive(Default)]
pub(super) struct Found {
    pub(super) crc: u32,
    pub(super) last: u64,
    pub(super) marked: u64,
    /// Something was left out and the replay went on: indices may be missing.
    salvaged: bool,
    /// Some segment said that it is of a log of this kind.
    ours: bool,
    pub(super) recovery: Recovery,
}

struct Reader<'a, S> {
    dir: &'a Path,
    mode: RecoveryMode,
    sink: S,
    found: Found,
}

/// A place where a segment cannot be read on.
struct Bad<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    offset: u64,
    found: &'static str,
    /// Records of the segment before it.
    kept: u64,
    damaged: bool,
}

impl<S: Sink> Reader<'_, S> {
    /// Replays a segment.
    fn segment(&mut self, name: SegmentName, path: &Path, bytes: &[u8], last: bool) -> Result<End> {
        let (before, records) = (self.found.crc, self.found.recovery.records);
        let mut scan = Scan::new(bytes, before, last);
        let mut head = Head { metadata: false, snapshot: name.seq > 0 };
        let mut damaged = false;
        let end = loop {
            let (offset, flaw) = self.records(&mut scan, &mut head, path)?;
            let kept = self.found.recovery.records - records;
            let used = used_behind(bytes, offset);
            let text = match &flaw {
                None if used == 0 && (head.metadata || damaged) => break End::At(offset),
                // The head was durable before the segment had its name.
                None if used == 0 => HEADLESS,
                None => "bytes behind the end",
                Some(flaw) => found(flaw),
            };
            damaged = damaged || !last || !head.metadata || self.was_durable(bytes, offset);
            let bad = Bad { path, bytes, offset, found: text, kept, damaged };
            match self.judge(&bad, last)? {
                Some((crc, at)) => (scan.crc, scan.at, self.found.salvaged) = (crc, at, true),
                None if damaged && self.mode == RecoveryMode::Salvage => {
                    // Nobody knows the checksum at its end; zero takes any.
                    (scan.crc, self.found.salvaged) = (0, true);
                    break End::Left;
                }
                None if head.is_whole() => break End::At(offset),
                None => {
                    scan.crc = before;
                    break End::Headless;
                }
            }
        };
        self.found.crc = scan.crc;
        self.found.recovery.segments += u64::from(self.found.recovery.records > records);
        Ok(if damaged && self.mode == RecoveryMode::Salvage { End::Left } else { end })
    }

    /// Replays what can be read. Gives the end of its last good record, and what is wrong there.
    fn records(&mut self, scan: &mut Scan<'_>, head: &mut Head, path: &Path) -> Result<(u64, Option<Flaw>)> {
        loop {
            let (offset, crc) = (scan.at, scan.crc);
            let taken = match scan.next() {
                Ok(None) => return Ok((offset, None)),
                Ok(Some(record)) if !record.canonical => Err(Flaw::Parse("a length and padding as written")),
                Ok(Some(record)) if record.kind == kind::CRC => scan.chain(&record),
                // Without a head the segment goes, and with it what it has.
                Ok(Some(record)) if record.kind == kind::ENTRY && !self.takes_entries(head) => {
                    Err(Flaw::Parse(HEADLESS))
                }
                Ok(Some(record)) => {
                    head.metadata |= record.kind == kind::METADATA;
                    head.snapshot |= record.kind == kind::SNAPSHOT;
                    self.record(&record, path)?
                }
                Err(flaw) => Err(flaw),
            };
            if let Err(flaw) = taken {
                // What is written here follows the last good record.
                scan.crc = crc;
                return Ok((offset, Some(flaw)));
            }
        }
    }

    fn takes_entries(&self, head: &Head) -> bool {
        head.metadata || self.mode == RecoveryMode::Salvage
    }

    /// Refuses a bad place or reports it. Gives the checksum and the place to go on with, if the mode is to.
    fn judge(&mut self, bad: &Bad<'_>, last: bool) -> Result<Option<(u32, u64)>> {
        let salvage = self.mode == RecoveryMode::Salvage;
        let refused = if last { self.mode == RecoveryMode::Strict } else { !salvage };
        if bad.damaged && refused {
            return Err(damaged(bad.path, bad.offset, bad.found));
        }
        let behind = if bad.damaged { salvage::resume(bad.bytes, bad.offset) } else { None };
        let resumed = behind.filter(|_| salvage);
        let left_out = resumed.map_or_else(|| used_behind(bad.bytes, bad.offset), |(_, at)| at - bad.offset);
        let gap = Gap {
            kind: if bad.damaged { GapKind::Corruption } else { GapKind::TornTail },
            path: PathBuf::from(bad.path),
            offset: bad.offset,
            kept_records: bad.kept,
            dropped_bytes: left_out,
            resumed_at: resumed.map(|(_, at)| at),
            missing: None,
            found: bad.found,
        };
        tracing::warn!(path = %gap.path.display(), gap.offset, gap.dropped_bytes, gap.found, "left out");
        self.found.recovery.gaps.push(gap);
        Ok(resumed)
    }

    /// Goes from one segment, if there is one, to the next, whose name says what must have been before it: the file of the one
    /// between may be gone, or the end of the one before, without a trace.
    fn follow(&mut self, before: Option<SegmentName>, name: SegmentName, path: &Path) -> Result<()> {
        let Some(before) = before else {
            self.found.last = name.index.saturating_sub(1);
            return Ok(());
        };
        let due = self.found.last.saturating_add(1);
        let gone = before.seq.checked_add(1) != Some(name.seq);
        if self.mode != RecoveryMode::Salvage && (gone || due < name.index) {
            let kind = match name.index.checked_sub(1) {
                Some(last) if due <= last => ErrorKind::Missing { first: due, last },
                _ => ErrorKind::Damaged { found: GONE },
            };
            return Err(Error::new(kind).at_path(path));
        }
        if gone {
            self.joint(path, GONE);
        }
        if gone || due < name.index {
            // Nobody knows the checksum before it; zero takes any.
            (self.found.crc, self.found.salvaged) = (0, true);
        }
        self.skip_to(name.index, path);
        Ok(())
    }

    /// The last segment was read: a state may tell of entries behind its last one. The checksum does not cover the kind, and
    /// what one bit makes of an entry may be read as a state.
    fn reach(&mut self, path: &Path, end: &mut End) -> Result<()> {
        let (due, last) = (self.found.last.saturating_add(1), self.found.marked.min(INDEX_MAX));
        if last < due {
            return Ok(());
        }
        if self.mode == RecoveryMode::Strict {
            return Err(Error::new(ErrorKind::Damaged { found: BEYOND }).at_path(path));
        }
        self.joint(path, BEYOND);
        if self.mode == RecoveryMode::Salvage {
            self.skip_to(last + 1, path);
            // Within a segment a gap is damage; the name of the next one tells of it.
            *end = End::Left;
        } else {
            // As if it had been cut at its first bad entry.
            self.found.marked = self.found.last;
        }
        Ok(())
    }

    /// Something is missing before this segment.
    fn joint(&mut self, path: &Path, found: &'static str) {
        tracing::warn!(path = %path.display(), found, "does not follow");
        self.found.recovery.gaps.push(Gap {
            kind: GapKind::MissingSegment,
            path: PathBuf::from(path),
            offset: 0,
            kept_records: 0,
            dropped_bytes: 0,
            resumed_at: Some(0),
            missing: None,
            found,
        });
    }

    /// What is next, in this segment, has this index: those before it are missing at the last place that was left out, unless
    /// records were read since of which others were missing.
    fn skip_to(&mut self, index: u64, path: &Path) {
        let due = self.found.last.saturating_add(1);
        if due >= index {
            return;
        }
        let told = |gap: &Gap| gap.missing.as_ref().is_some_and(|missing| missing.end != due);
        if self.found.recovery.gaps.last().is_none_or(told) {
            self.joint(path, "entries before it are gone");
        }
        if let Some(gap) = self.found.recovery.gaps.last_mut() {
            let first = gap.missing.as_ref().map_or(due, |missing| missing.start);
            gap.missing = Some(first..index);
            self.found.last = index - 1;
        }
    }

    /// Takes one record; the outer error is what the caller of `open` is told in any case.
    fn record(&mut self, record: &RawRecord<'_>, path: &Path) -> Result<Result<(), Flaw>> {
        let data = record.data.unwrap_or_default();
        match record.kind {
            kind::METADATA if data == METADATA => {
                self.found.ours = true;
                Ok(Ok(()))
            }
            // The checksum is of the data alone: one bit makes metadata of a state.
            kind::METADATA if self.found.ours => Ok(Err(Flaw::MetadataConflict)),
            kind::METADATA => {
                let flaw = Flaw::Parse("the metadata of a log of this kind, not a member's of etcd");
                Err(Error::from(flaw).at_path(self.dir))
            }
            kind::STATE => Ok(HardState::decode(data).map(|state| self.found.marked = state.commit)),
            kind::SNAPSHOT => Ok(Ok(())),
            kind::ENTRY => match self.entry(data, path) {
                Ok((at, kind, payload)) => {
                    self.found.recovery.records += 1;
                    self.found.recovery.bytes += payload.len() as u64;
                    let taken = self.sink.record(at, Record { kind, payload }).map_err(as_refusal);
                    match taken {
                        Err(error) if self.mode == RecoveryMode::Salvage => {
                            let (path, reason) = (path.to_owned(), reason_of(&error));
                            let refused = NotReplayed { path, offset: record.offset, reason };
                            self.found.recovery.refused.push(refused);
                        }
                        taken => taken.map_err(|error| error.at_path(path).at_offset(record.offset))?,
                    }
                    Ok(Ok(()))
                }
                Err(flaw) => Ok(Err(flaw)),
            },
            unknown => Ok(Err(Flaw::RecordKind(unknown))),
        }
    }

    fn entry<'b>(&mut self, data: &'b [u8], path: &Path) -> Result<(Position, RecordKind, &'b [u8]), Flaw> {
        let Entry { kind, index, data: content, .. } = Entry::decode(data)?;
        let len = content.as_ref().map_or(0, bytes::Bytes::len);
        // The content is the last field, as it was written.
        let content = &data[data.len() - len..];
        let (tag, payload) = content.split_first().ok_or(Flaw::Parse("the kind of a record"))?;
        let record = RecordKind::from_tag(*tag).filter(|_| kind == EntryKind::NORMAL);
        let record = record.ok_or(Flaw::Parse("the kind of a record"))?;
        if index > INDEX_MAX {
            return Err(Flaw::Gap { index, last: self.found.last });
        }
        if self.found.salvaged {
            self.skip_to(index, path);
        }
        if Some(index) != self.found.last.checked_add(1) {
            return Err(Flaw::Gap { index, last: self.found.last });
        }
        self.found.last = index;
        Ok((Position(2 * index), record, payload))
    }

    /// Whether a later record says that the one at `offset` had been made durable.
    fn was_durable(&self, bytes: &[u8], offset: u64) -> bool {
        let mut durable = false;
        salvage::pairs_behind(bytes, offset, |_, second, _| {
            let state = second.data.filter(|_| second.kind == kind::STATE).map(HardState::decode);
            durable |= matches!(state, Some(Ok(state)) if state.commit > self.found.last);
            !durable
        });
        durable
    }
}

/// Which records of the head were seen.
struct Head {
    metadata: bool,
    snapshot: bool,
}

impl Head {
    fn is_whole(&self) -> bool {
        self.metadata && self.snapshot
    }
}

/// Bytes from `offset` on, without the zeros at the end.
fn used_behind(bytes: &[u8], offset: u64) -> u64 {
    used_len(bytes).saturating_sub(offset)
}

fn damaged(path: &Path, offset: u64, found: &'static str) -> Error {
    Error::new(ErrorKind::Damaged { found }).at_path(path).at_offset(offset)
}

fn found(flaw: &Flaw) -> &'static str {
    match flaw {
        Flaw::Torn => "an incomplete record",
        Flaw::Parse(HEADLESS) => HEADLESS,
        Flaw::Crc { .. } => "a wrong checksum",
        Flaw::Chain { .. } => "a segment that does not follow",
        Flaw::Gap { .. } => "an entry that does not follow",
        _ => "bytes that are no record",
    }
}
