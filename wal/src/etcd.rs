//! etcd's log, to the byte: a directory written here starts a real etcd (3.4 to 3.7), and a real etcd's opens here.
//!
//! ```text
//! segment 0:  crc(0)     metadata  snapshot{0,0}  ...     0000000000000000-0000000000000000.wal
//! segment k:  crc(k - 1) metadata  [state]        ...     <seq, hex>-<last index + 1, hex>.wal
//! save:       entry*  state   then one fdatasync for all of them, if it matters to raft
//! ```
//!
//! [`Wal`] is the log, [`Snapshotter`] keeps the snapshot files, and [`DiskStorage`] is both behind the [`Storage`] that
//! a raft loop calls. The same operations give the same files as etcd 3.4.23, with the same segments cut at the
//! same places; `tests/etcd_golden.rs` holds it to that. [`EtcdLog`] is the same framing as an ordinary
//! [`Log`](crate::Log).
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
//! # Where this is not etcd
//!
//! What etcd loses in silence, or panics at, is an error or kept here. None of it changes a byte of a file that
//! etcd would write.
//!
//! - A log that does not know the snapshot it is opened at is refused for writing too; etcd forgets that error.
//! - The segment with the last hard state is not released before a state was saved again. etcd does not carry the state
//!   over a reopening: a segment that is begun then has none, and with the older ones purged it is gone.
//! - A record with the right checksum that is no message is an error with its place; etcd panics. So is one whose
//!   message ends too early, which etcd takes for a torn write and repairs away.
//! - [`repair`] reports what it cut off, whole records behind the torn one included; so does opening, which wipes what
//!   stands behind the end of the log. Whole records there may be what a crash left: of a write of several records, which
//!   nobody was told of, any sector may be missing. Where they are of a later write, one was acknowledged that is
//!   corrupt now: an error, unless it is opened with [`Strictness::Etcd`]. [`cut_back`] cuts such a log, and one with any
//!   other corruption, back to its last valid record, where nobody else has a copy of it.
//! - A segment that ends within a record, or is empty, is the end of the log to etcd, wherever it stands. Only the last one
//!   can be torn by a crash, and none can be empty: an error, too.
//! - A log whose front was purged, and of whose snapshots none is there, says so.
//! - Allocated files that a crash left behind are removed when the log is opened. etcd reuses them with their old
//!   content, and can end up with a log that it does not read.
//! - An entry that is too long for etcd 3.4 to read back is refused when it is saved. Reading takes records of any length
//!   that the file has, as etcd 3.5.5 and later does.
//! - Creating a log replaces an empty directory only; etcd removes whatever is there. Of two who create it one does; with
//!   etcd one may write to a file that has no name any more.
//! - What was read is synced before it is given to who opens the log for writing.
//! - After one failed write or sync the log takes nothing more. What is wiped or cut off is synced before anything is
//!   written behind it.
//! - Bytes written are counted once.
//! - The file of the next segment is allocated when a segment is cut; etcd has a thread that does so ahead.
//!
//! What the format cannot tell, nobody can: the kind of a record is not covered by its checksum, so that a flipped bit
//! can turn a hard state into an entry without content.

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
pub mod snap;
mod storage;
mod wal;
mod walk;
mod write_buffer;
mod writer;

pub use check::{Checked, check, check_segment};
pub use error::EtcdError;
pub use fold::{Contents, Tail};
pub use frame::{RawRecord, RawRecords, SEGMENT_BYTES_MAX};
pub use latencies::SyncLatencies;
pub use log::{EtcdLog, is_log};
pub use names::SegmentName;
pub use options::{SEGMENT_BYTES, Strictness, WalOptions};
pub use proto::{ConfState, Entry, EntryKind, HardState, Snapshot, SnapshotRecord};
pub use read::{is_member, metadata, read, read_prefix, valid_snapshot_entries};
pub use repair::{CutBack, Renamed, cut_back, repair};
pub(crate) use scan::EtcdSegments;
pub use snap::{SNAPSHOT_BYTES_MAX, Snapshotter};
pub use storage::{DiskStorage, Restored, Storage};
pub use wal::{Wal, purge};

impl From<EtcdError> for crate::Error {
    fn from(error: EtcdError) -> Self {
        Self::new(crate::ErrorKind::Etcd(error))
    }
}
