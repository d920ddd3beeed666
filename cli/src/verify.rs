//! `tsmith verify`: every checksum, order and bound.

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

/// Check every byte that has a check: names each bad file and offset.
///
/// TSM files: header, index, the checksum of every block, that every block decodes to what the index says of it, and that
/// no key has another type than in an older file. Tombstones: every record; the end that a crash left of a delete which the
/// log still has is a note. A .tsm.bad or .tsm.rescued file is checked by name. Of a member of etcd, each snapshot file and the
/// log: every checksum and its chain, every
/// message, that term and commit index do not go back, that it opens at a snapshot that is there with all that was committed,
/// and that no intact snapshot has entries that the log lost; of its databases the meta pages and the length; a segment by its
/// own name is checked without those before it. The log, of every kind: that each record can be
/// replayed, and gives no field another type than the files have; every frame and group of its segments; the torn end that a
/// crash leaves in the newest segment is a note,
/// not corruption, whatever cut it there; records that influxd accepted after a crash, without a checksum, are a note; that no record between two segments of `native` is missing. The manifest, and that
/// the log is where it says. After a bad file the next is checked. Nothing on disk is changed; `tsmith repair` mends what
/// can be.
///
/// Lines are `ok FILE: ...`, `note FILE ...` and `BAD FILE offset N: reason`; `UNKNOWN FILE offset N: reason` of what is in
/// order, and was written by an encoder or another part that this build does not have (the exit code is 1, too); `leftover FILE: ...` of a file that a repair
/// quarantined or a crash left begun, which is neither checked nor counted. Of a directory above shards (of a database, or all of
/// InfluxDB) there is one line a shard, the bad files, and totals; what is there and not checked, such as `fields.idx` and
/// `_series`, is noted, and so are fields whose type differs between the shards of one directory. A shard without its log is
/// named on stderr. A file that cannot be read is BAD, and the exit code is 74. With --format json there is one object:
/// {"bad":N,"files":[{"path","ok","summary","problems":[{"segment","offset","key","reason"}],"unknown":[...],"notes":[...]}],
/// "shards":[{"path","files","bad","values"}],"skipped":[{"path","reason"}]}, `leftovers` and `no_log` like `skipped`, and
/// `types_differ`, of each field `path`, `measurement`, `field`, and `types` with `type` and `shards`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tsmith verify d && echo all good")]
pub(crate) struct Verify {
    /// Engine, InfluxDB 1.x shard or etcd member directories, directories above shards, .tsm, .tombstone, .wal, .tlog or
    /// .snap files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    wal: WalOrNone,
    /// How to report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

#[derive(Default, Serialize)]
struct Report {
    /// Files that are corrupt, or that this build cannot read.
    bad: u64,
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

/// What was found in a shard of several.
#[derive(Default, Serialize)]
struct Shard {
    path: String,
    files: u64,
    bad: u64,
    values: u64,
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
                // What it cannot show was found by then.
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
        self.end(&report, &mut out)?;
        let problems = || report.files.iter().flat_map(|file| &file.problems);
        if problems().any(|flaw| flaw.is_unread) {
            outcome = Outcome::Unread;
        }
        if problems().any(|flaw| !flaw.is_unread) {
            complain(
                "`tsmith repair --dry-run` shows what repair would keep of corrupt files, and what it would drop",
            );
        }
        Ok(outcome.and(Outcome::of(report.bad > 0)))
    }

    /// Checks the files of one place. Of one among others only what is wrong is printed.
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
            report.bad += u64::from(!finding.ok);
            shard.bad += u64::from(!finding.ok);
            shard.files += 1;
            shard.values += values;
            print(&finding, bar)?;
            report.files.push(finding);
        }
        if let Some(finding) = check_sequence(place, &report.files[first..]) {
            report.bad += 1;
            shard.bad += 1;
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
                for (path, reason) in Skipped::grouped(&report.skipped, Skipped::have_one_name) {
                    written = written.and_then(|()| writeln!(text, "note {path}: not checked: {reason}"));
                }
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
                    let values: u64 = report.shards.iter().map(|shard| shard.values).sum();
                    let bad = report.shards.iter().filter(|shard| !shard.is_fine()).count();
                    let (shards, files) = (report.shards.len(), report.files.len());
                    let (shards, files) = (count(shards, "shard"), count(files, "file"));
                    written = written.and_then(|()| {
                        writeln!(
                            text,
                            "{shards}, {bad} bad: {files}, {} bad, {}{}{leftovers}",
                            report.bad,
                            count(values, "value"),
                            if leftovers.is_empty() { "" } else { "; " }
                        )
                    });
                } else if !leftovers.is_empty() {
                    written = written.and_then(|()| writeln!(text, "{leftovers}"));
                }
                written
            }
        };
        debug_assert!(written.is_ok(), "vectors take all");
        out.flush()
    }
}

impl Shard {
    fn is_fine(&self) -> bool {
        self.bad == 0 && self.error.is_none()
    }

    fn print(&self, out: &mut Out) -> Result<()> {
        let Self { path, files, bad, values, error } = self;
        let word = if self.is_fine() { "ok" } else { "BAD" };
        let path = printable(path);
        let (files, values) = (count(*files, "file"), count(*values, "value"));
        let written = match error {
            Some(error) => writeln!(out.text(), "{word} {path}: {error}"),
            None => writeln!(out.text(), "{word} {path}: {files}, {bad} bad, {values}"),
        };
        debug_assert!(written.is_ok(), "vectors take all");
        out.flush()
    }
}
