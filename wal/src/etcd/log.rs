//! `EtcdLog`: an ordinary log in etcd's framing.
//!
//! ```text
//! group:   state{commit: durable before}  entry  entry  ...     one write, one fdatasync
//! entry:   term 1, index 1, 2, 3, ..., data: kind of the record, payload
//! close:   state{commit: all}, and the file is cut to its length
//! ```
//!
//! A real etcd can read these segments. The position of a record is twice its index; a cut lies between two
//! records.
//!
//! The state at the head of each group states how far the log was durable when the group was written: see
//! [`scan`](super::scan).

mod halves;

use std::ffi::OsStr;
use std::path::Path;

use super::HardState;
use super::allocate::remove_unused;
use super::create::FIRST;
use super::framer::WalFramer;
use super::names::SegmentName;
use super::scan::{EtcdCarry, EtcdSegments, METADATA};
use super::writer::{WalWriter, lock_segments};
use crate::commit::GroupCommit;
use crate::directory;
use crate::fs::{Fs, OsFs};
use crate::recover::{Found, Walk};
use crate::replay::replay_of;
use crate::{
    Durable, Log, LogOptions, Metrics, Position, Record, Recovery, RecoveryMode, Replay, ReplayFn, Result,
};
use halves::{LogFramer, TERM};

/// Space of a segment that holds only its head: one block on most file systems.
const HEAD_BYTES: u64 = 4096;

/// Whether the segments in `dir` belong to an [`EtcdLog`], according to their metadata, and not to a member
/// of etcd.
pub fn is_log<F: Fs>(fs: &F, dir: &Path) -> bool {
    super::metadata(fs, dir).is_ok_and(|found| found.as_deref() == Some(METADATA))
}

/// A log in etcd's segments, with group commit.
///
/// In [`RecoveryMode::Salvage`](crate::RecoveryMode::Salvage), replay resumes at the next record whose
/// checksum continues that of the record before it. So one corrupt record can cost two, and so can a missing segment. The gap
/// names the missing record numbers. `Strict` refuses to open. A missing first segment looks the same as a
/// truncated one.
///
/// A segment gets all its space before records are appended to it. If the disk is too full for that, appends
/// fail until there is space again. Cutting and truncating need no space: the next segment begins with only
/// its head, or is created later.
#[derive(Debug)]
pub struct EtcdLog<F: Fs = OsFs> {
    commit: GroupCommit<LogFramer<F>, F::File>,
}

impl<F: Fs> EtcdLog<F> {
    fn open_with(
        fs: &F,
        dir: &Path,
        options: &LogOptions,
        replay: impl FnOnce(Walk<'_, EtcdSegments, F>) -> Result<Found<EtcdSegments>>,
    ) -> Result<(Self, Recovery)> {
        let lock = directory::take(fs, dir)?;
        let names = directory::segments::<EtcdSegments, F>(fs, dir)?;
        let segments = lock_segments(fs, dir, &names)?;
        let found = replay(Walk::new(fs, dir, options.recovery.into())?)?;
        // Nothing was changed up to here.
        remove_unused(fs, dir)?;
        let EtcdCarry { crc, next, durable } = found.carry;
        let (last, bytes) = (found.segments.last(), options.segment_bytes.into());
        let active = last.filter(|last| !last.is_corrupt);
        let mut framer =
            WalFramer::new(active.map_or(0, |last| last.end), crc, Some(METADATA), next.saturating_sub(1));
        if durable > 0 {
            framer.state = HardState { term: TERM, vote: TERM, commit: durable };
        }
        let mut writer = WalWriter::new(fs.clone(), dir, (bytes, HEAD_BYTES.min(bytes)), segments, 0);
        match (active, last) {
            (Some(active), _) => {
                let path = dir.join(active.name.file_name());
                let content = directory::read_segment::<EtcdSegments, F>(fs, &path)?;
                let (replayed, rest) =
                    content.split_at_checked(active.end as usize).unwrap_or((&content, &[]));
                writer.resume(replayed, rest.iter().any(|&byte| byte != 0), bytes)?;
            }
            (None, Some(_)) => writer.begin_next(&mut framer)?,
            (None, None) => writer.begin(FIRST, &mut framer)?,
        }
        let framer = LogFramer::new(framer, &writer, bytes);
        let commit = GroupCommit::new(dir, options.durability, framer, writer, lock)?;
        Ok((Self { commit }, found.recovery))
    }
}

impl<F: Fs> Log for EtcdLog<F> {
    type Fs = F;

    fn open(
        fs: F,
        dir: &Path,
        options: LogOptions,
        mut replay: impl FnMut(Position, Record<'_>) -> Result<()>,
    ) -> Result<(Self, Recovery)> {
        Self::open_with(&fs, dir, &options, |walk| walk.records(&mut replay))
    }

    fn open_replaying(
        fs: F,
        dir: &Path,
        options: LogOptions,
        replay: &mut dyn Replay,
    ) -> Result<(Self, Recovery)> {
        Self::open_with(&fs, dir, &options, |walk| walk.entries(replay))
    }

    fn read(fs: &F, dir: &Path, mode: RecoveryMode, replay: &mut ReplayFn<'_>) -> Result<Recovery> {
        replay_of::<EtcdSegments, F>(fs, dir, mode.into(), replay)
    }

    fn is_segment(name: &OsStr) -> bool {
        SegmentName::parse(name).is_some()
    }

    /// A member's log belongs to etcd.
    fn owns(fs: &F, dir: &Path) -> Result<bool> {
        Ok(is_log(fs, dir))
    }

    fn append(&self, record: Record<'_>) -> Result<Position> {
        self.commit.append(record)
    }

    fn sync(&self, at: Position) -> Result<Durable> {
        self.commit.sync(at)
    }

    fn cut(&self) -> Result<Position> {
        self.commit.cut()
    }

    fn truncate_front(&self, before: Position) -> Result<()> {
        let _lock = self.commit.lock();
        self.commit.exclusive(|framer, writer| framer.truncate(writer, before))
    }

    fn close(&self) -> Result<()> {
        self.commit.close()
    }

    fn metrics(&self) -> Metrics {
        self.commit.metrics()
    }
}
