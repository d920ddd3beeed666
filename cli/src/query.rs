//! `tsmith query`: some values, to look at.

use std::path::PathBuf;

use clap::Args;

use crate::args::Wal;
use crate::dump::{self, Order};
use crate::exit::{Outcome, Result};
use crate::filter::FilterArgs;
use crate::output::{Destination, Format, Rows};
use crate::place::Place;

/// Show the values of some keys and times.
///
/// Rows come key by key, keys in the order of their bytes, and in the order of time within a key. --limit counts rows.
/// Nothing on disk is changed.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tsmith query d --measurement cpu --tag host=a --field usage --desc --limit 10"
)]
pub(crate) struct Query {
    /// An engine directory, an InfluxDB 1.x shard directory, a .tsm file, or a .wal or .tlog segment
    #[arg(value_name = "DIR")]
    path: PathBuf,
    #[command(flatten)]
    wal: Wal,
    #[command(flatten)]
    filter: FilterArgs,
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
        Ok(Outcome::of(damaged | unread | rows.finish()?))
    }
}
