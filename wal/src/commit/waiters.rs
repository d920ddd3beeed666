//! Followers: threads that wait for a group that another thread writes.
//!
//! The members of a group wait at one latch, and one system call wakes them all. Waking them through the lock
//! would let them proceed only one after the other. If the leader woke them one by one, this would take
//! longer than the disk needs for the group. Either way the next group would form as slowly. Only the next
//! leader waits at a latch of its own.

use std::mem;
use std::sync::Arc;

use crate::Position;
use crate::sync::Latch;

/// All waiting threads.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// The group being written, and where it ends.
    written: Option<(Position, Arc<Latch>)>,
    /// The pending group.
    forming: Arc<Latch>,
    /// Whether a thread leads the pending group, or will.
    led: bool,
    /// The latch of the thread that will lead it.
    next: Option<Arc<Latch>>,
}

impl Waiters {
    /// Returns the latch to wait at for `at`. It opens with true once the record is durable as requested.
    /// Otherwise the caller must check the log again, and perhaps lead.
    pub(super) fn join(&mut self, at: Position) -> Arc<Latch> {
        if let Some((end, latch)) = &self.written
            && at <= *end
        {
            return Arc::clone(latch);
        }
        if mem::replace(&mut self.led, true) {
            return Arc::clone(&self.forming);
        }
        Arc::clone(self.next.insert(Arc::default()))
    }

    /// A thread leads the pending group.
    pub(super) fn led(&mut self) {
        self.led = true;
    }

    /// The pending group, up to `end`, is being written. Another one forms.
    pub(super) fn begin(&mut self, end: Position) {
        self.written = Some((end, mem::take(&mut self.forming)));
        self.led = false;
    }

    /// The group was written, and everything up to `done` is safe.
    pub(super) fn served(&mut self, done: Position) -> Woken {
        self.led = false;
        let written = self.written.take().map(|(end, latch)| (latch, end <= done));
        Woken([self.next.take().map(|next| (next, false)), written, None])
    }

    /// Wakes all threads: after an error or at the end of the log, each must check its record.
    pub(super) fn all(&mut self) -> Woken {
        let forming = mem::take(&mut self.forming);
        let Woken([next, written, _]) = self.served(Position::ZERO);
        Woken([next, written, Some((forming, false))])
    }
}

/// The threads to wake once the lock is released. The next leader comes first.
#[must_use = "the threads sleep until they are woken"]
#[derive(Debug)]
pub(super) struct Woken([Option<(Arc<Latch>, bool)>; 3]);

impl Woken {
    pub(super) fn wake(self) {
        for (latch, safe) in self.0.into_iter().flatten() {
            latch.open(safe);
        }
    }
}
