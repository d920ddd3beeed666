//! The machine of a run.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};
use tsmith_wal::fs::{Fs, FsFile, OsFs};

use crate::failure::Failure;
use crate::measure::percentile;

/// The machine, the commit and the disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) commit: String,
    /// Kind of the file system that holds the engines.
    pub(crate) file_system: String,
    /// Latency of the disk without any engine.
    pub(crate) disk: Disk,
}

/// Latency of a write of 4 KiB with `fdatasync`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Disk {
    /// At the end of a growing file.
    pub(crate) append: Latency,
    /// Over existing bytes of the file.
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
    /// Describes the machine, and measures the disk that holds `dir`.
    pub(super) fn look(dir: &Path) -> Result<Self, Failure> {
        let kinds = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(kinds);
        let cpu = system.cpus().first().map(|cpu| cpu.brand().trim()).filter(|brand| !brand.is_empty());
        let disk = Disk::measure(dir).map_err(|error| Failure::io(dir, &error))?;
        Ok(Self {
            cpu: cpu.unwrap_or(std::env::consts::ARCH).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: system.total_memory() >> 20,
            kernel: System::kernel_long_version(),
            commit: commit(),
            file_system: file_system(dir),
            disk,
        })
    }

    pub(super) fn sentence(&self) -> String {
        let Self { cpu, cores, memory_mib, kernel, commit, file_system, disk } = self;
        format!(
            "{cpu}, {cores} cores, {memory_mib} MiB, {kernel}, commit {commit}\ndisk ({file_system}): {disk}"
        )
    }

    /// Whether figures of the two machines are comparable.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.cpu == other.cpu && self.cores == other.cores && self.file_system == other.file_system
    }
}

/// Mean number of running processes in the last minute. `None` if the system does not say.
pub(super) fn load() -> Option<f64> {
    cfg!(unix).then(|| System::load_average().one)
}

/// The commit of the sources, and whether the working tree differs from it.
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

/// The kind of the file system that holds `dir`: that of the mount with the longest path above it.
fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.into());
    let mounts: Vec<(PathBuf, String)> = if cfg!(target_os = "linux") {
        // The list of disks leaves out tmpfs and overlay.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let words = mounts.lines().map(|line| line.split(' ').skip(1));
        words.filter_map(|mut words| Some((words.next()?.into(), words.next()?.to_owned()))).collect()
    } else {
        let disks = Disks::new_with_refreshed_list();
        let named = |disk: &sysinfo::Disk| {
            (disk.mount_point().to_owned(), disk.file_system().to_string_lossy().into_owned())
        };
        disks.iter().map(named).collect()
    };
    let above = mounts.into_iter().filter(|(point, _)| dir.starts_with(point));
    above.max_by_key(|(point, _)| point.as_os_str().len()).map_or_else(|| "unknown".into(), |(_, kind)| kind)
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
        // The second round overwrites the bytes of the first.
        let overwrite = Self::latencies(&path)?;
        fs::remove_file(&path)?;
        Ok(Self { append, overwrite })
    }

    fn latencies(path: &Path) -> io::Result<Latency> {
        // The logs use the same file system layer.
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
