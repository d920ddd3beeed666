//! The laws of a log as test suites, for implementations in this crate and in others.
//!
//! [`log_suite!`](crate::log_suite) is for every log. [`durable_suite!`](crate::durable_suite) is for logs that
//! keep confirmed records. Both write into real temporary directories, so they take a log on
//! [`OsFs`]. Power cuts, failed syncs and full disks need a log on [`SimFs`]:
//! `wal/tests/crash` of the repository shows how to simulate them. The functions in [`hostile`] edit segments.
//!
//! A log that does not promise every law names those that it does: `durable_suite!(@ MyLog; records_come_back_in_order)`.
//!
//! `durable_suite!` finds records by their bytes in the segment. It assumes that incompressible payloads are stored
//! as they are, that a segment has at most 40 bytes before its first record, and that at most 8 bytes of padding
//! follow a record.
//!
//! ```
//! // In a test module: every law becomes one test.
//! tsmith_wal::log_suite!(tsmith_wal::FileLog);
//! tsmith_wal::durable_suite!(tsmith_wal::FileLog);
//! ```

#[expect(clippy::missing_panics_doc, reason = "a law panics when it is broken")]
mod corrupt;
#[expect(clippy::missing_panics_doc, reason = "a law panics when it is broken")]
mod durable;
#[expect(clippy::missing_panics_doc, reason = "a law panics when it is broken")]
mod every;
mod formats;
#[expect(clippy::missing_panics_doc, reason = "a law panics when it is broken")]
pub mod hostile;
mod scrambled;
mod sim;

use std::path::{Path, PathBuf};

pub use corrupt::*;
pub use durable::*;
pub use every::*;
pub use formats::{etcd, influx, native};
pub use scrambled::{ScrambledFile, ScrambledFs};
pub use sim::{Fault, SimFile, SimFs};

use crate::fs::OsFs;
use crate::{Log, LogOptions, Position, Record, RecordKind, Recovery, Result};

/// A temporary directory for one test. It is removed on drop.
#[derive(Debug)]
pub struct Scratch {
    dir: tempfile::TempDir,
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    /// Creates a temporary directory.
    ///
    /// # Panics
    /// If the directory cannot be created.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The directory for the log. It does not exist until a log creates it.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.path().join("a/log")
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The files of the log's directory with their content, without the lock file. Empty if there is no directory.
    ///
    /// # Panics
    /// If the directory or a file cannot be read.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        if !self.log_dir().exists() {
            return Vec::new();
        }
        let dir = std::fs::read_dir(self.log_dir()).expect("the log's directory");
        let mut paths: Vec<PathBuf> = dir.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| path.extension().is_none_or(|extension| extension != "lock"));
        paths.sort();
        let read = |path: PathBuf| (path.clone(), std::fs::read(&path).expect("a file"));
        paths.into_iter().map(read).collect()
    }
}

/// A replayed record.
pub type Replayed = (Position, RecordKind, Vec<u8>);

/// Opens a log and returns the records that it replays.
pub fn open_keeping<L: Log>(
    fs: L::Fs,
    dir: &Path,
    options: LogOptions,
) -> Result<(L, Vec<Replayed>, Recovery)> {
    let mut seen = Vec::new();
    let (log, recovery) = L::open(fs, dir, options, |at, record: Record<'_>| {
        seen.push((at, record.kind, record.payload.to_vec()));
        Ok(())
    })?;
    Ok((log, seen, recovery))
}

fn open<L: Log<Fs = OsFs>>(scratch: &Scratch, options: LogOptions) -> (L, Vec<Replayed>, Recovery) {
    open_keeping(OsFs, &scratch.log_dir(), options).expect("the log opens")
}

/// Appends a record and syncs it.
fn put<L: Log>(log: &L, payload: &[u8]) -> Position {
    let at = log.append(Record::write(payload)).expect("appends");
    let durable = log.sync(at).expect("syncs");
    assert!(durable.at() >= at);
    at
}

fn payloads(replayed: Vec<Replayed>) -> Vec<Vec<u8>> {
    replayed.into_iter().map(|(_, _, payload)| payload).collect()
}

/// Pseudo-random bytes, which do not compress.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// One test for each law of every log, including a log that stores nothing.
#[macro_export]
macro_rules! log_suite {
    ($Log:ty) => {
        $crate::log_suite!(@ $Log;
            positions_strictly_increase
            a_cut_divides_the_positions
            concurrent_appends_get_distinct_positions
            a_directory_has_one_owner
            a_closed_log_does_nothing
            foreign_files_are_left_alone
            truncating_at_any_position_is_allowed
            every_durability_confirms
        );
    };
    (@ $Log:ty; $($law:ident)+) => {
        $(#[test] fn $law() { $crate::testing::$law::<$Log>(&$crate::testing::Scratch::new()); })+
    };
}

/// One test for each law of a log that keeps its confirmed records.
#[macro_export]
macro_rules! durable_suite {
    ($Log:ty) => {
        $crate::durable_suite!(@ $Log;
            records_come_back_in_order
            positions_increase_after_reopening
            positions_increase_after_truncating_all
            a_key_is_refused_or_replayed
            reopening_changes_nothing
            concurrent_records_all_come_back
            segments_roll
            truncating_keeps_later_records
            a_torn_tail_is_cut_anywhere
            corruption_before_the_tail_refuses
            salvage_keeps_valid_records
            entries_replay_like_records
            a_batch_is_logged_as_its_payload
            segments_of_another_log_are_detected
            operations_are_counted
            trailing_zeros_are_ignored
            a_refused_record_changes_nothing
            a_refused_end_changes_nothing
            reading_equals_opening
            segments_are_known_by_name
        );
    };
    (@ $Log:ty; $($law:ident)+) => {
        $(#[test] fn $law() { $crate::testing::$law::<$Log>(&$crate::testing::Scratch::new()); })+
    };
}

pub use {durable_suite, log_suite};
