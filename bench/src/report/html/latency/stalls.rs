//! The latency of one cell over time, with the snapshots and compactions that ran meanwhile.

use std::fmt::Write as _;

use super::super::super::summary::LatencySummary;
use super::super::axis::{LogAxis, duration};
use super::super::text::{escape, seconds};
use super::super::{CellSummary, GroupSummary, Sample, Summary, cell_id, table};
use crate::matrix::spec::grouped;
use crate::workload::{Latency, Pace, SLOT, Span};

/// Height of the plot, and of the line of each kind of background work below it, in pixels.
const PLOT: f64 = 130.0;
const LANE: f64 = 13.0;

/// The figure of a cell: a plot for each process, and the numbers.
pub(in crate::report::html) fn write_cell(
    out: &mut String,
    summary: &Summary,
    group: &GroupSummary,
    row: &CellSummary,
    samples: &[Sample],
) {
    let (Some((at, cell)), Some(pace)) = (cell_id(summary, group, row), group.group.pace) else { return };
    let _ = write!(
        out,
        "<figure id=\"cell-{at}-{cell}\" tabindex=\"-1\">\n<figcaption><b>{}</b> <span class=\"dim\">latency of {}</span>\
         </figcaption>\n",
        escape(&row.name),
        escape(table::title(group)),
    );
    if let Some(error) = &row.error {
        let _ = writeln!(out, "<p>{}</p>", escape(error));
    }
    let mine = samples.iter().filter(|sample| (sample.group, sample.cell) == (at, cell));
    let runs: Vec<(u32, &Latency)> =
        mine.filter_map(|sample| Some((sample.block, sample.outcome.as_ref()?.latency.as_ref()?))).collect();
    if !runs.is_empty() {
        *out += "<p class=\"dim\">The longest latency of the writes of each 10 ms. The lines below show \
                 <span class=\"work snapshot\">snapshots</span> and <span class=\"work compaction\">compactions</span>.</p>\n";
        let axis = LogAxis::around(runs.iter().flat_map(|(_, run)| latencies(run)));
        for (block, run) in &runs {
            write_plot(out, *block, run, pace, axis);
        }
        write_numbers(out, &runs, pace);
    }
    *out += "</figure>\n";
}

/// Seconds.
fn latencies(run: &Latency) -> impl Iterator<Item = f64> {
    run.slots_us.iter().flatten().map(|us| *us as f64 / 1e6)
}

fn write_plot(out: &mut String, block: u32, run: &Latency, pace: Pace, axis: LogAxis) {
    let length = pace.milliseconds as f64 / 1e3;
    let height = PLOT + 2.0 * LANE + 20.0;
    let _ = write!(
        out,
        "<p class=\"strip\"><b>Block {}.</b> {}</p>\n<svg class=\"stalls\" height=\"{height}\" role=\"img\" \
         aria-label=\"Latency over time in block {0}. {1}\">\
         <svg class=\"area\" viewBox=\"0 0 {} 100\" preserveAspectRatio=\"none\" height=\"{PLOT}\">",
        block + 1,
        longest(run),
        run.slots_us.len()
    );
    let y = |time: f64| (1.0 - axis.share(time)) * 100.0;
    let to_slots = run.slots_us.len() as f64 / length;
    for (work, spans) in [("snapshot", &run.snapshots), ("compaction", &run.compactions)] {
        for (begin, end) in spans {
            let _ = write!(
                out,
                "<rect class=\"work {work}\" x=\"{:.2}\" width=\"{:.2}\" height=\"100\"/>",
                begin * to_slots,
                (end - begin) * to_slots
            );
        }
    }
    for tick in axis.ticks(4) {
        let _ = write!(out, "<path class=\"grid\" d=\"M0 {:.1}H{}\"/>", y(tick), run.slots_us.len());
    }
    // A column for each slot.
    let mut path = String::from("M0 100");
    for (at, slot) in run.slots_us.iter().enumerate() {
        let top = slot.map_or(100.0, |us| y(us as f64 / 1e6));
        let _ = write!(path, "V{top:.1}H{}", at + 1);
    }
    let _ = write!(out, "<path class=\"columns\" d=\"{path}V100Z\"/></svg>");
    for (lane, (work, spans)) in
        [("snapshot", &run.snapshots), ("compaction", &run.compactions)].into_iter().enumerate()
    {
        write_lane(out, work, spans, length, PLOT + 3.0 + lane as f64 * LANE);
    }
    for tick in axis.ticks(4) {
        let top = (y(tick) * PLOT / 100.0 - 3.0).max(9.0);
        let _ = write!(out, "<text x=\"3\" y=\"{top:.1}\">{}</text>", duration(tick));
    }
    for (part, anchor) in ["start", "middle", "middle", "middle", "end"].into_iter().enumerate() {
        let share = part as f64 * 25.0;

        let time = length * share / 100.0;
        let _ = write!(
            out,
            "<text x=\"{share}%\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            height - 4.0,
            if part == 0 { "0".into() } else { duration(time) }
        );
    }
    *out += "</svg>\n";
}

