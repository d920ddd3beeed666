//! The live set of TSM files. A reader loads one pointer and never waits.

mod clean;
mod live;
pub(crate) mod name;
mod set;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use tsmith_codecs::{Decoders, FieldType, TimeRange};
use tsmith_tsm::{
    Deletions, ErrorKind as Tsm, KeyEntry, MEMBER_OPEN_AT, Reader, TOMBSTONE_BYTES_MAX, Tombstone,
    TombstoneFile, TombstoneWrite, is_full_block, member_open_mark,
};
use tsmith_wal::fs::{Access, Fs, FsFile, publish_new};

use crate::delete::record::{Deletion, Replayed};
use crate::error::{Context, Error, ErrorKind, Result};

pub(crate) use clean::remove_leftovers;
pub use live::TwoTypes;
pub(crate) use live::{apply_deletes, two_types};
pub use name::{FileName, is_misnamed, tombstones_of, tsm_name_of};
pub(crate) use name::{NUMBER_MAX, RESCUED_SUFFIX};
pub(crate) use set::{Change, FileSet, Writing};

/// An open TSM file with its tombstones. A delete replaces it by another `TsmFile` with the same content.
#[derive(Debug)]
pub struct TsmFile {
    name: FileName,
    path: PathBuf,
    reader: Arc<Reader>,
    tombstones: TombstoneFile,
    /// When points were last deleted from it since it was opened.
    deleted: Option<Instant>,
    full_blocks: Arc<OnceLock<bool>>,
}

impl TsmFile {
    /// Opens the file at `path` and its tombstones, if there are any. Any name that [`tsm_name_of`] accepts
    /// will do. A name without numbers counts as the first file of a directory.
    pub(crate) fn open_path<F: Fs>(fs: &F, path: &Path) -> Result<Self> {
        let Some(name) = path.file_name().and_then(|name| tsm_name_of(name.to_str()?)) else {
            return Err(Error::at("open", path, ErrorKind::NotATsmName));
        };
        let name = FileName::parse(name).unwrap_or(FileName { generation: 1, sequence: 1 });
        let reader = Reader::new(load(fs, path).on("open", path)?).on("open", path)?;
        let tombstones = tombstones_of(path);
        let read = read_tombstones(fs, &tombstones)?;
        match read.torn_bytes() {
            0 => Ok(Self::new(name, path.to_owned(), reader, read)),
            bytes => {
                let kind = ErrorKind::TornTombstones { offset: read.intact_bytes(), bytes };
                Err(Error::at(READ_TOMBSTONES, &tombstones, kind))
            }
        }
    }

    /// Opens a complete file that still has its temporary name. It will get the name `name` in `dir`.
    pub(crate) fn unpublished<F: Fs>(fs: &F, dir: &Path, name: FileName) -> Result<Self> {
        let temporary = dir.join(name.temporary());
        let bytes = load(fs, &temporary).on("open", &temporary)?;
        let reader = Reader::new(bytes).on("open", &temporary)?;
        Ok(Self::new(name, dir.join(name.to_string()), reader, TombstoneFile::default()))
    }

    /// Opens the file `name` of `dir` for an engine. If its tombstones end in a torn batch, the log must show
    /// that a delete was interrupted there. Do not show the file to readers before that check.
    ///
    /// # Errors
    /// The file cannot be read, or its tombstones are corrupt in a way that no crash of ours causes.
    pub(crate) fn open_strictly<F: Fs>(
        fs: &F,
        dir: &Path,
        name: FileName,
    ) -> Result<(Self, Option<TornTombstones>)> {
        let path = dir.join(name.to_string());
        let reader = Reader::new(load(fs, &path).on("open", &path)?).on("open", &path)?;
        let tombstones = path.with_extension("tombstone");
        let read = read_tombstones(fs, &tombstones)?;
        let bytes = read.torn_bytes();
        Ok((Self::new(name, path, reader, read), (bytes > 0).then_some(TornTombstones { name, bytes })))
    }

    fn new(name: FileName, path: PathBuf, reader: Reader, tombstones: TombstoneFile) -> Self {
        let reader = Arc::new(reader);
        Self { name, path, reader, tombstones, deleted: None, full_blocks: Arc::default() }
    }

