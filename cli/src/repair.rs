//! `tsmith repair`: rewrites corrupt files from what is intact, and quarantines them.

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
use crate::exit::{Outcome, Result};
use crate::holder;
use crate::output::{Out, count};
use crate::place::{Member, Owner, Place, Skipped, Tree};

use report::{File, Report, State};

/// Rewrite corrupt files from what of them can be kept, and keep them as they were under another name.
///
/// TSM files: every block whose checksum is right and that decodes is kept, under its key; the others are dropped. If header,
/// footer or index is corrupt, every block is kept whose entry in the index can be read and fits it. A file without any
/// such entry is reported and left as it is, for the keys are nowhere else. A file without any point is quarantined. A file
/// of an encoder that this build does not have is reported as UNKNOWN and left as it is. Of a quarantined file, NAME.tsm.bad,
/// the blocks to keep go to NAME.tsm.rescued, which no engine reads: export it, or rename it to NAME.tsm if none of its
/// points was deleted or replaced since. Tombstones: whole
/// gzip members, whole records; of a last one that is cut short the records whose keys the TSM file has. Points that only
/// lost tombstones deleted are back afterwards; what a crash left of a delete that the log still has is no corruption. The log:
/// every record that passes its checks; the torn tail of a crash is no corruption, the next opening cuts it. Records that influxd
/// accepted after a crash are noted, and get checksums. etcd's log: its
/// torn end is cut, as etcd does it, and is no corruption. Where records behind it show that it was acknowledged, or where it is
/// corrupt otherwise, --force cuts it back to the last valid record, and says which bytes and entries are lost. That is for a
/// cluster of one member; in others remove the member and add it again. etcd's database may hold lost entries: then etcd
/// ignores as many new writes, which time out. An empty last segment needs no --force.
///
/// A corrupt file stays beside the repaired one, as NAME.bad (of etcd's log as NAME.broken): nothing reads it, and you
/// remove it. The repaired file takes the name in one step, so that a crash leaves the one or the other; run again, it ends
/// as if nothing had happened. Run it as the user of the directory, with influxd stopped.
///
/// Records of the log that are whole and that no engine can replay, because they give a field another type than it has,
/// are dropped too, or as much of them as contradicts; the older type counts. So it is with a key of a TSM file that has
/// another type in an older file: its points are dropped. The manifest is rewritten from the lines that can be read and
/// from what the directory holds, also when it is gone and the log is `native`; where its log is must be certain: --wal
/// names it, also where a copy or a move brought a manifest that leads to another directory's log.
///
/// A log of the kind `etcd` with such records is reported, and `tsmith snapshot --recovery salvage` goes on without them.
///
/// Exit code 0: all was whole; 1: something was dropped, or could not be repaired.
///
/// With --format json there is one object with `dry_run`, `problems`, `skipped` and `files`; of each file `path`, `kind`,
/// `state` (whole, torn, repaired, with --dry-run corrupt, lost, or unknown), `kept`, `dropped`, `quarantined`, `rescued`, `error`;
/// of TSM files `index` with `offset`, `reason` and `orphan_bytes`, which have no entry any more, and `keys` with `key`, `kept_blocks`, `kept_values`, `kept_min`, `kept_max`, and `dropped` and `mended` blocks with `offset`,
/// `min`, `max` and `reason`; of others `gaps` with `offset`, `bytes` and `reason`, and `refused` records with `offset`,
/// `in_part` and `reason`; of a log that --force cuts `cut` with `segment`, `offset`, `record`, `bytes`, `first_entry` and
/// `last_entry`; and `notes` with `offset` and `reason`.
#[derive(Debug, Args)]
#[command(
    name = "repair",
    after_help = "Examples:\n  tsmith repair d --dry-run\n  tsmith repair /var/lib/influxdb/data/db/autogen/1 --wal /var/lib/influxdb/wal/db/autogen/1"
)]
pub(crate) struct RepairArgs {
    /// An engine directory, an InfluxDB 1.x shard directory or one above such, an etcd member or WAL directory, a .tsm,
    /// .tsm.bad, .tombstone, .wal or .tlog file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    #[command(flatten)]
    wal: Wal,
    /// Only say what would be kept and dropped
    #[arg(long)]
    dry_run: bool,
    /// Go ahead where it is dangerous: another process, such as a running influxd, has the files open; or a corrupt log of an
    /// etcd member is cut back to its last valid record, though acknowledged entries are lost
    #[arg(long)]
    force: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

impl RepairArgs {
    pub(crate) fn run(self, registry: &Registry) -> Result<Outcome> {
        let tree = Tree::find(&self.path, self.wal.wal.as_deref(), registry)?;
        if !self.dry_run && !self.force {
            holder::refuse_held("repair", tree.places.iter().flat_map(|(_, place)| place.paths(registry)))?;
        }
        let mut report =
            Report { dry_run: self.dry_run, problems: 0, files: Vec::new(), skipped: tree.skipped };
        let mut out = Out::stdout();
        let mut failures = Vec::new();
        // Of a tree it is the directory above the logs.
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
        // Where nothing was looked at, there is nothing to sum up.
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
                let end = match (problems, dry_run) {
                    (0, _) if !failures.is_empty() => {
                        format!("none not whole; {} could not be looked at", count(failures.len(), "place"))
                    }
                    (0, _) => "all whole".to_owned(),
                    (_, true) => format!("{problems} not whole; nothing was changed (dry run)"),
                    (_, false) => format!("{problems} not whole"),
                };
                writeln!(out.text(), "{}, {end}", count(report.files.len() as u64, "file"))
            }
        };
        debug_assert!(written.is_ok(), "vectors take all");
        out.flush()?;
        // What was repaired before it is reported all the same.
        if let Some(failure) = failures.pop_if(|_| !tree.is_above) {
            return Err(failure);
        }
        let unread = report.files.iter().any(|file| file.is_unread);
        let outcome = if unread { Outcome::Unread } else { Outcome::of(problems > 0) };
        Ok(failures.iter().fold(outcome, |outcome, failure| outcome.and(failure.outcome())))
    }

    fn place(&self, place: &Place, report: &mut Report, out: &mut Out, registry: &Registry) -> Result<()> {
        // A path that holds nothing of ours gets no lock either.
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
        // Where the manifest does not say where the log is, and the user neither, what was found may be another one's.
        let mut log_known = place.unsure().is_none();
        let mut log_done = false;
        let mut members = place.members(registry)?;
        // What is deleted has no type, so tombstones come first.
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
                    let reason = "a log, and the manifest does not say whose";
                    report.skipped.push(Skipped { path, reason });
                    continue;
                }
                Member::Segment(path) => {
                    log_done = true;
                    files::log(path, data, dry_run)?
                }
                Member::EtcdLog(path) => vec![etcd::log(path, data, (dry_run, self.force), registry)],
                Member::Manifest(path) => {
                    let named = wal.filter(|_| place.unsure().is_none());
                    let file = files::manifest(path, named, dry_run, registry);
                    log_known |= file.state != State::Lost;
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
                report.problems += u64::from(!matches!(file.state, State::Whole | State::Torn));
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

/// Nobody of ours comes in between. Logs have locks of their own; a dry run leaves none behind, nor does the repair of
/// one file that lies somewhere.
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
#[expect(dead_code, reason = "it is held for as long as this lives")]
enum Lock {
    Shared(Held),
    Alone(Owned<OsFs>),
}
