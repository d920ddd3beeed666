//! Every pass of every cell: a plot over time, in which a stall shows as an outlier, and the numbers.

use std::fmt::Write as _;

use super::axis::{LogAxis, duration};
use super::text::{escape, seconds, short};
use super::{
    CellSummary, GroupSummary, Sample, Summary, cell_id, compared, is_reference, latency, table, word,
};
use crate::workload::Outcome;

/// Explains the plots of passes.
const INTRODUCTION: &str = "<p>A dot is one timed pass; a higher dot took \
    longer. The line is the figure of its process: the lower quartile of its passes. If the work waits for the \
    disk, it is the lower quartile of the time without waits, and the mean of the waits. Grey lines are the two runs of the reference in the same block.</p>\n";

/// Most labels below a plot.
const LABELS_MAX: usize = 12;

/// One process of a cell.
struct Run<'a> {
    label: String,
    outcome: &'a Outcome,
    /// The figure of this run.
    seconds: f64,
    /// The figures of the reference in the same block.
    reference: Vec<f64>,
}

pub(super) fn write(out: &mut String, summary: &Summary, samples: &[Sample]) {
    *out += "<section id=\"passes\" aria-labelledby=\"passes-title\">\n<h2 id=\"passes-title\">Every pass \
             <span class=\"dim\">one plot for each cell</span></h2>\n";
    if compared(summary).next().is_some() {
        *out += INTRODUCTION;
    }
    for group in &summary.groups {
        let _ = writeln!(
            out,
            "<details><summary>{} <span class=\"dim\">{} cells</span></summary>",
            escape(&group.title),
            group.rows.len()
        );
        for row in &group.rows {
            if group.group.pace.is_some() {
                latency::write_cell(out, summary, group, row, samples);
                continue;
            }
            write_cell(out, summary, group, row, samples);
        }
        *out += "</details>\n";
    }
    *out += "</section>\n";
}

fn write_cell(
    out: &mut String,
    summary: &Summary,
    group: &GroupSummary,
    row: &CellSummary,
    samples: &[Sample],
) {
    let Some((at, cell)) = cell_id(summary, group, row) else { return };
    let runs = runs(group, at, cell, samples);
    let verdict = if is_reference(group, row) { "reference" } else { word(row) };
    let _ = write!(
        out,
        "<figure id=\"cell-{at}-{cell}\" tabindex=\"-1\">\n<figcaption><b>{}</b> <span class=\"dim\">{} of {}: \
         {verdict}{}, {}</span></figcaption>\n",
        escape(&row.name),
        group.group.workload.name(),
        escape(table::title(group)),
        row.p_value.map_or_else(String::new, |p| format!(" (p = {})", p_value(p))),
        counts(&runs),
    );
    if let Some(error) = &row.error {
        let _ = writeln!(out, "<p>{}</p>", escape(error));
    }
    if !runs.is_empty() {
        write_plot(out, &runs);
        write_numbers(out, &runs);
    }
    *out += "</figure>\n";
}

/// The runs of a cell in the order of the blocks.
fn runs<'a>(group: &GroupSummary, at: usize, cell: usize, samples: &'a [Sample]) -> Vec<Run<'a>> {
    let figure = group.group.figure();
    let of_group = || samples.iter().filter(move |sample| sample.group == at);
    let mut runs = Vec::new();
    for sample in of_group().filter(|sample| sample.cell == cell) {
        let Some(outcome) = &sample.outcome else { continue };
        let same_block = of_group().filter(|other| other.block == sample.block && other.cell == 0);
        let again = if sample.again { " again" } else { "" };
        runs.push(Run {
            label: format!("{}{again}", sample.block + 1),
            outcome,
            seconds: outcome.seconds(figure),
            reference: same_block.filter_map(|other| Some(other.outcome.as_ref()?.seconds(figure))).collect(),
        });
    }
    runs
}

