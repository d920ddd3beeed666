//! What an engine can be told when it is opened.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tsmith_cache::WhenFull;
use tsmith_codecs::Decoders;
use tsmith_wal::LogOptions;

use crate::order::WriteOrder;
use crate::schema::FieldTyping;

/// The two directories of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// TSM files and manifest; of an InfluxDB shard `data/<db>/<rp>/<shard>`.
    pub data: PathBuf,
    /// The log; of an InfluxDB shard `wal/<db>/<rp>/<shard>`.
    pub wal: PathBuf,
}

impl Dirs {
    /// Data in `dir` and the log in `dir/wal`.
    pub fn under(dir: &Path) -> Self {
        Self { data: dir.to_owned(), wal: dir.join("wal") }
    }
}

/// What an engine can be told. The defaults are InfluxDB's where it has the setting.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a write becomes visible.
    pub order: WriteOrder,
    /// Durability and recovery of the log.
    pub log: LogOptions,
    /// Most bytes in the cache by InfluxDB's account, `None` for no limit (`cache-max-memory-size`, 1 GiB).
    pub cache_bytes_max: Option<u64>,
    /// What a write meets when the cache is full.
    pub when_full: WhenFull,
    /// A snapshot is taken when the cache holds more than this (`cache-snapshot-memory-size`, 25 MiB).
    pub snapshot_bytes: u64,
    /// A snapshot is taken when nothing was written for this long (`cache-snapshot-write-cold-duration`, 10 min).
    pub snapshot_idle: Duration,
    /// Whether snapshots are taken in the background; else only on demand.
    pub background: bool,
    /// Whether files are compacted in the background too; else only on demand.
    pub compact: bool,
    /// Threads that compact in the background; 0 for half as many as there are cores (`max-concurrent-compactions`).
    pub compact_threads: usize,
    /// Most bytes a second that they write together, `None` for no limit (`compact-throughput`, 48 MiB).
    pub compact_bytes_per_second: Option<u64>,
    /// All files become one when nothing was written for this long (`compact-full-write-cold-duration`, 4 h).
    pub compact_idle: Duration,
    /// Of the index of a file that is being written so much is kept in memory, and the rest in a file beside it; InfluxDB
    /// moves all of it there from 64 MiB on.
    pub index_bytes: usize,
    /// The encoders whose blocks are read, besides the engine's own. A [`Registry`](crate::Registry) puts its own here.
    pub decoders: Decoders,
    /// Threads that encode a snapshot; 0 for one a core.
    pub encode_threads: usize,
    /// Among what a field keeps its type; `None` for what the directory was made with, [`FieldTyping::Series`] for a
    /// new one, and [`FieldTyping::Measurement`] for one of InfluxDB's.
    pub typing: Option<FieldTyping>,
    /// Make directories and manifest where there are none; else their absence is an error.
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
            decoders: Decoders::standard(),
            encode_threads: 0,
            typing: None,
            create: true,
        }
    }
}