    /// Its name.
    pub fn name(&self) -> FileName {
        self.name
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a file with a key that has no field.
    pub(crate) fn check_keys(&self) -> Result<()> {
        self.corrupt_keys("open").next().map_or(Ok(()), Err)
    }

    /// An error for each key that has no field. Its points cannot be read, because the right key is unknown.
    pub(crate) fn corrupt_keys(&self, operation: &'static str) -> impl Iterator<Item = Error> {
        self.reader.keys_without_field().map(move |error| Error::at(operation, &self.path, error.into()))
    }

    /// Its content.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The times at which points of `key` were deleted from this file, ascending.
    pub(crate) fn deleted(&self, key: &[u8]) -> &[TimeRange] {
        self.deletions().ranges(key)
    }

    /// All deletions from this file.
    pub(crate) fn deletions(&self) -> &Deletions {
        self.tombstones.deletions()
    }

    /// The type of a composite key in this file. `None` if the key is absent or all its points are deleted.
    pub(crate) fn live_type(&self, composite: &[u8]) -> Option<FieldType> {
        let found = self.reader.find(composite)?;
        (!self.deletions().covers_key(found)).then(|| found.field_type())
    }

    /// When points were last deleted from it. `None` if nothing was deleted since it was opened.
    pub(crate) fn last_deleted(&self) -> Option<Instant> {
        self.deleted
    }

    /// Where its tombstones are, if there are any.
    pub(crate) fn tombstone_path(&self) -> PathBuf {
        self.path.with_extension("tombstone")
    }

    /// Length of the valid part of its tombstones.
    pub(crate) fn tombstone_bytes(&self) -> u64 {
        self.tombstones.intact_bytes()
    }

    /// Whether a full merge would leave its blocks unchanged, judged by the first key with several blocks. `most` is
    /// the number of points of a full block, the same in every call.
    pub(crate) fn has_full_blocks(&self, decoders: &mut Decoders, most: usize) -> bool {
        *self.full_blocks.get_or_init(|| {
            let several = |key: &KeyEntry<'_>| key.block_count() > 1;
            let Some(key) = self.reader.keys().find(several) else { return true };
            let first = key.entry(0).and_then(|entry| self.reader.block(key, entry).ok());
            first.is_some_and(|block| is_full_block(decoders, block, most).unwrap_or(false))
        })
    }

    /// Whether every block is valid. With `most`, every block except the last of each key must also be as
    /// full as a full merge with blocks of `most` points would make it.
    pub(crate) fn has_final_blocks(&self, decoders: &mut Decoders, most: Option<usize>) -> bool {
        let mut is_final = |key: KeyEntry<'_>, at: usize, entry| {
            let Ok(block) = self.reader.known_block(key, entry, decoders) else { return false };
            let is_last = at + 1 == key.block_count();
            is_last || most.is_none_or(|most| is_full_block(decoders, block, most).unwrap_or(false))
        };
        self.reader.keys().all(|key| key.entries().enumerate().all(|(at, entry)| is_final(key, at, entry)))
    }

    /// The tombstones that `deletion` needs in this file: for keys whose points exist and are not deleted
    /// yet.
    pub(crate) fn batch(&self, deletion: &Deletion) -> Vec<Tombstone> {
        if !self.reader.range().overlaps(deletion.range) {
            return Vec::new();
        }
        let is_due = |key: &&Vec<u8>| {
            let Some(found) = self.reader.find(key) else { return false };
            let (all, range) = (found.range(), deletion.range);
            let common = TimeRange::new(all.min.max(range.min), all.max.min(range.max));
            found.entries().any(|entry| entry.range.overlaps(range)) && !self.deletions().covers(key, common)
        };
        deletion.keys.iter().filter(is_due).map(|key| Tombstone::new(key, deletion.range)).collect()
    }

    /// This file with `deletion` applied in memory, for readers that write nothing. `None` if that changes
    /// nothing.
    pub(crate) fn with_deleted(&self, deletion: &Deletion) -> Option<Self> {
        let batch = self.batch(deletion);
        if batch.is_empty() {
            return None;
        }
        let mut tombstones = self.tombstones.clone();
        let write = tombstones.plan(&batch);
        tombstones.wrote(batch, &write);
        Some(self.with(tombstones, None))
    }

