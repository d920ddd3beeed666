//! The log of the crate `okaywal`, which was written for the database BonsaiDb.
//!
//! Durability: a write is on stable storage after one fdatasync (`each`, `group`). The crate cannot write without a sync, so
//! the log has no other mode. A group is one entry, and its records are the chunks of the entry.
//!
//! The crate skips entries without an end, wherever they are, and refuses wrong checksums. It does not report what it skipped.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};
use tsmith_wal::{Error, LogOptions, Result};

use super::{Backend, Frame, Replayed};

/// Entries that the recovery reads ahead.
const READ_AHEAD: usize = 64;

/// A log of `okaywal`. A frame is a chunk of an entry.
pub struct Okaywal {
    wal: WriteAheadLog,
    dropped: Arc<Dropped>,
    /// Each entry with the number of its last record, from the oldest that the log has.
    entries: VecDeque<(EntryId, u64)>,
}

/// Which entries the crate may drop. Its thread asks before it reuses a segment.
#[derive(Debug, Default)]
struct Dropped {
    state: Mutex<DroppedState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct DroppedState {
    upto: EntryId,
    is_closed: bool,
}

impl Dropped {
    fn change(&self, f: impl FnOnce(&mut DroppedState)) {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits until the entries up to this one may be dropped. An error ends the thread and keeps the segment.
    fn wait(&self, entry: EntryId) -> io::Result<()> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut DroppedState| state.upto < entry && !state.is_closed;
        let state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        if state.upto < entry { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

/// The id and the chunks of an entry. `None` after the last one.
type Recovered = Option<(EntryId, Vec<Vec<u8>>)>;

/// What the crate asks its user.
#[derive(Debug)]
struct Manager {
    /// Receives the entries while the log opens.
    recovered: SyncSender<Recovered>,
    dropped: Arc<Dropped>,
}

impl LogManager for Manager {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let chunks = match entry.read_all_chunks() {
            Ok(Some(chunks)) => chunks,
            // Incomplete entries: a crash interrupted the write.
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let sent = self.recovered.send(Some((entry.id(), chunks)));
        sent.map_err(|_| io::Error::other("a record was refused"))
    }

    fn checkpoint_to(&mut self, last: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        self.dropped.wait(last)
    }
}

impl Okaywal {
    /// Opens the log and sends its entries.
    fn open_in(dir: PathBuf, options: &LogOptions, manager: Manager) -> io::Result<WriteAheadLog> {
        let segment = options.segment_bytes;
        let recovered = manager.recovered.clone();
        // The share of free space in a new segment is that of the crate's defaults.
        let config = Configuration::default_for(dir)
            .checkpoint_after_bytes(segment.into())
            .preallocate_bytes(segment.saturating_add(segment / 3));
        let opened = config.open(manager);
        // This fails if a record was refused.
        let _ = recovered.send(None);
        opened
    }
}

impl Backend for Okaywal {
    const CAN_SKIP_SYNC: bool = false;

    fn open(dir: &Path, options: &LogOptions, replay: &mut Replayed<'_>) -> Result<Self> {
        let dropped = Arc::new(Dropped::default());
        let (to, recovered) = sync_channel(READ_AHEAD);
        let manager = Manager { recovered: to, dropped: Arc::clone(&dropped) };
        let (dir, options) = (dir.to_owned(), *options);
        let opening = thread::spawn(move || Self::open_in(dir, &options, manager));
        let mut entries = VecDeque::new();
        let replayed = replay_all(recovered, &mut entries, replay);
        let opened = opening.join().unwrap_or_else(|_| Err(io::Error::other("okaywal panicked")));
        let opened =
            opened.map(|wal| Self { wal, dropped, entries }).map_err(|error| Error::io("open", error));
        if let Err(refused) = replayed {
            // The log may have opened before it knew of the refusal.
            let _ = opened.map(Self::close);
            return Err(refused);
        }
        opened
    }

    fn is_segment(name: &OsStr) -> bool {
        let id = name.to_str().and_then(|name| name.strip_prefix("wal-"));
        id.is_some_and(|id| id.parse::<u64>().is_ok_and(|number| number.to_string() == id))
    }

    fn write(&mut self, frames: Vec<Frame>, _: bool) -> Result<()> {
        let write = || -> io::Result<EntryId> {
            let mut entry = self.wal.begin_entry()?;
            for frame in &frames {
                entry.write_chunk(frame.bytes())?;
            }
            entry.commit()
        };
        let id = write().map_err(|error| Error::io("write", error))?;
        self.entries.extend(frames.last().map(|frame| (id, frame.number())));
        Ok(())
    }

    fn roll(&mut self) -> Result<()> {
        // The crate would give the segment after an empty one the same name.
        if self.entries.is_empty() {
            return Ok(());
        }
        self.wal.checkpoint_active().map_err(|error| Error::io("cut", error))
    }

    fn truncate(&mut self, before: u64) -> Result<()> {
        let count = self.entries.partition_point(|(_, last)| *last < before);
        if let Some((id, _)) = self.entries.drain(..count).next_back() {
            self.dropped.change(|state| state.upto = id);
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.dropped.change(|state| state.is_closed = true);
        match self.wal.shutdown() {
            // The thread waited for a segment with records that may not be dropped, and has ended.
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::BrokenPipe) => {
                Ok(())
            }
            closed => closed.map_err(|error| Error::io("close", error)),
        }
    }
}

/// Passes the recovered records to `replay`.
fn replay_all(
    recovered: Receiver<Recovered>,
    entries: &mut VecDeque<(EntryId, u64)>,
    replay: &mut Replayed<'_>,
) -> Result<()> {
    for (id, chunks) in recovered.into_iter().map_while(|entry| entry) {
        let mut last = 0;
        for chunk in chunks {
            let frame = Frame::read(chunk)?;
            last = frame.number();
            replay(frame)?;
        }
        entries.push_back((id, last));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::log::{Adapted, Okaywal};

    tsmith_wal::log_suite!(Adapted<Okaywal>);
    // Not: laws on torn tails and corruption, because the crate cannot tell one from the other; laws on refused records,
    // because opening changes files before it returns records.
    tsmith_wal::durable_suite!(@ Adapted<Okaywal>;
        records_come_back_in_order
        positions_increase_after_reopening
        positions_increase_after_truncating_all
        a_key_is_refused_or_replayed
        reopening_changes_nothing
        concurrent_records_all_come_back
        segments_roll
        truncating_keeps_later_records
        entries_replay_like_records
        a_batch_is_logged_as_its_payload
        segments_of_another_log_are_detected
        operations_are_counted
        trailing_zeros_are_ignored
        reading_equals_opening
        segments_are_known_by_name
    );
}
