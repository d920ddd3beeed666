//! The layers of InfluxDB's Go code, as its own driver measured them.

use std::fmt::Write as _;

use super::Summary;
use super::text::{escape, short};

pub(super) fn write(out: &mut String, summary: &Summary) {
    let lines = &summary.about.go_lines;
    if lines.is_empty() {
        return;
    }
    *out += "<section aria-labelledby=\"go\">\n<h2 id=\"go\">InfluxDB's Go code, measured apart by its driver</h2>\n\
             <p>These figures come from another process and other input, so no verdict compares them with the cells of \
             this run.</p>\n<div class=\"wide\" role=\"region\" tabindex=\"0\" aria-labelledby=\"go\">\n<table>\n\
             <thead><tr><th scope=\"col\">layer</th><th scope=\"col\">input</th>\
             <th scope=\"col\" class=\"number\">M values/s</th><th scope=\"col\" class=\"number\">CPU s per M values</th>\
             <th scope=\"col\" class=\"number\">bytes per value</th></tr></thead>\n<tbody>\n";
    for line in lines {
        let _ =
            write!(out, "<tr><th scope=\"row\">{}</th><td>{}</td>", escape(&line.layer), escape(&line.input));
        for figure in [line.mvalues_per_s, line.cpu_s_per_mvalues, line.bytes_per_value] {
            let text = figure.map_or_else(|| "–".into(), short);
            let _ = write!(out, "<td class=\"number\">{text}</td>");
        }
        *out += "</tr>\n";
    }
    *out += "</tbody>\n</table>\n</div>\n</section>\n";
}
