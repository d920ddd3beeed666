//! How a log is kept, and how strictly it is opened.

use super::frame::RECORD_BYTES_MAX;

/// A segment is cut when it has reached this many bytes: 64 MB, not MiB.
pub const SEGMENT_BYTES: u64 = 64_000_000;

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WalOptions {
    /// What segments are allocated with and when they are cut: after the save that reached it, so that a segment
    /// may be longer.
    pub segment_bytes: u64,
    /// What opening does with records behind the end.
    pub strictness: Strictness,
    /// A record of this size or above is refused. etcd 3.4 cannot read back one of 10 MiB.
    pub record_bytes_max: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            strictness: Strictness::default(),
            record_bytes_max: RECORD_BYTES_MAX,
        }
    }
}

impl WalOptions {
    /// The same options with segments of this size.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The same options with this strictness.
    #[must_use]
    pub fn strictness(mut self, strictness: Strictness) -> Self {
        self.strictness = strictness;
        self
    }
}

/// What to do with whole records behind the place where a log ends or is torn. From a write of several records a crash
/// may leave just that: any sector of it may be missing, and nobody was told that it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// As etcd: they are wiped, and reported.
    Etcd,
    /// They are wiped and reported, unless they show that a write was acknowledged which is missing now. Then this is
    /// corruption, and an error, and nothing is changed. So is a last segment without the records that it got before its
    /// name.
    #[default]
    Acknowledged,
}
