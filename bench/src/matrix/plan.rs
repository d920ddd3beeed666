//! The cells of a run, and the groups in which they are compared.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tsmith_cache::StorerEntry;
use tsmith_codecs::EncoderEntry;
use tsmith_engine::Registry;
use tsmith_wal::LogEntry;

use super::args::Args;
use super::filter::Filter;
use super::names::{self, Dataset};
use super::spec::{CellSpec, Group, is_durable};
use super::stores;
use crate::adapter::{self, Names, supports};
use crate::failure::Failure;
use crate::inputs::{fnv1a, generate, prepare};
use crate::program::Bench;
use crate::report::summary::DatasetLines;
use crate::workload::{Pace, Workload};

/// Fewest calls of a process of the workload `latency`.
const CALLS_MIN: usize = 20;

/// All cells of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) groups: Vec<Group>,
    pub(super) datasets: Vec<Dataset>,
    /// Whether each group has its reference under a second name.
    alias: bool,
    /// Log and durability of cells that cannot run, because the log does not have the durability.
    pub(super) unsupported: BTreeSet<(String, String)>,
}

/// The values of one axis.
struct Axis<'a> {
    name: &'static str,
    /// Values that a flag names.
    given: &'a [String],
    /// Values to use if no flag names any.
    default: Vec<&'static str>,
}

impl Plan {
    pub(super) fn new(args: &Args, bench: &Bench) -> Self {
        let registry = &bench.registry;
        let storers = registry.storers().iter().filter(|entry| entry.in_default_matrix());
        let logs = registry.logs().iter().filter(|entry| entry.in_default_matrix());
        let encoders = registry.encoders().iter().filter(|entry| entry.in_default_matrix());
        let names = |all: Names| all.iter().map(|(name, _)| *name).collect();
        let axes = [
            ("storer", &args.storer, storers.map(StorerEntry::name).collect()),
            ("log", &args.log, logs.map(LogEntry::name).collect()),
            ("encoder", &args.encoder, encoders.map(EncoderEntry::name).collect()),
            ("order", &args.order, names(adapter::ORDERS)),
            ("durability", &args.durability, names(adapter::DURABILITIES)),
            ("block", &args.block, vec![adapter::BLOCKS[0].0]),
        ];
        let axes = axes.map(|(name, given, all)| Axis { name, given, default: bench.selected(name, all) });
        let given =
            args.dataset.iter().cloned().chain(args.series.iter().map(|series| Dataset::generated(*series)));
        let given: Vec<Dataset> = given.collect();
        let datasets = if given.is_empty() { Dataset::bundled() } else { names::distinct(&given) };
        let default = || Workload::ALL.into_iter().filter(|workload| workload.is_compared()).collect();
        let workloads: Vec<Workload> =
            if args.workload.is_empty() { default() } else { args.workload.clone() };
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
            block: args.block.first().map_or(adapter::BLOCKS[0].0, |block| block).into(),
            alias: false,
            store: None,
        };

