//! Which cells a run has, and which of them are compared with one another.

use super::args::Args;
use super::filter::Filter;
use super::names::Dataset;
use super::spec::{CellSpec, Group, is_durable};
use crate::adapter::{self, Names};
use crate::workload::Workload;

/// All cells of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) groups: Vec<Group>,
}

/// The values of one axis, as the flags have them.
struct Axis<'a> {
    name: &'static str,
    given: &'a [String],
    all: Names,
}

impl Plan {
    pub(super) fn new(args: &Args) -> Self {
        let axes = [
            Axis { name: "storer", given: &args.storer, all: adapter::storers() },
            Axis { name: "log", given: &args.log, all: adapter::logs() },
            Axis { name: "encoder", given: &args.encoder, all: adapter::encoders() },
            Axis { name: "order", given: &args.order, all: adapter::ORDERS },
            Axis { name: "durability", given: &args.durability, all: adapter::DURABILITIES },
        ];
        let datasets = if args.dataset.is_empty() { Dataset::bundled() } else { args.dataset.clone() };
        let workloads = if args.workload.is_empty() { Workload::ALL.to_vec() } else { args.workload.clone() };
        let first = args
            .durability
            .iter()
            .find(|mode| is_durable(mode))
            .map_or(adapter::DURABILITIES[0].0, |mode| mode);
        let reference = CellSpec {
            storer: args.reference.storer.clone(),
            log: args.reference.log.clone(),
            encoder: args.reference.encoder.clone(),
            order: args.order.first().map_or(adapter::ORDERS[0].0, |order| order).into(),
            durability: first.into(),
        }
        .normalized();

        let mut plan = Self { groups: Vec::new() };
        for dataset in &datasets {
            for &workload in &workloads {
                let mut threads = args.threads.clone();
                threads.dedup();
                threads.truncate(if workload.is_threaded() { usize::MAX } else { 1 });
                for &threads in &threads {
                    let threads = if workload.is_threaded() { threads.into() } else { 1 };
                    let cells = if args.full {
                        product(&axes, &reference)
                    } else {
                        star(&axes, &reference, workload)
                    };
                    plan.add(dataset, workload, threads, &reference, &cells, args.filter.as_ref());
                }
            }
        }
        plan
    }

    fn add(
        &mut self,
        dataset: &Dataset,
        workload: Workload,
        threads: usize,
        reference: &CellSpec,
        cells: &[CellSpec],
        filter: Option<&Filter>,
    ) {
        for durable in [true, false] {
            let mut group = Group {
                dataset: dataset.name.clone(),
                path: dataset.path.clone(),
                workload,
                threads,
                durable,
                cells: Vec::new(),
            };
            let reference = if durable { reference.clone() } else { reference.with("durability", "none") };
            let wanted = |cell: &&CellSpec| {
                cell.is_durable() == durable
                    && workload.fits(&cell.storer, &cell.log)
                    && filter.is_none_or(|filter| filter.keeps(&group, cell))
            };
            let others: Vec<CellSpec> = cells.iter().filter(wanted).cloned().collect();
            if others.is_empty() || !workload.fits(&reference.storer, &reference.log) {
                continue;
            }
            group.cells.push(reference);
            for cell in others {
                if !group.cells.contains(&cell) {
                    group.cells.push(cell);
                }
            }
            self.groups.push(group);
        }
    }

    pub(super) fn cell_count(&self) -> usize {
        self.groups.iter().map(|group| group.cells.len()).sum()
    }
}

/// The reference, and it again with one part exchanged.
fn star(axes: &[Axis<'_>], reference: &CellSpec, workload: Workload) -> Vec<CellSpec> {
    let chosen = axes.iter().any(|axis| !axis.given.is_empty());
    let mut cells = vec![reference.clone()];
    for axis in axes {
        if !axis.given.is_empty() {
            cells.extend(axis.given.iter().map(|value| reference.with(axis.name, value)));
        } else if !chosen && workload.varies(axis.name) {
            cells.extend(axis.all.iter().map(|(value, _)| reference.with(axis.name, value)));
        }
    }
    cells
}

fn product(axes: &[Axis<'_>], reference: &CellSpec) -> Vec<CellSpec> {
    axes.iter().fold(vec![reference.clone()], |cells, axis| {
        let all: Vec<&str> = axis.all.iter().map(|(name, _)| *name).collect();
        let given: Vec<&str> = axis.given.iter().map(String::as_str).collect();
        let values = if given.is_empty() { all } else { given };
        cells.iter().flat_map(|cell| values.iter().map(|value| cell.with(axis.name, value))).collect()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn plan(flags: &str) -> Plan {
        let words = std::iter::once("matrix").chain(flags.split_whitespace());
        Plan::new(&Line::try_parse_from(words).expect("valid flags").args)
    }

    fn names(group: &Group) -> Vec<String> {
        group.cells.iter().map(CellSpec::to_string).collect()
    }

    #[test]
    fn the_star_exchanges_one_part_at_a_time() {
        let plan = plan("--dataset nyc_weather --workload ingest");
        assert_eq!(plan.groups.len(), 2);
        for group in &plan.groups {
            let reference = &group.cells[0];
            for cell in &group.cells[1..] {
                let differs = ["storer", "log", "encoder", "order"]
                    .iter()
                    .filter(|a| cell.axis(a) != reference.axis(a));
                assert!(differs.count() <= 1, "{cell}");
                assert_eq!(cell.is_durable(), group.durable);
            }
        }
        assert!(names(&plan.groups[0]).contains(&"ring/mmap/tsm1".into()));
        assert_eq!(names(&plan.groups[1]), ["ring/file/tsm1 none", "ring/null/tsm1"]);
    }

    #[test]
    fn naming_one_axis_varies_that_one_only() {
        let plan = plan("--encoder zstd,raw --dataset nyc_weather --workload scan");
        assert_eq!(plan.groups.len(), 1);
        assert_eq!(names(&plan.groups[0]), ["ring/file/tsm1", "ring/file/zstd", "ring/file/raw"]);
    }

    #[test]
    fn the_product_has_each_cell_once_and_none_that_cannot_work() {
        let plan = plan("--full --dataset nyc_weather --workload recover --durability group");
        assert!(plan.groups.iter().all(|group| group.cells.iter().all(|cell| cell.log != "null")));
        let cells = plan.cell_count();
        let (storers, encoders, orders) =
            (adapter::storers().len(), adapter::encoders().len(), adapter::ORDERS.len());
        assert_eq!(cells, storers * (adapter::logs().len() - 1) * encoders * orders);
    }

    #[test]
    fn a_filter_keeps_the_reference() {
        let plan = plan("--filter encoder=zstd,workload=scan --dataset nyc_weather");
        assert_eq!(plan.groups.len(), 1);
        assert_eq!(names(&plan.groups[0]), ["ring/file/tsm1", "ring/file/zstd"]);
        let excluded = self::plan("--workload scan --dataset nyc_weather --filter !encoder=zstd|raw");
        assert!(!names(&excluded.groups[0]).iter().any(|name| name.contains("zstd") || name.contains("raw")));
        assert!(Filter::parse("codec=zstd").is_err());
    }
}
