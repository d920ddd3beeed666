//! [`Adapted`]: makes a log of Tsmith from a log of another crate.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io, mem};

use tsmith_wal::fs::{Fs, OsFile, OsFs};
use tsmith_wal::{
    Durability, Durable, ENTRY_BYTES_MAX, Error, ErrorKind, Log, LogOptions, Position, Record, Recovery,
    RecoveryMode, ReplayFn, Result,
};

use super::{Backend, Frame, options};

/// The log that `B` implements.
///
/// [`Log::append`] gives a record its number, which is its position, and queues it. The first thread that waits in
/// [`Log::sync`] passes the whole queue to the crate. So one sync serves all waiting threads, with any crate, and records
/// reach the crate in the order of their positions.
///
/// [`Log::cut`] writes a mark. Truncation keeps the last mark, so that a position is never assigned twice.
pub struct Adapted<B: Backend> {
    dir: PathBuf,
    durability: Durability,
    queue: Mutex<Queue>,
    written: Mutex<Written<B>>,
}

/// Records that the crate does not have yet.
struct Queue {
    frames: Vec<Frame>,
    /// Number of the next record.
    next: u64,
    is_closed: bool,
}

/// The state of the crate's log. The thread that holds the lock writes.
struct Written<B> {
    backend: Option<B>,
    /// Number of the last record that was written as durably as promised.
    last: u64,
    /// Whether a record was written without a sync since the last sync.
    is_unsynced: bool,
    /// Number of the last mark.
    mark: u64,
    /// The failure that stopped the log.
    stopped: Option<Arc<Error>>,
    lock: Option<OsFile>,
}

impl<B> Written<B> {
    fn backend(&mut self) -> Result<&mut B> {
        match (&mut self.backend, &self.stopped) {
            (None, _) => Err(Error::new(ErrorKind::Closed)),
            (_, Some(error)) => Err(Error::new(ErrorKind::Poisoned(Arc::clone(error)))),
            (Some(backend), None) => Ok(backend),
        }
    }
}

impl<B: Backend> Adapted<B> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> MutexGuard<'_, Written<B>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame and returns its number.
    fn push(&self, frame: impl FnOnce(u64) -> Frame) -> Result<u64> {
        let mut queue = self.queue();
        if queue.is_closed {
            return Err(Error::new(ErrorKind::Closed));
        }
        let number = queue.next;
        queue.frames.push(frame(number));
        queue.next += 1;
        Ok(number)
    }

    /// Passes all queued records to the crate.
    fn write(&self, written: &mut Written<B>, durability: Durability) -> Result<()> {
        let frames = mem::take(&mut self.queue().frames);
        let Some(last) = frames.last().map(Frame::number) else { return Ok(()) };
        let backend = written.backend()?;
        let done = match durability {
            Durability::Each => frames.into_iter().try_for_each(|frame| backend.write(vec![frame], true)),
            Durability::None => backend.write(frames, false),
            _ => backend.write(frames, true),
        };
        if let Err(error) = done {
            written.stopped = Some(Arc::new(error.clone()));
            return Err(error);
        }
        (written.last, written.is_unsynced) = (last, durability == Durability::None);
        Ok(())
    }
}

impl<B: Backend> Log for Adapted<B> {
    type Fs = OsFs;

