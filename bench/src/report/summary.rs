//! The result of a run of the matrix: a ratio and a verdict for each cell.

mod cell;
mod go_line;
mod latency;
mod part;
mod store;

use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::duration::plain_duration;
use crate::failure::Failure;
use crate::inputs::Used;
use crate::matrix::SCHEMA;
use crate::matrix::host::Host;
use crate::matrix::sample::Sample;
use crate::matrix::spec::{Group, grouped};
use crate::matrix::verdicts::Verdicts;
use crate::stats::{self, Estimate, Interval, Judge, Verdict, holm};
pub(super) use cell::{CellSummary, GroupSummary};
pub(crate) use go_line::GoLine;
pub(super) use latency::LatencySummary;
pub(crate) use part::PartLabel;
pub(crate) use store::StoreLabel;

/// The probability of any false alarm of `--fail-if`.
const FAIL_ALPHA: f64 = 0.05;

/// Above this noise floor, a quieter machine decides more than a longer run.
const NOISE_ADVISED_MAX: f64 = 1.1;

/// A whole run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(super) schema: u32,
    #[serde(flatten)]
    pub(super) about: About,
    pub(super) host: Host,
    /// Number of complete blocks.
    pub(super) blocks: u32,
    /// Number of comparisons with the reference, those of failed cells left out.
    pub(super) compared: usize,
    /// How many of them are faster, slower or the same.
    pub(super) decided: usize,
    /// How far the reference differs from itself in this run, a ratio.
    pub(super) noise_floor: f64,
    /// The share of the time of all processes that was timed work.
    pub(super) timed_share: f64,
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
    /// The parts that the run compares.
    pub(crate) parts: Vec<PartLabel>,
    /// Whole stores of other projects that the run compares.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stores: Vec<StoreLabel>,
    /// Figures of InfluxDB's Go code, from a file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) go_lines: Vec<GoLine>,
}

/// The part of a dataset that was used: complete series, but the last one may be cut.
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

impl DatasetLines {
    /// How much of the dataset was used.
    pub(super) fn extent(&self) -> String {
        let [lines_used, lines, series_used, series] =
            [self.lines_used, self.lines, self.series_used, self.series].map(grouped);
        if lines_used == lines {
            format!("all {lines} lines of {series} series")
        } else {
            format!("{lines_used} of {lines} lines, from {series_used} of {series} series")
        }
    }
}

impl fmt::Display for DatasetLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.extent())
    }
}

