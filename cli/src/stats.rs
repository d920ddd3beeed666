//! `tsmith stats`: counts series, values and bytes, and shows how well they are compressed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tsmith_codecs::name::{printable, to_text};
use tsmith_codecs::{BlockDecoder, Decoders, SeriesKey};
use tsmith_engine::files::TsmFile;
use tsmith_engine::view::View;
use tsmith_engine::{Column, Error, ErrorKind, FieldKey, FieldType, Registry, TimeRange};

use crate::args::{ReportFormat, WalOrNone};
use crate::clock::rfc3339_text;
use crate::exit::{Failure, Outcome, Result, complain};
use crate::inspect::encoding::Encoding;
use crate::output::{Out, count};
use crate::place::{Member, Place, Skipped, list};
use crate::progress::{Bar, When, percent};
use crate::shard_types::{ShardTypes, TypesDiffer};

/// Count series, keys, values, blocks and bytes, and show the compression
///
/// Example:
///   tsmith stats /var/lib/influxdb/data
///
/// `values` are the values that a reader sees. `stored values` also count older
/// values of the same time, which a compaction drops; bytes per value refer to
/// these. For a directory above shards, a series counts once in each shard. Nothing
/// on disk is changed. See docs/json.md for the JSON report.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Stats {
    /// Shard, engine directory, directory above shards, TSM file, or log segment
    #[arg(value_name = "DIR")]
    path: PathBuf,
    #[command(flatten)]
    wal: WalOrNone,
    /// Format of the report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

#[derive(Default, Serialize)]
struct Report {
    series: u64,
    keys: u64,
    values: u64,
    min_time: Option<i64>,
    max_time: Option<i64>,
    files: u64,
    generations: u64,
    file_bytes: u64,
    block_bytes: u64,
    blocks: u64,
    stored_values: u64,
    /// File bytes per stored value.
    bytes_per_value: Option<f64>,
    log_segments: u64,
    log_bytes: u64,
    measurements: BTreeMap<String, Part>,
    types: BTreeMap<&'static str, Part>,
    encodings: BTreeMap<String, Packed>,
    /// Why the values of the log are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_log: Option<String>,
}

/// The totals of one measurement or type.
#[derive(Default, Serialize)]
struct Part {
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<u64>,
    keys: u64,
    values: u64,
    #[serde(flatten)]
    packed: Packed,
}

/// Totals of blocks.
#[derive(Default, Serialize)]
struct Packed {
    blocks: u64,
    block_bytes: u64,
    stored_values: u64,
}

impl Part {
    fn take(&mut self, other: &Self) {
        if let Some(series) = other.series {
            *self.series.get_or_insert(0) += series;
        }
        self.keys += other.keys;
        self.values += other.values;
        self.packed.take(&other.packed);
    }
}

impl Packed {
    fn take(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.block_bytes += other.block_bytes;
        self.stored_values += other.stored_values;
    }

    fn add(&mut self, bytes: u64, values: u64) {
        self.blocks += 1;
        self.block_bytes += bytes;
        self.stored_values += values;
    }
}

/// The shards of a directory, one by one and in total.
#[derive(Default, Serialize)]
struct Shards {
    #[serde(rename = "shards")]
    each: Vec<Shard>,
    total: Report,
    types_differ: Vec<TypesDiffer>,
    skipped: Vec<Skipped>,
}

