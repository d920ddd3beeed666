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
//! # Where this is not etcd
//!
//! What etcd loses in silence, or panics at, is an error or kept here. None of it changes a byte of a file that
//! etcd would write.
//!
//! - A log that does not know the snapshot it is opened at is refused for writing too; etcd forgets that error.
//! - The segment with the last hard state is not let go before a state was saved again. etcd does not carry the state
//!   over a reopening: a segment that is begun then has none, and with the older ones purged it is gone.
//! - A record with the right checksum that is no message is an error with its place; etcd panics. So is one whose
//!   message ends too early, which etcd takes for a torn write and repairs away.
//! - [`repair`] reports what it cut off, whole records behind the torn one included; so does opening, which wipes what
//!   stands behind the end of the log. With [`Strictness::Strict`] whole records there are an error, and nothing
//!   is changed. That is not the default, because a crash may leave just that: of a write of several records, which
//!   nobody was told of, any sector may be missing.
//! - Allocated files that a crash left behind are removed when the log is opened. etcd reuses them with their old
//!   content, and can end up with a log that it does not read.
//! - An entry that etcd 3.4 could not read back is refused when it is saved. Reading takes records of any length that
//!   the file has, as etcd 3.5.5 and later does.
//! - Creating a log replaces an empty directory only; etcd removes whatever is there.
//! - What was read is synced before it is given to who opens the log for writing.
//! - After one failed write or sync the log takes nothing more. What is wiped or cut off is synced before anything is
//!   written behind it.
//! - Bytes written are counted once.
//!
//! What the format cannot tell, nobody can: the kind of a record is not covered by its checksum, so that a flipped bit
//! can turn a hard state into an entry without content.

mod encoder;
mod flaw;
mod frame;
mod histogram;
mod log;
mod names;
mod pipeline;
mod proto;
mod read;
mod repair;
mod salvage;
pub mod snap;
mod storage;
mod wal;

pub use flaw::Flaw;
pub use frame::{RawRecord, SEGMENT_BYTES_MAX};
pub use histogram::Histogram;
pub use log::EtcdLog;
pub(crate) use log::{holds_segments, replay_only, segment_names};
pub use names::SegmentName;
pub use proto::{ConfState, Entry, EntryKind, HardState, Snapshot, SnapshotRecord};
pub use read::{Checked, Contents, Place, RawRecords, Reader, Wiped, check, valid_snapshot_entries, verify};
pub use repair::{RepairReport, repair};
pub use snap::{SNAPSHOT_BYTES_MAX, Snapshotter};
pub use storage::{DiskStorage, Restored, Storage};
pub use wal::{SEGMENT_BYTES, Strictness, Unread, Wal, WalOptions, purge};

impl From<Flaw> for crate::Error {
    fn from(flaw: Flaw) -> Self {
        Self::new(crate::ErrorKind::Etcd(flaw))
    }
}
