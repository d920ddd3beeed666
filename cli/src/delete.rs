//! `tsmith delete`: points go, for good.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use tsmith_engine::driver::Driver;
use tsmith_engine::{Column, FieldKey, FieldType, Selection, Setup, TimeRange};

use crate::args::{ReportFormat, Wal};
use crate::clock;
use crate::exit::{Outcome, Result};
use crate::filter::measurement;
use crate::output::{Out, count};
use crate::place::{self, Place};

/// Delete points of one key, or of all series of a measurement.
///
/// The points are gone for readers at once; their bytes go when the files are compacted. The directory is opened with
/// the parts it was made with.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true),
    after_help = "Examples:\n  tsmith delete d --measurement weather --end 2013-01-01T00:00:00Z --dry-run\n  \
                  tsmith delete d --key 'weather,station=JFK#!~#temp'"
)]
pub(crate) struct Delete {
    /// An engine directory or an InfluxDB 1.x shard directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// This key: series and field as in `weather,station=JFK#!~#temp`, or a series for all its fields
    #[arg(long, group = "what", value_name = "K")]
    key: Option<String>,
    /// All series of this measurement
    #[arg(long, group = "what", value_name = "M")]
    measurement: Option<String>,
    /// From this time on: 2013-01-31T12:00:00Z, 1359633600s, -1h; a number without a unit is nanoseconds
    #[arg(long, value_name = "T", allow_hyphen_values = true, value_parser = clock::parse)]
    start: Option<i64>,
    /// Up to and including this time
    #[arg(long, value_name = "T", allow_hyphen_values = true, value_parser = clock::parse)]
    end: Option<i64>,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wal: Wal,
    /// How to report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

/// Keys that have points in the range, with their number.
type Found = Vec<(Vec<u8>, usize)>;

impl Delete {
    pub(crate) fn run(self) -> Result<Outcome> {
        let range = TimeRange::new(self.start.unwrap_or(i64::MIN), self.end.unwrap_or(i64::MAX));
        let found = if self.dry_run { self.look(range)? } else { self.delete(range)? };
        let points = found.iter().map(|(_, points)| points).sum::<usize>();
        let mut out = Out::stdout();
        let text = out.text();
        let written = match self.format {
            ReportFormat::Json => {
                let keys: Vec<_> = found
                    .iter()
                    .map(|(key, points)| serde_json::json!({"key": String::from_utf8_lossy(key), "points": points}))
                    .collect();
                let object = serde_json::json!({"dry_run": self.dry_run, "points": points, "keys": keys});
                writeln!(text, "{object}")
            }
            ReportFormat::Table => {
                let done = if self.dry_run { "would delete" } else { "deleted" };
                found
                    .iter()
                    .try_for_each(|(key, points)| {
                        writeln!(text, "{}: {}", String::from_utf8_lossy(key), count(*points, "point"))
                    })
                    .and_then(|()| {
                        writeln!(text, "{done} {} of {}", count(points, "point"), count(found.len(), "key"))
                    })
            }
        };
        debug_assert!(written.is_ok(), "vectors take all");
        out.flush()?;
        Ok(Outcome::Fine)
    }

    fn wants(&self, key: FieldKey<'_>) -> bool {
        match (&self.key, &self.measurement) {
            (Some(wanted), _) => key.series == wanted.as_bytes() || key.to_composite() == wanted.as_bytes(),
            (None, Some(name)) => measurement(key) == name.as_bytes(),
            (None, None) => false,
        }
    }

    /// Changes nothing, not even a directory that has no manifest yet.
    fn look(&self, range: TimeRange) -> Result<Found> {
        let place = Place::find(&self.dir, self.wal.wal.as_deref())?;
        let view = place.view()?;
        if let Some(problem) = view.problems().first() {
            return Err(problem.clone().into());
        }
        let mut reader = view.reader();
        self.count(view.keys(), |key, out| Ok(reader.read(key, range, out)?))
    }

    fn delete(&self, range: TimeRange) -> Result<Found> {
        let engine = open(&self.dir, self.wal.wal.as_deref())?;
        let found = {
            let mut reader = engine.reader();
            self.count(engine.keys(), |key, out| Ok(reader.read(key, range, out)?))
        };
        let deleted = found.and_then(|found| {
            let keys: Vec<Vec<u8>> = found.iter().map(|(key, _)| key.clone()).collect();
            engine.delete(Selection::Keys(&keys), range)?;
            Ok(found)
        });
        let closed = engine.close();
        let found = deleted?;
        closed?;
        Ok(found)
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
            read(key, &mut column)?;
            if !column.is_empty() {
                let points = column.len();
                found.push((composite, points));
            }
        }
        Ok(found)
    }
}

fn open(dir: &Path, wal: Option<&Path>) -> Result<Box<dyn Driver>> {
    let mut setup = Setup::default();
    setup.options.create = false;
    setup.options.background = false;
    Ok(setup.open(place::dirs(dir, wal)?)?)
}
