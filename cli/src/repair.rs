//! `tsmith repair`: rebuilds corrupt files from their valid parts, and quarantines the originals.

mod etcd;
mod files;
mod report;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use tsmith_engine::Registry;
use tsmith_engine::repair::{LogCheck, Owned};
use tsmith_engine::view::{Held, hold};
use tsmith_wal::fs::OsFs;

use crate::args::{ReportFormat, Wal};
use crate::exit::{Outcome, Result, complain};
use crate::holder;
use crate::output::{Out, count};
use crate::place::{Member, Owner, Place, Skipped, Tree};

use report::{File, Report, State};

/// Rebuild corrupt files from the parts that pass their checks
///
/// Examples:
///   tsmith repair /var/lib/influxdb/data/db/autogen/1 --dry-run
///   tsmith repair /var/lib/influxdb/data/db/autogen/1
///
/// Stop influxd first, and run the command as the owner of the files. The corrupt
/// original stays beside the rebuilt file as NAME.bad, for you to remove. If a
/// repair is interrupted, run it again. The report says what each file kept and
/// lost. Each line begins with one of these words:
///   ok          nothing to repair
///   torn        a torn tail after a crash; the next opening cuts it
///   corrupt     the file can be repaired (only with --dry-run)
///   repaired    the file was corrupt and is rebuilt
///   unrepaired  the file cannot be repaired and is unchanged
///   unknown     the file needs a part, such as an encoder, that this build lacks
///
/// The exit code is 1 if any file was corrupt. See docs/repair.md for the rules of
/// each kind of file, and for etcd; docs/formats.md for the files.
#[derive(Debug, Args)]
#[command(name = "repair", verbatim_doc_comment)]
pub(crate) struct RepairArgs {
    /// Shard, engine directory, directory above shards, etcd member, or single file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    #[command(flatten)]
    wal: Wal,
    /// Show what would be kept and dropped, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Repair even if another process, such as influxd, has the files open
    #[arg(long)]
    force: bool,
    /// Cut a corrupt etcd log after its last valid record; see docs/repair.md
    #[arg(long)]
    cut: bool,
    /// Format of the report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

impl RepairArgs {
    pub(crate) fn run(self, registry: &Registry) -> Result<Outcome> {
        let tree = Tree::find(&self.path, self.wal.wal.as_deref(), registry)?;
        if !self.dry_run && !self.force {
            holder::refuse_held("repair", tree.places.iter().flat_map(|(_, place)| place.paths(registry)))?;
        }
        let mut report = Report {
            dry_run: self.dry_run,
            problems: 0,
            files: Vec::new(),
            skipped: tree.skipped,
            no_log: tree.places.iter().filter_map(|(_, place)| place.unrepaired_log()).collect(),
        };
        report.no_log.iter().for_each(|no_log| complain(&no_log.reason));
        let mut out = Out::stdout();
        let mut failures = Vec::new();
        // For a tree, `--wal` names the directory above the logs.
        let named = self.wal.wal.as_deref().filter(|_| !tree.is_above);
        for (path, place) in &tree.places {
            let checked =
                if self.wal.wal.is_some() { place.refuse_wrong_log(named, registry) } else { Ok(()) };
            if let Err(error) = checked.and_then(|()| self.place(place, &mut report, &mut out, registry)) {
                if tree.is_above {
                    error.complain_of(path);
                }
                failures.push(error);
            }
        }
        // If no file was read, there is nothing to summarize.
        if let [failure] = &failures[..]
            && report.files.is_empty()
            && !tree.is_above
        {
            return Err(failure.clone());
        }
        let (dry_run, problems) = (report.dry_run, report.problems);
        let written = match self.format {
            ReportFormat::Json => {
                let written = serde_json::to_writer_pretty(out.text(), &report);
                out.text().push(b'\n');
                written.map_err(Into::into)
            }
            ReportFormat::Table => {
                Skipped::note_all(&report.skipped);
                let mut end = vec![report.totals()];
                if !failures.is_empty() {
                    end.push(format!("{} could not be read", count(failures.len(), "shard")));
                }
                if !report.no_log.is_empty() {
                    end.push(format!("the log of {} was not found", count(report.no_log.len(), "shard")));
                }
                if dry_run && problems > 0 {
                    end.push("nothing was changed (dry run)".to_owned());
                }
                writeln!(out.text(), "{}", end.join("; "))
            }
        };
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.flush()?;
        // The files that were repaired before the failure are reported first.
        if let Some(failure) = failures.pop_if(|_| !tree.is_above) {
            return Err(failure);
        }
        let unread = report.files.iter().any(|file| file.is_unread);
        let outcome = if unread { Outcome::Unread } else { Outcome::of(problems > 0) };
        Ok(failures.iter().fold(outcome, |outcome, failure| outcome.and(failure.outcome())))
    }

