//! Repairs etcd's log and snapshots: cuts torn tails, and with `--cut` everything after the last valid record.

use std::ffi::OsStr;
use std::path::Path;

use tsmith_engine::Registry;
use tsmith_engine::repair::LogCheck;
use tsmith_wal::etcd::{self, CutBack, Renamed, SNAPSHOT_BYTES_MAX, Tail};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{NotReplayed, RecoveryMode};

use super::files::{gap, shown};
use super::report::{Cut, File, Gap, Refused, State};
use crate::etcd::AfterEnd;
use crate::exit::{Failure, complain};
use crate::output::count;
use crate::place::list;
use crate::read;

/// Repairs the log at `path`. A torn tail is cut, as etcd does when it starts. With `may_cut`, other corruption is cut off too.
/// A single segment is only checked, because a repair needs the complete log. `data` is the directory of the engine's files,
/// if the log belongs to an engine.
pub(super) fn log(
    path: &Path,
    data: Option<&Path>,
    (dry_run, may_cut): (bool, bool),
    registry: &Registry,
) -> File {
    if let Some(file) = unreplayable(path, data, registry) {
        return file;
    }
    let found = match crate::etcd::check(path) {
        Ok(found) => found,
        Err(problem) if etcd::is_log(&OsFs, path) => return log_of_engine(path, &problem.to_string()),
        Err(problem) => return cut_back(path, &problem.to_string(), dry_run, may_cut),
    };
    let after_end = crate::etcd::after_end(&found);
    if let Some(AfterEnd::Lost(problem)) = after_end {
        return cut_back(path, &problem.to_string(), dry_run, may_cut);
    }
    let Some(tail) = found.tail else { return File::new(path, "etcd-log", State::Ok) };
    let bytes = tail.bytes;
    let mut file = File::new(path, "etcd-log", State::Torn);
    file.dropped = format!("a torn tail of {}; the next opening cuts it", count(bytes, "byte"));
    let reason = format!("torn tail of {}", tail.path.display());
    file.gaps = vec![Gap { offset: tail.offset, bytes, reason }];
    // If the tail is not torn, etcd accepts the log, and opening zeros the bytes after its end.
    if dry_run || !tail.is_torn || !path.is_dir() {
        return file;
    }
    match etcd::repair(&OsFs, path) {
        Ok(done) => {
            let Tail { bytes, records, copy, .. } = done.unwrap_or(tail);
            let (bytes, records) = (count(bytes, "byte"), count(records, "intact record"));
            file.dropped = format!("a torn tail of {bytes}, with {records}");
            file.quarantined = copy.as_deref().map(shown);
            file
        }
        Err(error) => File::new(path, "etcd-log", State::Unrepaired).because(&error.to_string()),
    }
}

/// Cuts a corrupt log back to its last valid record. Without `may_cut`, only an empty last segment is removed, which etcd
/// ignores. For other corruption the report says what the cut would lose.
fn cut_back(path: &Path, problem: &str, dry_run: bool, may_cut: bool) -> File {
    let mut file = File::new(path, "etcd-log", State::Unrepaired);
    let snapshots = crate::etcd::snapshots_of(path);
    let cut = |dry_run| etcd::cut_back(&OsFs, path, snapshots.as_deref(), dry_run);
    if etcd::is_log(&OsFs, path) {
        return file.because(problem);
    }
    // The log continues in other segments.
    if !path.is_dir() {
        return file.because(&format!("{problem}; to cut the log with `--cut`, pass its directory"));
    }
    let mut found = match cut(true) {
        Ok(Some(found)) => found,
        Ok(None) => return file.because(problem),
        Err(error) if problem.ends_with(&error.kind().to_string()) => {
            return file.because(&format!("{problem}; `--cut` cannot cut the log here"));
        }
        Err(error) => return file.because(&format!("{problem}; `--cut` cannot cut the log: {error}")),
    };
    let is_allowed = may_cut || found.is_empty_segment;
    if is_allowed && !dry_run {
        found = match cut(false) {
            Ok(done) => done.unwrap_or(found),
            Err(error) => return file.because(&error.to_string()),
        };
    }
    file.gaps = gaps_of(&found);
    let bytes: u64 = file.gaps.iter().map(|gap| gap.bytes).sum();
    let entries = match found.lost_entries {
        Some((first, last)) if first == last => format!("entry {first}"),
        Some((first, last)) => format!("entries {first} to {last}"),
        None => format!("no readable entry (the next would be entry {})", found.last.saturating_add(1)),
    };
    let dropped = format!("{}, {entries}", count(bytes, "byte"));
    if !is_allowed {
        return file.because(&format!(
            "{problem}; if no other member has a copy, `--cut` cuts the log there and loses {dropped}"
        ));
    }
    file.state = if dry_run { State::Corrupt } else { State::Repaired };
    file.kept = format!("the log up to entry {}", found.last);
    file.dropped = dropped;
    file.quarantined = found.copy.as_deref().filter(|_| !dry_run).map(shown);
    file.cut = Some(Cut {
        segment: shown(&found.path),
        offset: found.offset,
        record: found.records + 1,
        bytes: found.lost_bytes,
        first_entry: found.lost_entries.map(|(first, _)| first),
        last_entry: found.lost_entries.map(|(_, last)| last),
    });
    if !dry_run && found.lost_entries.is_some() {
        complain(&format!(
            "{}: etcd's database may contain some of the lost entries. etcd ignores one new write for each of them. These writes \
             time out: send them again",
            path.display()
        ));
    }
    if found.is_empty_segment {
        return file.because("the last segment contains no record; etcd starts without it");
    }
    file.because(&found.reason.to_string())
}

