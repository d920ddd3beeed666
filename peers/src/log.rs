//! Logs of other crates as logs of Tsmith.
//!
//! A file of this directory adapts one crate: it implements [`Backend`]. [`Adapted`] makes a
//! [`Log`](tsmith_wal::Log) of it. All get the payloads that the log `file` gets, InfluxDB's entries, uncompressed.

mod adapted;
mod frame;
mod okaywal;
mod raft_engine;
mod raft_log;

use std::ffi::OsStr;
use std::path::Path;

pub use adapted::Adapted;
pub use frame::Frame;
pub use okaywal::Okaywal;
pub use raft_engine::RaftEngine;
pub use raft_log::RaftLog;

use tsmith_wal::{LogOptions, RecoveryMode, Result};

/// Receives the records of an opened log, oldest first.
pub type Replayed<'a> = dyn FnMut(Frame) -> Result<()> + 'a;

/// What [`Adapted`] needs from a log of another crate. Only one thread at a time calls it.
pub trait Backend: Sized + Send + 'static {
    /// Whether the crate can write without a sync.
    const CAN_SKIP_SYNC: bool;

    /// Opens or creates the log in `dir`, and passes its records to `replay`.
    fn open(dir: &Path, options: &LogOptions, replay: &mut Replayed<'_>) -> Result<Self>;

    /// Whether a file of this name belongs to such a log and holds records.
    fn is_segment(name: &OsStr) -> bool;

    /// Writes records, whose numbers are consecutive. If `durable`, they are on stable storage when this returns. Otherwise
    /// the operating system has them.
    fn write(&mut self, frames: Vec<Frame>, durable: bool) -> Result<()>;

    /// Ends the segment, if the crate lets its user decide.
    fn roll(&mut self) -> Result<()> {
        Ok(())
    }

    /// Drops records below this number. May keep some of them.
    fn truncate(&mut self, before: u64) -> Result<()>;

    /// Closes the log. Everything that was written is on stable storage already.
    fn close(self) -> Result<()>;
}

/// The default options with this recovery mode.
fn options(recovery: RecoveryMode) -> LogOptions {
    LogOptions { recovery, ..LogOptions::default() }
}
