//! The end of the page: how to read it, the environment, and the data as files.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::{csv, json};
use super::text::{download, escape};
use super::{Sample, Summary};

/// What the page shows of `run.json`: a title and the places of its fields. Several fields are joined.
const ENVIRONMENT: [(&str, &[&str]); 15] = [
    ("Repeat with", &["/command"]),
    ("Date", &["/date"]),
    ("Commit", &["/commit"]),
    ("CPU", &["/cpu"]),
    ("Cores", &["/cores"]),
    ("Memory, MiB", &["/memory_mib"]),
    ("Kernel", &["/kernel"]),
    ("File system", &["/file_system"]),
    ("fdatasync of 4 KiB appended, median and p99 in µs", &["/disk/append/p50_us", "/disk/append/p99_us"]),
    (
        "fdatasync of 4 KiB in place, median and p99 in µs",
        &["/disk/overwrite/p50_us", "/disk/overwrite/p99_us"],
    ),
    ("Load before and after", &["/load_before", "/load_after"]),
    ("rustc", &["/rustc"]),
    ("Flags", &["/flags"]),
    ("Seed", &["/seed"]),
    ("Left out, because the time was short", &["/left_out"]),
];

pub(super) fn all(summary: &Summary, run: &Value, samples: &[Sample]) -> String {
    let mut out = String::from(include_str!("how_to_read.html"));
    write_environment(&mut out, summary, run);
    let lines = samples.iter().map(|sample| serde_json::to_string(sample).expect("names as keys") + "\n");
    let _ = write!(
        out,
        "<section aria-labelledby=\"data\">\n<h2 id=\"data\">Data</h2>\n<p>Every figure of this page, and every pass \
         that was timed. The files are part of this page.</p>\n<ul>\n<li>{}</li>\n<li>{}</li>\n<li>{}</li>\n\
         <li>{}</li>\n</ul>\n</section>\n",
        download("summary.json", "application/json", &json::text(summary)),
        download("summary.csv", "text/csv", &csv::text(summary)),
        download("results.jsonl", "application/jsonl", &lines.collect::<String>()),
        download("run.json", "application/json", &json::text(run)),
    );
    out
}

fn write_environment(out: &mut String, summary: &Summary, run: &Value) {
    *out += "<section aria-labelledby=\"environment\">\n<h2 id=\"environment\">Environment</h2>\n<dl class=\"about\">\n";
    for (title, places) in ENVIRONMENT {
        let values: Vec<String> =
            places.iter().filter_map(|place| run.pointer(place)).filter_map(text).collect();
        if !values.is_empty() {
            let _ = writeln!(out, "<dt>{title}</dt><dd>{}</dd>", escape(&values.join(", ")));
        }
    }
    for dataset in &summary.about.datasets {
        let _ = writeln!(out, "<dt>Data</dt><dd>{}</dd>", escape(&dataset.to_string()));
    }
    *out += "</dl>\n</section>\n";
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_f64() => number.as_f64().map(|number| format!("{number:.1}")),
        Value::Array(all) if all.is_empty() => None,
        Value::Array(all) => Some(all.iter().filter_map(text).collect::<Vec<_>>().join("; ")),
        other => Some(other.to_string()),
    }
}