#[derive(Serialize)]
struct Shard {
    path: String,
    #[serde(flatten)]
    report: Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Stats {
    pub(crate) fn run(self, progress: When, registry: &Registry) -> Result<Outcome> {
        let tree = self.wal.tree(&self.path, registry)?;
        let mut bar = Bar::new(progress);
        let mut out = Out::stdout();
        let mut all = Shards { skipped: tree.skipped, ..Shards::default() };
        let mut types = ShardTypes::default();
        let mut outcome = Outcome::Fine;
        for (path, place) in &tree.places {
            let found = place.view(registry).and_then(|view| {
                if tree.is_above {
                    types.take(path, place, &view);
                }
                count_place(place, view, &mut all.skipped, &mut bar, registry)
            });
            let (report, error) = match found {
                Ok((report, found)) => {
                    outcome = outcome.and(found);
                    (report, None)
                }
                Err(error) if !tree.is_above => return Err(error),
                Err(error) => {
                    error.complain_of(path);
                    outcome = outcome.and(error.outcome());
                    (Report::default(), Some(error.text().to_owned()))
                }
            };
            all.total.take(&report);
            if !tree.is_above {
                all.total.no_log.clone_from(&report.no_log);
            }
            all.each.push(Shard { path: path.display().to_string(), report, error });
        }
        bar.clear();
        all.types_differ = types.differences();
        if self.format == ReportFormat::Table {
            Skipped::note_all(&all.skipped);
        }
        let written = match (self.format, tree.is_above) {
            (ReportFormat::Table, true) => all.print(out.text()),
            (ReportFormat::Table, false) => all.total.print(out.text()),
            (ReportFormat::Json, true) => json(&all, out.text()),
            (ReportFormat::Json, false) => json(&all.total, out.text()),
        };
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.flush()?;
        Ok(outcome)
    }
}

fn json(report: &impl Serialize, out: &mut Vec<u8>) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    out.push(b'\n');
    Ok(())
}

/// Counts one place, and reports what cannot be read.
fn count_place(
    place: &Place,
    view: View,
    skipped: &mut Vec<Skipped>,
    bar: &mut Bar,
    registry: &Registry,
) -> Result<(Report, Outcome)> {
    let outcome = place.report_no_log(Outcome::Fine).and(place.report_problems(&view));
    let no_log = place.no_log().map(|no_log| no_log.reason.clone());
    let mut report = Report { no_log, ..Report::default() };
    let mut reported = Reported::new();
    let decoders = registry.encoders().decoders();
    for file in view.files() {
        report.add_file(file, &decoders, &mut reported);
    }
    let problems = report.add_values(&view, &reported, bar) || !reported.is_empty();
    let generations: BTreeSet<u64> = view.files().iter().map(|file| file.name().generation).collect();
    report.generations = generations.len() as u64;
    drop(view);
    for member in place.files(registry)?.0 {
        match member {
            Member::Segment(path) => report.add_segment(&path),
            Member::Log(dir, name) => {
                let log = registry.find_log(name)?.kind();
                let names = list(&dir)?.into_iter().map(|(name, _)| name);
                names
                    .filter(|name| log.is_segment(name))
                    .for_each(|name| report.add_segment(&dir.join(name)));
            }
            Member::Leftover(beside) | Member::Skipped(beside) => skipped.push(beside),
            _ => {}
        }
    }
    report.set_bytes_per_value();
    Ok((report, outcome.and(Outcome::of(problems))))
}

/// File and offset of each block that was reported.
type Reported = HashSet<(PathBuf, u64)>;

impl Shards {
    /// Prints one line per shard, and the totals.
    fn print(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let heads = ["series", "keys", "values", "files", "TSM bytes", "log bytes", "bytes/value"];
        let row = |report: &Report| {
            let Report { series, keys, values, files, file_bytes, log_bytes, .. } = report;
            let numbers = [series, keys, values, files, file_bytes, log_bytes].map(ToString::to_string);
            let per_value =
                report.bytes_per_value.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes:.3}"));
            numbers.into_iter().chain([per_value]).collect::<Vec<_>>()
        };
        let rows = self.each.iter().map(|shard| (shard.path.as_str(), row(&shard.report)));
        let total = format!("{} shards", self.each.len());
        let rows: Vec<_> = rows.chain([(total.as_str(), row(&self.total))]).collect();
        print_table(out, "shard", &heads, &rows)?;
        writeln!(out)?;
        self.total.print(out)?;
        if !self.types_differ.is_empty() {
            writeln!(out)?;
        }
        TypesDiffer::print_all(&self.types_differ, out)
    }
}

/// The measurement as text. Different names have different texts.
fn measurement(series: &[u8]) -> String {
    to_text(SeriesKey(series).measurement()).into_owned()
}

impl Report {
    fn set_bytes_per_value(&mut self) {
        if self.stored_values > 0 {
            self.bytes_per_value = Some(self.file_bytes as f64 / self.stored_values as f64);
        }
    }

