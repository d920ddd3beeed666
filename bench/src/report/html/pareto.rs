//! Bytes per value against speed, for every encoder and whole store on every dataset.

use std::fmt::Write as _;

use super::axis::{LogAxis, label};
use super::overview;
use super::text::{escape, per_second, short};
use super::{GroupSummary, Summary, class, is_reference};

/// Size of a plot, and its borders, in pixels.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 388.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 240.0;

/// Width of a letter and height of a line of a label.
const LETTER: f64 = 6.6;
const LINE: f64 = 13.0;

/// One encoder.
struct Point<'a> {
    name: &'a str,
    class: &'static str,
    bytes: f64,
    speed: f64,
    /// Whether no other encoder is both smaller and faster.
    best: bool,
}

pub(super) fn write(out: &mut String, summary: &Summary) {
    let mut datasets: Vec<&str> = summary.groups.iter().map(|group| group.group.dataset.as_str()).collect();
    datasets.dedup();
    let mut plots = String::new();
    for (at, dataset) in datasets.iter().enumerate().filter(|(at, name)| !datasets[..*at].contains(name)) {
        let of_dataset = summary.groups.iter().filter(|group| group.group.dataset == *dataset);
        let figures: String = of_dataset.filter_map(figure).collect();
        if !figures.is_empty() {
            let _ = write!(
                plots,
                "<h3 id=\"pareto-{at}\">{}</h3>\n<div class=\"figures\">\n{figures}</div>\n",
                escape(dataset)
            );
        }
    }
    if !plots.is_empty() {
        let _ = write!(
            out,
            "<section aria-labelledby=\"pareto\">\n<h2 id=\"pareto\">Encoders <span class=\"dim\">bytes per value \
             against speed</span></h2>\n<p>The best place is the upper left: few bytes, many values per second. The \
             line joins the encoders that no other encoder beats in both.</p>\n{plots}</section>\n"
        );
    }
}

/// The plot of a group, if it compares encoders.
fn figure(group: &GroupSummary) -> Option<String> {
    let points = points(group)?;
    let smallest = points.iter().min_by(|a, b| a.bytes.total_cmp(&b.bytes))?;
    let fastest = points.iter().max_by(|a, b| a.speed.total_cmp(&b.speed))?;
    let column = overview::column(group);
    let figure = format!(
        "Smallest: {}, {} bytes per value. Fastest in this run: {}, {}.",
        smallest.name,
        short(smallest.bytes),
        fastest.name,
        per_second(fastest.speed),
    );
    let mut out = format!(
        "<figure>\n<svg class=\"pareto\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}. {}\">",
        escape(&column),
        escape(&figure)
    );
    let x = LogAxis::around(points.iter().map(|point| point.bytes));
    let y = LogAxis::around(points.iter().map(|point| point.speed));
    let at = |point: &Point<'_>| place(x, y, point.bytes, point.speed);
    write_axes(&mut out, x, y);

    let mut best: Vec<&Point<'_>> = points.iter().filter(|point| point.best).collect();
    best.sort_by(|a, b| a.bytes.total_cmp(&b.bytes));
    let steps: String = best
        .iter()
        .enumerate()
        .map(|(step, point)| {
            let (x, y) = at(point);
            if step == 0 { format!("M{x:.1} {y:.1}") } else { format!("H{x:.1}V{y:.1}") }
        })
        .collect();
    let _ = write!(out, "<path class=\"frontier\" d=\"{steps}\"/>");

    let mut taken: Vec<Area> = points.iter().map(|point| Area::around(at(point))).collect();
    for point in &points {
        let (x, y) = at(point);
        let area = Area::of_label((x, y), point.name.len(), &taken);
        let weight = if point.best { " class=\"best\"" } else { "" };
        let _ = write!(
            out,
            "<g class=\"{class}\"><title>{name}: {} bytes per value, {}</title>\
             <use href=\"#m-{class}\" x=\"{x:.1}\" y=\"{y:.1}\"/></g>\
             <text{weight} x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
            short(point.bytes),
            per_second(point.speed),
            area.left,
            area.top + LINE - 3.0,
            class = point.class,
            name = escape(point.name),
        );
        taken.push(area);
    }
    let _ = write!(
        out,
        "</svg>\n<figcaption><b>{}</b>. {}</figcaption>\n</figure>\n",
        escape(&column),
        escape(&figure)
    );
    Some(out)
}

