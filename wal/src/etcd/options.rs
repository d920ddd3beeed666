//! Options of a member's log.

use super::frame::RECORD_BYTES_MAX;

/// Default size at which a segment is cut: 64 MB, not MiB.
const SEGMENT_BYTES: u64 = 64_000_000;

/// Options of a member's log.
#[derive(Clone, Copy, Debug)]
pub struct WalOptions {
    /// Space that a segment allocates, and the size at which it is cut. It is cut after the save that reaches
    /// the size, so it can be longer.
    pub segment_bytes: u64,
    /// What opening does with records after the end of the log.
    pub strictness: Strictness,
    /// Records of this size or more are refused. etcd 3.4 cannot read back 10 MiB.
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

/// What opening does with complete records after the place where a log ends or is torn. A crash during a
/// write of several records can leave this: any sector can be missing, and the write was not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// As etcd: wipe and report them.
    Etcd,
    /// Wipe and report them, unless they prove that an acknowledged write is missing. That is corruption:
    /// opening fails and changes nothing. The same holds for a last segment without the records it had before
    /// it got its name.
    #[default]
    Acknowledged,
}
