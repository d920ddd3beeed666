//! Runs the cells of a group side by side.
//!
//! Each cell has its own process. They prepare at the same time, but only one of them is in a pass at any time. Passes
//! alternate in random order, so a load on the machine that lasts longer than a few passes affects all cells, and a shorter one
//! spoils few passes of each. At the end, all processes check at the same time what they wrote.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use sysinfo::System;

use super::process::Process;
use super::spec::{CellSpec, Group};
use crate::inputs::Rng;
use crate::workload::Outcome;

/// The most processes at a time.
const PROCESSES_MAX: usize = 24;

/// A rough memory need of a process: this, and so many times the bytes of its prepared points.
const PROCESS_BYTES: u64 = 128 << 20;
const PROCESS_BYTES_PER_POINT_BYTE: u64 = 16;

/// What a process measured, and the time it took in all, in seconds.
pub(super) type Done = (Result<Outcome, String>, f64);

/// How many processes of a group may run side by side: so many that they use at most half of the free memory. An engine of an
/// open loop works in the background also while its process waits, so it runs alone.
pub(super) fn processes_at_a_time(group: &Group) -> usize {
    if group.pace.is_some() {
        return 1;
    }
    let points = fs::metadata(&group.points).map_or(0, |meta| meta.len());
    let each = PROCESS_BYTES + points * PROCESS_BYTES_PER_POINT_BYTE;
    let mut system = System::new();
    system.refresh_memory();
    usize::try_from(system.available_memory() / 2 / each).unwrap_or(usize::MAX).clamp(1, PROCESSES_MAX)
}

/// Runs each of these cells in a process of this many passes, in directories inside `scratch`. If `stop` is set, it ends early.
pub(super) fn run(
    group: &Group,
    cells: &[&CellSpec],
    passes: usize,
    scratch: &Path,
    (rng, stop): (&mut Rng, &AtomicBool),
) -> Vec<Done> {
    let begun = Instant::now();
    let start =
        |(at, cell): (usize, &&CellSpec)| Process::start(group, cell, scratch.join(at.to_string()), stop);
    let mut all: Vec<Live<'_>> = cells.iter().enumerate().map(start).map(Live::new).collect();
    for live in &mut all {
        live.run(Process::ready);
    }
    write_back();
    let each = begun.elapsed().as_secs_f64() / all.len() as f64;
    for live in &mut all {
        live.seconds = each;
    }
    loop {
        let mut next: Vec<&mut Live<'_>> = all.iter_mut().filter(|live| live.passes() < passes).collect();
        if next.is_empty() || stop.load(Ordering::Relaxed) {
            break;
        }
        rng.shuffle(&mut next);
        for live in next {
            let begun = Instant::now();
            live.run(Process::pass);
            live.seconds += begun.elapsed().as_secs_f64();
        }
    }
    let begun = Instant::now();
    all.iter_mut().flat_map(|live| &mut live.process).for_each(Process::end);
    let finish = |live: Live<'_>| (live.process.and_then(Process::outcome), live.seconds);
    let done: Vec<Done> = all.into_iter().map(finish).collect();
    let each = begun.elapsed().as_secs_f64() / done.len() as f64;
    done.into_iter().map(|(outcome, seconds)| (outcome, seconds + each)).collect()
}

/// Waits until the system has written its cache to the disk. Else it would do so while a pass waits for the disk.
fn write_back() {
    #[cfg(unix)]
    rustix::fs::sync();
}

/// A process, and its part of the time.
struct Live<'a> {
    process: Result<Process<'a>, String>,
    seconds: f64,
}

impl<'a> Live<'a> {
    fn new(process: Result<Process<'a>, String>) -> Self {
        Self { process, seconds: 0.0 }
    }

    /// A process that failed makes no further pass.
    fn passes(&self) -> usize {
        self.process.as_ref().map_or(usize::MAX, Process::passes)
    }

    fn run(&mut self, step: impl FnOnce(&mut Process<'a>) -> Result<(), String>) {
        if let Ok(process) = &mut self.process
            && let Err(error) = step(process)
        {
            self.process = Err(error);
        }
    }
}