    /// Makes the tombstones that were read durable. Their writer may have died or its fsync may have failed
    /// before they were durable. A later fsync of the same file does not help after a failure, so they go to
    /// a new file. If the disk is full, they are written in place again.
    pub(crate) fn rewrite_tombstones<F: Fs>(&self, fs: &F) -> Result<()> {
        const OPERATION: &str = "rewrite tombstones";
        let (path, len) = (self.tombstone_path(), self.tombstone_bytes() as usize);
        if len == 0 {
            return Ok(());
        }
        let again = || {
            let bytes = fs.read_within(&path, TOMBSTONE_BYTES_MAX)?;
            let valid = bytes.get(..len).ok_or(io::ErrorKind::UnexpectedEof)?;
            match publish_new(fs, &path, valid) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    let file = fs.open(&path)?;
                    file.write_all_at(valid, 0)?;
                    file.sync_all()?;
                    fs.sync_dir(path.parent().unwrap_or(Path::new("")))
                }
                done => done,
            }
        };
        again().on(OPERATION, &path)
    }

    /// Durably deletes `batch` and returns the file with its new tombstones.
    ///
    /// The batch is appended to the existing tombstones. The log holds their previous length, so a partly
    /// written batch is cut off after a crash and written again.
    pub(crate) fn write_tombstones<F: Fs>(&self, fs: &F, batch: Vec<Tombstone>) -> Result<Self> {
        const OPERATION: &str = "write tombstones";
        let path = self.tombstone_path();
        let write = self.tombstones.plan(&batch);
        match &write {
            TombstoneWrite::Append { at, members } => append(fs, &path, *at, members).on(OPERATION, &path)?,
            TombstoneWrite::Replace { bytes } => publish_new(fs, &path, bytes).on(OPERATION, &path)?,
        }
        fs.point("delete: tombstones of one file");
        let mut tombstones = self.tombstones.clone();
        tombstones.wrote(batch, &write);
        Ok(self.with(tombstones, Some(Instant::now())))
    }

    /// The same content with other tombstones.
    fn with(&self, tombstones: TombstoneFile, deleted: Option<Instant>) -> Self {
        let Self { name, path, reader, full_blocks, .. } = self;
        let (path, reader, full_blocks) = (path.clone(), reader.clone(), full_blocks.clone());
        Self { name: *name, path, reader, tombstones, deleted, full_blocks }
    }
}

/// Tombstones that end in a torn batch, as a crash during a delete leaves them.
#[derive(Debug)]
pub(crate) struct TornTombstones {
    pub(crate) name: FileName,
    /// Number of bytes after the valid part.
    pub(crate) bytes: u64,
}

impl TornTombstones {
    /// Checks that the log still holds the interrupted delete: its batch begins in the valid part or at its
    /// end, and is incomplete. Tombstones of other programs have no record in the log and must not be cut.
    ///
    /// # Errors
    /// There is no such delete.
    pub(crate) fn explain(&self, file: &TsmFile, deletes: &[Replayed]) -> Result<()> {
        let valid = file.tombstone_bytes();
        let here = |delete: &&Replayed| {
            delete.files.iter().any(|&(name, begin)| name == self.name && begin <= valid)
        };
        if deletes.iter().filter(here).any(|delete| !file.batch(&delete.deletion).is_empty()) {
            return Ok(());
        }
        let kind = ErrorKind::TornTombstones { offset: valid, bytes: self.bytes };
        Err(Error::at(READ_TOMBSTONES, &file.tombstone_path(), kind))
    }
}

/// Each gzip member stays open until all of it is durable. InfluxDB ignores what a crash leaves of an open
/// member. A truncated member makes it rename the TSM file and skip its points.
fn append<F: Fs>(fs: &F, path: &Path, mut at: u64, members: &[Vec<u8>]) -> io::Result<()> {
    let file = fs.open(path)?;
    if file.len()? != at {
        // Old bytes at this place must not appear between the sectors of the new members.
        file.set_len(at)?;
        file.sync_data()?;
    }
    for member in members {
        let mut open = member.clone();
        let Some(place) = open.get_mut(MEMBER_OPEN_AT) else { continue };
        let closed = std::mem::replace(place, member_open_mark(member));
        file.write_all_at(&open, at)?;
        file.sync_data()?;
        file.write_all_at(&[closed], at + MEMBER_OPEN_AT as u64)?;
        file.sync_data()?;
        at += member.len() as u64;
    }
    Ok(())
}

/// The bytes of a TSM file, for tools that inspect a file that may not open.
pub fn read_file(path: &Path) -> Result<Bytes> {
    load(&tsmith_wal::fs::OsFs, path).on("open", path)
}

