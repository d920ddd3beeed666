//! The matrix: which parts are faster, by how much, and how sure that is.
//!
//! ```text
//! plan    cells in groups: one dataset, workload, number of threads; durable or not
//! blocks  every cell once, in random order, each in a process of its own; the reference twice
//! stats   the ratio to the reference within each block, its median and interval, a verdict
//! report  a table, results.jsonl, summary.json, summary.csv, report.html
//! ```
//! Cells of different groups are never compared: what is durable and what is not have no ranking in common.

mod blocks;
mod cell;
mod host;
pub(crate) mod names;
mod plan;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use blocks::Sample;
pub(crate) use cell::{CellArgs, run as run_cell};
pub(crate) use host::Host;
#[cfg(test)]
pub(crate) use host::{Disk, Latency};
pub(crate) use plan::{CellSpec, Group};

use crate::report::{About, DatasetLines, Summary};
use crate::workload::{Workload, count_lines};
use crate::{Result, door};
use names::{Dataset, Parts};

/// Compares the parts of the engine on real data: each cell in fresh processes, against a reference, block by block.
///
/// The default is a star around the reference: one part at a time is exchanged for each of its alternatives, and no two
/// at once. Naming parts of some axes varies those axes only; --full takes the product, every part with every other.
/// --list names all of it: parts, datasets, workloads, and the cells that the other flags choose.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// Storers to compare, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = names::storer)]
    storer: Vec<String>,
    /// Logs to compare.
    #[arg(long, value_delimiter = ',', value_parser = names::log)]
    log: Vec<String>,
    /// Block encoders to compare.
    #[arg(long, value_delimiter = ',', value_parser = names::encoder)]
    encoder: Vec<String>,
    /// Orders of log and cache to compare.
    #[arg(long, value_delimiter = ',', value_parser = names::order)]
    order: Vec<String>,
    /// Durability modes to compare; also `interval:10ms` and the like.
    #[arg(long, value_delimiter = ',', value_parser = names::durability)]
    durability: Vec<String>,
    /// Bundled datasets by name, or line protocol in FILE.lp or FILE.lp.zst [default: every bundled one].
    #[arg(long, value_delimiter = ',', value_parser = names::dataset)]
    dataset: Vec<Dataset>,
    /// What to time [default: all of it].
    #[arg(long, value_delimiter = ',', value_parser = names::workload)]
    workload: Vec<Workload>,
    /// Numbers of threads that write or scan.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Vec<u16>,
    /// The product of all axes, not the star.
    #[arg(long)]
    full: bool,
    /// The parts every other cell is compared with.
    #[arg(long, value_name = "STORER/LOG/ENCODER", default_value = "ring/file/tsm1", value_parser = names::parts)]
    reference: Parts,
    /// Keeps cells by name or by `axis=value`: terms joined by commas must all hold, `|` separates values, a leading
    /// `!` excludes. References stay.
    #[arg(long, value_name = "EXPR", value_parser = plan::Filter::parse)]
    filter: Option<plan::Filter>,
    /// Time for all blocks together.
    #[arg(long, default_value = "100s", value_parser = crate::duration)]
    time: Duration,
    /// Exactly so many blocks, however long they take.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    blocks: Option<u32>,
    /// Uses the first so many lines of each dataset; 0 uses all.
    #[arg(long, default_value_t = 30_000)]
    lines: usize,
    /// Decides the order of cells and the resampling.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints the parts, datasets and workloads, and the cells of this run, and ends.
    #[arg(long)]
    list: bool,
    /// One block on 500 lines: does every cell work?
    #[arg(long, conflicts_with_all = ["blocks", "time", "lines"])]
    smoke: bool,
    /// Where results are written and engines work; put it on the disk to be measured.
    #[arg(long, default_value = "target/matrix")]
    out: PathBuf,
    /// Goes on with the blocks that --out already has, if they are of the same plan.
    #[arg(long)]
    resume: bool,
    /// Compares each cell's speed with that in an earlier summary.json of this machine.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// `slower>N%`: exit code 1 when a cell is surely slower by more than N per cent, against the baseline if there is one,
    /// else against the reference.
    #[arg(long, value_name = "EXPR", value_parser = names::fail_if)]
    fail_if: Option<f64>,
    /// A progress line on standard error.
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    progress: Progress,
}

