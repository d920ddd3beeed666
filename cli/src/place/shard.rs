//! Recognizes shards.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tsmith_engine::Registry;
use tsmith_engine::files::holds_influxdb_index;
use tsmith_wal::fs::OsFs;

use super::member::{Member, member};
use super::names::{has_log, has_segments, is_etcd_log, is_etcd_segment, is_tsm, list};
use super::{etcd, log};
use crate::exit::Result;

/// Whether `dir` is a directory that [`Place::find`] accepts: a shard, an engine, a log, or etcd snapshots. The directory of
/// an etcd member is not one; it is above two of them.
pub(super) fn is_shard(dir: &Path, wal: Option<&Path>, registry: &Registry) -> Result<bool> {
    let names = list(dir)?;
    let ours = |name: &OsStr| {
        registry.is_segment(name)
            || is_etcd_segment(name)
            || matches!(
                member(dir, name),
                Some(
                    Member::Manifest(_)
                        | Member::Tsm(_)
                        | Member::Tombstone(_)
                        | Member::Leftover(_)
                        | Member::Unreadable(..)
                )
            )
    };
    let holds_index = || holds_influxdb_index(&OsFs, dir);
    if names.iter().any(|(name, _)| ours(name)) || holds_index() || etcd::holds_snapshots(dir, &names) {
        return Ok(true);
    }
    let log = match wal {
        Some(wal) => Some(wal.to_owned()),
        // An etcd member, unless the log belongs to an engine without a manifest.
        None if has_log(&dir.join("wal")) => return Ok(is_etcd_log(&dir.join("wal"))),
        None => log::find(dir)?.wal,
    };
    log.map_or(Ok(false), |log| has_segments(&log, registry))
}

/// A directory below `dir` that contains TSM files or segments.
pub(super) fn shard_below(dir: &Path, depth: usize, registry: &Registry) -> Option<PathBuf> {
    if depth == 0 {
        return None;
    }
    list(dir).ok()?.into_iter().filter(|(_, is_dir)| *is_dir).find_map(|(name, _)| {
        let below = dir.join(name);
        let holds = list(&below).ok()?.iter().any(|(name, _)| registry.is_segment(name) || is_tsm(name));
        if holds { Some(below) } else { shard_below(&below, depth - 1, registry) }
    })
}
