//! Which files to merge next: pure functions over facts about the files.
//!
//! Files of one generation count as one. Its level is the sequence number of its first file, at most
//! [`LEVEL_MAX`]. The output of a merge gets the highest generation of its inputs and a sequence number above
//! all of theirs, so levels rise. Only the name tells which file is newer, so a plan is always a run of
//! complete neighbouring generations.
//!
//! ```text
//! oldest   4  4  4  3  1  3  1  1  1  1  1  1  1  1  1   newest        (levels)
//!          └──────┘ └─────┘ └────────────────────┘  └ waits for seven more
//!           4: tail  level 3       level 1
//! ```
//!
//! Nothing is merged across a wall. A generation is a wall if another plan uses it, if it could not be read,
//! or if it has the maximum file size and full blocks.

use std::ops::Range;

use tsmith_tsm::MergeMode;
use tsmith_tsm::format::FILE_BYTES_MAX;

use crate::files::FileName;

/// The highest level. Files with this sequence number or a higher one are merged by size.
pub(crate) const LEVEL_MAX: u8 = 4;

/// How many generations of level 1 one merge takes.
const LEVEL_1_GENERATIONS: usize = 8;

/// How many generations of a higher level one merge takes.
const GENERATIONS: usize = 4;

/// Why files are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PlanKind {
    /// There are enough neighbours of this level, 1 to 3.
    Level(u8),
    /// There are enough neighbours of the highest level and of similar size.
    Tail,
    /// Nothing was written for a long time: the whole shard.
    Full,
    /// Many neighbours that no other plan takes, together larger than the generation before them.
    Optimize,
}

/// Facts about a file that the planner needs.
#[expect(clippy::struct_excessive_bools, reason = "these are independent facts")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileFacts {
    pub(crate) name: FileName,
    pub(crate) bytes: u64,
    /// The file has tombstones that are old enough to justify a merge by themselves.
    pub(crate) tombstoned: bool,
    /// Its blocks are as full as a full merge would make them.
    pub(crate) full_blocks: bool,
    /// A running plan uses it.
    pub(crate) busy: bool,
    /// It could not be read.
    pub(crate) corrupt: bool,
}

/// Files to merge into one generation, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) kind: PlanKind,
    pub(crate) mode: MergeMode,
    pub(crate) files: Vec<FileName>,
}

/// Files of one generation.
#[derive(Debug)]
struct Generation {
    /// Indexes of its files in the list of all files.
    files: Range<usize>,
    level: u8,
    bytes: u64,
    tombstoned: bool,
    wall: bool,
}

impl Generation {
    fn of(files: &[FileFacts], range: Range<usize>) -> Self {
        let members = &files[range.clone()];
        let bytes = members.iter().map(|file| file.bytes).sum();
        let tombstoned = members.iter().any(|file| file.tombstoned);
        // A merge could neither shorten it nor join it with others.
        let is_final = bytes > FILE_BYTES_MAX && !tombstoned && members.iter().all(|file| file.full_blocks);
        Self {
            level: members.first().map_or(0, |file| file.name.sequence.clamp(1, LEVEL_MAX.into()) as u8),
            bytes,
            tombstoned,
            wall: is_final || members.iter().any(|file| file.busy || file.corrupt),
            files: range,
        }
    }
}

/// All plans that are due, most urgent first. No file is in two plans. `files` are the files of the shard,
/// ascending. `cold` means that nothing was written for so long that merging the whole shard pays.
///
/// Law: if plans are carried out in any order, planning comes to an end.
pub(crate) fn plans(files: &[FileFacts], cold: bool) -> Vec<Plan> {
    let mut planner = Planner { files, generations: generations(files), plans: Vec::new() };
    if cold {
        planner.plan_full();
    } else {
        (1..LEVEL_MAX).for_each(|level| planner.plan_level(level));
        planner.plan_tail();
        if planner.plans.is_empty() {
            planner.plan_optimize();
        }
    }
    planner.plans
}

/// The plans to merge the whole shard now: all runs between files that cannot be read.
pub(crate) fn everything(files: &[FileFacts], mode: MergeMode) -> Vec<Plan> {
    let mut generations = generations(files);
    for generation in &mut generations {
        generation.wall = files[generation.files.clone()].iter().any(|file| file.corrupt);
    }
    let mut planner = Planner { files, generations, plans: Vec::new() };
    for run in planner.runs(LEVEL_MAX, false) {
        planner.push(PlanKind::Full, mode, run);
    }
    planner.plans
}

