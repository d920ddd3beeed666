//! The live set of TSM files: who reads takes one pointer and is never waited for.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use parking_lot::Mutex;
use tsmith_codecs::TimeRange;
use tsmith_tsm::{Reader, Tombstones};
use tsmith_wal::fs::Fs;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::manifest::MANIFEST_NAME;

/// Highest generation or sequence that a file name can hold: nine digits keep their order as text.
const NUMBER_MAX: u64 = 999_999_999;

/// Name of a TSM file: `%09d-%09d.tsm`, generation and sequence. The order is the age, newest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// Counts snapshots; a compaction keeps the highest of its inputs.
    pub generation: u64,
    /// Counts the files and compactions of a generation, from 1.
    pub sequence: u64,
}

impl FileName {
    /// Reads a whole file name; `None` when it is not exactly that of a TSM file.
    pub fn parse(name: &str) -> Option<Self> {
        let (generation, sequence) = name.strip_suffix(".tsm")?.split_once('-')?;
        let number = |digits: &str| {
            let plain = digits.len() == 9 && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        Some(Self { generation: number(generation)?, sequence: number(sequence)? })
    }

    /// The temporary name under which the file is written.
    pub fn temporary(self) -> String {
        format!("{self}.tmp")
    }

    /// The name of its tombstones.
    pub fn tombstone(self) -> String {
        format!("{:09}-{:09}.tombstone", self.generation, self.sequence)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:09}-{:09}.tsm", self.generation, self.sequence)
    }
}

/// One open TSM file with its tombstones.
#[derive(Debug)]
pub struct TsmFile {
    name: FileName,
    path: PathBuf,
    reader: Reader,
    tombstones: HashMap<Vec<u8>, Vec<TimeRange>>,
}

impl TsmFile {
    /// Opens the file `name` of `dir`, with its tombstones if there are any.
    pub fn open<F: Fs>(fs: &F, dir: &Path, name: FileName) -> Result<Self> {
        Self::load(fs, dir.join(name.to_string()), name)
    }

    /// Opens the file at `path`, with the tombstones beside it if there are any. Alone it needs no age: any name that
    /// ends in `.tsm` will do, and counts as the first file of a directory.
    pub fn open_path<F: Fs>(fs: &F, path: &Path) -> Result<Self> {
        if path.extension().is_none_or(|extension| extension != "tsm") {
            return Err(Error::at("open", path, ErrorKind::NotATsmName));
        }
        let name = path.file_name().and_then(|name| FileName::parse(name.to_str()?));
        Self::load(fs, path.to_owned(), name.unwrap_or(FileName { generation: 1, sequence: 1 }))
    }

    fn load<F: Fs>(fs: &F, path: PathBuf, name: FileName) -> Result<Self> {
        let bytes = load(fs, &path).on("open", &path)?;
        let reader = Reader::new(bytes).on("open", &path)?;
        let tombstones = read_tombstones(fs, &path.with_extension("tombstone"))?;
        Ok(Self { name, path, reader, tombstones })
    }

    /// Its name.
    pub fn name(&self) -> FileName {
        self.name
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its content.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The times at which points of `key` were deleted from this file.
    pub fn deleted(&self, key: &[u8]) -> &[TimeRange] {
        self.tombstones.get(key).map_or(&[], Vec::as_slice)
    }
}

/// The bytes of a TSM file, for looking at one that may not open.
pub fn read_file(path: &Path) -> Result<Bytes> {
    load(&tsmith_wal::fs::OsFs, path).on("open", path)
}

/// The bytes of a file that nobody changes: mapped where there is a file to map, else read.
fn load<F: Fs>(fs: &F, path: &Path) -> io::Result<Bytes> {
    match fs.os_file(path)? {
        #[expect(unsafe_code, reason = "the one line outside the fences that calls a map")]
        Some(file) => {
            // SAFETY: TSM files are complete when they get their name, and the engine, which holds the directory's
            // lock, only ever unlinks them.
            unsafe { tsmith_tsm::map_readonly(&file) }
        }
        None => fs.read(path).map(Bytes::from),
    }
}

fn read_tombstones<F: Fs>(fs: &F, path: &Path) -> Result<HashMap<Vec<u8>, Vec<TimeRange>>> {
    const OPERATION: &str = "read tombstones";
    let bytes = match fs.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error).on(OPERATION, path),
    };
    let mut out: HashMap<Vec<u8>, Vec<TimeRange>> = HashMap::new();
    for tombstone in Tombstones::new(&bytes).on(OPERATION, path)? {
        let tombstone = tombstone.on(OPERATION, path)?;
        out.entry(tombstone.key).or_default().push(tombstone.range);
    }
    Ok(out)
}

