//! The files of a snapshot: TSM files under a second name, so that they stay as long as they are needed.
//!
//! ```text
//! DIR/files-<index>/000000001-000000001.tsm ...     hard links, or received files
//! list (in the snapshot file):  applied <n>\n  <name> <bytes> <CRC-32 of all but the blocks>\n ...
//! ```

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tsmith_wal::fs::{Fs, FsFile};

use super::error::io as failed;
use super::{Error, Result};
use crate::files::{FileName, TsmFile};

/// Bytes copied per step.
const COPY_BYTES: usize = 1 << 20;

/// Whether a file or directory of this name belongs to a replica.
pub(super) fn is_of_replica(name: &Path) -> bool {
    let numbered = |prefix| number(name.as_os_str(), prefix).is_some();
    numbered("engine-") || numbered("files-") || name == Path::new("wal") || name == Path::new("snap")
}

/// The content of a snapshot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    /// The index of the last entry in the files.
    pub(super) applied: u64,
    pub(super) files: Vec<Listed>,
}

/// A file at the time the list was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: FileName,
    pub(super) bytes: u64,
    /// Checksum of header and index, which no block checksum covers:
    /// [`Reader::frame_checksum`](tsmith_tsm::Reader::frame_checksum).
    pub(super) frame: u32,
}

impl List {
    /// The list of these files.
    pub(super) fn of(applied: u64, files: &[Arc<TsmFile>]) -> Self {
        let file = |file: &Arc<TsmFile>| {
            let reader = file.reader();
            Listed { name: file.name(), bytes: reader.file_bytes(), frame: reader.frame_checksum() }
        };
        Self { applied, files: files.iter().map(file).collect() }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = format!("applied {}\n", self.applied);
        for Listed { name, bytes, frame } in &self.files {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name} {bytes} {frame:08x}");
        }
        text.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = || Error::Corrupt("a list of files");
        let mut lines = std::str::from_utf8(bytes).map_err(|_| corrupt())?.lines();
        let applied = lines.next().and_then(|line| line.strip_prefix("applied ")?.parse().ok());
        let file = |line: &str| {
            let mut words = line.split(' ');
            // Only names of TSM files are accepted, so no name leads to another directory.
            let name = FileName::parse(words.next()?)?;
            let bytes = words.next()?.parse().ok()?;
            let frame = u32::from_str_radix(words.next()?, 16).ok()?;
            words.next().is_none().then_some(Listed { name, bytes, frame })
        };
        let files = lines.map(|line| file(line).ok_or_else(corrupt)).collect::<Result<_>>()?;
        Ok(Self { applied: applied.ok_or_else(corrupt)?, files })
    }
}

/// The directory of the snapshot at `index`.
pub(super) fn directory(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("files-{index:016x}"))
}

/// Removes a directory with its files, if it exists.
pub(super) fn clear<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(dir, error)),
        Ok(names) => {
            for name in names {
                let path = dir.join(name);
                match fs.remove(&path) {
                    Err(_) if fs.list(&path).is_ok() => clear(fs, &path)?,
                    done => done.map_err(|error| failed(&path, error))?,
                }
            }
        }
    }
    fs.remove_dir(dir).map_err(|error| failed(dir, error))
}

/// Lets `fill` fill a temporary directory and durably renames it to `to`.
pub(super) fn publish<F: Fs>(fs: &F, to: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = begin(fs, to)?;
    fill(&temporary)?;
    finish(fs, &temporary, to)
}

/// Creates an empty temporary directory for `to`. Opening the replica removes it after a crash.
pub(super) fn begin<F: Fs>(fs: &F, to: &Path) -> Result<PathBuf> {
    let temporary = to.with_extension("tmp");
    clear(fs, &temporary)?;
    fs.create_dir_all(&temporary).map_err(|error| failed(&temporary, error))?;
    Ok(temporary)
}

/// Durably renames a directory whose files are durable.
pub(super) fn finish<F: Fs>(fs: &F, temporary: &Path, to: &Path) -> Result<()> {
    fs.sync_dir(temporary).map_err(|error| failed(temporary, error))?;
    clear(fs, to)?;
    fs.rename(temporary, to).map_err(|error| failed(to, error))?;
    let above = to.parent().unwrap_or(Path::new("."));
    fs.sync_dir(above).map_err(|error| failed(above, error))
}

/// Links the files of a list from one directory to another, or copies them if links fail.
pub(super) fn link_all<F: Fs>(fs: &F, list: &List, from: &Path, to: &Path) -> Result<()> {
    for Listed { name, .. } in &list.files {
        let (old, new) = (from.join(name.to_string()), to.join(name.to_string()));
        if fs.link(&old, &new).is_err() {
            copy(fs, &old, &new).map_err(|error| failed(&old, error))?;
        }
    }
    Ok(())
}

fn copy<F: Fs>(fs: &F, from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (fs.open(from)?, fs.create_new(to)?);
    let mut at = 0;
    loop {
        let bytes = read_at(&from, at, COPY_BYTES)?;
        if bytes.is_empty() {
            return to.sync_all();
        }
        to.write_all_at(&bytes, at)?;
        at += bytes.len() as u64;
    }
}

/// Up to `len` bytes of a file from `offset` on; fewer only at its end. Allocates no more than it reads.
pub(super) fn read_at(file: &impl FsFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let left = file.len()?.saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(left).map_or(len, |left| left.min(len))];
    let len = file.read_full_at(&mut bytes, offset)?;
    bytes.truncate(len);
    Ok(bytes)
}

/// Whether all files of a list exist with the listed length.
pub(super) fn are_complete<F: Fs>(fs: &F, dir: &Path, list: &List) -> bool {
    let len = |name: &FileName| fs.open(&dir.join(name.to_string())).and_then(|file| file.len());
    list.files.iter().all(|file| len(&file.name).is_ok_and(|len| len == file.bytes))
}

/// Removes the files of snapshots whose index `old` accepts.
pub(super) fn purge<F: Fs>(fs: &F, dir: &Path, old: impl Fn(u64) -> bool) -> Result<()> {
    let names = fs.list(dir).map_err(|error| failed(dir, error))?;
    for name in &names {
        if number(name, "files-").is_some_and(&old) {
            clear(fs, &dir.join(name))?;
        }
    }
    Ok(())
}

/// Whether this is the name of a temporary directory of ours. Other `.tmp` names are not ours.
pub(super) fn is_unfinished(name: &OsStr) -> bool {
    let of = |prefix| Path::new(name).file_stem().is_some_and(|stem| number(stem, prefix).is_some());
    Path::new(name).extension() == Some("tmp".as_ref()) && (of("engine-") || of("files-"))
}

/// The number after `prefix` in a name.
pub(super) fn number(name: &OsStr, prefix: &str) -> Option<u64> {
    u64::from_str_radix(name.to_str()?.strip_prefix(prefix)?, 16).ok()
}
