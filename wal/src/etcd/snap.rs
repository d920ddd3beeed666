//! etcd's snapshot files: `<term, 16 hex>-<index, 16 hex>.snap`, with one checksum over the content.
//!
//! ```text
//! ┌──────────────────┬───────────────────────────────────────────────────────────────┐
//! │ 08 crc <1..5B>   │ 12 len │ snapshot: 0a data │ 12 membership, index, term          │
//! └──────────────────┴───────────────────────────────────────────────────────────────┘
//! ```
//!
//! The newest snapshot has the greatest name. A snapshot counts only once the log has its record, which is
//! written after the file. So a torn file is quarantined, and a file without a record is ignored.
//!
//! `<index, 16 hex>.snap.db` is a database that a member received with the snapshot of that index. This
//! module does not interpret it. The file gets its name when it is complete, and is removed when a later
//! snapshot is released.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::{self, hex16};
use super::proto::{decode_checked, encode_checked};
use super::wal::purge;
use super::{EtcdError, Snapshot, SnapshotRecord, SyncLatencies};
use crate::crc32c;
use crate::error::AtPath;
use crate::fs::{FileWriter, Fs, FsFile, NotRegular, OsFs, create_temporary, remove_if_there};
use crate::{Error, ErrorKind, Result, directory};

/// Buffer size while a database is received.
const COPY_BYTES: usize = 256 << 10;

/// Largest snapshot file: a protobuf message is smaller than 2 GiB.
pub const SNAPSHOT_BYTES_MAX: u64 = 1 << 31;

const SUFFIX: &str = ".snap";
const DATABASE_SUFFIX: &str = ".snap.db";
const BROKEN_SUFFIX: &str = ".broken";

/// The snapshot files of a directory.
#[derive(Debug)]
pub struct Snapshotter<F: Fs = OsFs> {
    fs: F,
    dir: PathBuf,
    syncs: Arc<SyncLatencies>,
    database_syncs: Arc<SyncLatencies>,
}

impl SnapshotRecord {
    /// The name of the snapshot's file.
    pub fn file_name(&self) -> String {
        format!("{:016x}-{:016x}{SUFFIX}", self.term, self.index)
    }
}

impl Snapshot {
    /// Decodes the content of a snapshot file.
    pub fn from_file(bytes: &[u8]) -> Result<Self, EtcdError> {
        if bytes.is_empty() {
            return Err(EtcdError::SnapshotEmpty);
        }
        let (stored, data) = decode_checked(bytes)?;
        // In etcd's files a checksum of zero means that there is none.
        if data.is_empty() || stored == 0 {
            return Err(EtcdError::SnapshotEmpty);
        }
        let computed = crc32c::hash(data);
        if computed != stored {
            return Err(EtcdError::SnapshotCrc { stored, computed });
        }
        Self::decode(data)
    }
}

/// Encodes the content of a snapshot file.
pub(crate) fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let data = snapshot.encode();
    encode_checked(crc32c::hash(&data), &data)
}

