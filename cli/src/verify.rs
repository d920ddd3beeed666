//! `tsmith verify`: checks every checksum, order and bound.

mod check;
mod finding;
mod log;
mod types;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tsmith_codecs::name::printable;

use crate::args::{ReportFormat, WalOrNone};
use crate::exit::{Outcome, Result, complain};
use crate::output::{Out, count};
use crate::place::{Member, NoLog, Place, Skipped, to_read};
use crate::progress::{Bar, When};
use crate::shard_types::{ShardTypes, TypesDiffer};
use tsmith_engine::Registry;

use check::check;
use finding::Finding;
use log::check_sequence;
use types::Types;

/// Check every checksum, and report each corrupt file with the offset
///
/// Example:
///   tsmith verify /var/lib/influxdb
///
/// Each line of the report begins with one of these words:
///   ok          the file passes all checks
///   note        no corruption, but worth knowing, such as a torn tail after a crash
///   corrupt     the file is corrupt; `tsmith repair --dry-run` shows what can be kept
///   unreadable  the system refused to read the file; the exit code is 74
///   unknown     the file needs a part, such as an encoder, that this build lacks
///   leftover    quarantined by a repair, or left by a crash; not checked
///
/// For a directory above shards, each shard has one more line: `ok`, or `problems`
/// if any of its files is corrupt, unreadable or unknown. Files that are ok are not
/// listed then. Nothing on disk is changed. The exit code is 1 if there are problems.
/// See docs/verify.md for the checks,
/// docs/formats.md for the files, and docs/json.md for the JSON report.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Verify {
    /// Shards, engine directories, directories above shards, etcd members, or single files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    wal: WalOrNone,
    /// Format of the report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

#[derive(Default, Serialize)]
struct Report {
    /// The number of files with problems: corrupt, unreadable, or unknown to this build.
    problems: u64,
    files: Vec<Finding>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shards: Vec<Shard>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<Skipped>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    leftovers: Vec<Skipped>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    no_log: Vec<NoLog>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    types_differ: Vec<TypesDiffer>,
}

