//! The table for the terminal.

mod latency;

use std::fmt::Write as _;

use super::sizes::Sizes;
use super::summary::{CellSummary, GroupSummary, Summary};
use crate::stats::SizeVerdict;

pub(super) fn text(summary: &Summary) -> String {
    let width = summary.rows().map(|(_, row)| row.name.len()).max().unwrap_or(0).max("reference".len() + 16);
    let mut out = String::new();
    for group in &summary.groups {
        write_group(&mut out, summary, group, width);
    }
    for sizes in &Sizes::of(summary) {
        write_sizes(&mut out, sizes, width);
    }
    if !summary.about.stores.is_empty() {
        out += "\nStores of other projects:\n";
    }
    for store in &summary.about.stores {
        let _ = writeln!(out, "  {store}");
    }
    let _ = writeln!(out, "\n{}\n", summary.headline());
    if let Some(change) = summary.change_headline() {
        let _ = writeln!(out, "{change}\n");
    }
    if summary.groups.iter().any(|group| group.group.pace.is_some()) {
        out += latency::LEGEND;
    }
    if summary.groups.iter().any(|group| group.group.pace.is_none()) {
        write_legend(&mut out, &summary.block_counts());
    }
    if let Some(advice) = summary.advice() {
        let _ = writeln!(out, "\n{advice}");
    }
    out
}

fn write_sizes(out: &mut String, sizes: &Sizes, width: usize) {
    let _ = write!(out, "\n{} in million values per second\n  {:width$}", sizes.workload, "parts");
    for column in &sizes.columns {
        let _ = write!(out, "  {column:>20}");
    }
    let mut last = "";
    for (dataset, cell, speeds) in &sizes.rows {
        if *dataset != last {
            let _ = write!(out, "\n  {dataset}");
            last = dataset;
        }
        let _ = write!(out, "\n  {cell:width$}");
        for speed in speeds {
            let text = speed.map_or_else(|| "-".into(), |speed| format!("{speed:.3}"));
            let _ = write!(out, "  {text:>20}");
        }
    }
    out.push('\n');
}

fn write_legend(out: &mut String, blocks: &str) {
    let _ = write!(
        out,
        "Blocks: {blocks}. Ratio: the speed over that of the reference in the same block, with its 95 % interval. Faster or slower: by more \
         than 2 %;\nat most 5 % of these verdicts are false. Same: within 10 %. Noise: how far the reference, run twice in \
         every block, differs\nfrom itself. B/value: on disk after a clean close, the log for ingest and recover, the \
         files for snapshot and scan; smaller or\nlarger by more than 1 %. Written: bytes sent to the disk by the timed \
         work, for each byte of times and values in memory.\n"
    );
}

fn write_group(out: &mut String, summary: &Summary, group: &GroupSummary, width: usize) {
    let noise = (group.floor - 1.0) * 100.0;
    let noise = if group.group.pace.is_some() { String::new() } else { format!("   (noise {noise:.1} %)") };
    let _ = writeln!(out, "\n{}{noise}", group.title);
    if let Some(lines) = summary.lines_of(group) {
        let _ = writeln!(out, "  {lines}");
    }
    if group.group.pace.is_some() {
        return latency::write_group(out, group, width);
    }
    let _ = writeln!(
        out,
        "  {:width$} {:>10} {:>10} {:>9} {:7} {:>7} {:>8} {:>7}  {:15} verdict",
        "parts", "M values/s", "CPU s/M", "B/value", "", "written", "RSS MiB", "ratio", "interval"
    );
    for (at, row) in group.rows.iter().enumerate() {
        let _ = writeln!(out, "  {}", line(row, at == 0, width));
    }
}

fn line(row: &CellSummary, is_reference: bool, width: usize) -> String {
    if let Some(error) = &row.error {
        return format!("{:width$} failed: {}", row.name, error.lines().next().unwrap_or_default());
    }
    let number = |value: Option<f64>, digits| value.map_or_else(|| "-".into(), |v| format!("{v:.digits$}"));
    let (ratio, interval) = row.ratio.map_or_else(
        || ("-".into(), "-".into()),
        |r| (format!("{:.2}", r.mid), format!("{:.2} to {:.2}", r.low, r.high)),
    );
    let interval = if row.has_interval() { interval } else { "-".into() };
    let verdict = if is_reference { "reference".into() } else { row.verdict_words() };
    let interval = if is_reference { String::new() } else { interval };
    let change = row.change_words().map_or_else(String::new, |change| format!("; {change}"));
    format!(
        "{:width$} {:>10} {:>10} {:>9} {:7} {:>7} {:>8} {ratio:>7}  {interval:15} {verdict}{change}",
        row.name,
        number(row.mvalues_per_s.map(|speed| speed.mid), 3),
        number(row.cpu_s_per_mvalues, 3),
        number(row.bytes_per_value, 3),
        row.size.map_or("", SizeVerdict::name),
        number(row.write_amplification, 2),
        number(row.peak_rss_mib, 0),
    )
}
