//! The latencies of invented samples in a real browser. Without Chromium, these tests say so and check nothing.

use std::path::PathBuf;

use super::super::super::tests::{group, outcome};
use super::super::browser::Browser;
use super::super::tests::{TOO_WIDE, opened_of, texts};
use super::super::{Sample, Summary};
use crate::matrix::spec::{CellSpec, Group};
use crate::workload::{Latency, Pace, Workload};

const PACE: Pace = Pace { points_per_s: 50_000, milliseconds: 4000 };

/// Durable cells, of which one fails, and others, of which one does not keep up.
fn groups() -> Vec<Group> {
    let reference = group().cells[0].clone();
    let of = |durable: bool, cells: &[CellSpec]| Group {
        workload: Workload::Latency,
        batch: 100,
        pace: Some(PACE),
        durable,
        cells: cells.into(),
        ..group()
    };
    let none = reference.with("durability", "none");
    let logs = |spec: &CellSpec, logs: &[&str]| -> Vec<CellSpec> {
        logs.iter().map(|log| spec.with("log", log)).collect()
    };
    vec![
        of(true, &logs(&reference, &["file", "a-log-of-another-crate-with-a-long-name", "broken"])),
        of(false, &logs(&none, &["file", "slow"])),
    ]
}

/// Two thousand calls: most take `typical` microseconds, and a stall of 200 ms lies between 1 and 1.2 s.
fn latency(typical: u64, keeps_up: bool) -> Latency {
    let stalled = |slot: u64| (100..120).contains(&slot).then(|| (120 - slot) * 10_000);
    let slots_us: Vec<_> =
        (0..400).map(|slot| Some(stalled(slot).unwrap_or(typical + slot % 7 * 20))).collect();
    let calls = slots_us.iter().flatten().map(|us| (us * 1000, 5));
    Latency {
        achieved_per_s: if keeps_up { 50_000.0 } else { 30_000.0 },
        unsent: if keeps_up { 0 } else { 17 },
        histogram_ns: calls.collect(),
        slots_us,
        snapshots: (0..17).map(|at| (f64::from(at) * 0.22, f64::from(at) * 0.22 + 0.03)).collect(),
        compactions: vec![(0.99, 1.2), (2.8, 2.95)],
    }
}

fn samples(groups: &[Group]) -> Vec<Sample> {
    let mut out = Vec::new();
    for block in 0..3 {
        for (at, group) in groups.iter().enumerate() {
            for cell in 0..group.cells.len() {
                let done = if group.cells[cell].log == "broken" {
                    Err("exit status: 101: <bad>".into())
                } else {
                    let typical = 300 + 2000 * (at + cell) as u64 + 40 * u64::from(block);
                    let mut done = outcome(4.5, "d1");
                    done.latency = Some(latency(typical, group.cells[cell].log != "slow"));
                    Ok(done)
                };
                out.push(Sample::new(block, (at, cell, false), groups, done));
            }
        }
    }
    out
}

fn opened() -> Option<(Browser, Summary, PathBuf, tempfile::TempDir)> {
    let groups = groups();
    opened_of(&groups, &samples(&groups))
}

#[test]
fn table_has_every_cell_and_no_verdict() {
    let Some((mut browser, summary, path, _dir)) = opened() else { return };
    browser.open(&path, "");
    assert_eq!(browser.faults(), Vec::<String>::new());
    let names = texts(&mut browser, ".latencies th[scope=row]");
    let expected: Vec<&str> = summary.rows().map(|(_, row)| row.name.as_str()).collect();
    assert_eq!(names, expected);
    assert_eq!((summary.compared, texts(&mut browser, "td.verdict").len()), (0, 0));
    let lead = texts(&mut browser, ".lead").concat();
    assert_eq!(lead, "Latencies of 4 cells.");
    let advice = texts(&mut browser, "header p").concat();
    assert!(advice.contains("One cell does not keep up"), "{advice}");
    let first = texts(&mut browser, ".latencies tbody tr:first-child td").join("|");
    assert!(first.contains("200 ms|50,000|17|2"), "{first}");
    let last = texts(&mut browser, ".latencies tbody tr:last-child td").join("|");
    assert!(last.contains("30,000of 50,000: does not keep up"), "{last}");
    assert_eq!(texts(&mut browser, ".latencies td.why"), ["exit status: 101: <bad>"]);
    assert_eq!(texts(&mut browser, ".percentiles .line").len(), 4);
}

/// A stall is visible, and so is its cause.
#[test]
fn a_click_shows_the_latency_over_time() {
    let Some((mut browser, _, path, _dir)) = opened() else { return };
    browser.open(&path, "");
    // By keyboard.
    browser.eval("document.querySelector('.latencies a').focus()");
    let enter =
        serde_json::json!({"type": "keyDown", "key": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"});
    browser.call("Input.dispatchKeyEvent", &enter);
    assert_eq!(browser.eval("location.hash"), "#cell=cell-0-0");
    assert_eq!(texts(&mut browser, "dialog[open] .stalls").len(), 3, "one for each process");
    assert_eq!(texts(&mut browser, "dialog[open] tbody tr").len(), 3);
    let said = texts(&mut browser, "dialog[open] .strip");
    assert_eq!(
        said[0],
        "Block 1. The longest write took 200 ms after 1.00 s, while a snapshot and a compaction ran."
    );
    assert_eq!(texts(&mut browser, "dialog[open] rect.bar.compaction").len(), 6);
    assert_eq!(browser.faults(), Vec::<String>::new());
}

#[test]
fn nothing_overflows() {
    let Some((mut browser, _, path, _dir)) = opened() else { return };
    for (width, medium) in
        [(400, "screen"), (320, "screen"), (1280, "screen"), (900, "screen"), (700, "print")]
    {
        browser.show(width, medium, false);
        let fragment = if medium == "screen" { "#cell=cell-0-1" } else { "" };
        browser.open(&path, fragment);
        assert_eq!(browser.eval(TOO_WIDE), serde_json::json!([]), "{medium}, {width} pixels");
        let inside = "(e => !e || e.scrollWidth <= e.clientWidth)(document.querySelector('dialog[open]'))";
        assert_eq!(browser.eval(inside), true, "{medium}, {width} pixels");
        let unseen =
            "[...document.querySelectorAll('.latencies td')].filter(e => !e.getClientRects().length).length";
        assert_eq!(browser.eval(unseen), 0);
    }
}

#[test]
fn page_is_complete_without_scripts() {
    let Some((mut browser, _, path, _dir)) = opened() else { return };
    browser.call("Emulation.setScriptExecutionDisabled", &serde_json::json!({"value": true}));
    browser.open(&path, "");
    assert_eq!(browser.eval("document.querySelectorAll('.latencies tbody tr').length"), 5);
    // A link without scripts leads to the figure of the cell.
    assert_eq!(browser.eval("document.querySelectorAll('#cell-0-0 .stalls').length"), 3);
}
