//! Runs the blocks. Each runs every open cell once, in random order and in its own process, and the reference twice.
//!
//! Every cell gets three blocks. Then the run looks at its verdicts and leaves out what is decided. It spends the rest of its
//! time where that decides most.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::args::{Args, Progress};
use super::budget::Budget;
use super::passes::passes_of_groups;
use super::plan::Plan;
use super::process;
use super::results::Results;
use super::sample::{Sample, Turn};
use super::spec::{CellSpec, Group};
use super::verdicts::{Verdicts, mean_process_seconds};
use crate::failure::Failure;
use crate::inputs::{Rng, fnv1a};
use crate::stats::{BLOCKS_MIN, Judge, Need, PASSES_MIN, Share};

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
    let mut blocks = Blocks {
        args,
        plan,
        stop,
        scratch: results.scratch().join("cell"),
        results,
        passes: vec![if args.smoke { 1 } else { PASSES_MIN as usize }; plan.groups.len()],
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
        let all: Vec<Vec<usize>> =
            self.plan.groups.iter().map(|group| (0..group.cells.len()).collect()).collect();
        while self.next < wanted {
            if !self.run_block(&all)? {
                return Ok(false);
            }
            if self.next == 1 && !self.args.smoke {
                self.choose_passes();
            }
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
        let turns = in_random_order(&turns(cells), &mut rng);
        let count = turns.len();
        for (at, turn) in turns.into_iter().enumerate() {
            // The first block always completes. Of a later one, the complete comparisons count.
            if block > 0 && self.budget.seconds_left() < mean_process_seconds(&self.samples, turn.0, turn.1) {
                return Ok(false);
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let (group, spec) = (&self.plan.groups[turn.0], &self.plan.groups[turn.0].cells[turn.1]);
            self.progress.show(block, (at, count), self.budget.elapsed(), group, spec);
            let begun = Instant::now();
            let passes = self.passes[turn.0];
            let outcome = process::spawn(group, spec, passes, self.scratch.clone());
            // The signal also ended the cell.
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let mut sample = Sample::new(block, turn, &self.plan.groups, outcome);
            sample.looks = self.looks;
            sample.process_seconds = begun.elapsed().as_secs_f64();
            self.results.append(&sample)?;
            self.samples.push(sample);
        }
        self.next += 1;
        Ok(true)
    }

    fn choose_passes(&mut self) {
        let left = self.budget.is_limited().then(|| self.budget.seconds_left());
        self.passes = passes_of_groups(&self.plan.groups, &self.samples, left);
    }
}

/// The turns of a block, group by group. The reference of a group with cells runs twice, whether `cells` has it or not.
fn turns(cells: &[Vec<usize>]) -> Vec<Vec<Turn>> {
    let of_group = |(group, cells): (usize, &Vec<usize>)| {
        let cells = cells.iter().filter(|cell| **cell != 0).map(|&cell| (group, cell, false));
        cells.chain([(group, 0, false), (group, 0, true)]).collect()
    };
    cells.iter().enumerate().filter(|(_, cells)| !cells.is_empty()).map(of_group).collect()
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

    fn show(
        &self,
        block: u32,
        (at, count): (usize, usize),
        elapsed: Duration,
        group: &Group,
        cell: &CellSpec,
    ) {
        if self.on {
            let seconds = elapsed.as_secs();
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[K{seconds:>4} s, block {}, cell {} of {}: {group}: {cell}",
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
