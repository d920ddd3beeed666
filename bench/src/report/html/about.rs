//! The end of the page: how to read it, the environment, and the data as files.

use std::fmt::Write as _;

use super::super::csv;
use super::text::{download, escape};
use super::{Sample, Summary};
use crate::error::Result;

pub(super) fn write(out: &mut String, summary: &Summary, samples: &[Sample]) -> Result {
    *out += include_str!("how_to_read.html");
    write_environment(out, summary);
    let mut lines = String::new();
    for sample in samples {
        lines += &(serde_json::to_string(sample)? + "\n");
    }
    let _ = write!(
        out,
        "<section aria-labelledby=\"data\">\n<h2 id=\"data\">Data</h2>\n<p>Every figure of this page, and every pass \
         that was timed. The files are part of this page.</p>\n<ul>\n<li>{}</li>\n<li>{}</li>\n<li>{}</li>\n</ul>\n\
         </section>\n",
        download("summary.json", "application/json", &(serde_json::to_string_pretty(summary)? + "\n")),
        download("summary.csv", "text/csv", &csv::text(summary)),
        download("results.jsonl", "application/jsonl", &lines),
    );
    Ok(())
}

fn write_environment(out: &mut String, summary: &Summary) {
    let host = &summary.host;
    let data: Vec<String> = summary.about.datasets.iter().map(ToString::to_string).collect();
    *out += "<section aria-labelledby=\"environment\">\n<h2 id=\"environment\">Environment</h2>\n<dl class=\"about\">\n";
    for (name, value) in [
        ("Command", summary.about.command_line.clone()),
        ("Commit", summary.about.commit.clone()),
        ("CPU", format!("{}, {} cores", host.cpu, host.cores)),
        ("Memory", format!("{} MiB", host.memory_mib)),
        ("Kernel", host.kernel.clone()),
        ("Disk", format!("{}: {}", host.file_system, host.disk)),
        ("Data", data.join("; ")),
        ("Seed", summary.about.seed.to_string()),
    ] {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    *out += "</dl>\n</section>\n";
}
