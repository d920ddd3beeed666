//! Where a new log is made before it has its name, and who else is making one.
//!
//! Every creator has a directory of its own, beside the log's, which it renames. A directory is not renamed onto one that
//! holds something: that decides between two, and no lock is needed. Who has won clears the others' away, which can come to
//! nothing now.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::EtcdError;
use super::names::{self, SegmentName};
use crate::fs::{Fs, parent};
use crate::{Error, Result};

/// The first segment of a log.
pub(super) const FIRST: SegmentName = SegmentName { seq: 0, index: 0 };

/// An error if there is a log in `dir`, or anything else, or no directory can be renamed to it.
pub(super) fn refuse_taken<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    let error = if dir.file_name().is_none() {
        EtcdError::NotNamed
    } else if !names::list(fs, dir)?.is_empty() {
        EtcdError::Exists
    } else if fs.list(dir).is_ok_and(|names| !names.is_empty()) {
        EtcdError::NotEmpty
    } else {
        return Ok(());
    };
    Err(Error::from(error).at_path(dir))
}

/// A directory of nobody else beside `dir`, and in it the file of the first segment.
pub(super) fn first_segment<F: Fs>(fs: &F, dir: &Path) -> Result<(PathBuf, F::File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut name = dir.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}-{number}.tmp", std::process::id()));
        let temporary = dir.with_file_name(name);
        let made = fs.create_dir_all(&temporary);
        made.map_err(|error| Error::io("create directory", error).at_path(&temporary))?;
        let path = temporary.join(FIRST.file_name());
        match fs.create_new(&path) {
            // Left by a process that had the same number, or of one on another machine.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                // As long as nobody has a file there.
                drop(fs.remove_dir(&temporary));
                return Err(Error::io("create", error).at_path(&path));
            }
            Ok(file) => return Ok((temporary, file)),
        }
    }
}

/// Removes what others left who were making the log `dir`, or are still at it; etcd's own as well. As far as can be: what
/// is left harms nobody.
pub(super) fn clear_all<F: Fs>(fs: &F, dir: &Path) {
    let name = dir.file_name().unwrap_or_default();
    for found in fs.list(parent(dir)).unwrap_or_default() {
        let path = parent(dir).join(&found);
        let rest = found.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        let is_temporary = match rest.and_then(|rest| rest.strip_suffix(b".tmp")) {
            // etcd's, which does the same.
            Some([]) => true,
            Some([b'.', numbers @ ..]) => are_numbers(numbers) && holds_a_first_segment_at_most(fs, &path),
            _ => false,
        };
        if is_temporary {
            drop(clear(fs, &path));
        }
    }
}

/// Whether it is what `first_segment` puts into a name.
fn are_numbers(text: &[u8]) -> bool {
    let numbers: Vec<_> = text.split(|&byte| byte == b'-').collect();
    numbers.len() == 2 && numbers.iter().all(|of| !of.is_empty() && of.iter().all(u8::is_ascii_digit))
}

/// Whether nothing else is in a directory: what else has a name like that may be somebody's copy of a log.
fn holds_a_first_segment_at_most<F: Fs>(fs: &F, dir: &Path) -> bool {
    let names = fs.list(dir);
    names.is_ok_and(|names| names.iter().all(|name| SegmentName::parse(name) == Some(FIRST)))
}

/// Removes a directory and the files in it, if it is there.
pub(super) fn clear<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    let Ok(names) = fs.list(dir) else { return Ok(()) };
    for name in names {
        let path = dir.join(name);
        fs.remove(&path).map_err(|error| Error::io("remove", error).at_path(&path))?;
    }
    fs.remove_dir(dir).map_err(|error| Error::io("remove directory", error).at_path(dir))
}

/// Renames the log `dir`, of which nobody knows whether its name is durable: the next start must not find it.
pub(super) fn quarantine<F: Fs>(fs: &F, dir: &Path) {
    for number in 0..100 {
        let mut broken = dir.as_os_str().to_os_string();
        broken.push(format!(".broken.{number:02}"));
        if fs.list(Path::new(&broken)).is_err() {
            let moved = fs.rename(dir, Path::new(&broken));
            tracing::warn!(dir = %dir.display(), ok = moved.is_ok(), "renamed a half-made log");
            return;
        }
    }
}
