//! Repairs one file or one log through the engine, and reports the result. A dry run only reads.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tsmith_codecs::Decoders;
use tsmith_engine::ErrorKind;
use tsmith_engine::Registry;
use tsmith_engine::files::TwoTypes;
use tsmith_engine::repair::{self, Repaired, TombstoneLoss};
use tsmith_tsm::{LostTombstones, Salvage};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{GapKind, RecoveryMode, SegmentRepair};

use super::report::{File, Gap, Index, Key, Refused, State};
use crate::exit::{Failure, Result};
use crate::output::count;
use crate::problem::{Problem, missing_parts};

fn state(quarantined: Option<&PathBuf>, dry_run: bool) -> State {
    match quarantined {
        None => State::Ok,
        Some(_) if dry_run => State::Corrupt,
        Some(_) => State::Repaired,
    }
}

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Repairs the TSM file at `path`. Keys that have another type in an older file are dropped.
pub(super) fn tsm(path: &Path, two_types: &[TwoTypes], decoders: &Decoders, dry_run: bool) -> File {
    let repaired = repair::tsm_file(&OsFs, path, two_types, decoders, dry_run);
    let Repaired { salvage, quarantined, gone, rescued } = match repaired {
        Ok(repaired) => repaired,
        Err(error) if is_unknown(error.kind()) => {
            return File::new(path, "tsm", State::Unknown).because(Failure::from(error).text());
        }
        Err(error) => return File::failed(path, "tsm", &error.into()),
    };
    if gone && quarantined.is_none() {
        let reason = "the quarantined file contains no valid block; remove it when you no longer need it";
        return File::new(path, "tsm", State::Unrepaired).because(reason);
    }
    let Salvage { kept_keys, kept_blocks, kept_values, .. } = salvage;
    let mut file = File::new(path, "tsm", state(quarantined.as_ref().or(rescued.as_ref()), dry_run));
    file.kept = format!(
        "{}, {}, {}",
        count(kept_keys, "key"),
        count(kept_blocks, "block"),
        count(kept_values, "value")
    );
    if file.state != State::Ok {
        file.dropped = dropped_of(&salvage, gone);
    }
    if let Some(loss) = &salvage.index {
        let gap = |gap: &std::ops::Range<u64>| Gap {
            offset: gap.start,
            bytes: gap.end - gap.start,
            reason: "no index entry can be read here".to_owned(),
        };
        file.gaps = loss.gaps.iter().map(gap).collect();
        let (offset, reason) = (loss.error.offset(), loss.error.kind().to_string());
        file.index = Some(Index { offset, reason, orphan_bytes: loss.orphan_bytes });
    }
    file.keys = salvage.corrupt.iter().map(Key::of).collect();
    file.quarantined = quarantined.as_deref().map(shown);
    file.rescued = rescued.as_deref().map(shown);
    file
}

/// What a TSM file loses, in numbers.
fn dropped_of(salvage: &Salvage, gone: bool) -> String {
    let mut dropped = count(salvage.dropped_blocks(), "block");
    if let Some(bytes @ 1..) = salvage.index.as_ref().map(|loss| loss.orphan_bytes) {
        let orphans = format!("{} of blocks whose index entry is corrupt", count(bytes, "byte"));
        dropped = if salvage.dropped_blocks() == 0 { orphans } else { format!("{dropped}, {orphans}") };
    }
    let rebuilt: usize = salvage.corrupt.iter().map(|key| key.repaired.len()).sum();
    if rebuilt > 0 {
        dropped.push_str(", index rebuilt for ");
        dropped.push_str(&count(rebuilt as u64, "block"));
    }
    if gone {
        dropped += "; no block is left, so no file replaces it";
    }
    dropped
}

/// Whether the file is valid, but needs a part that this build does not have.
fn is_unknown(kind: &ErrorKind) -> bool {
    match kind {
        ErrorKind::UnknownPart { .. } => true,
        ErrorKind::Tsm(error) => matches!(error.kind(), tsmith_tsm::ErrorKind::UnknownEncoder { .. }),
        _ => false,
    }
}

