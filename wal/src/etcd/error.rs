//! What can be wrong with etcd's files: a variant for each class that etcd itself tells apart, and for what etcd loses in
//! silence or panics at.

/// An error of a log or snapshot in etcd's format. Its message says what is wrong and what to do;
/// [`Error`](crate::Error) adds the file and the offset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
#[non_exhaustive]
pub enum EtcdError {
    /// etcd: "unexpected EOF".
    #[error(
        "the log ends within a record, or a sector of it was never written; `repair` cuts it off and keeps a copy"
    )]
    Torn,
    #[error(
        "the segment ends within a record, and another follows it: corrupt; restore the file from a copy"
    )]
    CutShort,
    /// The first records of a segment are durable before it has its name.
    #[error(
        "a segment without its first records, so that whatever was in it is lost: restore the file from a copy"
    )]
    Headless,
    #[error(
        "the last segment is empty or all zeros: etcd itself starts and keeps every entry before it; `tsmith repair` the \
         directory of the log, which renames the segment"
    )]
    EmptySegment,
    /// etcd: "walpb: crc mismatch".
    #[error(
        "checksum {computed:#010x} of the records so far, expected {stored:#010x}: corrupt; restore the file from a copy"
    )]
    Crc { stored: u32, computed: u32 },
    /// etcd: "wal: crc mismatch".
    #[error(
        "the log so far has checksum {computed:#010x}, this goes on from {stored:#010x}: a segment is missing or foreign"
    )]
    Chain { stored: u32, computed: u32 },
    #[error("expected {0}: corrupt, or written by something else; restore the file from a copy")]
    Parse(&'static str),
    /// A message that ends within a field; etcd takes it for a torn write, whatever follows.
    #[error("the end of {0} is missing: corrupt; restore the file from a copy")]
    Short(&'static str),
    /// etcd: "wal: max entry size limit exceeded".
    #[error("a record of {bytes} bytes, more than the file has: corrupt; restore the file from a copy")]
    Length { bytes: u64 },
    /// etcd: "unexpected block type".
    #[error("a record of unknown kind {0}; was it written by a later version?")]
    RecordKind(i64),
    #[error(
        "the log has the snapshot at index {index} in term {found}, not {expected}: it is another member's or cluster's"
    )]
    SnapshotMismatch { index: u64, found: u64, expected: u64 },
    #[error(
        "no record of the snapshot at index {index}, term {term}; open at one of `valid_snapshot_entries`"
    )]
    SnapshotNotFound { index: u64, term: u64 },
    #[error(
        "metadata differs from that of the records before: segments of different members in one directory"
    )]
    MetadataConflict,
    /// etcd: "wal: slice bounds out of range".
    #[error("entry {index} after a log up to {last}: entries are missing; open at a later snapshot")]
    Gap { index: u64, last: u64 },
    /// etcd: "wal: file not found".
    #[error(
        "no segment for index {index}, or one after it is missing; restore them, or open at a later snapshot"
    )]
    SegmentMissing { index: u64 },
    #[error("the directory holds a log already; open it, or choose another")]
    Exists,
    #[error("the directory is not empty, and creating a log would replace it; empty it, or choose another")]
    NotEmpty,
    #[error(
        "a log is made under another name, which then becomes this one: name the directory itself, not a link to it, nor `.`"
    )]
    NotNamed,
    #[error(
        "{records} whole records behind the place where the log ends, after writes that were acknowledged: corrupt; restore \
         the file from a copy, or remove this member and add it again"
    )]
    AcknowledgedLost { records: u64 },
    #[error(
        "the log begins at index {first}, and of the snapshots it knows, up to index {known}, none is there: restore its \
         file, or remove this member and add it again"
    )]
    SnapshotsMissing { first: u64, known: u64 },
    #[error(
        "committed up to {commit}, but the log ends at {last}: acknowledged entries are lost; remove this member and add it \
         again"
    )]
    CommitBeyondLog { commit: u64, last: u64 },
    #[error(
        "the {what} goes back from {before} to {now}: the log is corrupt; restore it from a copy, or remove this member and \
         add it again"
    )]
    GoesBack { what: &'static str, before: u64, now: u64 },
    #[error(
        "the snapshot at index {index} is intact, and the log ends at {last}: entries are lost; restore the log from a copy, \
         or remove this member and add it again"
    )]
    SnapshotBeyondLog { index: u64, last: u64 },
    #[error("an empty snapshot file")]
    SnapshotEmpty,
    /// etcd: "snap: crc mismatch".
    #[error("checksum {computed:#010x}, expected {stored:#010x}: a corrupt snapshot")]
    SnapshotCrc { stored: u32, computed: u32 },
}

impl EtcdError {
    /// Whether `repair` may help.
    pub fn is_torn(&self) -> bool {
        *self == Self::Torn
    }
}
