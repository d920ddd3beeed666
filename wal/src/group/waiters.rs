//! Those who wait for a group that somebody else writes. Each sleeps by itself and is let go by itself: woken through
//! one lock they would come out of it one after the other, and the next group would form as slowly.

use std::sync::Arc;

use crate::Position;
use crate::sync::{AtomicBool, Ordering, Thread, current, park};

/// All who wait.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: Vec<(Position, Arc<Waiter>)>,
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    thread: Thread,
    woken: AtomicBool,
    /// The record is as safe as was asked. Else the log has to be looked at again.
    done: AtomicBool,
}

impl Waiters {
    /// This thread waits for `at` from now on.
    pub(super) fn join(&mut self, at: Position) -> Arc<Waiter> {
        let (woken, done) = (AtomicBool::new(false), AtomicBool::new(false));
        let waiter = Arc::new(Waiter { thread: current(), woken, done });
        self.waiting.push((at, Arc::clone(&waiter)));
        waiter
    }

    /// Those whose records are safe, which is all up to `done`; and one of the others, who is to lead.
    pub(super) fn served(&mut self, done: Position) -> Woken {
        let mut woken: Vec<_> = self.waiting.extract_if(.., |(at, _)| *at <= done).collect();
        woken.extend(self.waiting.pop());
        Woken { waiters: woken, done }
    }

    /// All: something went wrong, or the log ends, and each has to see what became of its record.
    pub(super) fn all(&mut self) -> Woken {
        Woken { waiters: std::mem::take(&mut self.waiting), done: Position::ZERO }
    }
}

/// Those who are to be let go, when the lock is.
#[must_use = "they sleep until they are woken"]
#[derive(Debug)]
pub(super) struct Woken {
    waiters: Vec<(Position, Arc<Waiter>)>,
    done: Position,
}

impl Woken {
    pub(super) fn wake(self) {
        for (at, waiter) in self.waiters {
            waiter.done.store(at <= self.done, Ordering::Relaxed);
            waiter.woken.store(true, Ordering::Release);
            waiter.thread.unpark();
        }
    }
}

impl Waiter {
    /// Sleeps until it is let go. Whether its record is safe.
    pub(super) fn wait(&self) -> bool {
        while !self.woken.load(Ordering::Acquire) {
            park();
        }
        self.done.load(Ordering::Relaxed)
    }
}
