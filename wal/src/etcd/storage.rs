//! The stable storage of a raft loop: log and snapshot files together.

use std::path::Path;

use super::read::known_snapshots;
use super::{
    Contents, Entry, EtcdError, HardState, SegmentName, Snapshot, SnapshotRecord, Snapshotter, Tail, Wal,
    WalOptions, names, repair,
};
use crate::fs::{Fs, OsFs};
use crate::{Error, ErrorKind, Result};

/// Stable storage of one raft member.
///
/// For each Ready of raft: if it has a snapshot, first call [`save_snap`](Self::save_snap). Then call
/// [`save`](Self::save). If there was a snapshot, then call [`sync`](Self::sync) and
/// [`release`](Self::release). Send the messages that raft calls persisted messages after that.
pub trait Storage {
    /// Saves entries, then the state. Law: on return both are on stable storage, unless only the commit index
    /// changed. After an error nothing more is saved.
    fn save(&mut self, state: &HardState, entries: &[Entry]) -> Result<()>;

    /// Saves a snapshot: first its file, then its record in the log. Law: both are on stable storage on
    /// return.
    ///
    /// The order matters for a crash in between. The next start ignores a file without a record, and uses the
    /// snapshot before it and the log after that. A record without a file would name a missing snapshot,
    /// although the log may no longer hold the entries it replaced.
    fn save_snap(&mut self, snapshot: &Snapshot) -> Result<()>;

    /// Ends the segment of the log. `save` does this itself when the segment is large enough.
    fn cut(&mut self) -> Result<()>;

    /// Declares data before `snapshot` obsolete: older segments and databases may be removed.
    fn release(&mut self, snapshot: &Snapshot) -> Result<()>;

    /// Makes everything saved durable.
    fn sync(&mut self) -> Result<()>;

    /// Makes everything durable and closes the storage.
    fn close(self) -> Result<()>;
}

/// [`Storage`] in etcd's files: the directories `wal` and `snap` of an etcd 3.4 member.
#[derive(Debug)]
pub struct DiskStorage<F: Fs = OsFs> {
    wal: Wal<F>,
    snap: Snapshotter<F>,
}

/// The newest snapshot that exists and that the log names. Fails if the log, whose first segment is `first`,
/// cannot be opened without a snapshot.
pub(super) fn newest_snapshot<F: Fs>(
    snap: &Snapshotter<F>,
    first: SegmentName,
    known: &[SnapshotRecord],
) -> Result<Option<Snapshot>> {
    match (snap.newest_readable(known)?, known.last()) {
        (None, Some(last)) if first.index > 0 => {
            let missing = EtcdError::SnapshotsMissing { first: first.index, known: last.index };
            Err(Error::from(missing).at_path(snap.dir()))
        }
        (snapshot, _) => Ok(snapshot),
    }
}

/// Checks that no committed entry is missing from a log that was opened at `start`.
pub(super) fn check_commit(start: &SnapshotRecord, contents: &Contents) -> Result<(), EtcdError> {
    let last = contents.entries.last().map_or(start.index, |entry| entry.index);
    let commit = contents.state.commit;
    if commit > last { Err(EtcdError::CommitBeyondLog { commit, last }) } else { Ok(()) }
}

/// What a member knows when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The newest snapshot that the log names.
    pub snapshot: Option<Snapshot>,
    /// The content of the log after that snapshot.
    pub contents: Contents,
    /// The torn tail that was cut off.
    pub repaired: Option<Tail>,
}

impl<F: Fs> DiskStorage<F> {
    /// Combines a log and snapshot files that were opened separately.
    pub fn new(wal: Wal<F>, snap: Snapshotter<F>) -> Self {
        Self { wal, snap }
    }

    /// Creates the storage of a new member. `metadata` identifies the member.
    pub fn create(
        fs: F,
        wal_dir: &Path,
        snap_dir: &Path,
        metadata: Option<&[u8]>,
        options: WalOptions,
    ) -> Result<Self> {
        let snap = Snapshotter::new(fs.clone(), snap_dir);
        Ok(Self { wal: Wal::create(fs, wal_dir, metadata, options)?, snap })
    }

    /// Opens a member's storage, also after a crash: the newest snapshot that the log names, and the log
    /// after it. Repairs a torn tail once.
    #[expect(clippy::needless_pass_by_value, reason = "a handle, taken like everywhere else")]
    pub fn open(fs: F, wal_dir: &Path, snap_dir: &Path, options: WalOptions) -> Result<(Self, Restored)> {
        let snap = Snapshotter::new(fs.clone(), snap_dir);
        let known = known_snapshots(&fs, wal_dir, options.strictness)?;
        let snapshot = newest_snapshot(&snap, names::segments(&fs, wal_dir)?[0], &known)?;
        let start = snapshot.as_ref().map_or(SnapshotRecord::default(), Snapshot::record);
        let open = || Wal::open(fs.clone(), wal_dir, &start, options);
        let mut repaired = None;
        let opened = match open() {
            Err(error) if matches!(error.kind(), ErrorKind::Etcd(error) if error.is_torn()) => {
                repaired = repair(&fs, wal_dir)?;
                open()
            }
            opened => opened,
        };
        let (wal, contents) = opened?;
        check_commit(&start, &contents).map_err(|error| Error::from(error).at_path(wal_dir))?;
        // This removes files, so only the owner of the log may do it.
        drop(snap.load_newest_available(&known)?);
        Ok((Self { wal, snap }, Restored { snapshot, contents, repaired }))
    }

    /// The log.
    pub fn wal(&mut self) -> &mut Wal<F> {
        &mut self.wal
    }

    /// The snapshot files.
    pub fn snapshotter(&self) -> &Snapshotter<F> {
        &self.snap
    }
}

impl<F: Fs> Storage for DiskStorage<F> {
    fn save(&mut self, state: &HardState, entries: &[Entry]) -> Result<()> {
        self.wal.save(state, entries)
    }

    fn save_snap(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.snap.save_snap(snapshot)?;
        self.wal.save_snapshot(&snapshot.record())
    }

    fn cut(&mut self) -> Result<()> {
        self.wal.cut()
    }

    fn release(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.wal.release_lock_to(snapshot.index);
        self.snap.release_snap_dbs(&snapshot.record())
    }

    fn sync(&mut self) -> Result<()> {
        self.wal.sync()
    }

    fn close(self) -> Result<()> {
        self.wal.close()
    }
}
