//! Finds the shards below a directory: a retention policy, a database, or all of InfluxDB.
//!
//! ```text
//! influxdb/ ─┬─ data/ ── database/ ─┬─ _series/             not read: InfluxDB recreates it
//!            │                      └─ retention/ ── shard/ ── *.tsm, fields.idx, index/
//!            ├─ wal/ ─── database/ ── retention/ ── shard/ ── _*.wal
//!            └─ meta/
//! ```

use std::path::{Path, PathBuf};

use super::kind::Place;
use super::names::{absolute, as_given, beside, exists, has_log, has_segments, list};
use super::owner::Owner;
use super::shard::is_shard;
use super::skipped::{SERIES_FILE, Skipped, not_read};
use crate::exit::{Failure, Result};
use crate::output::count;
use tsmith_engine::Registry;

/// How deep to search for shards. InfluxDB has three levels above a shard: `data`, database, retention policy.
const DEPTH_MAX: usize = 5;

/// How many shards an error lists.
const NAMED_MAX: usize = 20;

/// One place, or all shards below a directory.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The places, each with the path that reports use.
    pub(crate) places: Vec<(PathBuf, Place)>,
    /// Other files and directories, which are not read.
    pub(crate) skipped: Vec<Skipped>,
    /// Whether the path is above shards. An etcd member has two places, log and snapshots, but no shards.
    pub(crate) is_above: bool,
}

impl Tree {
    /// Finds the places at `path`. `wal` is the directory of the log, or above the logs, if the user named it.
    pub(crate) fn find(path: &Path, wal: Option<&Path>, registry: &Registry) -> Result<Self> {
        // If a log cannot be read, the shards beside it are still found.
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
        // The root directory of InfluxDB: its logs are beside `data` and are found from there.
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
            None => beside(&absolute(above)?).map(|wal| as_given(above, wal)).filter(|wal| wal.is_dir()),
        };
        if let Some(logs) = logs {
            tree.stray_logs(above, &logs, &logs, DEPTH_MAX, registry);
        }
        tree.missing_logs(wal);
        // An etcd member has directories, but no shards.
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
                self.skip(path, "not part of any shard");
                continue;
            }
            if name == "_series" {
                self.skip(path, SERIES_FILE);
                continue;
            }
            let log = wal.map(|wal| wal.join(path.strip_prefix(above).unwrap_or(&path)));
            // A log that cannot be read counts as existing.
            let log = log.filter(|log| exists(log).unwrap_or(true));
            // A problem in one shard must not hide other shards.
            let is_shard = is_shard(&path, log.as_deref(), registry);
            let found =
                is_shard.and_then(|is| is.then(|| Place::find(&path, log.as_deref(), registry)).transpose());
            if let Some(place) = found.unwrap_or_else(|why| Some(unreadable(&path, &why))) {
                self.places.push((path, place));
            } else if depth > 0 && shard_within(&path, depth - 1, registry) {
                self.descend(above, &path, wal, depth - 1, registry)?;
            } else {
                self.skip(path, "no TSM file and no log inside");
            }
        }
        Ok(())
    }

    /// Adds logs whose data directory is missing. InfluxDB does not read them.
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
                // The check of the shard with this log reports errors.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Adds the logs of etcd members that are not beside their snapshots. They are where the user says, or missing.
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

    /// The same places without their logs, for `--no-wal`.
    pub(crate) fn without_logs(mut self) -> Self {
        let places = self.places.into_iter();
        self.places =
            places.filter_map(|(path, place)| place.without_log().map(|place| (path, place))).collect();
        self
    }

    /// Refuses a directory of shards for `verb`, which accepts a single shard.
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
            "{path}: not a shard, but a directory of {}: {named}; pass one shard, as in `tsmith {verb} {first}`",
            count(shards.len(), "shard"),
        );
        Err(Failure::Usage(text))
    }
}

/// The paths to read, without files of InfluxDB that a shell's `*` also matches. A single path is always read.
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

/// Whether there is a shard below `dir`.
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

/// Whether `path` is a link to a shard or to a log. Other links are not followed, because they may lead anywhere.
fn is_linked_shard(path: &Path, registry: &Registry) -> bool {
    path.is_dir() && is_shard(path, None, registry).unwrap_or(false)
}
