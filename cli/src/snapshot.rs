//! `tsmith snapshot`: writes the values of the log to TSM files.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use tsmith_engine::{Registry, Setup, SnapshotReport};

use crate::args::{Recovery, ReportFormat, WriteTo};
use crate::exit::{Outcome, Result};
use crate::output::{Out, count};
use crate::problem::report_recovery;

/// Write the values of the log to TSM files, and truncate the log
///
/// Examples:
///   tsmith snapshot d
///   tsmith snapshot d --recovery salvage
///
/// If the log is corrupt, the command fails and changes nothing. With --recovery
/// salvage it keeps each record that passes its checks and can be replayed, reports
/// the others, and exits with 1. The corrupt segments are then deleted with the
/// rest of the log, so make a copy first if they matter. See docs/recovery.md.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Snapshot {
    /// Shard or engine directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    to: WriteTo,
    #[command(flatten)]
    recovery: Recovery,
    /// Format of the report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

impl Snapshot {
    pub(crate) fn run(self, registry: &Registry) -> Result<Outcome> {
        let mut setup = Setup::default();
        self.recovery.apply(&mut setup)?;
        setup.options.create = false;
        setup.options.background = false;
        let engine = setup.open(registry, self.to.dirs("snapshot", &self.dir, registry)?)?;
        let opened = report_recovery(engine.recovery());
        let done = engine.snapshot();
        let closed = engine.close();
        let report = done?;
        closed?;
        let mut out = Out::stdout();
        let text = out.text();
        let written = match self.format {
            ReportFormat::Table => table(&report, text),
            ReportFormat::Json => json(&report, text),
        };
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.flush()?;
        Ok(opened)
    }
}

fn table(report: &SnapshotReport, out: &mut Vec<u8>) -> std::io::Result<()> {
    for file in &report.files {
        writeln!(out, "wrote {}", file.display())?;
    }
    let SnapshotReport { files, file_bytes, keys, values } = report;
    if files.is_empty() {
        return writeln!(out, "no file was written: the log holds no values");
    }
    let (files, keys) = (count(files.len(), "file"), count(*keys, "key"));
    writeln!(out, "{files}, {}, {keys}, {}", count(*file_bytes, "byte"), count(*values, "value"))
}

fn json(report: &SnapshotReport, out: &mut Vec<u8>) -> std::io::Result<()> {
    let SnapshotReport { files, file_bytes, keys, values } = report;
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let object =
        serde_json::json!({ "files": files, "file_bytes": file_bytes, "keys": keys, "values": values });
    writeln!(out, "{object}")
}
