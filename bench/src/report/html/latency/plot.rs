//! Latency against percentile, a line for each cell.

use std::fmt::Write as _;

use super::super::super::summary::LatencySummary;
use super::super::axis::{LogAxis, duration};
use super::super::text::{escape, seconds};
use super::super::{CellSummary, GroupSummary};

/// A cell with its group and its latencies.
pub(super) type Entry<'a> = (&'a GroupSummary, &'a CellSummary, &'a LatencySummary);

/// Size of a plot, and its borders, in pixels.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 388.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 250.0;

/// Places on the axis of percentiles: a step to the right has a tenth of the calls above it. The last is the longest latency.
const PLACES: [(f64, &str); 6] =
    [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"), (1.0, "longest")];

/// Colours and shapes. Further cells begin again, and the table tells them apart.
const STYLES: usize = 6;

pub(super) fn write(out: &mut String, title: &str, entries: &[Entry<'_>]) {
    let latencies = entries.iter().flat_map(|(_, _, latency)| {
        let ends = latency.percentiles().flat_map(|(_, interval)| [interval.low, interval.high]);
        ends.chain([latency.max_us]).map(|us| us / 1e6)
    });
    let axis = LogAxis::around(latencies);
    let summary: Vec<String> = entries
        .iter()
        .map(|(_, row, latency)| {
            let p99 = latency.p99_us.map_or_else(String::new, |p99| {
                format!("99 % of its writes take at most {}, and ", seconds(p99.mid / 1e6))
            });
            format!("{}: {p99}the longest takes {}.", row.name, seconds(latency.max_us / 1e6))
        })
        .collect();
    let _ = write!(
        out,
        "<figure>\n<svg class=\"percentiles\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}. {}\">",
        escape(title),
        escape(&summary.join(" "))
    );
    write_axes(out, axis);
    for (at, (_, row, latency)) in entries.iter().enumerate() {
        let points = latency.percentiles().map(|(share, i)| (share, i.low, i.mid, i.high));
        let longest = (1.0, latency.max_us, latency.max_us, latency.max_us);
        let points: Vec<_> = points.chain([longest]).collect();
        let _ = write!(out, "<g class=\"line l{}\"><title>{}</title>", at % STYLES, escape(&row.name));
        let path = points.iter().enumerate().map(|(nth, (share, _, mid, _))| {
            let step = if nth == 0 { "M" } else { "L" };
            format!("{step}{:.1} {:.1}", x(*share), y(axis, *mid))
        });
        let _ = write!(out, "<path d=\"{}\"/>", path.collect::<String>());
        for (share, low, mid, high) in &points {
            let x = x(*share);
            if low < high {
                let (low, high) = (y(axis, *low), y(axis, *high));
                let _ = write!(out, "<path class=\"ends\" d=\"M{x:.1} {low:.1}V{high:.1}\"/>");
            }
            let _ = write!(out, "<use href=\"#l-{}\" x=\"{x:.1}\" y=\"{:.1}\"/>", at % STYLES, y(axis, *mid));
        }
        *out += "</g>";
    }
    *out += "</svg>\n<figcaption class=\"unseen\">Latency against percentile</figcaption>\n</figure>\n";
}

/// The line of a cell beside its name.
pub(super) fn swatch(at: usize) -> String {
    let style = at % STYLES;
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 26 12\" aria-hidden=\"true\"><g class=\"line l{style}\"><path d=\"M0 6H26\"/>\
         <use href=\"#l-{style}\" x=\"13\" y=\"6\"/></g></svg>"
    )
}

fn x(share: f64) -> f64 {
    // 50 % is 0.3 tenfold steps from the left, and the longest latency stands one step behind 99.99 %.
    let steps = if share < 1.0 { -(1.0 - share).log10() } else { 5.0 };
    let first = -(0.5f64).log10();
    LEFT + 14.0 + (steps - first) / (5.0 - first) * (RIGHT - LEFT - 34.0)
}

fn y(axis: LogAxis, us: f64) -> f64 {
    BOTTOM - axis.share(us / 1e6) * (BOTTOM - TOP)
}

fn write_axes(out: &mut String, axis: LogAxis) {
    *out += "<g class=\"axes\">";
    for (share, name) in PLACES {
        let at = x(share);
        let _ = write!(
            out,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
            BOTTOM + 15.0
        );
    }
    for tick in axis.ticks(7) {
        let at = y(axis, tick * 1e6);
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            duration(tick)
        );
    }
    let _ = write!(
        out,
        "</g><text x=\"{}\" y=\"{}\" text-anchor=\"middle\">share of writes that are not slower</text>",
        f64::midpoint(LEFT, RIGHT),
        HEIGHT - 6.0,
    );
}