impl Args {
    /// Lines used of each dataset; 0 is all.
    fn lines(&self) -> usize {
        if self.smoke { blocks::SMOKE_LINES } else { self.lines }
    }

    fn about(&self, plan: &plan::Plan, host: &Host) -> Result<About> {
        let mut datasets: Vec<DatasetLines> = Vec::new();
        for group in &plan.groups {
            if datasets.iter().all(|dataset| dataset.name != group.dataset) {
                let lines = count_lines(&group.path)?;
                let lines_used = if self.lines() == 0 { lines } else { lines.min(self.lines()) };
                datasets.push(DatasetLines { name: group.dataset.clone(), lines_used, lines });
            }
        }
        Ok(About {
            command_line: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            commit: host.commit.clone(),
            seed: self.seed,
            threads: self.threads.clone(),
            datasets,
        })
    }
}

/// When to show progress.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Progress {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

pub(crate) fn run(args: &Args) -> Result {
    let plan = plan::Plan::new(args);
    if args.list {
        list(&plan);
        return Ok(());
    }
    let earlier = args.baseline.as_ref().map(|path| Summary::read(path)).transpose()?;
    fs::create_dir_all(&args.out).map_err(|error| format!("{}: {error}", args.out.display()))?;
    let host = Host::look(&args.out)?;
    eprintln!("{}", host.sentence());
    let about = args.about(&plan, &host)?;
    about.datasets.iter().for_each(|dataset| eprintln!("{dataset}"));
    let samples = blocks::run(args, &plan, &host)?;
    let mut summary = Summary::new(about, host, &plan.groups, &samples);
    if let Some(earlier) = &earlier {
        summary.compare(earlier)?;
    }
    summary.write(&args.out)?;
    print!("{}", summary.table());
    println!("\nwritten: {}", files(&args.out));
    judge(&summary, args.fail_if)
}

fn files(out: &Path) -> String {
    let names = ["report.html", "summary.json", "summary.csv", "results.jsonl"];
    names.map(|name| out.join(name).display().to_string()).join(", ")
}

fn judge(summary: &Summary, fail_below: Option<f64>) -> Result {
    let broken = summary.broken();
    if !broken.is_empty() {
        return Err(format!("these cells failed or read back something else:\n{}", broken.join("\n")).into());
    }
    let slow = fail_below.map(|ratio| summary.slower_than(ratio)).unwrap_or_default();
    if slow.is_empty() { Ok(()) } else { Err(format!("slower than allowed:\n{}", slow.join("\n")).into()) }
}

fn list(plan: &plan::Plan) {
    let axes = [
        ("--storer", door::STORERS),
        ("--log", door::LOGS),
        ("--encoder", door::ENCODERS),
        ("--order", door::ORDERS),
        ("--durability", door::DURABILITIES),
    ];
    for (flag, parts) in axes {
        println!("{flag}");
        for (name, summary) in parts {
            println!("  {name:18} {summary}");
        }
    }
    println!("--dataset");
    for dataset in Dataset::bundled() {
        println!("  {:18} {}", dataset.name, dataset.path.display());
    }
    println!("--workload");
    for workload in Workload::ALL {
        println!("  {:18} {}", workload.name(), workload.summary());
    }
    println!("\n{} cells in this run:", plan.cell_count());
    for group in &plan.groups {
        println!("{group}");
        for cell in &group.cells {
            println!("  {cell}{}", if *cell == group.cells[0] { " (reference, twice)" } else { "" });
        }
    }
}
