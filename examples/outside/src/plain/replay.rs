//! Reading the segments of a directory, one after the other.

use std::path::Path;

use tsmith_wal::fs::{Fs, OsFs};
use tsmith_wal::{
    Error, ErrorKind, Gap, GapKind, NotReplayed, Position, Recovery, RecoveryMode, ReplayFn, Result,
    SEGMENT_FILE_BYTES_MAX,
};

use super::segment::{self, HEAD_BYTES, Segment};

/// Where a replay ended.
#[derive(Debug, Default)]
pub(super) struct End {
    /// The number of the last segment; 0 if there is none.
    pub(super) segment: u64,
    /// Where its last record ends, if records can be appended behind it.
    pub(super) offset: Option<u64>,
    /// The number of the next record.
    pub(super) number: u64,
}

/// The numbers of the segments in a directory, ascending.
pub(super) fn segments(fs: &OsFs, dir: &Path) -> Result<Vec<u64>> {
    let names = fs.list(dir).map_err(|error| Error::io("list", error).at_path(dir))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Gives all records to `replay`, and changes nothing.
pub(super) fn replay(
    fs: &OsFs,
    dir: &Path,
    mode: RecoveryMode,
    replay: &mut ReplayFn<'_>,
) -> Result<(Recovery, End)> {
    let numbers = segments(fs, dir)?;
    let mut walk = Walk { mode, replay, recovery: Recovery::default(), end: End::default() };
    for &number in &numbers {
        let path = dir.join(segment::name(number));
        let bytes = fs.read_within(&path, SEGMENT_FILE_BYTES_MAX);
        let bytes = bytes.map_err(|error| Error::io("read", error).at_path(&path))?;
        walk.end.segment = number;
        walk.segment(
            &path,
            &Segment(&bytes),
            numbers.first() == Some(&number),
            numbers.last() == Some(&number),
        )?;
    }
    Ok((walk.recovery, walk.end))
}

struct Walk<'a, 'r> {
    mode: RecoveryMode,
    replay: &'a mut ReplayFn<'r>,
    recovery: Recovery,
    end: End,
}

impl Walk<'_, '_> {
    fn segment(&mut self, path: &Path, segment: &Segment<'_>, is_first: bool, is_last: bool) -> Result<()> {
        let (mut at, mut kept) = (0, 0);
        let mut is_whole = true;
        if let Some(number) = segment.first_number() {
            if !is_first && number > self.end.number {
                self.missing(path, number)?;
            }
            self.end.number = number.max(self.end.number);
            at = HEAD_BYTES;
        }
        // After a gap the number of the next record is not known.
        let mut follows = at == HEAD_BYTES;
        loop {
            let found = segment.record(at).filter(|found| {
                at >= HEAD_BYTES
                    && if follows { found.number == self.end.number } else { found.number >= self.end.number }
            });
            if let Some(found) = found {
                let position = Position(self.end.segment << 32 | found.end as u64);
                match (self.replay)(position, found.record) {
                    Ok(()) => {}
                    Err(error) if self.mode == RecoveryMode::Salvage && is_refused(&error) => {
                        let (path, offset, reason) = (path.to_owned(), at as u64, error.kind().to_string());
                        self.recovery.refused.push(NotReplayed { path, offset, reason });
                    }
                    Err(error) => return Err(error.at_path(path).at_offset(at as u64)),
                }
                kept += 1;
                self.recovery.records += 1;
                self.recovery.bytes += found.record.payload.len() as u64;
                (self.end.number, at, follows) = (found.number.saturating_add(1), found.end, true);
                continue;
            }
            let used = segment.used_len();
            if at >= HEAD_BYTES && used <= at {
                break;
            }
            let resumed = segment.search(at + 1, self.end.number);
            let is_torn = is_last && resumed.is_none() && at >= HEAD_BYTES;
            let found =
                if at < HEAD_BYTES { "not the head of a segment" } else { "not a record of this log" };
            if !is_torn && self.mode != RecoveryMode::Salvage {
                return Err(Error::new(ErrorKind::CorruptSegment { found })
                    .at_path(path)
                    .at_offset(at as u64));
            }
            is_whole &= is_torn;
            self.recovery.gaps.push(Gap {
                kind: if is_torn { GapKind::TornTail } else { GapKind::Corruption },
                path: path.to_owned(),
                offset: at as u64,
                kept_records: kept,
                dropped_bytes: (resumed.unwrap_or(used) - at) as u64,
                resumed_at: resumed.map(|to| to as u64),
                missing: None,
                found,
            });
            let Some(to) = resumed else { break };
            (at, follows) = (to, false);
        }
        self.recovery.segments += u64::from(kept > 0);
        self.end.offset = is_whole.then_some(at as u64);
        Ok(())
    }

    /// Records are missing before the segment at `path`, which begins with this number.
    fn missing(&mut self, path: &Path, number: u64) -> Result<()> {
        let missing = self.end.number..number;
        if self.mode != RecoveryMode::Salvage {
            let kind = ErrorKind::Missing { first: missing.start, last: missing.end - 1 };
            return Err(Error::new(kind).at_path(path));
        }
        self.recovery.gaps.push(Gap {
            kind: GapKind::MissingSegment,
            path: path.to_owned(),
            offset: 0,
            kept_records: 0,
            dropped_bytes: 0,
            resumed_at: None,
            missing: Some(missing),
            found: "records are missing before this segment",
        });
        Ok(())
    }
}

fn is_refused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused(_))
}
