//! [`LogKind`]: a kind of log as a value; [`DynLog`]: an open log of any kind.

use std::ffi::OsStr;
use std::path::Path;

use crate::{Durability, Log, LogOptions, Recovery, RecoveryMode, Replay, ReplayFn, Result};

/// An open log of any kind on the file system `F`. Each call costs one virtual call.
pub type DynLog<F> = dyn Log<Fs = F>;

/// A kind of log as a value: everything in [`Log`] that needs no open log.
///
/// `L` is the type it opens. [`LogKind::new`] opens a log of one type. The kind in a
/// [`LogEntry`](crate::LogEntry) opens a [`DynLog`].
pub struct LogKind<L: Log + ?Sized> {
    open: OpenFn<L>,
    read: ReadFn<L>,
    owns: fn(&L::Fs, &Path) -> Result<bool>,
    is_segment: fn(&OsStr) -> bool,
    is_influx: bool,
    keeps_records: bool,
    supports: fn(Durability) -> bool,
}

type OpenFn<L> = fn(<L as Log>::Fs, &Path, LogOptions, &mut dyn Replay) -> Result<(Box<L>, Recovery)>;
type ReadFn<L> = fn(&<L as Log>::Fs, &Path, RecoveryMode, &mut ReplayFn<'_>) -> Result<Recovery>;

impl<L: Log> LogKind<L> {
    /// Opens logs of type `L`.
    pub fn new() -> Self {
        Self::opened_by::<L>(|fs, dir, options, replay| {
            let (log, recovery) = L::open_replaying(fs, dir, options, replay)?;
            Ok((Box::new(log), recovery))
        })
    }
}

impl<F: crate::fs::Fs> LogKind<DynLog<F>> {
    /// Opens logs of type `L` and erases their type.
    pub(crate) fn erased<L: Log<Fs = F>>() -> Self {
        Self::opened_by::<L>(|fs, dir, options, replay| {
            let (log, recovery) = L::open_replaying(fs, dir, options, replay)?;
            Ok((Box::new(log), recovery))
        })
    }
}

impl<L: Log + ?Sized> LogKind<L> {
    fn opened_by<T: Log<Fs = L::Fs>>(open: OpenFn<L>) -> Self {
        Self {
            open,
            read: T::read,
            owns: T::owns,
            is_segment: T::is_segment,
            is_influx: T::is_influx(),
            keeps_records: T::keeps_records(),
            supports: T::supports,
        }
    }

    /// As [`Log::open_replaying`].
    pub fn open(
        &self,
        fs: L::Fs,
        dir: &Path,
        options: LogOptions,
        replay: &mut dyn Replay,
    ) -> Result<(Box<L>, Recovery)> {
        (self.open)(fs, dir, options, replay)
    }

    /// As [`Log::read`].
    pub fn read(
        &self,
        fs: &L::Fs,
        dir: &Path,
        mode: RecoveryMode,
        replay: &mut ReplayFn<'_>,
    ) -> Result<Recovery> {
        (self.read)(fs, dir, mode, replay)
    }

    /// As [`Log::owns`].
    pub fn owns(&self, fs: &L::Fs, dir: &Path) -> Result<bool> {
        (self.owns)(fs, dir)
    }

    /// As [`Log::is_segment`].
    pub fn is_segment(&self, name: &OsStr) -> bool {
        (self.is_segment)(name)
    }

    /// As [`Log::is_influx`].
    pub fn is_influx(&self) -> bool {
        self.is_influx
    }

    /// As [`Log::keeps_records`].
    pub fn keeps_records(&self) -> bool {
        self.keeps_records
    }

    /// As [`Log::supports`].
    pub fn supports(&self, durability: Durability) -> bool {
        (self.supports)(durability)
    }
}

impl<L: Log + ?Sized> Clone for LogKind<L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L: Log + ?Sized> Copy for LogKind<L> {}

impl<L: Log> Default for LogKind<L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: Log + ?Sized> std::fmt::Debug for LogKind<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogKind").field("is_influx", &self.is_influx).finish_non_exhaustive()
    }
}
