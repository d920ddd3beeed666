//! An in-memory file system that simulates power cuts: it can lose exactly what a disk can lose.
//!
//! # The model
//!
//! Every crash keeps:
//! - the content and length of a file after a successful file sync;
//! - the entries of a directory after a successful directory sync;
//! - the atomicity of a sector: its 512 bytes are all old or all new;
//! - the atomicity of a rename within a directory.
//!
//! For some seed, [`SimFs::crash`] does the following:
//! - It keeps an unsynced write completely, in part (any of its sectors) or not at all.
//! - It sets an unsynced length to the old length, the new length or one between. Bytes of the extension that were not
//!   written are zeros or junk.
//! - It keeps or drops each unsynced directory entry independently. A later entry can survive an earlier one.
//!
//! In addition:
//! - A failed sync drops the unsynced changes for good. They stay readable, and the next sync succeeds without making
//!   them durable.
//! - A store into a map is an unsynced write. A sync of the map makes only the pages of its range durable.
//!
//! # Faults
//!
//! All operations, including [`Fs::point`], are numbered from 1. [`SimFs::stop_at`] makes every operation from a number
//! on fail. [`SimFs::fail_at`] makes one operation fail. A test repeats its script for each number. The results depend
//! only on the calls and the seed.

mod disk;
mod fault;
mod file;
mod world;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fs::{Access, Fs};
use disk::Node;
use world::World;

pub use fault::Fault;
pub use file::SimFile;

/// A simulated file system. Clones see the same files.
#[derive(Clone, Debug, Default)]
pub struct SimFs {
    world: Arc<Mutex<World>>,
}

impl SimFs {
    /// The number of operations so far.
    pub fn operations(&self) -> u64 {
        self.world.lock().operations.len() as u64
    }

    /// The name of operation `number`.
    pub fn operation(&self, number: u64) -> Option<&'static str> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        self.world.lock().operations.get(at).copied()
    }

    /// Makes operation `number` and all later ones fail, as after a power cut.
    pub fn stop_at(&self, number: u64) {
        self.world.lock().stop = Some(number);
    }

    /// Makes operation `number` fail with `fault`.
    pub fn fail_at(&self, number: u64, fault: Fault) {
        self.world.lock().faults.insert(number, fault);
    }

    /// Removes all faults and the limit of space. A stopped file system works again.
    pub fn heal(&self) {
        let mut world = self.world.lock();
        world.faults.clear();
        world.stop = None;
        world.space = None;
    }

    /// Limits the total size of all files to `bytes`. A write beyond the limit fails as on a full disk.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.world.lock().space = bytes;
    }

    /// The file system after a kill of the process: all data remains, and no lock is held.
    #[must_use]
    pub fn kill(&self) -> Self {
        Self { world: Arc::new(Mutex::new(self.world.lock().kill())) }
    }

    /// The file system after a power cut. `seed` chooses which unsynced changes are lost.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        Self { world: Arc::new(Mutex::new(self.world.lock().crash(seed))) }
    }

    /// All files with their content, for comparisons.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.world.lock().snapshot()
    }
}

impl Fs for SimFs {
    type File = SimFile;

    fn open_as(&self, path: &Path, access: Access) -> io::Result<SimFile> {
        let mut world = self.world.lock();
        let (name, find) = match access {
            Access::Read => ("open_read", World::file as fn(&mut World, &Path) -> _),
            Access::Write => ("open", World::file as _),
            Access::Create => ("create_new", World::create as _),
        };
        world.plain(name)?;
        Ok(SimFile::new(&self.world, find(&mut world, path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut world = self.world.lock();
        world.plain("list")?;
        Ok(world.dir(dir)?.current().keys().cloned().collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.plain("create_dir")?;
        world.create_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.plain("rename")?;
        world.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.plain("link")?;
        let file = world.file(from)?;
        world.add(to, Node::File(file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.plain("remove")?;
        world.file(path)?;
        world.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.plain("remove_dir")?;
        if !world.dir(path)?.current().is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        world.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        match world.step("sync_dir")? {
            Some(fault @ Fault::NoHandle) => Err(fault.error()),
            fault => world.dir(path)?.sync(fault),
        }
    }

    fn point(&self, _: &str) {
        // A point returns no error. If the world is stopped, the next operation fails.
        drop(self.world.lock().step("point"));
    }
}

#[cfg(test)]
mod tests;
