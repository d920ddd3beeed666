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
mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Fs, TooLong, parent};
use disk::{Dice, Dir, Entry, Inode, Node};
pub use file::{SimFile, SimLock, SimMap};

/// Absolute paths begin at the first, all others at the second.
const ROOTS: [&str; 2] = ["/", "."];

/// Operations that take a file handle; the sync of a directory is another.
const OPENING: [&str; 6] = ["create_new", "open", "read", "list", "lock", "lock_shared"];

/// A simulated file system. Clones see the same files.
#[derive(Clone, Debug, Default)]
pub struct SimFs {
    world: Arc<Mutex<World>>,
}

/// What goes wrong at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error. A write does nothing, a sync drops what it should have kept.
    Io,
    /// No space. A write gets half done.
    Full,
    /// No file handle is free: what would open a file, or the directory to sync it, has done nothing.
    NoHandle,
    /// A write gets half done and succeeds: the rest is asked for again, as by a caller of `write`.
    Short,
    /// Interrupted by a signal before anything was done: asked for again.
    Interrupted,
    /// A sync succeeds and does nothing: to prove that tests notice its absence.
    IgnoredSync,
}

#[derive(Debug)]
struct World {
    inodes: Vec<Inode>,
    /// The first two are `/` and `.`, the roots.
    dirs: Vec<Dir>,
    /// Each with how many share it; none when somebody has it alone.
    locks: BTreeMap<PathBuf, usize>,
    /// Files that are locked by a handle.
    held: BTreeSet<usize>,
    operations: Vec<&'static str>,
    stop: Option<u64>,
    faults: BTreeMap<u64, Fault>,
    space: Option<u64>,
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
        let old = self.world.lock();
        let world = World { inodes: old.inodes.clone(), dirs: old.dirs.clone(), ..World::default() };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// The file system after a power cut: of the un-synced changes an arbitrary part is lost, chosen by `seed`.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let old = self.world.lock();
        let inodes = old.inodes.iter().map(|inode| inode.crash(&mut dice)).collect();
        // What no directory lists any more is out of reach.
        let dirs = old.dirs.iter().map(|dir| dir.crash(&mut dice)).collect();
        let world = World { inodes, dirs, ..World::default() };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// Every file with its content, for comparisons.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let world = self.world.lock();
        let mut files = BTreeMap::new();
        let mut left: Vec<(PathBuf, usize)> =
            ROOTS.iter().enumerate().map(|(at, root)| (PathBuf::from(root), at)).collect();
        while let Some((path, at)) = left.pop() {
            for (name, node) in &world.dirs[at].current {
                match node {
                    Node::File(at) => {
                        drop(files.insert(path.join(name), world.inodes[*at].current.clone()));
                    }
                    Node::Dir(at) => left.push((path.join(name), *at)),
                }
            }
        }
        files
    }
}

impl Default for World {
    fn default() -> Self {
        Self {
            inodes: Vec::new(),
            dirs: ROOTS.map(|_| Dir::default()).into(),
            locks: BTreeMap::new(),
            held: BTreeSet::new(),
            operations: Vec::new(),
            stop: None,
            faults: BTreeMap::new(),
            space: None,
        }
    }
}

impl World {
    /// Counts an operation and gives its fault, if it is to do something in spite of it.
    fn step(&mut self, name: &'static str) -> io::Result<Option<Fault>> {
        self.operations.push(name);
        let number = self.operations.len() as u64;
        if self.stop.is_some_and(|stop| number >= stop) {
            return Err(io::Error::other("the simulation stopped"));
        }
        Ok(self.faults.get(&number).copied())
    }

    /// Counts an operation that a fault keeps from happening.
    fn plain(&mut self, name: &'static str) -> io::Result<()> {
        match self.step(name)? {
            Some(Fault::Io) => Err(eio()),
            Some(Fault::Full) => Err(enospc()),
            Some(Fault::NoHandle) if OPENING.contains(&name) => Err(emfile()),
            // The operations of `Fs` finish what was begun, whatever the system calls below them say.
            Some(Fault::NoHandle | Fault::Short | Fault::Interrupted | Fault::IgnoredSync) | None => Ok(()),
        }
    }

