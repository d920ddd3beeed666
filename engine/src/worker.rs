//! The background thread: takes a snapshot when the cache is large, full or idle.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use tsmith_cache::Storer;
use tsmith_codecs::BlockEncoder;
use tsmith_wal::Log;

use crate::{Error, Inner};

/// How often the thread checks the cache without being woken.
const TICK: Duration = Duration::from_secs(1);

/// Maximum pause after repeated failures.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// After this many consecutive failures, writes no longer wait for a snapshot.
const FAILURES_MAX: u32 = 2;

/// The engine's side of the thread.
#[derive(Debug)]
pub(crate) struct Worker {
    started: Instant,
    last_write_ms: AtomicU64,
    wake: Mutex<Option<Sender<()>>>,
    woken: Receiver<()>,
    handle: Mutex<Option<JoinHandle<()>>>,
    read_only: Arc<AtomicBool>,
    /// Why snapshots fail, if several have failed in a row.
    failing: Mutex<Option<Error>>,
}

impl Worker {
    pub(crate) fn new() -> Self {
        let (wake, woken) = bounded(1);
        Self {
            started: Instant::now(),
            last_write_ms: AtomicU64::new(0),
            wake: Mutex::new(Some(wake)),
            woken,
            handle: Mutex::new(None),
            read_only: Arc::default(),
            failing: Mutex::new(None),
        }
    }

    /// Starts the thread. It runs until [`Worker::stop`], or until the engine is dropped.
    pub(crate) fn start<S: Storer, L: Log + ?Sized, E: BlockEncoder>(&self, inner: Weak<Inner<S, L, E>>) {
        let woken = self.woken.clone();
        let read_only = ReadOnlyOnPanic::new(&self.read_only);
        let work = move || {
            let _set_on_panic = read_only;
            run(&inner, &woken);
        };
        let thread = thread::Builder::new().name("tsmith-snapshot".to_owned()).spawn(work);
        match thread {
            Ok(handle) => *self.handle.lock() = Some(handle),
            // Without a thread the engine still works. Snapshots are then taken on demand only.
            Err(error) => {
                tracing::error!(%error, "cannot start the snapshot thread; snapshots are taken on demand only");
            }
        }
    }

    /// Records the time of a write.
    pub(crate) fn note_write(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_write_ms.store(now, Ordering::Relaxed);
    }

    /// Wakes the thread to check the cache.
    pub(crate) fn wake(&self) {
        if let Some(Err(TrySendError::Disconnected(()))) =
            self.wake.lock().as_ref().map(|wake| wake.try_send(()))
        {
            tracing::debug!("the snapshot thread has ended");
        }
    }

    /// Stops the thread, after a running snapshot.
    pub(crate) fn stop(&self) {
        self.wake.lock().take();
        if let Some(handle) = self.handle.lock().take()
            && handle.thread().id() != thread::current().id()
            && handle.join().is_err()
        {
            tracing::error!("the snapshot thread panicked");
        }
    }

    /// Refuses all further writes, because the content of the disk is unknown.
    pub(crate) fn make_read_only(&self) {
        self.read_only.store(true, Ordering::Release);
    }

    /// Whether writes are refused.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// The flag that is set when a thread of the engine panics.
    pub(crate) fn read_only_flag(&self) -> &Arc<AtomicBool> {
        &self.read_only
    }

    /// Why snapshots fail, if several have failed since the last success.
    pub(crate) fn failing(&self) -> Option<Error> {
        self.failing.lock().clone()
    }

    /// Records that a snapshot freed memory.
    pub(crate) fn note_snapshot(&self) {
        self.failing.lock().take();
    }

    /// Time since the last write.
    pub(crate) fn idle(&self) -> Duration {
        let last = Duration::from_millis(self.last_write_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }
}

/// Makes the engine read-only if its thread panics.
pub(crate) struct ReadOnlyOnPanic(Arc<AtomicBool>);

impl ReadOnlyOnPanic {
    pub(crate) fn new(read_only: &Arc<AtomicBool>) -> Self {
        Self(read_only.clone())
    }
}

impl Drop for ReadOnlyOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Release);
        }
    }
}

fn run<S: Storer, L: Log + ?Sized, E: BlockEncoder>(inner: &Weak<Inner<S, L, E>>, woken: &Receiver<()>) {
    let (mut pause, mut failures) = (TICK, 0);
    loop {
        match woken.recv_timeout(pause) {
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(()) if pause > TICK => thread::sleep(pause),
            _ => {}
        }
        let Some(inner) = inner.upgrade() else { return };
        // After a failure the frozen store must be written, whatever the size of the live one.
        pause = match if pause > TICK { inner.snapshot().map(drop) } else { inner.snapshot_if_due() } {
            Ok(()) => {
                failures = 0;
                TICK
            }
            Err(error) => {
                tracing::error!(%error, "the snapshot failed and will be retried; the log keeps the data");
                failures += 1;
                if failures >= FAILURES_MAX {
                    *inner.worker.failing.lock() = Some(error);
                    inner.cache.stop_waiting();
                }
                (pause * 2).min(PAUSE_MAX)
            }
        };
    }
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Inner<S, L, E> {
    fn snapshot_if_due(&self) -> crate::Result<()> {
        let (live, options) = (self.cache.live_bytes(), &self.options);
        let idle = self.worker.idle() > options.snapshot_idle && live > 0;
        if live > options.snapshot_bytes || idle || self.cache.memory_wanted() {
            self.snapshot()?;
        }
        Ok(())
    }
}