/// The background work of one kind, as bars with their times as tooltips.
fn write_lane(out: &mut String, work: &str, spans: &[Span], length: f64, top: f64) {
    for (begin, end) in spans {
        let _ = write!(
            out,
            "<rect class=\"work bar {work}\" x=\"{:.2}%\" y=\"{top}\" width=\"{:.2}%\" height=\"{}\"><title>{work}: {} to {} \
             s</title></rect>",
            begin / length * 100.0,
            ((end - begin) / length * 100.0).max(0.15),
            LANE - 3.0,
            format_args!("{begin:.3}"),
            format_args!("{end:.3}"),
        );
    }
}

/// The longest latency in words, with its cause if something ran meanwhile.
fn longest(run: &Latency) -> String {
    let slots = run.slots_us.iter().enumerate().filter_map(|(at, slot)| Some(((*slot)?, at)));
    let Some((us, at)) = slots.max_by_key(|(us, at)| (*us, std::cmp::Reverse(*at))) else {
        return "No write.".into();
    };
    let (begin, latency) = (at as f64 * SLOT.as_secs_f64(), us as f64 / 1e6);
    let end = begin + SLOT.as_secs_f64() + latency;
    let ran = |spans: &[Span]| spans.iter().any(|span| span.0 < end && span.1 > begin);
    let cause = match (ran(&run.snapshots), ran(&run.compactions)) {
        (true, true) => ", while a snapshot and a compaction ran",
        (true, false) => ", while a snapshot ran",
        (false, true) => ", while a compaction ran",
        (false, false) => ", without work in the background",
    };
    format!("The longest write took {} after {begin:.2} s{cause}.", seconds(latency))
}

fn write_numbers(out: &mut String, runs: &[(u32, &Latency)], pace: Pace) {
    *out += "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"The numbers of the plots\"><table class=\"raw\">\n\
             <thead><tr><th scope=\"col\">block</th><th scope=\"col\">median</th><th scope=\"col\">99 %</th>\
             <th scope=\"col\">longest</th><th scope=\"col\">writes</th><th scope=\"col\">points/s</th>\
             <th scope=\"col\">snapshots</th><th scope=\"col\">compactions</th></tr></thead>\n<tbody>\n";
    for (block, run) in runs {
        let Some(own) = LatencySummary::new(pace, std::iter::once(*run)) else { continue };
        let figure = |interval: Option<crate::stats::Interval>| {
            interval.map_or_else(|| "–".into(), |interval| seconds(interval.mid / 1e6))
        };
        let unsent = if own.unsent > 0 { format!(" ({} never began)", own.unsent) } else { String::new() };
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}{unsent}</td><td>{}</td><td>{}</td>\
             <td>{}</td></tr>",
            block + 1,
            figure(own.p50_us),
            figure(own.p99_us),
            seconds(own.max_us / 1e6),
            grouped(own.calls as usize),
            grouped(own.achieved_per_s.round() as usize),
            run.snapshots.len(),
            run.compactions.len(),
        );
    }
    *out += "</tbody></table></div>\n";
}
