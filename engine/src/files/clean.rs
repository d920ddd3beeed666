//! Leftovers of a crash in a data directory.

use std::io;
use std::path::Path;

use tsmith_wal::fs::Fs;

use super::FileName;
use crate::error::{Context, Result};
use crate::manifest::MANIFEST_NAME;

/// Removes half-written files, ours or InfluxDB's, and tombstones whose TSM file is gone. Logs what it
/// removes, and logs quarantined files, which stay.
pub(crate) fn remove_leftovers<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    let names = fs.list(dir).on("list", dir)?;
    let names: Vec<&str> = names.iter().filter_map(|name| name.to_str()).collect();
    if names.iter().any(|name| is_orphan(name, &names)) {
        // After a crash the TSM file may not be gone durably. It must not reappear without its tombstones.
        fs.sync_dir(dir).on("sync", dir)?;
    }
    let mut removed = false;
    for name in &names {
        let path = dir.join(name);
        if name.strip_suffix(".bad").is_some_and(|stem| file_of(stem).is_some()) {
            tracing::warn!(path = %path.display(), "quarantined file: its points are not read");
        }
        if !is_temporary(name) && !is_orphan(name, &names) {
            continue;
        }
        match fs.remove(&path) {
            Ok(()) => {
                tracing::info!(path = %path.display(), "removed a leftover of a crash");
                removed = true;
            }
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                tracing::warn!(path = %path.display(), "a directory has the name of a temporary file; it stays");
            }
            Err(error) => return Err(error).on("remove temporary", &path),
        }
    }
    if removed { fs.sync_dir(dir).on("sync", dir) } else { Ok(()) }
}

/// The TSM file that `name` belongs to, by its generation and sequence.
pub(super) fn file_of(name: &str) -> Option<FileName> {
    let (numbers, _) = name.split_once('.')?;
    FileName::parse(&format!("{numbers}.tsm"))
}

/// `.tsm.tmp`, `.tombstone.tmp`, `.tsm.idx.tmp` and the like, and the temporary manifest.
fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some_and(|stem| stem == MANIFEST_NAME || file_of(name).is_some())
}

/// Tombstones whose file is gone. They would delete points of the next file of that name. If the file was
/// only quarantined they stay, because a restored file needs them.
fn is_orphan(name: &str, names: &[&str]) -> bool {
    let Some(stem) = name.strip_suffix(".tombstone").filter(|_| file_of(name).is_some()) else {
        return false;
    };
    !names.iter().any(|other| {
        other.strip_prefix(stem).is_some_and(|rest| rest.starts_with(".tsm") && rest != ".tsm.tmp")
    })
}

#[cfg(test)]
mod tests {
    use tsmith_wal::fs::FsFile;
    use tsmith_wal::testing::SimFs;

    use super::*;

    #[test]
    fn only_leftovers_are_removed() {
        let stay = [
            "000000001-000000001.tsm",
            "000000001-000000001.tombstone",
            "000000002-000000001.tombstone",
            "000000002-000000001.tsm.bad",
            "fields.idx.tmp",
            "notes.tmp",
            "1-1.tsm.tmp",
            "000000009-000000001.tsm",
        ];
        let go = [
            "000000003-000000001.tsm.tmp",
            "000000003-000000001.tombstone",
            "000000004-000000001.tombstone.tmp",
            "000000005-000000001.tsm.idx.tmp",
            "000000005-000000001.tsm.tmp.idx.tmp",
            "000000006-000000002.tombstone",
            "tsmith.manifest.tmp",
        ];
        let (fs, dir) = (SimFs::default(), Path::new("/shard"));
        fs.create_dir_all(dir).expect("a directory");
        for name in stay.iter().chain(&go) {
            let file = fs.create_new(&dir.join(name)).expect("a file");
            file.write_all_at(b"x", 0).expect("written");
        }
        remove_leftovers(&fs, dir).expect("removed");
        let mut expected = stay.map(String::from);
        expected.sort();
        let left: Vec<String> =
            fs.list(dir).expect("names").iter().map(|name| name.to_string_lossy().into_owned()).collect();
        assert_eq!(left, expected);
        let after = fs.crash(1).list(dir).expect("names").len();
        assert!(after <= stay.len(), "removed files do not reappear");
    }
}
