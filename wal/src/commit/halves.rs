//! The two halves of a format that group commit uses.

use std::fmt::Debug;

use crate::error::is_passing;
use crate::metrics::Counts;
use crate::{Error, Position, Result};

/// The half that orders records and builds their frames. Used under the lock; does no I/O.
pub(crate) trait Framer: Debug + Send + Sized + 'static {
    /// A record to push.
    type Item<'a>: Copy;
    /// Records handed to the writer.
    type Group: Debug;
    /// The other half.
    type Writer: Writer<Self::Group>;

    /// Whether `item` fits. A format that cannot take a group back after a full disk returns true only if the
    /// file already has the space.
    fn has_room(&self, item: Self::Item<'_>) -> Result<bool>;

    /// Makes space for `item`, or takes one step towards it. No record is pending.
    fn make_room(&mut self, writer: &mut Self::Writer, item: Self::Item<'_>) -> Result<(), Failure>;

    /// Orders `item`, which fits. Everything up to `durable` is on stable storage. Returns the bytes of its
    /// frame.
    fn push(&mut self, item: Self::Item<'_>, durable: Position) -> usize;

    /// The position of the last record, or one after it.
    fn tail(&self) -> Position;

    /// Bytes of pending records.
    fn waiting(&self) -> usize;

    /// Takes the pending records.
    fn take(&mut self) -> Self::Group;

    /// Takes a group back from the writer, after success or failure.
    fn give_back(&mut self, group: Self::Group, writer: &Self::Writer);

    /// Drops the pending records after the write of earlier ones failed with [`Failure::Passing`]. Later
    /// positions are greater.
    fn take_back(&mut self) -> Result<()>;

    /// Ends the segment, which is durable. No record is pending. Returns a position between the records so
    /// far and later ones.
    fn end(&mut self, writer: &mut Self::Writer) -> Result<Position, Failure>;
}

/// The half that writes to files. The leader uses it, without the lock.
pub(crate) trait Writer<G>: Debug + Send {
    /// Writes a non-empty group of `records` records. Returns its bytes.
    fn write(&mut self, group: &mut G, records: u64) -> Result<u64, Failure>;

    /// Makes written bytes durable.
    fn sync(&mut self) -> Result<(), Failure>;

    /// Counters since the log was opened.
    fn counts(&self) -> &Counts;
}

#[derive(Debug)]
pub(crate) enum Failure {
    /// The log is intact, and the same call can succeed later. After a write, the group was taken back.
    Passing(Error),
    /// The state on disk is unknown.
    Broken(Error),
}

impl Failure {
    /// The failure of an operation that no thread waits for yet.
    pub(crate) fn of(error: Error) -> Self {
        if is_passing(&error) { Self::Passing(error) } else { Self::Broken(error) }
    }
}
