//! Opening: replay first, change afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{METADATA, State, TEMPORARY, begin};
use crate::etcd::encoder::Appender;
use crate::etcd::frame::{RawRecord, Scan, kind};
use crate::etcd::names::{self, SegmentName};
use crate::etcd::proto::{EntryKind, HardState};
use crate::etcd::repair::lock;
use crate::etcd::{Entry, Flaw, salvage};
use crate::fs::{Fs, FsFile};
use crate::recover::{Torn, as_refusal};
use crate::{Error, ErrorKind, LogOptions, Position, Record, RecordKind, Recovery, RecoveryMode, Result};

pub(super) fn open<F: Fs>(
    fs: &F,
    dir: &Path,
    options: &LogOptions,
    replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<(State<F>, Recovery)> {
    let bytes = options.segment_bytes.into();
    let names = names::segments(fs, dir).unwrap_or_default();
    let mut segments = Vec::new();
    for &name in &names {
        let path = dir.join(name.file_name());
        let file = fs.open(&path).map_err(|error| Error::io("open", error).at_path(&path))?;
        lock(&file, &path)?;
        segments.push((name, Arc::new(file)));
    }
    let (found, end) = read(fs, dir, options, &names, replay)?;
    // Until here nothing was changed.
    drop(fs.remove(&dir.join(TEMPORARY)));
    let appender = if let (Some((name, file)), Some((offset, content))) = (segments.last(), end) {
        let path = dir.join(name.file_name());
        let ready = reuse(&**file, offset, &content, bytes);
        ready.map_err(|error| Error::io("cut", error).at_path(&path))?;
        Appender::new(Arc::clone(file), bytes, offset, found.crc)
    } else {
        let first = SegmentName { seq: 0, index: 0 };
        let appender = begin(fs, dir, first, 0, 0, bytes)?;
        segments.push((first, Arc::clone(&appender.file)));
        appender
    };
    let last = found.last;
    let state = State {
        segments,
        appender: Some(appender),
        spare: Vec::new(),
        last,
        written: last,
        durable: last,
        marked: found.marked,
        leading: false,
        poison: None,
        closed: false,
        ended: false,
    };
    Ok((state, found.recovery))
}

/// Whether a directory has segments of etcd's name.
pub(crate) fn holds_segments<F: Fs>(fs: &F, dir: &Path) -> bool {
    names::segments(fs, dir).is_ok()
}

/// Replays a log that belongs to somebody else, and changes nothing.
pub(crate) fn replay_only<F: Fs>(
    fs: &F,
    dir: &Path,
    options: &LogOptions,
    replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Recovery> {
    let names = names::segments(fs, dir)?;
    read(fs, dir, options, &names, replay).map(|(found, _)| found.recovery)
}

/// Where the last segment ends, and its bytes.
type End = Option<(u64, Vec<u8>)>;

fn read<F: Fs>(
    fs: &F,
    dir: &Path,
    options: &LogOptions,
    names: &[SegmentName],
    replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<(Found, End)> {
    let strict = options.recovery == RecoveryMode::Strict;
    let mut reader = Reader { dir, strict, replay, found: Found::default() };
    let mut end = None;
    for (at, &name) in names.iter().enumerate() {
        if at > 0 && name.seq != names[at - 1].seq + 1 {
            return Err(Error::from(Flaw::SegmentMissing { index: name.index }).at_path(dir));
        }
        let path = dir.join(name.file_name());
        let content = fs.read(&path).map_err(|error| Error::io("read", error).at_path(&path))?;
        let last = at + 1 == names.len();
        end = Some((reader.segment(name, &path, &content, last)?, content));
    }
    Ok((reader.found, end))
}

/// Makes room behind the end of the last segment. What stands there is gone for good before anything is written:
/// else it could come back behind newer records. All that was replayed is durable, too.
fn reuse<F: FsFile>(file: &F, offset: u64, content: &[u8], bytes: u64) -> std::io::Result<()> {
    let rest = content.get(offset as usize..).unwrap_or_default();
    if rest.iter().any(|&byte| byte != 0) {
        file.set_len(offset)?;
    }
    file.allocate(bytes.max(offset))?;
    file.sync_all()
}

/// What was read so far.
#[derive(Default)]
struct Found {
    crc: u32,
    last: u64,
    marked: u64,
    recovery: Recovery,
}

struct Reader<'a, R> {
    dir: &'a Path,
    strict: bool,
    replay: R,
    found: Found,
}

impl<R: FnMut(Position, Record<'_>) -> Result<()>> Reader<'_, R> {
    /// Replays a segment. Gives the end of its last good record.
    fn segment(&mut self, name: SegmentName, path: &Path, bytes: &[u8], last: bool) -> Result<u64> {
        let mut scan = Scan::new(bytes, self.found.crc, last);
        let mut metadata = false;
        let records = self.found.recovery.records;
        if records == 0 {
            self.found.last = name.index.saturating_sub(1);
        }
        let flaw = loop {
            let offset = scan.at;
            let taken = match scan.next() {
                Ok(None) => break (offset, None),
                Ok(Some(record)) if !record.canonical => Err(Flaw::Parse("a length and padding as written")),
                Ok(Some(record)) if record.kind == kind::CRC => scan.chain(&record),
                Ok(Some(record)) => {
                    metadata |= record.kind == kind::METADATA;
                    self.record(&record, path)?
                }
                Err(flaw) => Err(flaw),
            };
            if let Err(flaw) = taken {
                break (offset, Some(flaw));
            }
        };
        self.found.crc = scan.crc;
        self.found.recovery.segments += u64::from(self.found.recovery.records > records);
        let (offset, flaw) = flaw;
        let behind = bytes.get(offset as usize..).unwrap_or_default();
        let used = behind.iter().rposition(|&byte| byte != 0).map_or(0, |at| at as u64 + 1);
        if flaw.is_none() && used == 0 {
            // The head was durable before the segment had its name.
            return if metadata { Ok(offset) } else { Err(damaged(path, 0, "a segment without a head")) };
        }
        let text = flaw.as_ref().map_or("bytes behind the end", found);
        if !last || !metadata || (self.strict && self.was_durable(bytes, offset)) {
            return Err(damaged(path, offset, text));
        }
        let torn = Torn { path: PathBuf::from(path), offset, dropped_bytes: used, found: text };
        tracing::warn!(path = %path.display(), offset, torn.dropped_bytes, torn.found, "cut");
        self.found.recovery.torn.push(torn);
        Ok(offset)
    }

    /// Takes one record; the outer error is what the caller of `open` is told in any case.
    fn record(&mut self, record: &RawRecord<'_>, path: &Path) -> Result<Result<(), Flaw>> {
        let data = record.data.unwrap_or_default();
        match record.kind {
            kind::METADATA if data == METADATA => Ok(Ok(())),
            kind::METADATA => {
                let flaw = Flaw::Parse("the metadata of a log of this kind, not a member's of etcd");
                Err(Error::from(flaw).at_path(self.dir))
            }
            kind::STATE => Ok(HardState::decode(data).map(|state| self.found.marked = state.commit)),
            kind::SNAPSHOT => Ok(Ok(())),
            kind::ENTRY => match self.entry(data) {
                Ok((at, kind, payload)) => {
                    self.found.recovery.records += 1;
                    self.found.recovery.bytes += payload.len() as u64;
                    let taken = (self.replay)(at, Record { kind, payload });
                    taken.map_err(|error| as_refusal(error).at_path(path).at_offset(record.offset))?;
                    Ok(Ok(()))
                }
                Err(flaw) => Ok(Err(flaw)),
            },
            unknown => Ok(Err(Flaw::RecordKind(unknown))),
        }
    }

    fn entry<'b>(&mut self, data: &'b [u8]) -> Result<(Position, RecordKind, &'b [u8]), Flaw> {
        let Entry { kind, index, data: content, .. } = Entry::decode(data)?;
        let len = content.as_ref().map_or(0, bytes::Bytes::len);
        // The content is the last field, as it was written.
        let content = &data[data.len() - len..];
        let (tag, payload) = content.split_first().ok_or(Flaw::Parse("the kind of a record"))?;
        let record = RecordKind::from_tag(*tag).filter(|_| kind == EntryKind::NORMAL);
        let record = record.ok_or(Flaw::Parse("the kind of a record"))?;
        if index != self.found.last + 1 {
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
        });
        durable
    }
}

fn damaged(path: &Path, offset: u64, found: &'static str) -> Error {
    Error::new(ErrorKind::Damaged { found }).at_path(path).at_offset(offset)
}

fn found(flaw: &Flaw) -> &'static str {
    match flaw {
        Flaw::Torn => "an incomplete record",
        Flaw::Crc { .. } => "a wrong checksum",
        Flaw::Chain { .. } => "a segment that does not follow",
        Flaw::Gap { .. } => "an entry that does not follow",
        _ => "bytes that are no record",
    }
}
