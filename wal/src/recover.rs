//! Opening a directory of segments: replay first, change afterwards.

mod jobs;
mod repair;
mod report;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::entry::Entry;
use crate::etcd::SegmentName;
use crate::fs::{Fs, FsFile};
use crate::kind::{self, Format, Scan};
use crate::native::Native;
use crate::segment::{Bad, Influx, Verdict};
use crate::{Error, ErrorKind, LogOptions, Position, Record, RecoveryMode, Result};

pub(crate) use jobs::Records;
pub use repair::{SegmentRepair, repair};
pub use report::{Progress, Recovery, Torn};

/// Held by the log that has the directory open.
const LOCK_NAME: &str = "wal.lock";

/// Takes what an opened log holds, oldest first; see [`Log::open_replaying`](crate::Log::open_replaying).
pub trait Replay: Send {
    /// Takes one record.
    fn entry(&mut self, at: Position, entry: &Entry<'_>) -> Result<()>;

    /// Told now and then how far the replay has come.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }
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
pub(crate) fn segments<T: Format, F: Fs>(fs: &F, dir: &Path) -> Result<Vec<u32>> {
    let names = fs.list(dir).map_err(|error| Error::io("list", error).at_path(dir))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| T::parse_name(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The names of the segments in `dir`, of whatever log, oldest first.
pub fn segment_names<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<String>> {
    let influx = segments::<Influx, F>(fs, dir)?.into_iter().map(Influx::file_name);
    let native = segments::<Native, F>(fs, dir)?.into_iter().map(Native::file_name);
    let etcd = crate::etcd::segment_names(fs, dir);
    Ok(influx.chain(native).chain(etcd).collect())
}

/// Whether a file of this name is a segment, of whatever log.
pub fn is_segment(name: &OsStr) -> bool {
    Influx::parse_name(name).is_some()
        || Native::parse_name(name).is_some()
        || SegmentName::parse(name).is_some()
}

/// A file that was segment `number`, or is about to be, has this name.
pub(crate) fn spare_name(number: u32) -> String {
    format!("{number:08}.free")
}

/// The files of `dir` whose space later segments may take.
pub(crate) fn spares<T: Format, F: Fs>(fs: &F, dir: &Path) -> Result<Vec<PathBuf>> {
    if !T::RECYCLED {
        return Ok(Vec::new());
    }
    let names = fs.list(dir).map_err(|error| Error::io("list", error).at_path(dir))?;
    let ours = |name: &OsString| {
        let digits = name.to_str()?.strip_suffix(".free")?;
        let number = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        (spare_name(number) == name.to_str()?).then(|| dir.join(name))
    };
    Ok(names.iter().filter_map(ours).collect())
}

/// Replays the segments of a locked directory and cuts what has to be cut. Gives the number of the next segment.
pub(crate) fn recover<T: Format, F: Fs>(
    fs: &F,
    dir: &Path,
    options: &LogOptions,
    replay: impl FnOnce(Reader<'_, T, F>) -> Result<(Recovery, Vec<End>)>,
) -> Result<(Recovery, u32)> {
    let reader = Reader::<T, F>::new(fs, dir, options.recovery)?;
    let numbers = reader.numbers.clone();
    let (recovery, ends) = replay(reader)?;
    // Until here nothing was changed.
    let mut removed = false;
    for (&number, end) in numbers.iter().zip(&ends) {
        let path = dir.join(T::file_name(number));
        let last = numbers.last() == Some(&number);
        if end.is_empty() && !(last && T::GUARDED) {
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
        (Some(&last), Some(end)) if end.is_empty() && T::GUARDED => last,
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
    if crate::etcd::holds_segments(fs, dir) {
        return crate::etcd::replay_only(fs, dir, mode, replay);
    }
    let native = !segments::<Native, F>(fs, dir)?.is_empty();
    let read = if native {
        Reader::<Native, F>::new(fs, dir, mode)?.records(Records(replay))
    } else {
        Reader::<Influx, F>::new(fs, dir, mode)?.records(Records(replay))
    };
    read.map(|(recovery, _)| recovery)
}

/// Gives the records of one segment to `replay`, up to the first bad one, and changes nothing.
pub fn replay_segment<F: Fs>(
    fs: &F,
    path: &Path,
    replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Recovery> {
    let name = path.file_name().unwrap_or_default();
    let read = if let Some(number) = Influx::parse_name(name) {
        Reader::<Influx, F>::one(fs, path, number).records(Records(replay))
    } else if let Some(number) = Native::parse_name(name) {
        Reader::<Native, F>::one(fs, path, number).records(Records(replay))
    } else {
        return Err(Error::new(ErrorKind::NotASegment).at_path(path));
    };
    read.map(|(recovery, _)| recovery)
}

/// The cut is durable before anything is written after it: else the old tail could come back behind newer records.
fn cut<F: Fs>(fs: &F, path: &Path, len: u64) -> io::Result<()> {
    let file = fs.open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

/// How long a segment is, and how long it should be.
#[derive(Debug)]
pub(crate) struct End {
    len: u64,
    cut: u64,
}

impl End {
    fn is_empty(&self) -> bool {
        self.cut == 0
    }
}

/// Goes through the segments of a directory.
#[derive(Debug)]
pub(crate) struct Reader<'a, T, F> {
    fs: &'a F,
    dir: &'a Path,
    mode: RecoveryMode,
    numbers: Vec<u32>,
    recovery: Recovery,
    format: std::marker::PhantomData<fn() -> T>,
}

impl<'a, T: Format, F: Fs> Reader<'a, T, F> {
    fn new(fs: &'a F, dir: &'a Path, mode: RecoveryMode) -> Result<Self> {
        // Taken for an empty directory, the records of the other log would be lost from sight.
        let names = fs.list(dir).map_err(|error| Error::io("list", error).at_path(dir))?;
        if let Some(other) = names.iter().find(|name| is_segment(name) && T::parse_name(name).is_none()) {
            return Err(Error::new(ErrorKind::OtherLog).at_path(&dir.join(other)));
        }
        Ok(Self { numbers: segments::<T, F>(fs, dir)?, ..Self::over(fs, dir, mode) })
    }

    fn one(fs: &'a F, path: &'a Path, number: u32) -> Self {
        let dir = path.parent().unwrap_or(Path::new(""));
        Self { numbers: vec![number], ..Self::over(fs, dir, RecoveryMode::InfluxDb) }
    }

    fn over(fs: &'a F, dir: &'a Path, mode: RecoveryMode) -> Self {
        let (recovery, format) = (Recovery::default(), std::marker::PhantomData);
        Self { fs, dir, mode, numbers: Vec::new(), recovery, format }
    }

    fn path(&self, at: usize) -> PathBuf {
        self.dir.join(T::file_name(self.numbers[at]))
    }

    fn read(&self, at: usize) -> Result<Vec<u8>> {
        let path = self.path(at);
        let bytes = self.fs.read(&path).map_err(|error| Error::io("read", error).at_path(&path))?;
        match u32::try_from(bytes.len()) {
            Ok(_) => Ok(bytes),
            Err(_) => Err(Error::too_large("a segment", bytes.len() as u64, u32::MAX.into()).at_path(&path)),
        }
    }

    /// What to do about a bad place of segment `at`, where `scan` stands, after so many records; and what to report.
    fn judge<'s>(
        &self,
        at: usize,
        bytes: &'s [u8],
        scan: &mut T::Scan<'s>,
        bad: Bad,
        kept: u64,
    ) -> Result<(Next, Option<Torn>)> {
        let later = self.mode != RecoveryMode::InfluxDb && self.later(at)?;
        let verdict = scan.judge(bad, later);
        if verdict == Verdict::End {
            return Ok((Next::Cut(bad.offset), None));
        }
        let damaged = verdict == Verdict::Damaged;
        if damaged && self.mode == RecoveryMode::Strict {
            let error = Error::new(ErrorKind::Damaged { found: bad.found });
            return Err(error.at_path(&self.path(at)).at_offset(bad.offset));
        }
        let behind = if damaged { scan.resume(bad) } else { None };
        let resumed = behind.filter(|_| self.mode == RecoveryMode::Salvage);
        let end = resumed.unwrap_or_else(|| kind::used_len(bytes));
        let torn = Torn {
            path: self.path(at),
            offset: bad.offset,
            kept_records: kept,
            dropped_bytes: end.saturating_sub(bad.offset),
            valid_after: behind.is_some() || later,
            resumed_at: resumed,
            found: bad.found,
        };
        tracing::warn!(path = %torn.path.display(), offset = torn.offset, torn.dropped_bytes, torn.found, "left out");
        let next = match resumed {
            Some(_) => Next::Resume,
            // What a salvage leaves out may be wanted.
            None if damaged && self.mode == RecoveryMode::Salvage => Next::Leave,
            None => Next::Cut(bad.offset),
        };
        Ok((next, Some(torn)))
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

/// What follows a bad place.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Nothing: the segment is to end there.
    Cut(u64),
    /// Nothing, but the segment stays as it is.
    Leave,
    /// Records, from where the scan stands now.
    Resume,
}

/// The position of the frame that ends at `end` of segment `number`.
pub(crate) fn position(number: u32, end: u32) -> Position {
    Position(u64::from(number) << 32 | u64::from(end))
}

/// What `replay` answered. The place in the payload that it may name is not the place in the file.
pub(crate) fn as_refusal(error: Error) -> Error {
    if matches!(error.kind(), ErrorKind::Refused(_)) { error } else { Error::refused(error) }
}
