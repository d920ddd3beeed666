//! Opening: replay first, change afterwards.

use std::path::Path;

use super::constants::{METADATA, TERM};
use super::halves::LogFramer;
use crate::etcd::HardState;
use crate::etcd::create::FIRST;
use crate::etcd::framer::WalFramer;
use crate::etcd::names::SegmentName;
use crate::etcd::pipeline::Pipeline;
use crate::etcd::scan::{EtcdCarry, EtcdSegments};
use crate::etcd::writer::{WalWriter, lock_segments};
use crate::fs::Fs;
use crate::recover::{Found, Walk};
use crate::{Error, ErrorKind, LogOptions, Recovery, Result, directory, formats};

/// The space of a segment of which there is only the head: a block of most file systems.
const HEAD_BYTES: u64 = 4096;

pub(super) fn open<F: Fs>(
    fs: F,
    dir: &Path,
    options: &LogOptions,
    replay: impl FnOnce(Walk<'_, EtcdSegments, F>) -> Result<Found<EtcdSegments>>,
) -> Result<(LogFramer<F>, WalWriter<F>, Recovery)> {
    formats::refuse_other::<EtcdSegments, F>(&fs, dir)?;
    let names = directory::segments::<EtcdSegments, F>(&fs, dir)?;
    let segments = lock_segments(&fs, dir, &names)?;
    let found = replay(Walk::new(&fs, dir, options.recovery.into(), 0)?)?;
    // Until here nothing was changed.
    let EtcdCarry { crc, next: next_index, durable } = found.carry;
    let bytes = options.segment_bytes.into();
    let pipeline = Pipeline::new(&fs, dir, bytes, HEAD_BYTES.min(bytes), false)?;
    let (mut next, mut end, mut content) = (None, 0, Vec::new());
    match found.segments.last() {
        None => next = Some(FIRST),
        Some(last) if last.is_corrupt => {
            let numbers_end = || Error::new(ErrorKind::NumbersEnd).at_path(&dir.join(last.name.file_name()));
            let seq = last.name.seq.checked_add(1).ok_or_else(numbers_end)?;
            next = Some(SegmentName { seq, index: next_index });
        }
        Some(last) => {
            end = last.end;
            content = directory::read_segment::<EtcdSegments, F>(&fs, &dir.join(last.name.file_name()))?;
        }
    }
    let mut writer = WalWriter::new(fs, dir, bytes, segments, 0);
    writer.supply(Some(pipeline));
    if next.is_none() {
        let (replayed, rest) = content.split_at_checked(end as usize).unwrap_or((&content, &[]));
        writer.resume(replayed, rest.iter().any(|&byte| byte != 0), bytes)?;
    }
    let mut framer = WalFramer::new(end, crc, Some(METADATA), next_index.saturating_sub(1));
    if durable > 0 {
        framer.state = HardState { term: TERM, vote: TERM, commit: durable };
    }
    if let Some(next) = next {
        writer.begin(next, &mut framer)?;
    }
    Ok((LogFramer::new(framer, &writer, bytes), writer, found.recovery))
}
