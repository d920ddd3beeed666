//! The files of a run while it runs: `run.json` describes it, and `results.jsonl` has one line for each sample.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::host::Host;
use super::sample::Sample;
use crate::error::Result;

/// Version of `run.json` and `results.jsonl`.
const SCHEMA: u32 = 1;

/// What runs, and where: the content of `run.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    schema: u32,
    /// Identifies the cells and their data.
    plan: String,
    seed: u64,
    host: Host,
}

impl Run {
    pub(super) fn new(plan: String, seed: u64, host: Host) -> Self {
        Self { schema: SCHEMA, plan, seed, host }
    }
}

/// The directory of a run. The run holds a lock on `results.jsonl` until it ends.
#[derive(Debug)]
pub(super) struct Results {
    dir: PathBuf,
    file: File,
    earlier: Vec<Sample>,
}

impl Results {
    /// Begins a run in `dir`.
    pub(super) fn create(dir: &Path, run: &Run) -> Result<Self> {
        let path = dir.join("results.jsonl");
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let file = locked(file.map_err(named(&path))?, &path)?;
        file.set_len(0).map_err(named(&path))?;
        let path = dir.join("run.json");
        fs::write(&path, serde_json::to_string_pretty(run)? + "\n").map_err(named(&path))?;
        Ok(Self { dir: dir.into(), file, earlier: Vec::new() })
    }

    /// Continues the run in `dir`. Begins it if there is none.
    pub(super) fn resume(dir: &Path, run: &Run) -> Result<Self> {
        let path = dir.join("run.json");
        if !path.exists() {
            return Self::create(dir, run);
        }
        let text = fs::read_to_string(&path).map_err(named(&path))?;
        let before: Run =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if before.plan != run.plan {
            return Err(
                format!("{}: has another plan; run without --resume to replace it", path.display()).into()
            );
        }
        let path = dir.join("results.jsonl");
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = locked(file.map_err(named(&path))?, &path)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(named(&path))?;
        let (earlier, len) = complete(&text);
        file.set_len(len as u64).map_err(named(&path))?;
        Ok(Self { dir: dir.into(), file, earlier })
    }

    /// The samples of the run that is continued.
    pub(super) fn earlier(&self) -> &[Sample] {
        &self.earlier
    }

    /// Where cells put their engines. Removed when the run ends.
    pub(super) fn scratch(&self) -> PathBuf {
        self.dir.join("scratch")
    }

    /// Adds a line to `results.jsonl`.
    pub(super) fn append(&mut self, sample: &Sample) -> Result {
        let line = serde_json::to_string(sample)? + "\n";
        self.file.write_all(line.as_bytes()).map_err(named(&self.dir.join("results.jsonl")))?;
        Ok(())
    }
}

/// Removes the engines.
impl Drop for Results {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.scratch());
    }
}

/// Locks `file`, so that two runs never write to one directory.
fn locked(file: File, path: &Path) -> Result<File> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(format!("{}: another run writes to it; choose another --out", path.display()).into())
        }
        Err(TryLockError::Error(error)) => Err(named(path)(error).into()),
    }
}

/// The samples in `text`, and the length of their lines. An interrupted run may have left an incomplete last line.
fn complete(text: &str) -> (Vec<Sample>, usize) {
    let (mut samples, mut len) = (Vec::new(), 0);
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let Ok(sample) = serde_json::from_str(line) else { break };
        samples.push(sample);
        len += line.len();
    }
    (samples, len)
}

fn named(path: &Path) -> impl Fn(std::io::Error) -> String + use<> {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
}
