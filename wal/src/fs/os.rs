//! The operating system's files, through libc.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, IoSlice, Read};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

#[cfg(target_os = "linux")]
use rustix::fs::FallocateFlags;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::{Fs, FsFile, NotRegular, TooLong, parent};
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

/// A `flock` that lasts as long as this value.
#[derive(Debug)]
pub struct OsLock(#[expect(dead_code, reason = "the lock ends when the file is closed")] File);

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
    type Lock = OsLock;

    fn create_new(&self, path: &Path) -> io::Result<OsFile> {
        options().write(true).create_new(true).open(path).map(OsFile)
    }

    fn open(&self, path: &Path) -> io::Result<OsFile> {
        open_regular(options().write(true), path).map(OsFile)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        open_regular(&options(), path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_within(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = open_regular(&options(), path)?;
        let len = file.metadata()?.len();
        TooLong::check(len, limit)?;
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
        // Somebody may lengthen it meanwhile.
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        TooLong::check(bytes.len() as u64, limit)?;
        Ok(bytes)
    }

    fn read_segment(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = open_regular(&options(), path)?;
        // Segments are mostly shorter, and then read in one go.
        if file.metadata()?.len() <= super::sparse::ZEROS_MAX {
            return self.read_within(path, limit);
        }
        super::sparse::read(&file, file.metadata()?.len(), limit)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let names = retried(|| std::fs::read_dir(dir))?.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let above = parent(dir);
        if dir.is_dir() {
            // Whoever created it may have died before this.
            return match self.sync_dir(above) {
                // Nor may we create anything there.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                done => done,
            };
        }
        if above != dir {
            self.create_dir_all(above)?;
        }
        match retried(|| DirBuilder::new().mode(DIR_MODE).create(dir)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            done => done?,
        }
        // Else the next attempt would find it, and take it for durable.
        self.sync_dir(above).inspect_err(|_| drop(std::fs::remove_dir(dir)))
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

    fn lock(&self, path: &Path) -> io::Result<OsLock> {
        let file = open_regular(options().write(true).create(true).truncate(false), path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(OsLock(file))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<OsLock> {
        let file = open_regular(&options(), path)?;
        flock(&file, FlockOperation::NonBlockingLockShared)?;
        Ok(OsLock(file))
    }

    fn is_same(&self, a: &Path, b: &Path) -> io::Result<bool> {
        let (a, b) = (open_regular(&options(), a)?, open_regular(&options(), b)?);
        let (of_a, of_b) = (a.metadata()?, b.metadata()?);
        if (of_a.dev(), of_a.ino()) == (of_b.dev(), of_b.ino()) {
            return Ok(true);
        }
        Ok(of_a.len() == of_b.len() && have_same_bytes(&a, &b)?)
    }

    fn os_file(&self, path: &Path) -> io::Result<Option<File>> {
        open_regular(&options(), path).map(Some)
    }
}

/// Whether two files of one length have the same content.
fn have_same_bytes(a: &File, b: &File) -> io::Result<bool> {
    let (mut a, mut b) = (BufReader::with_capacity(1 << 18, a), BufReader::with_capacity(1 << 18, b));
    loop {
        let (left, right) = (a.fill_buf()?, b.fill_buf()?);
        let both = left.len().min(right.len());
        if both == 0 {
            return Ok(left.len() == right.len());
        }
        if left[..both] != right[..both] {
            return Ok(false);
        }
        a.consume(both);
        b.consume(both);
    }
}

impl OsFile {
    /// For file systems that cannot reserve space: writes the zeros.
    fn write_zeros(&self, len: u64) -> io::Result<()> {
        let zeros = vec![0; 1 << 20];
        let mut at = self.len()?;
        while at < len {
            let part = (len - at).min(zeros.len() as u64);
            self.write_all_at(&zeros[..part as usize], at)?;
            at += part;
        }
        Ok(())
    }
}

impl FsFile for OsFile {
    type Map = SegmentMap;

    fn map(&self) -> io::Result<SegmentMap> {
        SegmentMap::new(&self.0)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        retried(|| self.0.read_at(buf, offset))
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
        self.write_zeros(bytes.end)
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

    fn try_lock(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        match retried(|| Ok(lock_description(&self.0)?)) {
            // Older kernels and some network file systems know only the other kind; so does etcd on them.
            Err(error) if matches!(errno(&error), Some(Errno::INVAL | Errno::NOSYS)) => {}
            done => return done,
        }
        flock(&self.0, FlockOperation::NonBlockingLockExclusive)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

fn flock(file: &File, operation: FlockOperation) -> io::Result<()> {
    retried(|| Ok(rustix::fs::flock(file, operation)?))
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
