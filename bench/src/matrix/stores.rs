//! The cells of whole stores of other projects.

use super::args::Args;
use super::spec::{CellSpec, is_durable};
use crate::adapter;
use crate::peer::StorePeer;
use crate::program::Bench;
use crate::workload::Workload;

/// The stores that flags name, else those of the default run.
fn chosen<'a>(args: &Args, bench: &'a Bench) -> Vec<&'a dyn StorePeer> {
    let given: Vec<&str> = args.store.iter().map(String::as_str).collect();
    let default = if args.names_axis() { Vec::new() } else { bench.selected("store", Vec::new()) };
    given.into_iter().chain(default).filter_map(|name| bench.find_store(name)).collect()
}

/// The cells of a workload: durable and not, where the store can do both.
pub(super) fn cells(args: &Args, workload: Workload, bench: &Bench) -> Vec<CellSpec> {
    let mut cells = Vec::new();
    if !workload.varies("store") {
        return cells;
    }
    let named = &args.durability;
    let asked = |durable| named.is_empty() || named.iter().any(|mode| is_durable(mode) == durable);
    for store in chosen(args, bench).into_iter().filter(|store| store.missing().is_none()) {
        for durable in [true, false] {
            // A read does not depend on how the values were written.
            let writes = workload.varies("durability");
            let runs = if writes { asked(durable) && store.promise(durable).is_some() } else { durable };
            if runs {
                let durability = if durable { adapter::DURABILITIES[0].0 } else { "none" };
                let reference = CellSpec { durability: durability.into(), ..CellSpec::default() };
                cells.push(reference.with("store", store.name()));
            }
        }
    }
    cells
}

/// Stores that cannot run here, with the reason.
pub(super) fn missing(args: &Args, bench: &Bench) -> Vec<(&'static str, String)> {
    let stores = chosen(args, bench).into_iter();
    stores.filter_map(|store| Some((store.name(), store.missing()?))).collect()
}
