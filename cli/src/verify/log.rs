//! The log: its segments, and what only shows when it is replayed.

use std::path::Path;

use tsmith_engine::Registry;
use tsmith_wal::entry::{self, Entry, Layout};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{Gap, GapKind, Position, Record, RecoveryMode, SEGMENT_FILE_BYTES_MAX, is_segment};

use super::finding::Finding;
use super::types::{Types, disagreement};
use crate::output::count;
use crate::place::Place;
use crate::problem::Problem;
use crate::read;

/// Records of one segment that are named before they are only counted.
const NAMED_MAX: u64 = 10;

/// What a segment was found to hold.
#[derive(Default)]
struct Held {
    frames: u64,
    values: usize,
    refused: u64,
    disagreements: u64,
}

impl Held {
    fn take(
        &mut self,
        (at, offset): (Position, Option<u64>),
        (record, layout): (Record<'_>, Layout),
        types: &mut Types,
        finding: &mut Finding,
    ) {
        self.frames += 1;
        if let Err(refusal) = types.log.take(at, record, layout) {
            self.refused += 1;
            if self.refused <= NAMED_MAX {
                finding.problems.push(Problem { offset, ..Problem::new(refusal.reason) });
            }
        }
        if let Ok(Entry::Write(batch)) = entry::decode(record.kind, record.payload) {
            self.values += batch.value_count();
            for (key, column) in batch.columns() {
                let Err(known) = types.claim(key, column.field_type()) else { continue };
                self.disagreements += 1;
                if self.disagreements == 1 {
                    let flaw = disagreement(key, column.field_type(), known);
                    finding.notes.push(Problem { offset, ..flaw });
                }
            }
        }
    }

    fn summary(&self, finding: &mut Finding) -> String {
        if let Some(more @ 1..) = self.refused.checked_sub(NAMED_MAX) {
            finding
                .problems
                .push(Problem::new(format!("{} more that cannot be replayed", count(more, "record"))));
        }
        format!("{}, {}", count(self.frames, "frame"), count(self.values, "value"))
    }
}

pub(super) fn segment(
    path: &Path,
    types: &mut Types,
    (values, finding): (&mut u64, &mut Finding),
) -> Result<String, Problem> {
    let mut held = Held::default();
    let (bytes, len) = read::segment(path, SEGMENT_FILE_BYTES_MAX).map_err(|error| Problem::io(&error))?;
    if len > 0 && bytes.iter().all(|&byte| byte == 0) {
        finding.notes.push(Problem::new("nothing but zeros"));
    }
    let replayed = read::records(path, |found| {
        held.take((found.at, Some(found.offset)), (found.record, found.layout), types, finding);
        Ok(())
    });
    let recovery = replayed.map_err(|error| Problem::from(&error))?;
    finding.notes.extend(recovery.unverified.iter().map(|found| Problem::at(found.offset, found.reason())));
    for gap in recovery.gaps {
        if gap.kind != GapKind::TornTail {
            return Err(Problem::at(gap.offset, format!("{}, with intact records after it", gap.found)));
        }
        let Gap { offset, found, dropped_bytes, .. } = gap;
        let torn = format!("{found}: {dropped_bytes} bytes torn by a crash, cut when it is opened");
        finding.notes.push(Problem::at(offset, torn));
    }
    *values = held.values as u64;
    if !path.file_name().is_some_and(is_segment) {
        let reason =
            "not the name of a segment: read as a copy of one, which no engine takes for a part of its log";
        finding.notes.push(Problem::new(reason));
    }
    Ok(held.summary(finding))
}

/// Checks a log of another crate, which reads it as a whole.
pub(super) fn whole(
    dir: &Path,
    name: &str,
    registry: &Registry,
    types: &mut Types,
    (values, finding): (&mut u64, &mut Finding),
) -> Result<String, Problem> {
    let log = registry.find_log(name).map_err(|error| Problem::of_engine(&error))?;
    let mut held = Held::default();
    let read = log.kind().read(&OsFs, dir, RecoveryMode::Strict, &mut |at, record| {
        held.take((at, None), (record, Layout::Influx), types, finding);
        Ok(())
    });
    *values = held.values as u64;
    let recovery = read.map_err(|error| match error.path() {
        Some(segment) => Problem::from(&error).in_segment(segment),
        None => Problem::from(&error),
    })?;
    for gap in &recovery.gaps {
        let reason = format!("{}: cut when it is opened", gap.reason());
        finding.notes.push(Problem::at(gap.offset, reason).in_segment(&gap.path));
    }
    Ok(format!("log {name}, {}, {}", count(recovery.segments, "segment"), held.summary(finding)))
}

/// What an engine would not open a log for, though each of its files is in order: `native` numbers its records through
/// all of them, and in InfluxDB's format segments of ours name the one before.
pub(super) fn check_sequence(place: &Place, files: &[Finding]) -> Option<Finding> {
    let Place::Directory { wal: Some(wal), .. } = place else { return None };
    if !files.iter().any(|file| Path::new(&file.path).file_name().is_some_and(is_segment)) {
        return None;
    }
    let error = tsmith_wal::replay_only(&OsFs, wal, RecoveryMode::Strict, |_, _| Ok(())).err()?;
    let path = error.path()?.display().to_string();
    // Said already.
    let said = files.iter().any(|file| file.path == path && !file.ok);
    (!said).then(|| Finding { path, problems: vec![Problem::from(&error)], ..Finding::default() })
}
