//! Shards below a directory: of a database, of a retention policy, of all of InfluxDB.
//!
//! ```text
//! influxdb/ ─┬─ data/ ── database/ ─┬─ _series/             not read: InfluxDB recreates it
//!            │                      └─ retention/ ── shard/ ── *.tsm, fields.idx, index/
//!            ├─ wal/ ─── database/ ── retention/ ── shard/ ── _*.wal
//!            └─ meta/
//! ```

use std::path::{Path, PathBuf};

use super::kind::Place;
use super::names::{absolute, beside, exists, has_log, has_segments, list};
use super::owner::Owner;
use super::shard::is_shard;
use super::skipped::{SERIES_FILE, Skipped, not_read};
use crate::exit::{Failure, Result};
use crate::output::count;
use tsmith_engine::Registry;

/// Directories above a shard, at most: of InfluxDB as a whole there are `data`, database and retention policy.
const DEPTH_MAX: usize = 5;

/// Shards that are named to who named the directory above them.
const NAMED_MAX: usize = 20;

/// What a path stands for: one place, or all shards below it.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Each with the path by which it is reported.
    pub(crate) places: Vec<(PathBuf, Place)>,
    /// What lies between and is not read.
    pub(crate) skipped: Vec<Skipped>,
    /// Whether the path is above shards. That of a member of etcd is not: there are two places, of log and snapshots.
    pub(crate) is_above: bool,
}

impl Tree {
    /// Finds out what `path` is; `wal` is the log's directory if the user named it, or the one above the logs.
    pub(crate) fn find(path: &Path, wal: Option<&Path>, registry: &Registry) -> Result<Self> {
        // A log that cannot be read hides no shards beside it.
        let is_above = path.is_dir()
            && !is_shard(path, wal, registry).unwrap_or(false)
            && shard_within(path, DEPTH_MAX, registry);
        let mut tree = Self { places: Vec::new(), skipped: Vec::new(), is_above };
        if !is_above {
            tree.places.push((path.to_owned(), Place::find(path, wal, registry)?));
            return Ok(tree);
        }
        if let Some(wal) = wal.filter(|wal| !wal.is_dir()) {
            return Err(Failure::missing(wal));
        }
        // The directory of InfluxDB as a whole: its logs are beside its data, and are found from there.
        let root = path.join("data");
        let is_root = root.is_dir() && path.join("wal").is_dir();
        let above = if is_root { root.as_path() } else { path };
        if is_root {
            for (name, _) in list(path)?.into_iter().filter(|(name, _)| name != "data" && name != "wal") {
                tree.skip(path.join(name), "not data of a shard");
            }
        }
        tree.descend(above, above, wal, DEPTH_MAX, registry)?;
        let logs = match wal {
            Some(wal) => Some(wal.to_owned()),
            None => beside(&absolute(above)?).filter(|wal| wal.is_dir()),
        };
        if let Some(logs) = logs {
            tree.stray_logs(above, &logs, &logs, DEPTH_MAX, registry);
        }
        tree.missing_logs(wal);
        // A member of etcd has no shards, though it has directories.
        tree.is_above = !tree.places.iter().all(|(_, place)| place.is_etcd());
        Ok(tree)
    }

    fn skip(&mut self, path: PathBuf, reason: &'static str) {
        self.skipped.push(Skipped { path, reason });
    }

    fn descend(
        &mut self,
        above: &Path,
        dir: &Path,
        wal: Option<&Path>,
        depth: usize,
        registry: &Registry,
    ) -> Result<()> {
        for (name, is_dir) in list(dir)? {
            let path = dir.join(&name);
            if !is_dir && !is_linked_shard(&path, registry) {
                self.skip(path, "a file that belongs to no shard");
                continue;
            }
            if name == "_series" {
                self.skip(path, SERIES_FILE);
                continue;
            }
            let log = wal.map(|wal| wal.join(path.strip_prefix(above).unwrap_or(&path)));
            // One that cannot be reached is not a missing one.
            let log = log.filter(|log| exists(log).unwrap_or(true));
            // What is wrong with one shard, or on the way to some, hides no others.
            let is_shard = is_shard(&path, log.as_deref(), registry);
            let found =
                is_shard.and_then(|is| is.then(|| Place::find(&path, log.as_deref(), registry)).transpose());
            if let Some(place) = found.unwrap_or_else(|why| Some(unreadable(&path, &why))) {
                self.places.push((path, place));
            } else if depth > 0 && shard_within(&path, depth - 1, registry) {
                self.descend(above, &path, wal, depth - 1, registry)?;
            } else {
                self.skip(path, "holds no TSM file and no log");
            }
        }
        Ok(())
    }