    fn place(&self, place: &Place, report: &mut Report, out: &mut Out, registry: &Registry) -> Result<()> {
        // Fails before a lock file is created if the path holds no files of ours.
        place.members(registry)?;
        let of_replica = match place {
            Place::Directory { data: path, .. }
            | Place::Tsm(path)
            | Place::Tombstone(path)
            | Place::Segment(path) => Some(path).filter(|path| Owner::of(path) == Some(Owner::Replica)),
            _ => None,
        };
        let (dry_run, problems) = (self.dry_run || of_replica.is_some(), report.problems);
        let _lock = lock(place, dry_run)?;
        let (data, wal) = match place {
            Place::Directory { data, wal, .. } => (Some(data.as_path()), wal.as_deref()),
            _ => (None, None),
        };
        // If neither the manifest nor the user names the log, the log that was found may belong to another directory.
        let mut log_known = place.unsure().is_none();
        let mut log_done = false;
        let mut members = place.members(registry)?;
        // Tombstones are repaired first: a deleted key has no type, which matters for the checks of the TSM files.
        members.sort_by_key(|member| !matches!(member, Member::Tombstone(_)));
        let mut check = None;
        for member in members {
            let files = match &member {
                Member::Tsm(path) => {
                    let check = check.get_or_insert_with(|| {
                        data.map_or_else(LogCheck::default, |data| {
                            let log = wal.map(|wal| registry.log_reader(&OsFs, data, wal));
                            LogCheck::with_files(&OsFs, data, log.as_ref())
                        })
                    });
                    vec![files::tsm(path, check.two_types(), &registry.encoders().decoders(), dry_run)]
                }
                Member::Tombstone(path) => vec![files::tombstones(path, wal, dry_run, registry)],
                Member::Segment(_) | Member::EtcdLog(_) if log_done => continue,
                Member::Segment(path) | Member::EtcdLog(path) if !log_known => {
                    log_done = true;
                    let path = wal.unwrap_or(path).to_owned();
                    let reason = "a log, but the manifest does not say to which directory it belongs";
                    report.skipped.push(Skipped { path, reason });
                    continue;
                }
                Member::Segment(path) => {
                    log_done = true;
                    files::log(path, data, dry_run)?
                }
                Member::EtcdLog(path) => vec![etcd::log(path, data, (dry_run, self.cut), registry)],
                Member::Manifest(path) => {
                    let named = wal.filter(|_| place.unsure().is_none());
                    let file = files::manifest(path, named, dry_run, registry);
                    log_known |= file.state != State::Unrepaired;
                    vec![file]
                }
                Member::EtcdSnapshot(path) => vec![etcd::snapshot(path)],
                Member::Unreadable(path, why) => {
                    vec![File::failed(path, "unknown", why)]
                }
                Member::Log(path, name) => vec![files::other_log(path, name, registry)],
                Member::Leftover(_) => continue,
                Member::Skipped(skipped) => {
                    report.skipped.push(skipped.clone());
                    continue;
                }
            };
            for file in files {
                report.problems += u64::from(!matches!(file.state, State::Ok | State::Torn));
                if self.format == ReportFormat::Table {
                    file.print(out)?;
                }
                report.files.push(file);
            }
        }
        match of_replica {
            Some(path) if report.problems > problems && !self.dry_run => {
                Err(Owner::Replica.refuse("repair", path))
            }
            _ => Ok(()),
        }
    }
}

/// Locks the directory, so that no other Tsmith process changes it meanwhile. Logs have locks of their own. A dry run, and
/// the repair of a single file, leave no lock file behind.
fn lock(place: &Place, dry_run: bool) -> Result<Option<Lock>> {
    let beside = |path: &Path| {
        let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        parent.unwrap_or(Path::new(".")).to_owned()
    };
    let (dir, is_alone) = match place {
        Place::Directory { data, wal, .. } if wal.as_ref() == Some(data) => return Ok(None),
        Place::Directory { data, .. } => (data.clone(), false),
        Place::Tsm(path) | Place::Tombstone(path) => (beside(path), true),
        Place::Segment(_)
        | Place::EtcdLog(_)
        | Place::EtcdSnapshot(_)
        | Place::EtcdDatabase(_)
        | Place::Unreadable(..) => return Ok(None),
    };
    Ok(match (dry_run, is_alone) {
        (true, _) => hold(&dir)?.map(Lock::Shared),
        (false, true) => Owned::take_if_locked(&OsFs, &dir)?.map(Lock::Alone),
        (false, false) => Some(Lock::Alone(Owned::take(&OsFs, &dir)?)),
    })
}

/// The lock of a directory.
#[expect(dead_code, reason = "the lock is held until the value is dropped")]
enum Lock {
    Shared(Held),
    Alone(Owned<OsFs>),
}
