//! Errors in etcd's files. There is a variant for each class that etcd distinguishes, and for each case where
//! etcd loses data silently or panics.

/// An error of a log or snapshot in etcd's format. The message says what is wrong and what to do;
/// [`Error`](crate::Error) adds file and offset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
#[non_exhaustive]
pub enum EtcdError {
    /// etcd: "unexpected EOF".
    #[error(
        "the log ends within a record, or a sector of it was never written: a torn tail; `repair` cuts it off and keeps a copy"
    )]
    Torn,
    #[error(
        "the segment ends within a record, but another segment follows: corrupt; restore the file from a copy"
    )]
    CutShort,
    /// The first records of a segment are durable before it gets its name.
    #[error(
        "the first records of the segment are missing, so the rest cannot be read: corrupt; restore the file from a copy"
    )]
    Headless,
    #[error(
        "the last segment is empty or all zeros; etcd starts here and keeps all earlier entries; run `tsmith repair` on the \
         directory, which renames the segment"
    )]
    EmptySegment,
    /// etcd: "walpb: crc mismatch".
    #[error(
        "the checksum of the log up to here is {computed:#010x}, expected {stored:#010x}: corrupt; restore the file from a copy"
    )]
    Crc { stored: u32, computed: u32 },
    /// etcd: "wal: crc mismatch".
    #[error(
        "the checksum of the log up to here is {computed:#010x}, but this record stores {stored:#010x}: a segment is missing or \
         belongs to another log; restore it from a copy"
    )]
    Chain { stored: u32, computed: u32 },
    #[error("expected {0}: corrupt, or written by another program; restore the file from a copy")]
    Parse(&'static str),
    /// A message ends within a field. etcd treats this as a torn write, whatever follows.
    #[error("{0} ends too early: corrupt; restore the file from a copy")]
    Short(&'static str),
    /// etcd: "wal: max entry size limit exceeded".
    #[error("a record of {bytes} bytes does not fit in the file: corrupt; restore the file from a copy")]
    Length { bytes: u64 },
    /// etcd: "unexpected block type".
    #[error("unknown record kind {0}: corrupt, or written by a newer version of etcd")]
    RecordKind(i64),
    #[error(
        "the log has the snapshot at index {index} in term {found}, not {expected}: the snapshot belongs to another member or cluster"
    )]
    SnapshotMismatch { index: u64, found: u64, expected: u64 },
    #[error(
        "the log has no record of the snapshot at index {index}, term {term}; open at one of `valid_snapshot_entries`"
    )]
    SnapshotNotFound { index: u64, term: u64 },
    #[error(
        "the metadata differs from that of earlier records: the directory mixes segments of different members; restore it from a copy"
    )]
    MetadataConflict,
    /// etcd: "wal: slice bounds out of range".
    #[error(
        "entry {index} follows entry {last}: the entries between are missing; restore the segment from a copy, or open at a later snapshot"
    )]
    Gap { index: u64, last: u64 },
    /// etcd: "wal: file not found".
    #[error(
        "the segment with index {index}, or a later one, is missing; restore it, or open at a later snapshot"
    )]
    SegmentMissing { index: u64 },
    #[error("the directory already holds a log; open it, or choose another directory")]
    Exists,
    #[error(
        "the directory is not empty, and creating a log would replace it; empty it, or choose another directory"
    )]
    NotEmpty,
    #[error(
        "a log is created under a temporary name and then renamed to this path: give the path of the directory itself, not of a link and not `.`"
    )]
    NotNamed,
    #[error(
        "{records} complete records follow the end of the log, after writes that were acknowledged: corrupt; restore the file \
         from a copy, or remove this member and add it again"
    )]
    AcknowledgedLost { records: u64 },
    #[error(
        "the log begins at index {first}, and all snapshots it names, up to index {known}, are missing: restore a snapshot \
         file, or remove this member and add it again"
    )]
    SnapshotsMissing { first: u64, known: u64 },
    #[error(
        "committed up to index {commit}, but the log ends at {last}: acknowledged entries are lost; remove this member and add \
         it again"
    )]
    CommitBeyondLog { commit: u64, last: u64 },
    #[error(
        "the {what} decreases from {before} to {now}: the log is corrupt; restore it from a copy, or remove this member and \
         add it again"
    )]
    GoesBack { what: &'static str, before: u64, now: u64 },
    #[error(
        "the snapshot at index {index} is intact, but the log ends at {last}: entries are lost; restore the log from a copy, \
         or remove this member and add it again"
    )]
    SnapshotBeyondLog { index: u64, last: u64 },
    #[error("the snapshot file is empty: restore it from a copy")]
    SnapshotEmpty,
    /// etcd: "snap: crc mismatch".
    #[error(
        "the checksum of the snapshot is {computed:#010x}, expected {stored:#010x}: corrupt; restore the file from a copy"
    )]
    SnapshotCrc { stored: u32, computed: u32 },
}

impl EtcdError {
    /// Whether [`repair`](super::repair()) can help.
    pub fn is_torn(&self) -> bool {
        *self == Self::Torn
    }
}
