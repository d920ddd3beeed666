//! `NullLog`: a log that stores nothing. It is the baseline of measurements.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::directory;
use crate::fs::{Fs, OsFs};
use crate::{
    Durable, Error, ErrorKind, Log, LogOptions, Position, Record, Recovery, RecoveryMode, ReplayFn, Result,
};

/// Greater than every position: the log is closed.
const CLOSED: u64 = 1 << 63;

/// Acknowledges every record and discards it. It measures what a system without a log would do.
///
/// It orders records and locks its directory like any other log. After reopening it is empty.
#[derive(Debug)]
pub struct NullLog<F: Fs = OsFs> {
    next: AtomicU64,
    lock: Mutex<Option<F::File>>,
}

impl<F: Fs> NullLog<F> {
    fn draw(&self) -> Result<Position> {
        match self.next.fetch_add(1, Ordering::Relaxed) {
            at if at < CLOSED => Ok(Position(at)),
            _ => Err(Error::new(ErrorKind::Closed)),
        }
    }
}

impl<F: Fs> Log for NullLog<F> {
    type Fs = F;

    fn open(
        fs: F,
        dir: &Path,
        _: LogOptions,
        _: impl FnMut(Position, Record<'_>) -> Result<()>,
    ) -> Result<(Self, Recovery)> {
        let lock = directory::take(&fs, dir)?;
        Ok((Self { next: AtomicU64::new(1), lock: Mutex::new(Some(lock)) }, Recovery::default()))
    }

    fn read(_: &F, _: &Path, _: RecoveryMode, _: &mut ReplayFn<'_>) -> Result<Recovery> {
        Ok(Recovery::default())
    }

    fn is_segment(_: &OsStr) -> bool {
        false
    }

    fn keeps_records() -> bool {
        false
    }

    fn append(&self, _: Record<'_>) -> Result<Position> {
        self.draw()
    }

    fn sync(&self, at: Position) -> Result<Durable> {
        Ok(Durable::promise(at))
    }

    fn cut(&self) -> Result<Position> {
        self.draw()
    }

    fn truncate_front(&self, _: Position) -> Result<()> {
        if self.next.load(Ordering::Relaxed) < CLOSED { Ok(()) } else { Err(Error::new(ErrorKind::Closed)) }
    }

    fn close(&self) -> Result<()> {
        self.next.fetch_or(CLOSED, Ordering::Relaxed);
        let lock = self.lock.lock().take();
        lock.map(drop).ok_or_else(|| Error::new(ErrorKind::Closed))
    }
}
