//! Speeds by number of threads and points of a call.

use std::fmt::Write as _;

use super::super::sizes::Sizes;
use super::Summary;
use super::text::{escape, short};

pub(super) fn write(out: &mut String, summary: &Summary) {
    let all = Sizes::of(summary);
    if all.is_empty() {
        return;
    }
    *out += "<section aria-labelledby=\"sizes\">\n<h2 id=\"sizes\">Speed by size <span class=\"dim\">million values per \
             second</span></h2>\n";
    for sizes in all {
        let workload = sizes.workload;
        let _ = write!(
            out,
            "<div class=\"wide\" role=\"region\" tabindex=\"0\" aria-label=\"{workload} by size\">\n<table>\n\
             <caption>{workload}</caption>\n<thead><tr><th scope=\"col\">data</th><th scope=\"col\">parts</th>"
        );
        for column in &sizes.columns {
            let _ = write!(out, "<th scope=\"col\" class=\"number\">{}</th>", escape(column));
        }
        *out += "</tr></thead>\n<tbody>\n";
        for (dataset, cell, speeds) in &sizes.rows {
            let _ = write!(out, "<tr><td>{}</td><th scope=\"row\">{}</th>", escape(dataset), escape(cell));
            for speed in speeds {
                let text = speed.map_or_else(|| "–".into(), short);
                let _ = write!(out, "<td class=\"number\">{text}</td>");
            }
            *out += "</tr>\n";
        }
        *out += "</tbody>\n</table>\n</div>\n";
    }
    *out += "</section>\n";
}
