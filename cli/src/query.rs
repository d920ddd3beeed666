//! `tsmith query`: shows selected values.

use std::path::PathBuf;

use clap::Args;

use crate::args::WalOrNone;
use crate::dump::{self, Order};
use crate::exit::{Outcome, Result};
use crate::filter::FilterArgs;
use crate::output::{Destination, Format, Rows};
use tsmith_engine::Registry;

/// Show the values of selected keys and times
///
/// Example:
///   tsmith query d --measurement cpu --tag host=a --field usage --desc --limit 10
///
/// Rows are sorted by key, then by time. Nothing on disk is changed. If some values
/// cannot be read, or the log is missing, the exit code is 1. See docs/paths.md for
/// what DIR may be, and docs/line-protocol.md for the formats.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Query {
    /// Shard or engine directory, TSM file, or log segment
    #[arg(value_name = "DIR")]
    path: PathBuf,
    #[command(flatten)]
    wal: WalOrNone,
    /// Show the latest values of each key first
    #[arg(long)]
    desc: bool,
    /// Show at most N rows
    #[arg(long, value_name = "N", value_parser = limit)]
    limit: Option<u64>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    format: Format,
    /// Write the bits of floats, and strings, as hex (jsonl and csv)
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    destination: Destination,
    #[command(flatten)]
    filter: FilterArgs,
}

fn limit(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a number of rows".to_owned())
}

impl Query {
    pub(crate) fn run(self, registry: &Registry) -> Result<Outcome> {
        let range = self.filter.range()?;
        let place = self.wal.place(&self.path, registry)?;
        let view = place.view(registry)?;
        let outcome = place.report_no_log(Outcome::Problems).and(place.report_problems(&view));
        let mut rows = Rows::new(&self.destination, self.format, self.exact)?;
        let order = Order { descending: self.desc, limit: self.limit };
        let unread = dump::ordered(&view, &self.path, &self.filter, range, order, &mut rows)?;
        if rows.is_empty() && self.limit != Some(0) {
            self.filter.report_no_match();
        }
        Ok(outcome.and(Outcome::of(unread | rows.finish()?)))
    }
}
