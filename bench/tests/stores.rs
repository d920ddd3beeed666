//! Whole stores in the matrix. This program is both the tests and a matrix with three small stores: a cell of the matrix
//! starts its own program.

mod stores {
    pub(crate) mod map;
}

use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::{env, fs};

use serde_json::Value;
use stores::map::Map;
use tempfile::TempDir;
use tsmith_bench::Bench;
use tsmith_engine::Registry;

fn main() -> ExitCode {
    if env::args().nth(1).is_some_and(|arg| arg == "matrix" || arg == "cell") {
        let honest = Map::new("map");
        let liar = Map { lies: true, ..Map::new("liar") };
        let absent = Map { missing: true, ..Map::new("absent") };
        let rough = Map { rough: true, ..Map::new("rough") };
        let bench = Bench::new(Registry::standard()).store(honest).store(liar).store(absent).store(rough);
        return bench.select("encoder", &["raw"]).select("store", &["map", "rough", "absent"]).main();
    }
    let tests: [(&str, fn()); 5] = [
        ("stores_run_beside_the_reference", stores_run_beside_the_reference),
        ("other_values_are_a_broken_cell", other_values_are_a_broken_cell),
        ("missing_store_is_left_out", missing_store_is_left_out),
        ("selection_is_the_default_run", selection_is_the_default_run),
        ("durability_chooses_the_groups", durability_chooses_the_groups),
    ];
    // As much of the flags of a test program as its users need: a name, or `--list`.
    let args: Vec<String> = env::args().skip(1).collect();
    let wanted = args.iter().find(|arg| !arg.starts_with('-'));
    for (name, test) in
        tests.iter().filter(|(name, _)| wanted.is_none_or(|wanted| name.contains(wanted.as_str())))
    {
        if args.iter().any(|arg| arg == "--list") {
            println!("{name}: test");
        } else {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

/// A directory with a small data file, in which runs start.
fn place() -> TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let minute = 60_000_000_000u64;
    let line = |at: u64| format!("m,h={} f={at},g={}.25 {}\n", at % 3, at * 7, at * minute);
    fs::write(dir.path().join("a.lp"), (0..300).map(line).collect::<String>()).expect("writes");
    dir
}

fn matrix(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env::current_exe().expect("has a path"));
    let command = command.current_dir(dir).args(["matrix", "--smoke", "--dataset", "a.lp", "--out", "out"]);
    command.args(args).output().expect("starts")
}

#[track_caller]
fn assert_code(run: &Output, code: i32, words: &[&str]) -> String {
    let all = String::from_utf8_lossy(&[&run.stdout[..], &run.stderr].concat()).into_owned();
    assert_eq!(run.status.code(), Some(code), "{all}");
    for word in words {
        assert!(all.contains(word), "{word} in {all}");
    }
    all
}

fn summary(dir: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.join("out/summary.json")).expect("reads")).expect("JSON")
}

/// Workload, durability and names of the cells of each group.
fn groups(summary: &Value) -> Vec<(String, bool, Vec<String>)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let groups = summary["groups"].as_array().expect("groups").iter();
    let names = |group: &Value| {
        group["rows"].as_array().expect("rows").iter().map(|row| text(&row["name"])).collect()
    };
    groups
        .map(|group| {
            let mut names: Vec<String> = names(group);
            names[1..].sort();
            (text(&group["workload"]), group["durable"] == true, names)
        })
        .collect()
}

fn stores_run_beside_the_reference() {
    let dir = place();
    let run = matrix(dir.path(), &["--store", "map,rough"]);
    let out = assert_code(&run, 0, &["map: a map in memory", "durable: a file that is synced"]);
    let summary = summary(dir.path());
    let reads = |workload: &str| {
        (workload.to_owned(), true, vec!["ring/file/tsm1".into(), "map".into(), "rough".into()])
    };
    let writes = |durable: bool, names: &[&str]| {
        ("ingest".into(), durable, names.iter().map(|&name| name.into()).collect())
    };
    let expected = [
        writes(true, &["ring/file/tsm1", "map"]),
        writes(false, &["ring/file/tsm1 none", "map none", "rough none"]),
        reads("scan"),
        reads("range"),
    ];
    assert_eq!(groups(&summary), expected, "{out}");
    for row in summary["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .flat_map(|group| group["rows"].as_array().expect("rows"))
    {
        assert!(
            row["mvalues_per_s"]["mid"].as_f64() > Some(0.0) && row["bytes_per_value"].as_f64() > Some(0.0),
            "{row}"
        );
        assert_eq!(row["digest"].is_null(), row["store"] == "rough", "{row}");
    }
    let page = fs::read_to_string(dir.path().join("out/report.html")).expect("reads");
    assert!(page.contains("Stores of other projects") && page.contains("<dt>map</dt>"));
    assert!(page.contains("title=\"map: a map in memory"), "a tooltip");
    assert!(page.contains("<title>map: "), "the plot of bytes against speed has it");
}

/// Story: a store that loses a bit must not be called fast.
fn other_values_are_a_broken_cell() {
    let dir = place();
    let run = matrix(dir.path(), &["--store", "map,liar", "--workload", "ingest,scan"]);
    let out = assert_code(&run, 3, &["these cells failed", "liar", "m,h=0#!~#f"]);
    assert!(!out.contains(": map: "), "{out}");
}

fn missing_store_is_left_out() {
    let dir = place();
    assert_code(
        &matrix(dir.path(), &["--store", "absent"]),
        2,
        &["absent is left out: it is not here", "no cell"],
    );
    let run = matrix(dir.path(), &["--store", "absent,map", "--workload", "scan"]);
    assert_code(&run, 0, &["absent is left out: it is not here"]);
    assert_eq!(groups(&summary(dir.path())).len(), 1);
    assert_code(&matrix(dir.path(), &["--store", "nonesuch"]), 2, &["map, liar"]);
}

fn selection_is_the_default_run() {
    let dir = place();
    assert_code(&matrix(dir.path(), &["--workload", "ingest,scan,compact"]), 0, &[]);
    let names: Vec<Vec<String>> = groups(&summary(dir.path())).into_iter().map(|group| group.2).collect();
    let [reference, unsafe_reference] = ["ring/file/tsm1", "ring/file/tsm1 none"];
    let expected: [&[&str]; 4] = [
        &[reference, "map"],
        &[unsafe_reference, "map none", "rough none"],
        &[reference, "map", "ring/file/raw", "rough"],
        &[reference, "ring/file/raw"],
    ];
    assert_eq!(names, expected);
}

fn durability_chooses_the_groups() {
    let dir = place();
    assert_code(
        &matrix(dir.path(), &["--store", "map", "--workload", "ingest", "--durability", "none"]),
        0,
        &[],
    );
    for (_, durable, names) in groups(&summary(dir.path())) {
        assert_eq!(names.contains(&"map none".to_owned()), !durable, "{names:?}");
        assert!(!names.contains(&"map".to_owned()), "{names:?}");
    }
}
