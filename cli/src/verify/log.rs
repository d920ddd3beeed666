//! Checks the log: each segment, then the sequence of segments and the replay.

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

/// Records of one segment that are reported one by one. Further ones are only counted.
const NAMED_MAX: u64 = 10;

/// What a segment holds.
#[derive(Default)]
struct Held {
    records: u64,
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
        self.records += 1;
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
                    let note = disagreement(key, column.field_type(), known);
                    finding.notes.push(Problem { offset, ..note });
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
        format!("{}, {}", count(self.records, "record"), count(self.values, "value"))
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
        finding.notes.push(Problem::new("all bytes are zero"));
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
        let bytes = count(dropped_bytes, "byte");
        let torn = format!("{found}: torn tail of {bytes}, left by a crash: the next opening cuts it");
        finding.notes.push(Problem::at(offset, torn));
    }
    *values = held.values as u64;
    if !path.file_name().is_some_and(is_segment) {
        let reason = "not the name of a segment: checked as a copy; no engine reads it as part of a log";
        finding.notes.push(Problem::new(reason));
    }
    Ok(held.summary(finding))
}

/// Checks a log that another crate implements. It is read as one unit.
pub(super) fn log(
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
        let reason = format!("{}: the next opening cuts it", gap.reason());
        finding.notes.push(Problem::at(gap.offset, reason).in_segment(&gap.path));
    }
    Ok(format!("log {name}, {}, {}", count(recovery.segments, "segment"), held.summary(finding)))
}

/// Detects a missing segment. Each file may be valid and an engine still refuses to open the log: `native` numbers its
/// records across segments, and in InfluxDB's format our segments name the previous one.
pub(super) fn check_sequence(place: &Place, files: &[Finding]) -> Option<Finding> {
    let Place::Directory { wal: Some(wal), .. } = place else { return None };
    if !files.iter().any(|file| Path::new(&file.path).file_name().is_some_and(is_segment)) {
        return None;
    }
    let error = tsmith_wal::replay_only(&OsFs, wal, RecoveryMode::Strict, |_, _| Ok(())).err()?;
    let path = error.path()?.display().to_string();
    let is_reported = files.iter().any(|file| file.path == path && !file.ok);
    (!is_reported).then(|| Finding { path, problems: vec![Problem::from(&error)], ..Finding::default() })
}
