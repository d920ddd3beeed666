//! Runs the blocks. Each runs every open cell once, in its own process, and the reference twice.
//!
//! Every cell gets three blocks. Then the run looks at its verdicts and leaves out what is decided. It spends the rest of its
//! time where that decides most.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::BLOCKS_PLANNED;
use super::args::{Args, Progress};
use super::budget::Budget;
use super::passes::passes_of_groups;
use super::plan::Plan;
use super::results::Results;
use super::sample::{Sample, Turn};
use super::spec::{CellSpec, Group};
use super::together::{self, processes_at_a_time};
use super::verdicts::{Verdicts, mean_process_seconds};
use crate::failure::Failure;
use crate::inputs::{Rng, fnv1a};
use crate::stats::{BLOCKS_MIN, Judge, Need, Share};

/// Passes in the processes of the first block.
const PASSES_FIRST: usize = 5;

/// Runs the blocks that `results` does not have yet, until time or blocks are used up, all is decided or `stop` is set.
pub(super) fn run(
    args: &Args,
    plan: &Plan,
    results: &mut Results,
    budget: Budget,
    stop: &AtomicBool,
) -> Result<Vec<Sample>, Failure> {
    let samples = results.earlier().to_vec();
    let first = samples.iter().map(|sample| sample.block + 1).max().unwrap_or(0);
    let passes = |group: &Group| {
        if args.smoke || group.pace.is_some() { 1 } else { PASSES_FIRST }
    };
    let mut blocks = Blocks {
        args,
        plan,
        stop,
        scratch: results.scratch().join("cell"),
        results,
        passes: plan.groups.iter().map(passes).collect(),
        next: first,
        // The run before looked once more at its end.
        looks: samples.iter().map(|sample| sample.looks + 1).max().unwrap_or(0),
        samples,
        budget,
        progress: Line::new(args.progress),
    };
    if first > 0 {
        blocks.choose_passes();
    }
    if budget.is_limited() {
        blocks.run_for_time()?;
    } else {
        let wanted = if args.smoke { 1 } else { args.blocks.unwrap_or(1) };
        blocks.run_all_cells(wanted)?;
    }
    blocks.progress.clear();
    Ok(blocks.samples)
}

/// A run while it runs.
struct Blocks<'a> {
    args: &'a Args,
    plan: &'a Plan,
    results: &'a mut Results,
    stop: &'a AtomicBool,
    scratch: PathBuf,
    samples: Vec<Sample>,
    /// Passes in the processes of each group.
    passes: Vec<usize>,
    /// The next block.
    next: u32,
    looks: u32,
    budget: Budget,
    progress: Line,
}

