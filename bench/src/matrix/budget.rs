//! Whether the time of a run is enough for its cells. A run whose first block may not fit does not start.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::out;

/// The time that is proposed for some blocks, compared with the estimate.
const RESERVE: f64 = 1.2;

/// The time that the first block may take, compared with the estimate. It is not cut short.
const FIRST_BLOCK_RESERVE: f64 = 1.5;

/// The time of a run, from its first action to its report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    begun: Instant,
    /// `None` if the number of blocks is given.
    time: Option<Duration>,
}

impl Budget {
    pub(super) fn new(time: Option<Duration>) -> Self {
        Self { begun: Instant::now(), time }
    }

    /// Whether the run ends when its time is over.
    pub(super) fn is_limited(&self) -> bool {
        self.time.is_some()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Without a limit, infinite.
    pub(super) fn seconds_left(&self) -> f64 {
        self.time.map_or(f64::INFINITY, |time| time.saturating_sub(self.elapsed()).as_secs_f64())
    }

    /// Whether so many blocks of this length fit into the time that is left.
    pub(super) fn fits(&self, blocks: u32, block_seconds: f64) -> bool {
        block_seconds * f64::from(blocks) <= self.seconds_left()
    }

    /// Refuses a run whose first block may not fit, and warns if verdicts need more blocks than fit. `preparation` is what went
    /// before.
    pub(super) fn check(
        &self,
        blocks: u32,
        block_seconds: f64,
        preparation: Duration,
    ) -> Result<(), Failure> {
        let Some(time) = self.time else { return Ok(()) };
        let wanted = (self.elapsed().as_secs_f64() + block_seconds * f64::from(blocks) * RESERVE).ceil();
        let times = format!(
            "the preparation takes {:.1} s and a block about {block_seconds:.1} s",
            preparation.as_secs_f64()
        );
        if !self.fits(1, block_seconds * FIRST_BLOCK_RESERVE) {
            return Err(Failure::Usage(format!(
                "{times}, so no block may fit into {time:?}. Give --time {wanted}s, select less, or give --blocks 1"
            )));
        }
        if !self.fits(blocks, block_seconds) {
            out::note(format_args!(
                "{times}. Verdicts need {blocks} blocks, which do not fit into {time:?}; --time {wanted}s is enough"
            ));
        }
        Ok(())
    }
}
