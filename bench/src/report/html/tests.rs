//! The page of invented samples in a real browser. Without Chromium, these tests say so and check nothing.

use std::fs;
use std::path::PathBuf;

use super::super::tests::{about, group, host, outcome, run};
use super::browser::Browser;
use super::*;
use crate::matrix::spec::Group;
use crate::workload::Workload;

/// One group with every verdict and a failed cell, one with other names, and all workloads.
fn groups() -> Vec<Group> {
    let scan = group();
    let mut cells = scan.cells.clone();
    for encoder in ["alike", "noisy", "broken"] {
        cells.push(cells[0].with("encoder", encoder));
    }
    let ingest = Group {
        dataset: "odd <name> & \"quotes\" '%23'".into(),
        workload: Workload::Ingest,
        durable: false,
        cells: ["file", "native", "a-log-of-another-crate-with-a-long-name"]
            .map(|log| scan.cells[0].with("log", log).with("durability", "none"))
            .into(),
        ..scan.clone()
    };
    let mut all = vec![Group { cells, ..scan.clone() }, ingest];
    for workload in [Workload::Snapshot, Workload::Compact, Workload::Range, Workload::Recover] {
        all.push(Group { workload, ..scan.clone() });
    }
    all
}

fn samples(groups: &[Group]) -> Vec<Sample> {
    let mut out = Vec::new();
    for block in 0..6u32 {
        let shake = |size: f64| 1.0 + size * f64::from(block % 3);
        let noisy = if block % 2 == 0 { 0.7 } else { 1.6 };
        let times = [1.0, 0.5, 2.0, shake(0.003), noisy];
        for (at, group) in groups.iter().enumerate() {
            for (cell, time) in times.iter().enumerate().take(group.cells.len()) {
                for again in [false, true] {
                    if cell == 0 || !again {
                        let mut done = outcome(time * shake(0.004), "d1");
                        done.disk_bytes = 2_000_000 + 700_000 * cell as u64;
                        let mut slow = done.passes[0];
                        slow.seconds *= 3.0;
                        done.passes.push(slow);
                        out.push(Sample::new(block, (at, cell, again), groups, Ok(done)));
                    }
                }
            }
        }
        out.push(Sample::new(block, (0, 5, false), groups, Err("exit status: 101: <bad>".into())));
    }
    out
}

/// A browser and the page in a directory. `None` without a browser.
fn opened() -> Option<(Browser, Summary, PathBuf, tempfile::TempDir)> {
    let groups = groups();
    let samples = samples(&groups);
    opened_of(&groups, &samples)
}

/// A browser and the page of these samples.
pub(super) fn opened_of(
    groups: &[Group],
    samples: &[Sample],
) -> Option<(Browser, Summary, PathBuf, tempfile::TempDir)> {
    let Some(browser) = Browser::start() else {
        eprintln!("skipped: Chromium is not installed");
        return None;
    };
    let summary = Summary::new(about(), host(), groups, samples);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("report.html");
    fs::write(&path, page(&summary, &run(), samples)).expect("writes");
    Some((browser, summary, path, dir))
}

/// Texts of the elements that a selector finds.
pub(super) fn texts(browser: &mut Browser, selector: &str) -> Vec<String> {
    let script = format!("[...document.querySelectorAll('{selector}')].map(e => e.textContent.trim())");
    serde_json::from_value(browser.eval(&script)).expect("texts")
}

/// Names of elements that are wider than the window.
pub(super) const TOO_WIDE: &str = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.wide, .unseen, thead, dialog:not([open])') && \
    !e.matches('.skip, use, defs, defs *') && e.getClientRects().length && \
    (e.getBoundingClientRect().right > document.documentElement.clientWidth + 1 || e.getBoundingClientRect().left < -1))\
    .map(e => e.outerHTML.slice(0, 80)).concat(document.documentElement.scrollWidth > document.documentElement.clientWidth ? 'page' : [])";

