//! The files of a snapshot: TSM files under a second name, so that they stay while they are wanted.
//!
//! ```text
//! DIR/files-<index>/000000001-000000001.tsm ...     hard links, or what was received
//! list (in the snapshot file):  applied <n>\n  <name> <bytes>\n ...
//! on the wire:                  list length <4B, LE>, list, the files in its order
//! ```

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use tsmith_wal::fs::{Fs, FsFile};

use super::{Error, Result, io as failed};
use crate::files::FileName;

/// What a snapshot consists of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    /// The last entry whose lines are in the files.
    pub(super) applied: u64,
    pub(super) files: Vec<(FileName, u64)>,
}

impl List {
    /// Of all files together.
    fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |bytes, (_, len)| bytes.saturating_add(*len))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = format!("applied {}\n", self.applied);
        for (name, len) in &self.files {
            // A string takes everything.
            let _ = writeln!(text, "{name} {len}");
        }
        text.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = || Error::Corrupt("a list of files");
        let mut lines = std::str::from_utf8(bytes).map_err(|_| corrupt())?.lines();
        let applied = lines.next().and_then(|line| line.strip_prefix("applied ")?.parse().ok());
        let file = |line: &str| {
            let (name, len) = line.split_once(' ')?;
            // Only names of TSM files: none leads anywhere else.
            Some((FileName::parse(name)?, len.parse().ok()?))
        };
        let files = lines.map(|line| file(line).ok_or_else(corrupt)).collect::<Result<_>>()?;
        Ok(Self { applied: applied.ok_or_else(corrupt)?, files })
    }
}

/// Where the files of the snapshot at `index` are.
pub(super) fn directory(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("files-{index:016x}"))
}

/// Removes a directory with the files in it, if it is there.
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

/// Fills `to` by `fill` under another name, then gives it its name, durably.
pub(super) fn publish<F: Fs>(fs: &F, to: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = to.with_extension("tmp");
    clear(fs, &temporary)?;
    clear(fs, to)?;
    fs.create_dir_all(&temporary).map_err(|error| failed(&temporary, error))?;
    fill(&temporary)?;
    fs.sync_dir(&temporary).map_err(|error| failed(&temporary, error))?;
    fs.rename(&temporary, to).map_err(|error| failed(to, error))?;
    let above = to.parent().unwrap_or(Path::new("."));
    fs.sync_dir(above).map_err(|error| failed(above, error))
}

/// Links the files of a list from one directory to another; copies them where links cannot be.
pub(super) fn link_all<F: Fs>(fs: &F, list: &List, from: &Path, to: &Path) -> Result<()> {
    for (name, _) in &list.files {
        let (old, new) = (from.join(name.to_string()), to.join(name.to_string()));
        if fs.link(&old, &new).is_err() {
            let bytes = fs.read(&old).map_err(|error| failed(&old, error))?;
            write(fs, &new, &bytes)?;
        }
    }
    Ok(())
}

fn write<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) -> Result<()> {
    let written = fs.create_new(path).and_then(|file| {
        file.write_all_at(bytes, 0)?;
        file.sync_all()
    });
    written.map_err(|error| failed(path, error))
}

/// List and files as one message carries them; of files that are more than `limit` only the list.
pub(super) fn pack<F: Fs>(fs: &F, dir: &Path, index: u64, list: &[u8], limit: u64) -> Result<Vec<u8>> {
    let mut out = (list.len() as u32).to_le_bytes().to_vec();
    out.extend_from_slice(list);
    let list = List::decode(list)?;
    if list.bytes() > limit {
        tracing::warn!(index, bytes = list.bytes(), limit, "a snapshot is sent without its files");
        return Ok(out);
    }
    for (name, len) in list.files {
        let path = directory(dir, index).join(name.to_string());
        let bytes = fs.read(&path).map_err(|error| failed(&path, error))?;
        if bytes.len() as u64 != len {
            return Err(Error::Corrupt("a file of the length that it had"));
        }
        out.extend_from_slice(&bytes);
    }
    Ok(out)
}

/// Puts the files of a message beside ours, unless they are there. Gives the list.
pub(super) fn receive<F: Fs>(fs: &F, dir: &Path, index: u64, packed: &[u8]) -> Result<Vec<u8>> {
    let corrupt = || Error::Corrupt("a snapshot with its files");
    let (len, rest) = packed.split_first_chunk().ok_or_else(corrupt)?;
    let (list, mut rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(corrupt)?;
    let files = List::decode(list)?;
    let to = directory(dir, index);
    // Ours of that index are as good, and may be in use.
    if fs.list(&to).is_ok() && (!rest.is_empty() || are_whole(fs, &to, &files)) {
        return Ok(list.to_vec());
    }
    if rest.is_empty() && files.bytes() > 0 {
        return Err(Error::FilesElsewhere { index, bytes: files.bytes(), to });
    }
    let mut contents = Vec::new();
    for (name, len) in files.files {
        let len = usize::try_from(len).map_err(|_| corrupt())?;
        let (bytes, after) = rest.split_at_checked(len).ok_or_else(corrupt)?;
        contents.push((name, bytes));
        rest = after;
    }
    publish(fs, &to, |to| {
        contents.iter().try_for_each(|(name, bytes)| write(fs, &to.join(name.to_string()), bytes))
    })?;
    Ok(list.to_vec())
}

/// Whether all files of a list are there with the length they should have: somebody may be copying them.
fn are_whole<F: Fs>(fs: &F, dir: &Path, list: &List) -> bool {
    let len = |name: &FileName| fs.open(&dir.join(name.to_string())).and_then(|file| file.len());
    list.files.iter().all(|(name, bytes)| len(name).is_ok_and(|len| len == *bytes))
}

/// Removes the files of snapshots before `index`, and what was not finished.
pub(super) fn purge<F: Fs>(fs: &F, dir: &Path, index: u64) -> Result<()> {
    let names = fs.list(dir).map_err(|error| failed(dir, error))?;
    for name in &names {
        if number(name, "files-").is_some_and(|of| of < index) {
            clear(fs, &dir.join(name))?;
        }
    }
    Ok(())
}

/// The number in a name after `prefix`.
pub(super) fn number(name: &OsStr, prefix: &str) -> Option<u64> {
    u64::from_str_radix(name.to_str()?.strip_prefix(prefix)?, 16).ok()
}
