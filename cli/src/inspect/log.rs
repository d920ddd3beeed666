//! Shows a log that another crate implements. It is read as one unit.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use tsmith_engine::Registry;
use tsmith_wal::fs::OsFs;
use tsmith_wal::{GapKind, RecoveryMode};

use crate::exit::Result;
use crate::output::{Out, count};
use crate::problem::Problem;

/// The content of a log.
#[derive(Serialize)]
pub(super) struct Content {
    log: &'static str,
    segments: u64,
    records: u64,
    payload_bytes: u64,
    /// The parts that could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Problem>,
    /// Whether they are only the torn tail that a crash leaves.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    torn: bool,
}

/// Reads the log called `name` in `dir`.
pub(super) fn inspect(dir: &Path, name: &'static str, registry: &Registry) -> Result<Content> {
    let log = registry.find_log(name)?;
    let read = log.kind().read(&OsFs, dir, RecoveryMode::Salvage, &mut |_, _| Ok(()))?;
    let at = |gap: &tsmith_wal::Gap| Problem::at(gap.offset, gap.reason()).in_segment(&gap.path);
    Ok(Content {
        log: name,
        segments: read.segments,
        records: read.records,
        payload_bytes: read.bytes,
        errors: read.gaps.iter().map(at).collect(),
        torn: read.gaps.iter().all(|gap| gap.kind == GapKind::TornTail) && !read.gaps.is_empty(),
    })
}

impl Content {
    pub(super) fn is_corrupt(&self) -> bool {
        !self.errors.is_empty() && !self.torn
    }

    pub(super) fn print(&self, out: &mut Out) -> Result<()> {
        let (segments, records) = (count(self.segments, "segment"), count(self.records, "record"));
        let mut written = writeln!(out.text(), "  log {}, {segments}, {records}", self.log);
        let what = if self.torn { "torn tail, left by a crash:" } else { "ERROR" };
        for error in &self.errors {
            written = written.and_then(|()| writeln!(out.text(), "  {what} {error}"));
        }
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.spill()
    }
}
