//! All file access of a log, and of the engine above it.
//!
//! Durable operations (sync, rename, directory sync) exist only here. [`OsFs`] is the real file system. The
//! feature `testing` adds one that simulates power cuts and failing disks.

mod error;
mod file;
mod os;
mod publish;
mod quarantine;
mod sparse;
mod stream;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::Path;

pub use error::{NotRegular, TooLong};
pub use file::{FsFile, FsMap, LockKind};
pub(crate) use os::is_out_of_handles;
pub use os::{OsFile, OsFs};
pub(crate) use publish::remove_if_there;
pub use publish::{create_temporary, publish_new, remove_together};
pub use quarantine::{quarantine, quarantine_name, replace_corrupt, replace_corrupt_by};
pub(crate) use quarantine::{quarantine_as, quarantine_copy};
pub use sparse::Hole;
use stream::FileReader;
pub use stream::FileWriter;

/// A file system. Handles are cheap to clone; all clones see the same files.
///
/// Implement seven methods here and those of [`FsFile`]. All other methods have default implementations.
pub trait Fs: Clone + Default + Debug + Send + Sync + 'static {
    /// An open file.
    type File: FsFile;

    /// Opens or creates a file.
    ///
    /// # Errors
    ///
    /// [`NotRegular`] for a symbolic link or anything else that is not a regular file.
    fn open_as(&self, path: &Path, access: Access) -> io::Result<Self::File>;

    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Creates a directory that only its owner can access. Fails if the name exists. Durable once the parent
    /// directory is synced.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Renames a file or a directory; readers see one atomic step. Replaces a file, or an empty directory, at
    /// `to`. Durable once the directory is synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable once its directory is synced.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory. Durable once the parent directory is synced.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a directory's entries durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file a second name (hard link). Durable once the directory is synced. Callers copy the file if
    /// this fails.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives `file` the permissions and the owner of the file at `path`, as far as the operating system allows.
    /// A failure is ignored: the file then stays private to its owner.
    fn copy_access(&self, file: &Self::File, path: &Path) {
        let _ = (file, path);
    }

    /// Marks a named point between two operations where a simulation can stop. Does nothing elsewhere.
    fn point(&self, name: &str) {
        let _ = name;
    }

    /// Creates a file for reading and writing. Fails if the name exists.
    fn create_new(&self, path: &Path) -> io::Result<Self::File> {
        self.open_as(path, Access::Create)
    }

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Self::File> {
        self.open_as(path, Access::Write)
    }

    /// Reads a file of any length. Use it only for files that this process wrote; use [`Fs::read_within`] for
    /// others.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_within(path, u64::MAX)
    }

    /// Reads a file of at most `limit` bytes. A longer file fails with [`TooLong`] before memory is
    /// allocated: a sparse file can have any length and take no disk space.
    fn read_within(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        read_all_within(&self.open_as(path, Access::Read)?, limit)
    }

    /// Reads a segment of at most `limit` bytes. The result can have fewer trailing zeros than the file: only
    /// as many as a record could contain. So a long sparse file takes little memory.
    ///
    /// # Errors
    /// The file is too long ([`TooLong`]), contains a [`Hole`], or cannot be read.
    fn read_segment(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open_as(path, Access::Read)?;
        match file.len()? {
            len if len > sparse::ZEROS_MAX => sparse::read(FileReader::new(&file), len, limit),
            // Most segments are shorter. Read them in one call.
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

    /// Creates a directory and its parents, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let above = parent(dir);
        match self.list(dir) {
            Ok(_) if above == dir => Ok(()),
            // The process that created it may have died before this sync.
            Ok(_) => match self.sync_dir(above) {
                // Without permission, this process cannot have created an entry there.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                done => done,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_dir_all(above)?;
                match self.create_dir(dir) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
                // Without the directory entry being durable, the next attempt must not find the directory.
                self.sync_dir(above).inspect_err(|_| drop(self.remove_dir(dir)))
            }
            Err(error) => Err(error),
        }
    }

    /// Takes an exclusive lock on the file at `path` until the returned handle is dropped. Creates the file
    /// if necessary. Does not wait: fails with [`io::ErrorKind::WouldBlock`] if another owner, in this
    /// process or another, has the lock.
    fn lock(&self, path: &Path) -> io::Result<Self::File> {
        let file = match self.create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.open(path)?,
            file => file?,
        };
        file.try_lock(LockKind::Exclusive)?;
        Ok(file)
    }

    /// Takes a shared lock on the file at `path`, which excludes [`Fs::lock`]. Creates and writes nothing, so
    /// it works on a read-only file system.
    fn lock_shared(&self, path: &Path) -> io::Result<Self::File> {
        let file = self.open_as(path, Access::Read)?;
        file.try_lock(LockKind::Shared)?;
        Ok(file)
    }

    /// Publishes a file that was written under a temporary name in the same directory. Durable on return.
    /// After a crash, `name` is either the complete new file or as it was before.
    fn publish(&self, file: &Self::File, temporary: &Path, name: &Path) -> io::Result<()> {
        file.sync_all()?;
        self.rename(temporary, name)?;
        self.sync_dir(parent(name))
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading.
    Read,
    /// For reading and writing.
    Write,
    /// Creates a new file for reading and writing that only its owner can access. Fails if the name exists.
    Create,
}

fn read_all_within(file: &impl FsFile, limit: u64) -> io::Result<Vec<u8>> {
    TooLong::check(file.len()?, limit)?;
    // Another process may have extended the file since.
    let bytes = file.read_all(limit.saturating_add(1))?;
    TooLong::check(bytes.len() as u64, limit)?;
    Ok(bytes)
}

/// The parent directory of `path`: `.` for a bare file name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        parent => parent.unwrap_or(path),
    }
}

#[cfg(test)]
mod tests;
