//! `tsmith export`: writes all values as text.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::args::WalOrNone;
use crate::dump;
use crate::exit::{Failure, Outcome, Result};
use crate::filter::FilterArgs;
use crate::output::{Destination, Format, Rows};
use crate::place::{Skipped, to_read};
use crate::progress::{Bar, When};
use tsmith_engine::Registry;

/// Write the values of directories and files as text
///
/// Example:
///   tsmith export d --measurement cpu --tag host=a --start -1h -o cpu.lp
///
/// Paths are exported one after the other, keys in byte order, values in time
/// order. Nothing on disk is changed. If some values cannot be read or written, or
/// the log is missing, the exit code is 1. See docs/paths.md for what PATH may be,
/// and docs/line-protocol.md for the formats.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Export {
    /// Shard or engine directories, TSM files, log segments
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    wal: WalOrNone,
    /// Output format
    #[arg(long, value_enum, default_value_t = ExportFormat::Lp, value_name = "FORMAT")]
    format: ExportFormat,
    /// Write the bits of floats, and strings, as hex (jsonl and csv)
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    destination: Destination,
    #[command(flatten)]
    filter: FilterArgs,
}

/// The formats of [`Format`] that programs read.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExportFormat {
    Lp,
    Csv,
    Jsonl,
}

impl Export {
    pub(crate) fn run(self, progress: When, registry: &Registry) -> Result<Outcome> {
        let format = match self.format {
            ExportFormat::Lp => Format::Lp,
            ExportFormat::Csv => Format::Csv,
            ExportFormat::Jsonl => Format::Jsonl,
        };
        let range = self.filter.range()?;
        let mut bar = Bar::new(progress);
        // A usage error is reported before anything is written.
        let mut places = Vec::new();
        let (paths, skipped) = to_read(&self.paths, registry);
        Skipped::note_all(&skipped);
        for path in paths {
            let place = match self.wal.place(path, registry) {
                Err(error @ Failure::Usage(_)) => return Err(error),
                place => place,
            };
            places.push((path, place));
        }
        // The output file is created only when a path can be read.
        let mut rows: Option<Rows> = None;
        let mut outcome = Outcome::Fine;
        for (path, place) in places {
            let (place, view) = match place.and_then(|place| place.view(registry).map(|view| (place, view))) {
                Ok(found) => found,
                Err(error) if self.paths.len() == 1 => return Err(error),
                Err(error) => {
                    error.complain_of(path);
                    outcome = outcome.and(error.outcome());
                    continue;
                }
            };
            outcome = outcome.and(place.report_no_log(Outcome::Problems));
            outcome = outcome.and(place.report_problems(&view));
            let rows = match &mut rows {
                Some(rows) => rows,
                None => rows.insert(Rows::new(&self.destination, format, self.exact)?),
            };
            outcome = outcome.and(Outcome::of(dump::all(&view, path, &self.filter, range, rows, &mut bar)?));
        }
        bar.clear();
        if let Some(rows) = rows {
            if rows.is_empty() {
                self.filter.report_no_match();
            }
            outcome = outcome.and(Outcome::of(rows.finish()?));
        }
        Ok(outcome)
    }
}
