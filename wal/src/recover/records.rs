//! Replays the records of one segment, one by one on the calling thread.

use super::report::Progress;
use crate::entry::Entry;
use crate::scan::{Item, Scan, SegmentFormat, Stop};
use crate::{Error, ErrorKind, Position, Record, Result};

/// Receives the records of a log that is opened, oldest first; see
/// [`Log::open_replaying`](crate::Log::open_replaying).
pub trait Replay: Send {
    /// Receives one record.
    fn entry(&mut self, at: Position, entry: &Entry<'_>) -> Result<()>;

    /// Receives the progress of the replay.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }

    /// Called after the last record, before anything on disk changes. An error here fails the open, like an
    /// error for a record.
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Replays the segments of a walk one after the other.
pub(super) trait ReadSegment<T: SegmentFormat> {
    /// Replays the records after `scan` up to a stop or the end of the segment. May run `meanwhile` in
    /// parallel. Afterwards the scan can be beyond the stop.
    fn read<'s>(
        &mut self,
        bytes: &'s [u8],
        scan: &mut T::Scan<'s>,
        count: &mut Count,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Option<Stop>>;

    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }

    /// Called after the last segment.
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What was replayed of a segment.
pub(super) struct Count {
    /// Whether to note a refused record and continue.
    skips_refused: bool,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Offsets of refused records, and the reasons.
    pub(super) refused: Vec<(u64, String)>,
}

impl Count {
    pub(super) fn new(skips_refused: bool) -> Self {
        Self { skips_refused, records: 0, bytes: 0, refused: Vec::new() }
    }

    /// Counts a record of `bytes` bytes. `taken` is the callback's answer.
    pub(super) fn add(&mut self, offset: u64, bytes: usize, taken: Result<()>) -> Result<()> {
        match taken.map_err(as_refusal) {
            Err(error) if self.skips_refused => self.refused.push((offset, reason_of(&error))),
            taken => taken.map_err(|error| error.at_offset(offset))?,
        }
        self.records += 1;
        self.bytes += bytes as u64;
        Ok(())
    }
}

/// Passes each record to a function on the calling thread.
pub(super) struct OneByOne<'r>(pub(super) &'r mut dyn FnMut(Item, Record<'_>) -> Result<()>);

impl<T: SegmentFormat> ReadSegment<T> for OneByOne<'_> {
    fn read<'s>(
        &mut self,
        bytes: &'s [u8],
        scan: &mut T::Scan<'s>,
        count: &mut Count,
        _: &mut dyn FnMut(),
    ) -> Result<Option<Stop>> {
        let mut payload = Vec::new();
        loop {
            let item = match scan.next_item() {
                Ok(Some(item)) => item,
                end => return Ok(end.err()),
            };
            let (kind, len) = match T::unpack(bytes, item, 0, &mut payload) {
                Ok(unpacked) => unpacked,
                Err(stop) => return Ok(Some(stop)),
            };
            let payload = payload.get(..len).unwrap_or_default();
            count.add(item.offset, len, (self.0)(item, Record { kind, payload }))?;
        }
    }
}

/// The callback's error as a refusal. An offset in it refers to the payload, not to the file.
pub(super) fn as_refusal(error: Error) -> Error {
    if matches!(error.kind(), ErrorKind::Refused(_)) { error } else { Error::refused(error) }
}

/// The callback's reason for refusing a record.
fn reason_of(refused: &Error) -> String {
    match refused.kind() {
        ErrorKind::Refused(source) => source.to_string(),
        kind => kind.to_string(),
    }
}