        let is_named = args.names_axis();
        let mut plan = Self {
            groups: Vec::new(),
            datasets: datasets.clone(),
            alias: args.alias,
            unsupported: BTreeSet::new(),
        };
        for dataset in &datasets {
            for &workload in &workloads {
                let axes: Vec<&Axis<'_>> = axes.iter().filter(|axis| workload.varies(axis.name)).collect();
                let stores = stores::cells(args, workload, bench);
                if is_named
                    && !args.full
                    && axes.iter().all(|axis| axis.given.is_empty())
                    && stores.is_empty()
                {
                    continue;
                }
                let mut cells = if args.full {
                    product(&axes, &reference)
                } else {
                    star(&axes, &reference, |axis| {
                        !is_named && (workload.is_compared() || axis == "durability")
                    })
                };
                cells.extend(stores);
                for (threads, batch, pace) in sizes(args, workload) {
                    let mut group = Group {
                        dataset: dataset.name.clone(),
                        points: PathBuf::new(),
                        workload,
                        threads,
                        batch,
                        pace,
                        durable: true,
                        cells: Vec::new(),
                    };
                    let before = plan.groups.len();
                    plan.add(&group, &reference, &cells, args.filter.as_ref(), registry);
                    if plan.groups.len() > before && !workload.varies("durability") {
                        continue;
                    }
                    group.durable = false;
                    let reference = reference.with("durability", "none");
                    plan.add(&group, &reference, &cells, args.filter.as_ref(), registry);
                }
            }
        }
        plan
    }

    /// Adds a group with the reference and the cells that belong to it. Without such cells, adds nothing.
    fn add(
        &mut self,
        group: &Group,
        reference: &CellSpec,
        cells: &[CellSpec],
        filter: Option<&Filter>,
        registry: &Registry,
    ) {
        let reference = confirmed(reference.clone(), registry);
        if reference.is_durable() != group.durable
            || !fits(group.workload, &reference, registry)
            || !supports(registry, &reference.log, &reference.durability)
        {
            return;
        }
        let alias = (self.alias && group.workload.is_compared())
            .then(|| CellSpec { alias: true, ..reference.clone() });
        let cells = cells.iter().map(|cell| confirmed(cell.clone(), registry)).chain(alias);
        let others = cells.filter(|cell| {
            cell.is_durable() == group.durable
                && fits(group.workload, cell, registry)
                // A store scans in one thread.
                && (cell.store.is_none() || group.workload != Workload::Scan || group.threads == 1)
                && filter.is_none_or(|filter| filter.keeps(group, cell))
        });
        let (others, unsupported): (Vec<CellSpec>, Vec<CellSpec>) =
            others.partition(|cell| cell.store.is_some() || supports(registry, &cell.log, &cell.durability));
        self.unsupported.extend(unsupported.into_iter().map(|cell| (cell.log, cell.durability)));
        if others.is_empty() {
            return;
        }
        let mut group = group.clone();
        group.cells.push(reference);
        for cell in others {
            if !group.cells.contains(&cell) {
                group.cells.push(cell);
            }
        }
        self.groups.push(group);
    }

    /// A run is resumed only if this value is equal.
    pub(super) fn id(&self, lines: usize) -> String {
        let of_group = |group: &Group| {
            let named = |cell: &CellSpec| format!("{group}: {cell}");
            group.cells.iter().map(named).collect::<Vec<_>>()
        };
        let cells: Vec<String> = self.groups.iter().flat_map(of_group).collect();
        format!("{:016x}", fnv1a(format!("{lines} {}", cells.join("\n")).as_bytes()))
    }

    /// Writes the points of every dataset into a file of `dir`. Returns how much of each dataset they are.
    pub(super) fn prepare(&mut self, args: &Args, dir: &Path) -> Result<Vec<DatasetLines>, Failure> {
        fs::create_dir_all(dir).map_err(|error| Failure::io(dir, &error))?;
        let mut all = Vec::new();
        for dataset in &self.datasets {
            let groups = self.groups.iter_mut().filter(|group| group.dataset == dataset.name);
            let mut groups = groups.peekable();
            if groups.peek().is_some() {
                let to = dir.join(format!("{}.points", all.len()));
                let used = match dataset.series {
                    Some(series) => generate(series, args.smoke.then_some(args.lines()), &to)?,
                    None => prepare(&dataset.path, args.lines(), &to)?,
                };
                all.push(DatasetLines::new(&dataset.name, used));
                groups.for_each(|group| group.points.clone_from(&to));
            }
        }
        Ok(all)
    }

    /// Leaves groups out until `fits` accepts the rest, and returns their titles. Those that tell least go first.
    pub(super) fn leave_out(&mut self, fits: impl Fn(&[Group]) -> bool) -> Vec<String> {
        let mut left_out = Vec::new();
        while !fits(&self.groups) {
            let of_first = |group: &Group| group.dataset == self.datasets[0].name;
            let value = |group: &Group| (of_first(group), group.workload.varies("encoder"), group.durable);
            let rest = |group: &&Group| !of_first(group) || !group.workload.varies("encoder");
            let Some(least) = self.groups.iter().rev().filter(rest).min_by_key(|group| value(group)) else {
                break;
            };
            let title = least.to_string();
            self.without(std::slice::from_ref(&title));
            left_out.push(title);
        }
        left_out
    }

    /// Leaves out the groups with these titles.
    pub(super) fn without(&mut self, titles: &[String]) {
        self.groups.retain(|group| !titles.contains(&group.to_string()));
    }

    /// Whether there is no cell, or only the reference although a flag names another part.
    pub(super) fn is_empty(&self, args: &Args) -> bool {
        let cells = || self.groups.iter().flat_map(|group| &group.cells);
        let runs = |axis, value: &String| cells().any(|cell| cell.axis(axis) == Some(value));
        let named = [
            ("storer", &args.storer),
            ("log", &args.log),
            ("encoder", &args.encoder),
            ("order", &args.order),
            ("durability", &args.durability),
            ("block", &args.block),
            ("store", &args.store),
        ];
        let all_run = named.iter().all(|(axis, values)| values.iter().all(|value| runs(axis, value)));
        cells().next().is_none() || (!all_run && self.groups.iter().all(|group| group.cells.len() == 1))
    }

    pub(super) fn has_store(&self, name: &str) -> bool {
        self.groups.iter().flat_map(|group| &group.cells).any(|cell| cell.store.as_deref() == Some(name))
    }

    /// Refuses an open loop with so few calls that its percentiles mean nothing.
    pub(super) fn check_paces(&self) -> Result<(), Failure> {
        let too_few = |group: &&Group| group.pace.is_some_and(|pace| pace.calls(group.batch) < CALLS_MIN);
        let Some(group) = self.groups.iter().find(too_few) else { return Ok(()) };
        let calls = group.pace.map_or(0, |pace| pace.calls(group.batch));
        Err(Failure::Usage(format!(
            "{group}: a process would make {calls} writes, and percentiles need at least {CALLS_MIN}. Give a higher --rate or \
             a smaller --batch"
        )))
    }

    /// Indexes of the cells of each group.
    pub(super) fn all_cells(&self) -> Vec<Vec<usize>> {
        self.groups.iter().map(|group| (0..group.cells.len()).collect()).collect()
    }

    pub(super) fn cell_count(&self) -> usize {
        self.groups.iter().map(|group| group.cells.len()).sum()
    }
}

