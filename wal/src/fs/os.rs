//! The operating system's files. `os/unix.rs` and `os/windows.rs` have what the standard library lacks or what differs.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
#[cfg(unix)]
use std::io::IoSlice;
use std::ops::Range;
use std::path::Path;

use super::error::NotRegular;
use super::file::{FsFile, FsMap, LockKind, write_zeros};
use super::{Access, Fs};
use crate::mmap::SegmentMap;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

/// The files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

/// A file of the operating system.
#[derive(Debug)]
pub struct OsFile(File);

/// Opens an existing file, and refuses a device or a pipe: reading one may never end.
fn open_regular(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, NotRegular);
    let opened = options.open(path);
    let file = opened.map_err(|error| if system::is_irregular(&error, path) { refused() } else { error })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(refused()) }
}

/// Repeats a call that a signal interrupted. Such a call did nothing.
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
            Access::Read => open_regular(&system::options(), path),
            Access::Write => open_regular(system::options().write(true), path),
            Access::Create => system::options().write(true).create_new(true).open(path),
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
        retried(|| system::create_dir(dir))
    }

    #[expect(clippy::disallowed_methods, reason = "`fs` is the one place that may call it")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        retried(|| std::fs::rename(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        retried(|| std::fs::hard_link(from, to))
    }

    #[cfg(unix)]
    fn copy_access(&self, file: &OsFile, path: &Path) {
        system::copy_access(&file.0, path);
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        retried(|| std::fs::remove_file(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        retried(|| std::fs::remove_dir(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        system::sync_dir(dir)
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
        retried(|| system::read_at(&self.0, buf, offset))
    }

    // On Windows, reading at an offset moves the place of a sequential read.
    #[cfg(unix)]
    fn read_all(&self, limit: u64) -> io::Result<Vec<u8>> {
        use std::io::{Read as _, Seek as _};
        // `read_to_end` fills memory that is not cleared first.
        let mut bytes = Vec::with_capacity(usize::try_from(self.len()?.min(limit)).unwrap_or_default());
        let mut file = &self.0;
        file.rewind()?;
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        system::write_all_at(&self.0, buf, offset)
    }

    #[cfg(unix)]
    fn write_pieces_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        system::write_pieces_at(&self.0, pieces, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        retried(|| self.0.set_len(len))
    }

    fn allocate(&self, bytes: Range<u64>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        if system::allocate(&self.0, &bytes)? {
            return Ok(());
        }
        write_zeros(self, bytes.end)
    }

    #[cfg(target_os = "linux")]
    fn reserve(&self, bytes: Range<u64>) -> bool {
        let reserved = system::reserve(&self.0, &bytes).is_ok();
        if !reserved {
            // On a full disk, ext4 keeps the part of the space that it found. Setting the length frees it.
            drop(self.len().and_then(|len| self.set_len(len)));
        }
        reserved
    }

    #[expect(clippy::disallowed_methods, reason = "`fs` is the one place that may call it")]
    fn sync_data(&self) -> io::Result<()> {
        retried(|| self.0.sync_data())
    }

    #[expect(clippy::disallowed_methods, reason = "`fs` is the one place that may call it")]
    fn sync_all(&self) -> io::Result<()> {
        retried(|| self.0.sync_all())
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<()> {
        system::try_lock(&self.0, kind)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Whether the process or the system has too many open files.
pub(crate) fn is_out_of_handles(error: &io::Error) -> bool {
    system::is_out_of_handles(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Story: a signal interrupted a system call while a log was opened. The log reported a failed disk.
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
