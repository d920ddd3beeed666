//! `tsmith snapshot`: what is in the log becomes TSM files.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use tsmith_engine::{Registry, Setup, SnapshotReport};

use crate::args::{Recovery, ReportFormat, WriteTo};
use crate::exit::{Outcome, Result};
use crate::output::{Out, count};
use crate::problem::report_recovery;

/// Write the values of the log to TSM files, and drop that part of the log.
///
/// The directory is opened with the parts it was made with. A log without values leaves everything as it is.
///
/// With --recovery salvage a corrupt log is read as far as it passes its checks. Records that cannot be replayed are left out,
/// or as much of them as gives a field a second type. All that is left out is named, and the exit code is 1;
/// the corrupt segments go with the others, also if no value remains, so keep a copy if they matter.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tsmith snapshot d\n  tsmith snapshot d --recovery salvage")]
pub(crate) struct Snapshot {
    /// An engine directory or an InfluxDB 1.x shard directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    to: WriteTo,
    #[command(flatten)]
    recovery: Recovery,
    /// How to report
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
        debug_assert!(written.is_ok(), "vectors take all");
        out.flush()?;
        Ok(opened)
    }
}

fn table(report: &SnapshotReport, out: &mut Vec<u8>) -> std::io::Result<()> {
    for file in &report.files {
        writeln!(out, "wrote {}", file.display())?;
    }
    let SnapshotReport { files, file_bytes, keys, values } = report;
    let (files, keys) = (count(files.len(), "file"), count(*keys, "key"));
    writeln!(out, "{files}, {file_bytes} bytes, {keys}, {}", count(*values, "value"))
}

fn json(report: &SnapshotReport, out: &mut Vec<u8>) -> std::io::Result<()> {
    let SnapshotReport { files, file_bytes, keys, values } = report;
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let object =
        serde_json::json!({ "files": files, "file_bytes": file_bytes, "keys": keys, "values": values });
    writeln!(out, "{object}")
}
