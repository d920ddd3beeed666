//! The flags of the matrix.

use std::path::PathBuf;
use std::time::Duration;

use super::filter::Filter;
use super::names::{self, Dataset};
use crate::workload::{Pace, Workload};
use tsmith_engine::Parts;

/// Lines of a dataset in a smoke run.
const SMOKE_LINES: usize = 500;

/// How long each process of the workload `latency` measures.
const PACE_MILLISECONDS: u64 = 4000;
const SMOKE_PACE_MILLISECONDS: u64 = 400;

/// Compares the parts of the engine on real data, each in its own processes, with a reference.
///
/// Example: cargo xtask bench matrix --encoder tsm1,zstd --workload scan --time 30s
///
/// By default, each cell differs from the reference in one part. If you name parts of some axes, only these axes vary.
/// --full runs the product of all axes. --list names the parts, datasets, workloads and cells.
///
/// Ctrl-C ends the run with a report of what it has. Exit codes: 0 success, 1 by --fail-if, 2 usage, 3 a broken cell, 74 input
/// or output, 130 Ctrl-C.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// Storers to compare, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub(super) storer: Vec<String>,
    /// Logs to compare.
    #[arg(long, value_delimiter = ',')]
    pub(super) log: Vec<String>,
    /// Block encoders to compare.
    #[arg(long, value_delimiter = ',')]
    pub(super) encoder: Vec<String>,
    /// Whole stores of other projects to compare.
    #[arg(long, value_delimiter = ',')]
    pub(super) store: Vec<String>,
    /// Orders of log and cache to compare.
    #[arg(long, value_delimiter = ',', value_parser = names::order)]
    pub(super) order: Vec<String>,
    /// Durability modes to compare, also such as `interval:10ms`.
    #[arg(long, value_delimiter = ',', value_parser = names::durability)]
    pub(super) durability: Vec<String>,
    /// Maximum points of a block to compare, at most 65536 [default: only 1000].
    #[arg(long, value_delimiter = ',', value_parser = names::block)]
    pub(super) block: Vec<String>,
    /// Bundled datasets, or files FILE.lp, .lp.gz or .lp.zst of line protocol [default: all bundled].
    #[arg(long, value_delimiter = ',', value_parser = names::dataset)]
    pub(super) dataset: Vec<Dataset>,
    /// Generated datasets with these numbers of series, such as 1k,100k,1M, and about a million points each.
    #[arg(long, value_delimiter = ',', value_parser = names::count)]
    pub(super) series: Vec<usize>,
    /// Workloads to time [default: all but latency].
    #[arg(long, value_delimiter = ',', value_parser = names::workload)]
    pub(super) workload: Vec<Workload>,
    /// Numbers of threads that write or scan.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) threads: Vec<u16>,
    /// Numbers of points of one write; below 5000, at most 1000 writes [default: 5000, for latency 100].
    #[arg(long, value_delimiter = ',', value_parser = names::count)]
    pub(super) batch: Vec<usize>,
    /// Points that the workload latency writes in a second, in all threads together.
    #[arg(long, value_delimiter = ',', default_value = "50k", value_parser = names::count)]
    pub(super) rate: Vec<usize>,
    /// Run every combination of all axes.
    #[arg(long)]
    pub(super) full: bool,
    /// The parts that all others are compared with.
    #[arg(long, value_name = "STORER/LOG/ENCODER", default_value = "ring/file/tsm1")]
    pub(super) reference: Parts,
    /// Keep cells by name or `axis=value`: commas join terms, `|` separates values, `!` excludes. References stay.
    #[arg(long, value_name = "EXPR", value_parser = Filter::parse)]
    pub(super) filter: Option<Filter>,
    /// Total time of the run.
    #[arg(long, default_value = "120s", value_parser = crate::duration::duration)]
    pub(super) time: Duration,
    /// Run exactly this number of blocks.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) blocks: Option<u32>,
    /// Use this number of lines of each dataset, from complete series; 0 uses all.
    #[arg(long, default_value_t = 30_000)]
    pub(super) lines: usize,
    /// Seed for the order of cells and the resampling.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Run the reference of each group also under a second name, `alias`: it should be called the same.
    #[arg(long)]
    pub(super) alias: bool,
    /// Check how far verdicts can be trusted on this machine: 3 runs, and 20 short ones of equal cells.
    #[arg(long, conflicts_with_all = ["list", "smoke", "blocks", "resume", "baseline", "fail_if", "alias"])]
    pub(super) self_check: bool,
    /// Print the parts, datasets, workloads and the cells of this run, and exit.
    #[arg(long)]
    pub(super) list: bool,
    /// Check that every cell works: one block on 500 lines.
    #[arg(long, conflicts_with_all = ["blocks", "time", "lines"])]
    pub(super) smoke: bool,
    /// Directory for results and engines, on the disk to be measured [default: a new one in target/matrix].
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Continue an earlier run of the same cells, with further --time or up to --blocks [default DIR: --out, else
    /// target/matrix/latest].
    #[arg(long, value_name = "DIR")]
    #[expect(clippy::option_option, reason = "the flag may have no value")]
    pub(super) resume: Option<Option<PathBuf>>,
    /// Show these JSON lines, which the driver of InfluxDB's Go code printed, on the page.
    #[arg(long, value_name = "FILE")]
    pub(super) go_lines: Option<PathBuf>,
    /// Compare each cell with an earlier summary.json of this machine.
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Option<PathBuf>,
    /// Exit with 1 if a cell is more than N % slower than the baseline, else the reference: `slower>N%`.
    #[arg(long, value_name = "EXPR", value_parser = names::fail_if)]
    pub(super) fail_if: Option<f64>,
    /// Show a progress line on stderr.
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub(super) progress: Progress,
}

impl Args {
    /// Whether a flag names a part, option or store to compare. Then only what is named varies.
    pub(super) fn names_axis(&self) -> bool {
        let axes =
            [&self.storer, &self.log, &self.encoder, &self.order, &self.durability, &self.block, &self.store];
        axes.iter().any(|values| !values.is_empty())
    }

    /// Whether any flag selects what runs.
    pub(super) fn selects(&self) -> bool {
        self.names_axis()
            || !self.dataset.is_empty()
            || !self.series.is_empty()
            || !self.workload.is_empty()
            || self.threads != [1]
            || !self.batch.is_empty()
            || self.full
            || self.filter.is_some()
    }

    /// Number of lines used of each dataset; 0 is all.
    pub(super) fn lines(&self) -> usize {
        if self.smoke { SMOKE_LINES } else { self.lines }
    }

    pub(super) fn pace(&self, points_per_s: usize) -> Pace {
        let milliseconds = if self.smoke { SMOKE_PACE_MILLISECONDS } else { PACE_MILLISECONDS };
        Pace { points_per_s, milliseconds }
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