/// Corrects the durability of a cell: a log that keeps no records has none.
fn confirmed(cell: CellSpec, registry: &Registry) -> CellSpec {
    if cell.store.is_some() || keeps_records(&cell, registry) {
        cell
    } else {
        cell.with("durability", "none")
    }
}

fn keeps_records(cell: &CellSpec, registry: &Registry) -> bool {
    registry.find_log(&cell.log).is_ok_and(|log| log.kind().keeps_records())
}

/// Whether the parts can do the workload. A part that keeps nothing cannot be read.
fn fits(workload: Workload, cell: &CellSpec, registry: &Registry) -> bool {
    match workload {
        _ if cell.store.is_some() => workload.varies("store"),
        Workload::Ingest | Workload::Latency => true,
        Workload::Snapshot | Workload::Compact | Workload::Scan | Workload::Range | Workload::Delete => {
            registry.find_storer(&cell.storer).is_ok_and(StorerEntry::keeps_values)
        }
        Workload::Recover => keeps_records(cell, registry),
    }
}

/// The numbers of threads, and of points of a write, with which a workload runs, and the rates of an open loop.
fn sizes(args: &Args, workload: Workload) -> Vec<(usize, usize, Option<Pace>)> {
    let threads = if workload.is_threaded() { &args.threads[..] } else { &[1] };
    let usual = [workload.batch_points()];
    let batches = if workload.takes_batches() && !args.batch.is_empty() { &args.batch[..] } else { &usual };
    let paces: Vec<Option<Pace>> = if workload == Workload::Latency {
        args.rate.iter().map(|&rate| Some(args.pace(rate))).collect()
    } else {
        vec![None]
    };
    let mut out = Vec::new();
    for &threads in threads {
        for &batch in batches {
            for &pace in &paces {
                if !out.contains(&(threads.into(), batch, pace)) {
                    out.push((threads.into(), batch, pace));
                }
            }
        }
    }
    out
}