/// Dots are lines without length, so they stay round however the plot is stretched.
fn write_plot(out: &mut String, runs: &[Run<'_>]) {
    let times = runs.iter().flat_map(|run| {
        run.outcome.passes.iter().map(|pass| pass.seconds).chain(run.reference.iter().copied())
    });
    let axis = LogAxis::around(times);
    let y = |time: f64| (1.0 - axis.share(time)) * 100.0;
    let width = 100.0 / runs.len() as f64;
    let longest =
        runs.iter().flat_map(|run| &run.outcome.passes).map(|pass| pass.seconds).fold(0.0, f64::max);
    let _ = write!(
        out,
        "<svg class=\"passes\" role=\"img\" aria-label=\"Passes over time. The longest took {}.\">\
         <svg class=\"area\" viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\" height=\"150\">",
        seconds(longest)
    );
    for tick in axis.ticks(5) {
        let _ = write!(out, "<path class=\"grid\" d=\"M0 {:.1}H100\"/>", y(tick));
    }
    for (at, run) in runs.iter().enumerate() {
        let (left, right) = (at as f64 * width, (at + 1) as f64 * width);
        if at > 0 {
            let _ = write!(out, "<path class=\"grid\" d=\"M{left:.2} 0V100\"/>");
        }
        for time in &run.reference {
            let _ = write!(out, "<path class=\"reference\" d=\"M{left:.2} {:.1}H{right:.2}\"/>", y(*time));
        }
        let _ = write!(out, "<path class=\"figure\" d=\"M{left:.2} {:.1}H{right:.2}\"/>", y(run.seconds));
        let step = width / (run.outcome.passes.len() + 1) as f64;
        let dots = run
            .outcome
            .passes
            .iter()
            .zip(1..)
            .map(|(pass, nth)| format!("M{:.2} {:.1}h0", left + step * f64::from(nth), y(pass.seconds)));
        let _ = write!(out, "<path class=\"dots\" d=\"{}\"/>", dots.collect::<String>());
    }
    *out += "</svg>";
    for tick in axis.ticks(5) {
        let _ =
            write!(out, "<text x=\"3\" y=\"{:.1}\">{}</text>", y(tick).mul_add(1.5, -3.0), duration(tick));
    }
    for (at, run) in runs.iter().enumerate().step_by(runs.len().div_ceil(LABELS_MAX)) {
        let middle = (at as f64 + 0.5) * width;
        let _ = write!(out, "<text class=\"below\" x=\"{middle:.2}%\" y=\"166\">{}</text>", run.label);
    }
    *out += "</svg>\n";
}

fn write_numbers(out: &mut String, runs: &[Run<'_>]) {
    *out += "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"The numbers of the plot\"><table class=\"raw\">\n\
             <thead><tr><th scope=\"col\">block</th><th scope=\"col\">figure</th><th scope=\"col\">passes, ms</th>\
             <th scope=\"col\">CPU of a pass, ms</th><th scope=\"col\">peak MiB</th></tr></thead>\n<tbody>\n";
    for run in runs {
        let passes = &run.outcome.passes;
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            run.label,
            seconds(run.seconds),
            list(passes.iter().map(|pass| pass.seconds)),
            list(passes.iter().map(|pass| pass.cpu_seconds)),
            short(run.outcome.peak_rss_mib),
        );
    }
    *out += "</tbody></table></div>\n";
}

/// How many passes and processes.
fn counts(runs: &[Run<'_>]) -> String {
    let passes: usize = runs.iter().map(|run| run.outcome.passes.len()).sum();
    let processes = if runs.len() == 1 { "process" } else { "processes" };
    format!("{passes} passes in {} {processes}", runs.len())
}

/// A p-value as papers print it.
fn p_value(p: f64) -> String {
    if p < 0.001 { "below 0.001".into() } else { short(p) }
}

/// Durations in milliseconds.
fn list(seconds: impl Iterator<Item = f64>) -> String {
    seconds.map(|seconds| short(seconds * 1e3)).collect::<Vec<_>>().join(" ")
}
