//! How fast a merge may write, and whether it should go on.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Bytes that are gathered before the clock is looked at.
const STEP_BYTES: usize = 64 << 10;

/// Longest sleep before looking whether to go on.
const NAP: Duration = Duration::from_millis(20);

/// A limit of bytes a second for all merges together, with a burst of as much as one second gives.
#[derive(Debug)]
pub(crate) struct Throttle {
    bytes_per_second: u64,
    /// When all that was taken so far will have been paid for.
    paid: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid: Mutex::new(None) }
    }

    /// Takes so many bytes; says until when to wait before taking more.
    fn take(&self, bytes: usize, now: Instant) -> Instant {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut paid = self.paid.lock();
        let from = paid.map_or(now, |paid| paid.max(now));
        let until = from + cost;
        *paid = Some(until);
        until.checked_sub(Duration::from_secs(1)).unwrap_or(now)
    }
}

/// One merge's view of it.
pub(crate) struct Pace<'c> {
    throttle: Option<&'c Throttle>,
    goes_on: &'c dyn Fn() -> bool,
    owed: usize,
}

impl<'c> Pace<'c> {
    pub(crate) fn new(throttle: Option<&'c Throttle>, goes_on: &'c dyn Fn() -> bool) -> Self {
        Self { throttle, goes_on, owed: 0 }
    }

    /// Notes that so many bytes were written; waits if that was too fast. Break when the merge is to end.
    pub(crate) fn wrote(&mut self, bytes: usize) -> ControlFlow<()> {
        self.owed += bytes;
        if let Some(throttle) = self.throttle.filter(|_| self.owed >= STEP_BYTES) {
            let until = throttle.take(std::mem::take(&mut self.owed), Instant::now());
            while (self.goes_on)() {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                thread::sleep(left.min(NAP));
            }
        }
        if (self.goes_on)() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_bytes_take_their_time() {
        let throttle = Throttle::new(1000);
        let now = Instant::now();
        assert!(throttle.take(1000, now) <= now, "a second's worth at once");
        assert_eq!(throttle.take(500, now), now + Duration::from_millis(500));
        // What was not used is not saved up beyond the burst.
        let later = now + Duration::from_secs(100);
        assert!(throttle.take(1000, later) <= later);
        assert_eq!(throttle.take(2000, later), later + Duration::from_secs(2));
    }

    #[test]
    fn whoever_waits_hears_that_it_should_end() {
        let throttle = Throttle::new(1);
        let ended = || false;
        assert!(Pace::new(Some(&throttle), &ended).wrote(1 << 30).is_break());
        let goes_on = || true;
        assert!(Pace::new(None, &goes_on).wrote(1 << 30).is_continue());
    }
}
