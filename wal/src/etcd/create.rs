//! Creates a new log in a temporary directory beside its path; etcd uses the same name.
//!
//! The lock on the first segment decides which process creates the log. The lock remains when the directory
//! is renamed.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::EtcdError;
use super::names::SegmentName;
use crate::directory::{self, lock};
use crate::error::AtPath;
use crate::fs::{Fs, FsFile};
use crate::{Error, Result};

/// The first segment of a log.
pub(super) const FIRST: SegmentName = SegmentName { seq: 0, index: 0 };

/// Fails if `dir` holds a log or anything else, or if no directory can be renamed to it.
pub(super) fn refuse_taken<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    let error = if dir.file_name().is_none() {
        EtcdError::NotNamed
    } else if directory::holds(fs, dir, |name| SegmentName::parse(name).is_some())? {
        EtcdError::Exists
    } else if fs.list(dir).is_ok_and(|names| !names.is_empty()) {
        EtcdError::NotEmpty
    } else {
        return Ok(());
    };
    Err(Error::from(error).at_path(dir))
}

/// The temporary directory beside `dir` and its first segment, locked, with `bytes` of space. Removes what a
/// crash left there.
pub(super) fn first_segment<F: Fs>(fs: &F, dir: &Path, bytes: u64) -> Result<(PathBuf, F::File)> {
    let mut temporary = dir.as_os_str().to_os_string();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    fs.create_dir_all(&temporary).at("create directory", &temporary)?;
    let path = temporary.join(FIRST.file_name());
    let created = match fs.create_new(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs.open(&path),
        created => created,
    };
    let file = created.at("create", &path)?;
    lock(&file, &path)?;
    // The process that had the lock may have created the log.
    let allocated = refuse_taken(fs, dir).and_then(|()| {
        remove_files(fs, &temporary, |name| *name != *FIRST.file_name())?;
        file.set_len(0).and_then(|()| file.allocate(0..bytes)).at("allocate", &path)
    });
    allocated.inspect_err(|_| drop(remove(fs, &temporary)))?;
    Ok((temporary, file))
}

/// Removes a directory and its files, if it exists.
pub(super) fn remove<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    remove_files(fs, dir, |_| true)?;
    fs.remove_dir(dir).at("remove directory", dir)
}

fn remove_files<F: Fs>(fs: &F, dir: &Path, unwanted: impl Fn(&OsStr) -> bool) -> Result<()> {
    let names = fs.list(dir).at("list", dir)?;
    for path in names.iter().filter(|name| unwanted(name)).map(|name| dir.join(name)) {
        fs.remove(&path).at("remove", &path)?;
    }
    Ok(())
}
