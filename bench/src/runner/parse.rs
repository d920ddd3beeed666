//! `parse`: parses line protocol into a columnar batch.
//!
//! InfluxDB's parser keeps field values as text until they are read, so the Go driver prints two lines. Tsmith parses values at
//! once, so its one line corresponds to both together.

use std::time::Duration;

use tsmith_codecs::{Batch, Timestamp};
use tsmith_engine::line::{AnySchema, LineOptions, parse};

use crate::inputs::{Devops, FIELDS, Kind};
use crate::json_line::JsonLine;
use crate::measure::best;

const POINTS: usize = 100_000;

/// Parses generated line protocol in batches of 5000 lines.
///
/// Example: tsmith-bench parse --hosts 1000
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Number of hosts.
    #[arg(long, default_value_t = 1000)]
    hosts: usize,
    /// Type of the values: floats with two decimals, or integers.
    #[arg(long, value_enum, default_value_t = Kind::F2)]
    kind: Kind,
}

pub(crate) fn run(args: &Args) {
    let texts = Devops::new(args.hosts, args.kind).batches(POINTS, 5000);
    let bytes: usize = texts.iter().map(Vec::len).sum();
    let options = LineOptions::new(Timestamp(0));
    let mut spare = Batch::default();
    for field_values_read in [false, true] {
        let ns = best(3, Duration::from_millis(500), || {
            for text in &texts {
                let mut builder = std::mem::take(&mut spare).recycle();
                let rejected = parse(text, &options, &mut AnySchema, &mut builder);
                assert!(rejected.is_empty(), "generated lines are valid");
                spare = builder.finish().cleared();
            }
        });
        JsonLine::new("parse")
            .with("kind", args.kind.name())
            .with("field_values_read", field_values_read)
            .with("GB_per_s", bytes as f64 / ns)
            .with("Mpoints_per_s", POINTS as f64 / ns * 1000.0)
            .with("Mvalues_per_s", (POINTS * FIELDS.len()) as f64 / ns * 1000.0)
            .with("bytes_per_point", bytes as f64 / POINTS as f64)
            .print();
    }
}
