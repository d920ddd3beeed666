//! `docs/results.md` names every field of the results, and its example works.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

fn doc() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results.md");
    fs::read_to_string(path).expect("reads")
}

/// A directory in which a small run has written its results to `target/matrix/latest`.
fn small_run() -> TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let lines: String = (0..50).map(|at| format!("m f={at} {at}\n")).collect();
    fs::write(dir.path().join("a.lp"), lines).expect("writes");
    let args = ["matrix", "--smoke", "--dataset", "a.lp", "--workload", "scan,ingest,latency"];
    let run = Command::new(env!("CARGO_BIN_EXE_tsmith-bench")).current_dir(dir.path()).args(args).output();
    let run = run.expect("starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    dir
}

/// The documented fields of each file, and whether the text says that they are optional.
fn documented(doc: &str) -> BTreeMap<String, BTreeMap<String, bool>> {
    let (mut files, mut file, mut prefix) = (BTreeMap::new(), String::new(), String::new());
    for line in doc.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            (file, prefix) = (name.replace('`', ""), String::new());
        } else if let Some(name) = line.strip_prefix("### ") {
            prefix = name.replace('`', "") + ".";
        } else if let Some((names, content)) = line.strip_prefix("| `").and_then(|row| row.split_once(" | "))
        {
            let fields: &mut BTreeMap<String, bool> = files.entry(file.clone()).or_default();
            let names = names.split(", ").map(|name| name.replace('`', ""));
            let is_below = content.contains("see below");
            fields.extend(
                names
                    .filter(|_| !is_below)
                    .map(|name| (prefix.clone() + &name, content.starts_with("Optional"))),
            );
        }
    }
    // Tables before the first file describe no fields.
    files.remove("");
    files
}

/// The paths of all values below `value`, and whether each is null or an empty list.
fn paths(path: &str, value: &Value, out: &mut BTreeMap<String, bool>) {
    match value {
        Value::Object(fields) => {
            let dot = if path.is_empty() { "" } else { "." };
            fields.iter().for_each(|(name, value)| paths(&format!("{path}{dot}{name}"), value, out));
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                paths(&format!("{path}[]"), item, out);
            }
        }
        _ => {
            let null = out.entry(path.into()).or_insert(true);
            *null &= value.is_null() || value.is_array();
        }
    }
}

fn found(dir: &Path) -> BTreeMap<String, BTreeMap<String, bool>> {
    let text = |name: &str| fs::read_to_string(dir.join("target/matrix/latest").join(name)).expect(name);
    let of = |lines: &mut dyn Iterator<Item = &str>| {
        let mut out = BTreeMap::new();
        lines.for_each(|line| paths("", &serde_json::from_str(line).expect("JSON"), &mut out));
        out
    };
    let csv = text("summary.csv");
    let columns = csv.lines().next().expect("a header").split(',').map(|name| (name.into(), false)).collect();
    [
        ("run.json", of(&mut [text("run.json").as_str()].into_iter())),
        ("results.jsonl", of(&mut text("results.jsonl").lines())),
        ("summary.json", of(&mut [text("summary.json").as_str()].into_iter())),
        ("summary.csv", columns),
    ]
    .map(|(name, fields)| (name.to_owned(), fields))
    .into()
}

/// Whether `path` is `field` or below it.
fn is_below(path: &str, field: &str) -> bool {
    path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[test]
#[cfg_attr(windows, ignore = "`latest` is a file there")]
fn every_field_is_documented_and_exists() {
    let dir = small_run();
    let (documented, found) = (documented(&doc()), found(dir.path()));
    assert_eq!(documented.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for (file, fields) in &documented {
        for path in found[file].keys() {
            // `null` in place of an object: its fields are documented.
            let known = fields
                .keys()
                .any(|field| is_below(path, field) || (found[file][path] && is_below(field, path)));
            wrong.extend((!known).then(|| format!("{file}: {path} is not documented")));
        }
        for (field, optional) in fields {
            let exists = found[file]
                .iter()
                .any(|(path, null)| is_below(path, field) || (*null && is_below(field, path)));
            wrong.extend((!exists && !optional).then(|| format!("{file}: {field} does not exist")));
        }
    }
    assert!(wrong.is_empty(), "docs/results.md:\n{}", wrong.join("\n"));
    let run = fs::read_to_string(dir.path().join("target/matrix/latest/run.json")).expect("reads");
    let run: Value = serde_json::from_str(&run).expect("JSON");
    assert!(doc().contains(&format!("The schema version is {},", run["schema"])), "{run}");
}

#[test]
#[cfg_attr(windows, ignore = "`latest` is a file there")]
fn example_runs() {
    let has_pandas = Command::new("python3").args(["-c", "import pandas"]).output();
    if !has_pandas.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no python3 with pandas");
        return;
    }
    let doc = doc();
    let example =
        doc.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    assert_eq!(example.lines().count(), 5);
    let dir = small_run();
    let run = Command::new("python3").current_dir(dir.path()).args(["-c", example]).output().expect("starts");
    let out = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && out.contains("tsm1"), "{out}{}", String::from_utf8_lossy(&run.stderr));
}
