//! The measurements of one process that ran a cell.

use serde::{Deserialize, Serialize};

use crate::stats::quantile;

use super::Latency;

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
    /// Of the calls of an open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
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

/// What the figure of a process is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Figure {
    Work,
    /// Of work that waits for the disk, in so many threads.
    WorkAndWaits {
        threads: usize,
    },
}

impl Outcome {
    /// The figure of this process. Load only adds time, so the lower quartile of the passes has little of it.
    ///
    /// But if the work waits for the disk, slow waits belong to the result. Then the figure is the lower quartile of the time
    /// without waits, and the mean of the waits.
    pub(crate) fn seconds(&self, figure: Figure) -> f64 {
        match figure {
            Figure::Work => self.lower_quartile(|pass| pass.seconds),
            Figure::WorkAndWaits { threads } => {
                let busy = |pass: &Pass| pass.seconds.min(pass.cpu_seconds / threads as f64);
                let waits: f64 = self.passes.iter().map(|pass| pass.seconds - busy(pass)).sum();
                self.lower_quartile(busy) + waits / self.passes.len() as f64
            }
        }
    }

    /// Processor time of one repetition: the lower quartile of the passes.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.lower_quartile(|pass| pass.cpu_seconds)
    }

    fn lower_quartile(&self, of: impl Fn(&Pass) -> f64) -> f64 {
        quantile(&self.passes.iter().map(of).collect::<Vec<_>>(), 0.25)
    }

    /// Bytes written for each byte of the values in memory.
    pub(crate) fn write_amplification(&self) -> Option<f64> {
        let written =
            self.written_bytes.filter(|_| self.raw_bytes > 0 && self.values == self.stored_values)?;
        (written > 0).then(|| written as f64 / self.raw_bytes as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_waits_count_but_slow_work_does_not() {
        let pass = |(seconds, cpu_seconds)| Pass { seconds, cpu_seconds, ..Pass::default() };
        let outcome = Outcome {
            passes: [(3.0, 2.0), (2.0, 1.0), (12.0, 3.0), (7.0, 6.0), (2.0, 1.0)].map(pass).into(),
            setup_seconds: 0.0,
            values: 1,
            stored_values: 1,
            raw_bytes: 16,
            disk_bytes: 1,
            log_bytes: 0,
            written_bytes: None,
            peak_rss_mib: 1.0,
            digest: None,
            latency: None,
        };
        assert_eq!((outcome.seconds(Figure::Work), outcome.cpu_seconds()), (2.0, 1.0));
        // Waits of 1, 1, 9, 1 and 1.
        assert_eq!(outcome.seconds(Figure::WorkAndWaits { threads: 1 }), 1.0 + 13.0 / 5.0);
        // Each thread works half of the processor time.
        assert_eq!(outcome.seconds(Figure::WorkAndWaits { threads: 2 }), 0.5 + 19.5 / 5.0);
    }
}
