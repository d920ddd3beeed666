//! A file system that stores transformed bytes, so that code which bypasses it reads garbage.

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::fs::{Access, Fs, FsFile, FsMap, LockKind};

/// Odd, so that the multiplication can be reversed. Zeros stay zeros, as in allocated space.
const FACTOR: u8 = 93;
const INVERSE: u8 = 245;

const _: () = assert!(FACTOR.wrapping_mul(INVERSE) == 1);

/// Wraps a file system: stores bytes scrambled, and returns at most 7 bytes per read.
#[derive(Clone, Debug, Default)]
pub struct ScrambledFs<F> {
    inner: F,
}

/// A file of a [`ScrambledFs`].
#[derive(Debug)]
pub struct ScrambledFile<F> {
    inner: F,
}

impl<F: Fs> ScrambledFs<F> {
    /// Wraps `inner`.
    pub fn new(inner: F) -> Self {
        Self { inner }
    }
}

fn scaled(bytes: &[u8], factor: u8) -> Vec<u8> {
    bytes.iter().map(|byte| byte.wrapping_mul(factor)).collect()
}

impl<F: Fs> Fs for ScrambledFs<F> {
    type File = ScrambledFile<F::File>;

    fn open_as(&self, path: &Path, access: Access) -> io::Result<Self::File> {
        self.inner.open_as(path, access).map(|inner| ScrambledFile { inner })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.inner.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
}

/// A map of a [`ScrambledFile`].
#[derive(Debug)]
struct ScrambledMap {
    inner: Box<dyn FsMap>,
}

impl FsMap for ScrambledMap {
    fn store(&mut self, bytes: &[u8], at: usize) {
        self.inner.store(&scaled(bytes, FACTOR), at);
    }

    fn sync(&self, range: Range<usize>) -> io::Result<()> {
        self.inner.sync(range)
    }
}

impl<F: FsFile> FsFile for ScrambledFile<F> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = buf.len().min(7);
        let done = self.inner.read_at(&mut buf[..len], offset)?;
        buf[..done].iter_mut().for_each(|byte| *byte = byte.wrapping_mul(INVERSE));
        Ok(done)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_all_at(&scaled(buf, FACTOR), offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<()> {
        self.inner.try_lock(kind)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn map(&self) -> io::Result<Box<dyn FsMap>> {
        self.inner.map().map(|inner| Box::new(ScrambledMap { inner }) as _)
    }
}
