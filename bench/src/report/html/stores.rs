//! What the whole stores of other projects are, and what they promise.

use std::fmt::Write as _;

use super::Summary;
use super::text::escape;

pub(super) fn write(out: &mut String, summary: &Summary) {
    if summary.about.stores.is_empty() {
        return;
    }
    *out += "<section aria-labelledby=\"stores\">\n<h2 id=\"stores\">Stores of other projects</h2>\n\
             <p>They have the same points in the same blocks as the reference. Whatever of the work a process of its \
             own does, its processor time, memory and writes are part of the figures.</p>\n<dl class=\"about\">\n";
    for store in &summary.about.stores {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(&store.name), escape(&store.sentences()));
    }
    *out += "</dl>\n</section>\n";
}
