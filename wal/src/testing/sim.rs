//! A file system in memory that forgets what a disk may forget.
//!
//! # The model
//!
//! Relied on, and so kept by every crash:
//! - after a file sync that succeeded, its content and length;
//! - after a directory sync that succeeded, its entries;
//! - a sector of 512 bytes is old or new, never mixed;
//! - a rename within a directory happens whole or not at all.
//!
//! Not promised, and so broken by some seed of [`SimFs::crash`]:
//! - un-synced writes survive whole, in part (any sectors, in any order) or not at all;
//! - an un-synced length is the old one, the new one, or one between; bytes of a grown region that were not written
//!   back are zeros or junk;
//! - un-synced entries of a directory survive or not, each for itself: a later one may stay when an earlier is lost;
//! - a sync that failed drops the un-synced changes for good: they can still be read, and the next sync succeeds
//!   without them;
//! - stores into a map are un-synced writes, and its sync makes durable the pages of its range, and no others.
//!
//! Every operation has a number, counted from 1, points included. [`SimFs::stop_at`] lets none succeed from a number
//! on, [`SimFs::fail_at`] one alone: a test sweeps them. Everything is a function of the calls and the seed.

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
    /// How many operations there were so far.
    pub fn operations(&self) -> u64 {
        self.world.lock().operations.len() as u64
    }

    /// What operation number `number` was.
    pub fn operation(&self, number: u64) -> Option<&'static str> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        self.world.lock().operations.get(at).copied()
    }

    /// From operation `number` on none succeeds, as if the power had gone just before it.
    pub fn stop_at(&self, number: u64) {
        self.world.lock().stop = Some(number);
    }

    /// Operation `number` meets `fault`.
    pub fn fail_at(&self, number: u64, fault: Fault) {
        self.world.lock().faults.insert(number, fault);
    }

    /// No faults any more; a stopped file system goes on.
    pub fn heal(&self) {
        let mut world = self.world.lock();
        world.faults.clear();
        world.stop = None;
        world.space = None;
    }

    /// All files together may hold `bytes`; more is "no space left".
    pub fn set_space(&self, bytes: Option<u64>) {
        self.world.lock().space = bytes;
    }

    /// The file system after the process was killed, without a power cut: everything is there, no lock is held.
    #[must_use]
    pub fn kill(&self) -> Self {
        Self { world: Arc::new(Mutex::new(self.world.lock().kill())) }
    }

    /// The file system after a power cut: of the un-synced changes an arbitrary part is lost, chosen by `seed`.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        Self { world: Arc::new(Mutex::new(self.world.lock().crash(seed))) }
    }

    /// Every file with its content, for comparisons.
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
        // A stopped world cannot be told apart from here; the next operation fails.
        drop(self.world.lock().step("point"));
    }
}

#[cfg(test)]
mod tests;
