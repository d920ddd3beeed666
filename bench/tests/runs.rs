//! Where a run of `tsmith-bench matrix` writes, how it ends, and how it continues.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with a small data file, in which runs start.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let lines =
            |host: &str| -> String { (0..50).map(|at| format!("m,h={host} f={at} {at}\n")).collect() };
        for (name, text) in [("a.lp", lines("a")), ("b/a.lp", lines("b")), ("bad.lp", "m f=\n".into())] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("creates");
            fs::write(path, text).expect("writes");
        }
        Self(dir)
    }

    /// A run of two cells, unless `args` ask for more.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tsmith-bench"));
        command.current_dir(self.0.path()).arg("matrix").args(args);
        for (flag, value) in [("--dataset", "a.lp"), ("--workload", "scan"), ("--encoder", "raw")] {
            if !args.contains(&flag) {
                command.args([flag, value]);
            }
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("starts")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).expect("JSON")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_code(run: &Output, code: i32, words: &[&str]) {
    let all = text(&run.stdout) + &text(&run.stderr);
    assert_eq!(run.status.code(), Some(code), "{all}");
    for word in words {
        assert!(all.contains(word), "{word} in {all}");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

const RESULTS: [&str; 5] = ["report.html", "results.jsonl", "run.json", "summary.csv", "summary.json"];

/// Story: a filter without a match exited with 0 and wrote an empty report.
#[test]
fn selection_of_no_cell_is_a_usage_error() {
    let place = Place::new();
    assert_code(&place.run(&["--smoke", "--filter", "storer=nonesuch"]), 2, &["no cell", "--list"]);
    let unfit = ["--smoke", "--workload", "recover", "--log", "null", "--encoder", "tsm1"];
    assert_code(&place.run(&unfit), 2, &["no cell"]);
    assert!(!place.path("target").exists(), "nothing was written");
}

/// Story: a run took as long as its first block, whatever --time said.
#[test]
fn time_that_decides_nothing_is_a_usage_error() {
    let place = Place::new();
    assert_code(&place.run(&["--time", "10ms"]), 2, &["a block about", "Give --time "]);
    assert_code(&place.run(&["--time", "10ms", "--full", "--out", "out"]), 2, &["a block about"]);
    assert!(!place.path("out").exists() && names(&place.path("target/matrix")).is_empty());
}

#[test]
fn each_run_gets_its_own_directory() {
    let place = Place::new();
    let both = [&["--smoke"], &["--smoke"]].map(|args| {
        place.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
    });
    for run in both {
        assert_code(&run.wait_with_output().expect("ends"), 0, &["target/matrix"]);
    }
    let all = names(&place.path("target/matrix"));
    let (latest, runs): (Vec<_>, Vec<_>) = all.into_iter().partition(|name| name == "latest");
    assert_eq!((latest.len(), runs.len()), (1, 2), "{runs:?}");
    for run in runs {
        assert_eq!(names(&place.path("target/matrix").join(run)), RESULTS);
    }
    assert_code(&place.run(&["--smoke", "--resume"]), 0, &["written: "]);
}

/// Story: a group with nothing but its reference was in the report without figures.
#[test]
fn reference_alone_is_measured() {
    let place = Place::new();
    assert_code(&place.run(&["--smoke", "--encoder", "tsm1", "--out", "out"]), 0, &[]);
    assert_eq!(place.read("out/results.jsonl").lines().count(), 2, "the reference, twice");
}

#[test]
fn out_with_results_is_refused() {
    let place = Place::new();
    assert_code(&place.run(&["--smoke", "--out", "out"]), 0, &[]);
    let before = place.read("out/results.jsonl");
    assert_code(&place.run(&["--smoke", "--out", "out"]), 2, &["out", "--resume out"]);
    assert_eq!(place.read("out/results.jsonl"), before);
    assert_eq!(names(&place.path("out")), RESULTS);
}

#[test]
fn resumed_run_keeps_its_samples() {
    let place = Place::new();
    assert_code(&place.run(&["--blocks", "2", "--out", "out"]), 0, &[]);
    let before = place.read("out/results.jsonl");
    // A kill cuts the last line.
    fs::write(place.path("out/results.jsonl"), &before[..before.len() - 9]).expect("writes");
    assert_code(&place.run(&["--blocks", "3", "--resume", "out"]), 0, &[]);
    assert_eq!(place.json("out/summary.json")["blocks"], 3);
    let after = place.read("out/results.jsonl");
    let whole = &before[..=before[..before.len() - 9].rfind('\n').expect("several lines")];
    assert!(after.starts_with(whole) && after.len() > before.len());
    assert!(
        after
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok_and(|line| line["block"].is_u64()))
    );
}

/// Story: a damaged line was left out with all lines behind it, or counted as no sample, or ended in a panic or a hang.
#[test]
fn resume_refuses_a_damaged_line() {
    let place = Place::new();
    assert_code(&place.run(&["--blocks", "1", "--out", "out"]), 0, &[]);
    let good = place.read("out/results.jsonl");
    let second = good.lines().nth(1).expect("two lines");
    for (from, to) in [
        (second, "garbage".to_owned()),
        ("\"block\":0", "\"block\":4294967295".into()),
        ("\"looks\":0", "\"looks\":400000000".into()),
        ("\"group\":0", "\"group\":9".into()),
        ("\"cell\":", "\"cell\":7".into()),
        ("\"values\":", "\"values\":-".into()),
    ] {
        let damaged = second.replacen(from, &to, 1);
        assert_ne!(damaged, second, "{from}");
        fs::write(place.path("out/results.jsonl"), good.replacen(second, &damaged, 1)).expect("writes");
        assert_code(&place.run(&["--blocks", "2", "--resume", "out"]), 2, &["results.jsonl: line 2"]);
        assert_eq!(place.read("out/results.jsonl").lines().count(), good.lines().count(), "{from}");
    }
}

#[test]
fn resume_refuses_another_run() {
    let place = Place::new();
    assert_code(&place.run(&["--smoke", "--out", "out"]), 0, &[]);
    assert_code(&place.run(&["--smoke", "--resume", "nowhere"]), 2, &["nowhere", "no run"]);
    assert_code(&place.run(&["--smoke", "--resume"]), 2, &["latest", "no run"]);
    assert_code(&place.run(&["--smoke", "--resume", "out", "--encoder", "zstd"]), 2, &["the plan"]);
    assert_code(&place.run(&["--smoke", "--resume", "out", "--seed", "7"]), 2, &["the seed was 1 and is 7"]);
    let run = place.read("out/run.json");
    let commit = place.json("out/run.json")["commit"].as_str().expect("text").to_owned();
    fs::write(place.path("out/run.json"), run.replace(&commit, "0123abc")).expect("writes");
    assert_code(&place.run(&["--smoke", "--resume", "out"]), 2, &["the commit was 0123abc"]);
    fs::write(place.path("out/run.json"), run).expect("writes");
    fs::write(place.path("a.lp"), "m f=1 1\n").expect("writes");
    assert_code(&place.run(&["--smoke", "--resume", "out"]), 2, &["the data was"]);
}

/// Story: a run with `--baseline` exited with 0 although the baseline had none of its cells, or too few blocks to tell.
#[test]
fn baseline_that_tells_nothing_is_named() {
    let place = Place::new();
    assert_code(&place.run(&["--smoke", "--out", "out"]), 0, &[]);
    let baseline = ["--smoke", "--baseline", "out/summary.json"];
    let unclear = [&baseline[..], &["--fail-if", "slower>5%"]].concat();
    assert_code(&place.run(&unclear), 0, &["may be", "Compared with the baseline: 0 slower, 0 faster"]);
    let others = [&baseline[..], &["--workload", "range"]].concat();
    assert_code(&place.run(&others), 2, &["none of the cells"]);
}

#[test]
#[cfg(unix)]
fn interrupted_run_reports_what_it_has() {
    let place = Place::new();
    let mut command = place.command(&["--blocks", "10000", "--out", "out"]);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let lines = || fs::read_to_string(place.path("out/results.jsonl")).map_or(0, |text| text.lines().count());
    // A block has three samples.
    while lines() < 3 {
        std::thread::yield_now();
    }
    // Another run cannot write here meanwhile.
    assert_code(&place.run(&["--blocks", "10000", "--resume", "out"]), 2, &["another run"]);
    let killed = Command::new("kill").args(["-INT", &run.id().to_string()]).status().expect("starts");
    assert!(killed.success());
    assert_code(&run.wait_with_output().expect("ends"), 130, &["interrupted", "written: "]);
    assert_eq!(names(&place.path("out")), RESULTS, "the engines are gone");
    let summary = place.json("out/summary.json");
    let rows = summary["groups"][0]["rows"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row["mvalues_per_s"]["mid"].is_f64()), "{rows:?}");
}

