//! `codec`: blocks of 1000 values, encoded and decoded.

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::inputs::{Shape, columns, read_columns};

/// Encodes and decodes every column in blocks of 1000 values.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of TSCOL1 files; without it the columns are generated.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Values per generated column.
    #[arg(long, default_value_t = 256_000)]
    n: usize,
    /// Repetitions, the best is kept.
    #[arg(long, default_value_t = 9)]
    reps: usize,
    /// Minimum length of one repetition.
    #[arg(long, default_value = "10ms", value_parser = crate::duration)]
    min: Duration,
}

pub(crate) fn run(args: &Args) -> Result {
    let shapes: Vec<Shape> =
        args.dir.as_ref().map_or_else(|| Ok(columns(args.n)), |dir| read_columns(dir))?;
    let _ = (shapes, args.reps, args.min);
    Ok(())
}
