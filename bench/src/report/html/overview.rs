//! All ratios at a glance: a row for each part that was exchanged, a column for each workload.

use std::fmt::Write as _;

use super::text::escape;
use super::{CellSummary, GroupSummary, Summary, cell_id, class, compared, headline, kept, table, word};

/// With more rows, the tables of the workloads are easier to read.
const ROWS_MAX: usize = 40;

/// The table of one dataset.
#[derive(Default)]
struct Overview<'a> {
    rows: Vec<String>,
    columns: Vec<String>,
    cells: Vec<(usize, usize, &'a GroupSummary, &'a CellSummary)>,
}

pub(super) fn write(out: &mut String, summary: &Summary) {
    let mut datasets: Vec<&str> = Vec::new();
    for group in compared(summary) {
        if !datasets.contains(&group.group.dataset.as_str()) {
            datasets.push(&group.group.dataset);
        }
    }
    let tables: String =
        datasets.iter().map(|dataset| Overview::new(summary, dataset).text(summary, dataset)).collect();
    if !tables.is_empty() {
        let _ = write!(
            out,
            "<section aria-labelledby=\"overview\">\n<h2 id=\"overview\">At a glance <span class=\"dim\">speed \
             divided by the speed of the reference</span></h2>\n<div class=\"overviews\">\n{tables}</div>\n</section>\n"
        );
    }
}

impl<'a> Overview<'a> {
    fn new(summary: &'a Summary, dataset: &str) -> Self {
        let mut table = Self::default();
        for group in compared(summary).filter(|group| group.group.dataset == dataset) {
            // The order of the plan. Rows are sorted by speed, differently in each group.
            let of_plan = group.group.cells.iter().skip(1);
            for row in of_plan.filter_map(|spec| group.rows.iter().find(|row| row.spec == *spec)) {
                let lost = if group.group.durable { "" } else { " <span class=\"dim\">not durable</span>" };
                let name = format!("{}{lost}", escape(&table::differing(&row.name, &group.rows[0].name)));
                let (row_at, column) =
                    (place(&mut table.rows, name), place(&mut table.columns, column(group)));
                table.cells.push((row_at, column, group, row));
            }
        }
        table
    }

    /// Empty if there is nothing to compare, or too much.
    fn text(&self, summary: &Summary, dataset: &str) -> String {
        if self.rows.is_empty() || self.rows.len() > ROWS_MAX {
            return String::new();
        }
        let mut out = format!(
            "<div class=\"wide\" role=\"region\" tabindex=\"0\" aria-label=\"{0} at a glance\"><table class=\"overview\">\n<caption>{0}</caption>\n<thead><tr><th scope=\"col\">part</th>",
            escape(dataset)
        );
        for column in &self.columns {
            let _ = write!(out, "<th scope=\"col\">{}</th>", escape(column));
        }
        out += "</tr></thead>\n<tbody>\n";
        for (at, name) in self.rows.iter().enumerate() {
            let _ = write!(out, "<tr><th scope=\"row\">{name}</th>");
            for column in 0..self.columns.len() {
                let found = self.cells.iter().find(|cell| (cell.0, cell.1) == (at, column));
                out += &found.map_or("<td></td>".into(), |(_, _, group, row)| cell(summary, group, row));
            }
            out += "</tr>\n";
        }
        out + "</tbody>\n</table></div>\n"
    }
}

fn cell(summary: &Summary, group: &GroupSummary, row: &CellSummary) -> String {
    let class = class(row);
    let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{:.2}", ratio.mid));
    let sign = headline::sign(class);
    let text = format!(
        "<span class=\"sign\" aria-hidden=\"true\">{sign}</span>{ratio}<span class=\"unseen\"> {}, {}</span>",
        word(row),
        kept(group.group.durable)
    );
    let linked = cell_id(summary, group, row)
        .map_or(text.clone(), |(group, cell)| format!("<a href=\"#cell-{group}-{cell}\">{text}</a>"));
    format!("<td class=\"{class}\">{linked}</td>")
}

/// The place of a name in a list. A new name goes to the end.
fn place(names: &mut Vec<String>, name: String) -> usize {
    names.iter().position(|other| *other == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}

/// The title of a group without its dataset and its durability.
pub(super) fn column(group: &GroupSummary) -> String {
    let title = group.title.replacen(&format!(" of {}", group.group.dataset), "", 1);
    let end = [", durable", ", not durable"].iter().filter_map(|end| title.find(end)).min();
    title[..end.unwrap_or(title.len())].to_owned()
}
