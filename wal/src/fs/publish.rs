//! Publishes files: a file gets its final name only when it is complete.

use std::io;
use std::path::{Path, PathBuf};

use super::{Fs, FsFile};

/// Publishes a file with these bytes at `path`, replacing any file there.
pub fn publish_new<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (temporary, file) = create_temporary(fs, path)?;
    let published = file.write_all_at(bytes, 0).and_then(|()| fs.publish(&file, &temporary, path));
    // If a crash leaves the temporary file, the next attempt removes it, or the next open of the directory.
    published.inspect_err(|_| drop(fs.remove(&temporary)))
}

/// Creates a new file under the temporary name of `path`. Removes a file that a failed attempt left there.
pub fn create_temporary<F: Fs>(fs: &F, path: &Path) -> io::Result<(PathBuf, F::File)> {
    let temporary = temporary_of(path);
    remove_if_there(fs, &temporary)?;
    let file = fs.create_new(&temporary)?;
    Ok((temporary, file))
}

/// Removes a file if it exists. Durable once its directory is synced.
pub(crate) fn remove_if_there<F: Fs>(fs: &F, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes files of the directory `dir`, durably, either all or none. Each file is first renamed to a
/// temporary name, and the renames are synced, before any file is removed. If that fails, the files get their
/// old names back. Otherwise the next open would not see them and continue without them, and a power cut
/// could bring them back. A crash may leave files with temporary names.
pub fn remove_together<F: Fs>(fs: &F, dir: &Path, paths: &[PathBuf]) -> io::Result<()> {
    let mut renamed = Vec::with_capacity(paths.len());
    let nameless = paths.iter().try_for_each(|path| {
        let temporary = temporary_of(path);
        fs.rename(path, &temporary)?;
        renamed.push((path, temporary));
        Ok(())
    });
    if let Err(error) = nameless.and_then(|()| fs.sync_dir(dir)) {
        for (path, temporary) in renamed.iter().rev() {
            drop(fs.rename(temporary, path));
        }
        return Err(error);
    }
    for (_, temporary) in &renamed {
        // Opening the directory removes any file that remains.
        drop(fs.remove(temporary));
    }
    Ok(())
}

fn temporary_of(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    PathBuf::from(temporary)
}
