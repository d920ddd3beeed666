//! Options of a log.

use std::time::Duration;

/// Default segment size, as in InfluxDB.
const SEGMENT_BYTES: u32 = 10 << 20;

/// How a log is opened and what it promises: `LogOptions { durability: Durability::Each, ..LogOptions::default() }`.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// What `sync` promises.
    pub durability: Durability,
    /// What opening does about gaps.
    pub recovery: RecoveryMode,
    /// Size in bytes at which a segment ends. It is larger only if a single record is. 10 MiB, if not set.
    pub segment_bytes: u32,
    /// How payloads are compressed, if the format leaves the choice.
    pub compression: Compression,
    /// Whether a new segment allocates its space at once. The log also writes zeros ahead of small groups. Then
    /// a sync is faster, because it need not commit a new file length or new blocks. Without it, segments take
    /// only the space they use. [`MmapLog`](crate::MmapLog) always allocates.
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

/// When records reach stable storage, and so what a power cut can lose. If only the process crashes, every
/// mode loses only records whose `sync` had not returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// One fdatasync per record. A power cut loses no confirmed record.
    Each,
    /// One fdatasync for all records that wait at the time. A power cut loses no confirmed record.
    #[default]
    Group,
    /// `sync` returns once the operating system has the record. A thread calls fdatasync at this interval,
    /// which is at least one millisecond. A power cut loses records confirmed within the last interval plus
    /// the duration of one fdatasync.
    Interval(Duration),
    /// `sync` returns once the operating system has the record. Only the end of a segment is synced. A power
    /// cut can lose every confirmed record of the active segment.
    None,
}

/// What opening a log does about gaps. The default is [`Strict`](Self::Strict).
///
/// A log that was opened with `Salvage` still has its corrupt segments. Until they are truncated or repaired
/// ([`repair`](crate::repair)), `Strict` refuses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryMode {
    /// Cuts off a torn tail and reports it. Refuses to open if a segment is corrupt or
    /// missing, or if `replay` refuses a record.
    ///
    /// `native` detects every missing segment except the newest. In InfluxDB's format and in etcd's, only a
    /// segment missing between two others is detected, and in InfluxDB's format only if Tsmith wrote the
    /// segments. A missing first segment looks the same as a truncated one. In every mode, records of a torn
    /// tail that InfluxDB accepted in the meantime are kept and reported: see [`segment`](crate::segment).
    #[default]
    Strict,
    /// Keeps every record that passes its checks, also after corruption, and reports the gaps. In InfluxDB's
    /// segments, one checksum covers up to 4 KiB of records, or one longer record, so all of these are lost
    /// together. A torn tail is cut off as in `Strict`. A corrupt segment stays unchanged until it is
    /// truncated, so that it can be examined.
    Salvage,
}

/// How a log is read without opening it; see [`replay_only`](crate::replay_only). Nothing is cut off. It has one
/// mode more than [`RecoveryMode`], because
/// reading as InfluxDB does can lose records, and such a log must not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayMode {
    /// As [`RecoveryMode::Strict`].
    Strict,
    /// As [`RecoveryMode::Salvage`].
    Salvage,
    /// As InfluxDB 1.x: of each segment, keeps the records before the first invalid one. If the checksum of a
    /// group mark is wrong, replay ends before the records that it covers (up to 4 KiB, or one longer record).
    /// InfluxDB itself would accept bytes there that merely look like a record.
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

/// How [`NativeLog`](crate::NativeLog) compresses payloads. InfluxDB's segments always use snappy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// No compression. The columns of [`entry::Layout::Columns`](crate::entry::Layout) are already packed.
    #[default]
    Stored,
    /// LZ4, for payloads of at least 512 bytes that it makes shorter. Saves a little space for little CPU
    /// time.
    Lz4,
    /// zstd level 1, for payloads of at least 512 bytes that it makes shorter.
    Zstd,
}
