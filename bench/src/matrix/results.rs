//! The files of a run while it runs: `run.json` describes it, and `results.jsonl` has one line for each sample.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use tsmith_wal::fs::{Fs, OsFs};

use super::args::Args;
use super::directory::{self, Directory};
use super::run::Run;
use super::sample::Sample;
use super::spec::Group;
use crate::failure::Failure;

/// The results of a run. It locks `results.jsonl` until it ends, so that two runs never write to one directory.
#[derive(Debug)]
pub(super) struct Results {
    dir: Directory,
    file: File,
    /// `None` until the run begins.
    run: Option<Run>,
    earlier: Vec<Sample>,
}

impl Results {
    /// Takes the directory that the flags ask for. Without [`Self::begin`] nothing stays in it.
    pub(super) fn claim(args: &Args) -> Result<Self, Failure> {
        let dir = Directory::choose(args)?;
        let path = dir.path.join("results.jsonl");
        let file = directory::open(&path, !dir.resume)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { dir, file, run: None, earlier: Vec::new() }),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::Usage(format!("{}: another run writes to it", path.display())))
            }
            Err(TryLockError::Error(error)) => Err(Failure::io(&path, &error)),
        }
    }

    /// Writes `run.json`, or reads what the earlier run measured. Refuses an earlier run of something else.
    pub(super) fn begin(&mut self, run: Run) -> Result<&Run, Failure> {
        if self.dir.resume {
            let path = self.dir.path.join("run.json");
            let text = fs::read_to_string(&path).map_err(|error| Failure::io(&path, &error))?;
            let earlier: Run = serde_json::from_str(&text)
                .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
            run.check_continues(&earlier, &self.dir.path)?;
            self.read_back()?;
            self.run = Some(earlier);
        } else {
            self.run = Some(run);
            self.write_run()?;
            self.dir.mark_latest();
        }
        Ok(self.run.as_ref().expect("just set"))
    }

    /// The samples of the run that is continued.
    pub(super) fn earlier(&self) -> &[Sample] {
        &self.earlier
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir.path
    }

    /// Where cells put their engines. Removed when the run ends.
    pub(super) fn scratch(&self) -> PathBuf {
        self.dir.path.join("scratch")
    }

    /// Adds a line to `results.jsonl`.
    pub(super) fn append(&mut self, sample: &Sample) -> Result<(), Failure> {
        let line = serde_json::to_string(sample).expect("a sample has names as keys") + "\n";
        let path = self.dir.path.join("results.jsonl");
        self.file.write_all(line.as_bytes()).map_err(|error| Failure::io(&path, &error))
    }

    /// Completes `run.json` and returns its content.
    pub(super) fn end(&mut self) -> Result<serde_json::Value, Failure> {
        if let Some(run) = &mut self.run {
            run.end();
        }
        self.write_run()?;
        Ok(serde_json::to_value(&self.run).expect("a run has names as keys"))
    }

    /// Refuses samples of the earlier run that are not of these groups.
    pub(super) fn check(&self, groups: &[Group]) -> Result<(), Failure> {
        let lines = self.earlier.len() as u32;
        let wrong = self.earlier.iter().enumerate().find(|(_, sample)| !sample.is_of(groups, lines));
        let Some((at, _)) = wrong else { return Ok(()) };
        let path = self.dir.path.join("results.jsonl");
        let what = format!("{}: line {} is no sample of this run", path.display(), at + 1);
        Err(Failure::Usage(what))
    }

    /// Reads the samples of the earlier run. Cuts an incomplete last line, which an interrupted run leaves.
    fn read_back(&mut self) -> Result<(), Failure> {
        let path = self.dir.path.join("results.jsonl");
        let failed = |error: std::io::Error| Failure::io(&path, &error);
        let mut text = String::new();
        self.file.read_to_string(&mut text).map_err(failed)?;
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        for (at, line) in text[..complete].lines().enumerate() {
            let sample = serde_json::from_str(line)
                .map_err(|error| Failure::Usage(format!("{}: line {}: {error}", path.display(), at + 1)))?;
            self.earlier.push(sample);
        }
        self.file.set_len(complete as u64).map_err(failed)
    }

    /// Replaces `run.json` in one step.
    fn write_run(&self) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(&self.run).expect("a run has names as keys") + "\n";
        let [temporary, path] = ["run.json.tmp", "run.json"].map(|name| self.dir.path.join(name));
        let written = fs::write(&temporary, text).and_then(|()| OsFs.rename(&temporary, &path));
        written.map_err(|error| Failure::io(&path, &error))
    }
}

/// Removes the engines, and a directory in which no run began.
impl Drop for Results {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.scratch());
        if self.run.is_none() && !self.dir.resume {
            let _ = fs::remove_file(self.dir.path.join("results.jsonl"));
            self.dir.remove_if_new();
        }
    }
}
