//! `tsmith compact`: many files become fewer.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use tsmith_engine::{Compact, CompactReport, Registry, Setup};

use crate::args::{ReportFormat, WriteTo};
use crate::exit::{Failure, Outcome, Result, complain};
use crate::output::{Out, count};
use crate::problem::report_recovery;

/// Merge TSM files, and leave out what is deleted.
///
/// Without --fast or --full, what a running engine would merge by now. Files are replaced only once what replaces them
/// is on stable storage; a corrupt one stays as it is, and the others are merged all the same. A single file that
/// would only be written again as it is stays, too. The log is left alone.
#[derive(Debug, Args)]
#[command(name = "compact", after_help = "Example:\n  tsmith compact d --full")]
pub(crate) struct CompactArgs {
    /// An engine directory or an InfluxDB 1.x shard directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Merge all files, copying blocks that neither overlap nor have deleted points
    #[arg(long, conflicts_with = "full")]
    fast: bool,
    /// Merge all files, joining blocks that are not full
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    to: WriteTo,
    /// How to report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

impl CompactArgs {
    pub(crate) fn run(self, registry: &Registry) -> Result<Outcome> {
        let mut setup = Setup::default();
        setup.options.create = false;
        setup.options.background = false;
        let engine = setup.open(registry, self.to.dirs("compact", &self.dir, registry)?)?;
        // Strict recovery refuses what would be a problem; a later opening does not report the same again.
        let _fine = report_recovery(engine.recovery());
        let what = match (self.fast, self.full) {
            (true, _) => Compact::Fast,
            (_, true) => Compact::Full,
            _ => Compact::Due,
        };
        let mut report = CompactReport::default();
        let done = engine.compact_into(what, &mut report);
        let failures = engine.compaction().failures;
        let closed = engine.close();
        for failure in &failures {
            complain(Failure::from(failure.clone()).text());
        }
        match done {
            // The first of those just named.
            Err(error) if failures.iter().any(|failure| failure.to_string() == error.to_string()) => {}
            done => done?,
        }
        closed?;
        let mut out = Out::stdout();
        let text = out.text();
        let written = match self.format {
            ReportFormat::Table => table(&report, failures.is_empty(), text),
            ReportFormat::Json => json(&report, text),
        };
        debug_assert!(written.is_ok(), "vectors take all");
        out.flush()?;
        Ok(Outcome::of(!failures.is_empty()))
    }
}

fn table(report: &CompactReport, whole: bool, out: &mut Vec<u8>) -> std::io::Result<()> {
    for file in &report.files {
        writeln!(out, "wrote {}", file.display())?;
    }
    let CompactReport { files_in, bytes_in, files, bytes_out } = report;
    if *files_in == 0 {
        let why =
            if whole { "nothing to do: no file would become another one" } else { "nothing was merged" };
        return writeln!(out, "{why}");
    }
    let (merged, left) = (count(*files_in, "file"), count(files.len(), "file"));
    writeln!(out, "{merged} of {bytes_in} bytes merged to {left}, {bytes_out} bytes written")
}

fn json(report: &CompactReport, out: &mut Vec<u8>) -> std::io::Result<()> {
    let CompactReport { files_in, bytes_in, files, bytes_out } = report;
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let object = serde_json::json!({
        "files_in": files_in, "bytes_in": bytes_in, "files": files, "bytes_out": bytes_out
    });
    writeln!(out, "{object}")
}
