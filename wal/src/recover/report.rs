//! What opening a log tells.

use std::ops::Range;
use std::path::PathBuf;

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that hold records.
    pub segments: u64,
    /// Records given to `replay`.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// What was left out. At most one place with `RecoveryMode::Strict`: the unfinished last write before a crash.
    pub torn: Vec<Torn>,
    /// The numbers of records that should be there, where a log numbers them through all its segments, as
    /// [`native`](crate::native) does. `torn` has the places. None with `RecoveryMode::Strict`, which refuses.
    pub missing: Vec<Range<u64>>,
}

/// A place of a segment from which on bytes were not replayed; or before which records are missing, where `found` says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub path: PathBuf,
    /// The first byte that was left out. Unless the mode is `Salvage` and this is damage, the segment ends here now.
    pub offset: u64,
    /// Records of the segment that were replayed before it.
    pub kept_records: u64,
    /// How many bytes were left out, zeros at the end not counted.
    pub dropped_bytes: u64,
    /// Whether it is damage, as when records that check out stand behind it, and no torn write.
    pub valid_after: bool,
    /// Where the replay went on in the same segment, with `RecoveryMode::Salvage`.
    pub resumed_at: Option<u64>,
    /// What was found there.
    pub found: &'static str,
}

/// How far a replay has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Segments that are done.
    pub segments: u64,
    /// Segments in all.
    pub segments_total: u64,
    /// Records so far.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}
