//! `report.html`: one file that works from disk, on screens and on paper.
//!
//! Rust writes every number, table and plot, so the page is complete without scripts. `page.js` adds sorting, filters and the
//! dialog of one cell.

mod about;
mod axis;
#[cfg(test)]
mod browser;
mod go_lines;
mod headline;
mod interval;
mod latency;
mod overview;
mod pareto;
mod parts;
mod passes;
mod sizes;
mod stores;
mod table;
#[cfg(test)]
mod tests;
pub(super) mod text;

use std::fmt::Write as _;

use serde_json::Value;

use super::summary::{CellSummary, GroupSummary, Summary};
use crate::matrix::sample::Sample;
use crate::stats::Verdict;
use text::escape;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// Sections, each with its name in the navigation.
const SECTIONS: [(&str, &str); 8] = [
    ("results", "Results"),
    ("latency", "Latency"),
    ("parts", "Parts"),
    ("pareto", "Encoders"),
    ("passes", "Every pass"),
    ("how", "How to read this page"),
    ("environment", "Environment"),
    ("data", "Data"),
];

/// Returns the page. `run` is the content of `run.json`, `samples` are all runs of all cells.
pub(super) fn page(summary: &Summary, run: &Value, samples: &[Sample]) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    let _ = write!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Tsmith: the matrix, {}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the results</a>\n{}<header>\n\
         <h1>Tsmith: the matrix</h1>\n",
        escape(&summary.about.commit),
        interval::MARKERS
    );
    headline::write(&mut out, summary);
    let (main, end) = (main(summary, samples), about::all(summary, run, samples));
    write_navigation(&mut out, &[&main, &end]);
    let _ = write!(
        out,
        "</header>\n<main id=\"main\">\n{main}</main>\n<footer>\n{end}</footer>\n<dialog aria-label=\"One cell\"><form method=\"dialog\">\
         <button>Close</button></form><div></div></dialog>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    );
    out
}

/// Links to the sections that the page has.
fn write_navigation(out: &mut String, parts: &[&str]) {
    *out += "<nav aria-label=\"Sections\">";
    for (id, name) in SECTIONS {
        if parts.iter().any(|part| part.contains(&format!("id=\"{id}\""))) {
            let _ = write!(out, "<a href=\"#{id}\">{name}</a> ");
        }
    }
    *out += "</nav>\n";
}

/// The results.
fn main(summary: &Summary, samples: &[Sample]) -> String {
    let mut out = String::new();
    overview::write(&mut out, summary);
    sizes::write(&mut out, summary);
    write_controls(&mut out, summary);
    if compared(summary).next().is_some() {
        out += "<section id=\"results\" aria-label=\"Results\">\n";
        table::write(&mut out, summary);
        out += "</section>\n";
    }
    latency::write(&mut out, summary);
    parts::write(&mut out, summary);
    stores::write(&mut out, summary);
    go_lines::write(&mut out, summary);
    pareto::write(&mut out, summary);
    passes::write(&mut out, summary, samples);
    out
}

/// The form of filters. The script shows it.
fn write_controls(out: &mut String, summary: &Summary) {
    *out += "<form id=\"controls\" class=\"controls\" hidden>\n<label>Search <input type=\"search\" name=\"q\" \
             placeholder=\"zstd, file …\" autocomplete=\"off\"></label>\n";
    let groups = || compared(summary).map(|group| &group.group);
    select(out, "workload", "Workload", "all", groups().map(|group| group.workload.name()));
    select(out, "data", "Data", "all", groups().map(|group| group.dataset.as_str()));
    let kinds = groups().map(|group| kept(group.durable));
    select(out, "kept", "Durability", "all", kinds);
    let rows = compared(summary).flat_map(|group| group.rows.iter().map(move |row| (group, row)));
    let verdicts = rows.filter(|(group, row)| !is_reference(group, row)).map(|(_, row)| word(row));
    select(out, "verdict", "Verdict", "all", verdicts);
    select(out, "sort", "Sort by", "speed", table::sort_keys(summary));
    *out += "<button type=\"button\" id=\"reset\">Reset</button>\n<output aria-live=\"polite\"></output>\n</form>\n";
}

/// A choice among the different `options`, and `first`, which stands for no choice.
fn select<'a>(
    out: &mut String,
    name: &str,
    label: &str,
    first: &str,
    options: impl Iterator<Item = &'a str>,
) {
    let mut seen = Vec::new();
    for option in options {
        if !seen.contains(&option) {
            seen.push(option);
        }
    }
    let _ = write!(out, "<label>{label} <select name=\"{name}\"><option value=\"\">{first}</option>");
    for option in seen {
        let _ = write!(out, "<option>{}</option>", escape(option));
    }
    *out += "</select></label>\n";
}

/// Groups whose cells are compared with a reference.
fn compared(summary: &Summary) -> impl Iterator<Item = &GroupSummary> {
    summary.groups.iter().filter(|group| group.group.workload.is_compared())
}

fn is_reference(group: &GroupSummary, row: &CellSummary) -> bool {
    row.spec == group.group.cells[0]
}

/// What happens to acknowledged writes of the group.
fn kept(durable: bool) -> &'static str {
    if durable { "durable" } else { "not durable" }
}

/// The verdict as a CSS class and a value of the filter.
fn class(row: &CellSummary) -> &'static str {
    match row.verdict {
        _ if row.error.is_some() => "failed",
        Some(Verdict::Faster) => "faster",
        Some(Verdict::Slower) => "slower",
        Some(Verdict::Same) => "same",
        Some(Verdict::TooClose) | None => "open",
    }
}

/// The verdict in words.
fn word(row: &CellSummary) -> &'static str {
    match class(row) {
        "open" => "too close to call",
        other => other,
    }
}

/// Identifies a cell in the page: its group, and its index in the plan.
fn cell_id(summary: &Summary, group: &GroupSummary, row: &CellSummary) -> Option<(usize, usize)> {
    let at = summary.groups.iter().position(|other| std::ptr::eq(other, group))?;
    let cell = group.group.cells.iter().position(|spec| *spec == row.spec)?;
    Some((at, cell))
}