impl Blocks<'_> {
    /// Runs blocks of all cells until there are this many. False if time is up or the user stopped it.
    fn run_all_cells(&mut self, wanted: u32) -> Result<bool, Failure> {
        let all = self.plan.all_cells();
        while self.next < wanted {
            if !self.run_block(&all)? {
                return Ok(false);
            }
            self.choose_passes();
        }
        Ok(true)
    }

    fn run_for_time(&mut self) -> Result<(), Failure> {
        if !self.run_all_cells(BLOCKS_MIN as u32)? {
            return Ok(());
        }
        let looks_max = (Judge::LOOKS_MAX as u32).max(self.looks + 2);
        loop {
            // A run that is continued looked already.
            if self.samples.iter().any(|sample| sample.looks == self.looks) {
                self.looks += 1;
            }
            let open = Verdicts::of(&self.plan.groups, &self.samples).needs(&self.samples);
            if open.is_empty() || self.looks == looks_max {
                return Ok(());
            }
            let needs: Vec<Need> = open.iter().map(|(_, need)| *need).collect();
            let share = Share::of(&needs, self.budget.seconds_left(), (looks_max - self.looks) as usize);
            let mut cells = vec![Vec::new(); self.plan.groups.len()];
            for (((group, cell), _), chosen) in open.iter().zip(share.chosen) {
                if chosen {
                    cells[*group].push(*cell);
                }
            }
            for _ in 0..share.blocks {
                if !self.run_block(&cells)? {
                    return Ok(());
                }
            }
        }
    }

    /// Runs these cells of each group, and the references of groups with cells. False if time is up or the user stopped it.
    fn run_block(&mut self, cells: &[Vec<usize>]) -> Result<bool, Failure> {
        let block = self.next;
        let mut rng = Rng::new(self.args.seed ^ fnv1a(&block.to_le_bytes()));
        let groups = in_random_order(&self.plan.groups, cells, &mut rng);
        let (mut done, count) = (0, groups.iter().map(Vec::len).sum());
        for turns in groups {
            let group = &self.plan.groups[turns[0].0];
            for turns in turns.chunks(processes_at_a_time(group)) {
                let seconds: f64 =
                    turns.iter().map(|turn| mean_process_seconds(&self.samples, turn.0, turn.1)).sum();
                // The first block always completes. Of a later one, the complete comparisons count.
                if block > 0 && self.budget.seconds_left() < seconds {
                    return Ok(false);
                }
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                self.progress.show(block, (done, count), self.budget.elapsed(), group);
                let cells: Vec<&CellSpec> = turns.iter().map(|turn| &group.cells[turn.1]).collect();
                let passes = self.passes[turns[0].0];
                let outcomes = together::run(group, &cells, passes, &self.scratch, (&mut rng, self.stop));
                // The signal also ended the cells.
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                for (&turn, (outcome, seconds)) in turns.iter().zip(outcomes) {
                    let mut sample = Sample::new(block, turn, &self.plan.groups, outcome);
                    sample.looks = self.looks;
                    sample.process_seconds = seconds;
                    self.results.append(&sample)?;
                    self.samples.push(sample);
                }
                done += turns.len();
            }
        }
        self.next += 1;
        Ok(true)
    }

    /// Chooses the passes after each block of all cells. The last choice holds for the rest of the run.
    fn choose_passes(&mut self) {
        if !self.args.smoke {
            let blocks = BLOCKS_PLANNED.saturating_sub(self.next).max(1);
            let block_seconds_max = self.budget.seconds_left() / f64::from(blocks);
            self.passes = passes_of_groups(&self.plan.groups, &self.samples, block_seconds_max);
        }
    }
}

/// The turns of a block, by group: groups and cells in random order. The reference of a group with cells runs whether `cells`
/// has it or not, and twice if others are compared with it.
fn in_random_order(groups: &[Group], cells: &[Vec<usize>], rng: &mut Rng) -> Vec<Vec<Turn>> {
    let of_group = |(group, cells): (usize, &Vec<usize>)| {
        let cells = cells.iter().filter(|cell| **cell != 0).map(|&cell| (group, cell, false));
        let again = groups[group].workload.is_compared().then_some((group, 0, true));
        cells.chain([(group, 0, false)]).chain(again).collect()
    };
    let some = cells.iter().enumerate().filter(|(_, cells)| !cells.is_empty());
    let mut groups: Vec<Vec<Turn>> = some.map(of_group).collect();
    rng.shuffle(&mut groups);
    for turns in &mut groups {
        rng.shuffle(turns);
    }
    groups
}

/// The progress line.
struct Line {
    on: bool,
}

impl Line {
    fn new(when: Progress) -> Self {
        let on = match when {
            Progress::Auto => std::io::stderr().is_terminal(),
            Progress::Always => true,
            Progress::Never => false,
        };
        Self { on }
    }

    fn show(&self, block: u32, (at, count): (usize, usize), elapsed: Duration, group: &Group) {
        if self.on {
            let seconds = elapsed.as_secs();
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[K{seconds:>4} s, block {}, cell {} of {}: {group}",
                block + 1,
                at + 1,
                count
            );
        }
    }

    fn clear(&self) {
        if self.on {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
