//! The figures of one cell, and of the cells that are compared with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::LatencySummary;
use crate::duration::plain_duration;
use crate::matrix::sample::Sample;
use crate::matrix::spec::{CellSpec, Group};
use crate::matrix::verdicts::Verdicts;
use crate::stats::{BLOCKS_MIN, Estimate, Finding, Interval, SizeVerdict, Verdict, median};
use crate::workload::{Figure, Outcome};

/// Cells that were compared: the reference first, then by speed.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::report) struct GroupSummary {
    #[serde(flatten)]
    pub(in crate::report) group: Group,
    pub(in crate::report) title: String,
    /// How far the reference differs from itself in this group, a ratio: one standard deviation.
    pub(in crate::report) floor: f64,
    pub(in crate::report) rows: Vec<CellSummary>,
}

/// A cell over all blocks.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::report) struct CellSummary {
    pub(in crate::report) name: String,
    #[serde(flatten)]
    pub(in crate::report) spec: CellSpec,
    pub(in crate::report) blocks: usize,
    /// Speed divided by that of the reference in the same block. 1 for the reference.
    pub(in crate::report) ratio: Option<Interval>,
    /// `None` for the reference and for cells that failed.
    pub(in crate::report) verdict: Option<Verdict>,
    /// Of the test that the cell is not more than 2 % faster or slower.
    pub(in crate::report) p_value: Option<f64>,
    /// Further time for this cell and its reference that decides the verdict, if it is too close to call.
    pub(in crate::report) seconds_to_decide: Option<f64>,
    pub(in crate::report) mvalues_per_s: Option<Interval>,
    pub(in crate::report) cpu_s_per_mvalues: Option<f64>,
    /// Bytes on disk after a clean close: in the log without a snapshot, else in files.
    pub(in crate::report) bytes_per_value: Option<f64>,
    /// Bytes per value compared with those of the reference.
    pub(in crate::report) size: Option<SizeVerdict>,
    /// Bytes in the directory of the log after a clean close.
    pub(in crate::report) log_bytes_per_value: Option<f64>,
    /// Bytes that the timed work writes to the disk, in pages, for each byte of the values in memory. `None` if the workload
    /// does not write the dataset or the system does not say.
    pub(in crate::report) write_amplification: Option<f64>,
    /// Write amplification compared with that of the reference.
    pub(in crate::report) writes: Option<SizeVerdict>,
    pub(in crate::report) peak_rss_mib: Option<f64>,
    /// Of the workload `latency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::report) latency: Option<LatencySummary>,
    /// Speed divided by that of an earlier run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::report) change: Option<Interval>,
    /// Whether that is faster or slower than the earlier run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::report) change_verdict: Option<Verdict>,
    /// Whether the earlier run has this cell. `None` without an earlier run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::report) in_baseline: Option<bool>,
    pub(in crate::report) digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::report) error: Option<String>,
    /// What `--fail-if` looks at: the change if there is a baseline, else the ratio.
    #[serde(skip)]
    pub(super) judged: Option<Estimate>,
}

impl GroupSummary {
    pub(super) fn new(at: usize, group: &Group, samples: &[&Sample], verdicts: &Verdicts) -> Self {
        let mut rows: Vec<CellSummary> = group
            .cells
            .iter()
            .enumerate()
            .map(|(cell, spec)| CellSummary::new(spec, group, samples, cell, verdicts.finding(at, cell)))
            .collect();
        if !group.workload.is_compared() {
            return Self { group: group.clone(), title: group.to_string(), floor: 1.0, rows };
        }
        let (size, writes) = (rows[0].bytes_per_value, rows[0].write_amplification);
        let compared = |own: Option<f64>, reference: Option<f64>| Some(SizeVerdict::of(own?, reference?));
        for row in &mut rows[1..] {
            row.size = compared(row.bytes_per_value, size);
            row.writes = compared(row.write_amplification, writes);
        }
        if rows[0].mvalues_per_s.is_some() {
            rows[0].ratio = Some(Interval { low: 1.0, mid: 1.0, high: 1.0 });
        }
        Self { group: group.clone(), title: group.to_string(), floor: verdicts.noise_of(at).exp(), rows }
    }

    /// Derives speeds from ratios, because cells ran in different blocks and only those of one block are comparable. Sorts: the
    /// fastest cells come first, behind the reference. Cells that are not compared keep their order.
    pub(super) fn finish(&mut self) {
        if let Some(reference) = self.rows[0].mvalues_per_s {
            for row in &mut self.rows[1..] {
                let derived = |ratio: Interval| Interval {
                    low: reference.mid * ratio.low,
                    mid: reference.mid * ratio.mid,
                    high: reference.mid * ratio.high,
                };
                row.mvalues_per_s = row.ratio.map(derived).or(row.mvalues_per_s);
            }
        }
        let speed = |row: &CellSummary| row.ratio.map_or(0.0, |ratio| ratio.mid);
        self.rows[1..].sort_by(|a, b| speed(b).total_cmp(&speed(a)));
    }
}

