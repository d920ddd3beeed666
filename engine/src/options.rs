//! Options for opening an engine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tsmith_cache::WhenFull;
use tsmith_codecs::Decoders;
use tsmith_tsm::POINTS_PER_BLOCK;
use tsmith_wal::LogOptions;

use crate::order::WriteOrder;
use crate::schema::FieldTyping;

/// The two directories of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// TSM files and manifest. In an InfluxDB shard: `data/<db>/<rp>/<shard>`.
    pub data: PathBuf,
    /// The log. In an InfluxDB shard: `wal/<db>/<rp>/<shard>`.
    pub wal: PathBuf,
}

impl Dirs {
    /// Data in `dir` and the log in `dir/wal`.
    pub fn under(dir: &Path) -> Self {
        Self { data: dir.to_owned(), wal: dir.join("wal") }
    }
}

/// Options of an engine. Defaults are InfluxDB's where InfluxDB has the setting, named in parentheses.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a write becomes visible to readers.
    pub order: WriteOrder,
    /// Durability and recovery of the log.
    pub log: LogOptions,
    /// Maximum bytes in the cache, counted as InfluxDB does; `None` for no limit (`cache-max-memory-size`, 1
    /// GiB).
    pub cache_bytes_max: Option<u64>,
    /// What happens to a write when the cache is full.
    pub when_full: WhenFull,
    /// Take a snapshot when the cache holds more bytes than this (`cache-snapshot-memory-size`, 25 MiB).
    pub snapshot_bytes: u64,
    /// Take a snapshot after this long without a write (`cache-snapshot-write-cold-duration`, 10 min).
    pub snapshot_idle: Duration,
    /// Take snapshots in the background. If false, only on demand.
    pub background: bool,
    /// Compact files in the background; needs `background`. If false, only on demand.
    pub compact: bool,
    /// Background compaction threads; 0 for half the number of cores (`max-concurrent-compactions`).
    pub compact_threads: usize,
    /// Maximum bytes per second written by all background compactions; `None` for no limit
    /// (`compact-throughput`, 48 MiB).
    pub compact_bytes_per_second: Option<u64>,
    /// Merge all files after this long without a write (`compact-full-write-cold-duration`, 4 h).
    pub compact_idle: Duration,
    /// Maximum memory for the index of a file being written. The rest spills to a temporary file. (InfluxDB
    /// moves the complete index to a file at 64 MiB.)
    pub index_bytes: usize,
    /// Maximum points in a block of a new file, from 1 to 65,536 (`DefaultMaxPointsPerBlock`, 1000). An
    /// opening with another number fails. Files are read whatever their size of blocks, also by influxd. A
    /// compaction does not split larger blocks that it can copy.
    pub points_per_block: usize,
    /// Decoders for blocks of other encoders than the engine's own. A [`Registry`](crate::Registry) sets its
    /// own here.
    pub decoders: Decoders,
    /// Threads that encode a snapshot; 0 for one per core.
    pub encode_threads: usize,
    /// Scope in which a field must keep one type. `None` keeps the scope of an existing directory; a new one
    /// gets [`FieldTyping::Series`], and one of InfluxDB's [`FieldTyping::Measurement`].
    pub typing: Option<FieldTyping>,
    /// Create missing directories and a missing manifest. If false, they are an error.
    pub create: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            order: WriteOrder::default(),
            log: LogOptions::default(),
            cache_bytes_max: Some(1 << 30),
            when_full: WhenFull::Refuse,
            snapshot_bytes: 25 << 20,
            snapshot_idle: Duration::from_secs(10 * 60),
            background: true,
            compact: true,
            compact_threads: 0,
            compact_bytes_per_second: Some(48 << 20),
            compact_idle: Duration::from_secs(4 * 60 * 60),
            index_bytes: 16 << 20,
            points_per_block: POINTS_PER_BLOCK,
            decoders: Decoders::standard(),
            encode_threads: 0,
            typing: None,
            create: true,
        }
    }
}
