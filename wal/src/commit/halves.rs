//! What the group commit asks of a format: its two halves.

use std::fmt::Debug;

use crate::error::is_passing;
use crate::metrics::Counts;
use crate::{Error, Position, Result};

/// The half of a format that orders records and makes frames of them; under the lock, without I/O.
pub(crate) trait Framer: Debug + Send + Sized + 'static {
    /// A record as it is pushed.
    type Item<'a>: Copy;
    /// Records on their way to the writer.
    type Group: Debug;
    /// The other half.
    type Writer: Writer<Self::Group>;

    /// Whether there is room for `item`. A format that cannot take a group back after a full disk says so only if the file
    /// has the space.
    fn has_room(&self, item: Self::Item<'_>) -> Result<bool>;

    /// Makes room for `item`, or takes a step to it. Nothing waits.
    fn make_room(&mut self, writer: &mut Self::Writer, item: Self::Item<'_>) -> Result<(), Failure>;

    /// Orders `item`, for which there is room. All up to `durable` is on stable storage. Gives the bytes of its frame.
    fn push(&mut self, item: Self::Item<'_>, durable: Position) -> usize;

    /// The position of the last record, or of a place behind it.
    fn tail(&self) -> Position;

    /// Bytes that wait to be written.
    fn waiting(&self) -> usize;

    /// Takes what waits.
    fn take(&mut self) -> Self::Group;

    /// The writer is done with a group, well or not.
    fn give_back(&mut self, group: Self::Group, writer: &Self::Writer);

    /// Drops what waits, after a write of what was before it failed with [`Failure::Passing`]. Later positions are greater.
    fn take_back(&mut self) -> Result<()>;

    /// Ends the segment, which is durable. Nothing waits. Gives a position between the records so far and later ones.
    fn end(&mut self, writer: &mut Self::Writer) -> Result<Position, Failure>;
}

/// The half of a format that writes to files; the leader's, without the lock.
pub(crate) trait Writer<G>: Debug + Send {
    /// Writes a group of so many records, which is not empty. Gives its bytes.
    fn write(&mut self, group: &mut G, records: u64) -> Result<u64, Failure>;

    /// Makes durable what was written.
    fn sync(&mut self) -> Result<(), Failure>;

    /// What was done since the log was opened.
    fn counts(&self) -> &Counts;
}

#[derive(Debug)]
pub(crate) enum Failure {
    /// The log is in order and the same call may succeed later; of a write, the group was taken back.
    Passing(Error),
    /// Nobody knows what is on disk.
    Broken(Error),
}

impl Failure {
    /// Of something that nobody waits for yet.
    pub(crate) fn of(error: Error) -> Self {
        if is_passing(&error) { Self::Passing(error) } else { Self::Broken(error) }
    }
}
