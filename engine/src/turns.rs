//! [`Turns`]: batches that several threads write are admitted in the order of their text.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Gives out turns. What is written by [`Engine::write_lines_in_turn`](crate::Engine::write_lines_in_turn) is admitted
/// in the order of the turns, whichever thread has parsed its text first: so of two lines that give a field different
/// types the one of the earlier turn counts.
#[derive(Debug, Default)]
pub struct Turns {
    shared: Arc<Shared>,
    taken: u64,
}

#[derive(Debug, Default)]
struct Shared {
    ended: Mutex<Ended>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Ended {
    /// All turns before this one have ended.
    all_before: u64,
    /// Turns that ended although an earlier one has not.
    early: BTreeSet<u64>,
}

impl Turns {
    /// The next turn.
    pub fn take(&mut self) -> Turn {
        self.taken += 1;
        Turn { shared: Arc::clone(&self.shared), number: self.taken - 1 }
    }
}

/// A place in the order of admissions. It ends when it is dropped: a batch that fails holds up nobody.
#[derive(Debug)]
#[must_use = "dropped, the turn has ended"]
pub struct Turn {
    shared: Arc<Shared>,
    number: u64,
}

impl Turn {
    /// Blocks until every earlier turn has ended.
    pub(crate) fn wait(&self) {
        let mut ended = self.shared.ended.lock();
        while ended.all_before < self.number {
            self.shared.changed.wait(&mut ended);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut ended = self.shared.ended.lock();
        ended.early.insert(self.number);
        while let next = ended.all_before
            && ended.early.remove(&next)
        {
            ended.all_before += 1;
        }
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_in_order_whatever_ends_first() {
        let mut turns = Turns::default();
        let mut waiting: Vec<Turn> = (0..4).map(|_| turns.take()).collect();
        drop(waiting.remove(1));
        drop(waiting.remove(1));
        waiting[0].wait();
        let last = waiting.pop().expect("the fourth");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(move || last.wait());
            assert!(!waiter.is_finished(), "the first has not ended");
            waiting.clear();
            waiter.join().expect("its turn came");
        });
    }
}
