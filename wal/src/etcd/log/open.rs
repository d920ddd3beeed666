//! Opening: replay first, change afterwards.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use super::replay::{End, Sink, read};
use super::segments::begin;
use super::{Stage, State, TEMPORARY};
use crate::error::is_full;
use crate::etcd::encoder::Appender;
use crate::etcd::names::{self, SegmentName};
use crate::etcd::repair::lock;
use crate::fs::{Fs, FsFile};
use crate::recover;
use crate::{Error, ErrorKind, LogOptions, Metrics, Recovery, Result};

pub(super) fn open<F: Fs>(
    fs: &F,
    dir: &Path,
    options: &LogOptions,
    sink: impl Sink,
) -> Result<(State<F>, Recovery)> {
    let bytes = options.segment_bytes.into();
    let others = recover::segment_names(fs, dir)?;
    if let Some(other) = others.iter().find(|name| SegmentName::parse(OsStr::new(name)).is_none()) {
        // Taken for an empty directory, the records of the other log would be lost from sight.
        return Err(Error::new(ErrorKind::OtherLog).at_path(&dir.join(other)));
    }
    let names = names::list(fs, dir)?;
    let mut segments = Vec::new();
    for &name in &names {
        let path = dir.join(name.file_name());
        let file = fs.open(&path).map_err(|error| Error::io("open", error).at_path(&path))?;
        lock(&file, &path)?;
        segments.push((name, Arc::new(file)));
    }
    let (found, end) = read(fs, dir, options.recovery, &names, sink)?;
    // Until here nothing was changed.
    drop(fs.remove(&dir.join(TEMPORARY)));
    let mut metrics = Metrics::default();
    let mut next = SegmentName { seq: 0, index: 0 };
    let mut reused = None;
    match (segments.pop(), end) {
        (Some((name, file)), Some((End::At(offset), content))) => {
            let path = dir.join(name.file_name());
            let ready = reuse(&*file, offset, &content, bytes);
            let allocated = ready.map_err(|error| Error::io("cut", error).at_path(&path))?;
            // Who made the segment may have died before its name was durable.
            fs.sync_dir(dir).map_err(|error| Error::io("sync directory", error).at_path(dir))?;
            reused = Some(Appender::new(Arc::clone(&file), allocated, offset, found.crc));
            segments.push((name, file));
        }
        (Some((name, file)), Some((End::Left, _))) => {
            let seq = name.seq.checked_add(1).ok_or_else(|| numbers_end(dir, name))?;
            next = SegmentName { seq, index: found.last + 1 };
            segments.push((name, file));
        }
        (Some((name, _)), _) => {
            // Without its head nothing in it is left.
            let path = dir.join(name.file_name());
            let removed = fs.remove(&path).and_then(|()| fs.sync_dir(dir));
            removed.map_err(|error| Error::io("remove", error).at_path(&path))?;
            next = name;
        }
        (None, _) => {}
    }
    let appender = if let Some(appender) = reused {
        appender
    } else {
        let appender = begin(fs, dir, next, found.crc, found.marked, bytes)?;
        metrics.segments += 1;
        segments.push((next, Arc::clone(&appender.file)));
        appender
    };
    let last = found.last;
    let state = State {
        segments,
        appender: Some(appender),
        over: false,
        spare: Vec::new(),
        last,
        written: last,
        durable: last,
        marked: found.marked,
        grouped: last,
        metrics,
        sync_due: false,
        leading: false,
        poison: None,
        stage: Stage::Open,
    };
    Ok((state, found.recovery))
}

/// Whether a directory has segments of etcd's name.
pub(crate) fn holds_segments<F: Fs>(fs: &F, dir: &Path) -> Result<bool> {
    names::list(fs, dir).map(|names| !names.is_empty())
}

/// The names of a directory's segments, oldest first.
pub(crate) fn segment_names<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<String>> {
    Ok(names::list(fs, dir)?.into_iter().map(SegmentName::file_name).collect())
}

/// Makes room behind the end of the last segment. What stands there is gone for good before anything is written:
/// else it could come back behind newer records. All that was replayed is durable, too; it is written again for that, as a
/// sync of it may have failed before. Gives how far there is space: on a full disk the log can be read, and takes records
/// when there is some again.
fn reuse<F: FsFile>(file: &F, offset: u64, content: &[u8], bytes: u64) -> std::io::Result<u64> {
    let (replayed, rest) = content.split_at_checked(offset as usize).unwrap_or((content, &[]));
    if rest.iter().any(|&byte| byte != 0) {
        file.set_len(offset)?;
    }
    let allocated = match file.allocate(0..bytes.max(offset)) {
        Ok(()) => bytes.max(offset),
        Err(error) if is_full(&error) => offset,
        Err(error) => return Err(error),
    };
    file.write_all_at(replayed, 0)?;
    file.sync_all()?;
    Ok(allocated)
}

/// Nothing can follow a segment of this name.
pub(super) fn numbers_end(dir: &Path, name: SegmentName) -> Error {
    Error::new(ErrorKind::NumbersEnd).at_path(&dir.join(name.file_name()))
}
