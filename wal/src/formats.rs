//! The formats of segments that there are, told apart by file names.

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

/// Whether a file of this name is a segment, of whatever log.
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

/// The names of the segments in `dir`, of whatever log, oldest first.
pub fn segment_names<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<String>> {
    let mut names = names_of::<Influx, F>(fs, dir)?;
    names.extend(names_of::<Native, F>(fs, dir)?);
    names.extend(names_of::<EtcdSegments, F>(fs, dir)?);
    Ok(names)
}

fn names_of<T: SegmentFormat, F: Fs>(fs: &F, dir: &Path) -> Result<Vec<String>> {
    Ok(directory::segments::<T, F>(fs, dir)?.into_iter().map(T::file_name).collect())
}

/// Refuses a directory with segments of another log: taken for an empty one, their records would be lost from sight.
pub(crate) fn refuse_other<T: SegmentFormat, F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    let names = fs.list(dir).at("list", dir)?;
    match names.iter().find(|name| is_segment(name) && T::parse_name(name).is_none()) {
        Some(other) => Err(Error::new(ErrorKind::OtherLog).at_path(&dir.join(other))),
        None => Ok(()),
    }
}
