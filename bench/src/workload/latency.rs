//! The workload `latency`: an open loop. Calls have intended starts at a fixed rate, whatever the engine does meanwhile.
//!
//! The latency of a call counts from its intended start to its acknowledgement. So a stall also counts for the calls that
//! should have begun during it ("coordinated omission" cannot hide it), and no further correction is applied.

mod record;
mod spans;

use std::hint::spin_loop;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tsmith_codecs::Batch;

use super::threads::in_threads;
use crate::adapter::Store;
use crate::error::Result;
use record::Record;
pub(crate) use record::{Latency, SLOT};
pub(crate) use spans::Span;
pub(super) use spans::Spans;

/// How many snapshots a process takes, roughly: the engine takes one whenever the cache holds this part of what the process
/// writes. InfluxDB and the engine merge eight files of the first level, so two compactions follow.
const SNAPSHOTS: u64 = 20;

/// The calls before the measured ones, compared with these. The first calls fill empty buffers and grow the heap.
const WARM_UP_PART: u32 = 8;

/// A cell that falls behind ends after this part of its time again.
const OVERTIME_PART: u32 = 2;

/// A thread sleeps until this long before the start of its next call and then spins, because sleeping is not exact.
const SPIN: Duration = Duration::from_micros(100);

/// How fast an open loop sends, and for how long it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pace {
    /// Points a second, of all threads together.
    pub(crate) points_per_s: usize,
    pub(crate) milliseconds: u64,
}

impl Pace {
    fn measured(self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }

    fn warm_up(self) -> Duration {
        self.measured() / WARM_UP_PART
    }

    /// Calls of a process, with those before the measured ones.
    pub(crate) fn calls(self, batch: usize) -> usize {
        let points = (self.warm_up() + self.measured()).as_secs_f64() * self.points_per_s as f64;
        (points / batch as f64).round() as usize
    }

    /// Seconds of a process that keeps up, without its setup.
    pub(crate) fn seconds(self) -> f64 {
        (self.warm_up() + self.measured()).as_secs_f64()
    }
}

/// The bytes in the cache at which the engine takes a snapshot.
pub(super) fn snapshot_bytes(batches: &[Batch<'_>]) -> u64 {
    // A time and a value.
    let bytes: u64 = batches.iter().map(|batch| batch.value_count() as u64 * 16).sum();
    bytes / SNAPSHOTS
}

/// Calls and when they should begin.
#[derive(Debug)]
pub(super) struct OpenLoop<'a> {
    pub(super) pace: Pace,
    pub(super) threads: usize,
    pub(super) batches: &'a [Batch<'a>],
}

impl OpenLoop<'_> {
    /// Writes every batch at its time, or as soon as a thread is free. Returns what was measured, and how many batches were
    /// written.
    pub(super) fn run(&self, store: &Store, spans: &Spans) -> Result<(Latency, usize)> {
        let begun = Instant::now();
        let window = begun + self.pace.warm_up();
        let end = begun + self.pace.warm_up() + self.pace.measured();
        let gives_up = end + self.pace.measured() / OVERTIME_PART;
        let interval = self.pace.seconds() / self.batches.len() as f64;
        let next = AtomicUsize::new(0);
        let all = Mutex::new(Record::new(window, self.pace.measured())?);
        in_threads(self.threads, || {
            let mut record = Record::new(window, self.pace.measured())?;
            loop {
                let call = next.fetch_add(1, Ordering::Relaxed);
                let Some(batch) = self.batches.get(call) else { break };
                let intended = begun + Duration::from_secs_f64(interval * call as f64);
                if Instant::now() > gives_up {
                    record.unsent(intended, gives_up);
                } else {
                    wait_until(intended);
                    store.write(batch)?;
                    record.call(intended, Instant::now());
                }
            }
            all.lock().expect("no thread panicked").add(&record)
        })?;
        let record = all.into_inner().expect("no thread panicked");
        let written = self.batches.len() - record.unsent_calls() as usize;
        let points_per_call = self.pace.points_per_s as f64 * interval;
        Ok((record.finish(points_per_call, spans), written))
    }
}

fn wait_until(time: Instant) {
    loop {
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match left.checked_sub(SPIN) {
            Some(sleeping) => sleep(sleeping),
            None => spin_loop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_follow_rate_and_batch() {
        let pace = Pace { points_per_s: 100_000, milliseconds: 4000 };
        assert_eq!([1, 100, 5000].map(|batch| pace.calls(batch)), [450_000, 4500, 90]);
        assert!((pace.seconds() - 4.5).abs() < 1e-9);
    }
}
