//! [`PlainLog`]: records with a CRC-32, written one by one.

mod replay;
mod segment;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tsmith_wal::fs::{Fs, FsFile, OsFile, OsFs};
use tsmith_wal::{
    Durability, Durable, Error, ErrorKind, Log, LogOptions, Position, Progress, Record, Recovery,
    RecoveryMode, Replay, ReplayFn, Result, entry,
};

use replay::End;
use segment::HEAD_BYTES;

/// Writes each record immediately, in [`Log::append`]. Waiting threads share one fsync.
///
/// After `append`, the operating system has the record, so a crash of the process loses nothing. A position is the number of
/// the segment and the offset where the record ends.
#[derive(Debug)]
pub struct PlainLog {
    fs: OsFs,
    dir: PathBuf,
    options: LogOptions,
    active: Mutex<Active>,
    /// The durable position. The thread that holds the lock syncs. Other threads wait for it.
    durable: Mutex<Position>,
}

/// The active segment.
#[derive(Debug)]
struct Active {
    file: Arc<OsFile>,
    segment: u64,
    /// Offset of the next record.
    end: u64,
    /// Number of the next record.
    number: u64,
    /// The failure that stopped the log. No record is confirmed after it.
    stopped: Option<Arc<Error>>,
    /// Locks the directory until the log is closed.
    lock: Option<OsFile>,
}

impl Active {
    fn check(&self) -> Result<()> {
        match &self.stopped {
            _ if self.lock.is_none() => Err(Error::new(ErrorKind::Closed)),
            Some(error) => Err(Error::new(ErrorKind::Poisoned(Arc::clone(error)))),
            None => Ok(()),
        }
    }

    /// Stops the log after a failure.
    fn stop<T>(&mut self, error: Error) -> Result<T> {
        self.stopped = Some(Arc::new(error.clone()));
        Err(error)
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync_data().or_else(|error| self.stop(Error::io("sync", error)))
    }

    fn position(&self) -> Position {
        Position(self.segment << 32 | self.end)
    }
}

impl PlainLog {
    fn active(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self) -> MutexGuard<'_, Position> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals the active segment and starts the next one.
    fn roll(&self, active: &mut Active) -> Result<()> {
        active.sync()?;
        let segment = active.segment + 1;
        match create(&self.fs, &self.dir, segment, active.number) {
            Ok(file) => {
                (active.file, active.segment, active.end) = (Arc::new(file), segment, HEAD_BYTES as u64);
                Ok(())
            }
            Err(error) => active.stop(error),
        }
    }
}

impl Log for PlainLog {
    type Fs = OsFs;

    fn open(
        fs: OsFs,
        dir: &Path,
        options: LogOptions,
        mut replay: impl FnMut(Position, Record<'_>) -> Result<()>,
    ) -> Result<(Self, Recovery)> {
        Opening::replay(fs, dir, options, &mut replay)?.finish(options)
    }

    /// Asks `replay` at the end of the records, before the torn tail is cut.
    fn open_replaying(
        fs: OsFs,
        dir: &Path,
        options: LogOptions,
        replay: &mut dyn Replay,
    ) -> Result<(Self, Recovery)> {
        let opening = Opening::replay(fs, dir, options, &mut |at, record: Record<'_>| {
            replay.entry(at, &entry::decode(record.kind, record.payload)?)
        })?;
        let Recovery { segments, records, bytes, .. } = opening.recovery;
        replay.progress(Progress { segments, segments_total: segments, records, bytes });
        replay.end()?;
        opening.finish(options)
    }

    fn read(fs: &OsFs, dir: &Path, mode: RecoveryMode, replay: &mut ReplayFn<'_>) -> Result<Recovery> {
        Ok(replay::replay(fs, dir, mode, replay)?.0)
    }

    fn is_segment(name: &OsStr) -> bool {
        segment::number(name).is_some()
    }

    fn append(&self, record: Record<'_>) -> Result<Position> {
        let mut active = self.active();
        active.check()?;
        let bytes = segment::encode(active.number, record)?;
        let is_full = active.end + bytes.len() as u64 > self.options.segment_bytes.into();
        if is_full && active.end > HEAD_BYTES as u64 {
            self.roll(&mut active)?;
        }
        if let Err(error) = active.file.write_all_at(&bytes, active.end) {
            let error = Error::io("write", error);
            // A full disk does not stop the log if the incomplete record can be removed.
            let is_back = error.is_full() && active.file.set_len(active.end).is_ok();
            return if is_back { Err(error) } else { active.stop(error) };
        }
        active.end += bytes.len() as u64;
        active.number += 1;
        Ok(active.position())
    }

