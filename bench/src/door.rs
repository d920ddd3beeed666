//! The one place that opens an engine: what the matrix and the drivers need of it, and no more.

use std::path::Path;

use tsmith_codecs::{Column, TimeRange};

use crate::Result;

/// Names and summaries of the parts of one seam.
pub(crate) type Names = &'static [(&'static str, &'static str)];

/// Every storer, log and encoder of this build.
pub(crate) use tsmith_cache::STORERS;
pub(crate) use tsmith_codecs::ENCODERS;
pub(crate) use tsmith_wal::LOGS;

/// Which of log and cache a write reaches first.
pub(crate) const ORDERS: Names = &[
    ("sync-then-publish", "readers see only what is durable"),
    ("publish-then-sync", "readers may see a value before it is durable, as InfluxDB 1.x shows it"),
];

/// When a write is on stable storage.
pub(crate) const DURABILITIES: Names = &[
    ("group", "before the call returns; one sync for all who wait"),
    ("each", "before the call returns; one sync a call"),
    ("none", "when the system pleases"),
];

/// The parts an engine is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) storer: &'a str,
    pub(crate) log: &'a str,
    pub(crate) encoder: &'a str,
    pub(crate) order: &'a str,
    pub(crate) durability: &'a str,
}

/// An open engine.
#[derive(Debug)]
pub(crate) struct Store;

impl Store {
    /// Opens or creates an engine in `dir`; nothing happens in its background.
    pub(crate) fn open(setup: Setup<'_>, dir: &Path) -> Result<Self> {
        Err(format!("{}: {setup:?}: this build has no engine", dir.display()).into())
    }

    /// Writes line protocol; a rejected line is an error.
    pub(crate) fn write_lines(&self, _text: &[u8]) -> Result {
        Ok(())
    }

    /// Moves the cache into files.
    pub(crate) fn snapshot(&self) -> Result {
        Ok(())
    }

    /// Every composite key.
    pub(crate) fn keys(&self) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// Replaces `out` by the points of a key.
    pub(crate) fn read(&self, _key: &[u8], _range: TimeRange, _out: &mut Column) -> Result {
        Ok(())
    }

    pub(crate) fn close(self) -> Result {
        Ok(())
    }
}
