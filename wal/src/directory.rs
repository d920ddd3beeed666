//! The directory of a log: its lock and its segments.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::AtPath;
use crate::fs::{Fs, FsFile, LockKind};
use crate::scan::{Later, Scan, SegmentFormat};
use crate::{Error, ErrorKind, Result};

/// The lock file, held while a log has the directory open.
pub(crate) const LOCK_NAME: &str = "wal.lock";

/// A log that writes one record per nanosecond needs three centuries to exceed this number.
const FRONT_MAX: u64 = 1 << 63;
/// Likewise for segments.
const SEGMENT_MAX: u32 = 1 << 31;

/// Creates the directory if necessary and locks it.
pub(crate) fn take<F: Fs>(fs: &F, dir: &Path) -> Result<F::File> {
    fs.create_dir_all(dir).at("create directory", dir)?;
    let lock = dir.join(LOCK_NAME);
    fs.lock(&lock).map_err(|error| not_locked(error, &lock, dir))
}

/// Locks the directory against logs without creating or writing anything. `None` if it has no lock file.
pub(crate) fn hold<F: Fs>(fs: &F, dir: &Path) -> Result<Option<F::File>> {
    let lock = dir.join(LOCK_NAME);
    match fs.lock_shared(&lock) {
        Ok(lock) => Ok(Some(lock)),
        // No log of ours ever had it open.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(not_locked(error, &lock, dir)),
    }
}

/// The error for `owned`, whose lock file `lock` could not be locked.
fn not_locked(error: io::Error, lock: &Path, owned: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => Error::new(ErrorKind::InUse).at_path(owned),
        _ => Error::io("lock", error).at_path(lock),
    }
}

/// Locks an open file the way etcd locks its segments.
pub(crate) fn lock<F: FsFile>(file: &F, path: &Path) -> Result<()> {
    file.try_lock(LockKind::Etcd).map_err(|error| not_locked(error, path, path))
}

/// Refuses to overwrite a file at a new segment's path that already holds data: the data belongs to someone
/// else.
pub(crate) fn refuse_occupied<F: Fs>(fs: &F, path: &Path) -> Result<()> {
    match fs.open(path).and_then(|file| file.is_empty()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let occupied = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the file already holds data: another program may be writing to this directory",
            );
            Err(occupied).at("begin", path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).at("open", path),
    }
}

/// The segments in `dir`, oldest first. Sorted by number, so `_100000` comes after `_99999`.
pub(crate) fn segments<T: SegmentFormat, F: Fs>(fs: &F, dir: &Path) -> Result<Vec<T::Name>> {
    let names = fs.list(dir).at("list", dir)?;
    let mut segments: Vec<T::Name> = names.iter().filter_map(|name| T::parse_name(name)).collect();
    segments.sort_unstable();
    Ok(segments)
}

/// The names in `dir`, sorted. Empty if the directory does not exist.
pub(crate) fn list_if_there<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<OsString>> {
    match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.at("list", dir),
    }
}

/// Whether `is_segment` accepts a file name in `dir`. False if the directory does not exist.
pub(crate) fn holds<F: Fs>(fs: &F, dir: &Path, is_segment: impl Fn(&OsStr) -> bool) -> Result<bool> {
    Ok(list_if_there(fs, dir)?.iter().any(|name| is_segment(name)))
}

/// The bytes of a segment.
pub(crate) fn read_segment<T: SegmentFormat, F: Fs>(fs: &F, path: &Path) -> Result<Vec<u8>> {
    fs.read_segment(path, T::SEGMENT_BYTES_MAX).at("read", path)
}

/// What the directory holds after a segment.
pub(crate) fn later<T: SegmentFormat, F: Fs>(fs: &F, dir: &Path, segment: T::Name) -> Result<Later> {
    let (mut later, mut guarded) = (Later::default(), false);
    for next in segments::<T, F>(fs, dir)?.into_iter().filter(|&next| next > segment) {
        let bytes = read_segment::<T, F>(fs, &dir.join(T::file_name(next)))?;
        let holds = bytes.iter().any(|&byte| byte != 0);
        later.holds |= holds;
        guarded |= !holds && T::number(next) - T::number(segment) == 1;
        // Our log begins a segment only after the one before it is synced and sealed.
        guarded |= T::Scan::new(next, &bytes, T::Carry::default()).follows().is_some();
        if later.holds && (guarded || !T::GUARDED) {
            break;
        }
    }
    later.taken_over = T::GUARDED && !guarded;
    Ok(later)
}

/// Files of truncated segments, which later segments reuse.
#[derive(Debug, Default)]
pub(crate) struct Recycled {
    /// Sorted; the highest number is last.
    pub(crate) paths: Vec<PathBuf>,
    /// Records below this number were truncated, according to the names of these files or to a segment head.
    pub(crate) front: u64,
    /// The last truncated segment, or 0. The log's next segment has a higher number.
    pub(crate) segment: u32,
    /// One of the files was named as a segment before, and can have that name again after a power cut. Its
    /// content stays until its new name is durable.
    pub(crate) is_name_unsure: bool,
}

impl Recycled {
    /// The recycled files in `dir`.
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

/// The file name of a recycled segment: all records below `front` are truncated. The name keeps the segment's
/// number, so that numbering continues after it even when no segment is left.
pub(crate) fn recycled_name(front: u64, segment: u32) -> String {
    format!("{front:020}-{segment:08}.free")
}

/// Ignores names with greater numbers. They are not ours, and would leave no numbers for records.
fn parse_recycled(name: &OsStr) -> Option<(u64, u32)> {
    let (front, segment) = name.to_str()?.strip_suffix(".free")?.split_once('-')?;
    let (front, segment) = (front.parse().ok()?, segment.parse().ok()?);
    let believed = front <= FRONT_MAX && segment <= SEGMENT_MAX;
    (believed && recycled_name(front, segment) == name.to_str()?).then_some((front, segment))
}