/// The reference, and its variants with one part exchanged: the values that flags name, and the default values of the axes that
/// `uses_default` chooses.
fn star(axes: &[&Axis<'_>], reference: &CellSpec, uses_default: impl Fn(&str) -> bool) -> Vec<CellSpec> {
    let mut cells = vec![reference.clone()];
    for axis in axes {
        if !axis.given.is_empty() {
            cells.extend(axis.given.iter().map(|value| reference.with(axis.name, value)));
        } else if uses_default(axis.name) {
            cells.extend(axis.default.iter().map(|value| reference.with(axis.name, value)));
        }
    }
    cells
}

fn product(axes: &[&Axis<'_>], reference: &CellSpec) -> Vec<CellSpec> {
    axes.iter().fold(vec![reference.clone()], |cells, axis| {
        let given: Vec<&str> = axis.given.iter().map(String::as_str).collect();
        let values = if given.is_empty() { &axis.default } else { &given };
        if values.is_empty() {
            return cells;
        }
        cells.iter().flat_map(|cell| values.iter().map(|value| cell.with(axis.name, value))).collect()
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;
    use crate::flags::with_parts;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn plan(flags: &str) -> Plan {
        let words = std::iter::once("matrix").chain(flags.split_whitespace());
        plan_of(&Bench::new(Registry::standard()), words)
    }

    fn plan_of<'a>(bench: &Bench, words: impl Iterator<Item = &'a str>) -> Plan {
        let matches = with_parts(Line::command(), bench).try_get_matches_from(words);
        let line = Line::from_arg_matches(&matches.expect("valid flags")).expect("valid flags");
        Plan::new(&line.args, bench)
    }

    fn names(group: &Group) -> Vec<String> {
        group.cells.iter().map(CellSpec::to_string).collect()
    }

    #[test]
    fn star_exchanges_one_part_at_a_time() {
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
        assert_eq!(names(&plan.groups[1]), ["ring/file/tsm1 none", "ring/null/tsm1 none"]);
    }

    #[test]
    fn naming_an_axis_varies_only_that_one() {
        let plan = plan("--encoder zstd,raw --dataset nyc_weather --workload scan");
        assert_eq!(plan.groups.len(), 1);
        assert_eq!(names(&plan.groups[0]), ["ring/file/tsm1", "ring/file/zstd", "ring/file/raw"]);
    }

    #[test]
    fn product_has_each_working_cell_once() {
        let plan = plan("--full --dataset nyc_weather --workload recover --durability group");
        assert!(plan.groups.iter().all(|group| group.cells.iter().all(|cell| cell.log != "null")));
        let registry = Registry::standard();
        assert_eq!(plan.cell_count(), registry.storers().len() * (registry.logs().len() - 1));
    }

    /// Law: no cell differs from the reference only in what cannot affect its workload.
    #[test]
    fn axes_that_cannot_matter_do_not_run() {
        for flags in
            ["--full", "--block 1000,8192 --batch 1,5000 --threads 1,2 --encoder zstd --durability each"]
        {
            for group in plan(&format!("--dataset nyc_weather {flags}")).groups {
                let reference = &group.cells[0];
                for cell in &group.cells {
                    let axes = ["storer", "log", "encoder", "order", "durability", "block"];
                    let differs = axes.into_iter().filter(|axis| cell.axis(axis) != reference.axis(axis));
                    let idle: Vec<_> = differs.filter(|axis| !group.workload.varies(axis)).collect();
                    assert!(idle.is_empty(), "{group}: {cell}: {idle:?}");
                }
            }
        }
        assert!(plan("--dataset nyc_weather --workload scan,range --durability none").groups.is_empty());
        let batches = plan("--dataset nyc_weather --workload scan,recover --batch 1,100,100 --threads 1,4");
        let sizes: Vec<_> = batches.groups.iter().map(|group| (group.threads, group.batch)).collect();
        assert_eq!(sizes, [(1, 5000), (4, 5000), (1, 1), (1, 100)]);
    }

    #[test]
    fn generated_datasets_are_named_by_their_series() {
        let plan = plan("--series 1k,1M --workload ingest --durability group,interval:10ms");
        let titles: Vec<_> =
            plan.groups.iter().map(|group| (group.dataset.as_str(), group.durable)).collect();
        let [few, many] = ["telegraf_1000", "telegraf_1000000"];
        assert_eq!(titles, [(few, true), (few, false), (many, true), (many, false)]);
        assert_eq!(names(&plan.groups[1]), ["ring/file/tsm1 none", "ring/file/tsm1 interval:10ms"]);
    }

    #[test]
    fn latency_runs_only_if_it_is_named() {
        assert!(plan("").groups.iter().all(|group| group.pace.is_none()));
        let default = plan("--workload latency --dataset nyc_weather --alias");
        assert_eq!(default.groups.len(), 2);
        assert_eq!(names(&default.groups[0]), ["ring/file/tsm1", "ring/file/tsm1 each"]);
        assert_eq!(names(&default.groups[1]), ["ring/file/tsm1 none"]);
        assert_eq!(default.groups[0].batch, 100);
        default.check_paces().expect("many calls");
        let flags =
            "--workload latency --dataset nyc_weather --log native --rate 1k,20k --threads 1,2 --batch 1,50";
        let named = plan(flags);
        assert_eq!(named.groups.len(), 8);
        assert!(named.groups.iter().all(|group| names(group) == ["ring/file/tsm1", "ring/native/tsm1"]));
        let error = plan("--workload latency --rate 1k --batch 1000").check_paces().expect_err("five calls");
        assert!(error.to_string().contains("higher --rate"), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut all = plan("");
        let titles: Vec<String> = all.groups.iter().map(ToString::to_string).collect();
        let left_out = all.leave_out(|groups| groups.len() < titles.len() - 1);
        let (gone, kept) = ("delete of nyc_flights, not durable", "scan of nyc_flights");
        assert!(left_out.len() == 2 && left_out[0].starts_with(gone), "{left_out:?}");
        assert!(all.groups.iter().any(|group| group.to_string() == kept));
        let mut again = plan("");
        again.without(&left_out);
        assert_eq!(again.cell_count(), all.cell_count());
        all.leave_out(|_| false);
        assert!(all.groups.iter().all(|group| group.dataset == "nyc_weather"), "encoders stay");
        assert!(all.groups.iter().any(|group| group.workload == Workload::Snapshot));
    }

    #[test]
    fn filter_keeps_the_reference() {
        let plan = plan("--filter encoder=zstd,workload=scan --dataset nyc_weather");
        assert_eq!(plan.groups.len(), 1);
        assert_eq!(names(&plan.groups[0]), ["ring/file/tsm1", "ring/file/zstd"]);
        let excluded = self::plan("--workload scan --dataset nyc_weather --filter !encoder=zstd|raw");
        assert!(!names(&excluded.groups[0]).iter().any(|name| name.contains("zstd") || name.contains("raw")));
        assert!(Filter::parse("codec=zstd").is_err());
    }

    #[test]
    fn alias_is_the_reference_under_a_second_name() {
        let plan = plan("--alias --filter alias --dataset nyc_weather --workload scan,ingest");
        assert_eq!(names(&plan.groups[0]), ["ring/file/tsm1", "ring/file/tsm1 alias"]);
        assert!(plan.groups.iter().all(|group| group.cells.len() == 2));
        let titles: Vec<String> = plan.groups.iter().map(ToString::to_string).collect();
        assert!(
            titles.iter().all(|title| titles.iter().filter(|other| *other == title).count() == 1),
            "{titles:?}"
        );
    }

    #[test]
    fn only_a_run_without_choices_selects_nothing() {
        let selects = |flags: &str| {
            let words = std::iter::once("matrix").chain(flags.split_whitespace());
            Line::try_parse_from(words).expect("valid flags").args.selects()
        };
        assert!(!selects("") && !selects("--time 60s --seed 2 --out x"));
        assert!(["--batch 5000", "--log file", "--full", "--workload scan"].into_iter().all(selects));
    }
}
