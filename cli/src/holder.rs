//! Detects other processes that have files of a shard open. A running influxd takes no lock.

/// Refuses `verb` while another process has one of these files, or a file in one of these directories, open. This works on
/// Linux only, and not for processes of other users.
#[cfg(not(target_os = "linux"))]
#[allow(clippy::unnecessary_wraps, reason = "the same signature everywhere")]
pub(crate) fn refuse_held(
    _verb: &str,
    _paths: impl IntoIterator<Item = impl AsRef<std::path::Path>>,
) -> crate::exit::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
pub(crate) use linux::refuse_held;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::ffi::{OsStr, OsString};
    use std::fs::{self, Metadata};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    use tsmith_wal::is_segment_extension;

    use crate::exit::{Failure, Result};

    /// How deep to look below the directory of a shard. `index/0` of InfluxDB is two levels deep.
    const DEPTH_MAX: usize = 2;

    /// Extensions, besides those of segments, of files that an engine or InfluxDB keeps open. Other files do not matter, such
    /// as the redirected output of a shell.
    const EXTENSIONS: [&str; 9] = ["tsm", "tombstone", "tmp", "idx", "idxl", "tsl", "tsi", "snap", "db"];

    /// Files by name, each with its absolute path and its identity.
    type Files = HashMap<OsString, Vec<(PathBuf, (u64, u64))>>;

    /// A process that has one of the files open.
    struct Holder {
        id: u32,
        program: String,
        file: PathBuf,
    }

    /// Does the same as the function for other systems. It scans the processes once, for all paths.
    pub(crate) fn refuse_held(verb: &str, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<()> {
        let mut files = Files::new();
        for path in paths {
            // If the path cannot be resolved, the verb itself fails and reports it.
            if let Ok(path) = path.as_ref().canonicalize() {
                collect(&path, DEPTH_MAX, &mut files);
            }
        }
        let Some(Holder { id, program, file }) = find(&files) else { return Ok(()) };
        Err(Failure::Io(format!(
            "{}: in use: process {id} ({program}) has the file open: stop it and run `tsmith {verb}` again; with --force, each \
             program may lose what the other one writes",
            file.display()
        )))
    }

    fn collect(path: &Path, depth: usize, files: &mut Files) {
        let Ok(found) = fs::symlink_metadata(path) else { return };
        if found.is_file() {
            if let Some(name) = path.file_name().filter(|name| is_of_shard(name)) {
                files.entry(name.to_owned()).or_default().push((path.to_owned(), identity(&found)));
            }
        } else if found.is_dir()
            && let Ok(entries) = fs::read_dir(path)
        {
            for entry in entries.flatten() {
                let is_deeper = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if let Some(depth) = if is_deeper { depth.checked_sub(1) } else { Some(depth) } {
                    collect(&entry.path(), depth, files);
                }
            }
        }
    }

    fn is_of_shard(name: &OsStr) -> bool {
        let extension = Path::new(name).extension();
        extension.is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known) || is_segment_extension(end))
    }

    fn identity(found: &Metadata) -> (u64, u64) {
        (found.dev(), found.ino())
    }

    /// The first process that has one of the files open. Processes that end meanwhile, and those of other users, are skipped.
    fn find(files: &Files) -> Option<Holder> {
        if files.is_empty() {
            return None;
        }
        let own = std::process::id();
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok().filter(|&id| id != own)?;
            let process = entry.path();
            let file = open_file(&process, files).or_else(|| mapped_file(&process, files))?;
            let program = fs::read_to_string(process.join("comm")).unwrap_or_default().trim_end().to_owned();
            Some(Holder { id, program, file })
        })
    }

    /// Compares device and inode, because a process in a container sees other paths. Only descriptors whose file name matches
    /// are examined.
    fn open_file(process: &Path, files: &Files) -> Option<PathBuf> {
        fs::read_dir(process.join("fd")).ok()?.flatten().find_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let known = files.get(target.file_name()?)?;
            let identity = identity(&fs::metadata(entry.path()).ok()?);
            known.iter().find(|(_, of_file)| *of_file == identity).map(|(path, _)| path.clone())
        })
    }

    /// A file that is only mapped has no descriptor. Its path is at the end of a line in `maps`.
    fn mapped_file(process: &Path, files: &Files) -> Option<PathBuf> {
        let maps = fs::read(process.join("maps")).ok()?;
        maps.split(|&byte| byte == b'\n').find_map(|line| {
            let path = Path::new(OsStr::from_bytes(&line[line.iter().position(|&byte| byte == b'/')?..]));
            let known = files.get(path.file_name()?)?;
            known.iter().find(|(of_file, _)| of_file == path).map(|(path, _)| path.clone())
        })
    }
}