#[test]
fn cells_equal_the_summary() {
    let Some((mut browser, summary, path, _dir)) = opened() else { return };
    browser.open(&path, "");
    assert_eq!(browser.faults(), Vec::<String>::new());
    let mut expected = Vec::new();
    for (group, row) in summary.rows() {
        let verdict = if is_reference(group, row) { "reference" } else { word(row) };
        let speed = row.mvalues_per_s.map_or(f64::NAN, |speed| speed.mid);
        let shown = if row.error.is_none() { text::short(speed) } else { "none".into() };
        expected.push(format!("{} {verdict} {shown}", row.name));
    }
    let script = "[...document.querySelectorAll('#results tbody tr')].map(row => [row.cells[0].textContent, \
        row.dataset.verdict, row.querySelector('[data-key=speed]')?.textContent ?? 'none'].join(' '))";
    let mut found: Vec<String> = serde_json::from_value(browser.eval(script)).expect("rows");
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let lead = texts(&mut browser, ".lead").concat();
    assert!(lead.starts_with(&format!("{} of {} comparisons", summary.decided, summary.compared)), "{lead}");
}

#[test]
fn filters_and_order_survive_reload() {
    let Some((mut browser, _, path, _dir)) = opened() else { return };
    let shown = |browser: &mut Browser| texts(browser, "#results tr:not([hidden]) > th[scope=row]").len();
    browser.open(&path, "");
    assert_eq!(shown(&mut browser), 21);
    browser.eval(
        "const set = (name, value) => { const field = document.forms[0].elements[name]; field.value = value; \
         field.dispatchEvent(new Event('input', {bubbles: true})); }; set('verdict', 'slower'); set('sort', 'bytes'); 1",
    );
    let rows = shown(&mut browser);
    assert!(rows < 21);
    browser.reload();
    assert_eq!(shown(&mut browser), rows);
    assert_eq!(browser.eval("document.forms[0].elements.verdict.value"), "slower");
    assert_eq!(browser.eval("document.querySelector('[aria-sort]').textContent"), "bytes per value");
    browser.open(&path, "#q=native&workload=ingest");
    let found = texts(&mut browser, "#results table:not([hidden]) tr:not([hidden]) > th[scope=row]");
    assert_eq!(found, ["ring/native/tsm1 none", "ring/file/tsm1 none"]);
    assert_eq!(browser.faults(), Vec::<String>::new());
}

/// Story: the page hid every table without a comparison.
#[test]
fn a_reference_alone_is_shown() {
    let alone = Group { cells: vec![group().cells[0].clone()], ..group() };
    let groups = [alone];
    let sample = Sample::new(0, (0, 0, false), &groups, Ok(outcome(1.0, "d1")));
    let Some((mut browser, _, path, _dir)) = opened_of(&groups, &[sample]) else { return };
    browser.open(&path, "");
    assert_eq!(texts(&mut browser, "#results table:not([hidden]) tbody tr").len(), 1);
    assert_eq!(texts(&mut browser, ".lead").concat(), "Only the reference ran, so nothing is compared.");
    browser.open(&path, "#q=zstd");
    assert_eq!(texts(&mut browser, "#results table:not([hidden])").len(), 0);
}