/// The reference, the cells that differ from it in the encoder only, and whole stores of other projects.
fn points(group: &GroupSummary) -> Option<Vec<Point<'_>>> {
    let reference = &group.group.cells[0];
    if !group.group.workload.varies("encoder") || !group.group.workload.is_compared() {
        return None;
    }
    let mut points: Vec<Point<'_>> = Vec::new();
    for row in &group.rows {
        let name = row.spec.store.as_ref().unwrap_or(&row.spec.encoder);
        let belongs = row.spec.store.is_some() || row.spec.with("encoder", &reference.encoder) == *reference;
        if row.error.is_none() && belongs {
            let class = if is_reference(group, row) { "reference" } else { class(row) };
            let (bytes, speed) = (row.bytes_per_value?, row.mvalues_per_s?.mid * 1e6);
            points.push(Point { name, class, bytes, speed, best: false });
        }
    }
    let figures: Vec<(f64, f64)> = points.iter().map(|point| (point.bytes, point.speed)).collect();
    for point in &mut points {
        let beaten = |other: &(f64, f64)| {
            other.0 <= point.bytes && other.1 >= point.speed && *other != (point.bytes, point.speed)
        };
        point.best = !figures.iter().any(beaten);
    }
    (points.len() > 1).then_some(points)
}

fn place(x: LogAxis, y: LogAxis, bytes: f64, speed: f64) -> (f64, f64) {
    (LEFT + x.share(bytes) * (RIGHT - LEFT), BOTTOM - y.share(speed) * (BOTTOM - TOP))
}

fn write_axes(out: &mut String, x: LogAxis, y: LogAxis) {
    *out += "<g class=\"axes\">";
    for tick in x.ticks(7) {
        let (at, _) = place(x, y, tick, 1.0);
        let _ = write!(
            out,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 15.0,
            label(tick)
        );
    }
    for tick in y.ticks(6) {
        let (_, at) = place(x, y, 1.0, tick);
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            speed_label(tick)
        );
    }
    let _ = write!(
        out,
        "</g><text x=\"{}\" y=\"{}\" text-anchor=\"middle\">bytes per value</text>\
         <text transform=\"translate(11 {}) rotate(-90)\" text-anchor=\"middle\">values/s</text>\
         <text class=\"hint\" x=\"{}\" y=\"{}\">↖ better</text>",
        f64::midpoint(LEFT, RIGHT),
        HEIGHT - 6.0,
        f64::midpoint(TOP, BOTTOM),
        LEFT + 5.0,
        TOP + LINE,
    );
}

/// Values per second on the axis, in thousands or millions.
fn speed_label(speed: f64) -> String {
    match speed {
        _ if speed < 1e3 => label(speed),
        _ if speed < 1e6 => label(speed / 1e3) + " k",
        _ => label(speed / 1e6) + " M",
    }
}

/// A rectangle that text or a shape covers.
#[derive(Clone, Copy)]
struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Area {
    /// The shape at a point.
    fn around((x, y): (f64, f64)) -> Self {
        Self { left: x - 7.0, top: y - 7.0, width: 14.0, height: 14.0 }
    }

    /// The first free area for a label beside a point.
    fn of_label((x, y): (f64, f64), letters: usize, taken: &[Self]) -> Self {
        let (width, height) = (letters as f64 * LETTER, LINE);
        let (middle, beside) = (x - width / 2.0, y - height / 2.0);
        let (right, above, below) = (x + 9.0, y - 8.0 - height, y + 8.0);
        let places = [
            (right, beside),
            (x - 9.0 - width, beside),
            (right, y + LINE / 2.0),
            (right, y - LINE * 1.5),
            (middle, above),
            (middle, below),
        ];
        let areas = places.map(|(left, top)| Self { left, top, width, height });
        let inside = |area: &&Self| {
            area.left >= LEFT && area.left + width <= WIDTH && area.top >= 0.0 && area.top + height <= BOTTOM
        };
        let free = |area: &&Self| !taken.iter().any(|other| area.overlaps(other));
        let found = areas.iter().find(|area| inside(area) && free(area)).or(areas.iter().find(inside));
        *found.unwrap_or(&areas[0])
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.left + other.width
            && other.left < self.left + self.width
            && self.top < other.top + other.height
            && other.top < self.top + self.height
    }
}
