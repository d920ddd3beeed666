//! Shards below a directory: of a database, of a retention policy, of all of InfluxDB.
//!
//! ```text
//! influxdb/ ─┬─ data/ ── database/ ─┬─ _series/             not read: InfluxDB makes it anew
//!            │                      └─ retention/ ── shard/ ── *.tsm, fields.idx, index/
//!            ├─ wal/ ─── database/ ── retention/ ── shard/ ── _*.wal
//!            └─ meta/
//! ```

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Owner, Place, absolute, beside, etcd, has_segments, is_shard, list};
use crate::exit::{Failure, Result, complain};
use crate::output::count;

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

/// What is there and not read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Skipped {
    #[serde(serialize_with = "as_shown")]
    pub(crate) path: PathBuf,
    pub(crate) reason: &'static str,
}

/// A name need not be UTF-8.
fn as_shown<S: serde::Serializer>(path: &Path, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&path.display())
}

impl Skipped {
    /// Says so on stderr: nothing is passed over silently. What is of one kind is one line: a tree of InfluxDB's has the
    /// same few files in each shard. The JSON of who checks, counts or repairs has
    /// them one by one.
    pub(crate) fn note_all(all: &[Self]) {
        for (at, Self { path, reason }) in all.iter().enumerate() {
            let alike = |other: &&Self| other.reason == *reason;
            if all[..at].iter().any(|earlier| alike(&earlier)) {
                continue;
            }
            let path = path.display();
            match all[at + 1..].iter().filter(alike).count() {
                0 => complain(&format!("{path}: not read: {reason}")),
                more => complain(&format!("{path} and {more} more alike: not read: {reason}")),
            }
        }
    }
}

impl Tree {
    /// Finds out what `path` is; `wal` is the log's directory if the user named it, or the one above the logs.
    pub(crate) fn find(path: &Path, wal: Option<&Path>) -> Result<Self> {
        let is_above = path.is_dir() && !is_shard(path, wal)? && shard_within(path, DEPTH_MAX);
        let mut tree = Self { places: Vec::new(), skipped: Vec::new(), is_above };
        if !is_above {
            tree.places.push((path.to_owned(), Place::find(path, wal)?));
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
        tree.descend(above, above, wal, DEPTH_MAX)?;
        let logs = match wal {
            Some(wal) => Some(wal.to_owned()),
            None => beside(&absolute(above)?).filter(|wal| wal.is_dir()),
        };
        if let Some(logs) = logs {
            tree.stray_logs(above, &logs, &logs, DEPTH_MAX)?;
        }
        tree.missed_logs(wal);
        // A member of etcd has no shards, though it has directories.
        tree.is_above = !tree.places.iter().all(|(_, place)| place.is_etcd());
        Ok(tree)
    }

    fn skip(&mut self, path: PathBuf, reason: &'static str) {
        self.skipped.push(Skipped { path, reason });
    }

    fn descend(&mut self, above: &Path, dir: &Path, wal: Option<&Path>, depth: usize) -> Result<()> {
        for (name, is_dir) in list(dir)? {
            let path = dir.join(&name);
            if !is_dir && !is_linked_shard(&path) {
                self.skip(path, "a file that belongs to no shard");
                continue;
            }
            if name == "_series" {
                self.skip(path, "the series file, which InfluxDB makes anew");
                continue;
            }
            let log = wal.map(|wal| wal.join(path.strip_prefix(above).unwrap_or(&path)));
            let log = log.filter(|log| log.is_dir());
            // What is wrong with one shard, or on the way to some, hides no others.
            let is_shard = is_shard(&path, log.as_deref());
            let found = is_shard.and_then(|is| is.then(|| Place::find(&path, log.as_deref())).transpose());
            if let Some(place) = found.unwrap_or_else(|why| Some(unreadable(&path, &why))) {
                self.places.push((path, place));
            } else if depth > 0 && shard_within(&path, depth - 1) {
                self.descend(above, &path, wal, depth - 1)?;
            } else {
                self.skip(path, "holds no TSM file and no log");
            }
        }
        Ok(())
    }

    /// Logs whose data directory is missing: InfluxDB does not know of them.
    fn stray_logs(&mut self, above: &Path, logs: &Path, dir: &Path, depth: usize) -> Result<()> {
        for (name, _) in list(dir)?.into_iter().filter(|(_, is_dir)| *is_dir) {
            let path = dir.join(&name);
            let below = path.strip_prefix(logs).unwrap_or(&path);
            if !has_segments(&path) {
                if depth > 0 {
                    self.stray_logs(above, logs, &path, depth - 1)?;
                }
            } else if !above.join(below).is_dir() {
                let place = Place::find(&path, None).unwrap_or_else(|why| unreadable(&path, &why));
                self.places.push((path, place));
            }
        }
        Ok(())
    }

    /// The logs of members of etcd that are not beside their snapshots: where the user says, or to be missed.
    fn missed_logs(&mut self, wal: Option<&Path>) {
        let missed = |(path, place): &(PathBuf, Place)| {
            let Place::EtcdSnapshot(_) = place else { return None };
            let log = wal.map_or_else(|| path.with_file_name("wal"), Path::to_owned);
            (wal.is_some() || !etcd::has_log(&log)).then(|| (log.clone(), Place::EtcdLog(log)))
        };
        let missed: Vec<_> = self.places.iter().filter_map(missed).collect();
        self.skipped.retain(|skipped| missed.iter().all(|(path, _)| *path != skipped.path));
        self.places.extend(missed);
    }

    /// Refuses a directory of shards for `verb`, which takes one.
    pub(super) fn refuse_above(verb: &str, path: &Path, wal: Option<&Path>) -> Result<()> {
        if is_shard(path, wal)? || !shard_within(path, DEPTH_MAX) {
            return Ok(());
        }
        let mut shards: Vec<PathBuf> =
            Self::find(path, wal)?.places.into_iter().map(|(path, _)| path).collect();
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

fn unreadable(path: &Path, why: &Failure) -> Place {
    Place::Unreadable(path.to_owned(), why.text().to_owned())
}

/// Whether there is a shard below.
fn shard_within(dir: &Path, depth: usize) -> bool {
    let Ok(names) = list(dir) else { return false };
    names.into_iter().filter(|(name, _)| name != "_series").any(|(name, is_dir)| {
        let below = dir.join(name);
        if !is_dir {
            return is_linked_shard(&below);
        }
        is_shard(&below, None).unwrap_or(true) || depth > 0 && shard_within(&below, depth - 1)
    })
}

/// Whether a link leads to a shard, or to a log on another disk. Through other links nobody goes: they may lead anywhere.
fn is_linked_shard(path: &Path) -> bool {
    path.is_dir() && is_shard(path, None).unwrap_or(false)
}

/// Why a file or directory of a shard is not read; `None` for what says nothing to a user.
pub(super) fn not_read(dir: &Path, name: &OsStr) -> Option<&'static str> {
    let is_dir = fs::symlink_metadata(dir.join(name)).is_ok_and(|found| found.is_dir());
    match name.to_str().unwrap_or_default() {
        "fields.idx" | "fields.idxl" => Some(
            "names and types of fields, which InfluxDB reads, and makes anew once a write here removed them",
        ),
        "index" if is_dir => Some("the series index, which InfluxDB makes anew"),
        "tsmith.lock" | "wal.lock" => None,
        _ if is_dir => Some("a directory that no engine reads"),
        _ => Some("a file that no engine reads"),
    }
}