/// Story: the first process of a cell built the engine that later ones copied, and its memory counted.
#[test]
#[cfg(target_os = "linux")]
fn building_an_engine_is_no_memory_of_the_cell() {
    let place = Place::new();
    assert_code(&place.run(&["--blocks", "2", "--dataset", "nyc_weather", "--out", "out"]), 0, &[]);
    let lines = place.read("out/results.jsonl");
    let samples = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let memory: Vec<f64> = samples.map(|sample| sample["peak_rss_mib"].as_f64().expect("a number")).collect();
    let (least, most) =
        memory.iter().fold((f64::MAX, 0.0f64), |(low, high), &mib| (low.min(mib), high.max(mib)));
    assert!(most < least * 1.5, "{memory:?}");
}

/// Story: two files of one name were one dataset in the report.
#[test]
fn files_of_one_name_are_told_apart() {
    let place = Place::new();
    let run = place.run(&["--smoke", "--dataset", "a.lp,b/a.lp"]);
    assert_code(&run, 0, &["scan of a.lp ", "scan of b/a.lp "]);
}

/// Story: `matrix --list | head` panicked.
#[test]
fn closed_pipe_is_quiet() {
    let place = Place::new();
    for args in [&["--list"][..], &["--smoke"]] {
        let mut run =
            place.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        drop(run.stdout.take());
        let output = run.wait_with_output().expect("ends");
        assert_code(&output, 0, &[]);
        assert!(!text(&output.stderr).contains("panicked"));
    }
}

