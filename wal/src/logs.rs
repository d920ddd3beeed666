//! The named logs of this crate.

use std::path::Path;

use crate::fs::{Fs, OsFs};
use crate::{DynLog, EtcdLog, FileLog, Log, LogKind, MmapLog, NativeLog, NullLog, Result};

tsmith_codecs::registry! {
    /// The registry entries of this crate's logs.
    pub trait Log => LogEntry<F: Fs>, suite = log_suite;
    "file" => FileLog: "InfluxDB 1.x segments, one fdatasync for many writers", also durable_suite;
    "mmap" => MmapLog: "the same segments through a preallocated memory map, msync", also durable_suite;
    "etcd" => EtcdLog: "etcd's framing and rolling CRC-32C, one fdatasync for many writers", also durable_suite;
    "native" => NativeLog: "our own segments: packed columns, CRC-32C, recycled files; the smallest", also durable_suite;
    "null" => NullLog: "acknowledges and discards: the baseline without a log";
}

/// Whether `dir` holds a log of this crate that only Tsmith writes; see [`Log::owns`].
pub fn is_owned<F: Fs>(fs: &F, dir: &Path) -> Result<bool> {
    Ok(NativeLog::owns(fs, dir)? || EtcdLog::owns(fs, dir)?)
}

/// A named log on the file system `F`.
#[derive(Debug)]
pub struct LogEntry<F: Fs> {
    name: &'static str,
    summary: &'static str,
    in_default_matrix: bool,
    kind: LogKind<DynLog<F>>,
}

impl LogEntry<OsFs> {
    /// The logs of this crate on the operating system's file system. They are compiled in this crate, so
    /// dependent crates need not compile them again.
    pub fn standard() -> Vec<Self> {
        standard()
    }
}

impl<F: Fs> LogEntry<F> {
    /// The logs of this crate on the file system `fs`.
    pub fn standard_on(_fs: &F) -> Vec<Self> {
        standard()
    }

    /// An entry for logs of type `L`.
    pub fn of<L: Log<Fs = F>>(name: &'static str, summary: &'static str) -> Self {
        Self { name, summary, in_default_matrix: true, kind: LogKind::erased::<L>() }
    }

    /// Excludes this log from the default matrix; it runs only if named.
    #[must_use]
    pub fn outside_default_matrix(self) -> Self {
        Self { in_default_matrix: false, ..self }
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A one-line description.
    pub fn summary(&self) -> &'static str {
        self.summary
    }

    /// Whether the default matrix runs this log.
    pub fn in_default_matrix(&self) -> bool {
        self.in_default_matrix
    }

    /// How to open it, and its properties.
    pub fn kind(&self) -> LogKind<DynLog<F>> {
        self.kind
    }
}

impl<F: Fs> Clone for LogEntry<F> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}