/// Repairs the tombstone file at `path`. `wal` is the directory of the log that belongs to it.
pub(super) fn tombstones(path: &Path, wal: Option<&Path>, dry_run: bool, registry: &Registry) -> File {
    let data = path.parent().unwrap_or(Path::new(""));
    let log = wal.map(|wal| registry.log_reader(&OsFs, data, wal));
    if let Some((offset, bytes)) = repair::unfinished_delete(&OsFs, path, log.as_ref()) {
        let mut file = File::new(path, "tombstone", State::Torn);
        let reason = "an unfinished delete, which the log still has".to_owned();
        file.gaps = vec![Gap { offset, bytes, reason }];
        file.dropped = format!("a torn tail of {}; the next opening writes it again", count(bytes, "byte"));
        return file;
    }
    let repaired = match repair::tombstones(&OsFs, path, dry_run) {
        Ok(repaired) => repaired,
        Err(error) => return File::failed(path, "tombstone", &error.into()),
    };
    let Repaired { salvage: TombstoneLoss { salvage, believed }, quarantined, .. } = repaired;
    let mut file = File::new(path, "tombstone", state(quarantined.as_ref(), dry_run));
    // The rebuilt file has one record for adjacent ranges of a key.
    let joined = salvage.kept.iter().map(|(_, ranges)| ranges.len() as u64).sum();
    let records = count(if quarantined.is_none() { salvage.kept_records } else { joined }, "record");
    file.kept = match believed {
        0 => records,
        believed => format!("{records}, of these {believed} without a checksum, whose keys exist"),
    };
    let lost = |lost: &LostTombstones| Gap {
        offset: lost.offset,
        bytes: lost.bytes,
        reason: lost.error.kind().to_string(),
    };
    file.gaps = salvage.lost.iter().map(lost).collect();
    if !file.gaps.is_empty() {
        let bytes: u64 = file.gaps.iter().map(|gap| gap.bytes).sum();
        file.dropped = format!("{bytes} bytes; points whose tombstones are lost reappear");
    }
    file.quarantined = quarantined.as_deref().map(shown);
    file
}

/// Repairs the manifest at `path`. `wal` is the directory of the log if the user named it.
pub(super) fn manifest(path: &Path, wal: Option<&Path>, dry_run: bool, registry: &Registry) -> File {
    let lost = |error| File::failed(path, "manifest", &Failure::from(error));
    let data = path.parent().unwrap_or(Path::new(""));
    let Repaired { salvage, quarantined, .. } = match repair::manifest(registry, &OsFs, data, wal, dry_run) {
        Ok(Some(repaired)) => repaired,
        Ok(None) => return File::new(path, "manifest", State::Ok),
        Err(error) => return lost(error),
    };
    if let Some(missing) = missing_parts(&salvage.manifest.parts, registry) {
        let state = if salvage.error.is_none() { State::Unknown } else { State::Unrepaired };
        return File::new(path, "manifest", state).because(&missing);
    }
    let state = match (&salvage.error, dry_run) {
        (None, _) => State::Ok,
        (Some(_), true) => State::Corrupt,
        (Some(_), false) => State::Repaired,
    };
    let mut file = File::new(path, "manifest", state);
    let manifest = &salvage.manifest;
    let (parts, wal, types) = (&manifest.parts, manifest.wal.display(), manifest.typing.name());
    file.kept = format!("{parts}, log in {wal}, types {types}");
    if let Some(error) = salvage.error {
        let corruption = match error.kind() {
            ErrorKind::Manifest { line, expected } => format!("line {line} (expected {expected})"),
            ErrorKind::NoManifest => "nothing (the file is missing)".to_owned(),
            ErrorKind::LogElsewhere { .. } => "the path of another directory's log".to_owned(),
            ErrorKind::NoLogDirectory => "the path of a log that does not exist".to_owned(),
            other => other.to_string(),
        };
        file.dropped = match salvage.inferred.join(", ") {
            lines if lines.is_empty() => corruption,
            lines => format!("{corruption}; rebuilt from the directory: {lines}"),
        };
    }
    file.quarantined = quarantined.as_deref().map(shown);
    file
}

