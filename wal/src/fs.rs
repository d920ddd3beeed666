//! The one door to files: what a log, and the engine above it, asks of a file system.
//!
//! Durable operations (sync, rename, directory sync) exist only here. [`OsFs`] is the real file system. The feature
//! `testing` brings one that simulates power cuts and failing disks.

mod error;
mod file;
mod os;
mod publish;
mod quarantine;
pub mod sparse;
mod stream;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::Path;

pub use error::{NotRegular, TooLong};
pub use file::{FsFile, FsMap, LockKind};
pub(crate) use os::is_out_of_handles;
pub use os::{OsFile, OsFs};
pub use publish::{create_temporary, publish_new, remove_if_there, remove_together};
pub use quarantine::{quarantine, quarantine_name, replace_corrupt, replace_corrupt_by};
pub(crate) use quarantine::{quarantine_as, quarantine_copy};
pub use stream::{FileReader, FileWriter};

/// A file system. A handle that is cheap to clone; clones see the same files.
///
/// An implementation provides seven methods, and those of [`FsFile`]. Everything else is made of these.
pub trait Fs: Clone + Default + Debug + Send + Sync + 'static {
    /// An open file.
    type File: FsFile;

    /// Opens or creates a file.
    ///
    /// # Errors
    /// A symbolic link, or anything else that is no regular file, is [`NotRegular`].
    fn open_as(&self, path: &Path, access: Access) -> io::Result<Self::File>;

    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Creates a directory, for the owner only. Fails if the name is taken. Not durable before the directory above it is
    /// synced.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file or a directory another name, in one step for readers. Replaces a file, or an empty directory, of that
    /// name. Not durable before its directory is synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Not durable before its directory is synced.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory. Not durable before the directory above it is synced.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file a second name. Not durable before the directory is synced. Callers copy the file where this fails.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// A named point between two operations, where a simulation may end. Costs nothing elsewhere.
    fn point(&self, name: &str) {
        let _ = name;
    }

    /// Creates a file for reading and writing. Fails if the name is taken.
    fn create_new(&self, path: &Path) -> io::Result<Self::File> {
        self.open_as(path, Access::Create)
    }

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Self::File> {
        self.open_as(path, Access::Write)
    }

    /// The content of a file of any length. Use it for files that this process wrote, and [`Fs::read_within`] for others.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_within(path, u64::MAX)
    }

    /// The content of a file that has at most `limit` bytes. A longer one is refused with [`TooLong`] before memory is
    /// allocated for it: a sparse file of any length takes no space on the disk.
    fn read_within(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        read_all_within(&self.open_as(path, Access::Read)?, limit)
    }

    /// The content of a segment that has at most `limit` bytes, as [`sparse::read`] gives it: the zeros at its end may be
    /// fewer than in the file.
    fn read_segment(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open_as(path, Access::Read)?;
        match file.len()? {
            len if len > sparse::ZEROS_MAX => sparse::read(FileReader::new(&file), len, limit),
            // Most segments are shorter, and are read at once.
            _ => read_all_within(&file, limit),
        }
    }

    /// Whether two files have the same content.
    fn is_same(&self, a: &Path, b: &Path) -> io::Result<bool> {
        const PIECE_BYTES: usize = 1 << 18;
        let (a, b) = (self.open_as(a, Access::Read)?, self.open_as(b, Access::Read)?);
        let (mut of_a, mut of_b) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
        for at in (0..).step_by(PIECE_BYTES) {
            let (len, other) = (a.read_full_at(&mut of_a, at)?, b.read_full_at(&mut of_b, at)?);
            if of_a[..len] != of_b[..other] {
                return Ok(false);
            }
            if len < PIECE_BYTES {
                break;
            }
        }
        Ok(true)
    }

    /// Creates a directory and those above it, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let above = parent(dir);
        match self.list(dir) {
            Ok(_) if above == dir => Ok(()),
            // The process that created it may have died before this.
            Ok(_) => match self.sync_dir(above) {
                // This process cannot have created anything there.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                done => done,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_dir_all(above)?;
                match self.create_dir(dir) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
                // Else the next attempt would find it, and take it for durable.
                self.sync_dir(above).inspect_err(|_| drop(self.remove_dir(dir)))
            }
            Err(error) => Err(error),
        }
    }

    /// Locks the file at `path` for this owner alone, until the returned handle is dropped. Creates it if need be. Does not
    /// wait: [`io::ErrorKind::WouldBlock`] if another owner has the lock, in this process or another.
    fn lock(&self, path: &Path) -> io::Result<Self::File> {
        let file = match self.create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.open(path)?,
            file => file?,
        };
        file.try_lock(LockKind::Exclusive)?;
        Ok(file)
    }

    /// Locks the file at `path` against [`Fs::lock`], beside other owners that share it. Creates and writes nothing, so that
    /// it works on a read-only file system.
    fn lock_shared(&self, path: &Path) -> io::Result<Self::File> {
        let file = self.open_as(path, Access::Read)?;
        file.try_lock(LockKind::Shared)?;
        Ok(file)
    }

    /// Publishes a file that was written under a temporary name in the same directory. Durable on return: after a
    /// crash `name` is whole, or as it was before.
    fn publish(&self, file: &Self::File, temporary: &Path, name: &Path) -> io::Result<()> {
        file.sync_all()?;
        self.rename(temporary, name)?;
        self.sync_dir(parent(name))
    }
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
    /// Reading and writing; the file is new, and readable by the owner only. Fails if the name is taken.
    Create,
}

fn read_all_within(file: &impl FsFile, limit: u64) -> io::Result<Vec<u8>> {
    TooLong::check(file.len()?, limit)?;
    // Another process may lengthen it meanwhile.
    let bytes = file.read_all(limit.saturating_add(1))?;
    TooLong::check(bytes.len() as u64, limit)?;
    Ok(bytes)
}

/// The directory of `path`; the present one for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        parent => parent.unwrap_or(path),
    }
}

#[cfg(test)]
mod tests;
