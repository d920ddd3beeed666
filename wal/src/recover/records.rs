//! Replay: the records of a segment, one by one on this thread.

use super::report::Progress;
use crate::entry::Entry;
use crate::scan::{Item, Scan, SegmentFormat, Stop};
use crate::{Error, ErrorKind, Position, Record, Result};

/// Takes what an opened log holds, oldest first; see [`Log::open_replaying`](crate::Log::open_replaying).
pub trait Replay: Send {
    /// Takes one record.
    fn entry(&mut self, at: Position, entry: &Entry<'_>) -> Result<()>;

    /// Takes how far the replay has come.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }

    /// All records were taken. Nothing on disk was changed yet: an error here refuses the opening, as one of a record does.
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Replays the segments of a walk, one after the other.
pub(super) trait ReadSegment<T: SegmentFormat> {
    /// Replays the records behind `scan` up to a stop or to the end of the segment; may do `meanwhile` beside that. The scan
    /// may be beyond the stop then.
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

    /// All segments were read.
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What was replayed of a segment.
pub(super) struct Count {
    /// A refused record is noted, and the next one is read.
    skips_refused: bool,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Where refused records begin, and why they are refused.
    pub(super) refused: Vec<(u64, String)>,
}

impl Count {
    pub(super) fn new(skips_refused: bool) -> Self {
        Self { skips_refused, records: 0, bytes: 0, refused: Vec::new() }
    }

    /// Counts a record of so many bytes, which was `taken` or refused.
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

/// Gives each record to a function, on this thread.
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

/// What `replay` answered. The place in the payload that it may name is not the place in the file.
pub(super) fn as_refusal(error: Error) -> Error {
    if matches!(error.kind(), ErrorKind::Refused(_)) { error } else { Error::refused(error) }
}

/// What `replay` said of a record that it refused.
fn reason_of(refused: &Error) -> String {
    match refused.kind() {
        ErrorKind::Refused(source) => source.to_string(),
        kind => kind.to_string(),
    }
}
