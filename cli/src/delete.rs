//! `tsmith delete`: deletes points.

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use tsmith_codecs::name::to_text;
use tsmith_engine::driver::Driver;
use tsmith_engine::{Advice, Column, ErrorKind, FieldKey, FieldType, Registry, Selection, Setup, TimeRange};

use crate::args::{ReportFormat, WriteTo};
use crate::exit::{Failure, Outcome, Result, complain};
use crate::filter::{self, FilterArgs, Name};
use crate::output::{Out, count, shown};
use crate::problem::report_recovery;

/// Delete points by key, measurement, tag, field or time
///
/// Examples:
///   tsmith delete d --measurement weather --end 2013-01-01T00:00:00Z --dry-run
///   tsmith delete d --measurement weather --tag station=JFK --field temp
///   tsmith delete d --key 'weather,station=JFK#!~#temp'
///
/// A point is deleted if it matches all filters. Readers no longer see it; a
/// compaction frees its space. After a crash, either all points of the delete are
/// gone or none. After a crash influxd may still show
/// deleted points, so run `tsmith snapshot` before you start influxd. If a block is corrupt,
/// its points are deleted but not counted, and the exit code is 1.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what")
        .args(["key", "measurement", "tag", "field", "start", "end"])
        .required(true)
        .multiple(true),
    verbatim_doc_comment
)]
pub(crate) struct Delete {
    /// Shard or engine directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Only this key: series and field as in 'cpu,host=a#!~#usage', or a series for all its fields
    #[arg(
        long,
        value_name = "K",
        value_parser = filter::name(b""),
        conflicts_with_all = ["measurement", "tag", "field"]
    )]
    key: Option<Name>,
    /// Show what would be deleted, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    to: WriteTo,
    /// Format of the report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
    #[command(flatten)]
    filter: FilterArgs,
}

/// The keys that have points in the range, and how many; `None` if the points cannot be counted.
type Found = Vec<(Vec<u8>, Option<usize>)>;

const NOTHING: &str = "nothing was deleted";

impl Delete {
    pub(crate) fn run(self, registry: &Registry) -> Result<Outcome> {
        let range = self.filter.range().map_err(|error| error.and(NOTHING))?;
        let (found, outcome) = if self.dry_run {
            self.look(range, registry).map_err(|error| error.and(NOTHING))?
        } else {
            (self.delete(range, registry)?, Outcome::Fine)
        };
        let points = found.iter().filter_map(|(_, points)| *points).sum::<usize>();
        let uncounted = found.iter().filter(|(_, points)| points.is_none()).count();
        let mut out = Out::stdout();
        let text = out.text();
        let written = match self.format {
            ReportFormat::Json => {
                let keys: Vec<_> = found
                    .iter()
                    .map(|(key, points)| serde_json::json!({"key": to_text(key), "points": points}))
                    .collect();
                let object = serde_json::json!({"dry_run": self.dry_run, "points": points, "keys": keys});
                writeln!(text, "{object}")
            }
            ReportFormat::Table => {
                let done = if self.dry_run { "would delete" } else { "deleted" };
                let of = |points: Option<usize>| {
                    points.map_or("not counted".to_owned(), |points| count(points, "point"))
                };
                let counted = count(found.len() - uncounted, "key");
                let and = match uncounted {
                    0 => String::new(),
                    keys => format!(", and points of {} that cannot be counted", count(keys, "key")),
                };
                found
                    .iter()
                    .try_for_each(|(key, points)| writeln!(text, "{}: {}", shown(key), of(*points)))
                    .and_then(|()| writeln!(text, "{done} {} of {counted}{and}", count(points, "point")))
            }
        };
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.flush()?;
        match &self.key {
            _ if !found.is_empty() => {}
            Some(key) => filter::report_no_match(&format!("--key {}", key.shown())),
            None => self.filter.report_no_match(),
        }
        Ok(outcome.and(Outcome::of(uncounted > 0)))
    }

    fn wants(&self, key: FieldKey<'_>) -> bool {
        self.key.as_ref().map_or_else(
            || self.filter.wants(key),
            |wanted| key.series == wanted.bytes() || key.to_composite() == wanted.bytes(),
        )
    }

    /// Counts what a delete would remove. It changes nothing, not even a directory that has no manifest yet. Reports a log
    /// that the delete would refuse.
    fn look(&self, range: TimeRange, registry: &Registry) -> Result<(Found, Outcome)> {
        let dirs = self.to.dirs_unchanged("delete", &self.dir, registry)?;
        let place = self.to.place(&self.dir, registry)?;
        if place.no_log().is_some() {
            return Err(Failure::Io(format!("{}: {}", dirs.wal.display(), ErrorKind::NoLogDirectory)));
        }
        let view = place.view(registry)?;
        if let Some(problem) = view.problems().first() {
            return Err(problem.clone().into());
        }
        let outcome = place.report_problems(&view);
        if outcome != Outcome::Fine {
            complain(&format!(
                "{}: the log is corrupt, so a delete without --dry-run would fail and delete nothing; docs/repair.md describes \
                 how to rescue the directory",
                self.dir.display()
            ));
        }
        let mut reader = view.reader();
        let found = self.count(view.keys(), |key, out| Ok(reader.read(key, range, out)?))?;
        Ok((found, outcome))
    }

    fn delete(&self, range: TimeRange, registry: &Registry) -> Result<Found> {
        let engine = self.open(registry).map_err(|error| error.and(NOTHING))?;
        let found = {
            let mut reader = engine.reader();
            self.count(engine.keys(), |key, out| Ok(reader.read(key, range, out)?))
        };
        let deleted = found.map_err(|error| error.and(NOTHING)).and_then(|found| {
            let keys: Vec<Vec<u8>> = found.iter().map(|(key, _)| key.clone()).collect();
            engine.delete(Selection::Keys(&keys), range).map_err(|error| match error.kind() {
                // This error says itself what happens to the delete.
                ErrorKind::DeleteUnfinished(_) => Failure::from(error),
                ErrorKind::Log(_) if error.advice() == Advice::Reopen => Failure::from(error)
                    .and("if the log contains the delete, the next opening of the directory completes it"),
                _ => Failure::from(error).and(NOTHING),
            })?;
            Ok(found)
        });
        let closed = engine.close();
        let found = deleted?;
        closed?;
        Ok(found)
    }

    fn open(&self, registry: &Registry) -> Result<Box<dyn Driver>> {
        let mut setup = Setup::default();
        setup.options.create = false;
        setup.options.background = false;
        let engine = setup.open(registry, self.to.dirs("delete", &self.dir, registry)?)?;
        // Strict recovery fails on corruption. What remains is reported here, because a later opening does not repeat it.
        let _fine = report_recovery(engine.recovery());
        Ok(engine)
    }

    fn count(
        &self,
        keys: Vec<Vec<u8>>,
        mut read: impl FnMut(FieldKey<'_>, &mut Column) -> Result<()>,
    ) -> Result<Found> {
        let mut found = Vec::new();
        let mut column = Column::new(FieldType::Float);
        for composite in keys {
            let Some(key) = FieldKey::parse(&composite).filter(|&key| self.wants(key)) else { continue };
            match read(key, &mut column) {
                Ok(()) if column.is_empty() => {}
                Ok(()) => {
                    let points = column.len();
                    found.push((composite, Some(points)));
                }
                // Points that cannot be read can still be deleted.
                Err(Failure::Problem(text)) => {
                    complain(&format!("{text}: the points of {key} are not counted"));
                    found.push((composite, None));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}
