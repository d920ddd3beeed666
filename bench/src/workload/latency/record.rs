//! The latencies of an open loop: how often each occurred, and the longest over time.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::spans::{Span, Spans};
use crate::error::Result;

/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

/// Longer latencies count as this one: an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// The longest latency is kept for each slot of this length.
pub(crate) const SLOT: Duration = Duration::from_millis(10);

/// What an open loop measured, as its process prints it. Times are seconds from the first measured call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Acknowledged points a second.
    pub(crate) achieved_per_s: f64,
    /// Measured calls that never began, because the cell fell too far behind. They count with the time that they had waited.
    pub(crate) unsent: u64,
    /// Latencies in nanoseconds, with three digits, and how many calls had each.
    pub(crate) histogram_ns: Vec<(u64, u64)>,
    /// The longest latency in microseconds of the calls intended for each slot of 10 ms. `None` if there were none.
    pub(crate) slots_us: Vec<Option<u64>>,
    pub(crate) snapshots: Vec<Span>,
    pub(crate) compactions: Vec<Span>,
}

/// Latencies while they are measured.
#[derive(Debug)]
pub(super) struct Record {
    window: Instant,
    histogram: Histogram<u64>,
    slots_us: Vec<Option<u64>>,
    acknowledged: u64,
    last: Instant,
    /// Measured calls that never began.
    unsent: u64,
    /// All of them, also before the window.
    unsent_calls: u64,
}

impl Record {
    /// Calls intended before `window` do not count.
    pub(super) fn new(window: Instant, measured: Duration) -> Result<Self> {
        let slots = measured.as_millis().div_ceil(SLOT.as_millis()) as usize;
        Ok(Self {
            window,
            histogram: Histogram::new_with_max(LATENCY_NS_MAX, DIGITS)?,
            slots_us: vec![None; slots],
            acknowledged: 0,
            last: window,
            unsent: 0,
            unsent_calls: 0,
        })
    }

    /// Records an acknowledged call.
    pub(super) fn call(&mut self, intended: Instant, acknowledged: Instant) {
        if self.latency(intended, acknowledged) {
            self.acknowledged += 1;
            self.last = self.last.max(acknowledged);
        }
    }

    /// Records a call that waited until the cell gave up.
    pub(super) fn unsent(&mut self, intended: Instant, gave_up: Instant) {
        self.unsent_calls += 1;
        if self.latency(intended, gave_up) {
            self.unsent += 1;
        }
    }

    pub(super) fn unsent_calls(&self) -> u64 {
        self.unsent_calls
    }

    /// False if the call does not count.
    fn latency(&mut self, intended: Instant, end: Instant) -> bool {
        let Some(at) = intended.checked_duration_since(self.window) else { return false };
        let latency = end.saturating_duration_since(intended);
        // Zero has no place in a histogram with relative precision.
        self.histogram.saturating_record((latency.as_nanos() as u64).max(1));
        let slot = (at.as_nanos() / SLOT.as_nanos()) as usize;
        if let Some(slot) = self.slots_us.get_mut(slot) {
            *slot = (*slot).max(Some(latency.as_micros() as u64));
        }
        true
    }

    /// Adds what another thread measured.
    pub(super) fn add(&mut self, other: &Self) -> Result {
        self.histogram.add(&other.histogram)?;
        for (mine, other) in self.slots_us.iter_mut().zip(&other.slots_us) {
            *mine = (*mine).max(*other);
        }
        self.acknowledged += other.acknowledged;
        self.last = self.last.max(other.last);
        self.unsent += other.unsent;
        self.unsent_calls += other.unsent_calls;
        Ok(())
    }

    /// The result, with the background work that ran meanwhile.
    pub(super) fn finish(self, points_per_call: f64, spans: &Spans) -> Latency {
        // The slots end with the last intended start, and the work after it has no call to disturb.
        let measured = SLOT * self.slots_us.len() as u32;
        let seconds = (self.last - self.window).max(measured).as_secs_f64();
        let within = |name| spans.within(name, self.window, measured);
        Latency {
            achieved_per_s: self.acknowledged as f64 * points_per_call / seconds,
            unsent: self.unsent,
            histogram_ns: self
                .histogram
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect(),
            slots_us: self.slots_us,
            snapshots: within("snapshot"),
            compactions: within("compaction"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Story: a closed loop sends nothing during a stall, so a stall of a second was one slow call.
    #[test]
    fn a_stall_counts_for_every_call_that_waited() {
        let window = Instant::now();
        let at = |ms| window + Duration::from_millis(ms);
        let mut record = Record::new(window, Duration::from_millis(100)).expect("valid digits");
        for ms in 0..100 {
            // Calls of a millisecond, and nothing ends between 20 and 70.
            let end = if (20..70).contains(&ms) { 70 } else { ms + 1 };
            record.call(at(ms), at(end));
        }
        let slow = record.histogram.len() - record.histogram.count_between(0, 1_100_000);
        assert_eq!(slow, 49, "the last of fifty waited no longer than usual");
        let found = record.finish(10.0, &Spans::default());
        assert_eq!(found.slots_us[1..4], [Some(1000), Some(50_000), Some(40_000)]);
        assert!((found.achieved_per_s - 10_000.0).abs() < 1.0, "{}", found.achieved_per_s);
        assert_eq!(found.histogram_ns.iter().map(|(_, calls)| calls).sum::<u64>(), 100);
    }

    #[test]
    fn calls_that_never_began_count_with_their_wait() {
        let window = Instant::now();
        let at = |ms| window + Duration::from_millis(ms);
        let mut record = Record::new(at(10), Duration::from_millis(100)).expect("valid digits");
        record.call(at(5), at(6));
        record.call(at(10), at(12));
        record.unsent(at(60), at(160));
        assert_eq!((record.histogram.len(), record.unsent_calls()), (2, 1), "the first is before the window");
        assert!(record.histogram.max() >= 100_000_000);
        assert_eq!(record.finish(1.0, &Spans::default()).unsent, 1);
    }
}
