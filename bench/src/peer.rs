//! Whole stores of other projects, which the matrix runs beside engines that are made of our parts.
//!
//! A store has the workloads `ingest`, `scan` and `range`. Each process of the matrix reads all values back and compares them
//! with what was written, so a store that returns other values is a broken cell.

use std::error::Error;
use std::fmt;
use std::path::Path;

use tsmith_codecs::{Batch, Column, FieldKey, FieldType, SeriesKey, TimeRange};

/// Any error of another project.
pub type PeerResult<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Takes the points of one key, in order of time.
pub type Found<'a> = dyn FnMut(FieldKey<'_>, &Column) + 'a;

/// How a store keeps the values of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Every bit of key, time and value reads back.
    Exactly,
    /// Keys, times or values change a little. Only their number is checked.
    Roughly,
    /// It ignores them.
    Nothing,
}

/// A kind of store.
pub trait StorePeer: fmt::Debug + Send + Sync {
    /// The name for `--store`.
    fn name(&self) -> &'static str;

    /// What it is, with its version, in one line.
    fn summary(&self) -> String;

    /// What an acknowledged write survives. `durable` asks for writes that survive a power cut. `None` if the store cannot
    /// write in this way; then it has no such cells.
    fn promise(&self, durable: bool) -> Option<&'static str>;

    /// Whether values of this type read back.
    fn keeps(&self, _field_type: FieldType) -> Keeps {
        Keeps::Exactly
    }

    /// Why it cannot run here, such as a program that is not installed.
    fn missing(&self) -> Option<String> {
        None
    }

    /// What a client has ready before it writes this batch, such as a text. This is not timed.
    fn prepare(&self, _batch: &Batch<'_>) -> Vec<u8> {
        Vec::new()
    }

    /// Opens or creates a store in this directory, which belongs to it alone. If it is not `durable`, writes may be as fast
    /// as possible, also if [`Self::promise`] has no such mode: the matrix then fills a store for a test of reads.
    fn open(&self, dir: &Path, durable: bool) -> PeerResult<Box<dyn OpenPeer>>;
}

/// An open store. Several threads write and query at once.
pub trait OpenPeer: Sync {
    /// Writes a batch. `prepared` is what [`StorePeer::prepare`] made of it.
    fn write(&self, batch: &Batch<'_>, prepared: &[u8]) -> PeerResult;

    /// Moves what is in its log or memory to its files, if it has this step.
    fn flush(&self) -> PeerResult {
        Ok(())
    }

    /// Calls `found` once for each key, with all its points.
    fn scan(&self, found: &mut Found<'_>) -> PeerResult;

    /// Calls `found` once for each of these fields of a series that has points in the range.
    fn range(
        &self,
        series: SeriesKey<'_>,
        fields: &[&[u8]],
        range: TimeRange,
        found: &mut Found<'_>,
    ) -> PeerResult;

    /// The id of the process that does the work, if it is not this one.
    fn process(&self) -> Option<u32> {
        None
    }

    /// Closes the store. A process of its own has ended when this returns.
    fn close(self: Box<Self>) -> PeerResult;
}