    fn sync(&self, at: Position) -> Result<Durable> {
        let mut durable = self.durable();
        let (file, last) = {
            let active = self.active();
            let last = active.position();
            if *durable >= at.min(last) {
                return Ok(Durable::promise(*durable));
            }
            active.check()?;
            (Arc::clone(&active.file), last)
        };
        if self.options.durability == Durability::None {
            return Ok(Durable::promise(last));
        }
        // Other threads can append during the fsync. Earlier segments are already durable.
        let synced = file.sync_data();
        let mut active = self.active();
        if let Err(error) = synced {
            return active.stop(Error::io("sync", error));
        }
        // If the fsync of another thread failed, the system may have reported the error only to that thread.
        active.check()?;
        *durable = last;
        Ok(Durable::promise(last))
    }

    fn cut(&self) -> Result<Position> {
        let mut active = self.active();
        active.check()?;
        self.roll(&mut active)?;
        Ok(Position(active.segment << 32))
    }

    fn truncate_front(&self, before: Position) -> Result<()> {
        let active = self.active();
        active.check()?;
        let io = |operation| move |error| Error::io(operation, error).at_path(&self.dir);
        for segment in replay::segments(&self.fs, &self.dir)? {
            if segment >= active.segment || (segment + 1) << 32 > before.0 {
                break;
            }
            self.fs.remove(&self.dir.join(segment::name(segment))).map_err(io("remove"))?;
            // Sync after each removal, so that a crash leaves the newer segments.
            self.fs.sync_dir(&self.dir).map_err(io("sync"))?;
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        let mut durable = self.durable();
        let mut active = self.active();
        active.check()?;
        active.sync()?;
        *durable = active.position();
        active.lock = None;
        Ok(())
    }
}

/// A directory whose records were replayed. Nothing in it has changed.
struct Opening<'a> {
    fs: OsFs,
    dir: &'a Path,
    lock: OsFile,
    recovery: Recovery,
    found: End,
}

impl<'a> Opening<'a> {
    /// Locks the directory and passes its records to `replay`.
    fn replay(fs: OsFs, dir: &'a Path, options: LogOptions, replay: &mut ReplayFn<'_>) -> Result<Self> {
        let io = |operation| move |error| Error::io(operation, error).at_path(dir);
        fs.create_dir_all(dir).map_err(io("create"))?;
        let lock = fs.lock(&dir.join("wal.lock")).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => Error::new(ErrorKind::InUse).at_path(dir),
            _ => io("lock")(error),
        })?;
        let names = fs.list(dir).map_err(io("list"))?;
        if let Some(other) = names.iter().find(|name| tsmith_wal::is_segment(name)) {
            return Err(Error::new(ErrorKind::OtherLog).at_path(&dir.join(other)));
        }
        let (recovery, found) = replay::replay(&fs, dir, options.recovery, replay)?;
        Ok(Self { fs, dir, lock, recovery, found })
    }

    /// Cuts a torn tail, and zeros after the last record. Then the log can append.
    fn finish(self, options: LogOptions) -> Result<(PlainLog, Recovery)> {
        let Self { fs, dir, lock, recovery, found } = self;
        let io = |operation| move |error| Error::io(operation, error).at_path(dir);
        let (file, segment, end) = if let Some(end) = found.offset {
            let file = fs.open(&dir.join(segment::name(found.segment))).map_err(io("open"))?;
            file.set_len(end).and_then(|()| file.sync_all()).map_err(io("truncate"))?;
            (file, found.segment, end)
        } else {
            let segment = found.segment + 1;
            (create(&fs, dir, segment, found.number)?, segment, HEAD_BYTES as u64)
        };
        let (file, number) = (Arc::new(file), found.number);
        let active = Active { file, segment, end, number, stopped: None, lock: Some(lock) };
        let durable = Mutex::new(active.position());
        Ok((PlainLog { fs, dir: dir.to_owned(), options, active: Mutex::new(active), durable }, recovery))
    }
}

/// Creates a segment and makes it durable.
fn create(fs: &OsFs, dir: &Path, segment: u64, number: u64) -> Result<OsFile> {
    let path = dir.join(segment::name(segment));
    let temporary = path.with_extension("plain.tmp");
    let publish = || {
        if temporary.exists() {
            fs.remove(&temporary)?;
        }
        let file = fs.create_new(&temporary)?;
        file.write_all_at(&segment::head(number), 0)?;
        fs.publish(&file, &temporary, &path)?;
        Ok(file)
    };
    publish().map_err(|error| Error::io("create", error).at_path(&path))
}

#[cfg(test)]
mod tests {
    use super::PlainLog;

    tsmith_wal::log_suite!(PlainLog);
    tsmith_wal::durable_suite!(PlainLog);
}