/// The end of the segment that is cut, and the files that are removed.
fn gaps_of(found: &CutBack) -> Vec<Gap> {
    let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
    let cut = Gap {
        offset: found.offset,
        bytes: found.lost_bytes,
        reason: format!("record {} of {} and all records after it", found.records + 1, name(&found.path)),
    };
    let removed = |what: &'static str| {
        move |gone: &Renamed| Gap {
            offset: 0,
            bytes: gone.bytes,
            reason: format!("{what} {}, kept as {}", name(&gone.path), name(&gone.copy)),
        }
    };
    let cut = found.copy.as_ref().map(|_| cut).into_iter();
    let segments = found.segments.iter().map(removed("the entire segment"));
    cut.chain(segments).chain(found.snapshots.iter().map(removed("the snapshot"))).collect()
}

/// The report on an engine's log with records that pass their checks but cannot be replayed. For the reason why the log is
/// not rewritten, see [`log_of_engine`].
fn unreplayable(dir: &Path, data: Option<&Path>, registry: &Registry) -> Option<File> {
    if !etcd::is_log(&OsFs, dir) {
        return None;
    }
    let check = data.map_or_else(LogCheck::default, |data| {
        LogCheck::with_files(&OsFs, data, Some(&registry.log_reader(&OsFs, data, dir)))
    });
    let refused = check.refused_of(&OsFs, dir).ok().filter(|refused| !refused.is_empty())?;
    let mut file = File::new(dir, "etcd-log", State::Unrepaired);
    let named = |refused: &NotReplayed| Refused {
        offset: refused.offset,
        partial: false,
        reason: format!("{}: {}", refused.path.display(), refused.reason),
    };
    file.refused = refused.iter().map(named).collect();
    Some(file.because(&format!(
        "{} cannot be replayed; run `tsmith snapshot --recovery salvage` on the engine directory to write the other values to \
         TSM files and truncate this log",
        count(refused.len(), "record")
    )))
}

/// The report on a corrupt log of an engine. The checksums of all segments form one chain, so rewriting one segment means
/// rewriting all. A snapshot avoids that.
fn log_of_engine(dir: &Path, problem: &str) -> File {
    let mut file = File::new(dir, "etcd-log", State::Unrepaired);
    let found = match tsmith_wal::replay_only(&OsFs, dir, RecoveryMode::Salvage, |_, _| Ok(())) {
        Ok(found) => found,
        Err(error) => return file.because(Failure::from(error).text()),
    };
    file.gaps = found.gaps.iter().map(gap).collect();
    file.because(&format!(
        "{problem}; run `tsmith snapshot --recovery salvage` on the engine directory to write the {} to TSM files and \
         truncate this log",
        count(found.records, "valid record")
    ))
}

/// Checks a snapshot file. One checksum covers all of it, so nothing of a corrupt file can be kept.
pub(super) fn snapshot(path: &Path) -> File {
    let bytes = match read::within(path, SNAPSHOT_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => return File::failed(path, "etcd-snapshot", &Failure::io(path, &error)),
    };
    match etcd::Snapshot::from_file(&bytes) {
        Ok(_) => File::new(path, "etcd-snapshot", State::Ok),
        Err(why) => {
            let next = if has_older(path) {
                "etcd uses the previous snapshot"
            } else {
                "there is no older snapshot"
            };
            let why =
                format!("{why}; nothing can be kept, because one checksum covers the entire file; {next}");
            File::new(path, "etcd-snapshot", State::Unrepaired).because(&why)
        }
    }
}

/// Whether the directory contains an older snapshot. A newer snapshot has a greater name.
fn has_older(path: &Path) -> bool {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_older = |name: &OsStr| etcd::is_snapshot(name) && Some(name) < path.file_name();
    list(dir).is_ok_and(|names| names.iter().any(|(name, _)| is_older(name)))
}
