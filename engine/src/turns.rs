//! [`Turns`]: threads that parse in parallel are admitted in the order of their texts.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Hands out turns. Batches written with [`Engine::write_lines_in_turn`](crate::Engine::write_lines_in_turn)
/// are admitted in the order of their turns, whichever thread finishes parsing first. If two lines give a
/// field different types, the one with the earlier turn wins.
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
    /// Turns that ended before an earlier one.
    early: BTreeSet<u64>,
}

impl Turns {
    /// The next turn.
    pub fn take(&mut self) -> Turn {
        self.taken += 1;
        Turn { shared: Arc::clone(&self.shared), number: self.taken - 1 }
    }
}

/// A place in the order of admissions. Dropping it ends the turn, so a failed batch blocks no other.
#[derive(Debug)]
#[must_use = "dropping a turn ends it"]
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
    fn turns_come_in_order() {
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
