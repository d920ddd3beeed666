//! A file system that stores other bytes than it is given: whoever goes round it reads nonsense.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::fs::{Fs, FsFile, FsMap};

/// Odd, so that multiplication by it can be undone; zeros stay zeros, as allocated space has them.
const FACTOR: u8 = 93;
const INVERSE: u8 = 245;

const _: () = assert!(FACTOR.wrapping_mul(INVERSE) == 1);

/// Wraps a file system: bytes are stored scrambled, and reads give at most 7 of them at a time.
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
    /// Scrambles what goes into `inner`.
    pub fn new(inner: F) -> Self {
        Self { inner }
    }
}

fn scaled(bytes: &[u8], factor: u8) -> Vec<u8> {
    bytes.iter().map(|byte| byte.wrapping_mul(factor)).collect()
}

impl<F: Fs> Fs for ScrambledFs<F> {
    type File = ScrambledFile<F::File>;
    type Lock = F::Lock;

    fn create_new(&self, path: &Path) -> io::Result<Self::File> {
        self.inner.create_new(path).map(|inner| ScrambledFile { inner })
    }

    fn open(&self, path: &Path) -> io::Result<Self::File> {
        self.inner.open(path).map(|inner| ScrambledFile { inner })
    }

    fn read_within(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.inner.read_within(path, limit).map(|bytes| scaled(&bytes, INVERSE))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.inner.read(path).map(|bytes| scaled(&bytes, INVERSE))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.inner.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.link(from, to)
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

    fn lock(&self, path: &Path) -> io::Result<Self::Lock> {
        self.inner.lock(path)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Self::Lock> {
        self.inner.lock_shared(path)
    }

    fn os_file(&self, _: &Path) -> io::Result<Option<File>> {
        Ok(None)
    }
}

/// A map of a [`ScrambledFile`].
#[derive(Debug)]
pub struct ScrambledMap<M> {
    inner: M,
}

impl<M: FsMap> FsMap for ScrambledMap<M> {
    fn store(&mut self, bytes: &[u8], at: usize) {
        self.inner.store(&scaled(bytes, FACTOR), at);
    }

    fn sync(&self, range: Range<usize>) -> io::Result<()> {
        self.inner.sync(range)
    }
}

impl<F: FsFile> FsFile for ScrambledFile<F> {
    type Map = ScrambledMap<F::Map>;

    fn map(&self) -> io::Result<Self::Map> {
        self.inner.map().map(|inner| ScrambledMap { inner })
    }

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

    fn allocate(&self, bytes: Range<u64>) -> io::Result<()> {
        self.inner.allocate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }

    fn try_lock(&self) -> io::Result<()> {
        self.inner.try_lock()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
