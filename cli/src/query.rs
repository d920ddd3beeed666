//! `tsmith query`: some values, to look at.

use std::path::PathBuf;

use clap::Args;

use crate::args::WalOrNone;
use crate::dump::{self, Order};
use crate::exit::{Outcome, Result};
use crate::filter::{FilterArgs, NAMES_HELP};
use crate::output::{Destination, Format, Rows};
use tsmith_engine::Registry;

/// Show the values of some keys and times.
///
/// Rows come key by key, keys in the order of their bytes, and in the order of time within a key. --limit counts rows.
/// Nothing on disk is changed. When the log is missing, the exit code is 1 unless --no-wal asks for the files alone.
#[derive(Debug, Args)]
#[command(
    after_help = format!("Example:\n  tsmith query d --measurement cpu --tag host=a --field usage --desc --limit 10\n\n{NAMES_HELP}")
)]
pub(crate) struct Query {
    /// An engine directory, an InfluxDB 1.x shard directory, a .tsm file, or a .wal or .tlog segment
    #[arg(value_name = "DIR")]
    path: PathBuf,
    #[command(flatten)]
    wal: WalOrNone,
    /// Latest first, within each key
    #[arg(long)]
    desc: bool,
    /// At most this many rows
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How to show them
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    format: Format,
    /// Floats as the 16 hex digits of their bits, strings as hex (jsonl and csv)
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    destination: Destination,
    #[command(flatten)]
    filter: FilterArgs,
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
