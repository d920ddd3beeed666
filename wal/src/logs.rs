//! The logs of this crate, by name.

use std::path::Path;

use crate::fs::{Fs, OsFs};
use crate::{DynLog, EtcdLog, FileLog, Log, LogKind, MmapLog, NativeLog, NullLog, Result};

tsmith_codecs::registry! {
    /// An entry for each log of this crate.
    pub trait Log => LogEntry<F: Fs>, suite = log_suite;
    "file" => FileLog: "InfluxDB 1.x segments, one fdatasync for many writers", also durable_suite;
    "mmap" => MmapLog: "the same segments through a preallocated map, msync", also durable_suite;
    "etcd" => EtcdLog: "etcd's framing and rolling CRC-32C, one fdatasync for many writers", also durable_suite;
    "native" => NativeLog: "our own segments: packed columns, CRC-32C, recycled files; the smallest", also durable_suite;
    "null" => NullLog: "acknowledges and forgets: the floor";
}

/// Whether `dir` holds a log of this crate that only Tsmith writes; see [`Log::owns`].
pub fn is_owned<F: Fs>(fs: &F, dir: &Path) -> Result<bool> {
    Ok(NativeLog::owns(fs, dir)? || EtcdLog::owns(fs, dir)?)
}

/// A log by name, on the file system `F`.
#[derive(Debug)]
pub struct LogEntry<F: Fs> {
    name: &'static str,
    summary: &'static str,
    in_default_matrix: bool,
    kind: LogKind<DynLog<F>>,
}

impl LogEntry<OsFs> {
    /// An entry for each log of this crate, on the file system of the operating system. Its code is part of this crate, so
    /// that others need not compile the logs again.
    pub fn standard() -> Vec<Self> {
        standard()
    }
}

impl<F: Fs> LogEntry<F> {
    /// An entry for each log of this crate, on the file system `fs`.
    pub fn standard_on(_fs: &F) -> Vec<Self> {
        standard()
    }

    /// An entry for the logs of the type `L`.
    pub fn of<L: Log<Fs = F>>(name: &'static str, summary: &'static str) -> Self {
        Self { name, summary, in_default_matrix: true, kind: LogKind::erased::<L>() }
    }

    /// The same log, which the matrix runs only when it is asked for by name.
    #[must_use]
    pub fn outside_default_matrix(self) -> Self {
        Self { in_default_matrix: false, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is, in one line.
    pub fn summary(&self) -> &'static str {
        self.summary
    }

    /// Whether the matrix runs it without being asked for it.
    pub fn in_default_matrix(&self) -> bool {
        self.in_default_matrix
    }

    /// How it is opened, and what is true of it.
    pub fn kind(&self) -> LogKind<DynLog<F>> {
        self.kind
    }
}

impl<F: Fs> Clone for LogEntry<F> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}
