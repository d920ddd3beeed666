//! Runs the blocks. Each runs every cell once, in random order and in its own process, and the reference twice.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::args::{Args, Progress};
use super::plan::Plan;
use super::process;
use super::results::Results;
use super::sample::{Sample, Turn};
use super::spec::{CellSpec, Group};
use crate::failure::Failure;
use crate::inputs::{Rng, fnv1a};
use crate::report::summary::all_decided;
use crate::stats::BLOCKS_MIN;

/// More blocks would not change a verdict.
const BLOCKS_MAX: u32 = 40;

/// Timed passes in the process of a cell.
const PASSES: usize = 3;

/// Runs the blocks that `results` does not have yet, until time or blocks are used up or `stop` is set.
pub(super) fn run(
    args: &Args,
    plan: &Plan,
    results: &mut Results,
    stop: &AtomicBool,
) -> Result<Vec<Sample>, Failure> {
    let mut samples = results.earlier().to_vec();
    let turns = turns(plan);
    let scratch = results.scratch().join("cell");
    let passes = if args.smoke { 1 } else { PASSES };
    let blocks = if args.smoke { 1 } else { args.blocks.unwrap_or(BLOCKS_MAX) };
    let deadline = (!args.smoke && args.blocks.is_none()).then_some(args.time);
    let mut progress = Line::new(args.progress, turns.iter().map(Vec::len).sum());
    let first = samples.last().map_or(0, |sample: &Sample| sample.block + 1);
    if first == 0
        && let Some(group) = plan.groups.first()
    {
        // Loads the program and the dataset into the page cache. Its figures are dropped.
        let _ = process::spawn(group, &group.cells[0], passes, scratch.clone());
    }
    let begun = Instant::now();
    'blocks: for block in first..first.max(blocks) {
        let mut rng = Rng::new(args.seed ^ fnv1a(&block.to_le_bytes()));
        for (at, turn) in in_random_order(&turns, &mut rng).into_iter().enumerate() {
            // The first block always completes. A later one may stop early: the groups that it finished count.
            if deadline.is_some_and(|time| begun.elapsed() > time) && block > first {
                break 'blocks;
            }
            if stop.load(Ordering::Relaxed) {
                break 'blocks;
            }
            let (of, spec) = (&plan.groups[turn.0], &plan.groups[turn.0].cells[turn.1]);
            progress.show(block, at, begun.elapsed(), of, spec);
            let outcome = process::spawn(of, spec, passes, scratch.clone());
            // The signal also ended the cell.
            if stop.load(Ordering::Relaxed) {
                break 'blocks;
            }
            let sample = Sample::new(block, turn, &plan.groups, outcome);
            results.append(&sample)?;
            samples.push(sample);
        }
        let enough = deadline.is_some() && block as usize + 1 >= BLOCKS_MIN;
        if enough && all_decided(&plan.groups, &samples, args.seed) {
            break;
        }
    }
    progress.clear();
    Ok(samples)
}

/// The turns of a block, group by group.
fn turns(plan: &Plan) -> Vec<Vec<Turn>> {
    let of_group = |(at, group): (usize, &Group)| {
        let cells = (0..group.cells.len()).map(|cell| (at, cell, false));
        cells.chain([(at, 0, true)]).collect()
    };
    plan.groups.iter().enumerate().map(of_group).collect()
}

/// Shuffles the groups, and the cells within each group. Cells that are compared run close together, so a passing load on the
/// machine affects both.
fn in_random_order(turns: &[Vec<Turn>], rng: &mut Rng) -> Vec<Turn> {
    let mut groups = turns.to_vec();
    rng.shuffle(&mut groups);
    for group in &mut groups {
        rng.shuffle(group);
    }
    groups.concat()
}

/// The progress line.
struct Line {
    on: bool,
    of: usize,
}

impl Line {
    fn new(when: Progress, of: usize) -> Self {
        let on = match when {
            Progress::Auto => std::io::stderr().is_terminal(),
            Progress::Always => true,
            Progress::Never => false,
        };
        Self { on, of }
    }

    fn show(&mut self, block: u32, at: usize, elapsed: Duration, group: &Group, cell: &CellSpec) {
        if self.on {
            let seconds = elapsed.as_secs();
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[K{seconds:>4} s, block {}, cell {} of {}: {group}: {cell}",
                block + 1,
                at + 1,
                self.of
            );
        }
    }

    fn clear(&mut self) {
        if self.on {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