    /// Adds the totals of another shard. A series in both shards counts twice.
    fn take(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.series, other.series),
            (&mut self.keys, other.keys),
            (&mut self.values, other.values),
            (&mut self.files, other.files),
            (&mut self.generations, other.generations),
            (&mut self.file_bytes, other.file_bytes),
            (&mut self.block_bytes, other.block_bytes),
            (&mut self.blocks, other.blocks),
            (&mut self.stored_values, other.stored_values),
            (&mut self.log_segments, other.log_segments),
            (&mut self.log_bytes, other.log_bytes),
        ] {
            *sum += more;
        }
        self.min_time = self.min_time.into_iter().chain(other.min_time).min();
        self.max_time = self.max_time.into_iter().chain(other.max_time).max();
        for (name, part) in &other.measurements {
            self.measurements.entry(name.clone()).or_default().take(part);
        }
        for (name, part) in &other.types {
            self.types.entry(name).or_default().take(part);
        }
        for (name, packed) in &other.encodings {
            self.encodings.entry(name.clone()).or_default().take(packed);
        }
        self.set_bytes_per_value();
    }

    fn add_segment(&mut self, path: &Path) {
        self.log_segments += 1;
        self.log_bytes += path.metadata().map_or(0, |metadata| metadata.len());
    }

    /// Counts the blocks of a file, and reports those that cannot be read.
    fn add_file(&mut self, file: &TsmFile, decoders: &Decoders, reported: &mut Reported) {
        let reader = file.reader();
        let (mut decoders, mut unknown) = (decoders.clone(), false);
        self.files += 1;
        self.file_bytes += reader.file_bytes();
        // A key without a field is corrupt. The view has reported it.
        let keys = reader.keys().filter_map(|key| FieldKey::parse(key.key()).map(|parsed| (key, parsed)));
        for (key, FieldKey { series, .. }) in keys {
            let measurement = self.measurements.entry(measurement(series)).or_default();
            let field_type = self.types.entry(key.field_type().name()).or_default();
            for entry in key.entries() {
                let block = match reader.known_block(key, entry, &decoders) {
                    Ok(block) => block,
                    Err(error) => {
                        // All blocks of a file have the same encoder, so one report is enough.
                        let is_unknown = matches!(error.kind(), tsmith_tsm::ErrorKind::UnknownEncoder { .. });
                        if !is_unknown || !std::mem::replace(&mut unknown, true) {
                            complain(&format!("{}: {}", file.path().display(), ErrorKind::Tsm(error)));
                        }
                        reported.insert((file.path().to_owned(), entry.offset));
                        continue;
                    }
                };
                let bytes = u64::from(entry.size);
                let values = decoders.count(block).map_or(0, |(_, count)| count);
                self.blocks += 1;
                self.block_bytes += bytes;
                self.stored_values += values;
                measurement.packed.add(bytes, values);
                field_type.packed.add(bytes, values);
                self.encodings
                    .entry(Encoding::of(block, &decoders).to_string())
                    .or_default()
                    .add(bytes, values);
            }
        }
    }

    /// Counts the values that a reader sees. Returns true if some could not be read; those are reported.
    fn add_values(&mut self, view: &View, reported: &Reported, bar: &mut Bar) -> bool {
        let mut reader = view.reader();
        let mut column = Column::new(FieldType::Float);
        let mut problems = false;
        let keys = view.keys();
        let mut last_series = None;
        for (at, key) in keys.iter().enumerate() {
            let Some(parsed) = FieldKey::parse(key) else { continue };
            if let Err(error) = reader.read(parsed, TimeRange::ALL, &mut column) {
                if !is_reported(&error, reported) {
                    complain(Failure::from(error).text());
                }
                problems = true;
                continue;
            }
            let (Some(&min), Some(&max)) = (column.times().first(), column.times().last()) else { continue };
            let values = column.len() as u64;
            let is_new = last_series.replace(parsed.series) != Some(parsed.series);
            self.series += u64::from(is_new);
            self.keys += 1;
            self.values += values;
            self.min_time = Some(self.min_time.map_or(min, |known| known.min(min)));
            self.max_time = Some(self.max_time.map_or(max, |known| known.max(max)));
            let measurement = self.measurements.entry(measurement(parsed.series)).or_default();
            *measurement.series.get_or_insert(0) += u64::from(is_new);
            let field_type = self.types.entry(column.field_type().name()).or_default();
            for part in [measurement, field_type] {
                part.keys += 1;
                part.values += values;
            }
            bar.show(|| percent(at as u64, keys.len() as u64));
        }
        problems
    }

    fn print(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let per_value = |bytes: u64, values: u64| match values {
            0 => "-".to_owned(),
            _ => format!("{:.3}", bytes as f64 / values as f64),
        };
        writeln!(out, "series            {:>14}", self.series)?;
        writeln!(out, "keys              {:>14}", self.keys)?;
        writeln!(out, "values            {:>14}", self.values)?;
        if let (Some(min), Some(max)) = (self.min_time, self.max_time) {
            writeln!(out, "from              {}", rfc3339_text(min))?;
            writeln!(out, "to                {}", rfc3339_text(max))?;
        }
        let generations = count(self.generations, "generation");
        writeln!(out, "TSM files         {:>14}  in {generations}", self.files)?;
        writeln!(out, "TSM bytes         {:>14}", self.file_bytes)?;
        writeln!(out, "blocks            {:>14}", self.blocks)?;
        writeln!(out, "stored values     {:>14}", self.stored_values)?;
        writeln!(out, "bytes per value   {:>14}", per_value(self.file_bytes, self.stored_values))?;
        let segments = count(self.log_segments, "segment");
        writeln!(out, "log bytes         {:>14}  in {segments}", self.log_bytes)?;
        let heads = ["series", "keys", "values", "blocks", "block bytes", "bytes/value"];
        for (title, parts) in [
            (
                "measurement",
                self.measurements.iter().map(|(name, part)| (name.as_str(), part)).collect::<Vec<_>>(),
            ),
            ("type", self.types.iter().map(|(name, part)| (*name, part)).collect()),
        ] {
            let rows = parts.into_iter().map(|(name, part)| {
                let Packed { blocks, block_bytes, stored_values } = part.packed;
                let series = part.series.map_or_else(|| "-".to_owned(), |series| series.to_string());
                let numbers = [part.keys, part.values, blocks, block_bytes].map(|number| number.to_string());
                let [keys, values, blocks, bytes] = numbers;
                (name, vec![series, keys, values, blocks, bytes, per_value(block_bytes, stored_values)])
            });
            print_table(out, title, &heads, &rows.collect::<Vec<_>>())?;
        }
        let rows = self.encodings.iter().map(|(name, packed)| {
            let Packed { blocks, block_bytes, stored_values } = *packed;
            let numbers = [blocks, block_bytes, stored_values].map(|number| number.to_string());
            (name.as_str(), numbers.into_iter().chain([per_value(block_bytes, stored_values)]).collect())
        });
        let heads = ["blocks", "block bytes", "values", "bytes/value"];
        print_table(out, "encoding: times, values", &heads, &rows.collect::<Vec<_>>())
    }
}

fn is_reported(error: &Error, reported: &Reported) -> bool {
    let ErrorKind::Tsm(block) = error.kind() else { return false };
    error
        .path()
        .zip(block.offset())
        .is_some_and(|(path, offset)| reported.contains(&(path.to_owned(), offset)))
}

/// Prints a table with names on the left and numbers on the right.
fn print_table(
    out: &mut Vec<u8>,
    title: &str,
    heads: &[&str],
    rows: &[(&str, Vec<String>)],
) -> std::io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = rows.iter().map(|(name, _)| printable(name).into_owned()).collect();
    let width = names.iter().map(|name| name.chars().count()).chain([title.len()]).max().unwrap_or(0);
    write!(out, "\n{title:width$}")?;
    for head in heads {
        write!(out, "  {head:>12}")?;
    }
    writeln!(out)?;
    for (name, (_, numbers)) in names.iter().zip(rows) {
        write!(out, "{name:width$}")?;
        for number in numbers {
            write!(out, "  {number:>12}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