fn generations(files: &[FileFacts]) -> Vec<Generation> {
    let mut out = Vec::new();
    let mut from = 0;
    for chunk in files.chunk_by(|a, b| a.name.generation == b.name.generation) {
        out.push(Generation::of(files, from..from + chunk.len()));
        from += chunk.len();
    }
    out
}

struct Planner<'f> {
    files: &'f [FileFacts],
    generations: Vec<Generation>,
    plans: Vec<Plan>,
}

impl Planner<'_> {
    /// The longest runs of generations with no wall and no level above `level`. With `trim` each run ends
    /// with a generation of `level`. Generations of lower levels at the end of a run will rise by themselves.
    /// Those before it never would, because nothing newer joins them.
    fn runs(&self, level: u8, trim: bool) -> Vec<Range<usize>> {
        let fits = |at: usize| self.generations.get(at).is_some_and(|g| !g.wall && g.level <= level);
        let mut runs = Vec::new();
        let mut from = 0;
        while from < self.generations.len() {
            let mut to = from;
            while fits(to) {
                to += 1;
            }
            let mut end = to;
            while trim && end > from && self.generations[end - 1].level < level {
                end -= 1;
            }
            if end > from {
                runs.push(from..end);
            }
            from = to + 1;
        }
        runs
    }

    fn plan_level(&mut self, level: u8) {
        let count = if level == 1 { LEVEL_1_GENERATIONS } else { GENERATIONS };
        // Level 4 merges the output of level 3 again, so copied blocks are good enough.
        let mode = if level == 3 { MergeMode::Fast } else { MergeMode::Full };
        for run in self.runs(level, true) {
            let mut from = run.start;
            while from < run.end {
                let chunk = from..run.end.min(from + count);
                from = chunk.end;
                if chunk.len() == count || self.is_tombstoned(chunk.clone()) {
                    self.push(PlanKind::Level(level), mode, chunk);
                }
            }
        }
    }

    fn plan_tail(&mut self) {
        for run in self.runs(LEVEL_MAX, true) {
            let mut from = run.start;
            while from < run.end {
                let chunk = from..run.end.min(from + GENERATIONS);
                let lopsided =
                    chunk.len() > 1 && self.generations[from].bytes / 2 > self.generations[from + 1].bytes;
                if lopsided && !self.generations[from].tombstoned {
                    // Merging a large file with much smaller ones rewrites it for little gain.
                    from += 1;
                    continue;
                }
                from = chunk.end;
                if chunk.len() == GENERATIONS || self.is_tombstoned(chunk.clone()) {
                    self.push(PlanKind::Tail, MergeMode::Full, chunk);
                }
            }
        }
    }

    fn plan_optimize(&mut self) {
        for run in self.runs(LEVEL_MAX, true) {
            let mut rest: u64 = self.generations[run.clone()].iter().map(|g| g.bytes).sum();
            let mut from = run.start;
            while from < run.end {
                rest -= self.generations[from].bytes;
                if self.generations[from].bytes <= rest {
                    break;
                }
                from += 1;
            }
            if run.end - from >= GENERATIONS {
                self.push(PlanKind::Optimize, MergeMode::Full, from..run.end);
            }
        }
    }

    fn plan_full(&mut self) {
        if self.files.iter().any(|file| file.busy) {
            // The output of a running merge would have to be merged again.
            return;
        }
        for run in self.runs(LEVEL_MAX, false) {
            if run.len() > 1 || self.is_tombstoned(run.clone()) {
                self.push(PlanKind::Full, MergeMode::Full, run);
            }
        }
    }

    fn is_tombstoned(&self, generations: Range<usize>) -> bool {
        self.generations[generations].iter().any(|g| g.tombstoned)
    }

    fn push(&mut self, kind: PlanKind, mode: MergeMode, generations: Range<usize>) {
        let members = &mut self.generations[generations];
        for generation in members.iter_mut() {
            generation.wall = true;
        }
        let files = members.iter().flat_map(|g| &self.files[g.files.clone()]).map(|file| file.name).collect();
        self.plans.push(Plan { kind, mode, files });
    }
}

#[cfg(test)]
mod tests;
