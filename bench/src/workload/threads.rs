//! Work in several threads.

use crate::error::Result;

/// Runs the same work in `threads` threads, the calling thread included.
pub(crate) fn in_threads(threads: usize, work: impl Fn() -> Result + Sync) -> Result {
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(&work)).collect();
        let mine = work();
        others.into_iter().map(|other| other.join().expect("a worker panicked")).fold(mine, Result::and)
    })
}
