//! The state of a simulated file system: files, directories, locks and planned faults.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::disk::{Content, Dice, Dir, Entry, Node};
use super::fault::Fault;
use crate::fs::parent;

/// Absolute paths begin at the first root, relative paths at the second.
const ROOTS: [&str; 2] = ["/", "."];

/// Operations that open a file handle. `sync_dir` does so too, and handles the fault itself.
const OPENING: [&str; 4] = ["create_new", "open", "open_read", "list"];

#[derive(Debug)]
pub(super) struct World {
    pub(super) files: Vec<Content>,
    /// The first two are [`ROOTS`].
    pub(super) dirs: Vec<Dir>,
    /// For each locked file, the number of handles that share the lock, or 0 for an exclusive lock.
    pub(super) locks: BTreeMap<usize, usize>,
    pub(super) operations: Vec<&'static str>,
    pub(super) stop: Option<u64>,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) space: Option<u64>,
}

impl Default for World {
    fn default() -> Self {
        Self::of(Vec::new(), ROOTS.map(|_| Dir::default()).into())
    }
}

impl World {
    fn of(files: Vec<Content>, dirs: Vec<Dir>) -> Self {
        Self {
            files,
            dirs,
            locks: BTreeMap::new(),
            operations: Vec::new(),
            stop: None,
            faults: BTreeMap::new(),
            space: None,
        }
    }

    /// A copy with all data, without locks and faults.
    pub(super) fn kill(&self) -> Self {
        Self::of(self.files.clone(), self.dirs.clone())
    }

    /// A copy that lost the part of the unsynced changes that `seed` chooses.
    pub(super) fn crash(&self, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let files = self.files.iter().map(|content| content.crash(&mut dice)).collect();
        // Files that no directory lists any more stay in `files`, but have no path.
        let dirs = self.dirs.iter().map(|dir| dir.crash(&mut dice)).collect();
        Self::of(files, dirs)
    }

    pub(super) fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut left: Vec<(PathBuf, usize)> = (0..).zip(ROOTS).map(|(at, root)| (root.into(), at)).collect();
        while let Some((path, at)) = left.pop() {
            for (name, node) in self.dirs[at].current() {
                match node {
                    Node::File(at) => drop(files.insert(path.join(name), self.files[*at].current().clone())),
                    Node::Dir(at) => left.push((path.join(name), *at)),
                }
            }
        }
        files
    }

    /// Counts an operation and returns its fault. Fails if the world is stopped.
    pub(super) fn step(&mut self, name: &'static str) -> io::Result<Option<Fault>> {
        self.operations.push(name);
        let number = self.operations.len() as u64;
        if self.stop.is_some_and(|stop| number >= stop) {
            return Err(io::Error::other("the simulation stopped"));
        }
        Ok(self.faults.get(&number).copied())
    }

    /// Counts an operation that either fails or does all its work.
    pub(super) fn plain(&mut self, name: &'static str) -> io::Result<()> {
        match self.step(name)? {
            Some(fault @ (Fault::Io | Fault::Full)) => Err(fault.error()),
            Some(fault @ Fault::NoHandle) if OPENING.contains(&name) => Err(fault.error()),
            // `OsFs` repeats interrupted and short system calls, so these operations complete.
            Some(Fault::NoHandle | Fault::Short | Fault::Interrupted | Fault::IgnoredSync) | None => Ok(()),
        }
    }

    /// The number of the directory at `path`.
    pub(super) fn dir_at(&self, path: &Path) -> io::Result<usize> {
        let mut at = usize::from(!path.is_absolute());
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            at = match self.dirs[at].current().get(name) {
                Some(Node::Dir(at)) => *at,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(at)
    }

    pub(super) fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        let at = self.dir_at(path)?;
        Ok(&mut self.dirs[at])
    }

    /// The directory of `path`, and the name in it.
    pub(super) fn entry(&mut self, path: &Path) -> io::Result<(&mut Dir, OsString)> {
        let name = path.file_name().map(OsStr::to_os_string);
        Ok((self.dir(parent(path))?, name.ok_or(io::ErrorKind::InvalidInput)?))
    }

    pub(super) fn node(&mut self, path: &Path) -> io::Result<Node> {
        let (dir, name) = self.entry(path)?;
        dir.current().get(&name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The number of the file at `path`.
    pub(super) fn file(&mut self, path: &Path) -> io::Result<usize> {
        match self.node(path)? {
            Node::File(at) => Ok(at),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<usize> {
        let at = self.files.len();
        self.add(path, Node::File(at))?;
        self.files.push(Content::default());
        Ok(at)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.add(path, Node::Dir(self.dirs.len()))?;
        self.dirs.push(Dir::default());
        Ok(())
    }

    /// Gives `node` a name. Fails if the name exists.
    pub(super) fn add(&mut self, path: &Path, node: Node) -> io::Result<()> {
        let (dir, name) = self.entry(path)?;
        if dir.current().contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        dir.change(Entry::Add(name, node));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.entry(path)?;
        dir.change(Entry::Remove(name));
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.node(from)?;
        match (node, self.node(to).ok()) {
            (_, None) | (Node::File(_), Some(Node::File(_))) => {}
            (Node::Dir(_), Some(Node::Dir(at))) if self.dirs[at].current().is_empty() => {}
            (Node::Dir(_), Some(Node::Dir(_))) => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            (Node::Dir(_), Some(Node::File(_))) => return Err(io::ErrorKind::NotADirectory.into()),
            (Node::File(_), Some(Node::Dir(_))) => return Err(io::ErrorKind::IsADirectory.into()),
        }
        let (_, old) = self.entry(from)?;
        let (dir, new) = self.entry(to)?;
        if parent(from) == parent(to) {
            dir.change(Entry::Rename(old, new, node));
            Ok(())
        } else {
            dir.change(Entry::Add(new, node));
            self.remove(from)
        }
    }

    /// The number of bytes that still fit on the disk.
    pub(super) fn free_bytes(&self) -> usize {
        let Some(space) = self.space else { return usize::MAX };
        let nodes = self.dirs.iter().flat_map(|dir| dir.current().values());
        let used = nodes.map(|node| match node {
            Node::File(at) => self.files[*at].current().len() as u64,
            Node::Dir(_) => 0,
        });
        usize::try_from(space.saturating_sub(used.sum())).unwrap_or(usize::MAX)
    }
}
