//! The result of a run of the matrix: a ratio and a verdict for each cell.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::inputs::Used;
use crate::matrix::SCHEMA;
use crate::matrix::host::Host;
use crate::matrix::sample::Sample;
use crate::matrix::spec::{CellSpec, Group};
use crate::stats::{BLOCKS_MIN, Interval, Verdict, bootstrap, floor, median, verdict};
use crate::workload::Outcome;

/// A whole run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(super) schema: u32,
    #[serde(flatten)]
    pub(super) about: About,
    pub(super) host: Host,
    /// Number of complete blocks.
    pub(super) blocks: u32,
    pub(super) groups: Vec<GroupSummary>,
}

/// The command and its inputs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct About {
    pub(crate) command_line: String,
    pub(crate) commit: String,
    pub(crate) seed: u64,
    pub(crate) threads: Vec<u16>,
    pub(crate) datasets: Vec<DatasetLines>,
}

/// The part of a dataset that was used: complete series in order of first appearance, but the last may be cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatasetLines {
    pub(crate) name: String,
    pub(crate) lines_used: usize,
    pub(crate) lines: usize,
    pub(crate) series_used: usize,
    pub(crate) series: usize,
    /// Hash of the bytes of the file.
    pub(crate) hash: String,
}

impl DatasetLines {
    pub(crate) fn new(name: &str, used: Used) -> Self {
        Self {
            name: name.into(),
            lines_used: used.lines,
            lines: used.lines_of_all,
            series_used: used.series,
            series: used.series_of_all,
            hash: String::new(),
        }
    }
}

impl fmt::Display for DatasetLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [lines_used, lines, series_used, series] =
            [self.lines_used, self.lines, self.series_used, self.series].map(grouped);
        if lines_used == lines {
            write!(f, "{}: all {lines} lines of {series} series", self.name)
        } else {
            write!(f, "{}: {lines_used} of {lines} lines, from {series_used} of {series} series", self.name)
        }
    }
}

/// Formats 336776 as `336,776`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Cells that were compared: the reference first, then by speed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GroupSummary {
    #[serde(flatten)]
    pub(super) group: Group,
    pub(super) title: String,
    /// The noise floor, a ratio.
    pub(super) floor: f64,
    pub(super) rows: Vec<CellSummary>,
}

