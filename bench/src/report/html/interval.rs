//! The interval of a ratio on a logarithmic axis, as one row of a table.

use std::fmt::Write as _;

use super::axis::{LogAxis, label};
use crate::stats::{Interval, SAME_MAX};

/// A shape for each verdict, and for each line of a plot, so that colour is never the only difference.
pub(super) const MARKERS: &str = "<svg width=\"0\" height=\"0\" class=\"defs\" aria-hidden=\"true\"><defs>\
    <path id=\"m-faster\" d=\"M-4.5 -5.5L6 0L-4.5 5.5Z\"/><path id=\"m-slower\" d=\"M4.5 -5.5L-6 0L4.5 5.5Z\"/>\
    <path id=\"m-same\" d=\"M-4 -4H4V4H-4Z\"/><circle id=\"m-open\" r=\"4.5\"/>\
    <path id=\"m-reference\" d=\"M0 -6L5 0L0 6L-5 0Z\"/>\
    <circle id=\"l-0\" r=\"3.6\"/><path id=\"l-1\" d=\"M-3.4 -3.4H3.4V3.4H-3.4Z\"/><path id=\"l-2\" d=\"M0 -4.4L4.2 3.2H-4.2Z\"/>\
    <path id=\"l-3\" d=\"M0 -4.8L4 0L0 4.8L-4 0Z\"/><path id=\"l-4\" d=\"M0 4.4L4.2 -3.2H-4.2Z\"/>\
    <path id=\"l-5\" d=\"M-4.6 -1.4H-1.4V-4.6H1.4V-1.4H4.6V1.4H1.4V4.6H-1.4V1.4H-4.6Z\"/></defs></svg>\n";

/// Marks on the axis. More do not fit beside each other.
const TICKS_MAX: usize = 4;

/// The axis of a table: from half to twice the reference, or more.
pub(super) fn axis(intervals: impl Iterator<Item = Interval>) -> LogAxis {
    // An interval without end would squash all others.
    let ends = intervals.flat_map(|i| [i.low.max(i.mid / 4.0), i.mid, i.high.min(i.mid * 4.0)]);
    let LogAxis { low, high } = LogAxis::containing(0.55, 1.8, ends);
    LogAxis { low: low * 0.9, high: high * 1.1 }
}

/// The labels of the axis.
pub(super) fn scale(axis: &LogAxis) -> String {
    let mut out = String::from("<svg class=\"scale\" aria-hidden=\"true\">");
    for tick in axis.powers_of_two(TICKS_MAX) {
        let _ = write!(out, "<text x=\"{}\" y=\"12\">{}×</text>", axis.percent(tick), fraction(tick));
    }
    out + "</svg>"
}

/// The middle of the interval as the shape of `class`, and a line from its low to its high end.
pub(super) fn row(axis: &LogAxis, interval: Interval, class: &str) -> String {
    let mut out = String::from("<svg class=\"interval\" aria-hidden=\"true\">");
    let x = |ratio: f64| axis.percent(ratio);
    let width = (axis.share(SAME_MAX) - axis.share(1.0 / SAME_MAX)) * 100.0;
    let _ = write!(out, "<rect x=\"{}\" width=\"{width:.2}%\" height=\"100%\"/>", x(1.0 / SAME_MAX));
    for tick in axis.powers_of_two(TICKS_MAX) {
        let one = if tick == 1.0 { " class=\"one\"" } else { "" };
        let _ = write!(out, "<line{one} x1=\"{0}\" x2=\"{0}\" y2=\"100%\"/>", x(tick));
    }
    let _ = write!(out, "<g class=\"{class}\">");
    if interval.low < interval.high {
        let (low, high) = (x(interval.low), x(interval.high));
        let _ = write!(out, "<line x1=\"{low}\" x2=\"{high}\" y1=\"50%\" y2=\"50%\"/>");
        // An end beyond the axis has no mark.
        for end in [interval.low, interval.high].into_iter().filter(|end| axis.contains(*end)).map(x) {
            let _ = write!(out, "<line x1=\"{end}\" x2=\"{end}\" y1=\"28%\" y2=\"72%\"/>");
        }
    }
    let _ = write!(out, "<use href=\"#m-{class}\" x=\"{}\" y=\"50%\"/></g></svg>", x(interval.mid));
    out
}

/// A power of two as a label.
fn fraction(power: f64) -> String {
    if power < 1.0 { format!("1/{}", label(1.0 / power)) } else { label(power) }
}
