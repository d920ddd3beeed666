//! Calls of Windows. A rename is durable when NTFS writes its journal: Windows has no fsync of a directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::fs::file::LockKind;

/// `FILE_FLAG_OPEN_REPARSE_POINT`: opens a link itself, which is then refused, instead of the file it points to.
const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
/// `ERROR_TOO_MANY_OPEN_FILES`.
const TOO_MANY_OPEN_FILES: i32 = 4;

pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OPEN_REPARSE_POINT);
    options
}

/// Whether a file could not be opened because it is a directory or a link.
pub(super) fn is_irregular(error: &io::Error, path: &Path) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
        && path.symlink_metadata().is_ok_and(|found| !found.is_file())
}

/// Whether the process has too many open files.
pub(super) fn is_out_of_handles(error: &io::Error) -> bool {
    error.raw_os_error() == Some(TOO_MANY_OPEN_FILES)
}

pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().create(dir)
}

/// Only checks that the directory exists.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    if dir.metadata()?.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    file.seek_read(buf, offset)
}

pub(super) fn write_all_at(file: &File, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.seek_write(buf, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                buf = &buf[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) fn try_lock(file: &File, kind: LockKind) -> io::Result<()> {
    match kind {
        LockKind::Exclusive | LockKind::Etcd => Ok(file.try_lock()?),
        LockKind::Shared => Ok(file.try_lock_shared()?),
    }
}
