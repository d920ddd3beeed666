//! The flags of the matrix.

use std::path::PathBuf;
use std::time::Duration;

use super::filter::Filter;
use super::names::{self, Dataset};
use crate::workload::Workload;
use tsmith_engine::Parts;

/// Lines of a dataset in a smoke run.
const SMOKE_LINES: usize = 500;

/// Compares the parts of the engine on real data: each cell in fresh processes, against a reference, block by block.
///
/// The default is a star around the reference: one part at a time is exchanged for each of its alternatives, and no two
/// at once. Naming parts of some axes varies those axes only; --full takes the product, every part with every other.
/// --list names all of it: parts, datasets, workloads, and the cells that the other flags choose.
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
    /// Orders of log and cache to compare.
    #[arg(long, value_delimiter = ',', value_parser = names::order)]
    pub(super) order: Vec<String>,
    /// Durability modes to compare; also `interval:10ms` and the like.
    #[arg(long, value_delimiter = ',', value_parser = names::durability)]
    pub(super) durability: Vec<String>,
    /// Bundled datasets by name, or line protocol in FILE.lp or FILE.lp.zst [default: every bundled one].
    #[arg(long, value_delimiter = ',', value_parser = names::dataset)]
    pub(super) dataset: Vec<Dataset>,
    /// What to time [default: all of it].
    #[arg(long, value_delimiter = ',', value_parser = names::workload)]
    pub(super) workload: Vec<Workload>,
    /// Numbers of threads that write or scan.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) threads: Vec<u16>,
    /// The product of all axes, not the star.
    #[arg(long)]
    pub(super) full: bool,
    /// The parts every other cell is compared with.
    #[arg(long, value_name = "STORER/LOG/ENCODER", default_value = "ring/file/tsm1")]
    pub(super) reference: Parts,
    /// Keeps cells by name or by `axis=value`: terms joined by commas must all hold, `|` separates values, a leading
    /// `!` excludes. References stay.
    #[arg(long, value_name = "EXPR", value_parser = Filter::parse)]
    pub(super) filter: Option<Filter>,
    /// Time for all blocks together.
    #[arg(long, default_value = "100s", value_parser = crate::duration::duration)]
    pub(super) time: Duration,
    /// Exactly so many blocks, however long they take.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) blocks: Option<u32>,
    /// Uses the first so many lines of each dataset; 0 uses all.
    #[arg(long, default_value_t = 30_000)]
    pub(super) lines: usize,
    /// Decides the order of cells and the resampling.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Prints the parts, datasets and workloads, and the cells of this run, and ends.
    #[arg(long)]
    pub(super) list: bool,
    /// One block on 500 lines: does every cell work?
    #[arg(long, conflicts_with_all = ["blocks", "time", "lines"])]
    pub(super) smoke: bool,
    /// Where results are written and engines work; put it on the disk to be measured.
    #[arg(long, default_value = "target/matrix")]
    pub(super) out: PathBuf,
    /// Goes on with the blocks that --out already has, if they are of the same plan.
    #[arg(long)]
    pub(super) resume: bool,
    /// Compares each cell's speed with that in an earlier summary.json of this machine.
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Option<PathBuf>,
    /// `slower>N%`: exit code 1 when a cell is surely slower by more than N per cent, against the baseline if there is one,
    /// else against the reference.
    #[arg(long, value_name = "EXPR", value_parser = names::fail_if)]
    pub(super) fail_if: Option<f64>,
    /// A progress line on standard error.
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub(super) progress: Progress,
}

impl Args {
    /// Lines used of each dataset; 0 is all.
    pub(super) fn lines(&self) -> usize {
        if self.smoke { SMOKE_LINES } else { self.lines }
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
