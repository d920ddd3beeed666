//! The memory limit. Memory is claimed before a batch is admitted, and freed when a snapshot has become a file.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::{Error, Result};

/// What a full cache does with a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Refuses the batch at once, as InfluxDB does.
    #[default]
    Refuse,
    /// Waits up to this long for a snapshot to free memory, then refuses the batch. It also refuses the batch after
    /// [`Cache::stop_waiting`](crate::Cache::stop_waiting), which the caller uses when snapshots fail.
    Wait(Duration),
}

/// The longest time to wait. A later deadline could overflow the clock.
const PATIENCE_MAX: Duration = Duration::from_secs(1 << 32);

/// The bytes in the cache as InfluxDB counts them: each value as in [`ValuesRef::cached_bytes`](crate::ValuesRef),
/// and each composite key once. Admission checks only the values of a batch against the limit. Its new keys are
/// counted afterwards.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Option<u64>,
    when_full: WhenFull,
    /// Bytes in the live and the frozen store.
    total: AtomicU64,
    frozen: AtomicU64,
    /// Whether a batch waits for memory, or was refused because there was none since the last freeze.
    wanted: AtomicBool,
    /// Whether snapshots fail. Waiting is then useless until one succeeds.
    stuck: AtomicBool,
    /// Whether the cache was closed, so that no batch may wait.
    closed: AtomicBool,
    turn: Mutex<()>,
    freed: Condvar,
}

impl Budget {
    pub(crate) fn new(limit: Option<u64>, when_full: WhenFull) -> Self {
        Self {
            limit,
            when_full,
            total: AtomicU64::new(0),
            frozen: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            turn: Mutex::new(()),
            freed: Condvar::new(),
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Acquire)
    }

    pub(crate) fn live(&self) -> u64 {
        // Reads the frozen bytes first. They never exceed the total that is read later, except while the frozen store
        // is dropped.
        let frozen = self.frozen.load(Ordering::Acquire);
        self.total().saturating_sub(frozen)
    }

    /// The time until which a batch may wait for memory, or `None` if a full cache refuses it at once.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.when_full {
            WhenFull::Refuse => None,
            WhenFull::Wait(patience) => Some(Instant::now() + patience.min(PATIENCE_MAX)),
        }
    }

    /// Claims the bytes of a batch's values. Returns an error if they do not fit.
    pub(crate) fn claim(&self, needed: u64) -> Result<()> {
        let mut used = self.total.load(Ordering::Acquire);
        loop {
            let sum = used.saturating_add(needed);
            if self.limit.is_some_and(|limit| sum > limit) {
                self.want(needed);
                return Err(self.full(used, needed));
            }
            match self.total.compare_exchange_weak(used, sum, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => used = now,
            }
        }
    }

    /// Records that a snapshot would help. A batch above the limit never fits, so it does not count.
    fn want(&self, needed: u64) {
        if self.limit.is_some_and(|limit| needed <= limit) {
            self.wanted.store(true, Ordering::Release);
        }
    }

    pub(crate) fn memory_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Refuses every batch that waits or would wait, until frozen bytes are freed.
    pub(crate) fn stop_waiting(&self) {
        self.stop(&self.stuck);
    }

    /// Wakes all waiting batches, which are then refused.
    pub(crate) fn close(&self) {
        self.stop(&self.closed);
    }

    fn stop(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::Release);
        // A thread that read the flag before this store now holds the lock or waits.
        drop(self.turn.lock());
        self.freed.notify_all();
    }

    /// Waits until this many bytes might fit. Returns the refusal if the deadline passes first.
    pub(crate) fn wait(&self, needed: u64, deadline: Instant) -> Result<()> {
        let mut turn = self.turn.lock();
        loop {
            if self.closed.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            let used = self.total();
            let Some(limit) = self.limit.filter(|limit| used.saturating_add(needed) > *limit) else {
                return Ok(());
            };
            // Sets the flag in each round, because a freeze that did not free enough may have cleared it.
            self.want(needed);
            // A batch above the limit never fits.
            let hopeless = needed > limit || self.stuck.load(Ordering::Acquire);
            if hopeless || self.freed.wait_until(&mut turn, deadline).timed_out() {
                return self.claimable(needed);
            }
        }
    }

    fn claimable(&self, needed: u64) -> Result<()> {
        let used = self.total();
        let fits = self.limit.is_none_or(|limit| used.saturating_add(needed) <= limit);
        if fits { Ok(()) } else { Err(self.full(used, needed)) }
    }

    fn full(&self, used: u64, needed: u64) -> Error {
        Error::Full { used, needed, limit: self.limit.unwrap_or(u64::MAX) }
    }

    /// Adds bytes regardless of the limit.
    pub(crate) fn add(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Frees bytes of the live store.
    pub(crate) fn free(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.total.fetch_sub(bytes, Ordering::AcqRel);
        // A thread that read the count before the subtraction now holds the lock or waits.
        drop(self.turn.lock());
        self.freed.notify_all();
    }

    /// Turns all counted bytes into frozen bytes and returns their number. No batch may be in flight.
    pub(crate) fn freeze(&self) -> u64 {
        let bytes = self.total();
        self.frozen.store(bytes, Ordering::Release);
        self.wanted.store(false, Ordering::Release);
        bytes
    }

    /// Frees the frozen bytes.
    pub(crate) fn drop_frozen(&self, bytes: u64) {
        self.frozen.store(0, Ordering::Release);
        self.stuck.store(false, Ordering::Release);
        self.free(bytes);
    }
}
