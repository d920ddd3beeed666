//! The log of the crate `raft-engine`, which TiKV uses.
//!
//! Durability: a write is on stable storage after one fdatasync (`each`, `group`), or in the page cache (`none`).
//! A group is one batch, so its records share a checksum, and LZ4 compresses a batch above 8 KiB.
//!
//! The crate cuts a torn tail. It does not report what it cut.

use std::ffi::OsStr;
use std::path::Path;

use protobuf::well_known_types::BytesValue;
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize};
use tsmith_wal::{Error, ErrorKind, LogOptions, RecoveryMode, Result};

use super::frame::number;
use super::{Backend, Frame, Replayed};

/// The crate keeps logs of many Raft groups. This is the only one here.
const GROUP: u64 = 1;

/// Bytes that one read of the recovery asks for.
const READ_BYTES: usize = 4 << 20;

/// A log of `raft-engine`. The frames are the entries of one Raft group.
pub struct RaftEngine {
    engine: Engine,
}

struct Entries;

impl MessageExt for Entries {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        number(&entry.value)
    }
}

impl Backend for RaftEngine {
    const CAN_SKIP_SYNC: bool = true;

    fn open(dir: &Path, options: &LogOptions, replay: &mut Replayed<'_>) -> Result<Self> {
        let dir = dir.to_str().ok_or_else(|| error("open", "the path is not UTF-8"))?;
        let segment = ReadableSize(options.segment_bytes.into());
        let config = Config {
            dir: dir.to_owned(),
            recovery_mode: match options.recovery {
                RecoveryMode::Salvage => raft_engine::RecoveryMode::TolerateAnyCorruption,
                _ => raft_engine::RecoveryMode::TolerateTailCorruption,
            },
            target_file_size: segment,
            // So that a truncation drops files. The default keeps 10 GB.
            purge_threshold: segment,
            ..Config::default()
        };
        let engine = Engine::open(config).map_err(|e| error("open", e))?;
        if let (Some(first), Some(last)) = (engine.first_index(GROUP), engine.last_index(GROUP)) {
            let (mut next, mut entries) = (first, Vec::new());
            while next <= last {
                let read =
                    engine.fetch_entries_to::<Entries>(GROUP, next, last + 1, Some(READ_BYTES), &mut entries);
                next += read.map_err(|e| error("read", e))? as u64;
                if entries.is_empty() {
                    return Err(Error::new(ErrorKind::Missing { first: next, last }));
                }
                for entry in entries.drain(..) {
                    replay(Frame::read(entry.value)?)?;
                }
            }
        }
        Ok(Self { engine })
    }

    fn is_segment(name: &OsStr) -> bool {
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".raftlog").or_else(|| name.strip_suffix(".rewrite")));
        number.is_some_and(|number| number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_digit()))
    }

    fn write(&mut self, frames: Vec<Frame>, durable: bool) -> Result<()> {
        let entries: Vec<BytesValue> = frames
            .into_iter()
            .map(|frame| {
                let mut entry = BytesValue::new();
                entry.value = frame.into_bytes();
                entry
            })
            .collect();
        let mut batch = LogBatch::default();
        batch.add_entries::<Entries>(GROUP, &entries).map_err(|e| error("append", e))?;
        self.engine.write(&mut batch, durable).map_err(|e| error("write", e))?;
        Ok(())
    }

    fn truncate(&mut self, before: u64) -> Result<()> {
        if self.engine.first_index(GROUP).is_some_and(|first| first < before) {
            let mut batch = LogBatch::default();
            batch.add_command(GROUP, Command::Compact { index: before });
            self.engine.write(&mut batch, false).map_err(|e| error("truncate", e))?;
            self.engine.purge_expired_files().map_err(|e| error("truncate", e))?;
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

fn error(operation: &'static str, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::io(operation, std::io::Error::other(why))
}

#[cfg(test)]
mod tests {
    use crate::log::{Adapted, RaftEngine};

    tsmith_wal::log_suite!(Adapted<RaftEngine>);
    // Not: laws on corruption, because the crate takes corruption for a torn tail; laws on refused records, because opening
    // changes files before it returns records; laws that expect one segment, because the crate keeps two files.
    tsmith_wal::durable_suite!(@ Adapted<RaftEngine>;
        records_come_back_in_order
        positions_increase_after_reopening
        positions_increase_after_truncating_all
        a_key_is_refused_or_replayed
        reopening_changes_nothing
        concurrent_records_all_come_back
        segments_roll
        truncating_keeps_later_records
        a_torn_tail_is_cut_anywhere
        entries_replay_like_records
        a_batch_is_logged_as_its_payload
        segments_of_another_log_are_detected
        operations_are_counted
        reading_equals_opening
    );
}
