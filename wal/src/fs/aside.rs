//! A damaged file keeps its bytes under another name, whatever takes its place.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{Fs, FsFile, parent};

/// What the name of a file that is set aside ends in; InfluxDB's too, which does not read such files.
const SUFFIX: &str = ".bad";

/// The name under which the file at `path` would be set aside: `x.bad`, or `x.2.bad` and so on when that is taken.
pub fn aside_name<F: Fs>(fs: &F, path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default();
    let taken = fs.list(parent(path))?;
    let with = |end: &str| {
        let mut name: OsString = name.to_owned();
        name.push(end);
        name
    };
    let numbered = (2_u32..).map(|number| with(&format!(".{number}{SUFFIX}")));
    let free = std::iter::once(with(SUFFIX)).chain(numbered).find(|name| !taken.contains(name));
    Ok(path.with_file_name(free.unwrap_or_default()))
}

/// Gives the file at `path` a second name that says that it is damaged, durably. Its first name is free to be taken by
/// another file then, in one step; until that is done nothing has changed for who reads it.
pub fn set_aside<F: Fs>(fs: &F, path: &Path) -> io::Result<PathBuf> {
    let aside = aside_name(fs, path)?;
    if fs.link(path, &aside).is_ok() {
        fs.sync_dir(parent(path))?;
        return Ok(aside);
    }
    // A file system without second names; whatever else it is will be met again.
    let bytes = fs.read(path)?;
    publish_new(fs, &aside, &bytes)?;
    Ok(aside)
}

/// Publishes a file of these bytes, in the place of the one that has the name, if any.
pub fn publish_new<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (temporary, file) = create_temporary(fs, path)?;
    file.write_all_at(bytes, 0)?;
    fs.publish(&file, &temporary, path)
}

/// A new file that is to become the one at `path`, under the name it has until then; what a failed attempt left there is
/// removed.
pub fn create_temporary<F: Fs>(fs: &F, path: &Path) -> io::Result<(PathBuf, F::File)> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    match fs.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs.create_new(&temporary)?;
    Ok((temporary, file))
}

#[cfg(test)]
mod tests {
    use super::super::SimFs;
    use super::*;

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
