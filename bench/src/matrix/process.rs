//! The hidden sub-command `cell`, which runs one cell in its own process, and how the matrix calls it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use tsmith_engine::Registry;

use super::names;
use super::spec::{CellSpec, Group};
use crate::adapter::Setup;
use crate::error::Result;
use crate::inputs::Points;
use crate::out;
use crate::workload::{BATCH_POINTS, CALLS_MAX, Cell, Outcome, Workload};

/// Runs one cell and prints its measurements as JSON.
#[derive(Debug, clap::Args)]
pub(crate) struct CellArgs {
    #[arg(long)]
    storer: String,
    #[arg(long)]
    log: String,
    #[arg(long)]
    encoder: String,
    #[arg(long, value_parser = names::order)]
    order: String,
    #[arg(long, value_parser = names::durability)]
    durability: String,
    #[arg(long, value_parser = names::workload)]
    workload: Workload,
    #[arg(long, value_parser = names::block)]
    block: String,
    #[arg(long)]
    threads: usize,
    /// Points of one write.
    #[arg(long)]
    batch: usize,
    /// A prepared dataset.
    #[arg(long)]
    points: PathBuf,
    /// Number of timed passes.
    #[arg(long)]
    passes: usize,
    /// Working directory; the cell empties it first.
    #[arg(long)]
    dir: PathBuf,
}

impl CellArgs {
    /// A dataset of few points a call would take too long.
    fn calls_max(&self) -> usize {
        if self.batch < BATCH_POINTS { CALLS_MAX } else { usize::MAX }
    }
}

/// Runs in the child process.
pub(crate) fn run(args: &CellArgs, registry: &Registry) -> Result {
    let begun = Instant::now();
    let setup = Setup {
        storer: &args.storer,
        log: &args.log,
        encoder: &args.encoder,
        order: &args.order,
        durability: &args.durability,
        points_per_block: args.block.parse()?,
    };
    let points = Points::read(&args.points)?;
    let batches = points.batches(args.batch, args.calls_max())?;
    let cell = Cell {
        registry,
        setup,
        workload: args.workload,
        threads: args.threads,
        batches: &batches,
        passes: args.passes,
        begun,
        dir: args.dir.clone(),
        engines: args.points.with_extension(format!("{}.engines", args.batch)),
    };
    out::print(serde_json::to_string(&cell.run()?)?);
    Ok(())
}

/// Runs a cell in a child process and waits for it. A failure is returned as text, because other cells continue.
pub(super) fn spawn(group: &Group, cell: &CellSpec, passes: usize, dir: PathBuf) -> Result<Outcome, String> {
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find the path of this program: {error}"))?;
    let mut command = Command::new(program);
    command.arg("cell");
    for (flag, value) in [
        ("--storer", cell.storer.as_str()),
        ("--log", &cell.log),
        ("--encoder", &cell.encoder),
        ("--order", &cell.order),
        ("--durability", &cell.durability),
        ("--block", &cell.block),
        ("--workload", group.workload.name()),
        ("--threads", &group.threads.to_string()),
        ("--batch", &group.batch.to_string()),
        ("--passes", &passes.to_string()),
    ] {
        command.arg(flag).arg(value);
    }
    command.arg("--points").arg(&group.points).arg("--dir").arg(dir);
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("cannot start a cell: {error}"))?;
    if output.status.success() {
        serde_json::from_slice(&output.stdout).map_err(|error| format!("a cell printed no outcome: {error}"))
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(format!("{}: {}", output.status, text.trim()))
    }
}
