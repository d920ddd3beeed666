//! What `--list` prints.

use std::fmt::Write as _;

use super::names::Dataset;
use super::plan::Plan;
use crate::adapter;
use crate::program::Bench;
use crate::workload::Workload;

/// The parts, options, datasets and workloads that can be named, and the cells of this run.
pub(super) fn text(plan: &Plan, bench: &Bench) -> String {
    let mut out = String::new();
    let durabilities = [adapter::DURABILITIES, &[adapter::INTERVAL]].concat();
    let options = [
        ("order", adapter::ORDERS.to_vec()),
        ("durability", durabilities),
        ("block", adapter::BLOCKS.to_vec()),
    ];
    for (flag, names) in bench.registry.names().into_iter().chain(options) {
        let _ = writeln!(out, "--{flag}");
        for (name, summary) in names {
            let _ = writeln!(out, "  {name:18} {summary}");
        }
    }
    if !bench.stores.is_empty() {
        out += "--store\n";
    }
    for store in &bench.stores {
        let missing = store.missing().map_or_else(String::new, |why| format!("; left out: {why}"));
        let _ = writeln!(out, "  {:18} {}{missing}", store.name(), store.summary());
    }
    out += "--dataset\n";
    for dataset in Dataset::bundled() {
        let _ = writeln!(out, "  {:18} {}", dataset.name, dataset.path.display());
    }
    out += "--series\n  1k, 100k, 1M, ...  generated, as Telegraf sends them\n--workload\n";
    for workload in Workload::ALL {
        let _ = writeln!(out, "  {:18} {}", workload.name(), workload.summary());
    }
    for (log, durability) in &plan.unsupported {
        let _ = writeln!(out, "\nleft out: the log {log} has no durability {durability}");
    }
    let _ = writeln!(out, "\n{} cells in this run:", plan.cell_count());
    for group in &plan.groups {
        let _ = writeln!(out, "{group}");
        for cell in &group.cells {
            let is_reference = *cell == group.cells[0] && group.workload.is_compared();
            let twice = if is_reference { " (reference, twice)" } else { "" };
            let _ = writeln!(out, "  {cell}{twice}");
        }
    }
    out
}
