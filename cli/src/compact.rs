//! `tsmith compact`: merges files.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use tsmith_engine::{Compact, CompactReport, Registry, Setup};

use crate::args::{ReportFormat, WriteTo};
use crate::exit::{Failure, Outcome, Result, complain};
use crate::output::{Out, count};
use crate::problem::report_recovery;

/// Merge TSM files and drop deleted points
///
/// Example:
///   tsmith compact d --full
///
/// Without --fast or --full, only the files are merged that a running engine would
/// merge now. The old files are removed after the new ones are durable. A corrupt
/// file is reported and left unchanged. A corrupt log stops the command. The log is
/// not changed; `tsmith snapshot` writes its values to TSM files.
#[derive(Debug, Args)]
#[command(name = "compact", verbatim_doc_comment)]
pub(crate) struct CompactArgs {
    /// Shard or engine directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Merge all files; copy blocks that neither overlap nor have deleted points
    #[arg(long, conflicts_with = "full")]
    fast: bool,
    /// Merge all files; also join blocks that are not full
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    to: WriteTo,
    /// Format of the report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

impl CompactArgs {
    pub(crate) fn run(self, registry: &Registry) -> Result<Outcome> {
        let mut setup = Setup::default();
        setup.options.create = false;
        setup.options.background = false;
        let engine = setup.open(registry, self.to.dirs("compact", &self.dir, registry)?)?;
        // Strict recovery fails on corruption. What remains is reported here, because a later opening does not repeat it.
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
            // The loop above has reported this error.
            Err(error) if failures.iter().any(|failure| failure.to_string() == error.to_string()) => {}
            done => done?,
        }
        closed?;
        let mut out = Out::stdout();
        let text = out.text();
        let written = match self.format {
            ReportFormat::Table => table(&report, !failures.is_empty(), text),
            ReportFormat::Json => json(&report, text),
        };
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.flush()?;
        Ok(Outcome::of(!failures.is_empty()))
    }
}

fn table(report: &CompactReport, has_failed: bool, out: &mut Vec<u8>) -> std::io::Result<()> {
    for file in &report.files {
        writeln!(out, "wrote {}", file.display())?;
    }
    let CompactReport { files_in, bytes_in, files, bytes_out } = report;
    if *files_in == 0 {
        let why = if has_failed { "nothing was merged" } else { "nothing to do: no file would change" };
        return writeln!(out, "{why}");
    }
    let (merged, left) = (count(*files_in, "file"), count(files.len(), "file"));
    writeln!(out, "{merged} of {bytes_in} bytes merged into {left} of {bytes_out} bytes")
}

fn json(report: &CompactReport, out: &mut Vec<u8>) -> std::io::Result<()> {
    let CompactReport { files_in, bytes_in, files, bytes_out } = report;
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let object = serde_json::json!({
        "files_in": files_in, "bytes_in": bytes_in, "files": files, "bytes_out": bytes_out
    });
    writeln!(out, "{object}")
}
