//! The one door to files: what a log, and the engine above it, asks of a file system.
//!
//! Durable operations (sync, rename, directory sync) exist only here. [`OsFs`] is the real thing. [`SimFs`] lives in
//! memory, counts operations, fails on demand, and after a [`SimFs::crash`] keeps of the un-synced changes only what a
//! disk might have kept.

mod aside;
mod os;
mod sim;
pub mod sparse;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::path::Path;

pub use aside::{
    aside_name, create_temporary, publish_new, remove_together, replace_damaged, replace_damaged_by,
    set_aside, take_away,
};
pub use os::{OsFile, OsFs, OsLock};
pub use sim::{Fault, SimFile, SimFs, SimLock, SimMap};

/// A file system. A handle that is cheap to clone; clones see the same files.
pub trait Fs: Clone + Default + Debug + Send + Sync + 'static {
    /// An open file.
    type File: FsFile;
    /// A lock that is held until it is dropped.
    type Lock: Debug + Send + Sync + 'static;

    /// Creates a file for reading and writing, readable by the owner only. Fails when the name is taken.
    fn create_new(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file for reading and writing. Fails for a symbolic link and for whatever else is no regular file, as
    /// all that opens does.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// The content of a file, of whatever length: for one that was just written. Others are read with
    /// [`Fs::read_within`].
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The content of a file that has at most `limit` bytes. A longer one is refused with [`TooLong`] before memory is taken
    /// for it: a sparse file has any length for nothing.
    fn read_within(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// The content of a segment that has at most `limit` bytes, as [`sparse::read`] has it: the zeros at its end may be
    /// fewer than in the file.
    fn read_segment(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.read_within(path, limit)
    }

    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Creates a directory and those above it, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file, or a directory, another name, in one step for readers; an empty directory of that name goes. Not
    /// durable before the directory it is in is synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name. Not durable before the directory is synced; the content is the file's.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Not durable before the directory is synced.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory. Not durable before the directory it is in is synced.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks the file at `path`, which is created if need be, for this owner alone, without waiting:
    /// [`io::ErrorKind::WouldBlock`] when somebody has it, in this process or another.
    fn lock(&self, path: &Path) -> io::Result<Self::Lock>;

    /// Locks the file at `path` against [`Fs::lock`], beside others who do the same. It has to be there; nothing is created
    /// or written, so that a read-only file system will do.
    fn lock_shared(&self, path: &Path) -> io::Result<Self::Lock>;

    /// Whether both names stand for the same bytes: of one file, or of two with the same content. Nothing is changed.
    fn is_same(&self, a: &Path, b: &Path) -> io::Result<bool> {
        Ok(self.read(a)? == self.read(b)?)
    }

    /// The file of the operating system behind a name, read-only, for mapping; `None` when there is none.
    fn os_file(&self, path: &Path) -> io::Result<Option<std::fs::File>>;

    /// A named point between two operations, where a simulation may end. Costs nothing elsewhere.
    fn point(&self, name: &str) {
        let _ = name;
    }

    /// Publishes a file that was written under a temporary name in the same directory. Durable on return: after a
    /// crash `name` is whole, or as it was before.
    fn publish(&self, file: &Self::File, temporary: &Path, name: &Path) -> io::Result<()> {
        file.sync_all()?;
        self.rename(temporary, name)?;
        self.sync_dir(parent(name))
    }
}

/// A file that is longer than any of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bytes} bytes, and no file of its kind has more than {limit}: nothing of ours or of the original's wrote this; restore \
     it from a copy, or move it away"
)]
pub struct TooLong {
    /// Its length.
    pub bytes: u64,
    /// The most it may have.
    pub limit: u64,
}

impl TooLong {
    /// An error if `bytes` is above `limit`.
    pub fn check(bytes: u64, limit: u64) -> io::Result<()> {
        if bytes <= limit {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, Self { bytes, limit }))
        }
    }

    /// What `error` says of a file that is too long, if it is that.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// What has the name of a file and is a directory, a link, a pipe or another thing that is not opened.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a regular file")]