impl CellSummary {
    /// Whether there are enough blocks for an interval.
    pub(in crate::report) fn has_interval(&self) -> bool {
        self.blocks >= BLOCKS_MIN
    }

    /// The change since the earlier run in words, with its interval and verdict.
    pub(in crate::report) fn change_words(&self) -> Option<String> {
        let (Interval { low, mid, high }, verdict) = self.change.zip(self.change_verdict)?;
        let word = verdict.name();
        Some(if self.has_interval() {
            format!("{mid:.2} times the baseline ({low:.2} to {high:.2}): {word}")
        } else {
            format!("{mid:.2} times the baseline: {word}, needs {BLOCKS_MIN} blocks")
        })
    }

    /// The verdict in words, with the time that would decide it.
    pub(in crate::report) fn verdict_words(&self) -> String {
        let Some(verdict) = self.verdict else { return "-".into() };
        if verdict == Verdict::TooClose && !self.has_interval() {
            return format!("{}, needs {BLOCKS_MIN} blocks", verdict.name());
        }
        match self.seconds_to_decide {
            Some(seconds) if !verdict.is_decided() => {
                format!("{}, {} more would decide", verdict.name(), plain_duration(seconds))
            }
            _ => verdict.name().into(),
        }
    }

    /// `finding` is `None` for the reference.
    fn new(
        spec: &CellSpec,
        group: &Group,
        samples: &[&Sample],
        cell: usize,
        finding: Option<&Finding>,
    ) -> Self {
        let mine: Vec<&&Sample> = samples.iter().filter(|sample| sample.cell == cell).collect();
        let outcomes: Vec<&Outcome> = mine.iter().filter_map(|sample| sample.outcome.as_ref()).collect();
        let of =
            |figure: &dyn Fn(&Outcome) -> f64| -> Vec<f64> { outcomes.iter().map(|o| figure(o)).collect() };
        let digests: Vec<&String> = outcomes.iter().filter_map(|o| o.digest.as_ref()).collect();
        let unlike = digests.iter().any(|digest| *digest != digests[0]);
        let error = mine.iter().find_map(|sample| sample.error.clone());
        let error = error.or_else(|| unlike.then(|| "reads back other values in other blocks".into()));
        let finding = finding.filter(|_| error.is_none());
        let judged = finding.and_then(Finding::estimate);
        Self {
            name: spec.to_string(),
            spec: spec.clone(),
            blocks: mine.iter().filter(|sample| !sample.again && sample.outcome.is_some()).count(),
            ratio: judged.map(|ratio| ratio.interval()),
            verdict: finding.map(|finding| finding.verdict),
            p_value: finding.and_then(Finding::p_value),
            seconds_to_decide: None,
            mvalues_per_s: Estimate::of(&speeds(&mine, group.figure())).map(|speed| speed.interval()),
            cpu_s_per_mvalues: median(&of(&|o| o.cpu_seconds() / o.values as f64 * 1e6)),
            bytes_per_value: median(&of(&|o| o.disk_bytes as f64 / o.stored_values as f64)),
            size: None,
            log_bytes_per_value: median(&of(&|o| o.log_bytes as f64 / o.stored_values as f64)),
            write_amplification: median(
                &outcomes.iter().filter_map(|o| o.write_amplification()).collect::<Vec<_>>(),
            ),
            writes: None,
            peak_rss_mib: median(&of(&|o| o.peak_rss_mib)),
            latency: group.pace.and_then(|pace| {
                LatencySummary::new(pace, outcomes.iter().filter_map(|outcome| outcome.latency.as_ref()))
            }),
            change: None,
            change_verdict: None,
            in_baseline: None,
            digest: digests.first().map(|digest| (*digest).clone()),
            error,
            judged,
        }
    }
}

/// Million values per second of a cell, one number for each block. For the two runs of the reference, their geometric mean.
fn speeds(samples: &[&&Sample], figure: Figure) -> Vec<f64> {
    let mut blocks: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for sample in samples {
        if let Some(outcome) = &sample.outcome {
            let speed = outcome.values as f64 / outcome.seconds(figure) / 1e6;
            blocks.entry(sample.block).or_default().push(speed.ln());
        }
    }
    blocks.values().map(|logs| (logs.iter().sum::<f64>() / logs.len() as f64).exp()).collect()
}