impl Summary {
    pub(crate) fn new(about: About, host: Host, groups: &[Group], samples: &[Sample]) -> Self {
        let verdicts = Verdicts::of(groups, samples);
        let of_group =
            |at| samples.iter().filter(move |sample: &&Sample| sample.group == at).collect::<Vec<_>>();
        let mut out: Vec<GroupSummary> = groups
            .iter()
            .enumerate()
            .map(|(at, group)| GroupSummary::new(at, group, &of_group(at), &verdicts))
            .collect();
        for ((group, cell), need) in verdicts.needs(samples) {
            let name = groups[group].cells[cell].to_string();
            let row = out[group].rows.iter_mut().find(|row| row.name == name);
            row.expect("every cell has a row").seconds_to_decide = need.seconds_alone();
        }
        out.iter_mut().for_each(GroupSummary::finish);
        let all: Vec<Verdict> =
            out.iter().flat_map(|group| &group.rows).filter_map(|row| row.verdict).collect();
        Self {
            schema: SCHEMA,
            about,
            host,
            blocks: samples.iter().map(|sample| sample.block + 1).max().unwrap_or(0),
            compared: all.len(),
            decided: all.iter().filter(|verdict| verdict.is_decided()).count(),
            noise_floor: verdicts.noise().exp(),
            timed_share: timed_share(samples),
            groups: out,
        }
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
                    Some((Estimate::from_interval(same.mvalues_per_s?, same.blocks), old.floor))
                });
                row.in_baseline = Some(before.is_some());
                if !group.group.workload.is_compared() {
                    continue;
                }
                row.judged = row.mvalues_per_s.zip(before).map(|(now, (before, floor))| {
                    // The two runs share no block, so their noise is a further error.
                    let noise = group.floor.max(floor).ln();
                    Estimate::from_interval(now, row.blocks).over(&before, noise)
                });
                row.change = row.judged.map(|change| change.interval());
            }
        }
        let mut rows: Vec<&mut CellSummary> = self
            .groups
            .iter_mut()
            .flat_map(|group| &mut group.rows)
            .filter(|row| row.judged.is_some())
            .collect();
        let changes: Vec<Estimate> = rows.iter().filter_map(|row| row.judged).collect();
        for (row, verdict) in rows.iter_mut().zip(stats::verdicts(&changes)) {
            row.change_verdict = Some(verdict);
        }
    }

    /// Whether this earlier run has any of these cells.
    pub(crate) fn has_any_of(&self, groups: &[Group]) -> bool {
        let has = |group: &Group| {
            let old = self.groups.iter().find(|old| old.title == group.to_string());
            old.is_some_and(|old| old.rows.iter().any(|row| group.cells.contains(&row.spec)))
        };
        groups.iter().any(has)
    }

    /// The number of blocks of a cell, such as `3` or `3 to 8`.
    pub(super) fn block_counts(&self) -> String {
        let counts = || self.rows().filter(|(_, row)| row.error.is_none()).map(|(_, row)| row.blocks);
        let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
        if least == most { most.to_string() } else { format!("{least} to {most}") }
    }

    /// How cells changed since the earlier run. `None` without one.
    pub(super) fn change_headline(&self) -> Option<String> {
        let count = |of| self.rows().filter(|(_, row)| row.change_verdict == Some(of)).count();
        let [slower, faster, same, open] =
            [Verdict::Slower, Verdict::Faster, Verdict::Same, Verdict::TooClose].map(count);
        (slower + faster + same + open > 0).then(|| {
            format!(
                "Compared with the baseline: {slower} slower, {faster} faster, {same} the same within 10 %, {open} too close to \
                 call."
            )
        })
    }

    /// How many cells `--fail-if` cannot clear: they may be slower than `ratio` times what they are compared with.
    pub(crate) fn unclear(&self, ratio: f64) -> usize {
        let may_be_slower =
            |row: &CellSummary| row.judged.is_some_and(|judged| judged.interval().low < ratio);
        self.rows().filter(|(_, row)| may_be_slower(row)).count()
    }

    /// Cells that the baseline does not have.
    pub(crate) fn not_in_baseline(&self) -> Vec<String> {
        let missing = self.rows().filter(|(_, row)| row.in_baseline == Some(false));
        missing.map(|(group, row)| format!("{}: {}", group.title, row.name)).collect()
    }

    /// Cells that are slower than `ratio` times the baseline if there is one, else the reference. The probability of any false
    /// one is at most 5 % (Holm).
    pub(crate) fn slower_than(&self, ratio: f64) -> Vec<String> {
        let judged: Vec<_> = self.rows().filter_map(|(group, row)| Some((group, row, row.judged?))).collect();
        let p_values: Vec<f64> =
            judged.iter().map(|(_, _, estimate)| estimate.p_value_below(ratio)).collect();
        // Looks at the verdicts decided when each comparison with the reference ended.
        let with_baseline = self.rows().any(|(_, row)| row.in_baseline.is_some());
        let looks = if with_baseline { 1 } else { Judge::LOOKS_MAX };
        let slower = holm(&p_values, FAIL_ALPHA / looks as f64);
        let slower = judged.iter().zip(slower).filter(|(_, slower)| *slower);
        let line = |((group, row, estimate), _): (&(&GroupSummary, &CellSummary, Estimate), bool)| {
            let Interval { low, mid, high } = estimate.interval();
            format!("{}: {}: {mid:.2} times [{low:.2}, {high:.2}]", group.title, row.name)
        };
        slower.map(line).collect()
    }

    /// Cells that failed, and cells that read back other values than the reference of their dataset.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (group, row) in self.rows() {
            let same_data = |other: &&GroupSummary| other.group.holds_same_as(&group.group);
            let mut rows = self.groups.iter().filter(same_data).flat_map(|group| &group.rows);
            let expected = rows.find_map(|row| row.digest.as_ref());
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

    /// How many comparisons are decided, and how noisy the machine was.
    pub(super) fn headline(&self) -> String {
        if self.compared == 0 {
            return format!(
                "Nothing is compared with a reference. Timed work: {:.0} % of the time.",
                self.timed_share * 100.0
            );
        }
        let count = |of| self.rows().filter(|(_, row)| row.verdict == Some(of)).count();
        let [faster, slower, same] = [Verdict::Faster, Verdict::Slower, Verdict::Same].map(count);
        format!(
            "{} of {} comparisons are decided: {faster} faster, {slower} slower, {same} the same within 10 %. Noise floor \
             {:.1} %. Timed work: {:.0} % of the time.",
            self.decided,
            self.compared,
            (self.noise_floor - 1.0) * 100.0,
            self.timed_share * 100.0
        )
    }

    /// What to do about a result that says little.
    pub(super) fn advice(&self) -> Option<String> {
        let advice: Vec<String> =
            self.advice_to_decide().into_iter().chain(self.advice_to_keep_up()).collect();
        (!advice.is_empty()).then(|| advice.join(" "))
    }

    fn advice_to_keep_up(&self) -> Option<String> {
        let behind = |row: &CellSummary| row.latency.as_ref().is_some_and(|latency| !latency.keeps_up);
        match self.rows().filter(|(_, row)| behind(row)).count() {
            0 => None,
            1 => Some("One cell does not keep up. Give a lower --rate to see its latencies.".into()),
            count => {
                Some(format!("{count} cells do not keep up. Give a lower --rate to see their latencies."))
            }
        }
    }

    fn advice_to_decide(&self) -> Option<String> {
        let seconds: f64 = self.rows().filter_map(|(_, row)| row.seconds_to_decide).sum();
        if seconds == 0.0 {
            return None;
        }
        Some(if self.noise_floor > NOISE_ADVISED_MAX {
            let noise = (self.noise_floor - 1.0) * 100.0;
            format!(
                "The noise floor of {noise:.0} % is high. Repeat the run while nothing else runs on the machine."
            )
        } else {
            let time = plain_duration(seconds);
            format!("About {time} more would decide the rest: --resume --time T continues this run.")
        })
    }
}

/// The share of the time of all processes that was timed work.
fn timed_share(samples: &[Sample]) -> f64 {
    let all: f64 = samples.iter().map(|sample| sample.process_seconds).sum();
    let passes =
        samples.iter().filter_map(|sample| sample.outcome.as_ref()).flat_map(|outcome| &outcome.passes);
    let timed: f64 = passes.map(|pass| pass.seconds * f64::from(pass.repeats)).sum();
    if all > 0.0 { timed / all } else { 0.0 }
}