pub struct NotRegular;

impl NotRegular {
    /// Whether `error` says that of what was to be opened.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().and_then(|found| found.downcast_ref::<Self>()).is_some()
    }
}

/// An open file. Shared between threads; every access names its offset.
pub trait FsFile: Debug + Send + Sync + 'static {
    /// A writable map of it.
    type Map: FsMap;

    /// Reads at `offset`; fewer bytes than asked at any time, none at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`, and lengthens the file if need be.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all of `pieces`, one behind the other, at `offset`, as one write if the system can.
    fn write_pieces_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        self.write_all_at(&joined, offset)
    }

    /// Maps all of it, whose space is allocated. The file must not be shortened while the map lives.
    fn map(&self) -> io::Result<Self::Map>;

    /// Cuts or lengthens with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space on the disk for these bytes, so that later writes there cannot find it full. A file that is shorter is
    /// lengthened to their end, with zeros.
    fn allocate(&self, bytes: Range<u64>) -> io::Result<()>;

    /// Asks for space ahead of writes to come, which are then cheaper and lie closer together; the length stays. Whether
    /// there is some now, which [`FsFile::set_len`] gives back. A hint: nothing depends on it.
    fn reserve(&self, bytes: Range<u64>) -> bool {
        let _ = bytes;
        false
    }

    /// Makes content and length durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes content, length and the other attributes durable. The name is the directory's.
    fn sync_all(&self) -> io::Result<()>;

    /// Locks the whole file for this handle alone, until it is dropped, without waiting: [`io::ErrorKind::WouldBlock`]
    /// when another handle has it, in this process or another. On Linux an open-file-description lock, as etcd takes it
    /// on its segments; it does not see the locks of [`Fs::lock`].
    fn try_lock(&self) -> io::Result<()>;

    /// The present length.
    fn len(&self) -> io::Result<u64>;

    /// Whether the length is zero.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A file in memory, for writing.
pub trait FsMap: Debug + Send + 'static {
    /// Copies `bytes` to offset `at`.
    ///
    /// # Panics
    /// When they reach beyond the map.
    fn store(&mut self, bytes: &[u8], at: usize);

    /// Blocks until the pages of `range` are on stable storage.
    fn sync(&self, range: Range<usize>) -> io::Result<()>;
}

/// [`io::Write`] at the end of what was written through it, beginning at the file's first byte. Not buffered.
///
/// What takes more than one write has its space reserved, 16 MiB at a time.
#[derive(Debug)]
pub struct FileWriter<F> {
    file: F,
    at: u64,
    /// Until where space was reserved; `None` once there was none to be had, or no way to ask.
    reserved: Option<u64>,
}

/// How far ahead a file that grows by large writes has its space reserved. With writes of a mebibyte it spares a merge that
/// copies a sixth of its processor time on ext4.
const RESERVED_BYTES: u64 = 16 << 20;

impl<F: FsFile> FileWriter<F> {
    /// Writes to `file` from its first byte on.
    pub fn new(file: F) -> Self {
        Self { file, at: 0, reserved: Some(0) }
    }

    /// Gives back what was reserved and not written, and the file, for [`Fs::publish`].
    pub fn finish(self) -> io::Result<F> {
        if self.reserved.is_some_and(|reserved| reserved > self.at) {
            self.file.set_len(self.at)?;
        }
        Ok(self.file)
    }

    /// Before all but the first write: many files are small.
    fn reserve_until(&mut self, end: u64) {
        if self.at > 0 && self.reserved.is_some_and(|reserved| end > reserved) {
            let ahead = self.at..end.saturating_add(RESERVED_BYTES);
            self.reserved = self.file.reserve(ahead.clone()).then_some(ahead.end);
        }
    }
}

impl<F: FsFile> Write for FileWriter<F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let end = self.at + buf.len() as u64;
        self.reserve_until(end);
        self.file.write_all_at(buf, self.at)?;
        self.at = end;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The directory of `path`; the present one for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
