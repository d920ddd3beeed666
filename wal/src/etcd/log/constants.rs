//! What this log writes into etcd's frames.

/// Says whose log it is: a member's own entries would mean nothing here.
pub(crate) const METADATA: &[u8] = b"tsmith-log";
/// Every entry is of this term; a real etcd would find a log of one leader.
pub(super) const TERM: u64 = 1;
/// No record has a greater index: its position, and the cut behind it, are numbers too.
pub(crate) const INDEX_MAX: u64 = u64::MAX / 2;
