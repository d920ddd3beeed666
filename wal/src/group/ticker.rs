//! The thread of a log that syncs at an interval.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::state::{Goal, Stage};
use super::{Shared, Sink};
use crate::kind::Format;
use crate::{Error, Result};

/// What to do stands before the cause, as errors of the system end with it.
const START_TICKER: &str = "start the thread that syncs at an interval (raise the limit of threads, or open with another durability)";

/// Shorter intervals would have a thread do nothing but look.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Longer ones end never; and no clock goes on for ever.
const INTERVAL_MAX: Duration = Duration::from_secs(1 << 32);

/// When the next sync of a log with this interval is due.
pub(crate) fn tick_after(interval: Duration) -> Instant {
    Instant::now() + interval.clamp(INTERVAL_MIN, INTERVAL_MAX)
}

/// Syncs at an interval, until the log closes.
pub(super) fn ticker<S: Sink, T: Format>(
    shared: &Arc<Shared<S, T>>,
    interval: Duration,
) -> Result<JoinHandle<()>> {
    let ticking = Arc::clone(shared);
    let run = move || {
        let mut state = ticking.state.lock();
        loop {
            let tick = tick_after(interval);
            while state.stage == Stage::Open && !ticking.changed.wait_until(&mut state, tick).timed_out() {}
            if state.stage != Stage::Open || state.poison.is_some() {
                return;
            }
            state.sync_due = state.durable < state.written;
            while state.sync_due && state.stage == Stage::Open && state.poison.is_none() {
                // A failure is told to the next caller. Where writers lead all the time, one of them syncs.
                (state, _) = ticking.step(state, Goal::Sync);
            }
        }
    };
    start(&shared.dir, run)
}

/// Starts the thread of the log in `dir`.
pub(crate) fn start(dir: &Path, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("wal-sync".into());
    thread.spawn(run).map_err(|error| Error::io(START_TICKER, error).at_path(dir))
}
