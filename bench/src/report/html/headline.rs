//! The first lines of the page: how many comparisons are decided, and how much noise there was.

use std::fmt::Write as _;

use super::text::escape;
use super::{CellSummary, GroupSummary, Summary, class, compared, is_reference};

/// Every verdict with its sign, in the order of the tally.
const VERDICTS: [(&str, &str, &str); 5] = [
    ("faster", "faster", "▲"),
    ("slower", "slower", "▼"),
    ("same", "same", "="),
    ("open", "too close to call", "?"),
    ("failed", "failed", "✕"),
];

/// The sign of a verdict.
pub(super) fn sign(class: &str) -> &'static str {
    VERDICTS.iter().find(|verdict| verdict.0 == class).map_or("◆", |verdict| verdict.2)
}

pub(super) fn write(out: &mut String, summary: &Summary) {
    let rows = compared(summary).flat_map(|group| group.rows.iter().map(move |row| (group, row)));
    let rows: Vec<_> = rows.filter(|(group, row)| !is_reference(group, row)).collect();
    if rows.is_empty() {
        let latencies = summary.rows().filter(|(_, row)| row.latency.is_some()).count();
        let lead = match latencies {
            0 => "Only the reference ran, so nothing is compared.".into(),
            1 => "Latencies of <strong>one</strong> cell.".into(),
            _ => format!("Latencies of <strong>{latencies}</strong> cells."),
        };
        let _ = writeln!(out, "<p class=\"lead\">{lead}</p>");
    } else {
        write_tally(out, summary, &rows);
    }
    write_facts(out, summary);
}

/// How many comparisons have which verdict.
fn write_tally(out: &mut String, summary: &Summary, rows: &[(&GroupSummary, &CellSummary)]) {
    let Summary { decided, compared, .. } = summary;
    let share = decided * 100 / compared.max(&1);
    let _ = write!(
        out,
        "<p class=\"lead\"><strong>{decided} of {compared}</strong> comparisons are decided ({share} %).</p>\n\
         <div class=\"tally\" aria-hidden=\"true\">"
    );
    let counts = VERDICTS.map(|verdict| rows.iter().filter(|(_, row)| class(row) == verdict.0).count());
    let counted = || VERDICTS.iter().zip(counts).filter(|(_, count)| *count > 0);
    for ((class, ..), count) in counted() {
        let _ = write!(out, "<span class=\"{class}\" style=\"flex-grow:{count}\"></span>");
    }
    *out += "</div>\n<ul class=\"counts\">\n";
    for ((class, word, sign), count) in counted() {
        let link = word.replace(' ', "+");
        let _ = writeln!(
            out,
            "<li class=\"{class}\"><a href=\"#verdict={link}\"><span class=\"sign\" aria-hidden=\"true\">{sign}</span> \
             {count} {word}</a></li>"
        );
    }
    *out += "</ul>\n";
}

fn write_facts(out: &mut String, summary: &Summary) {
    *out += "<dl class=\"facts\">\n";
    let noise = (summary.compared > 0).then(|| format!("{:.1} %", (summary.noise_floor - 1.0) * 100.0));
    if let Some(noise) = noise {
        let _ = writeln!(out, "<div><dt>Noise floor</dt><dd>{noise}</dd></div>");
    }
    for (name, value) in [
        ("Timed work", format!("{:.0} % of the time", summary.timed_share * 100.0)),
        ("Blocks of a cell", summary.block_counts()),
        (
            "Machine",
            format!("{}, {} cores, {}", summary.host.cpu, summary.host.cores, summary.host.file_system),
        ),
        ("Commit", summary.about.commit.clone()),
    ] {
        let _ = writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value));
    }
    *out += "</dl>\n";
    if let Some(change) = summary.change_headline() {
        let _ = writeln!(out, "<p>{}</p>", escape(&change));
    }
    if let Some(advice) = summary.advice() {
        let _ = writeln!(out, "<p>{}</p>", escape(&advice));
    }
}
