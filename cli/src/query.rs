//! `tsmith query`: some values, to look at.

use std::path::PathBuf;

use clap::Args;

use crate::args::Wal;
use crate::dump::{self, Order};
use crate::exit::{Outcome, Result};
use crate::filter::{FilterArgs, NAMES_HELP};
use crate::output::{Destination, Format, Rows};
use crate::place::Place;

/// Show the values of some keys and times.
///
/// Rows come key by key, keys in the order of their bytes, and in the order of time within a key. --limit counts rows.
/// Nothing on disk is changed.
#[derive(Debug, Args)]
#[command(
    after_help = format!("Example:\n  tsmith query d --measurement cpu --tag host=a --field usage --desc --limit 10\n\n{NAMES_HELP}")
)]
pub(crate) struct Query {
    /// An engine directory, an InfluxDB 1.x shard directory, a .tsm file, or a .wal or .tlog segment
    #[arg(value_name = "DIR")]
    path: PathBuf,
    #[command(flatten)]
    wal: Wal,
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
    pub(crate) fn run(self) -> Result<Outcome> {
        let range = self.filter.range()?;
        let place = Place::find(&self.path, self.wal.wal.as_deref())?;
        let view = place.view()?;
        let damaged = place.report_problems(&view);
        let mut rows = Rows::new(&self.destination, self.format, self.exact)?;
        let order = Order { descending: self.desc, limit: self.limit };
        let unread = dump::ordered(&view, &self.path, &self.filter, range, order, &mut rows)?;
        if rows.is_empty() && self.limit != Some(0) {
            self.filter.report_no_match();
        }
        Ok(Outcome::of(damaged | unread | rows.finish()?))
    }
}
