//! Reports of invented samples.

use std::slice::from_ref;

use super::summary::{About, DatasetLines, GoLine, PartLabel, StoreLabel};
use super::trust::Trust;
use super::*;
use crate::matrix::host::{Disk, Host, Latency};
use crate::matrix::sample::Sample;
use crate::matrix::spec::{CellSpec, Group};
use crate::stats::Verdict;
use crate::workload::{Outcome, Pass, Workload};

pub(super) fn host() -> Host {
    let latency = |p50_us| Latency { p50_us, p99_us: 900.0 };
    Host {
        cpu: "a <fast> one".into(),
        cores: 2,
        memory_mib: 1024,
        kernel: "Linux 6".into(),
        commit: "abc".into(),
        file_system: "ext4".into(),
        disk: Disk { append: latency(200.0), overwrite: latency(100.0) },
    }
}

/// The content of `run.json`.
pub(super) fn run() -> Value {
    let disk = serde_json::json!({"append": {"p50_us": 200.0, "p99_us": 900.0}, "overwrite": {"p50_us": 100.0, "p99_us": 900.0}});
    serde_json::json!({"cpu": "a <fast> one", "command": "cargo xtask bench matrix", "load_before": 0.25, "disk": disk})
}

pub(super) fn about() -> About {
    About {
        command_line: "matrix --workload scan".into(),
        seed: 1,
        datasets: vec![DatasetLines {
            name: "d".into(),
            lines_used: 30_000,
            lines: 1_336_776,
            series_used: 100,
            series: 6_872,
            hash: "ab".into(),
        }],
        stores: vec![StoreLabel {
            name: "a-store-with-a-long-name".into(),
            summary: "a server".into(),
            durable: None,
            not_durable: Some("nothing".into()),
            roughly: vec!["float".into()],
            ignores: vec!["string".into(), "boolean".into()],
        }],
        go_lines: vec![GoLine {
            layer: "engine-write".into(),
            input: "f2, hosts 1000, without text, with wal, goroutines 1".into(),
            mvalues_per_s: Some(0.782),
            cpu_s_per_mvalues: Some(1.38),
            bytes_per_value: None,
        }],
        parts: vec![PartLabel {
            part: "log".into(),
            name: "a-log-of-another-crate-with-a-long-name".into(),
            summary: "crate <other> 1.0: one fdatasync for each record, in a file that is never truncated"
                .into(),
            durabilities: vec!["each".into()],
        }],
        ..About::default()
    }
}

pub(super) fn group() -> Group {
    let spec = |encoder: &str| CellSpec {
        storer: "ring".into(),
        log: "file".into(),
        encoder: encoder.into(),
        order: "sync-then-publish".into(),
        durability: "group".into(),
        block: "1000".into(),
        alias: false,
        store: None,
    };
    Group {
        dataset: "d".into(),
        points: "d.points".into(),
        workload: Workload::Scan,
        threads: 1,
        batch: 5000,
        pace: None,
        durable: true,
        cells: ["tsm1", "fast", "slow"].map(spec).into(),
    }
}

pub(super) fn outcome(seconds: f64, digest: &str) -> Outcome {
    Outcome {
        passes: vec![Pass { seconds, cpu_seconds: seconds, repeats: 1, total_seconds: seconds }],
        setup_seconds: 0.1,
        values: 1_000_000,
        stored_values: 1_000_000,
        raw_bytes: 16_000_000,
        disk_bytes: 3_000_000,
        log_bytes: 0,
        written_bytes: Some(4_000_000),
        peak_rss_mib: 10.0,
        digest: Some(digest.into()),
        latency: None,
    }
}

/// Blocks that get slower one by one, as on a machine with growing load.
fn samples(group: &Group, blocks: u32) -> Vec<Sample> {
    let mut out = Vec::new();
    for block in 0..blocks {
        let load = 1.0 + f64::from(block);
        for (cell, again, seconds) in [(0, false, 1.0), (0, true, 1.01), (1, false, 0.5), (2, false, 2.0)] {
            out.push(Sample::new(
                block,
                (0, cell, again),
                from_ref(group),
                Ok(outcome(seconds * load, "d1")),
            ));
        }
    }
    out
}

#[test]
fn load_on_a_block_does_not_change_ratios() {
    let group = group();
    let summary = Summary::new(about(), host(), from_ref(&group), &samples(&group, 6));
    let rows = &summary.groups[0].rows;
    let found: Vec<_> = rows.iter().map(|row| (row.spec.encoder.as_str(), row.verdict)).collect();
    assert_eq!(found, [("tsm1", None), ("fast", Some(Verdict::Faster)), ("slow", Some(Verdict::Slower))]);
    let ratio = rows[1].ratio.expect("six blocks");
    assert!((ratio.mid - 2.01).abs() < 0.01 && ratio.high - ratio.low < 0.01, "{ratio:?}");
    assert_eq!((summary.compared, summary.decided), (2, 2));
    let few = Summary::new(about(), host(), from_ref(&group), &samples(&group, 2));
    assert_eq!((few.compared, few.decided), (2, 0));
    assert_eq!(summary.slower_than(0.95).len(), 1);
    assert!(summary.broken().is_empty());
}

#[test]
fn differing_values_and_failures_are_reported() {
    let group = group();
    let mut samples = samples(&group, 5);
    samples[2].outcome.as_mut().expect("ran").digest = Some("d2".into());
    samples.push(Sample::new(5, (0, 2, false), from_ref(&group), Err("exit status: 101".into())));
    let broken = Summary::new(about(), host(), &[group], &samples).broken();
    assert_eq!(broken.len(), 2, "{broken:?}");
    assert!(broken[0].contains("other values") && broken[1].contains("101"));
}

