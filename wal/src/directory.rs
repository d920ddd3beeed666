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
    let lock = dir.join(LOCK_NAME);
    fs.lock(&lock).map_err(|error| not_locked(error, &lock, dir))
}

/// Keeps logs out of the directory, where one could have it: nothing is created or written.
pub(crate) fn hold<F: Fs>(fs: &F, dir: &Path) -> Result<Option<F::File>> {
    let lock = dir.join(LOCK_NAME);
    match fs.lock_shared(&lock) {
        Ok(lock) => Ok(Some(lock)),
        // No log of ours was ever open.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(not_locked(error, &lock, dir)),
    }
}

/// The lock of `owned`, which is the file `lock`, was not to be had.
fn not_locked(error: io::Error, lock: &Path, owned: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => Error::new(ErrorKind::InUse).at_path(owned),
        _ => Error::io("lock", error).at_path(lock),
    }
}

/// Locks an open file, as etcd locks its segments.
pub(crate) fn lock<F: FsFile>(file: &F, path: &Path) -> Result<()> {
    file.try_lock(LockKind::Etcd).map_err(|error| not_locked(error, path, path))
}

/// Refuses the place of a segment that holds something: no log of ours comes to that, and its records are somebody's.
pub(crate) fn refuse_occupied<F: Fs>(fs: &F, path: &Path) -> Result<()> {
    match fs.open(path).and_then(|file| file.is_empty()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let occupied = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the file holds something already; is the directory written by another log?",
            );
            Err(occupied).at("begin", path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).at("open", path),
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
#[derive(Debug, Default)]
pub(crate) struct Recycled {
    /// The one with the highest number last.
    pub(crate) paths: Vec<PathBuf>,
    /// Records below this number were dropped: by the names of these files, or by the head of a segment.
    pub(crate) front: u64,
    /// The last segment that was dropped, 0 if there is none; a later one is named like it, or has a file.
    pub(crate) segment: u32,
    /// One of them had the name of a segment before, and may have it again after a power cut: what is in it stays until its
    /// name is durable.
    pub(crate) is_name_unsure: bool,
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
