//! One table for each group of cells, under the heading of its workload.

use std::fmt::Write as _;

use super::axis::LogAxis;
use super::text::{escape, short, without_zeros};
use super::{
    CellSummary, GroupSummary, Summary, cell_id, class, compared, headline, interval, is_reference, kept,
    parts, word,
};
use crate::duration::plain_duration;
use crate::stats::{BLOCKS_MIN, Interval, SizeVerdict};

/// A figure of each cell.
struct Column {
    /// Names it in the choice of sorting and in the URL.
    key: &'static str,
    title: &'static str,
    /// Whether larger is better. Then it comes first.
    larger: bool,
    value: fn(&CellSummary) -> Option<f64>,
    /// How it compares with the reference, if that is certain.
    note: fn(&CellSummary) -> Option<&'static str>,
}

/// Columns without any value are left out of a table.
const COLUMNS: [Column; 6] = [
    Column {
        key: "speed",
        title: "M values/s",
        larger: true,
        value: |row| row.mvalues_per_s.map(|speed| speed.mid),
        note: |_| None,
    },
    Column {
        key: "CPU",
        title: "CPU s per M values",
        larger: false,
        value: |row| row.cpu_s_per_mvalues,
        note: |_| None,
    },
    Column {
        key: "bytes",
        title: "bytes per value",
        larger: false,
        value: |row| row.bytes_per_value,
        note: |row| row.size.filter(|size| *size != SizeVerdict::Same).map(SizeVerdict::name),
    },
    Column {
        key: "log",
        title: "of these in the log",
        larger: false,
        value: |row| {
            row.log_bytes_per_value.filter(|log| *log > 0.0 && row.bytes_per_value > Some(log * 1.01))
        },
        note: |_| None,
    },
    Column {
        key: "written",
        title: "written per byte",
        larger: false,
        value: |row| row.write_amplification,
        note: |_| None,
    },
    Column { key: "memory", title: "peak MiB", larger: false, value: |row| row.peak_rss_mib, note: |_| None },
];

/// Names of the orders of rows, without the default `speed`.
pub(super) fn sort_keys(summary: &Summary) -> impl Iterator<Item = &'static str> {
    let rows = compared(summary).flat_map(|group| &group.rows);
    let keys: Vec<_> = columns(rows).map(|column| column.key).collect();
    keys.into_iter().filter(|key| *key != "speed").chain(["parts", "verdict"])
}

fn columns<'a>(rows: impl Iterator<Item = &'a CellSummary>) -> impl Iterator<Item = &'static Column> {
    let rows: Vec<_> = rows.collect();
    COLUMNS.iter().filter(move |column| rows.iter().any(|row| (column.value)(row).is_some()))
}

/// Writes all tables, workload by workload.
pub(super) fn write(out: &mut String, summary: &Summary) {
    let mut workloads: Vec<_> = compared(summary).map(|group| group.group.workload).collect();
    workloads.sort_unstable();
    workloads.dedup();
    for workload in workloads {
        let name = workload.name();
        let _ = write!(
            out,
            "<section class=\"workload\" aria-labelledby=\"w-{name}\">\n<h2 id=\"w-{name}\">{name} \
             <span class=\"dim\">{}</span></h2>\n",
            escape(workload.summary())
        );
        for group in summary.groups.iter().filter(|group| group.group.workload == workload) {
            write_group(out, summary, group);
        }
        *out += "</section>\n";
    }
}

/// The title of a group without its workload.
pub(super) fn title(group: &GroupSummary) -> &str {
    let workload = format!("{} of ", group.group.workload.name());
    group.title.strip_prefix(&workload).unwrap_or(&group.title)
}

fn write_group(out: &mut String, summary: &Summary, group: &GroupSummary) {
    let noise = (group.floor - 1.0) * 100.0;
    let lines = summary.lines_of(group).map_or_else(String::new, |lines| format!("; {}", lines.extent()));
    let axis = interval::axis(group.rows.iter().filter_map(|row| row.ratio));
    let _ = write!(
        out,
        "<table role=\"table\" data-workload=\"{}\" data-data=\"{}\" data-kept=\"{}\">\n<caption>{} \
         <span class=\"dim\">noise {noise:.1} %{}</span></caption>\n<thead role=\"rowgroup\"><tr role=\"row\">\
         <th role=\"columnheader\" scope=\"col\" class=\"parts\" data-key=\"parts\">parts</th>\
         <th role=\"columnheader\" scope=\"col\" class=\"judged\" data-key=\"verdict\">verdict</th>\
         <th role=\"columnheader\" scope=\"col\" class=\"ratio\">speed ratio</th>\
         <th role=\"columnheader\" scope=\"col\" class=\"plot\"><span class=\"unseen\">interval</span>{}</th>",
        group.group.workload.name(),
        escape(&group.group.dataset),
        kept(group.group.durable),
        escape(title(group)),
        escape(&lines),
        interval::scale(&axis),
    );
    let columns: Vec<_> = columns(group.rows.iter()).collect();
    for Column { key, title, larger, .. } in &columns {
        let order = if *larger { " data-larger" } else { "" };
        let sorted = if *key == "speed" { " aria-sort=\"descending\"" } else { "" };
        let _ = write!(
            out,
            "<th role=\"columnheader\" scope=\"col\" class=\"number\" data-key=\"{key}\"{order}{sorted}>{title}</th>"
        );
    }
    *out += "</tr></thead>\n<tbody role=\"rowgroup\">\n";
    let mut rows: Vec<&CellSummary> = group.rows.iter().collect();
    let speed = |row: &CellSummary| row.ratio.map_or(0.0, |ratio| ratio.mid);
    rows.sort_by(|a, b| speed(b).total_cmp(&speed(a)));
    for row in rows {
        write_row(out, summary, group, row, &columns, &axis);
    }
    *out += "</tbody>\n</table>\n";
}