/// A cell over all blocks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CellSummary {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) spec: CellSpec,
    pub(super) blocks: usize,
    /// Speed divided by that of the reference in the same block. 1 for the reference.
    pub(super) ratio: Option<Interval>,
    pub(super) verdict: Option<Verdict>,
    pub(super) mvalues_per_s: Option<Interval>,
    pub(super) cpu_s_per_mvalues: Option<f64>,
    /// Bytes on disk after a clean close: in the log without a snapshot, else in files.
    pub(super) bytes_per_value: Option<f64>,
    pub(super) peak_rss_mib: Option<f64>,
    /// Speed divided by that of an earlier run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) change: Option<Interval>,
    /// Whether the earlier run has this cell. `None` without an earlier run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) in_baseline: Option<bool>,
    pub(super) digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Summary {
    pub(crate) fn new(about: About, host: Host, groups: &[Group], samples: &[Sample]) -> Self {
        let blocks = samples.iter().map(|sample| sample.block + 1).max().unwrap_or(0);
        let groups = summarize(groups, samples, about.seed);
        Self { schema: SCHEMA, about, host, blocks, groups }
    }

    /// Reads an earlier `summary.json`.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| Failure::io(path, &error))?;
        let wrong = |what: String| Failure::Usage(format!("{}: {what}", path.display()));
        let summary: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if summary.schema != SCHEMA {
            return Err(wrong(format!("schema {} is not {SCHEMA}", summary.schema)));
        }
        Ok(summary)
    }

    /// Whether speeds of a run of `about` on `host` are comparable with this earlier run.
    pub(crate) fn check_baseline_of(&self, about: &About, host: &Host) -> Result<(), Failure> {
        if !host.is_like(&self.host) {
            return Err(Failure::Usage(
                "the baseline comes from another machine or file system, so speeds are not comparable".into(),
            ));
        }
        for now in &about.datasets {
            let before = self.about.datasets.iter().find(|before| before.name == now.name);
            if let Some(before) = before.filter(|before| *before != now) {
                return Err(Failure::Usage(format!("the baseline used other data: {before}; now {now}")));
            }
        }
        Ok(())
    }

    /// Compares every cell with the same cell of an earlier run.
    pub(crate) fn compare(&mut self, earlier: &Self) {
        for group in &mut self.groups {
            let old = earlier.groups.iter().find(|old| old.title == group.title);
            for row in &mut group.rows {
                let before = old.and_then(|old| {
                    let same = old.rows.iter().find(|old| old.spec == row.spec)?;
                    Some((same.mvalues_per_s?, old.floor))
                });
                row.in_baseline = Some(before.is_some());
                row.change = row.mvalues_per_s.zip(before).map(|(now, (before, floor))| {
                    // The two runs share no block, so the noise of both widens the interval.
                    let noise = group.floor.max(floor);
                    Interval {
                        low: now.low / before.high / noise,
                        mid: now.mid / before.mid,
                        high: now.high / before.low * noise,
                    }
                });
            }
        }
    }

    /// Cells that the baseline does not have.
    pub(crate) fn not_in_baseline(&self) -> Vec<String> {
        let missing = self.rows().filter(|(_, row)| row.in_baseline == Some(false));
        missing.map(|(group, row)| format!("{}: {}", group.title, row.name)).collect()
    }

    /// Cells whose whole interval lies below `ratio`, compared with the baseline if there is one, else the reference.
    pub(crate) fn slower_than(&self, ratio: f64) -> Vec<String> {
        let mut out = Vec::new();
        for (group, row) in self.rows() {
            let judged =
                row.change.or(row.ratio.filter(|_| row.verdict.is_some_and(|v| v != Verdict::Undecided)));
            if let Some(found) = judged.filter(|found| found.high < ratio) {
                out.push(format!(
                    "{}: {}: {:.2} times [{:.2}, {:.2}]",
                    group.title, row.name, found.mid, found.low, found.high
                ));
            }
        }
        out
    }

    /// Cells that failed, and cells that read back other values than the reference of their dataset.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (group, row) in self.rows() {
            let same_data = |other: &&GroupSummary| other.group.holds_same_as(&group.group);
            let expected = self.groups.iter().find(same_data).and_then(|first| first.rows[0].digest.as_ref());
            if let Some(error) = &row.error {
                out.push(format!("{}: {}: {error}", group.title, row.name));
            } else if row.digest.is_some() && row.digest.as_ref() != expected {
                out.push(format!(
                    "{}: {}: reads back other values than the reference",
                    group.title, row.name
                ));
            }
        }
        out
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&GroupSummary, &CellSummary)> {
        self.groups.iter().flat_map(|group| group.rows.iter().map(move |row| (group, row)))
    }

    /// The part of its dataset that a group used.
    pub(super) fn lines_of(&self, group: &GroupSummary) -> Option<&DatasetLines> {
        self.about.datasets.iter().find(|dataset| dataset.name == group.group.dataset)
    }

    /// Advice if most verdicts are undecided.
    pub(super) fn advice(&self) -> Option<&'static str> {
        let verdicts: Vec<Verdict> = self.rows().filter_map(|(_, row)| row.verdict).collect();
        let undecided = verdicts.iter().filter(|verdict| **verdict == Verdict::Undecided).count();
        if undecided * 2 <= verdicts.len() {
            None
        } else if (self.blocks as usize) < BLOCKS_MIN {
            Some("Most verdicts are undecided because of too few blocks. Rerun with more --time.")
        } else {
            Some("Most verdicts are undecided because the machine is noisy. Rerun with --time 10m.")
        }
    }
}

/// Whether more blocks could change no verdict.
pub(crate) fn all_decided(groups: &[Group], samples: &[Sample], seed: u64) -> bool {
    let undecided = |row: &CellSummary| row.verdict == Some(Verdict::Undecided) && row.error.is_none();
    !summarize(groups, samples, seed).iter().any(|group| group.rows.iter().any(undecided))
}

