//! What the parts are, and what they promise.

use std::fmt::Write as _;

use super::text::escape;
use super::{CellSummary, GroupSummary, Summary};
use crate::adapter::{DURABILITIES, INTERVAL};

pub(super) fn write(out: &mut String, summary: &Summary) {
    if summary.about.parts.is_empty() {
        return;
    }
    *out += "<section aria-labelledby=\"parts\">\n<h2 id=\"parts\">Parts</h2>\n<dl class=\"about\">\n";
    for part in &summary.about.parts {
        let (kind, name) = (escape(&part.part), escape(&part.name));
        let _ = writeln!(
            out,
            "<dt>{name} <span class=\"dim\">{kind}</span></dt><dd>{}</dd>",
            escape(&part.sentences())
        );
    }
    *out += "</dl>\n<p>A write is on stable storage, for each durability:</p>\n<dl class=\"about\">\n";
    for (name, when) in DURABILITIES.iter().chain([&INTERVAL]) {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(when));
    }
    *out += "</dl>\n</section>\n";
}

/// What tells a cell from its reference, as an attribute for a tooltip.
pub(super) fn tooltip(summary: &Summary, group: &GroupSummary, row: &CellSummary) -> String {
    let parts = summary.about.parts.iter();
    let differing = parts.filter(|part| part.tells_apart(&row.spec, &group.group.cells[0]));
    let store = summary.about.stores.iter().find(|store| row.spec.store.as_ref() == Some(&store.name));
    let labels: Vec<String> =
        differing.map(ToString::to_string).chain(store.map(ToString::to_string)).collect();
    if labels.is_empty() { String::new() } else { format!(" title=\"{}\"", escape(&labels.join(". "))) }
}
