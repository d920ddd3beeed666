//! The memory limit: claimed before a batch is admitted, freed when a snapshot is a file.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::{Error, Result};

/// What a full cache does with a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Refuses it at once, as InfluxDB does.
    #[default]
    Refuse,
    /// Waits up to this long for a snapshot to free memory, and then refuses. It also refuses when
    /// [`Cache::stop_waiting`](crate::Cache::stop_waiting) says that snapshots fail.
    Wait(Duration),
}

/// A clock cannot be asked for what is much later.
const PATIENCE_MAX: Duration = Duration::from_secs(1 << 32);

/// Bytes in the cache by InfluxDB's account: of each value as [`ValuesRef::cached_bytes`](crate::ValuesRef) counts it, and
/// of each composite key once. The limit is held against the values of a batch only; its new keys are counted
/// afterwards.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Option<u64>,
    when_full: WhenFull,
    /// Live and frozen.
    total: AtomicU64,
    frozen: AtomicU64,
    /// Somebody wanted room in vain since the last freeze, or waits for it.
    wanted: AtomicBool,
    /// Snapshots fail, so waiting does not help until one succeeds.
    stuck: AtomicBool,
    /// Nobody need wait any more.
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
        // Frozen first: it never exceeds a total that is read later, except while it is being forgotten.
        let frozen = self.frozen.load(Ordering::Acquire);
        self.total().saturating_sub(frozen)
    }

    /// Until when a batch may wait for memory; `None` when it is refused at once.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.when_full {
            WhenFull::Refuse => None,
            WhenFull::Wait(patience) => Some(Instant::now() + patience.min(PATIENCE_MAX)),
        }
    }

    /// Takes the bytes of a batch's values, or says that they do not fit.
    pub(crate) fn claim(&self, needed: u64) -> Result<()> {
        let fits = |used: u64| {
            let sum = used.saturating_add(needed);
            self.limit.is_none_or(|limit| sum <= limit).then_some(sum)
        };
        match self.total.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => Ok(()),
            Err(used) => {
                self.want(needed);
                Err(self.full(used, needed))
            }
        }
    }

    /// A snapshot would help; not, though, a batch that never fits.
    fn want(&self, needed: u64) {
        if self.limit.is_some_and(|limit| needed <= limit) {
            self.wanted.store(true, Ordering::Release);
        }
    }

    pub(crate) fn room_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Refuses every batch that waits or would wait, until frozen bytes are freed.
    pub(crate) fn stop_waiting(&self) {
        self.stop(&self.stuck);
    }

    /// Wakes who waits, to be refused.
    pub(crate) fn close(&self) {
        self.stop(&self.closed);
    }

    fn stop(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::Release);
        // Whoever looked before the store holds the lock or waits by now.
        drop(self.turn.lock());
        self.freed.notify_all();
    }

    /// Blocks until so many bytes might fit; gives the refusal when the deadline passes first.
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
            // Said again, for a freeze may have come between, that did not free enough.
            self.want(needed);
            // More than the limit never fits.
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

    /// Adds bytes whatever the limit.
    pub(crate) fn add(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Frees bytes of the live store.
    pub(crate) fn free(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.total.fetch_sub(bytes, Ordering::AcqRel);
        // Whoever looked before the subtraction holds the lock or waits by now.
        drop(self.turn.lock());
        self.freed.notify_all();
    }

    /// All that is counted becomes frozen; nothing is in flight. Returns how much.
    pub(crate) fn freeze(&self) -> u64 {
        let bytes = self.total();
        self.frozen.store(bytes, Ordering::Release);
        self.wanted.store(false, Ordering::Release);
        bytes
    }

    /// Frees what was frozen.
    pub(crate) fn drop_frozen(&self, bytes: u64) {
        self.frozen.store(0, Ordering::Release);
        self.stuck.store(false, Ordering::Release);
        self.free(bytes);
    }
}
