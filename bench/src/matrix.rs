//! The matrix: which parts are faster, by how much, and with which confidence.
//!
//! ```text
//! plan    cells in groups: a group has one dataset, workload and number of threads, and is durable or not
//! blocks  run every open cell once, each in its own process, and the reference twice; the processes of a group take turns
//! verdicts the ratio to the reference within each block, its mean and interval, a verdict (see `stats`)
//! results run.json and results.jsonl: what runs, and every sample
//! report  a table, summary.json, summary.csv, report.html
//! ```
//! Cells of different groups are never compared. So durable and non-durable cells share no ranking.

pub(crate) mod args;
mod blocks;
mod budget;
mod directory;
mod estimate;
mod filter;
pub(crate) mod host;
mod list;
pub(crate) mod names;
mod passes;
mod plan;
pub(crate) mod process;
mod results;
mod run;
pub(crate) mod sample;
mod self_check;
pub(crate) mod spec;
mod stores;
mod together;
pub(crate) mod verdicts;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::failure::Failure;
use crate::out;
use crate::program::Bench;
use crate::report;
use crate::report::summary::{About, DatasetLines, GoLine, PartLabel, StoreLabel, Summary};
use crate::stats::BLOCKS_MIN;
use args::Args;
use budget::Budget;
use estimate::Estimate;
use host::Host;
use plan::Plan;
use results::Results;
use run::Run;
pub(crate) use run::SCHEMA;
use spec::Group;

/// Without flags that select, a run has only cells that get as many blocks.
const BLOCKS_PLANNED: u32 = 4;

/// Runs the matrix and returns the exit code.
pub(crate) fn main(args: &Args, bench: &Bench) -> ExitCode {
    match run(args, bench) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out::note(format_args!("tsmith-bench matrix: {failure}"));
            failure.into()
        }
    }
}

fn run(args: &Args, bench: &Bench) -> Result<(), Failure> {
    let mut plan = Plan::new(args, bench);
    for (store, why) in stores::missing(args, bench) {
        out::note(format_args!("{store} is left out: {why}"));
    }
    if args.list {
        out::print(list::text(&plan, bench));
    }
    for (log, durability) in plan.unsupported.iter().filter(|_| !args.list) {
        out::note(format_args!("left out: the log {log} has no durability {durability}"));
    }
    if plan.is_empty(args) {
        let what = "no cell is left to run: no cell passes --filter, or no workload that runs can use the parts and is \
                    changed by them. --list prints the parts, workloads and cells";
        return Err(Failure::Usage(what.into()));
    }
    if args.list {
        return Ok(());
    }
    plan.check_paces()?;
    if args.self_check {
        return self_check::run(args);
    }
    let budget = Budget::new((!args.smoke && args.blocks.is_none()).then_some(args.time));
    let stop = stop_flag()?;
    let earlier = args.baseline.as_ref().map(|path| Summary::read(path)).transpose()?;
    let go_lines = args.go_lines.as_ref().map(|path| GoLine::read(path)).transpose()?;
    let mut results = Results::claim(args)?;
    let host = Host::look(results.dir())?;
    let mut run = Run::new(plan.id(args.lines()), &plan.datasets, args.seed, host.clone())?;
    let mut datasets = plan.prepare(args, &results.scratch())?;
    for dataset in &mut datasets {
        dataset.hash = run.hash_of(&dataset.name);
    }
    let mut about = about(args, &plan, bench, datasets, &host);
    about.go_lines = go_lines.unwrap_or_default();
    if let Some(earlier) = &earlier {
        earlier.check_baseline_of(&about, &host)?;
        if !earlier.has_any_of(&plan.groups) {
            return Err(Failure::Usage("the baseline has none of the cells of this run".into()));
        }
    }
    out::note(host.sentence());
    about.datasets.iter().for_each(out::note);
    about.stores.iter().for_each(out::note);
    run.left_out = choose(args, &mut plan, budget, &about, (&results.scratch().join("cell"), &stop))?;
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    plan.without(&results.begin(run)?.left_out);
    results.check(&plan.groups)?;

    let samples = blocks::run(args, &plan, &mut results, budget, &stop)?;
    let run = results.end()?;
    let mut summary = Summary::new(about, host, &plan.groups, &samples);
    if let Some(earlier) = &earlier {
        summary.compare(earlier);
    }
    report::write(&summary, &run, &samples, results.dir())?;
    out::print(report::table(&summary));
    let missing = summary.not_in_baseline();
    if !missing.is_empty() {
        out::print(format_args!("\nnot in the baseline:\n{}\n", missing.join("\n")));
    }
    out::print(format_args!("\nwritten: {}\n", files(results.dir())));
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    check(&summary, args.fail_if)
}

