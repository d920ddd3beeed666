//! The directory of a log: its lock, and which segments are in it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::AtPath;
use crate::fs::{Fs, FsFile, LockKind};
use crate::scan::{Later, Scan, SegmentFormat};
use crate::{Error, ErrorKind, Result};

/// Held by the log that has the directory open.
pub(crate) const LOCK_NAME: &str = "wal.lock";

/// A log that writes a record each nanosecond numbers so many in three centuries.
const FRONT_MAX: u64 = 1 << 63;
/// Likewise of segments.
const SEGMENT_MAX: u32 = 1 << 31;

/// Creates the directory if need be and locks it.
pub(crate) fn take<F: Fs>(fs: &F, dir: &Path) -> Result<F::File> {
    fs.create_dir_all(dir).at("create directory", dir)?;
    fs.lock(&dir.join(LOCK_NAME)).map_err(|error| not_locked(error, dir))
}

/// Keeps logs out of the directory, where one could have it: nothing is created or written.
pub(crate) fn hold<F: Fs>(fs: &F, dir: &Path) -> Result<Option<F::File>> {
    match fs.lock_shared(&dir.join(LOCK_NAME)) {
        Ok(lock) => Ok(Some(lock)),
        // No log of ours was ever open.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(not_locked(error, dir)),
    }
}

fn not_locked(error: io::Error, dir: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => Error::new(ErrorKind::InUse).at_path(dir),
        _ => Error::io("lock", error).at_path(&dir.join(LOCK_NAME)),
    }
}

/// Locks an open file, as etcd locks its segments.
pub(crate) fn lock<F: FsFile>(file: &F, path: &Path) -> Result<()> {
    file.try_lock(LockKind::Etcd).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::new(ErrorKind::InUse).at_path(path),
        _ => Error::io("lock", error).at_path(path),
    })
}

/// Refuses the place of a segment that holds something: no log of ours comes to that, and its records are somebody's.
pub(crate) fn refuse_occupied<F: Fs>(fs: &F, path: &Path) -> Result<()> {
    let occupied = match fs.open(path) {
        Ok(file) => file.is_empty().map(|empty| !empty),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    match occupied {
        Ok(false) => Ok(()),
        Ok(true) => {
            let occupied = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the file holds something already; is the directory written by another log?",
            );
            Err(Error::io("begin", occupied).at_path(path))
        }
        Err(error) => Err(Error::io("open", error).at_path(path)),
    }
}

/// The segments in `dir`, oldest first; by their numbers, so that `_100000` comes after `_99999`.
pub(crate) fn segments<T: SegmentFormat, F: Fs>(fs: &F, dir: &Path) -> Result<Vec<T::Name>> {
    let names = fs.list(dir).at("list", dir)?;
    let mut segments: Vec<T::Name> = names.iter().filter_map(|name| T::parse_name(name)).collect();
    segments.sort_unstable();
    Ok(segments)
}

/// The names in `dir`, sorted; none where there is no directory.
pub(crate) fn list_if_there<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<OsString>> {
    match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.at("list", dir),
    }
}

/// Whether a file in `dir` has a name that `is_segment` takes; false where there is no directory.
pub(crate) fn holds<F: Fs>(fs: &F, dir: &Path, is_segment: impl Fn(&OsStr) -> bool) -> Result<bool> {
    Ok(list_if_there(fs, dir)?.iter().any(|name| is_segment(name)))
}

/// The bytes of a segment.
pub(crate) fn read_segment<T: SegmentFormat, F: Fs>(fs: &F, path: &Path) -> Result<Vec<u8>> {
    fs.read_segment(path, T::SEGMENT_BYTES_MAX).at("read", path)
}

/// What the directory holds behind a segment.
pub(crate) fn later<T: SegmentFormat, F: Fs>(fs: &F, dir: &Path, segment: T::Name) -> Result<Later> {
    let (mut later, mut guarded) = (Later::default(), false);
    for next in segments::<T, F>(fs, dir)?.into_iter().filter(|&next| next > segment) {
        let bytes = read_segment::<T, F>(fs, &dir.join(T::file_name(next)))?;
        let holds = bytes.iter().any(|&byte| byte != 0);
        later.holds |= holds;
        guarded |= !holds && T::number(next) - T::number(segment) == 1;
        // Ours is only begun when what is before it is synced, and sealed.
        guarded |= T::Scan::new(next, &bytes, T::Carry::default()).follows().is_some();
        if later.holds && (guarded || !T::GUARDED) {
            break;
        }
    }
    later.taken_over = T::GUARDED && !guarded;
    Ok(later)
}

/// The files of truncated segments whose space later segments take.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recycled {
    pub(crate) paths: Vec<PathBuf>,
    /// The first retained record, by their names.
    pub(crate) front: u64,
    /// The last segment whose file is one of them; 0 if there is none.
    pub(crate) segment: u32,
}

impl Recycled {
    /// Those in `dir`.
    pub(crate) fn list<F: Fs>(fs: &F, dir: &Path) -> Result<Self> {
        let names = fs.list(dir).at("list", dir)?;
        let mut found = Self::default();
        for (name, (front, segment)) in names.iter().filter_map(|name| Some((name, parse_recycled(name)?))) {
            found.paths.push(dir.join(name));
            found.front = found.front.max(front);
            found.segment = found.segment.max(segment);
        }
        Ok(found)
    }
}

/// The name of a segment's file once all records below `front` are truncated, or of a file that is to become a segment. It
/// has the segment's number: when no segment is left, the log goes on behind it.
pub(crate) fn recycled_name(front: u64, segment: u32) -> String {
    format!("{front:020}-{segment:08}.free")
}

/// A name with a greater number is somebody else's: taken at its word it would leave no numbers for records.
fn parse_recycled(name: &OsStr) -> Option<(u64, u32)> {
    let (front, segment) = name.to_str()?.strip_suffix(".free")?.split_once('-')?;
    let (front, segment) = (front.parse().ok()?, segment.parse().ok()?);
    let believed = front <= FRONT_MAX && segment <= SEGMENT_MAX;
    (believed && recycled_name(front, segment) == name.to_str()?).then_some((front, segment))
}
