//! Truncates the front of a log, and recycles or removes its files.
//!
//! The file of a dropped segment is first renamed, durably. If the log recycles segments, the new name states
//! the first retained record: see [`native`](crate::native). One such file, possibly empty, is kept until a
//! later segment states the same. In other logs the file is then removed.

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use crate::commit::Failure;
use crate::directory::{self, Recycled, recycled_name};
use crate::error::AtPath;
use crate::fs::{Fs, FsFile};
use crate::kind::Format;
use crate::scan::{Follows, Scan};
use crate::sync::Mutex;
use crate::{Error, Result};

/// Number of files kept for later segments.
const KEPT_MAX: usize = 4;

/// The directory of a log, and the files that its next segments reuse. Shared by the writer and by truncating
/// threads.
#[derive(Debug)]
pub(super) struct Recycler<F, T> {
    pub(super) fs: F,
    dir: PathBuf,
    recycled: Mutex<Recycled>,
    format: PhantomData<fn() -> T>,
}

impl<F: Fs, T: Format> Recycler<F, T> {
    /// Continues with the recycled files found in the directory.
    pub(super) fn new(fs: F, dir: &Path, recycled: Recycled) -> Self {
        Self { fs, dir: dir.to_path_buf(), recycled: Mutex::new(recycled), format: PhantomData }
    }

    /// The path of segment `number`.
    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(T::file_name(number))
    }

    /// Creates a file, or accepts an existing one.
    pub(super) fn create(&self, path: PathBuf) -> Result<PathBuf> {
        match self.fs.create_new(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io("create", error).at_path(&path))
            }
            _ => Ok(path),
        }
    }

    pub(super) fn sync_dir(&self) -> Result<()> {
        self.fs.sync_dir(&self.dir).map_err(|error| Error::broken("sync", error).at_path(&self.dir))
    }

    /// Drops the segments below `limit`, of a log whose next record is `next_record`.
    pub(super) fn truncate(&self, limit: u32, next_record: u64) -> Result<(), Failure> {
        let numbers = directory::segments::<T, _>(&self.fs, &self.dir).map_err(Failure::Passing)?;
        for (at, &number) in numbers.iter().enumerate().take_while(|(_, number)| **number < limit) {
            let next = if T::RECYCLED { self.first_record(&numbers[at + 1..], next_record) } else { Ok(0) };
            self.drop_segment(number, next.map_err(Failure::Passing)?)?;
        }
        Ok(())
    }

    /// Drops a segment, if it exists. Records from `next` on follow it.
    fn drop_segment(&self, number: u32, next: u64) -> Result<(), Failure> {
        let (path, name) = (self.path(number), self.dir.join(recycled_name(next, number)));
        let mut recycled = self.recycled.lock();
        match self.fs.rename(&path, &name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.at("remove", &path).map_err(Failure::Passing)?,
        }
        // Rename one by one: if an older segment reappeared without a newer one, its values would overwrite
        // newer values. For the same reason, if this fails, nothing more is removed or acknowledged, and the
        // next open must see the file.
        self.sync_dir().inspect_err(|_| drop(self.fs.rename(&name, &path))).map_err(Failure::Broken)?;
        if T::RECYCLED && (next, number) > (recycled.front, recycled.segment) {
            recycled.paths.push(name);
            self.remove_surplus(&mut recycled, KEPT_MAX);
        } else {
            // It held no readable record. If it cannot be removed, the next open finds it again.
            drop(self.fs.remove(&name));
        }
        recycled.front = recycled.front.max(next);
        recycled.segment = recycled.segment.max(number);
        Ok(())
    }

    /// The number of the first record in these segments. `next_record` is the log's next record.
    fn first_record(&self, numbers: &[u32], next_record: u64) -> Result<u64> {
        for &number in numbers {
            let path = self.path(number);
            let head = self.head_of(&path).at("read", &path)?;
            if let Some(Follows { end: first, .. }) =
                T::Scan::new(number, &head, T::Carry::default()).follows()
            {
                return Ok(first);
            }
        }
        Ok(next_record)
    }

    fn head_of(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.fs.open(path)?;
        let mut head = vec![0; T::HEAD_BYTES as usize];
        let len = file.read_full_at(&mut head, 0)?;
        head.truncate(len);
        Ok(head)
    }

    /// A file for the next segment, and the first retained record.
    pub(super) fn take(&self) -> Result<(PathBuf, u64)> {
        let mut recycled = self.recycled.lock();
        if recycled.is_name_unsure {
            // Otherwise two segments with the same head could come from it.
            self.sync_dir()?;
            recycled.is_name_unsure = false;
        }
        let path = match recycled.paths.pop() {
            Some(path) => path,
            None => self.create(self.dir.join(recycled_name(0, 0)))?,
        };
        Ok((path, recycled.front))
    }

    /// A rename that was undone may not be durably undone.
    pub(super) fn doubt_name(&self) {
        self.recycled.lock().is_name_unsure = true;
    }

    /// Takes back a file that could not become a segment. Its name may be the only statement of what was
    /// truncated.
    pub(super) fn give_back(&self, path: PathBuf) {
        if let Ok(file) = self.fs.open(&path) {
            let mut recycled = self.recycled.lock();
            if !recycled.is_name_unsure {
                drop(file.set_len(0));
            }
            if !recycled.paths.contains(&path) {
                recycled.paths.push(path);
                recycled.paths.sort_unstable();
            }
        }
    }

    /// Releases the space kept for later segments. False if there is none.
    pub(super) fn release_space(&self) -> bool {
        let mut recycled = self.recycled.lock();
        if recycled.is_name_unsure {
            return false;
        }
        let released = self.remove_surplus(&mut recycled, 1);
        let last = recycled.paths.last().and_then(|last| self.fs.open(last).ok());
        let emptied = last.filter(|file| file.len().is_ok_and(|len| len > 0));
        emptied.is_some_and(|file| file.set_len(0).is_ok()) || released
    }

    /// Keeps this many files, preferring the names that state most. False if no more can be removed.
    fn remove_surplus(&self, recycled: &mut Recycled, keep: usize) -> bool {
        let surplus = recycled.paths.len().saturating_sub(keep);
        for path in recycled.paths.drain(..surplus) {
            // If it cannot be removed, the next open finds it again.
            drop(self.fs.remove(&path));
        }
        surplus > 0
    }
}
