//! Warnings that others could cause without end.

use std::time::{Duration, Instant};

/// One warning is followed by another of its kind after this at the earliest.
const PAUSE: Duration = Duration::from_secs(1);

/// When a kind of warning was given last, and how many were not.
#[derive(Debug, Default)]
pub(super) struct WarnLimit {
    last: Option<Instant>,
    suppressed: u64,
}

impl WarnLimit {
    /// Whether it is time for a warning at `now`: how many were left out before it.
    pub(super) fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < PAUSE) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line a refused frame filled the log of a replica as fast as somebody could send.
    #[test]
    fn one_warning_stands_for_many() {
        let (mut warn_limit, begin) = (WarnLimit::default(), Instant::now());
        assert_eq!(warn_limit.allow(begin), Some(0));
        for at in 1..=999 {
            assert_eq!(warn_limit.allow(begin + Duration::from_millis(at)), None);
        }
        assert_eq!(warn_limit.allow(begin + PAUSE), Some(999));
        assert_eq!(warn_limit.allow(begin + 3 * PAUSE), Some(0));
    }
}
