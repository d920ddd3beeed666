//! The known segment formats, told apart by file name.

use std::ffi::OsStr;
use std::path::Path;

use crate::directory;
use crate::error::AtPath;
use crate::etcd::{EtcdSegments, SegmentName};
use crate::fs::Fs;
use crate::native::Native;
use crate::scan::SegmentFormat;
use crate::segment::Influx;
use crate::{Error, ErrorKind, Result};

/// Whether a file of this name is a segment of any log of this crate.
pub fn is_segment(name: &OsStr) -> bool {
    Influx::parse_name(name).is_some()
        || Native::parse_name(name).is_some()
        || SegmentName::parse(name).is_some()
}

/// Whether segments have names with this extension. A copy of a segment under another name is recognized by it.
pub fn is_segment_extension(extension: &OsStr) -> bool {
    let names = [Influx::file_name(1), Native::file_name(1)];
    names.iter().any(|name| Path::new(name).extension() == Some(extension))
}

/// The names of all segments in `dir`, oldest first, of any log of this crate.
pub fn segment_names<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<String>> {
    let mut names = names_of::<Influx, F>(fs, dir)?;
    names.extend(names_of::<Native, F>(fs, dir)?);
    names.extend(names_of::<EtcdSegments, F>(fs, dir)?);
    Ok(names)
}

fn names_of<T: SegmentFormat, F: Fs>(fs: &F, dir: &Path) -> Result<Vec<String>> {
    Ok(directory::segments::<T, F>(fs, dir)?.into_iter().map(T::file_name).collect())
}

/// Refuses a directory with segments of another log. Treating it as empty would hide its records.
pub(crate) fn refuse_other<T: SegmentFormat, F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    let names = fs.list(dir).at("list", dir)?;
    match names.iter().find(|name| is_segment(name) && T::parse_name(name).is_none()) {
        Some(other) => Err(Error::new(ErrorKind::OtherLog).at_path(&dir.join(other))),
        None => Ok(()),
    }
}
