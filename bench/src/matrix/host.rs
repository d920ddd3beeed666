//! The machine a run was made on: figures mean nothing without it.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tsmith_wal::fs::{Fs, FsFile, OsFs};

use crate::error::Result;
use crate::measure::percentile;

/// What is known of the machine, the commit and the disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) commit: String,
    /// Kind of the file system that the engines work on.
    pub(crate) file_system: String,
    /// The disk's own answer, before any engine is asked.
    pub(crate) disk: Disk,
}

/// How long 4 KiB and `fdatasync` take.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Disk {
    /// At the end of a growing file.
    pub(crate) append: Latency,
    /// Into bytes the file already has.
    pub(crate) overwrite: Latency,
}

/// In microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { append, overwrite } = self;
        write!(
            f,
            "4 KiB and fdatasync take {:.0} us (p99 {:.0}) appended, {:.0} us (p99 {:.0}) in place",
            append.p50_us, append.p99_us, overwrite.p50_us, overwrite.p99_us
        )
    }
}

impl Host {
    /// Looks at the machine, and measures the disk under `dir`.
    pub(super) fn look(dir: &Path) -> Result<Self> {
        let cpu = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| Some(line.strip_prefix("model name")?.trim().to_owned()));
        let memory = read("/proc/meminfo").lines().find_map(|line| number(line.strip_prefix("MemTotal:")?));
        let disk = Disk::measure(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self {
            cpu: cpu.map_or_else(
                || std::env::consts::ARCH.into(),
                |text| text.trim_start_matches([':', ' ']).into(),
            ),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory.unwrap_or(0) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            commit: commit(),
            file_system: file_system(dir),
            disk,
        })
    }

    pub(super) fn sentence(&self) -> String {
        let Self { cpu, cores, memory_mib, kernel, commit, file_system, disk } = self;
        format!(
            "{cpu}, {cores} cores, {memory_mib} MiB, Linux {kernel}, commit {commit}\ndisk ({file_system}): {disk}"
        )
    }

    /// Whether figures of the two can be set against each other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.cpu == other.cpu && self.cores == other.cores && self.file_system == other.file_system
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The commit of the sources, and whether they were changed since.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(id) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|list| !list.is_empty());
    if changed { format!("{id} and changes") } else { id }
}

/// The kind of the mount that holds `dir`: the one with the longest path above it.
fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.into());
    let mounts = read("/proc/self/mounts");
    let above = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    above.max_by_key(|(len, _)| *len).map_or_else(|| "unknown".into(), |(_, kind)| kind.to_owned())
}

impl Disk {
    const BLOCK: [u8; 4096] = [0x54; 4096];
    const WRITES_MAX: usize = 300;
    const TIME_MAX: Duration = Duration::from_millis(700);

    fn measure(dir: &Path) -> io::Result<Self> {
        let path = dir.join("latency.probe");
        if path.exists() {
            fs::remove_file(&path)?;
        }
        let append = Self::latencies(&path)?;
        // The file now has the bytes that the second round writes over.
        let overwrite = Self::latencies(&path)?;
        fs::remove_file(&path)?;
        Ok(Self { append, overwrite })
    }

    fn latencies(path: &Path) -> io::Result<Latency> {
        // Through the file system that every log uses.
        let file = if path.exists() { OsFs.open(path)? } else { OsFs.create_new(path)? };
        let (begun, mut all) = (Instant::now(), Vec::new());
        for at in 0..Self::WRITES_MAX {
            let one = Instant::now();
            file.write_all_at(&Self::BLOCK, at as u64 * Self::BLOCK.len() as u64)?;
            file.sync_data()?;
            all.push(one.elapsed().as_secs_f64() * 1e6);
            if begun.elapsed() > Self::TIME_MAX {
                break;
            }
        }
        all.sort_by(f64::total_cmp);
        Ok(Latency { p50_us: percentile(&all, 50), p99_us: percentile(&all, 99) })
    }
}
