//! How the front of a log is forgotten, and what becomes of its files.
//!
//! The file of a forgotten segment is renamed, durably, before anything else becomes of it. In a log whose segments are
//! recycled the new name says which record the log begins with now: see [`native`](crate::native). Until a later segment
//! says the same, one such file is kept, empty if need be. In others the file is removed then.

use std::io;
use std::path::{Path, PathBuf};

use super::{Shared, Sink, Waiters, parts};
use crate::fs::{Fs, FsFile};
use crate::kind::{Format, Link, Scan};
use crate::recover;
use crate::{Error, Position, Result};

/// So many files are kept for later segments.
const SPARES_MAX: usize = 4;

/// Files whose space the next segments take.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    /// The one with the highest number last.
    paths: Vec<PathBuf>,
    /// Records below this number were forgotten: by the names of these files, or by the head of a segment.
    front: u64,
    /// The last segment that was forgotten; a later one is named like it, or has a file.
    segment: u32,
    /// One of them had the name of a segment before, and may have it again after a power cut: what is in it stays until its
    /// name is durable.
    unsettled: bool,
}

impl Spares {
    /// What recovery found.
    pub(crate) fn new(paths: Vec<PathBuf>, front: u64, segment: u32) -> Self {
        Self { paths, front, segment, unsettled: false }
    }

    fn put(&mut self, path: PathBuf) {
        if !self.paths.contains(&path) {
            self.paths.push(path);
            self.paths.sort_unstable();
        }
    }
}

/// A segment that has no name as such any more.
struct Forgotten {
    path: PathBuf,
    /// What its file is called now.
    spare: PathBuf,
    /// Whether this name is to stay, for it tells of what was forgotten.
    told: bool,
}

impl<S: Sink, T: Format> Shared<S, T> {
    pub(super) fn truncate_front(&self, before: Position) -> Result<()> {
        let (limit, next_record) = {
            let state = self.state.lock();
            // The directory may be another log's by now.
            state.open(&self.dir)?;
            state.check()?;
            (parts(before).0.min(state.open_from), state.next_record)
        };
        let numbers = recover::segments::<T, _>(&self.fs, &self.dir)?;
        for (at, &number) in numbers.iter().enumerate().take_while(|(_, number)| **number < limit) {
            let forgotten = self.forget(number, || self.first_record(&numbers[at + 1..], next_record))?;
            let Some(Forgotten { path, spare, told }) = forgotten else { continue };
            // One by one: were an older segment to come back without a newer one, its values would overwrite theirs.
            // For the same reason nothing more is removed, nor anything acknowledged, when this fails; and who opens the
            // log next is to see the segment.
            if let Err(error) = self.sync_dir() {
                drop(self.fs.rename(&spare, &path));
                let mut state = self.state.lock();
                state.poison.get_or_insert(error);
                let stopped = state.check();
                drop(self.let_go(state, Waiters::all));
                return stopped;
            }
            // Used from now on: until here the file might have come back as the segment that it was.
            if told {
                self.spares.lock().paths.push(spare);
                self.release(SPARES_MAX);
            } else {
                // What cannot be removed is found again when the log is opened.
                drop(self.fs.remove(&spare));
            }
        }
        Ok(())
    }

    /// Takes the name from a segment; `None` if there is none.
    fn forget(&self, number: u32, next: impl FnOnce() -> Result<u64>) -> Result<Option<Forgotten>> {
        let path = self.dir.join(T::file_name(number));
        let next = if T::RECYCLED { next()? } else { 0 };
        let mut spares = self.spares.lock();
        // Else it held nothing, or nothing that anybody could read.
        let told = T::RECYCLED && (next, number) > (spares.front, spares.segment);
        let spare = self.dir.join(recover::spare_name(next, number));
        match self.fs.rename(&path, &spare) {
            Ok(()) => {
                spares.front = spares.front.max(next);
                spares.segment = spares.segment.max(number);
                Ok(Some(Forgotten { path, spare, told }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("remove", error).at_path(&path)),
        }
    }

    /// The number of the first record of these segments, of which the log's next record is the end.
    fn first_record(&self, numbers: &[u32], next_record: u64) -> Result<u64> {
        for &number in numbers {
            let path = self.dir.join(T::file_name(number));
            let head = self.head_of(&path).map_err(|error| Error::io("read", error).at_path(&path))?;
            if let Some(Link { first, .. }) = T::Scan::new(number, &head).link() {
                return Ok(first);
            }
        }
        Ok(next_record)
    }

    fn head_of(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.fs.open(path)?;
        let mut head = vec![0; T::HEAD_BYTES as usize];
        let mut len = 0;
        while len < head.len() {
            match file.read_at(&mut head[len..], len as u64) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        head.truncate(len);
        Ok(head)
    }

    /// A file for a segment that is to be published, and the first record that was not forgotten.
    pub(super) fn spare(&self) -> Result<(PathBuf, u64)> {
        let mut spares = self.spares.lock();
        if spares.unsettled {
            // Else it could be two segments, whose head would be that of one.
            self.sync_dir()?;
            spares.unsettled = false;
        }
        let front = spares.front;
        if let Some(path) = spares.paths.pop() {
            return Ok((path, front));
        }
        let path = self.dir.join(recover::spare_name(0, 0));
        match self.fs.create_new(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io("create", error).at_path(&path))
            }
            _ => Ok((path, front)),
        }
    }

    /// A name that was given and taken back is not durably taken back.
    pub(super) fn unsettle(&self) {
        self.spares.lock().unsettled = true;
    }

    /// A file that could not become a segment: its name may be all that says what was forgotten.
    pub(super) fn give_back(&self, path: PathBuf) {
        if let Ok(file) = self.fs.open(&path) {
            let mut spares = self.spares.lock();
            if !spares.unsettled {
                drop(file.set_len(0));
            }
            spares.put(path);
        }
    }

    /// Gives the space that is kept for later segments back. False when there is none.
    pub(super) fn release_spares(&self) -> bool {
        if self.spares.lock().unsettled {
            return false;
        }
        let mut released = self.release(1);
        if let Some(last) = self.spares.lock().paths.last()
            && let Ok(file) = self.fs.open(last)
            && file.len().is_ok_and(|len| len > 0)
        {
            released |= file.set_len(0).is_ok();
        }
        released
    }

    /// Keeps so many spares: those whose names say most. False when there are no more.
    fn release(&self, keep: usize) -> bool {
        let mut spares = self.spares.lock();
        let surplus = spares.paths.len().saturating_sub(keep);
        for path in spares.paths.drain(..surplus) {
            // What cannot be removed is found again when the log is opened.
            drop(self.fs.remove(&path));
        }
        surplus > 0
    }
}