fn summarize(groups: &[Group], samples: &[Sample], seed: u64) -> Vec<GroupSummary> {
    let of_group = |at| samples.iter().filter(move |sample: &&Sample| sample.group == at).collect::<Vec<_>>();
    groups.iter().enumerate().map(|(at, group)| GroupSummary::new(group, &of_group(at), seed)).collect()
}

impl GroupSummary {
    fn new(group: &Group, samples: &[&Sample], seed: u64) -> Self {
        let seconds = |block: u32, cell: usize, again: bool| {
            let here = |s: &&&Sample| s.block == block && s.cell == cell && s.again == again;
            samples.iter().find(here)?.outcome.as_ref().map(|outcome| outcome.seconds(group.syncs()))
        };
        let blocks = samples.iter().map(|sample| sample.block + 1).max().unwrap_or(0);
        let same: Vec<f64> = (0..blocks)
            .filter_map(|block| Some(seconds(block, 0, true)? / seconds(block, 0, false)?))
            .collect();
        let floor = floor(&same);
        // The speed of the reference in a block is the geometric mean of its two runs.
        let reference = |block| match (seconds(block, 0, false), seconds(block, 0, true)) {
            (Some(first), Some(second)) => Some((first * second).sqrt()),
            (first, second) => first.or(second),
        };
        let mut rows = Vec::new();
        for (cell, spec) in group.cells.iter().enumerate() {
            let ratios: Vec<f64> = (0..blocks)
                .filter_map(|block| Some(reference(block)? / seconds(block, cell, false)?))
                .collect();
            let mut row = CellSummary::new(spec, group.syncs(), samples, cell, seed);
            if cell == 0 {
                row.ratio = (!ratios.is_empty()).then_some(Interval { low: 1.0, mid: 1.0, high: 1.0 });
            } else {
                row.ratio = bootstrap(&ratios, seed);
                row.verdict = row.ratio.map(|ratio| verdict(ratio, ratios.len(), floor));
            }
            rows.push(row);
        }
        let speed = |row: &CellSummary| row.ratio.map_or(0.0, |ratio| ratio.mid);
        rows[1..].sort_by(|a, b| speed(b).total_cmp(&speed(a)));
        Self { group: group.clone(), title: group.to_string(), floor, rows }
    }
}

impl CellSummary {
    fn new(spec: &CellSpec, syncs: bool, samples: &[&Sample], cell: usize, seed: u64) -> Self {
        let mine: Vec<&&Sample> = samples.iter().filter(|sample| sample.cell == cell).collect();
        let outcomes: Vec<&Outcome> = mine.iter().filter_map(|sample| sample.outcome.as_ref()).collect();
        let of =
            |figure: &dyn Fn(&Outcome) -> f64| -> Vec<f64> { outcomes.iter().map(|o| figure(o)).collect() };
        let digests: Vec<&String> = outcomes.iter().filter_map(|o| o.digest.as_ref()).collect();
        let unlike = digests.iter().any(|digest| *digest != digests[0]);
        let error = mine.iter().find_map(|sample| sample.error.clone());
        Self {
            name: spec.to_string(),
            spec: spec.clone(),
            blocks: mine.iter().filter(|sample| !sample.again && sample.outcome.is_some()).count(),
            ratio: None,
            verdict: None,
            mvalues_per_s: bootstrap(&of(&|o| o.values as f64 / o.seconds(syncs) / 1e6), seed),
            cpu_s_per_mvalues: median(&of(&|o| o.cpu_seconds(syncs) / o.values as f64 * 1e6)),
            bytes_per_value: median(&of(&|o| o.disk_bytes as f64 / o.stored_values as f64)),
            peak_rss_mib: median(&of(&|o| o.peak_rss_mib)),
            change: None,
            in_baseline: None,
            digest: digests.first().map(|digest| (*digest).clone()),
            error: error.or_else(|| unlike.then(|| "reads back other values in other blocks".into())),
        }
    }
}