impl<F: Fs> Snapshotter<F> {
    /// The snapshots in this directory, which is created with the first snapshot.
    pub fn new(fs: F, dir: &Path) -> Self {
        let (syncs, database_syncs) = (SyncLatencies::of_snapshots(), SyncLatencies::of_databases());
        let (syncs, database_syncs) = (Arc::new(syncs), Arc::new(database_syncs));
        Self { fs, dir: dir.to_path_buf(), syncs, database_syncs }
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Latencies of snapshot syncs.
    pub fn syncs(&self) -> &Arc<SyncLatencies> {
        &self.syncs
    }

    /// Latencies of database syncs.
    #[cfg(test)]
    fn database_syncs(&self) -> &Arc<SyncLatencies> {
        &self.database_syncs
    }

    /// Writes a snapshot file, durably and atomically. An empty snapshot has no file.
    ///
    /// etcd writes it under its final name without syncing the directory, and relies on the checksum and the
    /// later record in the log. The resulting file is the same.
    pub fn save_snap(&self, snapshot: &Snapshot) -> Result<()> {
        if snapshot.index == 0 {
            return Ok(());
        }
        let path = self.dir.join(snapshot.record().file_name());
        self.publish(&path, &self.syncs, |file| file.write_all_at(&encode(snapshot), 0).map(|()| file))
    }

    /// Publishes a file that `fill` writes: afterwards it is durable and complete, or does not exist.
    fn publish(
        &self,
        path: &Path,
        syncs: &SyncLatencies,
        fill: impl FnOnce(F::File) -> io::Result<F::File>,
    ) -> Result<()> {
        self.fs.create_dir_all(&self.dir).at("create directory", &self.dir)?;
        let (temporary, file) = create_temporary(&self.fs, path).at("create", path)?;
        let published = fill(file).at("write", &temporary).and_then(|file| {
            syncs.observe(|| path.to_path_buf(), || self.fs.publish(&file, &temporary, path))
        });
        published.inspect_err(|_| drop(self.fs.remove(&temporary)))
    }

    /// Writes the database received with the snapshot at `index`. As in etcd, an existing database stays, and
    /// then `from` is not read.
    pub fn save_snap_db(&self, index: u64, from: &mut impl Read) -> Result<()> {
        if self.snap_db(index)?.is_some() {
            return Ok(());
        }
        self.publish(&self.database_path(index), &self.database_syncs, |file| {
            let mut file = BufWriter::with_capacity(COPY_BYTES, FileWriter::new(file));
            io::copy(from, &mut file)?;
            file.into_inner()?.finish()
        })
    }

    /// The path of the database of the snapshot at `index`, if it exists.
    pub fn snap_db(&self, index: u64) -> Result<Option<PathBuf>> {
        let path = self.database_path(index);
        let is_there = self.names()?.iter().any(|name| path.file_name() == Some(name));
        Ok(is_there.then_some(path))
    }

    fn database_path(&self, index: u64) -> PathBuf {
        self.dir.join(format!("{index:016x}{DATABASE_SUFFIX}"))
    }

    /// The names in the directory. Empty before the first snapshot.
    fn names(&self) -> Result<Vec<OsString>> {
        directory::list_if_there(&self.fs, &self.dir)
    }

    /// Reads a snapshot file.
    pub fn read(&self, path: &Path) -> Result<Snapshot> {
        let bytes = self.fs.read_within(path, SNAPSHOT_BYTES_MAX).at("read", path)?;
        Snapshot::from_file(&bytes).map_err(|error| Error::from(error).at_path(path))
    }

    /// Loads the newest readable snapshot. Renames unreadable ones to `<name>.broken`.
    pub fn load(&self) -> Result<Option<Snapshot>> {
        self.newest_tidied(|_| true)
    }

    /// Loads the newest snapshot that the log has a record of. A snapshot without a record was left by a
    /// crash.
    pub fn load_newest_available(&self, known: &[SnapshotRecord]) -> Result<Option<Snapshot>> {
        self.newest_tidied(|snapshot| is_known(known, snapshot))
    }

    /// The same without changing anything: unreadable snapshots are skipped.
    pub(super) fn newest_readable(&self, known: &[SnapshotRecord]) -> Result<Option<Snapshot>> {
        self.newest(|snapshot| is_known(known, snapshot)).map(|(newest, _)| newest)
    }

    /// The intact snapshots with an index above `last`, lowest index first.
    pub(super) fn intact_beyond(&self, last: u64) -> Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for name in self.names()? {
            let numbers = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.split_once('-'));
            if numbers.and_then(|(_, index)| hex16(index)).is_none_or(|index| index <= last) {
                continue;
            }
            let path = self.dir.join(&name);
            if let Ok(snapshot) = self.look(&path)?
                && snapshot.index > last
            {
                found.push((snapshot.index, path));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The newest wanted snapshot. First removes or renames what a crash or corruption left.
    fn newest_tidied(&self, wanted: impl Fn(&Snapshot) -> bool) -> Result<Option<Snapshot>> {
        let (newest, corrupt) = self.newest(wanted)?;
        for path in corrupt {
            let mut broken = path.clone().into_os_string();
            broken.push(BROKEN_SUFFIX);
            tracing::warn!(path = %path.display(), "quarantined a snapshot");
            self.fs.rename(&path, Path::new(&broken)).at("rename", &path)?;
        }
        for path in self.names()?.iter().filter(|name| is_unfinished(name)).map(|name| self.dir.join(name)) {
            self.fs.remove(&path).at("remove", &path)?;
        }
        Ok(newest)
    }

    /// The newest wanted snapshot, and the newer files that are corrupt.
    fn newest(&self, wanted: impl Fn(&Snapshot) -> bool) -> Result<(Option<Snapshot>, Vec<PathBuf>)> {
        let (names, mut corrupt) = (self.names()?, Vec::new());
        for path in names.iter().rev().filter(|name| is_snapshot(name)).map(|name| self.dir.join(name)) {
            match self.look(&path)? {
                Ok(snapshot) if wanted(&snapshot) => return Ok((Some(snapshot), corrupt)),
                Err(error) if matches!(error.kind(), ErrorKind::Etcd(_)) => corrupt.push(path),
                _ => {}
            }
        }
        Ok((None, corrupt))
    }

    /// The snapshot in a file, or why it is invalid. A file that cannot be read from the disk may not be
    /// corrupt.
    fn look(&self, path: &Path) -> Result<Result<Snapshot>> {
        match self.read(path) {
            Err(error) if !matches!(error.kind(), ErrorKind::Etcd(_)) && !is_no_file(&error) => Err(error),
            found => Ok(found),
        }
    }

    /// Removes the received databases (`<index, 16 hex>.snap.db`) older than `snapshot`.
    pub fn release_snap_dbs(&self, snapshot: &SnapshotRecord) -> Result<()> {
        for name in self.names()? {
            let index = name.to_str().and_then(|name| hex16(name.strip_suffix(DATABASE_SUFFIX)?));
            if index.is_some_and(|index| index < snapshot.index) {
                let path = self.dir.join(&name);
                tracing::info!(path = %path.display(), "remove a database older than the snapshot");
                remove_if_there(&self.fs, &path).at("remove", &path)?;
            }
        }
        Ok(())
    }

    /// Removes the oldest snapshots until `keep` remain.
    pub fn purge(&self, keep: usize) -> Result<Vec<PathBuf>> {
        purge(&self.fs, &self.dir, SUFFIX, keep)
    }

    /// Removes the oldest databases until `keep` remain.
    pub fn purge_snap_dbs(&self, keep: usize) -> Result<Vec<PathBuf>> {
        purge(&self.fs, &self.dir, DATABASE_SUFFIX, keep)
    }
}

/// Whether the file is a directory or a link, or no longer exists.
fn is_no_file(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Io { source, .. } => NotRegular::is(source) || source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Whether the log has a record of the snapshot. Other fields of the record can differ between versions.
fn is_known(known: &[SnapshotRecord], snapshot: &Snapshot) -> bool {
    known.iter().any(|record| (record.term, record.index) == (snapshot.term, snapshot.index))
}

/// Temporary files: of snapshots, of databases, and of etcd's own database.
fn is_unfinished(name: &OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    name.starts_with("db.tmp") || name.ends_with(".snap.tmp") || name.ends_with(".snap.db.tmp")
}

/// Whether etcd treats a file of this name as a snapshot.
pub fn is_snapshot(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.ends_with(SUFFIX))
}

/// Whether a file has the exact name of a snapshot: `<term, 16 hex>-<index, 16 hex>.snap`.
pub fn is_numbered_snapshot(name: &OsStr) -> bool {
    names::is_numbered(name, SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fault, SimFs};

    const DIR: &str = "/m/snap";

    fn names(fs: &SimFs) -> Vec<String> {
        let names = fs.list(Path::new(DIR)).unwrap_or_default();
        names.into_iter().map(|name| name.into_string().expect("ASCII")).collect()
    }

    /// As etcd's `TestSaveDBFrom`, `TestDBFilePath`, `TestReleaseSnapDBs`: databases are found by index, the
    /// first one stays, older ones are released, and files with other names are left alone.
    #[test]
    fn databases_are_saved_found_and_released() {
        let (fs, dir) = (SimFs::default(), Path::new(DIR));
        let snapshotter = Snapshotter::new(fs.clone(), dir);
        snapshotter.release_snap_dbs(&SnapshotRecord::new(9, 1)).expect("nothing is there yet");
        assert_eq!(snapshotter.snap_db(1).expect("looks"), None);
        let long: Vec<u8> = (0..2 * COPY_BYTES + 7).map(|at| (at % 251) as u8).collect();
        for (index, bytes) in [(1, &b"one"[..]), (10, &long), (10, b"again"), (0x1ff, b"")] {
            snapshotter.save_snap_db(index, &mut &*bytes).expect("saves");
        }
        let path = snapshotter.snap_db(10).expect("looks").expect("is there");
        assert_eq!(path, dir.join("000000000000000a.snap.db"));
        assert_eq!(fs.read(&path).expect("reads"), long);
        assert_eq!(snapshotter.database_syncs().count(), 3);
        for name in ["ghost.snap.db", "000000000000000g.snap.db", "db"] {
            fs.create_new(&dir.join(name)).expect("creates");
        }
        snapshotter.release_snap_dbs(&SnapshotRecord::new(10, 1)).expect("releases");
        let left = ["000000000000000a.snap.db", "000000000000000g.snap.db", "00000000000001ff.snap.db"];
        assert_eq!(names(&fs), [&left[..], &["db", "ghost.snap.db"]].concat());
        assert_eq!(snapshotter.load().expect("loads"), None);
        assert_eq!(names(&fs).len(), 5);
        assert_eq!(snapshotter.purge_snap_dbs(1).expect("purges"), [dir.join(left[0])]);
    }

    /// A database is complete once it has its name. The next start removes an incomplete one.
    #[test]
    fn a_database_is_complete_or_absent() {
        let bytes: Vec<u8> = (0..COPY_BYTES + 5000).map(|at| (at % 241) as u8).collect();
        let save = |fs: &SimFs| Snapshotter::new(fs.clone(), Path::new(DIR)).save_snap_db(7, &mut &*bytes);
        let complete = SimFs::default();
        save(&complete).expect("saves");
        let check = |fs: &SimFs, saved: bool, at: &str| {
            let snapshotter = Snapshotter::new(fs.clone(), Path::new(DIR));
            snapshotter.load().expect("loads");
            match snapshotter.snap_db(7).expect("looks") {
                Some(path) => assert!(fs.read(&path).expect("reads") == bytes, "{at}: incomplete"),
                None => assert!(!saved, "{at}: was saved"),
            }
            assert!(names(fs).len() <= 1, "{at}: {:?}", names(fs));
        };
        for stop in 1..=complete.operations() + 1 {
            let fs = SimFs::default();
            fs.stop_at(stop);
            let saved = save(&fs).is_ok();
            (0..8).for_each(|seed| check(&fs.crash(seed), saved, &format!("stop {stop}, seed {seed}")));
        }
        for at in 1..=complete.operations() {
            for fault in [Fault::Io, Fault::Full] {
                let fs = SimFs::default();
                fs.fail_at(at, fault);
                let saved = save(&fs).is_ok();
                (0..4).for_each(|seed| check(&fs.crash(seed), saved, &format!("{fault:?} at {at}")));
            }
        }
        let fs = SimFs::default();
        let snapshotter = Snapshotter::new(fs.clone(), Path::new(DIR));
        let mut broken = (&bytes[..9000]).chain(Broken);
        let error = snapshotter.save_snap_db(7, &mut broken).expect_err("the sender fails");
        assert!(
            matches!(error.kind(), ErrorKind::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe),
            "{error}"
        );
        assert_eq!(names(&fs), [""; 0]);
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
}
