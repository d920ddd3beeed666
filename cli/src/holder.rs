//! Other processes that have files of a shard open: a running influxd takes no lock.

/// Refuses `verb` while another process has a file of these directories, or one of these files, open. On Linux only:
/// elsewhere, and for processes of other users, nothing is known.
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

    use crate::exit::{Failure, Result};

    /// Directories below one of a shard, at most, whose files are looked for: `index/0` of InfluxDB.
    const DEPTH_MAX: usize = 2;

    /// How the names of files end that an engine or InfluxDB keeps open. Others may lie beside them, such as the output of a
    /// shell.
    const EXTENSIONS: [&str; 11] =
        ["tsm", "tombstone", "tmp", "wal", "tlog", "idx", "idxl", "tsl", "tsi", "snap", "db"];

    /// Files by their names, each with its path from the root and its identity.
    type Files = HashMap<OsString, Vec<(PathBuf, (u64, u64))>>;

    /// A process that has one of the files open.
    struct Holder {
        id: u32,
        program: String,
        file: PathBuf,
    }

    /// See above. All processes are looked at once, whatever the number of paths.
    pub(crate) fn refuse_held(verb: &str, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<()> {
        let mut files = Files::new();
        for path in paths {
            // Where it cannot be looked into, the verb fails for that reason.
            if let Ok(path) = path.as_ref().canonicalize() {
                gather(&path, DEPTH_MAX, &mut files);
            }
        }
        let Some(Holder { id, program, file }) = find(&files) else { return Ok(()) };
        Err(Failure::Io(format!(
            "{}: in use: process {id} ({program}) has it open: stop that process and run `tsmith {verb}` again; --force goes \
             ahead all the same, and either program may then lose what the other wrote",
            file.display()
        )))
    }

    fn gather(path: &Path, depth: usize, files: &mut Files) {
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
                    gather(&entry.path(), depth, files);
                }
            }
        }
    }

    fn is_of_shard(name: &OsStr) -> bool {
        Path::new(name).extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known))
    }

    fn identity(found: &Metadata) -> (u64, u64) {
        (found.dev(), found.ino())
    }

    /// The first process that has one of the files open. Processes that end meanwhile or are another user's are passed over.
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

    /// By device and inode: a process in a container has other paths. Only files of a known name are asked for theirs.
    fn open_file(process: &Path, files: &Files) -> Option<PathBuf> {
        fs::read_dir(process.join("fd")).ok()?.flatten().find_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let known = files.get(target.file_name()?)?;
            let identity = identity(&fs::metadata(entry.path()).ok()?);
            known.iter().find(|(_, of_file)| *of_file == identity).map(|(path, _)| path.clone())
        })
    }

    /// A file that is only mapped has no descriptor, and a path at the end of its line in `maps`.
    fn mapped_file(process: &Path, files: &Files) -> Option<PathBuf> {
        let maps = fs::read(process.join("maps")).ok()?;
        maps.split(|&byte| byte == b'\n').find_map(|line| {
            let path = Path::new(OsStr::from_bytes(&line[line.iter().position(|&byte| byte == b'/')?..]));
            let known = files.get(path.file_name()?)?;
            known.iter().find(|(of_file, _)| of_file == path).map(|(path, _)| path.clone())
        })
    }
}
