//! `tsmith delete`: points go, for good.

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use tsmith_codecs::name::to_text;
use tsmith_engine::driver::Driver;
use tsmith_engine::{Column, ErrorKind, FieldKey, FieldType, Registry, Remedy, Selection, Setup, TimeRange};

use crate::args::{ReportFormat, WriteTo};
use crate::exit::{Failure, Outcome, Result, complain};
use crate::filter::{self, FilterArgs, NAMES_HELP, Name};
use crate::output::{Out, count, shown};
use crate::problem::report_recovery;

/// Delete points of one key, or of all series and fields that the flags name, at all times or those between two.
///
/// `--measurement`, `--tag` and `--field` go together: what fits all of them goes, and what none is given for fits. So
/// `--measurement m --tag host=a` is `DELETE FROM m WHERE host = 'a'`, `--tag host=a` alone is that of all measurements,
/// `--measurement m --field f` drops a field, and `--end` alone is `DELETE WHERE time <= ...`.
///
/// The points are gone for readers at once; their bytes go when the files are compacted. The directory is opened with
/// the parts it was made with. One run is one delete: a crash leaves all of it or nothing.
///
/// influxd may see a part of a delete that was killed, until tsmith opens the directory and finishes it. Run
/// `tsmith snapshot` before you start influxd.
///
/// With --format json there is one object; its fields stay. A byte that is not UTF-8 is \xNN in
/// a key.
///
/// The points of a key with a corrupt block cannot be counted: it is deleted all the same, named on stderr, `points` is
/// null in JSON, and the exit code is 1.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what")
        .args(["key", "measurement", "tag", "field", "start", "end"])
        .required(true)
        .multiple(true),
    after_help = format!("Examples:\n  tsmith delete d --measurement weather --end 2013-01-01T00:00:00Z --dry-run\n  \
                  tsmith delete d --key 'weather,station=JFK#!~#temp'\n  \
                  tsmith delete d --measurement weather --tag station=JFK --tag unit=C --field temp --field dewp\n\n{NAMES_HELP}")
)]
pub(crate) struct Delete {
    /// An engine directory or an InfluxDB 1.x shard directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// This key: series and field as in `weather,station=JFK#!~#temp`, or a series for all its fields
    #[arg(
        long,
        value_name = "K",
        value_parser = filter::name(b""),
        conflicts_with_all = ["measurement", "tag", "field"]
    )]
    key: Option<Name>,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    to: WriteTo,
    /// How to report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Keys that have points in the range, with their number; `None` for those that cannot be counted.
type Found = Vec<(Vec<u8>, Option<usize>)>;

const NOTHING: &str = "nothing was deleted";

impl Delete {
    pub(crate) fn run(self, registry: &Registry) -> Result<Outcome> {
        let range = self.filter.range().map_err(|error| error.and(NOTHING))?;
        let found = if self.dry_run {
            self.look(range, registry).map_err(|error| error.and(NOTHING))?
        } else {
            self.delete(range, registry)?
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
                    keys => format!(", and of {} not counted", count(keys, "key")),
                };
                found
                    .iter()
                    .try_for_each(|(key, points)| writeln!(text, "{}: {}", shown(key), of(*points)))
                    .and_then(|()| writeln!(text, "{done} {} of {counted}{and}", count(points, "point")))
            }
        };
        debug_assert!(written.is_ok(), "vectors take all");
        out.flush()?;
        match &self.key {
            _ if !found.is_empty() => {}
            Some(key) => filter::report_no_match(&format!("--key {}", key.shown())),
            None => self.filter.report_no_match(),
        }
        Ok(Outcome::of(uncounted > 0))
    }

    fn wants(&self, key: FieldKey<'_>) -> bool {
        self.key.as_ref().map_or_else(
            || self.filter.wants(key),
            |wanted| key.series == wanted.bytes() || key.to_composite() == wanted.bytes(),
        )
    }

    /// Changes nothing, not even a directory that has no manifest yet.
    fn look(&self, range: TimeRange, registry: &Registry) -> Result<Found> {
        let dirs = self.to.dirs_unchanged("delete", &self.dir, registry)?;
        let place = self.to.place(&self.dir, registry)?;
        if place.no_log().is_some() {
            return Err(Failure::Io(format!("{}: {}", dirs.wal.display(), ErrorKind::NoLogDirectory)));
        }
        let view = place.view(registry)?;
        if let Some(problem) = view.problems().first() {
            return Err(problem.clone().into());
        }
        let mut reader = view.reader();
        self.count(view.keys(), |key, out| Ok(reader.read(key, range, out)?))
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
                // It says what comes of it.
                ErrorKind::DeleteUnfinished(_) => Failure::from(error),
                ErrorKind::Log(_) if error.remedy() == Remedy::Reopen => Failure::from(error)
                    .and("if the log has the delete, the next opening of the directory finishes it"),
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
        // Strict recovery refuses what would be a problem; a later opening does not report the same again.
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
                // What cannot be read can be deleted.
                Err(Failure::Problem(text)) => {
                    complain(&format!("{text}: {key} is not counted"));
                    found.push((composite, None));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}
