//! The background thread: takes a snapshot when the cache is large, full or idle, never in a caller's way.

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

/// How often the thread looks without being woken.
const TICK: Duration = Duration::from_secs(1);

/// After failures in a row the thread waits longer and longer, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// After so many failures in a row no write waits for a snapshot any more.
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
    /// Why snapshots fail, once several have failed in a row.
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

    /// Starts the thread. It lives until [`Worker::stop`], or until the engine is dropped.
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
            // Without a thread the engine still works; snapshots are then taken on demand only.
            Err(error) => tracing::error!(%error, "no thread for snapshots"),
        }
    }

    /// Notes that something was written just now.
    pub(crate) fn note_write(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_write_ms.store(now, Ordering::Relaxed);
    }

    /// Asks for a look at the cache.
    pub(crate) fn wake(&self) {
        if let Some(Err(TrySendError::Disconnected(()))) =
            self.wake.lock().as_ref().map(|wake| wake.try_send(()))
        {
            tracing::debug!("the snapshot thread is gone");
        }
    }

    /// Ends the thread, after the snapshot it may be taking.
    pub(crate) fn stop(&self) {
        self.wake.lock().take();
        if let Some(handle) = self.handle.lock().take()
            && handle.thread().id() != thread::current().id()
            && handle.join().is_err()
        {
            tracing::error!("the snapshot thread panicked");
        }
    }

    /// Lets nothing be written any more: what is on disk is not known.
    pub(crate) fn make_read_only(&self) {
        self.read_only.store(true, Ordering::Release);
    }

    /// Whether the thread died of a panic.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// What is set when a thread of the engine panics.
    pub(crate) fn read_only_flag(&self) -> &Arc<AtomicBool> {
        &self.read_only
    }

    /// Why snapshots fail, if several have failed since the last one that did not.
    pub(crate) fn failing(&self) -> Option<Error> {
        self.failing.lock().clone()
    }

    /// Notes that a snapshot freed memory.
    pub(crate) fn note_snapshot(&self) {
        self.failing.lock().take();
    }

    /// How long ago something was written.
    pub(crate) fn idle(&self) -> Duration {
        let last = Duration::from_millis(self.last_write_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }
}

/// Tells the engine when its thread unwinds.
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
        // After a failure the frozen store waits, whatever the live one holds by now.
        pause = match if pause > TICK { inner.snapshot().map(drop) } else { inner.snapshot_if_due() } {
            Ok(()) => {
                failures = 0;
                TICK
            }
            Err(error) => {
                tracing::error!(%error, "the snapshot failed and will be tried again; the log keeps the data");
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
