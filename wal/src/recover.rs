//! Opening a directory of segments: replay first, change afterwards.

use std::io;
use std::path::{Path, PathBuf};

use crate::fs::{Fs, FsFile};
use crate::segment::{self, Bad, Scan, Stop, Unit, Verdict};
use crate::{Error, ErrorKind, LogOptions, Position, Record, RecoveryMode, Result};

/// Held by the log that has the directory open.
const LOCK_NAME: &str = "wal.lock";

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that hold records.
    pub segments: u64,
    /// Records given to `replay`.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// What was cut off. At most one place with `RecoveryMode::Strict`: the unfinished last write before a crash.
    pub torn: Vec<Torn>,
}

/// A place where a segment was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub path: PathBuf,
    /// Its new length.
    pub offset: u64,
    /// How many bytes went, zeros at the end not counted.
    pub dropped_bytes: u64,
    /// What was found there.
    pub found: &'static str,
}

/// Creates the directory if need be and locks it.
pub(crate) fn take_directory<F: Fs>(fs: &F, dir: &Path) -> Result<F::Lock> {
    fs.create_dir_all(dir).map_err(|error| Error::io("create directory", error).at_path(dir))?;
    fs.lock(&dir.join(LOCK_NAME)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::new(ErrorKind::InUse).at_path(dir),
        _ => Error::io("lock", error).at_path(&dir.join(LOCK_NAME)),
    })
}

