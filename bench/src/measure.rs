//! Processor time and memory of this process, and sizes of directories.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cpu_time::{ProcessTime, ThreadTime};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Processor time of the calling thread since it began.
pub(crate) fn thread_time() -> Duration {
    ThreadTime::now().as_duration()
}

/// Processor time of the process, user and system, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    ProcessTime::now().as_duration().as_secs_f64()
}

/// Resident memory of the process now, in bytes. 0 if the system does not say.
pub(crate) fn rss_bytes() -> u64 {
    rss_bytes_of(None)
}

fn rss_bytes_of(process: Option<u32>) -> u64 {
    let Some(pid) = process.map(Pid::from_u32).or_else(|| sysinfo::get_current_pid().ok()) else { return 0 };
    let memory = ProcessRefreshKind::nothing().with_memory();
    look_at(pid, memory, sysinfo::Process::memory).unwrap_or(0)
}

/// A figure of a process. `None` if there is no such process.
fn look_at<T>(pid: Pid, what: ProcessRefreshKind, figure: impl FnOnce(&sysinfo::Process) -> T) -> Option<T> {
    let mut system = System::new();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
    system.process(pid).map(figure)
}

/// Highest resident memory so far, in MiB. Systems other than Linux give the memory of this moment.
pub(crate) fn peak_rss_mib() -> f64 {
    peak_rss_mib_of(None)
}

/// The same of another process. `None` is this one.
pub(crate) fn peak_rss_mib_of(process: Option<u32>) -> f64 {
    let name = process.map_or_else(|| "self".into(), |id| id.to_string());
    let path = format!("/proc/{name}/status");
    let status = if cfg!(target_os = "linux") { fs::read_to_string(path).ok() } else { None };
    let peak = status.as_ref().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    peak.map_or_else(|| rss_bytes_of(process) as f64 / f64::from(1 << 20), |kib| kib as f64 / 1024.0)
}

/// Runs `pass` for at least `min` of thread time, `reps` times. Returns the nanoseconds of thread time that one pass took
/// in the fastest repetition.
pub(crate) fn best(reps: usize, min: Duration, mut pass: impl FnMut()) -> f64 {
    pass();
    let mut best = f64::INFINITY;
    for _ in 0..reps {
        let (begun, mut passes, mut spent) = (thread_time(), 0u32, Duration::ZERO);
        while spent < min {
            pass();
            passes += 1;
            spent = thread_time().saturating_sub(begun);
        }
        best = best.min(spent.as_nanos() as f64 / f64::from(passes.max(1)));
    }
    best
}

/// Wall and processor time of a piece of work, and what it wrote.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    /// See [`written_bytes`]. 0 if the system does not say.
    pub(crate) written_bytes: u64,
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.cpu_seconds += other.cpu_seconds;
        self.written_bytes += other.written_bytes;
    }
}

pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (Spent, T) {
    let written = written_bytes();
    let (cpu, begun) = (cpu_seconds(), Instant::now());
    let out = work();
    let (seconds, cpu_seconds) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let written = written_bytes().zip(written).map_or(0, |(after, before)| after.saturating_sub(before));
    (Spent { seconds, cpu_seconds, written_bytes: written }, out)
}

/// The same with the processor time and writes of another process, which does a part of the work. Linux counts the time of
/// other processes in steps of 10 ms.
pub(crate) fn timed_with<T>(process: Option<u32>, work: impl FnOnce() -> T) -> (Spent, T) {
    let before = process.map(spent_by);
    let (mut spent, out) = timed(work);
    if let Some(((cpu, written), (cpu_before, written_before))) = process.map(spent_by).zip(before) {
        spent.cpu_seconds += cpu - cpu_before;
        spent.written_bytes += written.saturating_sub(written_before);
    }
    (spent, out)
}

/// Processor seconds of a process and the bytes that it sent to the disk, so far.
fn spent_by(process: u32) -> (f64, u64) {
    let what = ProcessRefreshKind::nothing().with_cpu().with_disk_usage();
    let figures = |process: &sysinfo::Process| {
        (process.accumulated_cpu_time() as f64 / 1e3, process.disk_usage().total_written_bytes)
    };
    look_at(Pid::from_u32(process), what, figures).unwrap_or((0.0, 0))
}

/// Bytes that this process has sent to the disk, in whole pages. Linux counts a page when it gets dirty. Other systems do not
/// say.
pub(crate) fn written_bytes() -> Option<u64> {
    let counters = if cfg!(target_os = "linux") { fs::read_to_string("/proc/self/io").ok() } else { None };
    counters?.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

/// Total length and number of the files below `dir` with this extension. If `extension` is empty, every file counts. A file
/// whose space is allocated ahead counts with its full length.
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

/// Total length of the files below `dir` without their holes, which take no space.
pub(crate) fn dir_space(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let space = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => dir_space(&entry.path()),
        Ok(meta) => meta.len().min(allocated(&meta)),
        Err(_) => 0,
    };
    entries.flatten().map(space).sum()
}

#[cfg(unix)]
fn allocated(meta: &fs::Metadata) -> u64 {
    // In units of 512 bytes, on every system.
    std::os::unix::fs::MetadataExt::blocks(meta) * 512
}

#[cfg(not(unix))]
fn allocated(meta: &fs::Metadata) -> u64 {
    meta.len()
}

/// A percentile of sorted numbers: the one at index `len * percent / 100`, as the Go driver counts.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or(f64::NAN)
}