    /// Logs whose data directory is missing: InfluxDB does not know of them.
    fn stray_logs(&mut self, above: &Path, logs: &Path, dir: &Path, depth: usize, registry: &Registry) {
        let names = match list(dir) {
            Ok(names) => names,
            Err(why) => return self.places.push((dir.to_owned(), unreadable(dir, &why))),
        };
        for (name, _) in names.into_iter().filter(|(_, is_dir)| *is_dir) {
            let path = dir.join(&name);
            let below = path.strip_prefix(logs).unwrap_or(&path);
            let is_stray = !above.join(below).is_dir();
            match has_segments(&path, registry) {
                Ok(true) if is_stray => {
                    let place =
                        Place::find(&path, None, registry).unwrap_or_else(|why| unreadable(&path, &why));
                    self.places.push((path, place));
                }
                Err(why) if is_stray => self.places.push((path.clone(), unreadable(&path, &why))),
                Ok(false) if depth > 0 => self.stray_logs(above, logs, &path, depth - 1, registry),
                // The check of the data beside it reports what is wrong.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// The logs of members of etcd that are not beside their snapshots: where the user says, or missing.
    fn missing_logs(&mut self, wal: Option<&Path>) {
        let missing = |(path, place): &(PathBuf, Place)| {
            let Place::EtcdSnapshot(_) = place else { return None };
            let log = wal.map_or_else(|| path.with_file_name("wal"), Path::to_owned);
            (wal.is_some() || !has_log(&log)).then(|| (log.clone(), Place::EtcdLog(log)))
        };
        let missing: Vec<_> = self.places.iter().filter_map(missing).collect();
        self.skipped.retain(|skipped| missing.iter().all(|(path, _)| *path != skipped.path));
        self.places.extend(missing);
    }

    /// The same without the logs of its shards, as the user asks for it.
    pub(crate) fn without_logs(mut self) -> Self {
        let places = self.places.into_iter();
        self.places =
            places.filter_map(|(path, place)| place.without_log().map(|place| (path, place))).collect();
        self
    }

    /// Refuses a directory of shards for `verb`, which takes one.
    pub(super) fn refuse_above(
        verb: &str,
        path: &Path,
        wal: Option<&Path>,
        registry: &Registry,
    ) -> Result<()> {
        if is_shard(path, wal, registry)? || !shard_within(path, DEPTH_MAX, registry) {
            return Ok(());
        }
        let mut shards: Vec<PathBuf> =
            Self::find(path, wal, registry)?.places.into_iter().map(|(path, _)| path).collect();
        let owner = shards.first().and_then(|first| Owner::of(first));
        shards.retain(|shard| Owner::of(shard).is_none());
        let Some(first) = shards.first() else {
            return owner.map_or(Ok(()), |owner| Err(owner.refuse(verb, path)));
        };
        let named = shards.iter().take(NAMED_MAX).map(|shard| shard.display().to_string());
        let more = shards.len().checked_sub(NAMED_MAX).filter(|&more| more > 0);
        let more = more.map(|more| format!("and {more} more"));
        let named = named.chain(more).collect::<Vec<_>>().join(", ");
        let (path, first) = (path.display(), first.display());
        let text = format!(
            "{path}: not a shard, but a directory of {}: {named}; `tsmith {verb}` takes one at a time, as in `tsmith {verb} {first}`",
            count(shards.len(), "shard"),
        );
        Err(Failure::Usage(text))
    }
}

/// The paths that a verb reads, without those of InfluxDB's that a shell's `*` brings along. One that the user names
/// alone stays.
pub(crate) fn to_read<'p>(paths: &'p [PathBuf], registry: &Registry) -> (Vec<&'p PathBuf>, Vec<Skipped>) {
    let reason = |path: &Path| {
        let (dir, name) = (path.parent()?, path.file_name()?);
        let is_influxdbs = matches!(name.to_str()?, "_series" | "index" | "fields.idx" | "fields.idxl");
        let is_passed =
            is_influxdbs && paths.len() > 1 && is_shard(path, None, registry).map_or(true, |is| !is);
        if is_passed { not_read(dir, name) } else { None }
    };
    let (mut kept, mut skipped) = (Vec::new(), Vec::new());
    for path in paths {
        match reason(path) {
            Some(reason) => skipped.push(Skipped { path: path.clone(), reason }),
            None => kept.push(path),
        }
    }
    (kept, skipped)
}

fn unreadable(path: &Path, why: &Failure) -> Place {
    Place::Unreadable(path.to_owned(), why.clone())
}

/// Whether there is a shard below.
fn shard_within(dir: &Path, depth: usize, registry: &Registry) -> bool {
    let Ok(names) = list(dir) else { return false };
    names.into_iter().filter(|(name, _)| name != "_series").any(|(name, is_dir)| {
        let below = dir.join(name);
        if !is_dir {
            return is_linked_shard(&below, registry);
        }
        is_shard(&below, None, registry).unwrap_or(true)
            || depth > 0 && shard_within(&below, depth - 1, registry)
    })
}

/// Whether a link leads to a shard, or to a log on another disk. Through other links nobody goes: they may lead anywhere.
fn is_linked_shard(path: &Path, registry: &Registry) -> bool {
    path.is_dir() && is_shard(path, None, registry).unwrap_or(false)
}
