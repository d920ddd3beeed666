//! The passes of a process, which begin when the matrix asks for them.

use std::time::{Duration, Instant};

use super::outcome::Pass;
use crate::error::Result;
use crate::measure::{self, Spent};

/// A pass repeats its work until it has been timed for this long.
const PASS_SECONDS_MIN: f64 = 0.02;

/// Most repetitions in a pass. Work on a few lines may take less than the time of a pass.
const REPEATS_MAX: u32 = 64;

/// The first repetitions meet cold caches and new memory, so they do not count.
const WARM_UPS: u32 = 2;

/// If the first repetition takes at least this long, warming up is a small part of it, and it counts as a pass.
const WARM_UP_SECONDS_MAX: f64 = 0.25;

/// Waits until the next pass may begin, and says whether there is one. Its argument is the number of passes so far.
pub(crate) type NextPass<'a> = &'a dyn Fn(usize) -> Result<bool>;

/// The passes of a cell while they run.
pub(super) struct Passes<'a> {
    next: NextPass<'a>,
    done: Vec<Pass>,
    /// Repetitions that do not count yet.
    warm_ups: u32,
    /// The pass that runs.
    begun: Instant,
    spent: Spent,
    repeats: u32,
    /// In all passes.
    written_bytes: u64,
    waited: Duration,
}

impl<'a> Passes<'a> {
    pub(super) fn begin(next: NextPass<'a>) -> Self {
        Self {
            next,
            done: Vec::new(),
            warm_ups: WARM_UPS,
            begun: Instant::now(),
            spent: Spent::default(),
            repeats: 0,
            written_bytes: 0,
            waited: Duration::ZERO,
        }
    }

    /// Adds a repetition. True if it was the last.
    pub(super) fn add(&mut self, spent: Spent) -> Result<bool> {
        if self.warm_ups > 0 && spent.seconds < WARM_UP_SECONDS_MAX {
            self.warm_ups -= 1;
            return if self.warm_ups == 0 { self.wait() } else { Ok(false) };
        }
        self.warm_ups = 0;
        self.spent += spent;
        self.repeats += 1;
        if self.spent.seconds < PASS_SECONDS_MIN && self.repeats < REPEATS_MAX {
            return Ok(false);
        }
        let repeats = f64::from(self.repeats);
        self.written_bytes += self.spent.written_bytes;
        self.done.push(Pass {
            seconds: self.spent.seconds / repeats,
            cpu_seconds: self.spent.cpu_seconds / repeats,
            repeats: self.repeats,
            total_seconds: self.begun.elapsed().as_secs_f64(),
        });
        self.wait()
    }

    /// True if there is no next pass.
    fn wait(&mut self) -> Result<bool> {
        let begun = Instant::now();
        let is_last = !(self.next)(self.done.len())?;
        self.waited += begun.elapsed();
        (self.begun, self.spent, self.repeats) = (Instant::now(), Spent::default(), 0);
        Ok(is_last)
    }

    /// The time in passes, and that in which other cells ran.
    pub(super) fn total_seconds(&self) -> f64 {
        self.done.iter().map(|pass| pass.total_seconds).sum::<f64>() + self.waited.as_secs_f64()
    }

    /// Bytes that one repetition wrote. `None` if the system does not say.
    pub(super) fn written_bytes(&self) -> Option<u64> {
        measure::written_bytes()?;
        let repeats: u32 = self.done.iter().map(|pass| pass.repeats).sum();
        Some(self.written_bytes / u64::from(repeats.max(1)))
    }

    pub(super) fn into_passes(self) -> Vec<Pass> {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(seconds: f64) -> Spent {
        Spent { seconds, cpu_seconds: seconds / 2.0, written_bytes: 4096 }
    }

    /// Repetitions that take `seconds` each, until there are `wanted` passes.
    fn repeat(wanted: usize, seconds: f64) -> (usize, Vec<Pass>) {
        let next = |done| Ok(done < wanted);
        let mut passes = Passes::begin(&next);
        let calls = (1..1000).find(|_| passes.add(spent(seconds)).expect("no failure")).expect("ends");
        assert!(passes.written_bytes().is_none_or(|bytes| bytes == 4096));
        (calls, passes.into_passes())
    }

    #[test]
    fn short_work_is_repeated_inside_a_pass() {
        let (calls, done) = repeat(2, 0.008);
        assert_eq!(calls, 2 + 6, "the first repetitions warm up");
        assert!(done.iter().all(|pass| pass.repeats == 3 && (pass.seconds - 0.008).abs() < 1e-9), "{done:?}");
        assert_eq!(repeat(1, 1e-6).0, (WARM_UPS + REPEATS_MAX) as usize);
    }

    #[test]
    fn long_work_needs_no_warm_up() {
        assert_eq!(repeat(3, 0.3).0, 3);
    }
}
