//! The next segment, allocated before it is needed.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use crate::directory::lock;
use crate::error::{AtPath, is_full};
use crate::fs::{Fs, FsFile, remove_if_there};
use crate::{Error, Result};

/// Makes files and hands them over, one at a time.
#[derive(Debug)]
pub(super) struct Pipeline<F: Fs> {
    maker: Maker<F>,
    /// Whether threads make files before they are asked for.
    ahead: bool,
    /// The number of the next file, and the thread that makes it.
    number: u64,
    next: Option<JoinHandle<Result<Ready<F>>>>,
}

/// A file with space for a segment of so many bytes, locked, under a temporary name.
#[derive(Debug)]
pub(super) struct Ready<F: Fs> {
    pub(super) file: F::File,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

#[derive(Clone, Debug)]
struct Maker<F> {
    fs: F,
    dir: PathBuf,
    bytes: u64,
    /// What will do on a full disk.
    bytes_min: u64,
}

impl<F: Fs> Pipeline<F> {
    /// Makes files of `bytes`, or on a full disk of `bytes_min`.
    pub(super) fn new(fs: &F, dir: &Path, bytes: u64, bytes_min: u64, ahead: bool) -> Result<Self> {
        remove_unused(fs, dir)?;
        let maker = Maker { fs: fs.clone(), dir: dir.to_path_buf(), bytes, bytes_min };
        let mut pipeline = Self { maker, ahead, number: 0, next: None };
        pipeline.begin_next();
        Ok(pipeline)
    }

    pub(super) fn take(&mut self) -> Result<Ready<F>> {
        let panicked = |_| Err(Error::io("allocate", io::Error::other("the thread that allocates panicked")));
        let ready = match self.next.take() {
            Some(thread) => thread.join().unwrap_or_else(panicked)?,
            None => self.maker.make(self.number)?,
        };
        self.number += 1;
        self.begin_next();
        Ok(ready)
    }

    /// Without a thread the file is made when it is asked for.
    fn begin_next(&mut self) {
        if self.ahead {
            let (maker, number) = (self.maker.clone(), self.number);
            let thread = thread::Builder::new().name("wal-allocate".into());
            self.next = thread.spawn(move || maker.make(number)).ok();
        }
    }
}

/// Removes what a crash left. It could be of any content, and etcd 3.4 takes it as it is: stale records then follow the
/// new ones, and the directory cannot be read any more.
pub(super) fn remove_unused<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    (0..2).try_for_each(|number| {
        let path = path(dir, number);
        remove_if_there(fs, &path).at("remove", &path)
    })
}

/// The temporary name of file `number`.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{}.tmp", number % 2))
}

impl<F: Fs> Drop for Pipeline<F> {
    fn drop(&mut self) {
        if let Some(Ok(Ok(ready))) = self.next.take().map(JoinHandle::join) {
            drop(self.maker.fs.remove(&ready.path));
        }
    }
}

impl<F: Fs> Maker<F> {
    fn make(&self, number: u64) -> Result<Ready<F>> {
        let path = path(&self.dir, number);
        let file = self.fs.create_new(&path).at("create", &path)?;
        let allocated = lock(&file, &path).and_then(|()| {
            let bytes = match file.allocate(0..self.bytes) {
                Err(error) if is_full(&error) && self.bytes_min < self.bytes => {
                    file.allocate(0..self.bytes_min).map(|()| self.bytes_min)
                }
                done => done.map(|()| self.bytes),
            };
            bytes.at("allocate", &path)
        });
        let bytes = allocated.inspect_err(|_| drop(self.fs.remove(&path)))?;
        Ok(Ready { file, path, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::LockKind;
    use crate::testing::SimFs;

    fn dir(fs: &SimFs) -> &'static Path {
        fs.create_dir_all(Path::new("/w")).expect("a directory");
        Path::new("/w")
    }

    /// `TestFilePipeline`: files take turns with two names, of the whole size, and locked.
    #[test]
    fn files_come_one_after_the_other() {
        for ahead in [false, true] {
            let fs = SimFs::default();
            let mut pipeline = Pipeline::new(&fs, dir(&fs), 5000, 5000, ahead).expect("starts");
            for name in ["0.tmp", "1.tmp", "0.tmp"] {
                let ready = pipeline.take().expect("a file");
                assert!(ready.path.ends_with(name) && ready.file.len().expect("a length") == 5000);
                assert!(
                    fs.open(&ready.path).expect("opens").try_lock(LockKind::Etcd).is_err(),
                    "it is locked"
                );
                fs.rename(&ready.path, Path::new("/w/taken")).expect("renames");
            }
            drop(pipeline);
            assert_eq!(fs.list(Path::new("/w")).expect("lists"), ["taken"], "what nobody took is removed");
        }
    }

    /// `TestFilePipelineFailPreallocate`: the cut that needs the file is told, and nothing is left behind.
    #[test]
    fn a_file_that_cannot_be_allocated_is_an_error_of_who_takes_it() {
        for ahead in [false, true] {
            let fs = SimFs::default();
            fs.set_space(Some(4000));
            let mut pipeline = Pipeline::new(&fs, dir(&fs), 5000, 5000, ahead).expect("starts");
            assert!(pipeline.take().expect_err("no space").is_full());
            assert!(pipeline.take().is_err());
            drop(pipeline);
            assert!(fs.snapshot().is_empty());
        }
    }
}
