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
    /// What to do with damage.
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

    /// The same options with this way to meet damage.
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

/// What opening a log does with records that do not check out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryMode {
    /// A torn tail is cut and reported, damage before it refuses to open, and so does a segment that is missed. `native`
    /// misses any but the last; InfluxDB's segments, where ours wrote them, and etcd's any between others: at their front
    /// one that is gone is like one that was forgotten. Records of a torn tail that InfluxDB accepted meanwhile are kept and
    /// reported, in every mode: see [`segment`](crate::segment).
    #[default]
    Strict,
    /// As InfluxDB 1.x: every segment is cut at its first bad record, and the next one is read. May lose records that
    /// were acknowledged; what was dropped is reported. Where our marks say that some bytes are not what was written, up to
    /// 4 KiB or one record, the segment is cut before them: InfluxDB itself would take those that look like entries. Of InfluxDB's segments, and ours in its format, what is left opens
    /// with `Strict` afterwards; a log that numbers its records misses those that were cut off, until it is repaired.
    InfluxDb,
    /// Keeps every record that checks out, also behind damage, and lists what is missing. In InfluxDB's segments a checksum
    /// of ours is that of up to 4 KiB of records, or of a longer one. A torn tail is cut as by
    /// `Strict`; a damaged segment stays as it is, so that what it holds can be looked at until it is forgotten.
    Salvage,
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