#[test]
fn exit_code_names_the_kind_of_failure() {
    let place = Place::new();
    // No engine takes a field of two types.
    fs::write(place.path("mixed.lp"), "m f=1 1\nm f=1i 2\n").expect("writes");
    assert_code(&place.run(&["--smoke", "--dataset", "mixed.lp"]), 3, &["these cells failed", "mixed"]);
    assert_code(&place.run(&["--smoke", "--dataset", "bad.lp"]), 2, &["bad.lp: line 1"]);
    assert_code(&place.run(&["--smoke", "--out", "a.lp/x"]), 74, &["a.lp/x"]);
    assert_code(&place.run(&["--smoke", "--baseline", "nowhere.json"]), 74, &["nowhere.json"]);
    assert_code(&place.run(&["--smoke", "--baseline", "a.lp"]), 2, &["a.lp"]);
}

#[test]
fn regressions_and_cells_without_a_baseline() {
    let place = Place::new();
    assert_code(&place.run(&["--blocks", "3", "--out", "old"]), 0, &[]);
    // The earlier run was so fast that no noise hides it.
    let mut old = place.json("old/summary.json");
    for row in old["groups"][0]["rows"].as_array_mut().expect("rows") {
        for end in ["low", "mid", "high"] {
            row["mvalues_per_s"][end] = (row["mvalues_per_s"][end].as_f64().expect("a number") * 1e60).into();
        }
    }
    fs::write(place.path("old/summary.json"), old.to_string()).expect("writes");
    let args = ["--blocks", "3", "--encoder", "raw,zstd", "--baseline", "old/summary.json"];
    assert_code(&place.run(&args), 0, &["not in the baseline:\nscan of a: ring/file/zstd"]);
    let judged = place.run(&[&args[..], &["--fail-if", "slower>5%"]].concat());
    assert_code(&judged, 1, &["slower than allowed", "ring/file/raw"]);
    // Other data is refused before anything runs.
    fs::write(place.path("a.lp"), "m f=1 1\n").expect("writes");
    assert_code(&place.run(&[&args[..], &["--out", "new"]].concat()), 2, &["other data"]);
    assert!(!place.path("new").exists());
}

#[test]
fn header_describes_the_run() {
    let place = Place::new();
    assert_code(&place.run(&["--smoke", "--filter", "encoder=raw|tsm1", "--out", "out"]), 0, &[]);
    let run = place.json("out/run.json");
    for field in ["date", "commit", "rustc", "flags", "cpu", "kernel", "file_system", "command"] {
        assert!(run[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {run}");
    }
    for field in ["append", "overwrite"] {
        assert!(run["disk"][field]["p50_us"].is_f64(), "{field} in {run}");
    }
    assert!(run["command"].as_str().is_some_and(|line| line.contains("'encoder=raw|tsm1'")), "{run}");
    if cfg!(unix) {
        assert!(run["load_before"].is_f64() && run["load_after"].is_f64(), "{run}");
    }
}

#[test]
fn figures_of_go_code_are_on_the_page() {
    let place = Place::new();
    let lines = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/go_lines.jsonl");
    let lines = lines.to_str().expect("a plain path");
    assert_code(&place.run(&["--smoke", "--go-lines", lines, "--out", "out"]), 0, &[]);
    assert_eq!(place.json("out/summary.json")["go_lines"][0]["layer"], "cache");
    let page = place.read("out/report.html");
    assert!(page.contains("Go code, measured apart") && page.contains("ring16, series 100, goroutines 1"));
    assert_code(&place.run(&["--smoke", "--go-lines", "a.lp"]), 2, &["a.lp: line 1: not a JSON object"]);
    assert_code(&place.run(&["--smoke", "--go-lines", "nowhere"]), 74, &["nowhere"]);
}
