//! The file of the next segment: it gets its space before its name.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::directory::lock;
use crate::error::{AtPath, is_full};
use crate::fs::{Fs, FsFile, remove_if_there};

/// A locked file with space for a segment of this size, under a temporary name.
#[derive(Debug)]
pub(super) struct Allocated<F: Fs> {
    pub(super) file: F::File,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// Allocates a file of `bytes` in `dir`, or of `bytes_min` if the disk is full.
pub(super) fn allocate<F: Fs>(fs: &F, dir: &Path, bytes: u64, bytes_min: u64) -> Result<Allocated<F>> {
    let [path, _] = temporary(dir);
    let file = fs.create_new(&path).at("create", &path)?;
    let allocated = lock(&file, &path).and_then(|()| {
        let bytes = match file.allocate(0..bytes) {
            Err(error) if is_full(&error) && bytes_min < bytes => {
                file.allocate(0..bytes_min).map(|()| bytes_min)
            }
            done => done.map(|()| bytes),
        };
        bytes.at("allocate", &path)
    });
    let bytes = allocated.inspect_err(|_| drop(fs.remove(&path)))?;
    Ok(Allocated { file, path, bytes })
}

/// Removes a file that a crash left. It can have any content. etcd 3.4 uses it unchanged, so stale records
/// follow the new ones and the directory becomes unreadable.
pub(super) fn remove_unused<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    temporary(dir).iter().try_for_each(|path| remove_if_there(fs, path).at("remove", path))
}

/// The temporary names, which etcd uses in turn, for a file that becomes a segment and for a segment that is
/// removed.
pub(super) fn temporary(dir: &Path) -> [PathBuf; 2] {
    ["0.tmp", "1.tmp"].map(|name| dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::LockKind;
    use crate::testing::SimFs;

    /// As etcd's `TestFilePipeline` and `TestFilePipelineFailPreallocate`: a file has all its space and is
    /// locked, or does not exist.
    #[test]
    fn a_file_is_allocated_and_locked_or_removed() {
        let (fs, dir) = (SimFs::default(), Path::new("/w"));
        fs.create_dir_all(dir).expect("a directory");
        fs.set_space(Some(4000));
        assert!(allocate(&fs, dir, 5000, 5000).expect_err("no space").is_full());
        assert!(fs.snapshot().is_empty());
        for (space, bytes) in [(Some(4000), 3000), (None, 5000)] {
            fs.set_space(space);
            let allocated = allocate(&fs, dir, 5000, 3000).expect("a file");
            assert_eq!((allocated.bytes, allocated.file.len().expect("a length")), (bytes, bytes));
            let other = fs.open(&allocated.path).expect("opens");
            assert!(other.try_lock(LockKind::Etcd).is_err(), "it is locked");
            remove_unused(&fs, dir).expect("removes");
            assert!(fs.snapshot().is_empty());
        }
    }
}
