//! The floor: a log that remembers nothing.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fs::{OsFs, OsLock};
use crate::recover::take_directory;
use crate::{Durable, Log, LogOptions, Position, Record, Recovery, Result};

/// Acknowledges every record and forgets it: what a system without a log would do, to measure the others against.
///
/// It orders records and owns its directory like any log; after reopening there is nothing.
#[derive(Debug)]
pub struct NullLog {
    next: AtomicU64,
    _lock: OsLock,
}

impl Log for NullLog {
    type Fs = OsFs;

    fn open(
        fs: OsFs,
        dir: &Path,
        _: LogOptions,
        _: impl FnMut(Position, Record<'_>) -> Result<()>,
    ) -> Result<(Self, Recovery)> {
        let lock: OsLock = take_directory(&fs, dir)?;
        Ok((Self { next: AtomicU64::new(1), _lock: lock }, Recovery::default()))
    }

    fn append(&self, _: Record<'_>) -> Result<Position> {
        Ok(Position(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    fn sync(&self, at: Position) -> Result<Durable> {
        Ok(Durable::promise(at))
    }

    fn cut(&self) -> Result<Position> {
        Ok(Position(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    fn truncate_front(&self, _: Position) -> Result<()> {
        Ok(())
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}
