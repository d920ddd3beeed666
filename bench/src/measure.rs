//! Clocks and counters: processor time of a thread and of the process, memory of the process.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Processor time of the calling thread: other work on a busy machine does not count.
pub(crate) fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Processor time of the whole process, user and system, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// One field of `/proc/self/status` in KiB, such as `VmHWM`; 0 where there is none.
pub(crate) fn status_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Highest resident memory so far, in MiB.
pub(crate) fn peak_rss_mib() -> f64 {
    status_kib("VmHWM") as f64 / 1024.0
}

/// Repeats whole passes for at least `min` of thread time, `reps` times, and gives the nanoseconds of thread time of a
/// pass in the fastest repetition.
pub(crate) fn best(reps: usize, min: Duration, mut pass: impl FnMut()) -> f64 {
    pass();
    let mut best = f64::INFINITY;
    for _ in 0..reps {
        let (begun, mut passes, mut spent) = (thread_ns(), 0u32, 0);
        while u128::from(spent) < min.as_nanos() {
            pass();
            passes += 1;
            spent = thread_ns() - begun;
        }
        best = best.min(spent as f64 / f64::from(passes.max(1)));
    }
    best
}

/// Wall and processor time of a piece of work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.cpu_seconds += other.cpu_seconds;
    }
}

pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (Spent, T) {
    let (cpu, begun) = (cpu_seconds(), Instant::now());
    let out = work();
    (Spent { seconds: begun.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - cpu }, out)
}

/// Bytes that the files below `dir` with this extension have, and how many files they are; every file when it is empty.
/// Counts what the disk holds, not what was set aside: a file allocated ahead of its content has its whole length.
pub(crate) fn dir_size(dir: &Path, extension: &str) -> (u64, usize) {
    let Ok(entries) = fs::read_dir(dir) else { return (0, 0) };
    let mut total = (0, 0);
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            let (bytes, files) = dir_size(&path, extension);
            total = (total.0 + bytes, total.1 + files);
        } else if extension.is_empty() || path.extension().is_some_and(|ext| ext == extension) {
            total = (total.0 + entry.metadata().map_or(0, |meta| meta.len()), total.1 + 1);
        }
    }
    total
}

/// The value at a fraction of sorted numbers, by the peer's rule: the one at index `len * fraction`.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or(f64::NAN)
}
