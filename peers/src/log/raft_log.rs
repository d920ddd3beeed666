//! The log of the crate `raft-log`, which Databend's metadata service uses. It is maintained with OpenRaft, has checksums, and
//! its user decides for each flush whether it is synced. Other small logs on crates.io lack one of these.
//!
//! Durability: a write is on stable storage after one fdatasync (`each`, `group`), or in the page cache (`none`). A thread of
//! the crate writes and syncs. The crate keeps up to 1 GiB of records in memory, so that followers can read them.
//!
//! The crate cuts an incomplete record at the end, and refuses other corruption.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Config, Types, chunked_wal};
use tsmith_wal::{Error, LogOptions, Result};

use super::{Backend, Frame, Replayed};

/// A log of `raft-log`. The frames are its payloads.
pub struct RaftLog {
    log: raft_log::RaftLog<Frames>,
}

/// The types of the log: the number of a frame is its log id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Frames;

impl Types for Frames {
    type LogId = u64;
    type LogPayload = Vec<u8>;
    type Vote = u64;
    type Callback = SyncSender<io::Result<()>>;
    type UserData = u64;

    fn log_index(log_id: &u64) -> u64 {
        *log_id
    }

    fn payload_size(payload: &Vec<u8>) -> u64 {
        payload.len() as u64
    }
}

impl RaftLog {
    /// Waits until what was appended is on stable storage, or with the operating system.
    fn flush(&mut self, durable: bool) -> Result<()> {
        let (done, wait) = sync_channel(1);
        let flushed = self.log.flush(durable, Some(done)).and_then(|()| {
            wait.recv().unwrap_or_else(|_| Err(io::Error::other("the thread of raft-log ended")))
        });
        flushed.map_err(|error| Error::io("sync", error))
    }
}

impl Backend for RaftLog {
    const CAN_SKIP_SYNC: bool = true;

    fn open(dir: &Path, options: &LogOptions, replay: &mut Replayed<'_>) -> Result<Self> {
        let config = Config {
            wal: chunked_wal::Config {
                chunk_max_size: Some(options.segment_bytes as usize),
                // The thread would wait for records of other writers, but a group is complete already.
                flush_batch_wait: Some(Duration::ZERO),
                ..chunked_wal::Config::new(dir.display())
            },
            ..Config::default()
        };
        let log = raft_log::RaftLog::open(Arc::new(config)).map_err(|error| Error::io("open", error))?;
        for entry in log.read(0, u64::MAX) {
            let (_, payload) = entry.map_err(|error| Error::io("read", error))?;
            replay(Frame::read(payload)?)?;
        }
        Ok(Self { log })
    }

    fn is_segment(name: &OsStr) -> bool {
        let number = name.to_str().and_then(|name| name.strip_prefix("r-")?.strip_suffix(".wal"));
        number.is_some_and(|number| {
            number.len() == 26 && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
        })
    }

    fn write(&mut self, frames: Vec<Frame>, durable: bool) -> Result<()> {
        let entries = frames.into_iter().map(|frame| (frame.number(), frame.into_bytes()));
        self.log.append(entries).map_err(|error| Error::io("append", error))?;
        self.flush(durable)
    }

    fn truncate(&mut self, before: u64) -> Result<()> {
        if let Some(upto) = before.checked_sub(1).filter(|upto| *upto > 0) {
            self.log.purge(upto).map_err(|error| Error::io("truncate", error))?;
            // The crate removes segments after a sync.
            self.flush(true)?;
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.log.wait_worker_idle().map_err(|error| Error::io("close", error))
    }
}

#[cfg(test)]
mod tests {
    use crate::log::{Adapted, RaftLog};

    tsmith_wal::log_suite!(Adapted<RaftLog>);
    // Not: salvage, which the crate does not have; laws on refused records, because opening changes files before it returns
    // records.
    tsmith_wal::durable_suite!(@ Adapted<RaftLog>;
        records_come_back_in_order
        positions_increase_after_reopening
        positions_increase_after_truncating_all
        a_key_is_refused_or_replayed
        reopening_changes_nothing
        concurrent_records_all_come_back
        segments_roll
        truncating_keeps_later_records
        a_torn_tail_is_cut_anywhere
        corruption_before_the_tail_refuses
        entries_replay_like_records
        a_batch_is_logged_as_its_payload
        segments_of_another_log_are_detected
        operations_are_counted
        trailing_zeros_are_ignored
        reading_equals_opening
        segments_are_known_by_name
    );
}