#[test]
fn summary_reads_back_as_its_own_baseline() {
    let group = group();
    let dir = tempfile::tempdir().expect("a directory");
    let mut summary = Summary::new(about(), host(), from_ref(&group), &samples(&group, 6));
    write(&summary, &run(), &samples(&group, 6), dir.path()).expect("writes");
    let earlier = Summary::read(&dir.path().join("summary.json")).expect("reads");
    earlier.check_baseline_of(&about(), &host()).expect("one machine");
    summary.compare(&earlier);
    let change = summary.groups[0].rows[0].change.expect("the same cell");
    assert!((change.mid - 1.0).abs() < 1e-9);
    assert!(summary.slower_than(0.95).is_empty(), "cells are compared with the baseline");
}

#[test]
fn every_form_has_every_row() {
    let group = group();
    let summary = Summary::new(about(), host(), from_ref(&group), &samples(&group, 6));
    let page = html::page(&summary, &run(), &samples(&group, 6));
    let plain = ["<b>", "</b>", "<wbr>"].iter().fold(page.clone(), |page, tag| page.replace(tag, ""));
    for text in [table(&summary), plain] {
        for name in [
            "ring/file/tsm1",
            "ring/file/fast",
            "ring/file/slow",
            "3.00",
            "reference",
            "faster",
            "slower",
            "d: 30,000 of 1,336,776 lines, from 100 of 6,872 series",
        ] {
            assert!(text.contains(name), "{name} in {text}");
        }
    }
    assert_eq!(csv::text(&summary).lines().count(), 4);
    assert!(page.contains("a &lt;fast&gt; one") && !page.contains("<fast>"));
    assert!(!page.contains("http"), "self-contained");
}

#[test]
fn open_comparison_names_the_time_that_decides_it() {
    let group = group();
    let mut samples = samples(&group, 6);
    for sample in &mut samples {
        sample.process_seconds = 2.0;
        let noise = if sample.cell == 1 { 0.5 + f64::from(sample.block % 3) } else { 1.0 };
        sample.outcome.as_mut().expect("ran").passes[0].seconds *= noise;
    }
    let summary = Summary::new(about(), host(), from_ref(&group), &samples);
    let row = summary.groups[0].rows.iter().find(|row| row.spec.encoder == "fast").expect("has a row");
    assert_eq!(row.verdict, Some(Verdict::TooClose));
    // A block of one cell and two references takes 6 s.
    assert!(row.seconds_to_decide.is_some_and(|seconds| seconds >= 6.0), "{:?}", row.seconds_to_decide);
    let table = table(&summary);
    assert!(table.contains("1 of 2 comparisons are decided: 0 faster, 1 slower"), "{table}");
    assert!(table.contains("too close to call") && table.contains("more would decide"), "{table}");
    assert!(table.contains("--resume --time T continues this run"), "{table}");
    for sample in samples.iter_mut().filter(|sample| sample.again) {
        sample.outcome.as_mut().expect("ran").passes[0].seconds *= 1.5;
    }
    let advice = Summary::new(about(), host(), from_ref(&group), &samples).advice().expect("one is open");
    assert!(advice.contains("while nothing else runs"), "{advice}");
}

/// Story: every look used all samples, so a report gave other verdicts than the run had acted on.
#[test]
fn verdict_of_an_early_look_stays() {
    let group = group();
    let mut samples = samples(&group, 8);
    for sample in samples.iter_mut().filter(|sample| sample.block > 2) {
        sample.looks = 1;
        if sample.cell == 1 {
            sample.outcome.as_mut().expect("ran").passes[0].seconds *=
                1.0 + f64::from(sample.block % 2) * 9.0;
        }
    }
    let verdict = |samples: &[Sample]| {
        let summary = Summary::new(about(), host(), from_ref(&group), samples);
        summary.groups[0].rows.iter().find(|row| row.spec.encoder == "fast").and_then(|row| row.verdict)
    };
    assert_eq!(verdict(&samples), Some(Verdict::Faster));
    for sample in &mut samples {
        sample.looks = 0;
    }
    assert_eq!(verdict(&samples), Some(Verdict::TooClose));
}

/// Story: reports did not show that only a part of the larger dataset was used.
#[test]
fn a_run_says_what_it_is_of() {
    let group = group();
    let summary = Summary::new(about(), host(), from_ref(&group), &samples(&group, 6));
    let json = serde_json::to_value(&summary).expect("serializes");
    assert_eq!(json["seed"], 1);
    assert_eq!(json["command_line"], "matrix --workload scan");
    assert_eq!(json["datasets"][0]["lines_used"], 30_000);
    let mut earlier: Summary = serde_json::from_value(json).expect("reads back");
    earlier.about.datasets[0].lines_used = 500;
    earlier.check_baseline_of(&about(), &host()).expect_err("speeds on other data do not compare");
    let all = DatasetLines {
        name: "w".into(),
        lines_used: 999,
        lines: 999,
        series_used: 3,
        series: 3,
        hash: "ab".into(),
    };
    assert_eq!(all.to_string(), "w: all 999 lines of 3 series");
}

#[test]
fn trust_counts_large_ratios_and_false_verdicts() {
    let group = group();
    let run = |blocks| Summary::new(about(), host(), from_ref(&group), &samples(&group, blocks));
    let trust = Trust::new(&[run(6), run(2)], &[run(6), run(2)]).to_string();
    assert!(trust.contains("ratio of 1.3 or more   2 of 4 (50 %;"), "{trust}");
    assert!(trust.contains("in 1 of 2 runs"), "{trust}");
}
