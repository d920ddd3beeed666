//! A rate limit for warnings that other replicas can cause.

use std::time::{Duration, Instant};

/// Minimum interval between two warnings of one kind.
const PAUSE: Duration = Duration::from_secs(1);

/// When a kind of warning was last logged, and how many were suppressed since.
#[derive(Debug, Default)]
pub(super) struct WarnLimit {
    last: Option<Instant>,
    suppressed: u64,
}

impl WarnLimit {
    /// If a warning is allowed at `now`, returns how many were suppressed before it.
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

    /// Story: each refused frame logged a line, so any sender could fill the log.
    #[test]
    fn repeated_warnings_are_suppressed() {
        let (mut warn_limit, begin) = (WarnLimit::default(), Instant::now());
        assert_eq!(warn_limit.allow(begin), Some(0));
        for at in 1..=999 {
            assert_eq!(warn_limit.allow(begin + Duration::from_millis(at)), None);
        }
        assert_eq!(warn_limit.allow(begin + PAUSE), Some(999));
        assert_eq!(warn_limit.allow(begin + 3 * PAUSE), Some(0));
    }
}
