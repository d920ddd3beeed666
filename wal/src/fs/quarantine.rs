//! Quarantine: a corrupt file keeps its bytes under another name, `*.bad`, whatever replaces it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::publish::{create_temporary, publish_new};
use super::{Fs, FsFile, parent};

/// What the name of a quarantined file ends in; InfluxDB's too, which does not read such files.
const SUFFIX: &str = ".bad";

/// The name under which the file at `path` is quarantined, or would be: `x.bad`, or `x.2.bad` and so on where that is the name
/// of another file. If an interrupted attempt gave the file such a name already, that is the name.
pub fn quarantine_name<F: Fs>(fs: &F, path: &Path) -> io::Result<PathBuf> {
    find_name(fs, path).map(|(name, _)| name)
}

/// The name, and whether the file has it already.
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
        // What cannot be read is another file.
        if fs.is_same(path, &bad).unwrap_or(false) {
            return Ok((bad, true));
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Gives the file at `path` a second name, durably; a file that has one already keeps it. Then another file can replace it in
/// one step, and until that is done nothing has changed for readers. Gives the name, and whether it is new.
fn add_name<F: Fs>(fs: &F, path: &Path) -> io::Result<(PathBuf, bool)> {
    let (bad, has_it) = find_name(fs, path)?;
    if !has_it && fs.link(path, &bad).is_err() {
        // A file system without second names; whatever else it is will be met again.
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

/// After a failure: takes a new second name back, as long as the file still has its first one.
fn give_back<F: Fs>(fs: &F, path: &Path, bad: &Path, is_new: bool) {
    if is_new && fs.is_same(path, bad).unwrap_or(false) {
        // Else the next attempt finds it, and gives no other.
        let _ = fs.remove(bad);
    }
}

/// Replaces the corrupt file at `path` by `file`, which was written as `temporary`, and quarantines it. Gives its new name.
///
/// # Errors
/// The corrupt file still has its name, and no other that it did not have before, unless the disk refuses that too. The caller
/// removes `temporary`.
pub fn replace_corrupt<F: Fs>(fs: &F, file: &F::File, temporary: &Path, path: &Path) -> io::Result<PathBuf> {
    file.sync_all()?;
    let (bad, is_new) = add_name(fs, path)?;
    fs.point("repair: quarantined");
    let published = fs.publish(file, temporary, path);
    published.inspect_err(|_| give_back(fs, path, &bad, is_new))?;
    Ok(bad)
}

/// As [`replace_corrupt`], by a file of these bytes, which are read back before anything depends on them.
pub fn replace_corrupt_by<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let (temporary, file) = create_temporary(fs, path)?;
    let replaced = || {
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        if fs.read(&temporary)? != bytes {
            return Err(io::Error::other("other bytes are read back than were written"));
        }
        replace_corrupt(fs, &file, &temporary, path)
    };
    replaced().inspect_err(|_| drop(fs.remove(&temporary)))
}

/// Quarantines the corrupt file at `path`, so that no file has that name. Gives its new name.
pub fn quarantine<F: Fs>(fs: &F, path: &Path) -> io::Result<PathBuf> {
    let (bad, is_new) = add_name(fs, path)?;
    fs.point("repair: quarantined");
    fs.remove(path).inspect_err(|_| give_back(fs, path, &bad, is_new))?;
    fs.sync_dir(parent(path))?;
    Ok(bad)
}

/// Quarantines the file at `path` as `name`, in the place of an earlier file of that name.
pub(crate) fn quarantine_as<F: Fs>(fs: &F, path: &Path, name: &Path) -> io::Result<()> {
    fs.rename(path, name).and_then(|()| fs.sync_dir(parent(path)))
}

/// Copies a corrupt file of `bytes` and of zeros up to `len`, before it is cut in place. Until the copy is whole an earlier one
/// stays.
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

    /// Story: a repair was killed when the damaged file had its second name and the new one was not there yet; the next
    /// one gave it a third, and a fourth.
    #[test]
    fn a_file_is_quarantined_once() {
        let (fs, path) = (SimFs::default(), Path::new("/d/a.tsm"));
        fs.create_dir_all(Path::new("/d")).expect("a directory");
        publish_new(&fs, path, b"damaged").expect("published");
        for _ in 0..3 {
            assert_eq!(add_name(&fs, path).expect("quarantined").0, Path::new("/d/a.tsm.bad"));
        }
        assert_eq!(fs.list(Path::new("/d")).expect("names"), ["a.tsm", "a.tsm.bad"]);
        // Also as a copy, where there are no second names; and another file of the name is another file.
        for (content, name) in [(&b"other"[..], "/d/a.tsm.2.bad"), (b"damaged", "/d/a.tsm.bad")] {
            publish_new(&fs, path, content).expect("published");
            assert_eq!(add_name(&fs, path).expect("quarantined").0, Path::new(name));
        }
    }

    /// Whichever operation fails, and however it does: the damaged file alone is left, or the new one and the damaged one.
    #[test]
    fn a_replacement_that_fails_leaves_nothing_behind() {
        let before = SimFs::default();
        let path = Path::new("/d/a.tsm");
        before.create_dir_all(Path::new("/d")).expect("a directory");
        publish_new(&before, path, b"damaged").expect("published");
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