/// The bytes of a file that does not change. Maps the file if it is a real file, else reads it.
pub(crate) fn load<F: Fs>(fs: &F, path: &Path) -> io::Result<Bytes> {
    let file = fs.open_as(path, Access::Read)?;
    match file.os_file() {
        #[expect(unsafe_code, reason = "the only caller of the file map outside the tsm crate")]
        Some(file) => {
            // SAFETY: a TSM file is complete before it is mapped and not written to afterwards; the engine,
            // which holds the directory's lock, only ever renames and unlinks it.
            unsafe { tsmith_tsm::map_readonly(file) }
        }
        None => file.read_all(u64::MAX).map(Bytes::from),
    }
}

const READ_TOMBSTONES: &str = "read tombstones";

/// Reads a tombstone file. Returns an empty one if there is none.
pub(crate) fn read_tombstones<F: Fs>(fs: &F, path: &Path) -> Result<TombstoneFile> {
    let bytes = match fs.read_within(path, TOMBSTONE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(TombstoneFile::default()),
        bytes => bytes.on(READ_TOMBSTONES, path)?,
    };
    let refuse = |error: tsmith_tsm::Error| match error.kind() {
        // `tsmith repair` cannot help with these.
        Tsm::TombstoneVersion { .. } | Tsm::TombstonesTooLarge { .. } => ErrorKind::Tsm(error),
        _ => ErrorKind::Tombstones(error),
    };
    TombstoneFile::read(&bytes).map_err(refuse).on(READ_TOMBSTONES, path)
}

/// The names of all TSM files of `dir`, in no particular order.
///
/// # Errors
/// The directory cannot be listed, or a name [`is_misnamed`]: to skip that file would hide its points.
pub(crate) fn tsm_names<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<FileName>> {
    let entries = fs.list(dir).on("list", dir)?;
    let names = || entries.iter().filter_map(|name| name.to_str());
    if let Some(name) = names().find(|name| is_misnamed(name)) {
        return Err(Error::at("list", &dir.join(name), ErrorKind::MisnamedTsm));
    }
    Ok(names().filter_map(FileName::parse).collect())
}

/// Whether InfluxDB stores the names of fields or series of a shard in `dir`. A shard has these files before
/// it has a TSM file.
pub fn holds_influxdb_index<F: Fs>(fs: &F, dir: &Path) -> bool {
    let holds = |dir: &Path, is_known: fn(&Path) -> bool| {
        fs.list(dir).is_ok_and(|names| names.iter().any(|name| is_known(Path::new(name))))
    };
    let is_fields = |name: &Path| name == Path::new("fields.idx") || name == Path::new("fields.idxl");
    // Looks at the first partition, because a database may have the name `index`.
    let is_partition = |name: &Path| {
        let known = name.extension().is_some_and(|end| end == "tsl" || end == "tsi");
        known || name == Path::new("MANIFEST")
    };
    holds(dir, is_fields) || holds(&dir.join("index/0"), is_partition)
}

#[cfg(test)]
mod tests {
    use tsmith_wal::testing::SimFs;

    use super::*;

    /// Story: `9-1.tsm` was ignored, although InfluxDB reads it. Its points silently did not appear.
    #[test]
    fn a_name_that_only_influxdb_reads_is_an_error() {
        let fs = SimFs::default();
        let dir = Path::new("/shard");
        fs.create_dir_all(dir).expect("a directory");
        for (name, misnamed) in [
            ("9-1.tsm", true),
            ("1000000000-000000001.tsm", true),
            ("000000001-000000001.copy.tsm", true),
            ("4294967296-1.tsm", false),
            ("+9-1.tsm", false),
            ("9-1.tsm.bad", false),
            ("copy.tsm", false),
            ("000000001-000000001.tsm", false),
        ] {
            fs.create_new(&dir.join(name)).expect("a file");
            let names = tsm_names(&fs, dir);
            assert_eq!(is_misnamed(name), misnamed, "{name}");
            assert_eq!(
                names.as_ref().is_err_and(|error| {
                    error.path() == Some(&dir.join(name)) && matches!(error.kind(), ErrorKind::MisnamedTsm)
                }),
                misnamed,
                "{names:?}"
            );
            fs.remove(&dir.join(name)).expect("removed");
        }
    }
}
