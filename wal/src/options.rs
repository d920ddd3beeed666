//! The settings of a log.

use std::time::Duration;

/// A segment ends before it grows beyond this, unless one record alone is larger.
pub const SEGMENT_BYTES: u32 = 10 << 20;

/// How a log is opened and what it promises.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LogOptions {
    /// What `sync` promises.
    pub durability: Durability,
    /// What to do about gaps.
    pub recovery: RecoveryMode,
    /// Size of a segment.
    pub segment_bytes: u32,
    /// What a log whose format leaves the choice does with payloads.
    pub compression: Compression,
    /// Whether a segment's space is taken when it is begun, and written with zeros ahead of small groups: a sync then
    /// commits no new length and no new blocks of the file. Without it segments take no more than they hold. A log
    /// through a map always takes the space.
    pub preallocate: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            recovery: RecoveryMode::default(),
            segment_bytes: SEGMENT_BYTES,
            compression: Compression::default(),
            preallocate: true,
        }
    }
}

impl LogOptions {
    /// The same options with this durability.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The same options with this way to deal with gaps.
    #[must_use]
    pub fn recovery(mut self, recovery: RecoveryMode) -> Self {
        self.recovery = recovery;
        self
    }

    /// The same options with this compression.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// The same options with space taken ahead, or not.
    #[must_use]
    pub fn preallocate(mut self, preallocate: bool) -> Self {
        self.preallocate = preallocate;
        self
    }

    /// The same options with segments of this size.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u32) -> Self {
        self.segment_bytes = bytes;
        self
    }
}

/// When records reach stable storage, and so what a crash may take. The crash of the process alone takes only records
/// whose `sync` had not returned, in every mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// One fdatasync for each record. A power cut loses nothing that was confirmed.
    Each,
    /// One fdatasync for all records that wait at that time. A power cut loses nothing that was confirmed.
    #[default]
    Group,
    /// `sync` returns when the operating system has the record, and a thread syncs at this interval, of a millisecond at
    /// least. A power cut loses what was confirmed in the last interval, and the time of one sync.
    Interval(Duration),
    /// `sync` returns when the operating system has the record; only the end of a segment is synced. A power cut loses
    /// what was confirmed since.
    None,
}

/// What opening a log does about gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryMode {
    /// Cuts off a torn tail and reports it. Corruption or a missing segment refuses to open. `native` detects that any
    /// segment but the last is missing; InfluxDB's segments, where ours wrote them, and etcd's detect any between others: at
    /// their front a missing segment is like a truncated one. Records of a torn tail that InfluxDB accepted meanwhile are kept
    /// and reported, in every mode: see [`segment`](crate::segment).
    #[default]
    Strict,
    /// Keeps every record that passes its checks, also behind corruption, and reports what is missing. In InfluxDB's segments
    /// one checksum of ours covers up to 4 KiB of records, or a longer one. A torn tail is cut off as by `Strict`; a corrupt
    /// segment stays as it is, so that what it holds can be looked at until it is truncated.
    Salvage,
}

/// How a log is read that is not opened; see [`replay_only`](crate::replay_only). Nothing is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayMode {
    /// As [`RecoveryMode::Strict`].
    Strict,
    /// As [`RecoveryMode::Salvage`].
    Salvage,
    /// What InfluxDB 1.x would keep: of every segment what is before its first invalid record. Where our marks say that some
    /// bytes are not what was written, up to 4 KiB or one record, it ends before those: InfluxDB itself would take what
    /// looks like an entry.
    InfluxDb,
}

impl From<RecoveryMode> for ReplayMode {
    fn from(mode: RecoveryMode) -> Self {
        match mode {
            RecoveryMode::Strict => Self::Strict,
            RecoveryMode::Salvage => Self::Salvage,
        }
    }
}

/// What [`NativeLog`](crate::NativeLog) does with a payload; InfluxDB's segments always have snappy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Nothing: the columns of [`entry::Layout::Columns`](crate::entry::Layout) are packed already.
    #[default]
    Stored,
    /// LZ4, of payloads of at least 512 bytes that get shorter by it: little processor for a little space.
    Lz4,
    /// zstd, level 1, of payloads of at least 512 bytes that get shorter by it.
    Zstd,
}
