//! The next segment, allocated before it is needed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use crate::directory::lock;
use crate::error::is_full;
use crate::fs::{Fs, FsFile};
use crate::{Error, Result};

/// Allocates files and hands them over, one at a time.
#[derive(Debug)]
pub(super) enum Pipeline<F: Fs> {
    /// One file waits, made by a thread.
    Ahead { ready: Option<Receiver<Result<Ready<F>>>>, thread: Option<JoinHandle<()>> },
    /// Files are made when they are asked for.
    OnDemand(Maker<F>),
}

/// A file with space for a segment of so many bytes, locked, under a temporary name.
#[derive(Debug)]
pub(super) struct Ready<F: Fs> {
    pub(super) file: F::File,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Maker<F> {
    fs: F,
    dir: PathBuf,
    bytes: u64,
    /// What will do on a full disk.
    bytes_min: u64,
    made: u64,
}

impl<F: Fs> Pipeline<F> {
    /// Makes a file when it is asked for: of `bytes`, or on a full disk of `bytes_min`.
    pub(super) fn on_demand(fs: &F, dir: &Path, bytes: u64, bytes_min: u64) -> Result<Self> {
        Ok(Self::OnDemand(Maker::new(fs, dir, bytes, bytes_min)?))
    }

    /// Makes files of `bytes`, one ahead if a thread is to.
    pub(super) fn start(fs: &F, dir: &Path, bytes: u64, ahead: bool) -> Result<Self> {
        if !ahead {
            return Self::on_demand(fs, dir, bytes, bytes);
        }
        let mut maker = Maker::new(fs, dir, bytes, bytes)?;
        let (give, ready) = sync_channel(0);
        let run = move || {
            loop {
                let made = maker.make();
                let failed = made.is_err();
                // Nobody takes it any more: the log closes.
                if give.send(made).is_err() && !failed {
                    drop(remove(&maker.fs, &path(&maker.dir, maker.made - 1)));
                    return;
                }
                if failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("wal-allocate".into()).spawn(run);
        let thread = thread.map_err(|error| Error::io("start thread", error).at_path(dir))?;
        Ok(Self::Ahead { ready: Some(ready), thread: Some(thread) })
    }

    pub(super) fn take(&mut self) -> Result<Ready<F>> {
        let ended = || Error::io("allocate", io::Error::other("an earlier allocation failed"));
        match self {
            Self::Ahead { ready, .. } => {
                ready.as_ref().and_then(|ready| ready.recv().ok()).ok_or_else(ended)?
            }
            Self::OnDemand(maker) => maker.make(),
        }
    }
}

/// Removes what a crash left. It could be of any content, and etcd 3.4 takes it as it is: stale records then follow the
/// new ones, and the directory cannot be read any more.
pub(super) fn remove_unused<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    (0..2).try_for_each(|number| remove(fs, &path(dir, number)))
}

/// The temporary name of file `number`.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{}.tmp", number % 2))
}

fn remove<F: Fs>(fs: &F, path: &Path) -> Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", error).at_path(path))
        }
        _ => Ok(()),
    }
}

impl<F: Fs> Drop for Pipeline<F> {
    fn drop(&mut self) {
        if let Self::Ahead { ready, thread } = self {
            drop(ready.take());
            if let Some(thread) = thread.take() {
                drop(thread.join());
            }
        }
    }
}

impl<F: Fs> Maker<F> {
    fn new(fs: &F, dir: &Path, bytes: u64, bytes_min: u64) -> Result<Self> {
        remove_unused(fs, dir)?;
        Ok(Self { fs: fs.clone(), dir: dir.to_path_buf(), bytes, bytes_min, made: 0 })
    }

    fn make(&mut self) -> Result<Ready<F>> {
        let path = path(&self.dir, self.made);
        self.made += 1;
        let made = self.fs.create_new(&path).map_err(|error| Error::io("create", error).at_path(&path));
        let allocated = made.and_then(|file| {
            lock(&file, &path)?;
            let bytes = match file.allocate(0..self.bytes) {
                Err(error) if is_full(&error) && self.bytes_min < self.bytes => {
                    file.allocate(0..self.bytes_min).map(|()| self.bytes_min)
                }
                done => done.map(|()| self.bytes),
            };
            let bytes = bytes.map_err(|error| Error::io("allocate", error).at_path(&path))?;
            Ok((file, bytes))
        });
        match allocated {
            Ok((file, bytes)) => Ok(Ready { file, path, bytes }),
            Err(error) => {
                drop(self.fs.remove(&path));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{LockKind, SimFs};

    fn dir(fs: &SimFs) -> &'static Path {
        fs.create_dir_all(Path::new("/w")).expect("a directory");
        Path::new("/w")
    }

    /// `TestFilePipeline`: files take turns with two names, of the whole size, and locked.
    #[test]
    fn files_come_one_after_the_other() {
        for ahead in [false, true] {
            let fs = SimFs::default();
            let mut pipeline = Pipeline::start(&fs, dir(&fs), 5000, ahead).expect("starts");
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
            let mut pipeline = Pipeline::start(&fs, dir(&fs), 5000, ahead).expect("starts");
            assert!(pipeline.take().expect_err("no space").is_full());
            assert!(pipeline.take().is_err());
            drop(pipeline);
            assert!(fs.snapshot().is_empty());
        }
    }
}