    fn open(
        fs: OsFs,
        dir: &Path,
        options: LogOptions,
        mut replay: impl FnMut(Position, Record<'_>) -> Result<()>,
    ) -> Result<(Self, Recovery)> {
        let io = |operation| move |error| Error::io(operation, error).at_path(dir);
        if !Self::supports(options.durability) {
            let what = format!("this log has no durability {:?}", options.durability);
            return Err(io("open")(io::Error::new(io::ErrorKind::Unsupported, what)));
        }
        fs.create_dir_all(dir).map_err(io("create"))?;
        let lock = fs.lock(&dir.join("wal.lock")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::new(ErrorKind::InUse).at_path(dir),
            _ => io("lock")(error),
        })?;
        let names = fs.list(dir).map_err(io("list"))?;
        if let Some(other) = names.iter().find(|name| !B::is_segment(name) && tsmith_wal::is_segment(name)) {
            return Err(Error::new(ErrorKind::OtherLog).at_path(&dir.join(other)));
        }
        let segments = names.iter().filter(|name| B::is_segment(name)).count() as u64;
        let mut recovery = Recovery { segments, ..Recovery::default() };
        let (mut last, mut mark) = (0, 0);
        let backend = B::open(dir, &options, &mut |frame| {
            last = frame.number();
            let Some(record) = frame.as_record() else {
                mark = last;
                return Ok(());
            };
            recovery.records += 1;
            recovery.bytes += record.payload.len() as u64;
            replay(Position(last), record).map_err(|error| error.at_path(dir).at_offset(last))
        });
        let backend = Some(backend.map_err(|error| error.at_path(dir))?);
        let queue = Queue { frames: Vec::new(), next: last + 1, is_closed: false };
        let written = Written { backend, last, is_unsynced: false, mark, stopped: None, lock: Some(lock) };
        let (queue, written) = (Mutex::new(queue), Mutex::new(written));
        Ok((Self { dir: dir.to_owned(), durability: options.durability, queue, written }, recovery))
    }

    /// Opens a copy, because opening can change files and not every crate can read without it.
    fn read(fs: &OsFs, dir: &Path, mode: RecoveryMode, replay: &mut ReplayFn<'_>) -> Result<Recovery> {
        let copy = || {
            let copy = tempfile::tempdir()?;
            for name in fs.list(dir)?.iter().filter(|name| B::is_segment(name)) {
                fs::copy(dir.join(name), copy.path().join(name))?;
            }
            Ok(copy)
        };
        let copy = copy().map_err(|error| Error::io("copy", error).at_path(dir))?;
        let (log, recovery) = Self::open(OsFs, copy.path(), options(mode), replay)?;
        log.close()?;
        Ok(recovery)
    }

    fn is_segment(name: &OsStr) -> bool {
        B::is_segment(name)
    }

    fn supports(durability: Durability) -> bool {
        match durability {
            Durability::Each | Durability::Group => true,
            Durability::None => B::CAN_SKIP_SYNC,
            // Not every crate can sync without a new record.
            Durability::Interval(_) => false,
        }
    }

    fn append(&self, record: Record<'_>) -> Result<Position> {
        let len = record.payload.len();
        if len > ENTRY_BYTES_MAX {
            let (bytes, limit) = (len as u64, ENTRY_BYTES_MAX as u64);
            return Err(Error::new(ErrorKind::TooLarge { what: "a record", bytes, limit }));
        }
        Ok(Position(self.push(|number| Frame::record(number, record))?))
    }

    fn sync(&self, at: Position) -> Result<Durable> {
        let mut written = self.written();
        if at.0 > written.last {
            self.write(&mut written, self.durability)?;
            // Without a new record, the position is beyond the last one.
            written.backend()?;
        }
        Ok(Durable::promise(Position(written.last)))
    }

    fn cut(&self) -> Result<Position> {
        let mut written = self.written();
        self.write(&mut written, Durability::Group)?;
        written.backend()?.roll()?;
        let mark = self.push(Frame::mark)?;
        self.write(&mut written, Durability::Group)?;
        written.mark = mark;
        Ok(Position(mark))
    }

    fn truncate_front(&self, before: Position) -> Result<()> {
        let mut written = self.written();
        let before = before.0.min(written.mark);
        written.backend()?.truncate(before).map_err(|error| error.at_path(&self.dir))
    }

    fn close(&self) -> Result<()> {
        let mut written = self.written();
        let alive = written.backend().map(drop);
        if written.backend.is_some() && written.is_unsynced {
            // A sync needs a record.
            let _ = self.push(Frame::mark)?;
        }
        self.queue().is_closed = true;
        let done = alive.and_then(|()| self.write(&mut written, Durability::Group));
        let closed = written.backend.take().map_or(Ok(()), B::close);
        written.lock = None;
        done.and(closed)
    }
}

impl<B: Backend> Drop for Adapted<B> {
    fn drop(&mut self) {
        // A log that is closed already refuses.
        let _ = self.close();
    }
}