/// The files that readers see, oldest first.
#[derive(Debug)]
pub struct FileSet {
    live: ArcSwap<Vec<Arc<TsmFile>>>,
    /// The highest generation given away so far.
    generation: Mutex<u64>,
}

impl FileSet {
    /// Opens every TSM file of `dir`. One that cannot be opened is an error that names it; the others are untouched.
    pub fn open<F: Fs>(fs: &F, dir: &Path) -> Result<Self> {
        let mut names = tsm_names(fs, dir)?;
        names.sort_unstable();
        let generation = names.last().map_or(0, |name| name.generation);
        let files: Result<Vec<_>> =
            names.into_iter().map(|name| TsmFile::open(fs, dir, name).map(Arc::new)).collect();
        Ok(Self { live: ArcSwap::from_pointee(files?), generation: Mutex::new(generation) })
    }

    /// The files as they are now; the set stays whole for as long as it is held.
    pub fn load(&self) -> Guard<Arc<Vec<Arc<TsmFile>>>> {
        self.live.load()
    }

    /// A generation that no file has.
    pub(crate) fn next_generation(&self) -> Result<u64> {
        let mut last = self.generation.lock();
        if *last >= NUMBER_MAX {
            return Err(Error::new("number a file", ErrorKind::TooManyGenerations(*last + 1)));
        }
        *last += 1;
        Ok(*last)
    }

    /// Shows `added` to readers.
    pub(crate) fn add(&self, added: &[Arc<TsmFile>]) {
        self.live.rcu(|live| {
            let mut files: Vec<_> = live.iter().chain(added).cloned().collect();
            files.sort_by(|a, b| match a.name.cmp(&b.name) {
                Ordering::Equal => unreachable!("generations are given away once"),
                order => order,
            });
            files
        });
    }
}

/// The names of all TSM files of `dir`, in no order.
pub fn tsm_names<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<FileName>> {
    let entries = fs.list(dir).on("list", dir)?;
    Ok(entries.iter().filter_map(|name| FileName::parse(name.to_str()?)).collect())
}

/// Removes what a crash left half written.
pub(crate) fn remove_temporaries<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    let mut removed = false;
    for name in fs.list(dir).on("list", dir)? {
        let ours = name.to_str().and_then(|name| name.strip_suffix(".tmp")).is_some_and(|name| {
            FileName::parse(name).is_some() || name == MANIFEST_NAME || name.ends_with(".tombstone")
        });
        if ours {
            let path = dir.join(&name);
            match fs.remove(&path) {
                Ok(()) => removed = true,
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                    tracing::warn!(path = %path.display(), "a directory has the name of a temporary file");
                }
                Err(error) => return Err(error).on("remove temporary", &path),
            }
        }
    }
    if removed { fs.sync_dir(dir).on("sync", dir) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_tsm_files() {
        let name = FileName::parse("000000012-000000003.tsm").expect("a name");
        assert_eq!((name.generation, name.sequence), (12, 3));
        assert_eq!(name.to_string(), "000000012-000000003.tsm");
        for other in [
            "1-1.tsm",
            "000000012-000000003.tsm.tmp",
            "000000012-000000003.tsm.bad",
            "+00000012-000000003.tsm",
            ".tsm",
        ] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }
}
