//! What a [`SimFs`] hands out: files, their maps, and locks.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::Change;
use super::{Fault, SimFs, eio, enospc};
use crate::fs::{FsFile, FsMap};

/// A file of a [`SimFs`].
#[derive(Clone, Debug)]
pub struct SimFile {
    fs: SimFs,
    at: usize,
    /// The lock that goes with the last clone of this handle.
    lock: Arc<Mutex<Option<HeldFile>>>,
}

#[derive(Debug)]
struct HeldFile {
    fs: SimFs,
    at: usize,
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        self.fs.world.lock().held.remove(&self.at);
    }
}

impl SimFile {
    pub(super) fn new(fs: &SimFs, at: usize) -> Self {
        Self { fs: fs.clone(), at, lock: Arc::default() }
    }

    fn sync(&self, name: &'static str) -> io::Result<()> {
        let mut world = self.fs.world.lock();
        let fault = world.step(name)?;
        let inode = &mut world.inodes[self.at];
        match fault {
            None | Some(Fault::NoHandle | Fault::Short | Fault::Interrupted) => inode.sync(),
            Some(Fault::IgnoredSync) => {}
            Some(fault) => {
                inode.pending.clear();
                return Err(fault.error());
            }
        }
        Ok(())
    }

    fn grow(&self, name: &'static str, len: u64) -> io::Result<()> {
        let mut world = self.fs.world.lock();
        world.plain(name)?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if len.saturating_sub(world.inodes[self.at].current.len()) > world.room() {
            return Err(enospc());
        }
        world.inodes[self.at].change(Change::SetLen(len));
        Ok(())
    }
}

/// A map of a [`SimFile`].
#[derive(Debug)]
pub struct SimMap {
    file: SimFile,
    len: usize,
}

impl FsMap for SimMap {
    fn store(&mut self, bytes: &[u8], at: usize) {
        assert!(at + bytes.len() <= self.len, "beyond the map");
        let mut world = self.file.fs.world.lock();
        // A memory access has no result: a stopped world cannot be told apart from here.
        if world.step("store").is_ok() {
            let inode = &mut world.inodes[self.file.at];
            assert!(inode.current.len() >= self.len, "the file was shortened under its map");
            inode.change(Change::Write { at, bytes: bytes.to_vec() });
        }
    }

    fn sync(&self, range: Range<usize>) -> io::Result<()> {
        let mut world = self.file.fs.world.lock();
        let fault = world.step("msync")?;
        let inode = &mut world.inodes[self.file.at];
        match fault {
            None | Some(Fault::NoHandle | Fault::Short | Fault::Interrupted) => inode.sync_pages(range),
            Some(Fault::IgnoredSync) => {}
            Some(fault) => {
                inode.pending.clear();
                return Err(fault.error());
            }
        }
        Ok(())
    }
}

impl FsFile for SimFile {
    type Map = SimMap;

    fn map(&self) -> io::Result<SimMap> {
        let mut world = self.fs.world.lock();
        world.plain("map")?;
        Ok(SimMap { file: self.clone(), len: world.inodes[self.at].current.len() })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.fs.world.lock();
        world.plain("read_at")?;
        let bytes = &world.inodes[self.at].current;
        let rest = usize::try_from(offset).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.fs.world.lock();
        let mut fault = world.step("write")?;
        if fault == Some(Fault::Short) {
            // A power cut may come between the two.
            let at = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
            let bytes = buf[..(buf.len() / 2).min(world.room())].to_vec();
            world.inodes[self.at].change(Change::Write { at, bytes });
            fault = world.step("write")?;
        }
        if fault == Some(Fault::Io) {
            return Err(eio());
        }
        let at = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let growth = (at + buf.len()).saturating_sub(world.inodes[self.at].current.len());
        let missing = growth.saturating_sub(world.room());
        let done = if fault == Some(Fault::Full) { buf.len() / 2 } else { buf.len().saturating_sub(missing) };
        if done > 0 {
            world.inodes[self.at].change(Change::Write { at, bytes: buf[..done].to_vec() });
        }
        if done == buf.len() { Ok(()) } else { Err(enospc()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.grow("set_len", len)
    }

    fn allocate(&self, bytes: Range<u64>) -> io::Result<()> {
        self.grow("allocate", bytes.end)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync("sync_data")
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync("sync_all")
    }

    fn try_lock(&self) -> io::Result<()> {
        let mut mine = self.lock.lock();
        let mut world = self.fs.world.lock();
        world.plain("try_lock")?;
        if mine.is_none() {
            if !world.held.insert(self.at) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            *mine = Some(HeldFile { fs: self.fs.clone(), at: self.at });
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.fs.world.lock().inodes[self.at].current.len() as u64)
    }
}

/// A held lock of a [`SimFs`].
#[derive(Debug)]
pub struct SimLock {
    fs: SimFs,
    path: PathBuf,
}

impl SimLock {
    pub(super) fn new(fs: &SimFs, path: &Path) -> Self {
        Self { fs: fs.clone(), path: path.to_path_buf() }
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.fs.world.lock();
        match world.locks.get_mut(&self.path) {
            Some(sharing) if *sharing > 1 => *sharing -= 1,
            _ => drop(world.locks.remove(&self.path)),
        }
    }
}