#[test]
fn rows_are_sorted_by_speed() {
    let Some((mut browser, _, path, _dir)) = opened() else { return };
    browser.open(&path, "");
    let names = |browser: &mut Browser| texts(browser, "#w-scan ~ table th[scope=row]");
    let found = names(&mut browser);
    assert_eq!(found[0], "ring/file/fast");
    assert_eq!(found[5], "ring/file/broken", "cells without figures come last");
    // By keyboard.
    browser.eval("document.querySelector('#w-scan ~ table [data-key=speed] button').focus()");
    let enter =
        serde_json::json!({"type": "keyDown", "key": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"});
    browser.call("Input.dispatchKeyEvent", &enter);
    assert_eq!(names(&mut browser)[0], "ring/file/slow");
    assert_eq!(
        browser.eval("document.querySelector('[data-key=speed]').getAttribute('aria-sort')"),
        "ascending"
    );
    assert_eq!(browser.eval("location.hash"), "#sort=-speed");
}

#[test]
fn a_click_shows_the_passes_of_a_cell() {
    let Some((mut browser, _, path, _dir)) = opened() else { return };
    browser.open(&path, "#verdict=faster");
    browser.eval("document.querySelector('#results tr:not([hidden]) a[href=\"#cell-0-1\"]').click()");
    assert_eq!(browser.eval("location.hash"), "#verdict=faster&cell=cell-0-1");
    assert_eq!(texts(&mut browser, "dialog[open] tbody tr").len(), 6, "one line for each process");
    browser.eval(
        "new Promise(done => { document.querySelector('dialog').addEventListener('close', () => done(1)); \
         document.querySelector('dialog button').click(); })",
    );
    assert_eq!(browser.eval("document.querySelector('dialog').open"), false);
    assert_eq!(browser.eval("location.hash"), "#verdict=faster");
}

#[test]
fn nothing_overflows() {
    let Some((mut browser, _, path, _dir)) = opened() else { return };
    for (width, medium) in [(400, "screen"), (320, "screen"), (1280, "screen"), (700, "print")] {
        browser.show(width, medium, false);
        browser.open(&path, "");
        assert_eq!(browser.eval(TOO_WIDE), serde_json::json!([]), "{medium}, {width} pixels");
        let unseen =
            "[...document.querySelectorAll('td.verdict')].filter(e => !e.getClientRects().length).length";
        assert_eq!(browser.eval(unseen), 0);
    }
    assert_eq!(browser.faults(), Vec::<String>::new());
}

/// Rows become cards on a narrow screen. Screen readers must still find a table.
#[test]
fn cards_are_rows_of_a_table() {
    let Some((mut browser, summary, path, _dir)) = opened() else { return };
    browser.show(400, "screen", false);
    browser.open(&path, "");
    let tree = browser.call("Accessibility.getFullAXTree", &serde_json::json!({}));
    let count = |role: &str| {
        let nodes = tree["nodes"].as_array().expect("nodes").iter();
        nodes.filter(|node| node["role"]["value"] == role && node["ignored"] != true).count()
    };
    assert!(count("rowheader") >= summary.rows().count(), "{}", count("rowheader"));
    assert!(count("table") >= summary.groups.len());
    assert!(count("cell") > 4 * summary.rows().count());
}

#[test]
fn page_is_complete_without_scripts() {
    let Some((mut browser, summary, path, _dir)) = opened() else { return };
    browser.call("Emulation.setScriptExecutionDisabled", &serde_json::json!({"value": true}));
    browser.open(&path, "");
    assert_eq!(texts(&mut browser, "#results tbody tr").len(), summary.rows().count());
    assert_eq!(browser.eval("document.querySelector('#controls').getClientRects().length"), 0);
    assert!(texts(&mut browser, ".pareto text").contains(&"fast".to_owned()));
}

#[test]
fn downloads_are_the_data() {
    let Some((mut browser, summary, path, _dir)) = opened() else { return };
    browser.open(&path, "");
    // A data URL may be fetched by a page from disk, and nothing else leaves the file.
    let get = |name: &str| {
        format!("fetch(document.querySelector('a[download=\"{name}\"]').href).then(r => r.text())")
    };
    let json = browser.eval(&get("summary.json"));
    let expected = serde_json::to_string_pretty(&summary).expect("JSON") + "\n";
    assert_eq!(json.as_str(), Some(expected.as_str()));
    assert_eq!(browser.eval(&get("summary.csv")), csv_of(&summary));
    let description = browser.eval(&get("run.json"));
    let description: Value = serde_json::from_str(description.as_str().expect("text")).expect("JSON");
    assert_eq!(description, run());
    let lines = browser.eval(&get("results.jsonl"));
    assert_eq!(lines.as_str().expect("text").lines().count(), samples(&groups()).len());
}

fn csv_of(summary: &Summary) -> String {
    super::super::csv::text(summary)
}

#[test]
fn parts_say_what_they_are() {
    let groups = groups();
    let summary = Summary::new(about(), host(), &groups, &samples(&groups));
    let page = page(&summary, &run(), &samples(&groups));
    let label = "crate &lt;other&gt; 1.0: one fdatasync for each record, in a file that is never truncated; durability: each";
    assert!(page.contains(&format!("<dd>{label}</dd>")), "{page}");
    // On the row of the cell with this log, and on no row of the reference.
    assert_eq!(
        page.matches(&format!(" title=\"log a-log-of-another-crate-with-a-long-name: {label}\"")).count(),
        1
    );
}
