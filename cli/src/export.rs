//! `tsmith export`: all values as text.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::args::WalOrNone;
use crate::dump;
use crate::exit::{Failure, Outcome, Result};
use crate::filter::{FilterArgs, NAMES_HELP};
use crate::output::{Destination, Format, Rows};
use crate::place::{Skipped, to_read};
use crate::progress::{Bar, When};
use tsmith_engine::Registry;

/// Write the values of directories and files as text.
///
/// PATH is an engine directory, an InfluxDB 1.x shard directory, a .tsm, .tsm.bad or .tsm.rescued file with the
/// tombstones of its .tsm name, or a .wal or .tlog segment. Records of the log that cannot be replayed are named and left out,
/// and the exit code is 1. Each PATH is
/// exported by itself, one after the other: keys in the order of their bytes, values in the order of time, of several
/// values of one time the newest. Nothing on disk is changed.
///
/// lp reads back as the same points: floats in the shortest form with the same bits, strings byte for byte, the fields of
/// a line in the order of their bytes; so the text may differ from the one imported. What line
/// protocol has no form for (NaN, infinities, some names) is counted, and the exit code is 1. So it is when the log of a
/// shard is missing, unless --no-wal asks for the files alone. csv has the header
/// series,field,time,type,value, and "" for an empty string. jsonl has one object a key; NaN and infinities are strings in it.
///
/// Names and strings that are not UTF-8 are exact in lp and csv. In jsonl, `key` has \xNN for a byte of such a name, and
/// `key_hex` has all its bytes; strings get U+FFFD, which is reported, unless --exact writes them as hex.
#[derive(Debug, Args)]
#[command(
    after_help = format!("Example:\n  tsmith export d --format jsonl --measurement cpu --tag host=a --start -1h | head -n 1\n\n{NAMES_HELP}")
)]
pub(crate) struct Export {
    /// What to export
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    wal: WalOrNone,
    /// How to write it
    #[arg(long, value_enum, default_value_t = ExportFormat::Lp, value_name = "FORMAT")]
    format: ExportFormat,
    /// Floats as the 16 hex digits of their bits, strings as hex (jsonl and csv)
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    destination: Destination,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Formats for programs.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExportFormat {
    /// Line protocol, times in nanoseconds.
    Lp,
    /// One row a value.
    Csv,
    /// One JSON object a key.
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
        // A wrong command line is reported before anything is written.
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
        // The first path that can be read decides that there is anything to begin an output for.
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
