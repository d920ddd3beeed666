//! Helpers that run the command and inspect the files it leaves.

#![allow(dead_code, reason = "each test file uses some of the helpers")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tsmith_engine::line::{self, AnySchema};
use tsmith_engine::{BatchBuilder, Column, LineOptions, Timestamp, Value};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{ErrorKind, Log, LogOptions, Record, entry};

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    /// Asserts that stderr contains all of these. Use names, offsets and flags, not sentences.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "expected {text:?} in:\n{}", self.stderr);
        }
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).expect("stdout is JSON")
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("not killed"),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tsmith"));
    command.stdin(Stdio::null());
    command
}

pub(crate) fn tsmith<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    command().args(args).output().expect("the command runs").into()
}

/// Runs with `path` as the last argument. Returns the output, and stdout as JSON, or null if it is no JSON.
pub(crate) fn with_json(arguments: &[&str], path: &Path) -> (Output, serde_json::Value) {
    let output = command().args(arguments).arg(path).output().expect("runs");
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, json)
}

/// Runs a command line in which each `{}` stands for the next of `paths`.
pub(crate) fn run(line: &str, paths: &[&Path]) -> Run {
    let mut paths = paths.iter();
    let args = line.split(' ').map(|word| match word {
        "{}" => paths.next().expect("a path for every {}").as_os_str().to_owned(),
        word => word.into(),
    });
    tsmith(args.collect::<Vec<_>>())
}

/// Starts an import from stdin and waits until it has locked `dir`. It ends when stdin is dropped.
pub(crate) fn holder(dir: &Path) -> (Child, ChildStdin) {
    let mut import = command();
    import.arg("import").arg(dir).arg("-").stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = import.spawn().expect("runs");
    // The import opens the directory when the first line arrives.
    let mut stdin = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, b"m v=1 1\n").expect("written");
    let started = Instant::now();
    // The manifest is written after the lock is taken. A verb that reads would take the lock itself.
    while !dir.join("tsmith.manifest").exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "never opened");
        std::thread::sleep(Duration::from_millis(5));
    }
    (child, stdin)
}

/// The paths in a directory, sorted.
pub(crate) fn paths(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// The segments of the log of an engine directory that contain records, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut segments = paths(&dir.join("wal"));
    segments.retain(|path| path.file_name().is_some_and(tsmith_wal::is_segment));
    segments.retain(|path| fs::metadata(path).is_ok_and(|found| found.len() > 100));
    segments
}

/// The payload of a write: a value of the field `v` for each of these series, all at `time`.
pub(crate) fn write_payload(values: &[(&str, Value<'_>)], time: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for (series, value) in values {
        builder.begin(series.as_bytes().into());
        builder.field(b"v".as_slice().into(), *value).expect("one type");
        builder.commit(time);
    }
    let mut payload = Vec::new();
    entry::encode_write(&builder.finish(), &mut payload).expect("short keys");
    payload
}

/// Opens a log. Another test may be starting a program at this moment. Until that program runs, it holds copies of all open
/// files of this process, and with them the lock of a log that was just closed.
fn open_alone<L: Log<Fs = OsFs>>(dir: &Path) -> L {
    let begun = Instant::now();
    loop {
        match L::open(OsFs, dir, LogOptions::default(), |_, _| Ok(())) {
            Err(error)
                if matches!(error.kind(), ErrorKind::InUse) && begun.elapsed() < Duration::from_secs(10) =>
            {
                std::thread::yield_now();
            }
            opened => return opened.expect("opens").0,
        }
    }
}

/// Appends writes with these payloads to the log in `dir`. An engine might refuse them.
pub(crate) fn append_payloads<L: Log<Fs = OsFs>>(dir: &Path, payloads: &[Vec<u8>]) {
    let log = open_alone::<L>(dir);
    for payload in payloads {
        let at = log.append(Record::write(payload)).expect("enough space");
        let _durable = log.sync(at).expect("synced");
    }
    log.close().expect("closes");
}

/// Data and log of a shard in InfluxDB's layout.
pub(crate) fn shard_dirs(root: &Path) -> (PathBuf, PathBuf) {
    (root.join("data/db/rp/1"), root.join("wal/db/rp/1"))
}

/// Exports a directory as line protocol. The export must succeed.
#[track_caller]
pub(crate) fn export(dir: &Path) -> Vec<u8> {
    run("export {} --format lp", &[dir]).exits(0).stdout
}

/// Flips a bit of the byte at `at`, or of the middle byte if the file is shorter. Returns the new content.
pub(crate) fn flip(path: &Path, at: usize) -> Vec<u8> {
    let mut bytes = fs::read(path).expect("there");
    let at = if at < bytes.len() { at } else { bytes.len() / 2 };
    bytes[at] ^= 0x20;
    fs::write(path, &bytes).expect("written");
    bytes
}

/// A directory that is removed at the end.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("written");
        path
    }

    /// An engine directory with this text imported.
    pub(crate) fn imported(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let (input, dir) = (self.file(&format!("{name}.lp"), text), self.path(name));
        run("import {} {} --batch 100", &[&dir, &input]).exits(0);
        dir
    }
}

/// All files below `dir` with their content. Directories have empty content.
pub(crate) fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(content(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).expect("readable"));
        }
    }
    found
}

pub(crate) type Points = BTreeMap<Vec<u8>, Column>;

/// The points of a text, by composite key.
pub(crate) fn points(text: &[u8]) -> Points {
    let mut builder = BatchBuilder::new();
    let rejected = line::parse(text, &LineOptions::new(Timestamp(0)), &mut AnySchema, &mut builder);
    assert!(rejected.is_empty(), "{:?}", rejected.first());
    let mut points = Points::new();
    for (key, column) in builder.finish().columns() {
        let all = points.entry(key.to_composite()).or_insert_with(|| Column::new(column.field_type()));
        all.extend(column).expect("one type");
    }
    points.values_mut().for_each(Column::sort_dedup);
    points
}

/// Asserts that two texts contain the same points.
#[track_caller]
pub(crate) fn same_points(expected: &[u8], found: &[u8]) {
    let (expected, found) = (points(expected), points(found));
    let keys = |points: &Points| points.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&expected), keys(&found));
    for (key, column) in &expected {
        assert!(*column == found[key], "{}", String::from_utf8_lossy(key));
    }
}

/// Lines with fields of all types in seven series.
pub(crate) fn sample(lines: usize) -> String {
    let mut text = String::new();
    for i in 0..lines {
        let time = 1_600_000_000_000_000_000 + i as u64 * 1_000_000_000;
        let (third, count, big) = (i as f64 / 3.0, i as i64 - 50, u64::MAX - i as u64);
        let (host, up, note) = (i % 7, i % 2 == 0, i % 5);
        let fields = format!("usage={third},count={count}i,big={big}u,up={up},note=\"n {note}\"");
        writeln!(text, "cpu,host=h{host} {fields} {time}").expect("writing to a string cannot fail");
    }
    text
}
