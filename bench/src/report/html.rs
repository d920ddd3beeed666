//! `report.html`: a single file without scripts or external resources, for light and dark screens and for paper.

use std::fmt::Write as _;

use super::summary::{CellSummary, GroupSummary, Summary};
use crate::stats::{Interval, Verdict};

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1d2126; --dim: #667; --line: #d5d8dd; --paper: #fff; --bar: #7b8ea6;
  --faster: #1b7f4d; --slower: #b3402e; --band: #8883; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6ea; --dim: #9aa3ad; --line: #3a4048; --paper: #15181c;
  --bar: #6f86a3; --faster: #4cc38a; --slower: #f0806a; --band: #fff2; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 68rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; } p, dl { max-width: 50rem; }
.dim { color: var(--dim); font-weight: normal; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--dim); font-size: .85rem; } th:first-child, td:first-child { text-align: left; }
td:first-child { font-family: ui-monospace, monospace; font-size: .9rem; }
.faster { color: var(--faster); } .slower { color: var(--slower); } .undecided, .same { color: var(--dim); }
dt { font-weight: 600; float: left; clear: left; min-width: 7rem; } dd { margin: 0 0 .2rem 7.5rem; }
svg { display: block; } svg text { fill: var(--dim); font: 11px system-ui, sans-serif; }";

/// Width of a bar chart, and the height of its rows, in pixels.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 16.0;

pub(super) fn page(summary: &Summary) -> String {
    let mut out = String::new();
    let host = &summary.host;
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Tsmith: the matrix</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n\
         <h1>Tsmith: the matrix</h1>\n<dl>\n\
         <dt>machine</dt><dd>{}, {} cores, {} MiB, {}</dd>\n<dt>commit</dt><dd>{}</dd>\n\
         <dt>disk</dt><dd>{}: {}</dd>\n\
         <dt>blocks</dt><dd>{}</dd>\n<dt>command</dt><dd>{}</dd>\n</dl>\n",
        escape(&host.cpu),
        host.cores,
        host.memory_mib,
        escape(&host.kernel),
        escape(&host.commit),
        escape(&host.file_system),
        host.disk,
        summary.blocks,
        escape(&summary.about.command_line),
    );
    out += "<p>A block runs every cell once, in random order and in its own process. It runs the reference twice. The \
            ratio is the speed of a cell divided by the speed of the reference in the same block. The bar shows the \
            median over all blocks. The thin line shows its 95 % interval. The grey band is the noise floor: how far \
            the reference differs from itself. A cell is called faster or slower only if its whole interval lies \
            outside the band. Bytes per value are on disk after a clean close: in the log for ingest and recover, in \
            files for snapshot, compact and scan. Durable and non-durable cells are in different tables and are not compared.</p>\n";
    if let Some(advice) = summary.advice() {
        let _ = writeln!(out, "<p><strong>{advice}</strong></p>");
    }
    for group in &summary.groups {
        write_group(&mut out, summary, group);
    }
    out += "</body>\n</html>\n";
    out
}

fn write_group(out: &mut String, summary: &Summary, group: &GroupSummary) {
    let noise = (group.floor - 1.0) * 100.0;
    let lines = summary.lines_of(group).map_or_else(String::new, |lines| format!("; {lines}"));
    let _ = write!(
        out,
        "<h2>{} <span class=\"dim\">noise {noise:.0} %{}</span></h2>\n<div class=\"wide\"><table>\n<tr><th>parts</th>\
         <th>M values/s</th><th>CPU s per M</th><th>B/value</th><th>RSS MiB</th><th>ratio</th><th></th>\
         <th>verdict</th></tr>\n",
        escape(&group.title),
        escape(&lines)
    );
    let ends = group.rows.iter().filter_map(|row| row.ratio).map(|ratio| ratio.high.min(ratio.mid * 1.5));
    let scale = ends.fold(1.5, f64::max);
    for (at, row) in group.rows.iter().enumerate() {
        write_row(out, row, at == 0, group.floor, scale);
    }
    *out += "</table></div>\n";
}

fn write_row(out: &mut String, row: &CellSummary, is_reference: bool, floor: f64, scale: f64) {
    let name = escape(&row.name);
    if let Some(error) = &row.error {
        let _ = writeln!(
            out,
            "<tr><td>{name}</td><td colspan=\"7\" class=\"slower\">failed: {}</td></tr>",
            escape(error)
        );
        return;
    }
    let number = |value: Option<f64>, digits| value.map_or_else(|| "–".into(), |v| format!("{v:.digits$}"));
    let verdict = if is_reference { "reference" } else { row.verdict.map_or("–", Verdict::name) };
    let change = row.change.map_or_else(String::new, |c| format!(", {:.2} × baseline", c.mid));
    let _ = writeln!(
        out,
        "<tr><td>{name}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td class=\"{verdict}\">{verdict}{change}</td></tr>",
        number(row.mvalues_per_s.map(|speed| speed.mid), 3),
        number(row.cpu_s_per_mvalues, 3),
        number(row.bytes_per_value, 3),
        number(row.peak_rss_mib, 0),
        number(row.ratio.map(|ratio| ratio.mid), 2),
        row.ratio.map_or_else(String::new, |ratio| bar(ratio, verdict, floor, scale)),
    );
}

/// Draws a bar from 0 to the ratio, its interval, and the band of noise around 1.
fn bar(ratio: Interval, verdict: &str, floor: f64, scale: f64) -> String {
    let x = |ratio: f64| (ratio / scale).clamp(0.0, 1.0) * WIDTH;
    let colour = match verdict {
        "faster" => "var(--faster)",
        "slower" => "var(--slower)",
        _ => "var(--bar)",
    };
    let (band, band_width) = (x(1.0 / floor), x(floor) - x(1.0 / floor));
    let (low, high, one, middle) = (x(ratio.low), x(ratio.high), x(1.0), HEIGHT / 2.0);
    let title = format!("{:.2}, 95 % interval {:.2} to {:.2}", ratio.mid, ratio.low, ratio.high);
    format!(
        "<svg width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>\
         <rect x=\"{band:.1}\" y=\"0\" width=\"{band_width:.1}\" height=\"{HEIGHT}\" fill=\"var(--band)\"/>\
         <rect x=\"0\" y=\"3\" width=\"{:.1}\" height=\"{}\" rx=\"2\" fill=\"{colour}\"/>\
         <path d=\"M{low:.1} {middle}H{high:.1}M{low:.1} 4v8M{high:.1} 4v8\" stroke=\"var(--ink)\" fill=\"none\"/>\
         <path d=\"M{one:.1} 0v{HEIGHT}\" stroke=\"var(--dim)\" stroke-dasharray=\"2 2\"/></svg>",
        x(ratio.mid),
        HEIGHT - 6.0,
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