fn write_row(
    out: &mut String,
    summary: &Summary,
    group: &GroupSummary,
    row: &CellSummary,
    columns: &[&Column],
    axis: &LogAxis,
) {
    let reference = is_reference(group, row);
    let class = if reference && row.error.is_none() { "reference" } else { class(row) };
    let word = if class == "reference" { "reference" } else { word(row) };
    let name = name(&row.name, &group.rows[0].name);
    let name = cell_id(summary, group, row).map_or(name.clone(), |(at, cell)| {
        let tooltip = parts::tooltip(summary, group, row);
        format!("<a href=\"#cell-{at}-{cell}\"{tooltip}>{name}</a>")
    });
    let _ = write!(
        out,
        "<tr role=\"row\" class=\"{class}\" data-verdict=\"{word}\"><th role=\"rowheader\" scope=\"row\">{name}</th>\
         <td role=\"cell\" class=\"verdict\"><span class=\"sign\" aria-hidden=\"true\">{}</span> {word}",
        headline::sign(class)
    );
    if let Some(error) = &row.error {
        let _ = writeln!(
            out,
            "</td><td role=\"cell\" class=\"why\" colspan=\"{}\">{}</td></tr>",
            columns.len() + 2,
            escape(error)
        );
        return;
    }
    for note in notes(row) {
        let _ = write!(out, " <small>{}</small>", escape(&note));
    }
    *out += "</td>";
    let ratio = row.ratio.map_or_else(
        || "<td role=\"cell\" class=\"ratio\">–</td><td role=\"cell\" class=\"plot\"></td>".into(),
        |ratio| {
            let ends = if reference || !row.has_interval() {
                String::new()
            } else {
                format!(" <small>{:.2} to {:.2}</small>", ratio.low, ratio.high)
            };
            let seen = if row.has_interval() { ratio } else { Interval { low: ratio.mid, high: ratio.mid, ..ratio } };
            let plot = interval::row(axis, seen, class);
            format!(
                "<td role=\"cell\" class=\"ratio\">{:.2}{ends}</td><td role=\"cell\" class=\"plot\">{plot}</td>",
                ratio.mid
            )
        },
    );
    *out += &ratio;
    for column in columns {
        let (text, raw) = (column.value)(row).map_or_else(
            || ("–".into(), String::new()),
            |value| (short(value), format!(" data-v=\"{value}\"")),
        );
        let _ = write!(
            out,
            "<td role=\"cell\" class=\"number\" data-key=\"{}\" data-title=\"{}\"{raw}>{text}{}</td>",
            column.key,
            column.title,
            (column.note)(row).map_or_else(String::new, |note| format!(" <small>{note}</small>")),
        );
    }
    *out += "</tr>\n";
}

/// A mean number of events, without decimals if it is whole.
pub(super) fn count(mean: f64) -> String {
    without_zeros(&format!("{mean:.1}")).to_owned()
}

/// What to add to the verdict.
fn notes(row: &CellSummary) -> Vec<String> {
    let decide = row.seconds_to_decide.map(|seconds| {
        if row.has_interval() {
            format!("needs {} more", plain_duration(seconds))
        } else {
            format!("needs {BLOCKS_MIN} blocks")
        }
    });
    let change = row.change_words();
    decide.into_iter().chain(change).collect()
}

/// The words of a name with what ends each, and whether the reference has the same word in this place.
fn words<'a>(name: &'a str, reference: &'a str) -> impl Iterator<Item = (&'a str, &'a str, bool)> {
    let ends = |c: char| c == '/' || c == ' ';
    let mut expected = reference.split_inclusive(ends);
    name.split_inclusive(ends).map(move |word| {
        let (text, end) = word.split_at(word.trim_end_matches(ends).len());
        (text, end, expected.next().is_some_and(|other| other.trim_end_matches(ends) == text))
    })
}

/// The name, in which the words that differ from the reference stand out. A line may break behind each part.
fn name(name: &str, reference: &str) -> String {
    let write = |(text, end, same): (&str, &str, bool)| {
        let end = if end == "/" { "/<wbr>" } else { end };
        if same { format!("{}{end}", escape(text)) } else { format!("<b>{}</b>{end}", escape(text)) }
    };
    words(name, reference).map(write).collect()
}

/// Only the words that differ from the reference.
pub(super) fn differing(name: &str, reference: &str) -> String {
    let differing = words(name, reference).filter(|(_, _, same)| !same).map(|(text, ..)| text);
    differing.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{differing, name};

    #[test]
    fn differing_parts_stand_out() {
        let found = name("ring/file/zstd none", "ring/file/tsm1");
        assert_eq!(found, "ring/<wbr>file/<wbr><b>zstd</b> <b>none</b>");
        assert_eq!(differing("ring/file/zstd none", "ring/file/tsm1"), "zstd none");
    }
}
