//! How the front of a log is truncated, and what becomes of its files.
//!
//! The file of a dropped segment is renamed, durably, before anything else becomes of it. In a log whose segments are
//! recycled the new name says with which record the log begins now: see [`native`](crate::native). Until a later segment
//! says the same, one such file is kept, empty if need be. In other logs the file is removed then.

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

/// So many files are kept for later segments.
const KEPT_MAX: usize = 4;

/// The directory of a log, and the files in it whose space the next segments take. Shared by the writer and by threads that
/// truncate.
#[derive(Debug)]
pub(super) struct Recycler<F, T> {
    pub(super) fs: F,
    dir: PathBuf,
    recycled: Mutex<Recycled>,
    format: PhantomData<fn() -> T>,
}

impl<F: Fs, T: Format> Recycler<F, T> {
    /// Goes on with what the directory has of truncated segments.
    pub(super) fn new(fs: F, dir: &Path, recycled: Recycled) -> Self {
        Self { fs, dir: dir.to_path_buf(), recycled: Mutex::new(recycled), format: PhantomData }
    }

    /// The path of segment `number`.
    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(T::file_name(number))
    }

    /// Creates a file; one that is there already will do.
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

    /// Drops a segment, if it is there; records from `next` on follow.
    fn drop_segment(&self, number: u32, next: u64) -> Result<(), Failure> {
        let (path, name) = (self.path(number), self.dir.join(recycled_name(next, number)));
        let mut recycled = self.recycled.lock();
        match self.fs.rename(&path, &name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.at("remove", &path).map_err(Failure::Passing)?,
        }
        // One by one: were an older segment to come back without a newer one, its values would overwrite theirs. For the same
        // reason nothing more is removed, nor anything acknowledged, when this fails; and the next opening is to see it.
        self.sync_dir().inspect_err(|_| drop(self.fs.rename(&name, &path))).map_err(Failure::Broken)?;
        if T::RECYCLED && (next, number) > (recycled.front, recycled.segment) {
            recycled.paths.push(name);
            self.remove_surplus(&mut recycled, KEPT_MAX);
        } else {
            // It held nothing, or nothing that anybody could read. What cannot be removed is found again when the log is
            // opened.
            drop(self.fs.remove(&name));
        }
        recycled.front = recycled.front.max(next);
        recycled.segment = recycled.segment.max(number);
        Ok(())
    }

    /// The number of the first record of these segments, of which the log's next record is the end.
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

    /// A file for a segment that is to be published, and the first record that was not dropped.
    pub(super) fn take(&self) -> Result<(PathBuf, u64)> {
        let mut recycled = self.recycled.lock();
        if recycled.is_name_unsure {
            // Otherwise it could become two segments with the head of one.
            self.sync_dir()?;
            recycled.is_name_unsure = false;
        }
        let path = match recycled.paths.pop() {
            Some(path) => path,
            None => self.create(self.dir.join(recycled_name(0, 0)))?,
        };
        Ok((path, recycled.front))
    }

    /// A name that was given and taken back is not durably taken back.
    pub(super) fn doubt_name(&self) {
        self.recycled.lock().is_name_unsure = true;
    }

    /// A file that could not become a segment: its name may be all that says what was dropped.
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

    /// Gives the space that is kept for later segments back. False if there is none.
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

    /// Keeps so many files: those whose names say most. False if there are no more.
    fn remove_surplus(&self, recycled: &mut Recycled, keep: usize) -> bool {
        let surplus = recycled.paths.len().saturating_sub(keep);
        for path in recycled.paths.drain(..surplus) {
            // What cannot be removed is found again when the log is opened.
            drop(self.fs.remove(&path));
        }
        surplus > 0
    }
}
