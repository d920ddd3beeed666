//! The measurement that replicas reserve for themselves.

/// The measurement with the index of the last applied entry. It is written in the same record as that entry's
/// lines.
pub const APPLIED_MEASUREMENT: &str = "_tsmith_raft";

/// Whether these lines may write to it.
pub(super) fn is_named_in(lines: &[u8]) -> bool {
    memchr::memmem::find(lines, APPLIED_MEASUREMENT.as_bytes()).is_some()
}
