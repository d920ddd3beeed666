//! Opening: replay first, change afterwards.

use std::ffi::OsStr;
use std::path::Path;

use super::format::{METADATA, TERM};
use super::halves::LogFramer;
use super::replay::{End, Sink, read};
use crate::etcd::HardState;
use crate::etcd::create::FIRST;
use crate::etcd::framer::WalFramer;
use crate::etcd::names::{self, SegmentName};
use crate::etcd::pipeline::Pipeline;
use crate::etcd::writer::{Segment, WalWriter, lock_segments};
use crate::fs::Fs;
use crate::recover;
use crate::{Error, ErrorKind, LogOptions, Recovery, Result};

/// The space of a segment of which there is only the head: a block of most file systems.
const HEAD_BYTES: u64 = 4096;

pub(super) fn open<F: Fs>(
    fs: F,
    dir: &Path,
    options: &LogOptions,
    sink: impl Sink,
) -> Result<(LogFramer<F>, WalWriter<F>, Recovery)> {
    let others = recover::segment_names(&fs, dir)?;
    if let Some(other) = others.iter().find(|name| SegmentName::parse(OsStr::new(name)).is_none()) {
        // Taken for an empty directory, the records of the other log would be lost from sight.
        return Err(Error::new(ErrorKind::OtherLog).at_path(&dir.join(other)));
    }
    let names = names::list(&fs, dir)?;
    let mut segments = lock_segments(&fs, dir, &names)?;
    let (found, last) = read(&fs, dir, options.recovery, &names, sink)?;
    // Until here nothing was changed.
    let bytes = options.segment_bytes.into();
    let pipeline = Pipeline::on_demand(&fs, dir, bytes, HEAD_BYTES.min(bytes))?;
    let mut resumed = None;
    let next = match last {
        Some((End::At(offset), content)) => {
            resumed = Some((offset, content));
            None
        }
        Some((End::Left, _)) => {
            let Segment { name, .. } = segments[segments.len() - 1];
            let seq = name.seq.checked_add(1).ok_or_else(|| numbers_end(dir, name))?;
            Some(SegmentName { seq, index: found.last + 1 })
        }
        // Without its head nothing in it is left.
        Some((End::Headless, _)) => segments.pop().map(|segment| segment.name),
        None => Some(FIRST),
    };
    if let Some(removed) = next.filter(|next| names.contains(next)) {
        let path = dir.join(removed.file_name());
        let removed = fs.remove(&path).and_then(|()| fs.sync_dir(dir));
        removed.map_err(|error| Error::io("remove", error).at_path(&path))?;
    }
    let mut writer = WalWriter::new(fs, dir, bytes, segments, 0);
    writer.supply(Some(pipeline));
    let mut end = 0;
    if let Some((offset, content)) = &resumed {
        let (replayed, rest) = content.split_at_checked(*offset as usize).unwrap_or((content, &[]));
        writer.resume(replayed, rest.iter().any(|&byte| byte != 0), bytes)?;
        end = *offset;
    }
    let mut framer = WalFramer::new(end, found.crc, Some(METADATA), found.last);
    if found.marked > 0 {
        framer.state = HardState { term: TERM, vote: TERM, commit: found.marked };
    }
    if let Some(next) = next {
        writer.begin(next, &mut framer)?;
    }
    Ok((LogFramer::new(framer, &writer, bytes), writer, found.recovery))
}

/// Whether a directory has segments of etcd's name.
pub(crate) fn holds_segments<F: Fs>(fs: &F, dir: &Path) -> Result<bool> {
    names::list(fs, dir).map(|names| !names.is_empty())
}

/// The names of a directory's segments, oldest first.
pub(crate) fn segment_names<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<String>> {
    Ok(names::list(fs, dir)?.into_iter().map(SegmentName::file_name).collect())
}

/// Nothing can follow a segment of this name.
pub(super) fn numbers_end(dir: &Path, name: SegmentName) -> Error {
    Error::new(ErrorKind::NumbersEnd).at_path(&dir.join(name.file_name()))
}
