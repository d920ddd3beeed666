//! Snapshot files of etcd: `<term, 16 hex>-<index, 16 hex>.snap`, one checksum over all.
//!
//! ```text
//! ┌──────────────────┬───────────────────────────────────────────────────────────────┐
//! │ 08 crc <1..5B>   │ 12 len │ snapshot: 0a data │ 12 membership, index, term          │
//! └──────────────────┴───────────────────────────────────────────────────────────────┘
//! ```
//!
//! The newest is the greatest name. A file exists for good only when the log has its record, which is written after
//! it; so a torn one is set aside, and one without a record is passed over.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::encoder::observed;
use super::names::hex16;
use super::proto::{decode_checked, encode_checked};
use super::wal::purge;
use super::{Flaw, Histogram, Snapshot, SnapshotRecord};
use crate::crc32c;
use crate::fs::{Fs, FsFile, OsFs};
use crate::{Error, Result};

const SUFFIX: &str = ".snap";
const DATABASE_SUFFIX: &str = ".snap.db";

/// The snapshot files of a directory.
#[derive(Debug)]
pub struct Snapshotter<F: Fs = OsFs> {
    fs: F,
    dir: PathBuf,
    syncs: Arc<Histogram>,
}

/// The name of a snapshot's file.
pub fn file_name(snapshot: &SnapshotRecord) -> String {
    format!("{:016x}-{:016x}{SUFFIX}", snapshot.term, snapshot.index)
}

/// The snapshot in these bytes of a file.
pub fn decode(bytes: &[u8]) -> Result<Snapshot, Flaw> {
    if bytes.is_empty() {
        return Err(Flaw::SnapshotEmpty);
    }
    let (stored, data) = decode_checked(bytes)?;
    // A true checksum of zero cannot be told from none, in etcd's files.
    if data.is_empty() || stored == 0 {
        return Err(Flaw::SnapshotEmpty);
    }
    let computed = crc32c::hash(data);
    if computed != stored {
        return Err(Flaw::SnapshotCrc { stored, computed });
    }
    Snapshot::decode(data)
}

/// The bytes of a snapshot's file.
pub fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let data = snapshot.encode();
    encode_checked(crc32c::hash(&data), &data)
}

impl<F: Fs> Snapshotter<F> {
    /// Of this directory, which is made with the first snapshot.
    pub fn new(fs: F, dir: &Path) -> Self {
        Self { fs, dir: dir.to_path_buf(), syncs: Arc::new(Histogram::snap_fsync()) }
    }

    /// Where the files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The latencies of its syncs.
    pub fn syncs(&self) -> &Arc<Histogram> {
        &self.syncs
    }

    /// Writes the file of a snapshot, durably and whole or not at all; an empty snapshot has none.
    ///
    /// etcd writes it under its final name, without syncing the directory, and relies on the checksum and on the
    /// record in the log that comes after. The file is the same.
    pub fn save_snap(&self, snapshot: &Snapshot) -> Result<()> {
        if snapshot.index == 0 {
            return Ok(());
        }
        let at = |operation, path: &Path, error| Error::io(operation, error).at_path(path);
        self.fs.create_dir_all(&self.dir).map_err(|error| at("create directory", &self.dir, error))?;
        let path = self.dir.join(file_name(&snapshot.record()));
        let temporary = path.with_extension("snap.tmp");
        drop(self.fs.remove(&temporary));
        let file = self.fs.create_new(&temporary).map_err(|error| at("create", &temporary, error))?;
        let written = file.write_all_at(&encode(snapshot), 0);
        let published = written.map_err(|error| at("write", &temporary, error)).and_then(|()| {
            observed(&self.syncs, || path.clone(), || self.fs.publish(&file, &temporary, &path))
        });
        if published.is_err() {
            drop(self.fs.remove(&temporary));
        }
        published
    }

    /// The snapshot of one file.
    pub fn read(&self, path: &Path) -> Result<Snapshot> {
        let bytes = self.fs.read(path).map_err(|error| Error::io("read", error).at_path(path))?;
        decode(&bytes).map_err(|flaw| Error::from(flaw).at_path(path))
    }

    /// The newest snapshot that can be read; those that cannot are renamed to `<name>.broken`.
    pub fn load(&self) -> Result<Option<Snapshot>> {
        self.load_matching(|_| true)
    }

    /// The newest snapshot that the log knows: one without a record is of a crash between file and record.
    pub fn load_newest_available(&self, known: &[SnapshotRecord]) -> Result<Option<Snapshot>> {
        self.load_matching(|snapshot| {
            known.iter().any(|record| (record.term, record.index) == (snapshot.term, snapshot.index))
        })
    }

    fn load_matching(&self, wanted: impl Fn(&Snapshot) -> bool) -> Result<Option<Snapshot>> {
        for path in self.newest_first()? {
            match self.read(&path) {
                Ok(snapshot) if wanted(&snapshot) => return Ok(Some(snapshot)),
                Ok(_) => {}
                // A file that the disk does not give is not known to be broken.
                Err(error) if !matches!(error.kind(), crate::ErrorKind::Etcd(_)) => return Err(error),
                Err(error) => {
                    let mut broken = path.clone().into_os_string();
                    broken.push(".broken");
                    tracing::warn!(%error, "set a snapshot aside");
                    let renamed = self.fs.rename(&path, Path::new(&broken));
                    renamed.map_err(|error| Error::io("rename", error).at_path(&path))?;
                }
            }
        }
        Ok(None)
    }

    /// The files whose names end as those of snapshots do. Unfinished databases are removed.
    fn newest_first(&self) -> Result<Vec<PathBuf>> {
        let names = match self.fs.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            names => names.map_err(|error| Error::io("list", error).at_path(&self.dir))?,
        };
        let mut paths = Vec::new();
        for name in names.iter().rev() {
            let path = self.dir.join(name);
            match name.to_str() {
                Some(name) if name.ends_with(SUFFIX) => paths.push(path),
                Some(name) if name.starts_with("db.tmp") || name.ends_with(".snap.tmp") => {
                    self.fs.remove(&path).map_err(|error| Error::io("remove", error).at_path(&path))?;
                }
                _ => {}
            }
        }
        Ok(paths)
    }

    /// Removes received databases (`<index, 16 hex>.snap.db`) of before `snapshot`.
    pub fn release_snap_dbs(&self, snapshot: &SnapshotRecord) -> Result<()> {
        let names = self.fs.list(&self.dir).map_err(|error| Error::io("list", error).at_path(&self.dir))?;
        for name in names {
            let index = name.to_str().and_then(|name| hex16(name.strip_suffix(DATABASE_SUFFIX)?));
            if index.is_some_and(|index| index < snapshot.index) {
                let path = self.dir.join(&name);
                tracing::info!(path = %path.display(), "remove a database of before the snapshot");
                self.fs.remove(&path).map_err(|error| Error::io("remove", error).at_path(&path))?;
            }
        }
        Ok(())
    }

    /// Removes the oldest snapshots until `keep` are left.
    pub fn purge(&self, keep: usize) -> Result<Vec<PathBuf>> {
        purge(&self.fs, &self.dir, SUFFIX, keep)
    }
}

/// Whether a file has a name that etcd takes for a snapshot's.
pub fn is_snapshot(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.ends_with(SUFFIX))
}
