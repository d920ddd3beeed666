//! Calls of Unix systems. Linux has further ones: `fallocate` and open-file-description locks.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

#[cfg(target_os = "linux")]
use rustix::fs::FallocateFlags;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::retried;
use crate::fs::file::LockKind;

/// Read and write for the owner, nothing for others.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// The system takes no more pieces in one write.
const PIECES_MAX: usize = 1024;

pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // A link could lead out of the data directory. Opening a pipe would wait until another process writes to it.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).mode(FILE_MODE).custom_flags(flags.bits().cast_signed());
    options
}

/// Whether a file could not be opened because it is a link, a directory or a socket.
pub(super) fn is_irregular(error: &io::Error, _path: &Path) -> bool {
    matches!(errno(error), Some(Errno::LOOP | Errno::ISDIR | Errno::NXIO))
}

/// Whether the process or the system has too many open files.
pub(super) fn is_out_of_handles(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::MFILE | Errno::NFILE))
}

pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(DIR_MODE).create(dir)
}

/// Only root can change the owner. Others can set a group that they belong to. If the group differs, its permissions are
/// not copied, because another group would get them.
pub(super) fn copy_access(file: &File, path: &Path) {
    let (Ok(old), Ok(new)) = (path.symlink_metadata(), file.metadata()) else { return };
    if !old.is_file() {
        return;
    }
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        let group_only = || fchown(file, None, Some(old.gid()));
        drop(fchown(file, Some(old.uid()), Some(old.gid())).or_else(|_| group_only()));
    }
    let same_group = file.metadata().is_ok_and(|new| new.gid() == old.gid());
    let mode = old.mode() & if same_group { 0o777 } else { 0o707 };
    drop(file.set_permissions(Permissions::from_mode(mode)));
}

#[expect(clippy::disallowed_methods, reason = "`fs` is the one place that may call it")]
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = File::open(dir)?;
    retried(|| dir.sync_all())
}

pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buf, offset)
}

pub(super) fn write_all_at(file: &File, buf: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(buf, offset)
}

pub(super) fn write_pieces_at(
    file: &File,
    mut pieces: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    while !pieces.is_empty() {
        let some = &pieces[..pieces.len().min(PIECES_MAX)];
        let written = match rustix::io::pwritev(file, some, offset) {
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

/// Reserves space up to `end` and lengthens the file. False if the file system cannot do that.
#[cfg(target_os = "linux")]
pub(super) fn allocate(file: &File, bytes: &std::ops::Range<u64>) -> io::Result<bool> {
    match fallocate(file, FallocateFlags::empty(), bytes) {
        Err(error) if matches!(errno(&error), Some(Errno::OPNOTSUPP | Errno::NOSYS)) => Ok(false),
        done => done.map(|()| true),
    }
}

/// Reserves space; the length stays.
#[cfg(target_os = "linux")]
pub(super) fn reserve(file: &File, bytes: &std::ops::Range<u64>) -> io::Result<()> {
    fallocate(file, FallocateFlags::KEEP_SIZE, bytes)
}

#[cfg(target_os = "linux")]
fn fallocate(file: &File, flags: FallocateFlags, bytes: &std::ops::Range<u64>) -> io::Result<()> {
    let len = bytes.end.saturating_sub(bytes.start);
    retried(|| Ok(rustix::fs::fallocate(file, flags, bytes.start, len)?))
}

pub(super) fn try_lock(file: &File, kind: LockKind) -> io::Result<()> {
    let operation = match kind {
        LockKind::Exclusive | LockKind::Etcd => FlockOperation::NonBlockingLockExclusive,
        LockKind::Shared => FlockOperation::NonBlockingLockShared,
    };
    #[cfg(target_os = "linux")]
    if kind == LockKind::Etcd {
        match retried(|| Ok(lock_description(file)?)) {
            // Older kernels and some network file systems have no such lock. etcd then uses `flock`, too.
            Err(error) if matches!(errno(&error), Some(Errno::INVAL | Errno::NOSYS)) => {}
            done => return done,
        }
    }
    retried(|| Ok(rustix::fs::flock(file, operation)?))
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// Locks the whole file for this open file description, not for the process: `fcntl(F_OFD_SETLK)`.
#[cfg(target_os = "linux")]
fn lock_description(file: &File) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;
    let whole_file = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file)) {
        Err(nix::errno::Errno::EACCES) => Err(nix::errno::Errno::EAGAIN),
        done => done.map(drop),
    }
}
