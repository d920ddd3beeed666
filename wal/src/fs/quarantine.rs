//! Quarantine: keeps a corrupt file under another name, `*.bad`, when it is replaced.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::publish::{create_temporary, publish_new};
use super::{Fs, FsFile, parent};

/// Suffix of a quarantined file. InfluxDB uses the same suffix and does not read such files.
const SUFFIX: &str = ".bad";

/// The quarantine name of the file at `path`: `x.bad`, or `x.2.bad` and so on if another file has that name.
/// If an interrupted attempt already gave the file such a name, returns that name.
pub fn quarantine_name<F: Fs>(fs: &F, path: &Path) -> io::Result<PathBuf> {
    find_name(fs, path).map(|(name, _)| name)
}

/// The name, and whether the file already has it.
fn find_name<F: Fs>(fs: &F, path: &Path) -> io::Result<(PathBuf, bool)> {
    let name = path.file_name().unwrap_or_default();
    let taken = fs.list(parent(path))?;
    let with = |end: &str| {
        let mut name: OsString = name.to_owned();
        name.push(end);
        name
    };
    let numbered = (2_u32..).map(|number| with(&format!(".{number}{SUFFIX}")));
    for name in std::iter::once(with(SUFFIX)).chain(numbered) {
        let bad = path.with_file_name(&name);
        if !taken.contains(&name) {
            return Ok((bad, false));
        }
        // A file that cannot be read counts as another file.
        if fs.is_same(path, &bad).unwrap_or(false) {
            return Ok((bad, true));
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Gives the file at `path` a second name, durably, or keeps the one it has. Another file can then replace it
/// in one step, and readers see no change until then. Returns the name, and whether it is new.
fn add_name<F: Fs>(fs: &F, path: &Path) -> io::Result<(PathBuf, bool)> {
    let (bad, has_it) = find_name(fs, path)?;
    if !has_it && fs.link(path, &bad).is_err() {
        // The file system has no hard links, so copy the file. Any other cause makes the copy fail too.
        let bytes = fs.read(path)?;
        publish_new(fs, &bad, &bytes)?;
        return Ok((bad, true));
    }
    match fs.sync_dir(parent(path)) {
        Ok(()) => Ok((bad, !has_it)),
        Err(error) => {
            give_back(fs, path, &bad, !has_it);
            Err(error)
        }
    }
}

/// After a failure: removes a new second name, provided the file still has its first name.
fn give_back<F: Fs>(fs: &F, path: &Path, bad: &Path, is_new: bool) {
    if is_new && fs.is_same(path, bad).unwrap_or(false) {
        // If it remains, the next attempt finds it and adds no other name.
        let _ = fs.remove(bad);
    }
}

/// Quarantines the corrupt file at `path` and replaces it with `file`, which was written as `temporary`.
/// The new file gets the permissions and the owner of the corrupt one. Returns the quarantine name.
///
/// # Errors
///
/// The corrupt file keeps its name and gets no new one, unless the disk fails again while undoing that. The
/// caller removes `temporary`.
pub fn replace_corrupt<F: Fs>(fs: &F, file: &F::File, temporary: &Path, path: &Path) -> io::Result<PathBuf> {
    fs.copy_access(file, path);
    file.sync_all()?;
    let (bad, is_new) = add_name(fs, path)?;
    fs.point("repair: quarantined");
    let published = fs.publish(file, temporary, path);
    published.inspect_err(|_| give_back(fs, path, &bad, is_new))?;
    Ok(bad)
}

/// Like [`replace_corrupt`], with a file of these bytes. They are read back and compared before the corrupt
/// file is touched.
pub fn replace_corrupt_by<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let (temporary, file) = create_temporary(fs, path)?;
    let replaced = || {
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        if fs.read(&temporary)? != bytes {
            return Err(io::Error::other("the bytes read back differ from those written"));
        }
        replace_corrupt(fs, &file, &temporary, path)
    };
    replaced().inspect_err(|_| drop(fs.remove(&temporary)))
}

/// Quarantines the corrupt file at `path` without replacing it. Returns the quarantine name.
pub fn quarantine<F: Fs>(fs: &F, path: &Path) -> io::Result<PathBuf> {
    let (bad, is_new) = add_name(fs, path)?;
    fs.point("repair: quarantined");
    fs.remove(path).inspect_err(|_| give_back(fs, path, &bad, is_new))?;
    fs.sync_dir(parent(path))?;
    Ok(bad)
}

/// Quarantines the file at `path` as `name`, replacing an earlier file of that name.
pub(crate) fn quarantine_as<F: Fs>(fs: &F, path: &Path, name: &Path) -> io::Result<()> {
    fs.rename(path, name).and_then(|()| fs.sync_dir(parent(path)))
}

/// Copies a corrupt file, which holds `bytes` and zeros up to `len`, before it is cut in place. An earlier
/// copy stays until the new one is complete.
pub(crate) fn quarantine_copy<F: Fs>(fs: &F, bytes: &[u8], len: u64, copy: &Path) -> io::Result<()> {
    let (temporary, file) = create_temporary(fs, copy)?;
    let written = file.write_all_at(bytes, 0).and_then(|()| file.set_len(len));
    let published = written.and_then(|()| fs.publish(&file, &temporary, copy));
    published.inspect_err(|_| drop(fs.remove(&temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fault, SimFs};

    /// Story: a repair was killed between quarantining the corrupt file and replacing it. The next two
    /// repairs gave the file a third and a fourth name.
    #[test]
    fn a_file_is_quarantined_once() {
        let (fs, path) = (SimFs::default(), Path::new("/d/a.tsm"));
        fs.create_dir_all(Path::new("/d")).expect("a directory");
        publish_new(&fs, path, b"corrupt").expect("published");
        for _ in 0..3 {
            assert_eq!(add_name(&fs, path).expect("quarantined").0, Path::new("/d/a.tsm.bad"));
        }
        assert_eq!(fs.list(Path::new("/d")).expect("names"), ["a.tsm", "a.tsm.bad"]);
        // The same without hard links. A different file of the same name gets another name.
        for (content, name) in [(&b"other"[..], "/d/a.tsm.2.bad"), (b"corrupt", "/d/a.tsm.bad")] {
            publish_new(&fs, path, content).expect("published");
            assert_eq!(add_name(&fs, path).expect("quarantined").0, Path::new(name));
        }
    }

    /// Whichever operation fails, the directory holds the corrupt file alone, or the new and the quarantined
    /// one.
    #[test]
    fn a_failed_replacement_leaves_nothing() {
        let before = SimFs::default();
        let path = Path::new("/d/a.tsm");
        before.create_dir_all(Path::new("/d")).expect("a directory");
        publish_new(&before, path, b"corrupt").expect("published");
        let done = before.kill();
        replace_corrupt_by(&done, path, b"sound").expect("replaced");
        for at in 1..=done.operations() {
            for fault in [Fault::Io, Fault::Full] {
                let fs = before.kill();
                fs.fail_at(at, fault);
                let replaced = replace_corrupt_by(&fs, path, b"sound");
                let left = fs.snapshot();
                let finished = left == done.snapshot();
                assert!(finished || replaced.is_err() && left == before.snapshot(), "{at}: {left:?}");
                fs.heal();
                if !finished {
                    replace_corrupt_by(&fs, path, b"sound").expect("replaced");
                    assert_eq!(fs.snapshot(), done.snapshot(), "{at}: the next attempt");
                }
            }
        }
    }

    #[test]
    fn no_quarantined_file_is_lost() {
        let (fs, path) = (SimFs::default(), Path::new("/d/a.tsm"));
        fs.create_dir_all(Path::new("/d")).expect("a directory");
        for content in [b"1", b"2", b"3"] {
            publish_new(&fs, path, content).expect("published");
            add_name(&fs, path).expect("quarantined");
        }
        let fs = fs.crash(3);
        for (name, content) in
            [("a.tsm", b"3"), ("a.tsm.bad", b"1"), ("a.tsm.2.bad", b"2"), ("a.tsm.3.bad", b"3")]
        {
            assert_eq!(fs.read(&Path::new("/d").join(name)).expect("there"), content, "{name}");
        }
    }
}
