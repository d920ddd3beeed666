//! The thread of a log that syncs at an interval.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// What to do stands before the cause, as errors of the system end with it.
const START_THREAD: &str = "start the thread that syncs at an interval (raise the limit of threads, or open with another durability)";

/// Shorter intervals would have a thread do nothing but look.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Longer ones never end; and no clock goes on for ever.
const INTERVAL_MAX: Duration = Duration::from_secs(1 << 32);

/// When an interval that begins now ends.
pub(super) fn next(interval: Duration) -> Instant {
    Instant::now() + interval.clamp(INTERVAL_MIN, INTERVAL_MAX)
}

/// Starts the thread of the log in `dir`.
pub(super) fn start(dir: &Path, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("wal-sync".into());
    thread.spawn(run).map_err(|error| Error::io(START_THREAD, error).at_path(dir))
}
