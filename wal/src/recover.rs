//! Opening a directory of segments: replay first, change afterwards.

mod chain;
mod jobs;
mod reader;
mod repair;
mod report;

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::entry::Entry;
use crate::etcd::SegmentName;
use crate::fs::{Fs, FsFile, parent, publish_new};
use crate::kind::{Format, Link, Scan};
use crate::native::Native;
use crate::segment::{Influx, Later};
use crate::{Error, ErrorKind, EtcdLog, Log, LogOptions, NativeLog, Position, Record, RecoveryMode, Result};

pub(crate) use jobs::Records;
use reader::Reader;
pub use repair::{Refusal, Refused, SegmentRepair, repair, repair_for};
pub use report::{Gap, GapKind, NotReplayed, Progress, Recovery, Unverified};

/// What is written again at a time.
const AGAIN_BYTES: usize = 1 << 20;

/// Held by the log that has the directory open.
const LOCK_NAME: &str = "wal.lock";

/// The longest segment. A position has 32 bits for the place in it; InfluxDB ends one behind 10 MiB, but only where an entry
/// ends, and an entry may have hundreds of them.
pub const SEGMENT_FILE_BYTES_MAX: u64 = u32::MAX as u64;

/// Takes what an opened log holds, oldest first; see [`Log::open_replaying`](crate::Log::open_replaying).
pub trait Replay: Send {
    /// Takes one record.
    fn entry(&mut self, at: Position, entry: &Entry<'_>) -> Result<()>;

    /// Told now and then how far the replay has come.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }

    /// Told when all was taken. Nothing on disk was changed yet: an error refuses the opening as one of a record does.
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Creates the directory if need be and locks it.
pub(crate) fn take_directory<F: Fs>(fs: &F, dir: &Path) -> Result<F::File> {
    fs.create_dir_all(dir).map_err(|error| Error::io("create directory", error).at_path(dir))?;
    fs.lock(&dir.join(LOCK_NAME)).map_err(|error| not_taken(error, dir))
}

/// Keeps logs out of the directory, where one could have it: nothing is created or written.
pub(crate) fn hold_directory<F: Fs>(fs: &F, dir: &Path) -> Result<Option<F::File>> {
    match fs.lock_shared(&dir.join(LOCK_NAME)) {
        Ok(lock) => Ok(Some(lock)),
        // Nobody of ours has had the log open.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(not_taken(error, dir)),
    }
}

fn not_taken(error: io::Error, dir: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => Error::new(ErrorKind::InUse).at_path(dir),
        _ => Error::io("lock", error).at_path(&dir.join(LOCK_NAME)),
    }
}

/// Refuses the place of a segment that holds something: no log of ours comes to that, and its records are somebody's.
pub(crate) fn vacant<F: Fs>(fs: &F, path: &Path) -> Result<()> {
    let taken = match fs.open(path) {
        Ok(file) => file.is_empty().map(|empty| !empty),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    match taken {
        Ok(false) => Ok(()),
        Ok(true) => {
            let taken = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the file holds something already; is the directory written by another log?",
            );
            Err(Error::io("begin", taken).at_path(path))
        }
        Err(error) => Err(Error::io("open", error).at_path(path)),
    }
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
    let etcd = crate::etcd::segment_names(fs, dir)?;
    Ok(influx.chain(native).chain(etcd).collect())
}

/// Whether a file in `dir` has a name that `is_segment` takes; false where there is no directory.
pub(crate) fn holds<F: Fs>(fs: &F, dir: &Path, is_segment: impl Fn(&OsStr) -> bool) -> Result<bool> {
    match fs.list(dir) {
        Ok(names) => Ok(names.iter().any(|name| is_segment(name))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("list", error).at_path(dir)),
    }
}

/// Whether `dir` holds a log of this crate that only Tsmith writes; see [`Log::owns`](crate::Log::owns).
pub fn is_owned<F: Fs>(fs: &F, dir: &Path) -> Result<bool> {
    Ok(NativeLog::owns(fs, dir)? || EtcdLog::owns(fs, dir)?)
}

/// Whether a file of this name is a segment, of whatever log.
pub fn is_segment(name: &OsStr) -> bool {
    Influx::parse_name(name).is_some()
        || Native::parse_name(name).is_some()
        || SegmentName::parse(name).is_some()
}

/// The file of a segment that was truncated when all records below `front` were, or that is about to be one. With its
/// number: if no segment is left, the log goes on behind it.
pub(crate) fn recycled_name(front: u64, segment: u32) -> String {
    format!("{front:020}-{segment:08}.free")
}

/// A log that writes a record each nanosecond numbers so many in three centuries.
const FRONT_MAX: u64 = 1 << 63;
/// Likewise of segments.
const SEGMENT_MAX: u32 = 1 << 31;

/// A name with a greater number is somebody else's: taken at its word it would leave no numbers for records.
fn parse_recycled_name(name: &OsStr) -> Option<(u64, u32)> {
    let digits = name.to_str()?.strip_suffix(".free")?;
    let (front, segment) = digits.split_once('-')?;
    let (front, segment) = (front.parse().ok()?, segment.parse().ok()?);
    let believed = front <= FRONT_MAX && segment <= SEGMENT_MAX;
    (believed && recycled_name(front, segment) == name.to_str()?).then_some((front, segment))
}

/// Where a log goes on.
#[derive(Debug)]
pub(crate) struct Start {
    /// The number of its next segment.
    pub(crate) segment: u32,
    /// The number of its last segment with records; 0 if there is none.
    pub(crate) held: u32,
    /// The number of its next record.
    pub(crate) record: u64,
    /// Files whose space the next segments take.
    pub(crate) recycled: Vec<PathBuf>,
    /// Records below this number were truncated, and segments up to the other one.
    pub(crate) front: u64,
    pub(crate) dropped: u32,
}

/// What a reader found besides records.
#[derive(Debug)]
pub(crate) struct Found {
    recovery: Recovery,
    ends: Vec<End>,
    /// The number of the record after the last.
    next_record: u64,
    /// The number of the first record that was not forgotten.
    front: u64,
    /// Segments of which nothing is left and that a later one names, each with the one before it; see [`keep_heads`].
    lost: Vec<(u32, u32)>,
}

/// Replays the segments of a locked directory and cuts what has to be cut.
pub(crate) fn recover<T: Format, F: Fs>(
    fs: &F,
    dir: &Path,
    options: &LogOptions,
    replay: impl FnOnce(Reader<'_, T, F>) -> Result<Found>,
) -> Result<(Recovery, Start)> {
    let reader = Reader::<T, F>::new(fs, dir, options.recovery)?;
    let (numbers, mut recycled, forgotten) =
        (reader.numbers.clone(), reader.recycled.clone(), reader.forgotten);
    let Found { recovery, ends, next_record, front, lost } = replay(reader)?;
    // Until here nothing was changed.
    if !T::RECYCLED {
        for path in recycled.drain(..) {
            fs.remove(&path).map_err(|error| Error::io("remove forgotten segment", error).at_path(&path))?;
        }
    }
    keep_heads::<T, F>(fs, dir, &lost)?;
    let last = |of: &dyn Fn(&End) -> bool| {
        let at = ends.iter().rposition(|end| !end.is_empty() && of(end));
        at.and_then(|at| numbers.get(at))
    };
    let (last_kept, last_ours) = (last(&|_| true), last(&|end| end.headed));
    for (&number, end) in numbers.iter().zip(&ends) {
        let path = dir.join(T::file_name(number));
        if lost.iter().any(|&(lost, _)| lost == number) {
            continue;
        }
        if end.is_empty() {
            if end.len > 0 {
                // It may come back, and is to be empty then.
                cut(fs, &path, 0).map_err(|error| Error::io("cut segment", error).at_path(&path))?;
            }
            fs.remove(&path).map_err(|error| Error::io("remove empty segment", error).at_path(&path))?;
            if T::GUARDED && numbers.last() == Some(&number) {
                // Anew: if the sync failed that was to make its name durable, no later one does what that did not.
                let made = fs.create_new(&path).map(drop);
                made.map_err(|error| Error::io("create", error).at_path(&path))?;
            }
        } else if let Some(from) = end.accepted {
            seal::<T, F>(fs, &path, number, from..end.cut)?;
        } else if [last_kept, last_ours].contains(&Some(&number)) {
            // A process may have died between a write and its sync, and what it wrote was just replayed. Behind a later
            // segment a torn write would be damage. Older segments were synced before the next one was begun; but ours not
            // before InfluxDB's.
            let synced = write_again(fs, &path, end);
            synced.map_err(|error| Error::io("cut or sync segment", error).at_path(&path))?;
        } else if end.cut < end.len {
            cut(fs, &path, end.cut).map_err(|error| Error::io("cut segment", error).at_path(&path))?;
        }
    }
    // A process may have died before it had made names durable under which the space is written to, or that of what it
    // forgot.
    if !numbers.is_empty() || front > 0 {
        fs.sync_dir(dir).map_err(|error| Error::io("sync directory", error).at_path(dir))?;
    }
    let segment = match (numbers.last(), ends.last()) {
        (Some(&last), Some(end)) if end.is_empty() && T::GUARDED => last,
        (last, _) => {
            let last = last.copied().unwrap_or(0).max(forgotten);
            last.checked_add(1).ok_or_else(|| Error::new(ErrorKind::NumbersEnd).at_path(dir))?
        }
    };
    let held = numbers.iter().zip(&ends).rfind(|(_, end)| end.records > 0).map_or(0, |(&number, _)| number);
    let record = next_record.max(front);
    Ok((recovery, Start { segment, held, record, recycled, front, dropped: forgotten }))
}

/// Puts a segment with nothing but a head in the place of each that recovery as the original's found or left without a
/// record, and that a later one names: it was told of, and is not to be missed by who opens the log strictly afterwards.
/// The head of the later one stays as it is, for that segment may hold the only copy of what was acknowledged. What was in
/// the segment goes in one step: a crash leaves it as it was, or done.
fn keep_heads<T: Format, F: Fs>(fs: &F, dir: &Path, lost: &[(u32, u32)]) -> Result<()> {
    for &(number, before) in lost {
        let path = dir.join(T::file_name(number));
        let head = T::begin(number, Link { before, ..Link::default() }).head();
        publish_new(fs, &path, &head)
            .map_err(|error| Error::io("write head of segment", error).at_path(&path))?;
    }
    Ok(())
}

/// Puts what InfluxDB accepted in a segment of ours under checksums, in one step: a crash leaves the segment as it was, and
/// what proves that InfluxDB went on behind it, or sealed. Once a later segment is ours, nothing would prove it.
fn seal<T: Format, F: Fs>(fs: &F, path: &Path, number: u32, accepted: Range<u64>) -> Result<()> {
    let bytes = fs.read_segment(path, SEGMENT_FILE_BYTES_MAX);
    let bytes = bytes.map_err(|error| Error::io("read", error).at_path(path))?;
    let too_large =
        || Error::too_large("a segment", bytes.len() as u64, SEGMENT_FILE_BYTES_MAX).at_path(path);
    let sealed = T::Scan::new(number, &bytes).sealed(accepted.start, accepted.end).ok_or_else(too_large)?;
    publish_new(fs, path, &sealed).map_err(|error| Error::io("rewrite segment", error).at_path(path))
}

/// What the directory of a segment in InfluxDB's format holds behind it, for [`Scan::judge`](crate::segment::Scan::judge).
/// Nothing is known of what follows a file whose name is not that of a segment.
pub fn following<F: Fs>(fs: &F, path: &Path) -> Result<Later> {
    let number = path.file_name().and_then(Influx::parse_name);
    number.map_or(Ok(Later::default()), |number| following_of::<Influx, F>(fs, parent(path), number))
}

/// What the directory holds behind segment `number`.
fn following_of<T: Format, F: Fs>(fs: &F, dir: &Path, number: u32) -> Result<Later> {
    let (mut later, mut guarded) = (Later::default(), false);
    for next in segments::<T, F>(fs, dir)?.into_iter().filter(|&next| next > number) {
        let path = dir.join(T::file_name(next));
        let bytes = fs.read_segment(&path, SEGMENT_FILE_BYTES_MAX);
        let bytes = bytes.map_err(|error| Error::io("read", error).at_path(&path))?;
        let holds = bytes.iter().any(|&byte| byte != 0);
        later.holds |= holds;
        guarded |= !holds && next - number == 1;
        // Ours is only begun when what is before it is synced, and sealed.
        guarded |= T::Scan::new(next, &bytes).before().is_some();
        if later.holds && (guarded || !T::GUARDED) {
            break;
        }
    }
    later.taken_over = T::GUARDED && !guarded;
    Ok(later)
}

/// Gives the records of a directory to `replay`, and changes nothing: for looking at a log that belongs to somebody
/// else. What would be cut is reported.
pub fn replay_only<F: Fs>(
    fs: &F,
    dir: &Path,
    mode: RecoveryMode,
    replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Recovery> {
    if crate::etcd::holds_segments(fs, dir)? {
        return crate::etcd::replay_only(fs, dir, mode, replay);
    }
    let native = !segments::<Native, F>(fs, dir)?.is_empty();
    if native {
        read_only::<Native, F>(fs, dir, mode, replay)
    } else {
        read_only::<Influx, F>(fs, dir, mode, replay)
    }
}

/// As [`replay_only`], of segments of the kind `T`.
pub(crate) fn read_only<T: Format, F: Fs>(
    fs: &F,
    dir: &Path,
    mode: RecoveryMode,
    replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Recovery> {
    Reader::<T, F>::new(fs, dir, mode)?.records(Records(replay)).map(|found| found.recovery)
}

/// Gives the records of one segment to `replay`, and changes nothing: those up to the first bad one, or with
/// [`RecoveryMode::Salvage`] those behind it, too. What should come before the segment or after it is not asked.
pub fn replay_segment<F: Fs>(
    fs: &F,
    path: &Path,
    mode: RecoveryMode,
    replay: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Recovery> {
    let name = path.file_name().unwrap_or_default();
    let read = if let Some(number) = Influx::parse_name(name) {
        Reader::<Influx, F>::one(fs, path, mode, number).records(Records(replay))
    } else if let Some(number) = Native::parse_name(name) {
        Reader::<Native, F>::one(fs, path, mode, number).records(Records(replay))
    } else {
        return Err(Error::new(ErrorKind::NotASegment).at_path(path));
    };
    read.map(|found| found.recovery)
}

/// The cut is durable before anything is written after it: else the old tail could come back behind newer records. A file
/// that is as short already may only seem so, where the sync of an earlier cut failed.
fn cut<F: Fs>(fs: &F, path: &Path, len: u64) -> io::Result<()> {
    let file = fs.open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

/// Cuts a segment, and makes it durable whatever sync of it failed before: the kernel then takes pages for written that are
/// not, and no later sync writes them.
fn write_again<F: Fs>(fs: &F, path: &Path, end: &End) -> io::Result<()> {
    let (file, len) = (fs.open(path)?, end.cut);
    file.set_len(len)?;
    let (mut chunk, mut at) = (vec![0; AGAIN_BYTES.min(len as usize)], 0);
    while at < len {
        let part = chunk.len().min((len - at) as usize);
        let read = file.read_at(&mut chunk[..part], at)?;
        if read == 0 {
            break;
        }
        file.write_all_at(&chunk[..read], at)?;
        at += read as u64;
    }
    if !end.proof.is_empty() {
        file.write_all_at(&end.proof, len)?;
    }
    file.sync_all()
}

/// How long a segment is, and how long it should be.
#[derive(Debug)]
pub(crate) struct End {
    len: u64,
    cut: u64,
    records: u64,
    /// Its head checks out.
    headed: bool,
    /// What is put behind the cut; see [`Scan::proof`](crate::kind::Scan::proof).
    proof: Vec<u8>,
    /// From here on InfluxDB accepted what is kept; see [`Scan::sealed`](crate::kind::Scan::sealed).
    accepted: Option<u64>,
}

impl End {
    fn is_empty(&self) -> bool {
        self.cut == 0
    }
}

/// What `replay` said of a record that it refused.
pub(crate) fn reason_of(refused: &Error) -> String {
    match refused.kind() {
        ErrorKind::Refused(source) => source.to_string(),
        kind => kind.to_string(),
    }
}

/// What `replay` answered. The place in the payload that it may name is not the place in the file.
pub(crate) fn as_refusal(error: Error) -> Error {
    if matches!(error.kind(), ErrorKind::Refused(_)) { error } else { Error::refused(error) }
}
