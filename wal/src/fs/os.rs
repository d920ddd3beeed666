//! The operating system's files, through libc.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Read, Seek};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

#[cfg(target_os = "linux")]
use rustix::fs::FallocateFlags;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::error::NotRegular;
use super::file::{FsFile, FsMap, LockKind, write_zeros};
use super::{Access, Fs};
use crate::mmap::SegmentMap;

/// Read and write for the owner, nothing for others.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// The system takes no more pieces in one write.
const PIECES_MAX: usize = 1024;

/// The files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

/// A file of the operating system.
#[derive(Debug)]
pub struct OsFile(File);

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // A link could lead out of the data directory. A pipe would be waited for, until somebody writes to it.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).mode(FILE_MODE).custom_flags(flags.bits().cast_signed());
    options
}

/// Opens what is there, if it is a file: a device or a pipe with the name of one has no end.
fn open_regular(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, NotRegular);
    let file = options.open(path).map_err(|error| match errno(&error) {
        // A link, a directory, a socket.
        Some(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => refused(),
        _ => error,
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(refused()) }
}

/// Asks again as long as a signal interrupts the call. Nothing was done then, and nothing is wrong with the disk.
fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Fs for OsFs {
    type File = OsFile;

    fn open_as(&self, path: &Path, access: Access) -> io::Result<OsFile> {
        match access {
            Access::Read => open_regular(&options(), path),
            Access::Write => open_regular(options().write(true), path),
            Access::Create => options().write(true).create_new(true).open(path),
        }
        .map(OsFile)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let names = retried(|| std::fs::read_dir(dir))?.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        retried(|| DirBuilder::new().mode(DIR_MODE).create(dir))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door the ban points to")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        retried(|| std::fs::rename(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        retried(|| std::fs::hard_link(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        retried(|| std::fs::remove_file(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        retried(|| std::fs::remove_dir(dir))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door the ban points to")]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = File::open(dir)?;
        retried(|| dir.sync_all())
    }
}

impl FsFile for OsFile {
    fn map(&self) -> io::Result<Box<dyn FsMap>> {
        Ok(Box::new(SegmentMap::new(&self.0)?))
    }

    fn os_file(&self) -> Option<&File> {
        Some(&self.0)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        retried(|| self.0.read_at(buf, offset))
    }

    fn read_all(&self, limit: u64) -> io::Result<Vec<u8>> {
        // The system fills memory that was not cleared before.
        let mut bytes = Vec::with_capacity(usize::try_from(self.len()?.min(limit)).unwrap_or_default());
        let mut file = &self.0;
        file.rewind()?;
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn write_pieces_at(&self, mut pieces: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        while !pieces.is_empty() {
            let some = &pieces[..pieces.len().min(PIECES_MAX)];
            let written = match rustix::io::pwritev(&self.0, some, offset) {
                Err(Errno::INTR) => continue,
                Ok(0) if some.iter().any(|piece| !piece.is_empty()) => {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                done => done?,
            };
            IoSlice::advance_slices(&mut pieces, written);
            offset += written as u64;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        retried(|| self.0.set_len(len))
    }

    fn allocate(&self, bytes: Range<u64>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        match fallocate(&self.0, FallocateFlags::empty(), &bytes) {
            Err(error) if matches!(errno(&error), Some(Errno::OPNOTSUPP | Errno::NOSYS)) => {}
            done => return done,
        }
        write_zeros(self, bytes.end)
    }

    #[cfg(target_os = "linux")]
    fn reserve(&self, bytes: Range<u64>) -> bool {
        let reserved = fallocate(&self.0, FallocateFlags::KEEP_SIZE, &bytes).is_ok();
        if !reserved {
            // Ext4 keeps what it found of the space, and the disk is full until the file is cut.
            drop(self.len().and_then(|len| self.set_len(len)));
        }
        reserved
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door the ban points to")]
    fn sync_data(&self) -> io::Result<()> {
        retried(|| self.0.sync_data())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door the ban points to")]
    fn sync_all(&self) -> io::Result<()> {
        retried(|| self.0.sync_all())
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<()> {
        let operation = match kind {
            LockKind::Exclusive | LockKind::Etcd => FlockOperation::NonBlockingLockExclusive,
            LockKind::Shared => FlockOperation::NonBlockingLockShared,
        };
        #[cfg(target_os = "linux")]
        if kind == LockKind::Etcd {
            match retried(|| Ok(lock_description(&self.0)?)) {
                // Older kernels and some network file systems know only the other kind; so does etcd on them.
                Err(error) if matches!(errno(&error), Some(Errno::INVAL | Errno::NOSYS)) => {}
                done => return done,
            }
        }
        retried(|| Ok(rustix::fs::flock(&self.0, operation)?))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(target_os = "linux")]
fn fallocate(file: &File, flags: FallocateFlags, bytes: &Range<u64>) -> io::Result<()> {
    let len = bytes.end.saturating_sub(bytes.start);
    retried(|| Ok(rustix::fs::fallocate(file, flags, bytes.start, len)?))
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// The lock that belongs to this opening of the file, not to the process: `fcntl(F_OFD_SETLK)` over all of it.
#[cfg(target_os = "linux")]
fn lock_description(file: &File) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
        Err(nix::errno::Errno::EACCES) => Err(nix::errno::Errno::EAGAIN),
        done => done.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Story: a signal during an opening ended it with "Interrupted system call", as if the disk had failed.
    #[test]
    fn an_interrupted_call_is_repeated() {
        let mut calls = 0;
        let done = retried(|| {
            calls += 1;
            if calls < 4 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(calls) }
        });
        assert_eq!(done.expect("the fourth"), 4);
        let failed = retried(|| Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull)));
        assert_eq!(failed.expect_err("no other error").kind(), io::ErrorKind::StorageFull);
    }
}
