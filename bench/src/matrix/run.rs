//! What runs, where and how: the content of `run.json`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::Xxh64;

use super::host::{Host, load};
use super::names::Dataset;
use crate::failure::Failure;

/// Version of `run.json`, `results.jsonl` and `summary.json`. It changes when a field changes its meaning or disappears.
pub(crate) const SCHEMA: u32 = 1;

/// The description of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    schema: u32,
    /// When the run began, in UTC.
    date: String,
    /// The command that repeats the run.
    command: String,
    #[serde(flatten)]
    host: Host,
    /// Hash of the program.
    program: String,
    rustc: String,
    flags: String,
    seed: u64,
    /// Hash of the names of all cells.
    plan: String,
    datasets: Vec<DataFile>,
    /// Groups of the plan that do not run, because the time is too short for them.
    #[serde(default)]
    pub(super) left_out: Vec<String>,
    /// Mean number of running processes in the minute before the run. `None` if the system does not say.
    load_before: Option<f64>,
    /// The same in the last minute of the run, the run itself included. `None` while it runs.
    load_after: Option<f64>,
}

/// A file of line protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DataFile {
    name: String,
    path: PathBuf,
    bytes: u64,
    /// Of the bytes of the file.
    hash: String,
}

impl Run {
    pub(super) fn new(plan: String, datasets: &[Dataset], seed: u64, host: Host) -> Result<Self, Failure> {
        let mut files = Vec::new();
        // A generated dataset has no file, and its name says everything about it.
        for Dataset { name, path, .. } in datasets.iter().filter(|dataset| dataset.series.is_none()) {
            let (bytes, hash) = hash(path)?;
            files.push(DataFile { name: name.clone(), path: path.clone(), bytes, hash });
        }
        let program =
            std::env::current_exe().map_err(|error| Failure::io(Path::new("this program"), &error))?;
        Ok(Self {
            schema: SCHEMA,
            date: humantime::format_rfc3339_seconds(now()).to_string(),
            command: command(),
            host,
            program: hash(&program)?.1,
            rustc: env!("TSMITH_RUSTC").into(),
            flags: env!("TSMITH_FLAGS").into(),
            seed,
            plan,
            datasets: files,
            left_out: Vec::new(),
            load_before: load(),
            load_after: None,
        })
    }

    /// Refuses to continue `earlier` if the samples of the two runs would not be comparable.
    pub(super) fn check_continues(&self, earlier: &Self, dir: &Path) -> Result<(), Failure> {
        let hashes = |run: &Self| {
            let named = run.datasets.iter().map(|file| format!("{} with hash {}", file.name, file.hash));
            named.collect::<Vec<_>>().join(", ")
        };
        for (what, before, now) in [
            ("schema", earlier.schema.to_string(), self.schema.to_string()),
            ("plan", earlier.plan.clone(), self.plan.clone()),
            ("seed", earlier.seed.to_string(), self.seed.to_string()),
            ("data", hashes(earlier), hashes(self)),
            ("commit", earlier.host.commit.clone(), self.host.commit.clone()),
            ("program", earlier.program.clone(), self.program.clone()),
        ] {
            if before != now {
                return Err(Failure::Usage(format!(
                    "{}: cannot resume: the {what} was {before} and is {now}. Its command was `{}`; without --resume \
                     a new run begins",
                    dir.display(),
                    earlier.command
                )));
            }
        }
        Ok(())
    }

    /// Hash of the file of a dataset.
    pub(super) fn hash_of(&self, dataset: &str) -> String {
        self.datasets
            .iter()
            .find(|file| file.name == dataset)
            .map_or_else(String::new, |file| file.hash.clone())
    }

    pub(super) fn end(&mut self) {
        self.load_after = load();
    }
}

#[expect(clippy::disallowed_methods, reason = "the date of a run")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// Length and hash of a file.
fn hash(path: &Path) -> Result<(u64, String), Failure> {
    struct Hasher(Xxh64);
    impl io::Write for Hasher {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hasher = Hasher(Xxh64::new(0));
    let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher));
    let bytes = copied.map_err(|error| Failure::io(path, &error))?;
    Ok((bytes, format!("{:016x}", hasher.0.digest())))
}

/// The command line of this process, in the words of the repository's `xtask` if this is its program.
fn command() -> String {
    let mut words = std::env::args().peekable();
    let program = words.next().unwrap_or_default();
    let first = match Path::new(&program).file_stem().and_then(|name| name.to_str()) {
        Some("tsmith-bench") => "cargo xtask bench".into(),
        Some("tsmith-peers") if words.next_if_eq("matrix").is_some() => "cargo xtask bench peers".into(),
        _ => quoted(&program),
    };
    words.fold(first, |line, word| line + " " + &quoted(&word))
}

/// Quotes a word for a POSIX shell if it needs it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("--time=30s"), "--time=30s");
        assert_eq!(quoted("slower>5%"), "'slower>5%'");
        assert_eq!(quoted("a'b"), r"'a'\''b'");
        assert_eq!(quoted(""), "''");
    }
}