/// Checks that the time is enough. If no flag selects what runs, leaves out what does not fit, and returns its titles.
fn choose(
    args: &Args,
    plan: &mut Plan,
    budget: Budget,
    about: &About,
    (scratch, stop): (&Path, &AtomicBool),
) -> Result<Vec<String>, Failure> {
    let open_loops = estimate::open_loops_seconds(&plan.groups);
    if open_loops > 0.0 {
        out::note(format_args!("The cells of the workload latency take about {open_loops:.0} s in a block."));
    }
    if !budget.is_limited() {
        if plan.groups[0].pace.is_none() {
            // Only loads the program and one dataset.
            let _ = estimate::run_alone(&plan.groups[0], 0, 1, scratch, stop);
        }
        return Ok(Vec::new());
    }
    let preparation = budget.elapsed();
    let estimate = Estimate::new(plan, &about.datasets, scratch, stop);
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    if args.resume.is_some() {
        // It has its first blocks, and the earlier run chose.
        budget.check(1, estimate.block_seconds(&plan.groups), preparation)?;
        return Ok(Vec::new());
    }
    let fits = |groups: &[Group]| budget.fits(BLOCKS_PLANNED, estimate.block_seconds(groups));
    let left_out = if args.selects() { Vec::new() } else { plan.leave_out(fits) };
    if !left_out.is_empty() {
        out::note(format_args!(
            "left out, so that {BLOCKS_PLANNED} blocks of all others fit into {:?}: {}. A longer --time runs them",
            args.time,
            left_out.join("; ")
        ));
    }
    budget.check(BLOCKS_MIN as u32, estimate.block_seconds(&plan.groups), preparation)?;
    Ok(left_out)
}

/// A flag that Ctrl-C or SIGTERM sets. A second Ctrl-C ends the program. A second SIGTERM does not: `timeout` sends two.
fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    // In this order: the shutdown looks at the flag before the same signal sets it.
    signal_hook::flag::register_conditional_shutdown(SIGINT, 128 + SIGINT, Arc::clone(&stop))
        .and_then(|_| signal_hook::flag::register(SIGINT, Arc::clone(&stop)))
        .and_then(|_| signal_hook::flag::register(SIGTERM, Arc::clone(&stop)))
        .map_err(|error| Failure::Io(format!("cannot handle signals: {error}")))?;
    Ok(stop)
}

fn about(args: &Args, plan: &Plan, bench: &Bench, datasets: Vec<DatasetLines>, host: &Host) -> About {
    let stores = bench.stores.iter().filter(|store| plan.has_store(store.name()));
    About {
        command_line: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        commit: host.commit.clone(),
        seed: args.seed,
        threads: args.threads.clone(),
        datasets,
        parts: PartLabel::all(&bench.registry, &plan.groups),
        stores: stores.map(|store| StoreLabel::of(&**store)).collect(),
        go_lines: Vec::new(),
    }
}

fn files(out: &Path) -> String {
    directory::RESULTS.map(|name| out.join(name).display().to_string()).join(", ")
}

/// Returns an error if a cell failed or is slower than the user allows.
fn check(summary: &Summary, fail_below: Option<f64>) -> Result<(), Failure> {
    let broken = summary.broken();
    if !broken.is_empty() {
        return Err(Failure::Broken(broken));
    }
    let slow = fail_below.map(|ratio| summary.slower_than(ratio)).unwrap_or_default();
    if !slow.is_empty() {
        return Err(Failure::Slower(slow));
    }
    let unclear = fail_below.map_or(0, |ratio| summary.unclear(ratio));
    if unclear > 0 {
        out::note(format_args!(
            "--fail-if: no cell is certainly too slow, but {unclear} may be: their intervals reach below the limit. More --time, \
             or a quieter machine, tells"
        ));
    }
    Ok(())
}