    /// The number of the directory at `path`.
    fn dir_at(&self, path: &Path) -> io::Result<usize> {
        let mut at = usize::from(!path.is_absolute());
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            at = match self.dirs[at].current.get(name) {
                Some(Node::Dir(at)) => *at,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(at)
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        let at = self.dir_at(path)?;
        Ok(&mut self.dirs[at])
    }

    fn entry(&mut self, path: &Path) -> io::Result<(&mut Dir, OsString)> {
        let name = path.file_name().map(OsStr::to_os_string);
        Ok((self.dir(parent(path))?, name.ok_or(io::ErrorKind::InvalidInput)?))
    }

    fn file(&mut self, path: &Path) -> io::Result<usize> {
        let (dir, name) = self.entry(path)?;
        match dir.current.get(&name) {
            Some(Node::File(at)) => Ok(*at),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&mut self, path: &Path) -> io::Result<usize> {
        let at = self.inodes.len();
        let (dir, name) = self.entry(path)?;
        if dir.current.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        dir.change(Entry::Add(name, Node::File(at)));
        self.inodes.push(Inode::default());
        Ok(at)
    }

    /// How many more bytes fit on the disk.
    fn room(&self) -> usize {
        let Some(space) = self.space else { return usize::MAX };
        let nodes = self.dirs.iter().flat_map(|dir| dir.current.values());
        let used = nodes.map(|node| match node {
            Node::File(at) => self.inodes[*at].current.len() as u64,
            Node::Dir(_) => 0,
        });
        usize::try_from(space.saturating_sub(used.sum())).unwrap_or(usize::MAX)
    }
}

impl Fs for SimFs {
    type File = SimFile;
    type Lock = SimLock;

    fn create_new(&self, path: &Path) -> io::Result<SimFile> {
        let mut world = self.world.lock();
        world.plain("create_new")?;
        Ok(SimFile::new(self, world.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        let mut world = self.world.lock();
        world.plain("open")?;
        Ok(SimFile::new(self, world.file(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut world = self.world.lock();
        world.plain("read")?;
        let at = world.file(path)?;
        Ok(world.inodes[at].current.clone())
    }

    fn read_within(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let bytes = self.read(path)?;
        TooLong::check(bytes.len() as u64, limit)?;
        Ok(bytes)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut world = self.world.lock();
        world.plain("list")?;
        Ok(world.dir(dir)?.current.keys().cloned().collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let above = parent(dir);
        if self.world.lock().dir_at(dir).is_ok() {
            return if dir.parent().is_none() { Ok(()) } else { self.sync_dir(above) };
        }
        self.create_dir_all(above)?;
        {
            let mut world = self.world.lock();
            world.plain("create_dir")?;
            let at = world.dirs.len();
            let (above, name) = world.entry(dir)?;
            above.change(Entry::Add(name, Node::Dir(at)));
            world.dirs.push(Dir::default());
        }
        self.sync_dir(above).inspect_err(|_| drop(self.remove_dir(dir)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.plain("rename")?;
        let (dir, old) = world.entry(from)?;
        let node = *dir.current.get(&old).ok_or(io::ErrorKind::NotFound)?;
        let (dir, new) = world.entry(to)?;
        let replaced = dir.current.get(&new).copied();
        match (node, replaced) {
            (_, None) | (Node::File(_), Some(Node::File(_))) => {}
            (Node::Dir(_), Some(Node::Dir(at))) if world.dirs[at].current.is_empty() => {}
            (Node::Dir(_), Some(Node::Dir(_))) => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            (Node::Dir(_), Some(Node::File(_))) => return Err(io::ErrorKind::NotADirectory.into()),
            (Node::File(_), Some(Node::Dir(_))) => return Err(io::ErrorKind::IsADirectory.into()),
        }
        let dir = world.dir(parent(to))?;
        if parent(from) == parent(to) {
            dir.change(Entry::Rename(old, new, node));
        } else {
            dir.change(Entry::Add(new, node));
            let (dir, old) = world.entry(from)?;
            dir.change(Entry::Remove(old));
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.plain("link")?;
        let node = Node::File(world.file(from)?);
        let (dir, name) = world.entry(to)?;
        if dir.current.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        dir.change(Entry::Add(name, node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.plain("remove")?;
        world.file(path)?;
        let (dir, name) = world.entry(path)?;
        dir.change(Entry::Remove(name));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.plain("remove_dir")?;
        let at = world.dir_at(path)?;
        if !world.dirs[at].current.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (dir, name) = world.entry(path)?;
        dir.change(Entry::Remove(name));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let fault = world.step("sync_dir")?;
        let dir = world.dir(path)?;
        match fault {
            None | Some(Fault::Short | Fault::Interrupted) => dir.sync(),
            Some(Fault::IgnoredSync) => {}
            Some(Fault::NoHandle) => return Err(emfile()),
            Some(fault) => {
                dir.pending.clear();
                return Err(fault.error());
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<SimLock> {
        let mut world = self.world.lock();
        world.plain("lock")?;
        if world.file(path).is_err() {
            world.create(path)?;
        }
        if world.locks.contains_key(path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        world.locks.insert(path.to_path_buf(), 0);
        Ok(SimLock::new(self, path))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<SimLock> {
        let mut world = self.world.lock();
        world.plain("lock_shared")?;
        world.file(path)?;
        let sharing = world.locks.get(path).copied();
        if sharing == Some(0) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        world.locks.insert(path.to_path_buf(), sharing.unwrap_or(0) + 1);
        Ok(SimLock::new(self, path))
    }

    fn os_file(&self, _: &Path) -> io::Result<Option<File>> {
        Ok(None)
    }

    fn point(&self, _: &str) {
        // A stopped world cannot be told apart from here; the next operation fails.
        drop(self.world.lock().step("point"));
    }
}

impl Fault {
    fn error(self) -> io::Error {
        if self == Self::Full { enospc() } else { eio() }
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn emfile() -> io::Error {
    io::Error::from_raw_os_error(24)
}

fn enospc() -> io::Error {
    io::Error::from_raw_os_error(28)
}
