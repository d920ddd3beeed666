//! A damaged file keeps its bytes under another name, whatever takes its place.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{Fs, FsFile, parent};

/// What the name of a file that is set aside ends in; InfluxDB's too, which does not read such files.
const SUFFIX: &str = ".bad";

/// The name under which the file at `path` is set aside, or would be: `x.bad`, or `x.2.bad` and so on where that is the name
/// of another one. A name that an attempt which was cut short gave it already is that name.
pub fn aside_name<F: Fs>(fs: &F, path: &Path) -> io::Result<PathBuf> {
    aside_of(fs, path).map(|(aside, _)| aside)
}

/// The name, and whether the file has it already.
fn aside_of<F: Fs>(fs: &F, path: &Path) -> io::Result<(PathBuf, bool)> {
    let name = path.file_name().unwrap_or_default();
    let taken = fs.list(parent(path))?;
    let with = |end: &str| {
        let mut name: OsString = name.to_owned();
        name.push(end);
        name
    };
    let numbered = (2_u32..).map(|number| with(&format!(".{number}{SUFFIX}")));
    for name in std::iter::once(with(SUFFIX)).chain(numbered) {
        let aside = path.with_file_name(&name);
        if !taken.contains(&name) {
            return Ok((aside, false));
        }
        // What cannot be read is another file.
        if fs.is_same(path, &aside).unwrap_or(false) {
            return Ok((aside, true));
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Gives the file at `path` a second name that says that it is damaged, durably; a file that has one already keeps it. Its
/// first name is free to be taken by another file then, in one step; until that is done nothing has changed for who reads
/// it.
pub fn set_aside<F: Fs>(fs: &F, path: &Path) -> io::Result<PathBuf> {
    give_aside(fs, path).map(|(aside, _)| aside)
}

/// The second name, and whether it had none before.
fn give_aside<F: Fs>(fs: &F, path: &Path) -> io::Result<(PathBuf, bool)> {
    let (aside, has_it) = aside_of(fs, path)?;
    if !has_it && fs.link(path, &aside).is_err() {
        // A file system without second names; whatever else it is will be met again.
        let bytes = fs.read(path)?;
        publish_new(fs, &aside, &bytes)?;
        return Ok((aside, true));
    }
    match fs.sync_dir(parent(path)) {
        Ok(()) => Ok((aside, !has_it)),
        Err(error) => {
            give_back(fs, path, &aside, !has_it);
            Err(error)
        }
    }
}

/// After a failure: takes a new second name back, as long as the file still has its first one.
fn give_back<F: Fs>(fs: &F, path: &Path, aside: &Path, is_new: bool) {
    if is_new && fs.is_same(path, aside).unwrap_or(false) {
        // Else the next attempt finds it, and gives no other.
        let _ = fs.remove(aside);
    }
}

/// Puts `file`, which was written as `temporary`, in the place of the damaged one at `path`, and sets that aside; gives the
/// name that it has then.
///
/// # Errors
/// The damaged file has its name still, and no other that it did not have before, unless the disk refuses that too.
/// `temporary` is the caller's to remove.
pub fn replace_damaged<F: Fs>(fs: &F, file: &F::File, temporary: &Path, path: &Path) -> io::Result<PathBuf> {
    file.sync_all()?;
    let (aside, is_new) = give_aside(fs, path)?;
    fs.point("repair: set aside");
    let published = fs.publish(file, temporary, path);
    published.inspect_err(|_| give_back(fs, path, &aside, is_new))?;
    Ok(aside)
}

/// As [`replace_damaged`], by a file of these bytes, which are read back before anything depends on them.
pub fn replace_damaged_by<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let (temporary, file) = create_temporary(fs, path)?;
    let replaced = || {
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        if fs.read(&temporary)? != bytes {
            return Err(io::Error::other("other bytes are read back than were written"));
        }
        replace_damaged(fs, &file, &temporary, path)
    };
    replaced().inspect_err(|_| drop(fs.remove(&temporary)))
}

/// Sets the damaged file at `path` aside, so that no file has that name.
pub fn take_away<F: Fs>(fs: &F, path: &Path) -> io::Result<PathBuf> {
    let (aside, is_new) = give_aside(fs, path)?;
    fs.point("repair: set aside");
    fs.remove(path).inspect_err(|_| give_back(fs, path, &aside, is_new))?;
    fs.sync_dir(parent(path))?;
    Ok(aside)
}

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
    match fs.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs.create_new(&temporary)?;
    Ok((temporary, file))
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

#[cfg(test)]
mod tests {
    use super::super::{Fault, SimFs};
    use super::*;

    /// Story: a repair was killed when the damaged file had its second name and the new one was not there yet; the next
    /// one gave it a third, and a fourth.
    #[test]
    fn a_file_is_set_aside_once() {
        let (fs, path) = (SimFs::default(), Path::new("/d/a.tsm"));
        fs.create_dir_all(Path::new("/d")).expect("a directory");
        publish_new(&fs, path, b"damaged").expect("published");
        for _ in 0..3 {
            assert_eq!(set_aside(&fs, path).expect("set aside"), Path::new("/d/a.tsm.bad"));
        }
        assert_eq!(fs.list(Path::new("/d")).expect("names"), ["a.tsm", "a.tsm.bad"]);
        // Also as a copy, where there are no second names; and another file of the name is another file.
        for (content, name) in [(&b"other"[..], "/d/a.tsm.2.bad"), (b"damaged", "/d/a.tsm.bad")] {
            publish_new(&fs, path, content).expect("published");
            assert_eq!(set_aside(&fs, path).expect("set aside"), Path::new(name));
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
        replace_damaged_by(&done, path, b"sound").expect("replaced");
        for at in 1..=done.operations() {
            for fault in [Fault::Io, Fault::Full] {
                let fs = before.kill();
                fs.fail_at(at, fault);
                let replaced = replace_damaged_by(&fs, path, b"sound");
                let left = fs.snapshot();
                let finished = left == done.snapshot();
                assert!(finished || replaced.is_err() && left == before.snapshot(), "{at}: {left:?}");
                fs.heal();
                if !finished {
                    replace_damaged_by(&fs, path, b"sound").expect("replaced");
                    assert_eq!(fs.snapshot(), done.snapshot(), "{at}: the next attempt");
                }
            }
        }
    }

    #[test]
    fn no_file_that_was_set_aside_is_lost() {
        let (fs, path) = (SimFs::default(), Path::new("/d/a.tsm"));
        fs.create_dir_all(Path::new("/d")).expect("a directory");
        for content in [b"1", b"2", b"3"] {
            publish_new(&fs, path, content).expect("published");
            set_aside(&fs, path).expect("set aside");
        }
        let fs = fs.crash(3);
        for (name, content) in
            [("a.tsm", b"3"), ("a.tsm.bad", b"1"), ("a.tsm.2.bad", b"2"), ("a.tsm.3.bad", b"3")]
        {
            assert_eq!(fs.read(&Path::new("/d").join(name)).expect("there"), content, "{name}");
        }
    }
}
