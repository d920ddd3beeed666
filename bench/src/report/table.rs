//! The table for the terminal.

use std::fmt::Write as _;

use super::summary::{CellSummary, GroupSummary, Summary};
use crate::stats::Verdict;

pub(super) fn text(summary: &Summary) -> String {
    let width = summary.rows().map(|(_, row)| row.name.len()).max().unwrap_or(0).max("reference".len() + 16);
    let mut out = String::new();
    for group in &summary.groups {
        write_group(&mut out, summary, group, width);
    }
    let blocks = summary.blocks;
    let _ = write!(
        out,
        "\n{blocks} blocks. Ratio: speed over the reference's within each block, its median and 95 % interval. Noise: \
         how far the reference,\nrun twice in every block, departs from itself; only what lies beyond it is called \
         faster or slower. B/value: on disk after\na clean close, the log for ingest and recover, the files for \
         snapshot and scan.\n"
    );
    if let Some(advice) = summary.advice() {
        let _ = writeln!(out, "\n{advice}");
    }
    out
}

fn write_group(out: &mut String, summary: &Summary, group: &GroupSummary, width: usize) {
    let noise = (group.floor - 1.0) * 100.0;
    let _ = writeln!(out, "\n{}   (noise {noise:.0} %)", group.title);
    if let Some(lines) = summary.lines_of(group) {
        let _ = writeln!(out, "  {lines}");
    }
    let _ = writeln!(
        out,
        "  {:width$} {:>10} {:>10} {:>9} {:>8} {:>7}  {:15} verdict",
        "parts", "M values/s", "CPU s/M", "B/value", "RSS MiB", "ratio", "interval"
    );
    for (at, row) in group.rows.iter().enumerate() {
        let _ = writeln!(out, "  {}", line(row, at == 0, width));
    }
}

fn line(row: &CellSummary, is_reference: bool, width: usize) -> String {
    if let Some(error) = &row.error {
        return format!("{:width$} failed: {}", row.name, error.lines().next().unwrap_or_default());
    }
    let number = |value: Option<f64>, digits| value.map_or_else(|| "-".into(), |v| format!("{v:.digits$}"));
    let (ratio, interval) = row.ratio.map_or_else(
        || ("-".into(), "-".into()),
        |r| (format!("{:.2}", r.mid), format!("{:.2} to {:.2}", r.low, r.high)),
    );
    let verdict = if is_reference { "reference" } else { row.verdict.map_or("-", Verdict::name) };
    let interval = if is_reference { String::new() } else { interval };
    let change = row.change.map_or_else(String::new, |c| format!(", {:.2} times the baseline", c.mid));
    format!(
        "{:width$} {:>10} {:>10} {:>9} {:>8} {ratio:>7}  {interval:15} {verdict}{change}",
        row.name,
        number(row.mvalues_per_s.map(|speed| speed.mid), 3),
        number(row.cpu_s_per_mvalues, 3),
        number(row.bytes_per_value, 3),
        number(row.peak_rss_mib, 0),
    )
}