/// The result of one of several shards.
#[derive(Default, Serialize)]
struct Shard {
    path: String,
    files: u64,
    /// The number of files with problems.
    problems: u64,
    /// Values of all files and of the log, also those that are deleted or replaced.
    stored_values: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Verify {
    pub(crate) fn run(self, progress: When, registry: &Registry) -> Result<Outcome> {
        let mut bar = Bar::new(progress);
        let mut out = Out::stdout();
        let mut report = Report::default();
        let mut outcome = Outcome::Fine;
        let mut types = ShardTypes::default();
        let (paths, skipped) = to_read(&self.paths, registry);
        report.skipped = skipped;
        for path in paths {
            let tree = match self.wal.tree(path, registry) {
                Ok(tree) => tree,
                Err(error) if self.paths.len() == 1 => return Err(error),
                Err(error) => {
                    complain(error.text());
                    outcome = outcome.and(error.outcome());
                    continue;
                }
            };
            for (path, place) in &tree.places {
                let found = self.place(place, tree.is_above, &mut report, (&mut out, &mut bar), registry);
                let shard = match found {
                    Ok(shard) => shard,
                    Err(error) if self.paths.len() == 1 && tree.places.len() == 1 => return Err(error),
                    Err(error) => {
                        error.complain_of(path);
                        outcome = outcome.and(error.outcome());
                        Shard { error: Some(error.text().to_owned()), ..Shard::default() }
                    }
                };
                report.no_log.extend(place.no_log().cloned());
                // If the view does not open, the checks above have reported why.
                if (tree.is_above || self.paths.len() > 1)
                    && let Ok(view) = place.view(registry)
                {
                    types.take(path, place, &view);
                }
                if tree.is_above {
                    let shard = Shard { path: path.display().to_string(), ..shard };
                    if self.format == ReportFormat::Table {
                        shard.print(&mut out)?;
                    }
                    report.shards.push(shard);
                }
            }
            report.skipped.extend(tree.skipped);
        }
        bar.clear();
        report.types_differ = types.differences();
        if self.format == ReportFormat::Table {
            Skipped::note_all(&report.skipped);
        }
        self.end(&report, &mut out)?;
        let problems = || report.files.iter().flat_map(|file| &file.problems);
        if problems().any(|problem| problem.is_unread) {
            outcome = Outcome::Unread;
        }
        let is_corrupt = |file: &Finding| file.problems.iter().any(|problem| !problem.is_unread);
        let (salvage, repair): (Vec<_>, Vec<_>) =
            report.files.iter().filter(|file| is_corrupt(file)).partition(|file| file.needs_salvage);
        if !repair.is_empty() {
            complain("run `tsmith repair --dry-run` to see what a repair keeps and drops");
        }
        if let Some(log) = salvage.first() {
            complain(&format!(
                "{}: `tsmith repair` cannot rewrite this log; run `tsmith snapshot --recovery salvage` on the engine directory",
                log.path
            ));
        }
        Ok(outcome.and(Outcome::of(report.problems > 0)))
    }

    /// Checks the files of one place. If it is one of several shards, files without problems are not printed.
    fn place(
        &self,
        place: &Place,
        among_others: bool,
        report: &mut Report,
        (out, bar): (&mut Out, &mut Bar),
        registry: &Registry,
    ) -> Result<Shard> {
        let _no_log = place.report_no_log(Outcome::Fine);
        let (members, _held) = place.files(registry)?;
        let mut types = Types::of(place, registry);
        let mut shard = Shard::default();
        let first = report.files.len();
        let mut print = |finding: &Finding, bar: &mut Bar| {
            if self.format != ReportFormat::Table {
                return Ok(());
            }
            bar.clear();
            finding.print(among_others, out)
        };
        for (at, member) in members.iter().enumerate() {
            bar.show(|| format!("{at} of {} files", members.len()));
            match member {
                Member::Skipped(skipped) => {
                    report.skipped.push(skipped.clone());
                    continue;
                }
                Member::Leftover(leftover) => {
                    report.leftovers.push(leftover.clone());
                    continue;
                }
                _ => {}
            }
            let (values, finding) = check(member, &mut types, registry);
            report.problems += u64::from(!finding.ok);
            shard.problems += u64::from(!finding.ok);
            shard.files += 1;
            shard.stored_values += values;
            print(&finding, bar)?;
            report.files.push(finding);
        }
        if let Some(finding) = check_sequence(place, &report.files[first..]) {
            report.problems += 1;
            shard.problems += 1;
            print(&finding, bar)?;
            report.files.push(finding);
        }
        Ok(shard)
    }

    fn end(&self, report: &Report, out: &mut Out) -> Result<()> {
        let text = out.text();
        let written = match self.format {
            ReportFormat::Json => {
                let written = serde_json::to_writer_pretty(&mut *text, &report);
                text.push(b'\n');
                written.map_err(Into::into)
            }
            ReportFormat::Table => {
                let mut written = Ok(());
                for Skipped { path, reason } in &report.leftovers {
                    let path = path.display();
                    written = written.and_then(|()| writeln!(text, "leftover {path}: {reason}"));
                }
                written = written.and_then(|()| TypesDiffer::print_all(&report.types_differ, text));
                let leftovers = match report.leftovers.len() {
                    0 => String::new(),
                    number => format!("{} not checked", count(number, "leftover file")),
                };
                if !report.shards.is_empty() {
                    let values: u64 = report.shards.iter().map(|shard| shard.stored_values).sum();
                    let with_problems = report.shards.iter().filter(|shard| !shard.is_fine()).count();
                    let (shards, files) = (report.shards.len(), report.files.len());
                    let (shards, files) = (count(shards, "shard"), count(files, "file"));
                    written = written.and_then(|()| {
                        writeln!(
                            text,
                            "{shards}, {with_problems} with problems: {files}, {} with problems, {}{}{leftovers}",
                            report.problems,
                            count(values, "stored value"),
                            if leftovers.is_empty() { "" } else { "; " }
                        )
                    });
                } else if !leftovers.is_empty() {
                    written = written.and_then(|()| writeln!(text, "{leftovers}"));
                }
                written
            }
        };
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.flush()
    }
}

impl Shard {
    fn is_fine(&self) -> bool {
        self.problems == 0 && self.error.is_none()
    }

    fn print(&self, out: &mut Out) -> Result<()> {
        let Self { path, files, problems, stored_values, error } = self;
        let word = if self.is_fine() { "ok" } else { "problems" };
        let path = printable(path);
        let (files, values) = (count(*files, "file"), count(*stored_values, "stored value"));
        let written = match error {
            Some(error) => writeln!(out.text(), "{word} {path}: {error}"),
            None => writeln!(out.text(), "{word} {path}: {files}, {problems} with problems, {values}"),
        };
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.flush()
    }
}
