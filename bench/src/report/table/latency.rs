//! The latencies of a group on the terminal.

use std::fmt::Write as _;

use super::super::html::text::seconds;
use super::super::summary::{CellSummary, GroupSummary};
use crate::stats::Interval;

/// Explains the tables.
pub(super) const LEGEND: &str = "\
Latency: from the intended start of a write to its acknowledgement, so a stall counts for every write that waits. A figure in
brackets is the upper end of a 95 % interval. Percentiles with too few slower writes are left out.
";

pub(super) fn write_group(out: &mut String, group: &GroupSummary, width: usize) {
    let _ = writeln!(
        out,
        "  {:width$} {:>19} {:>19} {:>19} {:>9} {:>11} {:>9} {:>11}",
        "parts", "p50", "p99", "p99.9", "max", "points/s", "snapshots", "compactions"
    );
    for row in &group.rows {
        let _ = writeln!(out, "  {}", line(row, width));
    }
}

fn line(row: &CellSummary, width: usize) -> String {
    let Some(latency) = &row.latency else { return format!("{:width$} -", row.name) };
    let figure = |interval: Option<Interval>| {
        let text = |i: Interval| format!("{} ({})", seconds(i.mid / 1e6), seconds(i.high / 1e6));
        interval.map_or_else(|| "-".into(), text)
    };
    let behind = if latency.keeps_up { "" } else { "  does not keep up: latencies grow with time" };
    format!(
        "{:width$} {:>19} {:>19} {:>19} {:>9} {:>11.0} {:>9.1} {:>11.1}{behind}",
        row.name,
        figure(latency.p50_us),
        figure(latency.p99_us),
        figure(latency.p99_9_us),
        seconds(latency.max_us / 1e6),
        latency.achieved_per_s,
        latency.snapshots,
        latency.compactions,
    )
}