/// The numbers of the segments in `dir`, ascending as numbers: `_100000` comes after `_99999`.
pub(crate) fn segments<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<u32>> {
    let names = fs.list(dir).map_err(|error| Error::io("list", error).at_path(dir))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment::parse_name(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Replays the segments of a locked directory and cuts what has to be cut. Gives the number of the next segment.
pub(crate) fn recover<F: Fs>(
    fs: &F,
    dir: &Path,
    options: &LogOptions,
    replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<(Recovery, u32)> {
    let numbers = segments(fs, dir)?;
    let mut reader = Reader { fs, dir, options, numbers: &numbers, replay, recovery: Recovery::default() };
    let ends = (0..numbers.len()).map(|at| reader.segment(at)).collect::<Result<Vec<_>>>()?;
    let recovery = reader.recovery;
    // Until here nothing was changed.
    let mut removed = false;
    for (&number, end) in numbers.iter().zip(&ends) {
        let path = dir.join(segment::file_name(number));
        let last = numbers.last() == Some(&number);
        if end.is_empty() && !last {
            fs.remove(&path).map_err(|error| Error::io("remove empty segment", error).at_path(&path))?;
            removed = true;
        } else if end.cut < end.len {
            cut(fs, &path, end.cut).map_err(|error| Error::io("cut segment", error).at_path(&path))?;
        }
    }
    if removed {
        fs.sync_dir(dir).map_err(|error| Error::io("sync directory", error).at_path(dir))?;
    }
    let next = match (numbers.last(), ends.last()) {
        (Some(&last), Some(end)) if end.is_empty() => last,
        (Some(&last), _) => {
            last.checked_add(1).ok_or_else(|| Error::new(ErrorKind::NumbersEnd).at_path(dir))?
        }
        (None, _) => 1,
    };
    Ok((recovery, next))
}

/// Gives the records of a directory to `replay`, and changes nothing: for looking at a log that belongs to somebody
/// else. What would be cut is reported.
pub fn replay_only<F: Fs>(
    fs: &F,
    dir: &Path,
    mode: RecoveryMode,
    replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Recovery> {
    let options = LogOptions::default().recovery(mode);
    if crate::etcd::holds_segments(fs, dir) {
        return crate::etcd::replay_only(fs, dir, &options, replay);
    }
    let numbers = segments(fs, dir)?;
    let recovery = Recovery::default();
    let mut reader = Reader { fs, dir, options: &options, numbers: &numbers, replay, recovery };
    (0..numbers.len()).try_for_each(|at| reader.segment(at).map(drop))?;
    Ok(reader.recovery)
}

/// Gives the records of one segment to `replay`, up to the first bad one, and changes nothing.
pub fn replay_segment<F: Fs>(
    fs: &F,
    path: &Path,
    replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Recovery> {
    let not_a_segment = || Error::new(ErrorKind::NotASegment).at_path(path);
    let number = path.file_name().and_then(segment::parse_name).ok_or_else(not_a_segment)?;
    let options = LogOptions::default().recovery(RecoveryMode::InfluxDb);
    let dir = path.parent().unwrap_or(Path::new(""));
    let recovery = Recovery::default();
    let mut reader = Reader { fs, dir, options: &options, numbers: &[number], replay, recovery };
    reader.segment(0)?;
    Ok(reader.recovery)
}

/// The cut is durable before anything is written after it: else the old tail could come back behind newer records.
fn cut<F: Fs>(fs: &F, path: &Path, len: u64) -> io::Result<()> {
    let file = fs.open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

/// How long a segment is, and how long it should be.
struct End {
    len: u64,
    cut: u64,
}

impl End {
    fn is_empty(&self) -> bool {
        self.cut == 0
    }
}

struct Reader<'a, F, R> {
    fs: &'a F,
    dir: &'a Path,
    options: &'a LogOptions,
    numbers: &'a [u32],
    replay: R,
    recovery: Recovery,
}

impl<F: Fs, R: FnMut(Position, Record<'_>) -> Result<()>> Reader<'_, F, R> {
    fn path(&self, at: usize) -> PathBuf {
        self.dir.join(segment::file_name(self.numbers[at]))
    }

    fn read(&self, at: usize) -> Result<Vec<u8>> {
        let path = self.path(at);
        let bytes = self.fs.read(&path).map_err(|error| Error::io("read", error).at_path(&path))?;
        match u32::try_from(bytes.len()) {
            Ok(_) => Ok(bytes),
            Err(_) => Err(Error::too_large("a segment", bytes.len() as u64, u32::MAX.into()).at_path(&path)),
        }
    }

    fn segment(&mut self, at: usize) -> Result<End> {
        let (number, path) = (self.numbers[at], self.path(at));
        let bytes = self.read(at)?;
        let mut scan = Scan::new(number, &bytes);
        let records = self.recovery.records;
        let stop = loop {
            match scan.next() {
                Ok(Some(Unit::Mark(_))) => {}
                Ok(Some(Unit::Frame { record, offset, end })) => {
                    self.recovery.records += 1;
                    self.recovery.bytes += record.payload.len() as u64;
                    let at = position(number, end as u32);
                    let taken = (self.replay)(at, record);
                    taken.map_err(|error| as_refusal(error).at_path(&path).at_offset(offset))?;
                }
                Ok(None) => break None,
                Err(stop) => break Some(stop),
            }
        };
        let len = bytes.len() as u64;
        let cut = match stop {
            None => len,
            Some(Stop::TooLarge(error)) => return Err(error.at_path(&path)),
            Some(Stop::Bad(bad)) => self.judge(at, &mut scan, bad)?,
        };
        let empty = self.recovery.records == records;
        self.recovery.segments += u64::from(!empty);
        Ok(End { len, cut: if empty { 0 } else { cut } })
    }

    /// Where to cut a segment that has a bad place.
    fn judge(&mut self, at: usize, scan: &mut Scan<'_>, bad: Bad) -> Result<u64> {
        let strict = self.options.recovery == RecoveryMode::Strict;
        let verdict = scan.judge(bad, strict && self.later(at)?);
        match verdict {
            Verdict::End => {}
            Verdict::Damaged if strict => {
                let error = Error::new(ErrorKind::Damaged { found: bad.found });
                return Err(error.at_path(&self.path(at)).at_offset(bad.offset));
            }
            Verdict::Damaged | Verdict::Torn => {
                let torn = Torn {
                    path: self.path(at),
                    offset: bad.offset,
                    dropped_bytes: scan.used_len().saturating_sub(bad.offset),
                    found: bad.found,
                };
                tracing::warn!(path = %torn.path.display(), offset = torn.offset, torn.dropped_bytes, torn.found, "cut");
                self.recovery.torn.push(torn);
            }
        }
        Ok(bad.offset)
    }

    /// Whether a later segment holds anything but zeros.
    fn later(&self, at: usize) -> Result<bool> {
        for later in at + 1..self.numbers.len() {
            if self.read(later)?.iter().any(|&byte| byte != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What `replay` answered. The place in the payload that it may name is not the place in the file.
pub(crate) fn as_refusal(error: Error) -> Error {
    if matches!(error.kind(), ErrorKind::Refused(_)) { error } else { Error::refused(error) }
}

/// The position of the frame that ends at `end` of segment `number`.
pub(crate) fn position(number: u32, end: u32) -> Position {
    Position(u64::from(number) << 32 | u64::from(end))
}
