//! The matrix: which parts are faster, by how much, and with which confidence.
//!
//! ```text
//! plan    cells in groups: a group has one dataset, workload and number of threads, and is durable or not
//! blocks  run every cell once, in random order, each in its own process, and the reference twice
//! stats   the ratio to the reference within each block, its median and interval, a verdict
//! results run.json and results.jsonl: what runs, and every sample
//! report  a table, summary.json, summary.csv, report.html
//! ```
//! Cells of different groups are never compared. So durable and non-durable cells share no ranking.

pub(crate) mod args;
mod blocks;
mod filter;
pub(crate) mod host;
pub(crate) mod names;
mod plan;
pub(crate) mod process;
mod results;
pub(crate) mod sample;
pub(crate) mod spec;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use tsmith_engine::Registry;

use crate::adapter;
use crate::error::Result;
use crate::report;
use crate::report::summary::{About, DatasetLines, Summary};
use crate::workload::Workload;
use args::Args;
use host::Host;
use names::Dataset;
use results::{Results, Run};

pub(crate) fn run(args: &Args, registry: &Registry) -> Result {
    let mut plan = plan::Plan::new(args, registry);
    if args.list {
        list(&plan, registry);
        return Ok(());
    }
    let earlier = args.baseline.as_ref().map(|path| Summary::read(path)).transpose()?;
    fs::create_dir_all(&args.out).map_err(|error| format!("{}: {error}", args.out.display()))?;
    let host = Host::look(&args.out)?;
    eprintln!("{}", host.sentence());
    let run = Run::new(plan.id(args.lines()), args.seed, host.clone());
    let mut results =
        if args.resume { Results::resume(&args.out, &run)? } else { Results::create(&args.out, &run)? };
    let stop = stop_flag()?;
    let datasets = plan.prepare(args.lines(), &results.scratch())?;
    for dataset in &datasets {
        eprintln!("{dataset}");
    }
    let about = about(args, datasets, &host);
    let samples = blocks::run(args, &plan, &mut results, &stop)?;
    drop(results);
    let mut summary = Summary::new(about, host, &plan.groups, &samples);
    if let Some(earlier) = &earlier {
        summary.compare(earlier)?;
    }
    report::write(&summary, &samples, &args.out)?;
    print!("{}", report::table(&summary));
    println!("\nwritten: {}", files(&args.out));
    check(&summary, args.fail_if)
}

/// A flag that the first Ctrl-C sets. The second Ctrl-C ends the program.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the shutdown looks at the flag before the same signal sets it.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

fn about(args: &Args, datasets: Vec<DatasetLines>, host: &Host) -> About {
    About {
        command_line: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        commit: host.commit.clone(),
        seed: args.seed,
        threads: args.threads.clone(),
        datasets,
    }
}

fn files(out: &Path) -> String {
    let names = ["report.html", "summary.json", "summary.csv", "results.jsonl", "run.json"];
    names.map(|name| out.join(name).display().to_string()).join(", ")
}

/// Returns an error if a cell failed or is slower than the user allows.
fn check(summary: &Summary, fail_below: Option<f64>) -> Result {
    let broken = summary.broken();
    if !broken.is_empty() {
        return Err(format!("these cells failed or read back other values:\n{}", broken.join("\n")).into());
    }
    let slow = fail_below.map(|ratio| summary.slower_than(ratio)).unwrap_or_default();
    if slow.is_empty() { Ok(()) } else { Err(format!("slower than allowed:\n{}", slow.join("\n")).into()) }
}

fn list(plan: &plan::Plan, registry: &Registry) {
    let options = [("order", adapter::ORDERS.to_vec()), ("durability", adapter::DURABILITIES.to_vec())];
    for (flag, names) in registry.names().into_iter().chain(options) {
        println!("--{flag}");
        for (name, summary) in names {
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
