//! The workload `latency`: a plot and a table for each dataset and rate. The table is also the legend of the plot.

mod plot;
mod stalls;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use super::super::summary::{DatasetLines, LatencySummary};
use super::text::{escape, seconds, seconds_range, short, without_zeros};
use super::{CellSummary, GroupSummary, Summary, cell_id, table};
use crate::matrix::spec::grouped;
use crate::stats::Interval;
use plot::Entry;
pub(super) use stalls::write_cell;

/// A percentile in the table.
type Column = (&'static str, fn(&LatencySummary) -> Option<Interval>);

const COLUMNS: [Column; 4] = [
    ("median", |latency| latency.p50_us),
    ("99 %", |latency| latency.p99_us),
    ("99.9 %", |latency| latency.p99_9_us),
    ("99.99 %", |latency| latency.p99_99_us),
];

pub(super) fn write(out: &mut String, summary: &Summary) {
    let groups: Vec<&GroupSummary> =
        summary.groups.iter().filter(|group| group.group.pace.is_some()).collect();
    let Some(first) = groups.first() else { return };
    let seconds = first.group.pace.map_or(0.0, |pace| pace.milliseconds as f64 / 1e3);
    let _ = write!(
        out,
        "<section aria-labelledby=\"latency\">\n<h2 id=\"latency\">Latency <span class=\"dim\">write at a fixed rate</span></h2>\n\
         <p>Writes are to begin at a fixed rate, whatever the engine does meanwhile. A latency counts from the intended \
         start to the acknowledgement, so a stall counts for every write that waits. Each process measures for {} s, with \
         snapshots and compactions in the background. Intervals cover 95 %: the order of all latencies and, from three \
         blocks, the spread between them. A name leads to the latency over time.</p>\n",
        without_zeros(&short(seconds))
    );
    let mut done: Vec<String> = Vec::new();
    let mut dataset = "";
    for group in &groups {
        if dataset != group.group.dataset {
            dataset = &group.group.dataset;
            let lines = summary.lines_of(group).map_or_else(String::new, DatasetLines::extent);
            let _ =
                writeln!(out, "<h3>{} <span class=\"dim\">{}</span></h3>", escape(dataset), escape(&lines));
        }
        let title = panel_title(group);
        let key = format!("{dataset} {title}");
        if !done.contains(&key) {
            let members: Vec<&GroupSummary> = groups
                .iter()
                .copied()
                .filter(|other| other.group.dataset == dataset && panel_title(other) == title)
                .collect();
            write_panel(out, summary, &title, &members);
            done.push(key);
        }
    }
    *out += "</section>\n";
}

/// What the cells of a panel have in common, besides the dataset.
fn panel_title(group: &GroupSummary) -> String {
    let group = &group.group;
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    format!(
        "{} points/s in calls of {} point{}, {} thread{}",
        grouped(group.pace.map_or(0, |pace| pace.points_per_s)),
        grouped(group.batch),
        plural(group.batch),
        group.threads,
        plural(group.threads),
    )
}

/// Durable cells and others are in one panel: the price of durability is what a reader looks for.
fn write_panel(out: &mut String, summary: &Summary, title: &str, groups: &[&GroupSummary]) {
    let rows = groups.iter().flat_map(|group| group.rows.iter().map(move |row| (*group, row)));
    let all: Vec<(&GroupSummary, &CellSummary)> = rows.collect();
    let entries: Vec<Entry<'_>> =
        all.iter().filter_map(|(group, row)| Some((*group, *row, row.latency.as_ref()?))).collect();
    let _ = writeln!(out, "<h4>{0}</h4>\n<div class=\"panel\">", escape(title));
    if !entries.is_empty() {
        plot::write(out, title, &entries);
    }
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .filter(|(_, of)| entries.iter().any(|(_, _, latency)| of(latency).is_some()))
        .collect();
    let _ = write!(
        out,
        "<table role=\"table\" class=\"latencies\">\n<caption class=\"unseen\">{}</caption>\n<thead role=\"rowgroup\"><tr role=\"row\">\
         <th role=\"columnheader\" scope=\"col\" class=\"parts\">parts</th>",
        escape(title)
    );
    let others = ["longest", "points/s", "snapshots", "compactions"];
    for name in columns.iter().map(|(name, _)| *name).chain(others) {
        let _ = write!(out, "<th role=\"columnheader\" scope=\"col\" class=\"number\">{name}</th>");
    }
    *out += "</tr></thead>\n<tbody role=\"rowgroup\">\n";
    let mut drawn = 0;
    for (group, row) in all {
        let name = escape(&row.name);
        let name = cell_id(summary, group, row)
            .map_or(name.clone(), |(group, cell)| format!("<a href=\"#cell-{group}-{cell}\">{name}</a>"));
        let (swatch, cells) = match &row.latency {
            Some(latency) => {
                drawn += 1;
                (plot::swatch(drawn - 1), figures(group, latency, &columns))
            }
            None => (String::new(), failure(row, columns.len() + others.len())),
        };
        let _ = writeln!(
            out,
            "<tr role=\"row\"><th role=\"rowheader\" scope=\"row\">{swatch}{name}</th>{cells}</tr>"
        );
    }
    *out += "</tbody>\n</table>\n</div>\n";
}

fn figures(group: &GroupSummary, latency: &LatencySummary, columns: &[&Column]) -> String {
    let mut out = String::new();
    for (name, of) in columns {
        let text = of(latency).map_or_else(
            || "–".into(),
            |Interval { low, mid, high }| {
                format!("{}<small>{}</small>", seconds(mid / 1e6), seconds_range(low / 1e6, high / 1e6))
            },
        );
        out += &cell(name, &text);
    }
    out += &cell("longest", &seconds(latency.max_us / 1e6));
    let achieved = grouped(latency.achieved_per_s.round() as usize);
    let rate = if latency.keeps_up {
        achieved
    } else {
        let asked = grouped(group.group.pace.map_or(0, |pace| pace.points_per_s));
        format!(
            "<b class=\"failed\"><span class=\"sign\" aria-hidden=\"true\">✕</span>{achieved}</b>\
             <small class=\"failed\">of {asked}: does not keep up</small>"
        )
    };
    out += &cell("points/s", &rate);
    out += &cell("snapshots", &table::count(latency.snapshots));
    out + &cell("compactions", &table::count(latency.compactions))
}

fn cell(name: &str, text: &str) -> String {
    format!("<td role=\"cell\" class=\"number\" data-title=\"{name}\">{text}</td>")
}

fn failure(row: &CellSummary, columns: usize) -> String {
    let error = row.error.as_deref().unwrap_or("not measured");
    format!("<td role=\"cell\" class=\"why\" colspan=\"{columns}\">{}</td>", escape(error))
}
