//! What can be wrong with etcd's files: one kind for each class that etcd itself tells apart, and what etcd loses in
//! silence or panics at.

/// A flaw of a log or snapshot. [`Error`](crate::Error) adds the file and the offset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// The last write is incomplete ("unexpected EOF").
    #[error(
        "the log ends within a record, or a sector of it was never written; `repair` cuts it off and keeps a copy"
    )]
    Torn,
    /// A segment ends within a record, and is not the last: no crash does that.
    #[error("the segment ends within a record, and another follows it: damage; restore the file from a copy")]
    CutShort,
    /// A segment without its first records, which were durable before it had its name.
    #[error(
        "a segment without its first records, so that whatever was in it is lost: restore the file from a copy"
    )]
    Headless,
    /// The last segment holds no record.
    #[error(
        "the last segment is empty or all zeros: etcd itself starts and keeps every entry before it; `tsmith repair` the \
         directory of the log, which renames the segment"
    )]
    EmptySegment,
    /// A record's data is not what was written ("walpb: crc mismatch").
    #[error(
        "checksum {computed:#010x} of the records so far, expected {stored:#010x}: damage; restore the file from a copy"
    )]
    Crc {
        /// What the record says.
        stored: u32,
        /// What its data and that of those before give.
        computed: u32,
    },
    /// Two segments do not belong together, or one lies between them ("wal: crc mismatch").
    #[error(
        "the log so far has checksum {computed:#010x}, this goes on from {stored:#010x}: a segment is missing or foreign"
    )]
    Chain {
        /// What the record says.
        stored: u32,
        /// What the records before give.
        computed: u32,
    },
    /// Bytes that are no such message.
    #[error("expected {0}: damage, or written by something else; restore the file from a copy")]
    Parse(&'static str),
    /// A message that ends within a field. etcd takes it for a torn write, whatever follows.
    #[error("the end of {0} is missing: damage; restore the file from a copy")]
    Short(&'static str),
    /// A length that cannot be ("wal: max entry size limit exceeded").
    #[error("a record of {bytes} bytes, more than the file has: damage; restore the file from a copy")]
    Length {
        /// What the length says.
        bytes: u64,
    },
    /// A record of a kind that there is not ("unexpected block type").
    #[error("a record of unknown kind {0}; was it written by a later version?")]
    RecordKind(i64),
    /// The log has a snapshot of that index with another term.
    #[error(
        "the log has the snapshot at index {index} in term {found}, not {expected}: it is another member's or cluster's"
    )]
    SnapshotMismatch {
        /// Its index.
        index: u64,
        /// The term in the log.
        found: u64,
        /// The term asked for.
        expected: u64,
    },
    /// The log does not know the snapshot that it is opened at.
    #[error(
        "no record of the snapshot at index {index}, term {term}; open at one of `valid_snapshot_entries`"
    )]
    SnapshotNotFound {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// Two segments are of different members.
    #[error(
        "metadata differs from that of the records before: segments of different members in one directory"
    )]
    MetadataConflict,
    /// An entry does not follow those before ("wal: slice bounds out of range").
    #[error("entry {index} after a log up to {last}: entries are missing; open at a later snapshot")]
    Gap {
        /// The entry's index.
        index: u64,
        /// The last index before.
        last: u64,
    },
    /// No segment begins at or before the index, or one in between is missing ("wal: file not found").
    #[error(
        "no segment for index {index}, or one after it is missing; restore them, or open at a later snapshot"
    )]
    SegmentMissing {
        /// Where the log was to be opened.
        index: u64,
    },
    /// There is a log already.
    #[error("the directory holds a log already; open it, or choose another")]
    Exists,
    /// Creating a log replaces the directory, and it holds something.
    #[error("the directory is not empty, and creating a log would replace it; empty it, or choose another")]
    NotEmpty,
    /// Creating a log renames a directory, and this is no name for one.
    #[error(
        "a log is made under another name, which then becomes this one: name the directory itself, not a link to it, nor `.`"
    )]
    NotNamed,
    /// Whole records stand behind the end of the log.
    #[error(
        "{records} whole records behind the place where the log ends: damage, or a torn write of many records; open with `Strictness::Acknowledged` to drop them"
    )]
    RecordsAfterEnd {
        /// How many at least.
        records: u64,
    },
    /// Whole records stand behind the end of the log, and show that it was durable beyond.
    #[error(
        "{records} whole records behind the place where the log ends, after writes that were acknowledged: damage; restore \
         the file from a copy, or remove this member and add it anew"
    )]
    AcknowledgedLost {
        /// How many at least.
        records: u64,
    },
    /// The log begins after a snapshot of which there is no file.
    #[error(
        "the log begins at index {first}, and of the snapshots it knows, up to index {known}, none is there: restore its \
         file, or remove this member and add it anew"
    )]
    SnapshotsMissing {
        /// Where the first segment begins.
        first: u64,
        /// The last snapshot that the log knows.
        known: u64,
    },
    /// The state says that more was committed than the log has.
    #[error(
        "committed up to {commit}, but the log ends at {last}: acknowledged entries are lost; remove this member and add it anew"
    )]
    CommitBeyondLog {
        /// What the hard state says.
        commit: u64,
        /// The last index of log or snapshot.
        last: u64,
    },
    /// A number of the hard states, or of the entries, that only grows was smaller than before.
    #[error(
        "the {what} goes back from {before} to {now}: the log is corrupt; restore it from a copy, or remove this member and \
         add it again"
    )]
    GoesBack {
        /// Which number.
        what: &'static str,
        /// What an earlier record says.
        before: u64,
        /// What this one says.
        now: u64,
    },
    /// A snapshot has entries that the log no longer has, nor a record of the snapshot.
    #[error(
        "the snapshot at index {index} is intact, and the log ends at {last}: entries are lost; restore the log from a copy, or \
         remove this member and add it again"
    )]
    SnapshotBeyondLog {
        /// The snapshot's index.
        index: u64,
        /// The last index of the log.
        last: u64,
    },
    /// A database whose head is not valid.
    #[error("{0}: restore it from a copy, or remove this member and add it again")]
    Database(&'static str),
    /// A snapshot file without content.
    #[error("an empty snapshot file")]
    SnapshotEmpty,
    /// A snapshot file whose checksum is wrong ("snap: crc mismatch").
    #[error("checksum {computed:#010x}, expected {stored:#010x}: a damaged snapshot")]
    SnapshotCrc {
        /// What the file says.
        stored: u32,
        /// What its content gives.
        computed: u32,
    },
}

impl Flaw {
    /// Whether `repair` may help.
    pub fn is_torn(&self) -> bool {
        *self == Self::Torn
    }
}
