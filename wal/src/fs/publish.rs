//! Files get their names when they are complete.

use std::io;
use std::path::{Path, PathBuf};

use super::{Fs, FsFile};

/// Publishes a file of these bytes, in the place of the one that has the name, if any.
pub fn publish_new<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (temporary, file) = create_temporary(fs, path)?;
    let published = file.write_all_at(bytes, 0).and_then(|()| fs.publish(&file, &temporary, path));
    // Left behind by a crash it is removed by the next attempt, or when the directory is opened.
    published.inspect_err(|_| drop(fs.remove(&temporary)))
}

/// A new file that is to become the one at `path`, under the name it has until then; what a failed attempt left there is
/// removed.
pub fn create_temporary<F: Fs>(fs: &F, path: &Path) -> io::Result<(PathBuf, F::File)> {
    let temporary = temporary_of(path);
    remove_if_there(fs, &temporary)?;
    let file = fs.create_new(&temporary)?;
    Ok((temporary, file))
}

/// Removes a file, if it is there. Not durable before its directory is synced.
pub fn remove_if_there<F: Fs>(fs: &F, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes files of the directory `dir`, durably, all of them or none: they are durably nameless before they are removed.
/// Where that fails they have their names back. Else who opens the directory next would not see them, go on without them,
/// and find them there again after a power cut. A crash may leave them under the names of temporary files.
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
        // What stays is removed when the directory is opened.
        drop(fs.remove(temporary));
    }
    Ok(())
}

fn temporary_of(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    PathBuf::from(temporary)
}
