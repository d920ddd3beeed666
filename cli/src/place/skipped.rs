//! Files and directories that are not read.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::exit::{Result, complain};

pub(super) const NO_ENGINE_READS: &str = "a file that no engine reads";
pub(super) const SERIES_FILE: &str = "InfluxDB's series file, which InfluxDB recreates";

/// A file or directory that is not read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Skipped {
    #[serde(serialize_with = "as_shown")]
    pub(crate) path: PathBuf,
    pub(crate) reason: &'static str,
}

/// Serializes the path. A name may not be UTF-8.
fn as_shown<S: serde::Serializer>(path: &Path, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&path.display())
}

impl Skipped {
    /// Reports them on stderr, one line for each reason. JSON lists them one by one.
    pub(crate) fn note_all(all: &[Self]) {
        for (path, reason) in Self::grouped(all) {
            complain(&format!("{path}: not read: {reason}"));
        }
    }

    /// Groups those with the same reason. Returns the first path of each group, with the number of the others.
    fn grouped(all: &[Self]) -> Vec<(String, &'static str)> {
        let mut groups: Vec<(&Self, usize)> = Vec::new();
        for skipped in all {
            match groups.iter_mut().find(|(first, _)| first.reason == skipped.reason) {
                Some((_, number)) => *number += 1,
                None => groups.push((skipped, 1)),
            }
        }
        let shown = groups.into_iter().map(|(Self { path, reason }, number)| match number {
            1 => (path.display().to_string(), *reason),
            _ => (format!("{} and {} more", path.display(), number - 1), *reason),
        });
        shown.collect()
    }
}

/// Why a file or directory of a shard is not read. `None` if it is of no interest to a user.
pub(super) fn not_read(dir: &Path, name: &OsStr) -> Option<&'static str> {
    let is_dir = fs::symlink_metadata(dir.join(name)).is_ok_and(|found| found.is_dir());
    match name.to_str().unwrap_or_default() {
        "fields.idx" | "fields.idxl" => {
            Some("InfluxDB's index of fields; `tsmith import` removes it, and InfluxDB recreates it")
        }
        "_series" if is_dir => Some(SERIES_FILE),
        "index" if is_dir => Some("InfluxDB's series index, which InfluxDB recreates"),
        "tsmith.lock" | "wal.lock" => None,
        _ if is_dir => Some("a directory that no engine reads"),
        _ => Some(NO_ENGINE_READS),
    }
}
