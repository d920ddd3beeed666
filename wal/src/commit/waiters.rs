//! The followers: threads that wait for a group that somebody else writes.
//!
//! The members of a group wait at one latch, and one system call wakes them all. If the lock woke them, they would leave it
//! one after the other. If the leader woke them one by one, that would take longer than the disk takes for the group. Either
//! way the next group would form as slowly. Only the thread that leads the next group waits at a latch of its own.

use std::mem;
use std::sync::Arc;

use crate::Position;
use crate::sync::Latch;

/// All who wait.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// The group that is being written, and where it ends.
    written: Option<(Position, Arc<Latch>)>,
    /// The group that forms.
    forming: Arc<Latch>,
    /// Somebody leads it, or will.
    led: bool,
    /// Who will.
    next: Option<Arc<Latch>>,
}

impl Waiters {
    /// Where to wait for `at`. It opens with true when the record there is as safe as was asked; else the log has to be
    /// looked at again, and perhaps led.
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

    /// Somebody leads the group that forms.
    pub(super) fn led(&mut self) {
        self.led = true;
    }

    /// The group that formed is being written: all up to `end`. Another one forms.
    pub(super) fn begin(&mut self, end: Position) {
        self.written = Some((end, mem::take(&mut self.forming)));
        self.led = false;
    }

    /// The group was written, and all up to `done` is safe.
    pub(super) fn served(&mut self, done: Position) -> Woken {
        self.led = false;
        let written = self.written.take().map(|(end, latch)| (latch, end <= done));
        Woken([self.next.take().map(|next| (next, false)), written, None])
    }

    /// All: something went wrong, or the log ends, and each has to see what became of its record.
    pub(super) fn all(&mut self) -> Woken {
        let forming = mem::take(&mut self.forming);
        let Woken([next, written, _]) = self.served(Position::ZERO);
        Woken([next, written, Some((forming, false))])
    }
}

/// The threads to wake once the lock is released; the next leader first.
#[must_use = "they sleep until they are woken"]
#[derive(Debug)]
pub(super) struct Woken([Option<(Arc<Latch>, bool)>; 3]);

impl Woken {
    pub(super) fn wake(self) {
        for (latch, safe) in self.0.into_iter().flatten() {
            latch.open(safe);
        }
    }
}
