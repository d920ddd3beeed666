//! One walk over the records of a member's segments, and where it stopped.

use std::path::{Path, PathBuf};

use super::fold::Fold;
use super::frame::Scan;
use super::salvage::{self, Behind};
use super::{EtcdError, EtcdSegments, SegmentName, Strictness, Tail};
use crate::directory::read_segment;
use crate::fs::Fs;
use crate::scan::used_len;
use crate::{Error, Result};

/// Where a walk stopped.
pub(super) struct Walk {
    pub(super) path: PathBuf,
    pub(super) name: SegmentName,
    is_last: bool,
    /// The end of the last valid record.
    pub(super) offset: u64,
    /// The running checksum there.
    pub(super) crc: u32,
    /// Valid records up to there, in all segments.
    pub(super) records: u64,
    /// Valid records in this segment.
    pub(super) in_segment: u64,
    /// Why it stopped. `None` at the end of the log.
    pub(super) stop: Option<EtcdError>,
    /// The index of the next entry, and the last term and vote, if known.
    next: u64,
    vote: Option<(u64, u64)>,
    /// The segment's bytes, without trailing zeros beyond those a record could contain.
    pub(super) bytes: Vec<u8>,
}

/// Passes every record of these segments to `fold`. Verifies checksums and their chain.
pub(super) fn walk<F: Fs>(fs: &F, dir: &Path, names: &[SegmentName], fold: &mut Fold<'_>) -> Result<Walk> {
    let (mut crc, mut records) = (0, 0);
    for (at, &name) in names.iter().enumerate() {
        let path = dir.join(name.file_name());
        let bytes = read_segment::<EtcdSegments, F>(fs, &path)?;
        let is_last = at + 1 == names.len();
        let mut scan = Scan::new(&bytes, crc, is_last);
        let (mut offset, mut in_segment) = (0, 0);
        let mut stop = loop {
            match scan.next().and_then(|record| record.map(|record| fold.take(name, &record)).transpose()) {
                Ok(None) => break None,
                Ok(Some(())) => (offset, in_segment) = (scan.at, in_segment + 1),
                Err(error) => break Some(error),
            }
        };
        records += in_segment;
        if stop.is_none() && offset == 0 && !is_last {
            stop = Some(EtcdError::Headless);
        }
        crc = scan.crc;
        if stop.is_some() || is_last {
            let Fold { next, vote, .. } = *fold;
            return Ok(Walk {
                path,
                name,
                is_last,
                offset,
                crc,
                records,
                in_segment,
                stop,
                next,
                vote,
                bytes,
            });
        }
    }
    Err(Error::from(EtcdError::SegmentMissing { index: 0 }).at_path(dir))
}

impl Walk {
    fn at_place(&self, error: EtcdError) -> Error {
        Error::from(error).at_path(&self.path).at_offset(self.offset)
    }

    /// Why the walk stopped. `None` at the end of the log.
    pub(super) fn stopped(&self) -> Option<Error> {
        self.stop.clone().map(|error| self.at_place(error))
    }

    /// Why the walk stopped, if it is corruption. `None` at the end of the log or a torn tail. Some places
    /// that etcd treats as a torn tail count as corruption, because no crash leaves them.
    pub(super) fn corruption(&self, strictness: Strictness) -> Option<Error> {
        let is_etcd = strictness == Strictness::Etcd;
        let error = match &self.stop {
            Some(error) if !error.is_torn() => error.clone(),
            _ if is_etcd => return None,
            Some(_) if !self.is_last => EtcdError::CutShort,
            None if self.name.seq > 0 && used_len(&self.bytes) == 0 => EtcdError::EmptySegment,
            _ if !self.has_head() => EtcdError::Headless,
            _ => return None,
        };
        Some(self.at_place(error))
    }

    /// Whether the segment has the records that are durable before it gets its name: the checksum and the
    /// metadata, and in the first segment a snapshot record.
    pub(super) fn has_head(&self) -> bool {
        self.in_segment >= if self.name.seq == 0 { 3 } else { 2 }
    }

    /// The segment's bytes up to the stop.
    pub(super) fn read(&self) -> &[u8] {
        self.bytes.get(..self.offset as usize).unwrap_or_default()
    }

    /// The bytes after the stop, unless they are all zero and no record is incomplete.
    pub(super) fn tail(&self) -> Option<Tail> {
        let bytes = used_len(&self.bytes).saturating_sub(self.offset);
        let is_torn = self.stop.as_ref().is_some_and(EtcdError::is_torn);
        if bytes == 0 && !is_torn {
            return None;
        }
        let Behind { records, acknowledged } =
            salvage::behind(&self.bytes, self.offset, self.next, self.vote);
        let (path, offset, copy) = (self.path.clone(), self.offset, None);
        Some(Tail { path, offset, is_torn, bytes, records, acknowledged, copy })
    }
}
