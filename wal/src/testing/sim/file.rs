//! A file of a [`SimFs`](super::SimFs), and its map.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::Edit;
use super::fault::Fault;
use super::world::World;
use crate::fs::{FsFile, FsMap, LockKind};

/// A file of a [`SimFs`](super::SimFs).
#[derive(Clone, Debug)]
pub struct SimFile {
    world: Arc<Mutex<World>>,
    at: usize,
    /// The lock, which is released when the last clone of this handle is dropped.
    lock: Arc<Mutex<Option<Lock>>>,
}

impl SimFile {
    pub(super) fn new(world: &Arc<Mutex<World>>, at: usize) -> Self {
        Self { world: Arc::clone(world), at, lock: Arc::default() }
    }

    fn sync(&self, name: &'static str) -> io::Result<()> {
        let mut world = self.world.lock();
        let fault = world.step(name)?;
        world.files[self.at].sync(fault)
    }

    fn resize(&self, name: &'static str, len: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        world.plain(name)?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if len.saturating_sub(world.files[self.at].current().len()) > world.free_bytes() {
            return Err(Fault::Full.error());
        }
        world.files[self.at].change(Edit::SetLen(len));
        Ok(())
    }
}

impl FsFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.world.lock();
        world.plain("read_at")?;
        let bytes = world.files[self.at].current();
        let rest = usize::try_from(offset).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        let mut fault = world.step("write")?;
        if fault == Some(Fault::Short) {
            // A power cut may come between the two halves.
            let at = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
            let bytes = buf[..(buf.len() / 2).min(world.free_bytes())].to_vec();
            world.files[self.at].change(Edit::Write { at, bytes });
            fault = world.step("write")?;
        }
        if fault == Some(Fault::Io) {
            return Err(Fault::Io.error());
        }
        let at = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let growth = (at + buf.len()).saturating_sub(world.files[self.at].current().len());
        let missing = growth.saturating_sub(world.free_bytes());
        let done = if fault == Some(Fault::Full) { buf.len() / 2 } else { buf.len().saturating_sub(missing) };
        if done > 0 {
            world.files[self.at].change(Edit::Write { at, bytes: buf[..done].to_vec() });
        }
        if done == buf.len() { Ok(()) } else { Err(Fault::Full.error()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize("set_len", len)
    }

    fn allocate(&self, bytes: Range<u64>) -> io::Result<()> {
        self.resize("allocate", bytes.end)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync("sync_data")
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync("sync_all")
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<()> {
        let mut mine = self.lock.lock();
        let mut world = self.world.lock();
        world.plain("try_lock")?;
        if mine.is_some() {
            return Ok(());
        }
        let sharing = match (kind, world.locks.get(&self.at)) {
            (LockKind::Shared, None) => 1,
            (LockKind::Shared, Some(sharing @ 1..)) => sharing + 1,
            (LockKind::Exclusive | LockKind::Etcd, None) => 0,
            (_, Some(_)) => return Err(io::ErrorKind::WouldBlock.into()),
        };
        world.locks.insert(self.at, sharing);
        *mine = Some(Lock { world: Arc::clone(&self.world), at: self.at });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.world.lock().files[self.at].current().len() as u64)
    }

    fn map(&self) -> io::Result<Box<dyn FsMap>> {
        let mut world = self.world.lock();
        world.plain("map")?;
        Ok(Box::new(Map { file: self.clone(), len: world.files[self.at].current().len() }))
    }
}

/// A held lock.
#[derive(Debug)]
struct Lock {
    world: Arc<Mutex<World>>,
    at: usize,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut world = self.world.lock();
        match world.locks.get_mut(&self.at) {
            Some(sharing) if *sharing > 1 => *sharing -= 1,
            _ => drop(world.locks.remove(&self.at)),
        }
    }
}

/// A map of a [`SimFile`].
#[derive(Debug)]
struct Map {
    file: SimFile,
    len: usize,
}

impl FsMap for Map {
    fn store(&mut self, bytes: &[u8], at: usize) {
        assert!(at + bytes.len() <= self.len, "beyond the map");
        let mut world = self.file.world.lock();
        // A memory access returns no error. In a stopped world it does nothing.
        if world.step("store").is_ok() {
            let content = &mut world.files[self.file.at];
            assert!(content.current().len() >= self.len, "the file was shortened under its map");
            content.change(Edit::Write { at, bytes: bytes.to_vec() });
        }
    }

    fn sync(&self, range: Range<usize>) -> io::Result<()> {
        let mut world = self.file.world.lock();
        let fault = world.step("msync")?;
        world.files[self.file.at].sync_pages(fault, range)
    }
}
