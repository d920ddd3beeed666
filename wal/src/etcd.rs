//! etcd's storage, byte for byte. A directory written here starts a real etcd (3.4 to 3.7), and a real etcd's
//! directory opens here.
//!
//! ```text
//! segment 0:  crc(0)     metadata  snapshot{0,0}  ...     0000000000000000-0000000000000000.wal
//! segment k:  crc(k - 1) metadata  [state]        ...     <seq, hex>-<last index + 1, hex>.wal
//! save:       entry*  state   then one fdatasync for all of them, if it matters to raft
//! ```
//!
//! [`Wal`] is the log, [`Snapshotter`] manages the snapshot files, and [`DiskStorage`] combines both behind
//! [`Storage`], which a raft loop calls. The same operations produce the same files as etcd 3.4.23, with
//! segments cut at the same places; `tests/etcd_golden.rs` checks this. [`EtcdLog`] uses the same framing as
//! an ordinary [`Log`](crate::Log).
//!
//! ```
//! use tsmith_wal::etcd::{DiskStorage, Entry, EntryKind, HardState, Storage, WalOptions};
//! use tsmith_wal::fs::OsFs;
//!
//! let member = tempfile::tempdir().expect("a directory");
//! let (wal, snap) = (member.path().join("wal"), member.path().join("snap"));
//! let mut storage = DiskStorage::create(OsFs, &wal, &snap, Some(b"whose it is"), WalOptions::default())?;
//! let entry = Entry { kind: EntryKind::NORMAL, term: 1, index: 1, data: Some("x=1".into()) };
//! // On stable storage when it returns.
//! storage.save(&HardState { term: 1, vote: 7, commit: 0 }, &[entry])?;
//! storage.close()?;
//!
//! let (storage, restored) = DiskStorage::open(OsFs, &wal, &snap, WalOptions::default())?;
//! assert_eq!(restored.contents.state.vote, 7);
//! assert_eq!(restored.contents.entries.len(), 1);
//! # storage.close()?;
//! # Ok::<(), tsmith_wal::Error>(())
//! ```
//!
//! # Differences from etcd
//!
//! Where etcd loses data silently or panics, this module returns an error or keeps the data. No difference
//! changes a byte of a file that etcd would write.
//!
//! - Opening for writing also fails if the log has no record of the snapshot it is opened at; etcd ignores
//!   that error.
//!
//! - The segment with the last hard state is not released before another state is saved. etcd does not repeat
//!   the state in a segment begun after a reopen, so purging the older segments loses it.
//!
//! - A record with a valid checksum that is not a valid message is an error with its place; etcd panics. If
//!   the message ends too early, etcd treats it as a torn write and cuts it off.
//!
//! - [`repair`] reports what it cut off, including complete records after the torn one. Opening reports it
//!   too when it wipes bytes after the end of the log. A crash can leave complete records there, because any
//!   sector of an unacknowledged write can be missing. If they belong to a later write, an acknowledged write
//!   is now corrupt. Then opening fails, except with [`Strictness::Etcd`]. [`cut_back`] cuts such a log, and
//!   a log with any other corruption, back to its last valid record. Use it only if no other member has a
//!   copy.
//!
//! - etcd treats any segment that ends within a record, or is empty, as the end of the log. A crash can tear
//!   only the last segment and leaves none empty, so all other cases are errors here.
//!
//! - If the front of a log was purged and all its snapshots are missing, the error says so.
//!
//! - Opening removes preallocated files that a crash left behind. etcd reuses them with their old content,
//!   and can end up with a log that it cannot read.
//!
//! - Saving refuses an entry that is too long for etcd 3.4 to read back. Reading accepts records of any
//!   length that fits in the file, as etcd 3.5.5 and later do.
//!
//! - Creating a log replaces only an empty directory; etcd removes whatever exists. If two processes create a
//!   log at once, only one succeeds; with etcd, one may write to a file that no longer has a name.
//!
//! - Opening for writing syncs the records it read before it returns them.
//!
//! - After a failed write or sync the log accepts nothing more. Bytes that are wiped or cut off are synced
//!   before anything is written after them.
//!
//! - Written bytes are counted once.
//!
//! - The file of the next segment is allocated when a segment is cut; etcd has a thread that allocates it
//!   ahead.
//!
//! One corruption cannot be detected in this format: the checksum does not cover the kind of a record, so a
//! flipped bit can turn a hard state into an entry without content.

mod allocate;
mod check;
mod create;
mod error;
mod fold;
mod frame;
mod framer;
mod latencies;
mod log;
mod names;
mod options;
mod proto;
mod read;
mod repair;
mod salvage;
pub(crate) mod scan;
mod snap;
mod storage;
mod wal;
mod walk;
mod write_buffer;
mod writer;

pub use check::{Checked, check, check_segment};
pub use error::EtcdError;
pub use fold::{Contents, Tail};
pub(crate) use frame::RawRecords;
pub use frame::{Message, RawRecord, SEGMENT_BYTES_MAX, records};
pub use latencies::SyncLatencies;
pub use log::{EtcdLog, is_log};
pub(crate) use names::SegmentName;
pub use names::is_segment;
pub use options::{Strictness, WalOptions};
pub use proto::{ConfState, Entry, EntryKind, HardState, Snapshot, SnapshotRecord};
#[cfg(any(test, feature = "testing"))]
pub(crate) use read::read_prefix;
pub use read::{is_member, metadata, read, valid_snapshot_entries};
pub use repair::{CutBack, Renamed, cut_back, repair};
pub(crate) use scan::EtcdSegments;
#[cfg(any(test, feature = "testing"))]
pub(crate) use snap::encode as encode_snapshot;
pub use snap::{SNAPSHOT_BYTES_MAX, Snapshotter, is_numbered_snapshot, is_snapshot};
pub use storage::{DiskStorage, Restored, Storage};
pub use wal::{Wal, purge};

impl From<EtcdError> for crate::Error {
    fn from(error: EtcdError) -> Self {
        Self::new(crate::ErrorKind::Etcd(error))
    }
}
