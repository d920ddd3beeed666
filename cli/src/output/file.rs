//! An output file: it is written under a temporary name and renamed when it is complete.
//!
//! The temporary file is removed if the run fails, and on Unix also on Ctrl-C (SIGINT) and SIGTERM. So a file with the name
//! that the user gave is always complete, and no leftover is in the way of the next run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tsmith_wal::fs::{Fs, OsFs};

use crate::exit::{Failure, Result, complain};

/// How many temporary names are tried. Only a killed process leaves a file with such a name.
const NAMES_MAX: u32 = 1000;

/// The temporary file of this process. A thread that renames or removes the file holds the lock.
static UNFINISHED: Mutex<Option<Unfinished>> = Mutex::new(None);

struct Unfinished {
    temporary: PathBuf,
    #[cfg_attr(not(unix), expect(dead_code, reason = "only the thread for signals names it"))]
    name: PathBuf,
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct OutputFile {
    file: File,
    name: PathBuf,
    replace: bool,
    /// Whether `name` is a device or a pipe. Those are written in place.
    in_place: bool,
}

impl OutputFile {
    /// Creates the file for `path`. With `replace`, `path` may exist.
    pub(super) fn create(path: &Path, replace: bool) -> Result<Self> {
        let failed = |error: io::Error| Failure::io(path, &error);
        let mut name = path.to_owned();
        let mut permissions = None;
        if fs::symlink_metadata(path).is_ok() {
            if !replace {
                return Err(exists(path));
            }
            let found = fs::metadata(path).map_err(failed)?;
            if !found.is_file() {
                let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
                return Ok(Self { file, name, replace, in_place: true });
            }
            // A link is kept, and its target is replaced.
            name = fs::canonicalize(path).map_err(failed)?;
            permissions = Some(found.permissions());
        }
        watch_signals().map_err(failed)?;
        let file = create_temporary(&name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => failed(error),
            _ => Failure::Io(format!("{}: cannot create a file beside it: {error}", path.display())),
        })?;
        let output = Self { file, name, replace, in_place: false };
        if let Some(permissions) = permissions {
            output.file.set_permissions(permissions).map_err(failed)?;
        }
        Ok(output)
    }

    /// Makes the file durable and renames it.
    pub(super) fn finish(self) -> Result<()> {
        let mut unfinished = unfinished();
        let Some(Unfinished { temporary, .. }) = &*unfinished else { return Ok(()) };
        if !self.replace && fs::symlink_metadata(&self.name).is_ok() {
            return Err(exists(&self.name));
        }
        let published = OsFs.open(temporary).and_then(|file| OsFs.publish(&file, temporary, &self.name));
        published.map_err(|error| Failure::io(&self.name, &error))?;
        *unfinished = None;
        Ok(())
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if !self.in_place
            && let Some(Unfinished { temporary, .. }) = unfinished().take()
        {
            remove(&temporary);
        }
    }
}

fn exists(path: &Path) -> Failure {
    Failure::Usage(format!("{}: the file exists; --force replaces it", path.display()))
}

/// Creates `NAME.N.tmp` beside the final file. N is the process id, or the next number that is free.
fn create_temporary(name: &Path) -> io::Result<File> {
    let mut unfinished = unfinished();
    for attempt in 0..NAMES_MAX {
        let mut temporary = name.as_os_str().to_owned();
        temporary.push(format!(".{}.tmp", u64::from(std::process::id()) + u64::from(attempt)));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => {
                if created.is_ok() {
                    *unfinished = Some(Unfinished { temporary: temporary.into(), name: name.to_owned() });
                }
                return created;
            }
        }
    }
    Err(io::Error::other("all temporary names are taken; remove those that end in .tmp"))
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        complain(&format!("{}: cannot remove the unfinished file: {error}", path.display()));
    }
}

/// Starts a thread that waits for SIGINT and SIGTERM, removes the temporary file, and ends the process by that signal.
#[cfg(unix)]
fn watch_signals() -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};

    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let watch = move || {
        for signal in signals.forever() {
            // The lock is held until the process ends, so no other thread renames or creates the file.
            let mut unfinished = unfinished();
            if let Some(Unfinished { temporary, name }) = unfinished.take() {
                remove(&temporary);
                complain(&format!("{}: interrupted, nothing was written; run it again", name.display()));
            }
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    Ok(())
}

/// On other systems, an interrupted run leaves the temporary file, with a name that no later run uses.
#[cfg(not(unix))]
fn watch_signals() -> io::Result<()> {
    Ok(())
}

/// The path stays valid if a thread panics, so a poisoned lock is used.
fn unfinished() -> MutexGuard<'static, Option<Unfinished>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}
