//! How fast a merge may write, and when it must stop.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Bytes written between two looks at the clock.
const STEP_BYTES: usize = 64 << 10;

/// Longest sleep between two checks whether to continue.
const NAP: Duration = Duration::from_millis(20);

/// A limit in bytes per second for all merges together. The burst is one second's worth.
#[derive(Debug)]
pub(crate) struct Throttle {
    bytes_per_second: u64,
    /// The time at which all bytes taken so far are within the limit.
    paid: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid: Mutex::new(None) }
    }

    /// Takes `bytes` and returns when the caller may take more.
    fn take(&self, bytes: usize, now: Instant) -> Instant {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut paid = self.paid.lock();
        let from = paid.map_or(now, |paid| paid.max(now));
        let until = from + cost;
        *paid = Some(until);
        until.checked_sub(Duration::from_secs(1)).unwrap_or(now)
    }
}

/// The throttle as one merge uses it.
pub(crate) struct Pace<'c> {
    throttle: Option<&'c Throttle>,
    goes_on: &'c dyn Fn() -> bool,
    owed: usize,
}

impl<'c> Pace<'c> {
    pub(crate) fn new(throttle: Option<&'c Throttle>, goes_on: &'c dyn Fn() -> bool) -> Self {
        Self { throttle, goes_on, owed: 0 }
    }

    /// Records that `bytes` were written, and waits if that was too fast. Returns `Break` if the merge must
    /// stop.
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
    fn a_burst_is_free_then_the_limit_holds() {
        let throttle = Throttle::new(1000);
        let now = Instant::now();
        assert!(throttle.take(1000, now) <= now, "a second's worth at once");
        assert_eq!(throttle.take(500, now), now + Duration::from_millis(500));
        // Unused capacity is not saved beyond one burst.
        let later = now + Duration::from_secs(100);
        assert!(throttle.take(1000, later) <= later);
        assert_eq!(throttle.take(2000, later), later + Duration::from_secs(2));
    }

    #[test]
    fn a_waiting_merge_stops_when_asked() {
        let throttle = Throttle::new(1);
        let ended = || false;
        assert!(Pace::new(Some(&throttle), &ended).wrote(1 << 30).is_break());
        let goes_on = || true;
        assert!(Pace::new(None, &goes_on).wrote(1 << 30).is_continue());
    }
}
