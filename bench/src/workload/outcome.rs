//! The measurements of one process that ran a cell.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::measure::{self, Spent};

/// A pass repeats its work until it has been timed for this long.
const PASS_SECONDS_MIN: f64 = 0.02;

/// Most repetitions in a pass. Work on a few lines may take less than the time of a pass.
const REPEATS_MAX: u32 = 64;

/// The measurements of a cell, as its process prints them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Every pass, in order.
    pub(crate) passes: Vec<Pass>,
    /// Time of the process outside of its passes: reading the data, opening, checking what was written.
    pub(crate) setup_seconds: f64,
    /// Values that one repetition wrote, read or deleted.
    pub(crate) values: u64,
    /// Values on disk after the last repetition.
    pub(crate) stored_values: u64,
    /// Bytes of the stored values in memory: 8 for the time, and those of the value.
    pub(crate) raw_bytes: u64,
    /// Bytes on disk after a clean close, the log included.
    pub(crate) disk_bytes: u64,
    /// Bytes in the directory of the log after a clean close.
    pub(crate) log_bytes: u64,
    /// Bytes that one repetition wrote to the disk, in whole pages. `None` if the system does not say.
    pub(crate) written_bytes: Option<u64>,
    /// Peak memory of the process, with its input.
    pub(crate) peak_rss_mib: f64,
    /// Digest of every key, type, time and value, in any order of keys. `None` if nothing can be read back.
    pub(crate) digest: Option<String>,
}

/// One pass: the timed work, repeated until it can be timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pass {
    /// Of one repetition.
    pub(crate) seconds: f64,
    /// Of one repetition, all threads of the process.
    pub(crate) cpu_seconds: f64,
    pub(crate) repeats: u32,
    /// Of the pass with all repetitions and what prepares each.
    pub(crate) total_seconds: f64,
}

impl Outcome {
    /// The figure of this process. Load only adds time, so the fastest pass has the least of it. But if the work waits for the
    /// disk, slow waits belong to the result, and the figure is the mean.
    pub(crate) fn seconds(&self, syncs: bool) -> f64 {
        let seconds = self.passes.iter().map(|pass| pass.seconds);
        if syncs {
            seconds.sum::<f64>() / self.passes.len() as f64
        } else {
            seconds.fold(f64::INFINITY, f64::min)
        }
    }

    /// Bytes written for each byte of the values in memory.
    pub(crate) fn write_amplification(&self) -> Option<f64> {
        let written =
            self.written_bytes.filter(|_| self.raw_bytes > 0 && self.values == self.stored_values)?;
        (written > 0).then(|| written as f64 / self.raw_bytes as f64)
    }

    /// Processor time of one repetition, chosen like [`Self::seconds`].
    pub(crate) fn cpu_seconds(&self, syncs: bool) -> f64 {
        let seconds = self.passes.iter().map(|pass| pass.cpu_seconds);
        if syncs {
            seconds.sum::<f64>() / self.passes.len() as f64
        } else {
            seconds.fold(f64::INFINITY, f64::min)
        }
    }
}

/// The passes of a cell while they run.
#[derive(Debug)]
pub(super) struct Passes {
    wanted: usize,
    done: Vec<Pass>,
    /// The pass that runs.
    begun: Instant,
    spent: Spent,
    repeats: u32,
    /// In all passes.
    written_bytes: u64,
}

impl Passes {
    /// Begins the first of `wanted` passes.
    pub(super) fn begin(wanted: usize) -> Self {
        Self {
            wanted,
            done: Vec::with_capacity(wanted),
            begun: Instant::now(),
            spent: Spent::default(),
            repeats: 0,
            written_bytes: 0,
        }
    }

    /// Adds a repetition. True if it was the last.
    pub(super) fn add(&mut self, spent: Spent) -> bool {
        self.spent += spent;
        self.repeats += 1;
        self.written_bytes += spent.written_bytes;
        if self.spent.seconds >= PASS_SECONDS_MIN || self.repeats == REPEATS_MAX {
            let repeats = f64::from(self.repeats);
            self.done.push(Pass {
                seconds: self.spent.seconds / repeats,
                cpu_seconds: self.spent.cpu_seconds / repeats,
                repeats: self.repeats,
                total_seconds: self.begun.elapsed().as_secs_f64(),
            });
            (self.begun, self.spent, self.repeats) = (Instant::now(), Spent::default(), 0);
        }
        self.done.len() >= self.wanted
    }

    pub(super) fn total_seconds(&self) -> f64 {
        self.done.iter().map(|pass| pass.total_seconds).sum()
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

    #[test]
    fn short_work_is_repeated_inside_a_pass() {
        let mut passes = Passes::begin(2);
        let calls = (1..1000).find(|_| passes.add(spent(0.008))).expect("ends");
        assert_eq!(calls, 6);
        assert!(passes.written_bytes().is_none_or(|bytes| bytes == 4096));
        let done = passes.into_passes();
        assert!(done.iter().all(|pass| pass.repeats == 3 && (pass.seconds - 0.008).abs() < 1e-9), "{done:?}");
        let mut passes = Passes::begin(1);
        assert_eq!((1..1000).find(|_| passes.add(spent(1e-6))), Some(REPEATS_MAX));
    }

    #[test]
    fn fastest_pass_counts_unless_it_waits_for_the_disk() {
        let pass = |seconds| Pass { seconds, cpu_seconds: seconds, ..Pass::default() };
        let outcome = Outcome {
            passes: [3.0, 1.0, 5.0].map(pass).into(),
            setup_seconds: 0.0,
            values: 1,
            stored_values: 1,
            raw_bytes: 16,
            disk_bytes: 1,
            log_bytes: 0,
            written_bytes: None,
            peak_rss_mib: 1.0,
            digest: None,
        };
        assert!((outcome.seconds(false) - 1.0).abs() < 1e-9 && (outcome.seconds(true) - 3.0).abs() < 1e-9);
    }
}