/// Repairs all segments of the log in the directory of `path`. Without `data`, the directory of the files, only the segment
/// at `path` is repaired.
pub(super) fn log(path: &Path, data: Option<&Path>, dry_run: bool) -> Result<Vec<File>> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let only = data.is_none().then_some(name);
    let found = match repair::log(&OsFs, data, dir, only, dry_run) {
        Ok(found) => found,
        Err(error) => {
            let error = Failure::from(error);
            if matches!(error, Failure::Io(_)) {
                return Err(error);
            }
            return Ok(vec![File::new(path, "segment", State::Unrepaired).because(error.text())]);
        }
    };
    let names = if only.is_some() {
        vec![name.to_owned()]
    } else {
        tsmith_wal::segment_names(&OsFs, dir).map_err(|error| Failure::Io(error.to_string()))?
    };
    let mut names: Vec<PathBuf> = names.into_iter().map(|name| dir.join(name)).collect();
    // A segment without any valid record no longer exists after the repair.
    names.extend(found.iter().map(|repair| repair.path.clone()));
    names.sort();
    names.dedup();
    let file = |path: PathBuf| match found.iter().find(|repair| repair.path.file_name() == path.file_name()) {
        Some(repair) => segment(repair, dry_run),
        None => File::new(&path, "segment", State::Ok),
    };
    Ok(names.into_iter().map(file).collect())
}

/// Checks a log that another crate implements. It is not changed.
pub(super) fn other_log(dir: &Path, name: &str, registry: &Registry) -> File {
    let read = registry
        .find_log(name)
        .map_err(Failure::from)
        .and_then(|log| Ok(log.kind().read(&OsFs, dir, RecoveryMode::Salvage, &mut |_, _| Ok(()))?));
    let recovery = match read {
        Ok(recovery) => recovery,
        Err(error) => return File::failed(dir, "log", &error),
    };
    let is_corrupt = recovery.gaps.iter().any(|gap| gap.kind != GapKind::TornTail);
    let state = match recovery.gaps.is_empty() {
        _ if is_corrupt => State::Unrepaired,
        true => State::Ok,
        false => State::Torn,
    };
    let mut file = File::new(dir, "log", state);
    file.kept = count(recovery.records, "record");
    file.gaps = recovery.gaps.iter().map(gap).collect();
    if !is_corrupt {
        return file;
    }
    file.because(&format!(
        "`tsmith repair` cannot rewrite the segments of the log `{name}`; run `tsmith snapshot --recovery salvage` on the \
         engine directory to write the valid records to TSM files and truncate this log"
    ))
}

fn segment(repair: &SegmentRepair, dry_run: bool) -> File {
    let state = match &repair.quarantined {
        None if !repair.gaps.is_empty() => State::Torn,
        quarantined => state(quarantined.as_ref(), dry_run),
    };
    let mut file = File::new(&repair.path, "segment", state);
    file.kept = count(repair.kept_records, "record");
    file.gaps = repair.gaps.iter().map(gap).collect();
    let refused = |refused: &tsmith_wal::Refused| Refused {
        offset: refused.offset,
        partial: refused.in_part,
        reason: refused.reason.clone(),
    };
    file.refused = repair.refused.iter().map(refused).collect();
    file.notes.extend(repair.unverified.iter().map(|records| Problem::at(records.offset, records.reason())));
    file.dropped = if file.state == State::Ok { String::new() } else { dropped(&file) };
    file.quarantined = repair.quarantined.as_deref().map(shown);
    file
}

/// What a segment loses, in numbers.
fn dropped(file: &File) -> String {
    let bytes: u64 = file.gaps.iter().map(|gap| gap.bytes).sum();
    if file.state == State::Torn {
        return format!("a torn tail of {}; the next opening cuts it", count(bytes, "byte"));
    }
    let partial = file.refused.iter().filter(|refused| refused.partial).count();
    let (gaps, complete) = (file.gaps.len(), file.refused.len() - partial);
    let of = |number: usize, text: String| (number > 0).then_some(text);
    let lost = match bytes {
        // Records are missing before this segment, and none in it.
        0 => "the records of a missing segment; this one is rewritten so that the log opens without them"
            .to_owned(),
        bytes => count(bytes, "byte"),
    };
    let all = [
        of(gaps, lost),
        of(complete, format!("{} that cannot be replayed", count(complete, "record"))),
        of(partial, format!("part of {}", count(partial, "record"))),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

pub(super) fn gap(gap: &tsmith_wal::Gap) -> Gap {
    Gap { offset: gap.offset, bytes: gap.dropped_bytes, reason: gap.reason() }
}
